//! The name of a queue: a lane of the jobs stream, or a lane's jobs behind one gate of the stream of waiting jobs.

use std::fmt;
use std::sync::Arc;

use tollgate_types::{Gate, LaneKey, subjects};

/// A queue that jobs are pulled from; each has one durable consumer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// The lane that its jobs belong to.
    pub lane: Arc<LaneKey>,
    /// What they waited for; `None` for the lane itself.
    pub gate: Option<Gate>,
}

/// Which stream a job came from; sequences of the two say nothing about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The stream of accepted jobs.
    Jobs,
    /// The stream of waiting jobs.
    Wait,
}

impl Origin {
    /// The stream's name.
    pub fn stream(self) -> &'static str {
        match self {
            Origin::Jobs => subjects::JOBS_STREAM,
            Origin::Wait => subjects::WAIT_STREAM,
        }
    }
}

impl QueueKey {
    /// A lane itself.
    pub fn of_lane(lane: impl Into<Arc<LaneKey>>) -> QueueKey {
        QueueKey { lane: lane.into(), gate: None }
    }

    /// A lane's jobs that waited behind a gate.
    pub fn behind(gate: Gate, lane: impl Into<Arc<LaneKey>>) -> QueueKey {
        QueueKey { lane: lane.into(), gate: Some(gate) }
    }

    /// The stream that holds its jobs.
    pub fn origin(&self) -> Origin {
        match self.gate {
            None => Origin::Jobs,
            Some(_) => Origin::Wait,
        }
    }

    /// The durable name of its consumer. Only lanes of a known class and a well-formed team have one: see
    /// [`LaneKey::is_stray`].
    pub(crate) fn consumer(&self) -> String {
        let LaneKey { class, team } = &*self.lane;
        match &self.gate {
            None => format!("lane-{class}-{team}"),
            Some(gate) => format!("wait-{gate}-{class}-{team}"),
        }
    }

    /// What its consumer filters.
    pub(crate) fn filter(&self) -> String {
        match &self.gate {
            None => subjects::jobs(&self.lane),
            Some(gate) => format!("{WAIT}{gate}.{}.{}.*", self.lane.class, self.lane.team),
        }
    }

    /// The queue behind a gate that a consumer's filter serves, if it is one.
    pub(crate) fn of_filter(filter: &str) -> Option<QueueKey> {
        let tokens: Vec<&str> = filter.strip_prefix(WAIT)?.split('.').collect();
        let [gate, class, team, "*"] = tokens[..] else { return None };
        let lane = LaneKey { class: class.to_owned(), team: team.to_owned() };
        Some(QueueKey::behind(gate.parse().ok()?, lane))
    }

    /// The queue of a job's subject, if it is one.
    pub fn of_subject(subject: &str) -> Option<QueueKey> {
        match subjects::parse_jobs(subject) {
            Some(lane) => Some(QueueKey::of_lane(lane)),
            None => subjects::parse_wait(subject).map(|(gate, lane, _)| QueueKey::behind(gate, lane)),
        }
    }
}

const WAIT: &str = "tollgate.wait.";

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gate {
            None => self.lane.fmt(f),
            Some(gate) => write!(f, "{}@{gate}", self.lane),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_read_back_from_its_subjects_and_its_filter() {
        let lane = LaneKey { class: "batch".into(), team: "search".into() };
        let behind = QueueKey::behind(Gate::of_model("gpt-4o"), lane.clone());
        assert_eq!(QueueKey::of_filter(&behind.filter()), Some(behind.clone()));
        let job = "search:1".parse().unwrap();
        let subject = subjects::wait(&Gate::of_model("gpt-4o"), &lane, &job);
        assert_eq!(QueueKey::of_subject(&subject), Some(behind));
        assert_eq!(QueueKey::of_subject(&subjects::jobs(&lane)), Some(QueueKey::of_lane(lane.clone())));
        for none in [subjects::later(&lane, &job), "_INBOX.x.1".into(), "tollgate.wait.due.batch.search".into()] {
            assert_eq!(QueueKey::of_subject(&none), None, "{none}");
        }
        for none in ["tollgate.wait.due.batch.search.x", "tollgate.wait.later.batch.search.*", "tollgate.jobs.a.b", ""]
        {
            assert_eq!(QueueKey::of_filter(none), None, "{none}");
        }
    }
}
