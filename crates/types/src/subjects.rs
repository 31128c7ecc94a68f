//! Every stream, subject and bucket name. Teams hold permissions on these, so they do not change.

use crate::ids::{JobId, LaneKey};

/// The stream of accepted jobs.
pub const JOBS_STREAM: &str = "TOLLGATE_JOBS";
/// The stream of final results and extra spend: the commit log.
pub const RESULTS_STREAM: &str = "TOLLGATE_RESULTS";
/// The stream of dead letters.
pub const DEAD_STREAM: &str = "TOLLGATE_DEAD";
/// The bucket of live configuration: teams.
pub const CONFIG_BUCKET: &str = "TOLLGATE_CONFIG";
/// The bucket of the broker's own small state: the sink's manifest, suspects.
pub const STATE_BUCKET: &str = "TOLLGATE_STATE";

/// What the jobs stream listens to: exactly one class and one team token.
pub const JOBS: &str = "tollgate.jobs.*.*";
/// What the results stream listens to for final results.
pub const RESULTS: &str = "tollgate.results.*.*";
/// What the results stream listens to for spend that is in no result.
pub const EXTRA: &str = "tollgate.extra.*.*.*";
/// What the dead letter stream listens to.
pub const DEAD: &str = "tollgate.dead.*.*";

/// The subject of a lane.
pub fn jobs(lane: &LaneKey) -> String {
    format!("tollgate.jobs.{}.{}", lane.class, lane.team)
}

/// The lane of a job's subject, if it is one.
pub fn parse_jobs(subject: &str) -> Option<LaneKey> {
    let (class, team) = subject.strip_prefix("tollgate.jobs.")?.split_once('.')?;
    let token = |t: &str| !t.is_empty() && !t.contains('.');
    (token(class) && token(team)).then(|| LaneKey { class: class.to_owned(), team: team.to_owned() })
}

/// The subject of a job's one result.
pub fn result(team: &str, job: &JobId) -> String {
    format!("tollgate.results.{team}.{job}")
}

/// The subject of spend of one run of a job that is not in its result.
pub fn extra(team: &str, job: &JobId, run: &str) -> String {
    format!("tollgate.extra.{team}.{job}.{run}")
}

/// The subject of a lane's dead letters.
pub fn dead(lane: &LaneKey) -> String {
    format!("tollgate.dead.{}.{}", lane.class, lane.team)
}

/// Where an answer may be copied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyTo {
    /// A literal subject inside the team's own prefixes.
    Allowed(String),
    /// Not a literal subject (empty, wildcards, spaces, empty tokens, too long): nothing can be published there.
    Malformed(&'static str),
    /// A literal subject outside the team's own prefixes: nothing may be published there.
    Forbidden,
}

/// The longest reply subject that is accepted, in bytes; NATS clients stay far below it.
pub const REPLY_MAX: usize = 255;

/// Judges a `reply_to` of `team`: it must be a literal subject under `reply.<team>.` or `_INBOX_<team>.`.
pub fn reply_to(team: &str, subject: &str) -> ReplyTo {
    if subject.is_empty() {
        return ReplyTo::Malformed("it is empty");
    }
    if subject.len() > REPLY_MAX {
        return ReplyTo::Malformed("it is longer than 255 bytes");
    }
    if !subject.bytes().all(|b| b.is_ascii_graphic()) {
        return ReplyTo::Malformed("it holds a space or a character outside printable ASCII");
    }
    if subject.split('.').any(str::is_empty) {
        return ReplyTo::Malformed("it has an empty token");
    }
    if subject.split('.').any(|token| token == "*" || token == ">") {
        return ReplyTo::Malformed("it has a wildcard");
    }
    let under = |prefix: &str| subject.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).is_some();
    if under(&format!("reply.{team}")) || under(&format!("_INBOX_{team}")) {
        ReplyTo::Allowed(subject.to_owned())
    } else {
        ReplyTo::Forbidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_read_back_from_its_subject() {
        let lane = LaneKey { class: "batch".into(), team: "search".into() };
        assert_eq!(parse_jobs(&jobs(&lane)), Some(lane));
        for bad in ["tollgate.jobs.batch", "tollgate.jobs.batch.a.b", "tollgate.jobs..a", "x.jobs.a.b"] {
            assert_eq!(parse_jobs(bad), None, "{bad}");
        }
    }

    #[test]
    fn replies_stay_inside_their_team() {
        for ok in ["reply.search.42", "_INBOX_search.abc.def", "reply.search.a.b"] {
            assert_eq!(reply_to("search", ok), ReplyTo::Allowed(ok.into()));
        }
        for bad in [
            "reply.marketing.1",
            "_INBOX.abc",
            "_INBOX_searchx.a",
            "$SYS.REQ.SERVER.PING",
            "$JS.API.STREAM.DELETE.TOLLGATE_JOBS",
            "$JS.ACK.TOLLGATE_JOBS.x",
            "tollgate.jobs.batch.search",
            "reply.search",
        ] {
            assert_eq!(reply_to("search", bad), ReplyTo::Forbidden, "{bad}");
        }
        for bad in [">", "a.*", "", "reply.search.a b", "reply..search.x", "reply.search.>", "reply.search.\r\n"] {
            assert!(matches!(reply_to("search", bad), ReplyTo::Malformed(_)), "{bad:?}");
        }
    }
}
