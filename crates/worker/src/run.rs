//! One run: one delivery of one job to this worker, and everything that will be said about it.

use std::time::Instant;

use tollgate_queue::Delivery;
use tollgate_types::{Endpoint, JobId, JobSpec, NanoUsd, Rejection, UnixMillis};

use crate::context::Context;

/// What is known of a run from its start.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// A fresh id: it tells this run's record from every other's.
    pub(crate) id: String,
    /// The job.
    pub(crate) job: JobId,
    /// The subject's class token.
    pub(crate) class: String,
    /// The subject's team token.
    pub(crate) team: String,
    /// Which delivery this is, from 1; a first one that is known not to be the first counts as the second.
    pub(crate) delivery: u64,
    /// When the server accepted the job.
    pub(crate) accepted_at: UnixMillis,
    /// When the run started, by the server's clock.
    pub(crate) started_at: UnixMillis,
    started: Instant,
}

impl Run {
    /// Starts the clock of a run.
    pub(crate) fn begin(delivery: &Delivery, job: JobId, cx: &Context) -> Run {
        let was_in_flight = cx.in_flight.was_in_flight(&delivery.place);
        let delivered = delivery.place.delivered.max(1 + u64::from(was_in_flight));
        Run {
            id: uuid::Uuid::now_v7().simple().to_string(),
            job,
            class: delivery.lane.class.clone(),
            team: delivery.lane.team.clone(),
            delivery: delivery.carried_deliveries() + delivered,
            accepted_at: delivery.place.accepted_at,
            started_at: cx.clock.now(),
            started: Instant::now(),
        }
    }

    /// How long the job waited before this run, ms.
    pub(crate) fn queued_ms(&self) -> u64 {
        u64::try_from(self.started_at.since(self.accepted_at).as_millis()).unwrap_or(u64::MAX)
    }

    /// How long the run has taken, ms.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether earlier deliveries may have been paid for.
    pub(crate) fn redelivered(&self) -> bool {
        self.delivery > 1
    }
}

/// What earlier deliveries may have cost, and what of that is already recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// Whether the job could be called at all: one that never found a price never paid, on no delivery.
    pub(crate) callable: bool,
    /// The most that one delivery may have cost.
    pub(crate) bound: NanoUsd,
    /// Whether this run wrote a `started` record, which counts itself until its own record takes that back.
    pub(crate) journaled: bool,
}

impl Unknown {
    /// Deliveries to add to the books with this run's result: the first, which wrote no `started` record, and less
    /// this one, which did. Deliveries between them counted themselves.
    pub(crate) fn with_result(self, delivery: u64) -> (i64, NanoUsd) {
        let count = i64::from(self.callable) * (i64::from(delivery > 1) - i64::from(self.journaled));
        (count, self.times(count))
    }

    /// Deliveries to take back with a record beside the result: this one is no longer unknown.
    pub(crate) fn with_extra(self, counted_by_winner: bool) -> (i64, NanoUsd) {
        let count = -i64::from(self.journaled || counted_by_winner);
        (count, self.times(count))
    }

    /// What the producer is told: how many earlier deliveries may have been paid for, and their bound.
    pub(crate) fn told(self, delivery: u64) -> (i64, NanoUsd) {
        let count = i64::from(self.callable) * i64::try_from(delivery.saturating_sub(1)).unwrap_or(i64::MAX);
        (count, self.times(count))
    }

    fn times(self, count: i64) -> NanoUsd {
        NanoUsd(self.bound.0.saturating_mul(count))
    }
}

/// The parts of a job that its records repeat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    /// The model that was asked for.
    pub(crate) model: String,
    /// The project.
    pub(crate) project: String,
    /// The end user.
    pub(crate) user: String,
    /// The labels.
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    /// Whether deltas were asked for.
    pub(crate) stream: bool,
    /// The endpoint; empty for chat completions.
    pub(crate) endpoint: String,
}

impl Named {
    /// What could be read of one that is no job.
    pub(crate) fn of_rejected(rejection: &Rejection) -> Named {
        Named { user: rejection.user.clone().unwrap_or_default(), ..Named::default() }
    }

    /// What a decoded job says.
    pub(crate) fn of(job: &JobSpec) -> Named {
        Named {
            model: job.request.model.clone(),
            project: job.options.project.clone().unwrap_or_default(),
            user: job.options.user.clone().unwrap_or_default(),
            labels: job.options.labels.clone(),
            stream: job.request.stream_at.is_some(),
            endpoint: match job.request.endpoint {
                Endpoint::ChatCompletions => String::new(),
                other => other.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds up what the books say of a job whose deliveries ended as given; the last one commits.
    fn books(journaled: &[bool]) -> i64 {
        let bound = NanoUsd(7);
        let last = journaled.len();
        let started: i64 = journaled.iter().map(|&j| i64::from(j)).sum();
        let unknown = Unknown { callable: true, bound, journaled: journaled[last - 1] };
        let (count, money) = unknown.with_result(last as u64);
        assert_eq!(money, NanoUsd(7 * count));
        started + count
    }

    #[test]
    fn each_lost_delivery_is_counted_once() {
        assert_eq!(books(&[false]), 0, "a first delivery that commits leaves nothing unknown");
        assert_eq!(books(&[false, true]), 1, "the first one died");
        assert_eq!(books(&[false, true, true]), 2, "two died");
        assert_eq!(books(&[false, false, true]), 1, "the second died before it paid");
        assert_eq!(books(&[false, false]), 1, "the first died, the second paid nothing (it expired, say)");
    }

    #[test]
    fn a_zombie_that_books_its_spend_is_no_longer_unknown() {
        let bound = NanoUsd(7);
        let won = Unknown { callable: true, bound, journaled: true }.with_result(2).0 + 1;
        let zombie = Unknown { callable: true, bound, journaled: false }.with_extra(true).0;
        assert_eq!(won + zombie, 0);
    }
}
