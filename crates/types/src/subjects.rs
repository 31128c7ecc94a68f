//! Every stream, subject and bucket name. Teams hold permissions on these, so they do not change.

use crate::batch::BatchId;
use crate::file::FileId;
use crate::ids::{Digest, JobId, LaneKey, Team};
use crate::scope::Gate;

/// The stream of accepted jobs.
pub const JOBS_STREAM: &str = "TOLLGATE_JOBS";
/// The stream of final results and extra spend: the commit log.
pub const RESULTS_STREAM: &str = "TOLLGATE_RESULTS";
/// The stream of dead letters.
pub const DEAD_STREAM: &str = "TOLLGATE_DEAD";
/// The stream of jobs that wait behind a gate narrower than their lane, or for their time; only the broker writes it.
pub const WAIT_STREAM: &str = "TOLLGATE_WAIT";
/// The append-only stream of what operators and rules changed.
pub const AUDIT_STREAM: &str = "TOLLGATE_AUDIT";
/// The stream of kept answers.
pub const CACHE_STREAM: &str = "TOLLGATE_CACHE";
/// The stream of claims: who is asking a provider for an answer that others wait for.
pub const FLIGHTS_STREAM: &str = "TOLLGATE_FLIGHTS";
/// The stream of prompts as they were sent and answers as they came, of teams that want that; only the broker writes it.
pub const CAPTURE_STREAM: &str = "TOLLGATE_CAPTURE";
/// The stream of bodies that do not fit a message, in chunks; teams write and read their own.
pub const BLOBS_STREAM: &str = "TOLLGATE_BLOBS";
/// The stream of batches: what submitters say of them, and what the broker counted.
pub const BATCHES_STREAM: &str = "TOLLGATE_BATCHES";
/// The stream of uploaded files, in chunks; only the broker writes and reads it.
pub const FILES_STREAM: &str = "TOLLGATE_FILES";
/// The bucket of account and limit records.
pub const LEDGER_BUCKET: &str = "TOLLGATE_LEDGER";
/// The bucket of live configuration: teams, budgets, limits, pauses.
pub const CONFIG_BUCKET: &str = "TOLLGATE_CONFIG";
/// The bucket of the broker's own small state: the sink's manifest, suspects.
pub const STATE_BUCKET: &str = "TOLLGATE_STATE";
/// The bucket of the front door's API keys, as digests.
pub const KEYS_BUCKET: &str = "TOLLGATE_KEYS";
/// The bucket of the calls that came to the front door under an idempotency key.
pub const CALLS_BUCKET: &str = "TOLLGATE_CALLS";

/// What the jobs stream listens to: exactly one class and one team token.
pub const JOBS: &str = "tollgate.jobs.*.*";
/// What the results stream listens to for final results.
pub const RESULTS: &str = "tollgate.results.*.*";
/// What the results stream listens to for spend that is in no result.
pub const EXTRA: &str = "tollgate.extra.*.*.*";
/// What the dead letter stream listens to.
pub const DEAD: &str = "tollgate.dead.*.*";

/// What the stream of waiting jobs listens to: gate, class, team, job.
pub const WAIT: &str = "tollgate.wait.*.*.*.*";
/// What the audit stream listens to: what kind of thing was changed, and its name.
pub const AUDIT: &str = "tollgate.audit.*.*";
/// What the stream of kept answers listens to: team, digest of the model's name, key.
pub const CACHE: &str = "tollgate.cache.*.*.*";
/// What the stream of claims listens to: the short digest of a key.
pub const FLIGHTS: &str = "tollgate.flight.*";
/// What the stream of captures listens to: team, job.
pub const CAPTURE: &str = "tollgate.capture.*.*";
/// What the stream of large bodies listens to: team, job, digest, chunk.
pub const BLOBS: &str = "tollgate.blobs.*.*.*.*";
/// What the stream of batches listens to for what submitters say: team, batch, record.
pub const BULK: &str = "tollgate.bulk.*.*.*";
/// What the stream of batches listens to for what the broker counted: team, batch, record.
pub const BATCHES: &str = "tollgate.batches.*.*.*";
/// What the stream of uploaded files listens to: team, file, part.
pub const FILES: &str = "tollgate.files.*.*.*";
/// What answers are published on while they are written, not stored: team, job.
pub const DELTAS: &str = "tollgate.stream.*.*";
/// What alerts are published on, not stored: team, kind.
pub const ALERT: &str = "tollgate.alert.*.*";
/// Where workers hear that a job they may be running is cancelled.
pub const CANCELLED: &str = "tollgate.control.cancelled";
/// Where workers hear that a deployment asked to be left alone.
pub const LEFT_ALONE: &str = "tollgate.control.left_alone";
/// Where workers hear that kept answers are to be forgotten.
pub const CACHE_PURGED: &str = "tollgate.control.cache_purged";
/// Where workers hear that jobs are forgotten.
pub const FORGOTTEN: &str = "tollgate.control.forgotten";
/// Where workers say how they and the deployments that they call are doing.
pub const REPORTS: &str = "tollgate.control.reports";
/// What teams ask: team, question.
pub const API: &str = "tollgate.api.*.*";

/// The token in place of a gate on which a job waits for its time, as a schedule that no consumer sees.
pub const LATER: &str = "later";

/// The subject of a parked job.
pub fn wait(gate: &Gate, lane: &LaneKey, job: &JobId) -> String {
    format!("tollgate.wait.{gate}.{}.{}.{job}", lane.class, lane.team)
}

/// The subject on which a job waits for its time.
pub fn later(lane: &LaneKey, job: &JobId) -> String {
    format!("tollgate.wait.{LATER}.{}.{}.{job}", lane.class, lane.team)
}

/// Gate, lane and job of a parked job's subject, if it is one that a consumer serves.
pub fn parse_wait(subject: &str) -> Option<(Gate, LaneKey, JobId)> {
    let tokens: Vec<&str> = subject.strip_prefix("tollgate.wait.")?.split('.').collect();
    let [gate, class, team, job] = tokens[..] else { return None };
    let lane = LaneKey { class: class.to_owned(), team: team.to_owned() };
    Some((gate.parse().ok()?, lane, job.parse().ok()?))
}

/// The subject of a kept answer, by the digest of its model's name and its key.
pub fn cached(team: &str, model: &str, key: &Digest) -> String {
    format!("tollgate.cache.{team}.{model}.{key}")
}

/// The subject of the claim on an answer, by the short digest of its key.
pub fn flight(digest: &str) -> String {
    format!("tollgate.flight.{digest}")
}

/// The subject of an alert; the organisation's own alerts have `organisation` in the team's place.
pub fn alert(team: &str, kind: &str) -> String {
    format!("tollgate.alert.{team}.{kind}")
}

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

/// The subject of a job's capture.
pub fn capture(team: &str, job: &JobId) -> String {
    format!("tollgate.capture.{team}.{job}")
}

/// The subject of a chunk, counted from 0, of a job's large body with this SHA-256.
pub fn blob(team: &str, job: &JobId, sha256: &str, chunk: usize) -> String {
    format!("tollgate.blobs.{team}.{job}.{sha256}.{chunk}")
}

/// Where the answer of a job that asks for a stream is published while it is written; nothing is stored.
pub fn stream(team: &str, job: &JobId) -> String {
    format!("tollgate.stream.{team}.{job}")
}

/// The subject of what a batch is.
pub fn batch_spec(team: &str, batch: &BatchId) -> String {
    format!("tollgate.bulk.{team}.{batch}.spec")
}

/// The subject of how far a batch is submitted.
pub fn batch_submitted(team: &str, batch: &BatchId) -> String {
    format!("tollgate.bulk.{team}.{batch}.submitted")
}

/// The subject that says that a batch is to be stopped.
pub fn batch_stop(team: &str, batch: &BatchId) -> String {
    format!("tollgate.bulk.{team}.{batch}.stop")
}

/// The subject that says which batch a submitter's own name stands for, by the short digest of that name.
pub fn batch_key(team: &str, key: &Digest) -> String {
    format!("tollgate.bulk.{team}.{}.key", key.short())
}

/// The subject of which lines of a part of a batch have ended; parts count from 0.
pub fn batch_lines(team: &str, batch: &BatchId, part: u64) -> String {
    format!("tollgate.batches.{team}.{batch}.lines-{part}")
}

/// The subject of how a batch stands.
pub fn batch_progress(team: &str, batch: &BatchId) -> String {
    format!("tollgate.batches.{team}.{batch}.progress")
}

/// The subject that says that a batch has ended.
pub fn batch_done(team: &str, batch: &BatchId) -> String {
    format!("tollgate.batches.{team}.{batch}.done")
}

/// The subject of what was ordered by HTTP to become a batch.
pub fn batch_order(team: &str, batch: &BatchId) -> String {
    format!("tollgate.batches.{team}.{batch}.order")
}

/// The subject that says why nothing, or not all, came of an order.
pub fn batch_outcome(team: &str, batch: &BatchId) -> String {
    format!("tollgate.batches.{team}.{batch}.outcome")
}

/// Team, batch and record of what the broker says of a batch.
pub fn parse_batches(subject: &str) -> Option<(Team, BatchId, &str)> {
    let tokens: Vec<&str> = subject.strip_prefix("tollgate.batches.")?.split('.').collect();
    let [team, batch, record] = tokens[..] else { return None };
    Some((team.parse().ok()?, batch.parse().ok()?, record))
}

/// The subject of a chunk, counted from 0, of an uploaded file.
pub fn file_chunk(team: &str, file: &FileId, chunk: u64) -> String {
    format!("tollgate.files.{team}.{file}.{chunk}")
}

/// The subject that says that an upload was begun.
pub fn file_begun(team: &str, file: &FileId) -> String {
    format!("tollgate.files.{team}.{file}.begun")
}

/// The subject of a whole file's record.
pub fn file_record(team: &str, file: &FileId) -> String {
    format!("tollgate.files.{team}.{file}.meta")
}

/// Team, file and part of a subject of an uploaded file.
pub fn parse_file(subject: &str) -> Option<(Team, FileId, &str)> {
    let tokens: Vec<&str> = subject.strip_prefix("tollgate.files.")?.split('.').collect();
    let [team, file, part] = tokens[..] else { return None };
    Some((team.parse().ok()?, file.parse().ok()?, part))
}

/// Team, batch and record of a submitter's subject.
pub fn parse_bulk(subject: &str) -> Option<(Team, BatchId, &str)> {
    let tokens: Vec<&str> = subject.strip_prefix("tollgate.bulk.")?.split('.').collect();
    let [team, batch, record] = tokens[..] else { return None };
    Some((team.parse().ok()?, batch.parse().ok()?, record))
}

/// Where the front door has results copied to that callers wait for: `instance` is one process, in letters and digits.
pub fn front_reply(team: &str, instance: &str, job: &JobId) -> String {
    format!("reply.{team}.front.{instance}.{job}")
}

/// What one process of the front door listens to for those copies.
pub fn front_replies(instance: &str) -> String {
    format!("reply.*.front.{instance}.*")
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
    fn a_parked_job_is_read_back_from_its_subject() {
        let lane = LaneKey { class: "batch".into(), team: "search".into() };
        let job: JobId = "search:1".parse().unwrap();
        let subject = wait(&Gate::of_model("gpt-4o"), &lane, &job);
        assert_eq!(parse_wait(&subject), Some((Gate::of_model("gpt-4o"), lane.clone(), job.clone())));
        assert_eq!(parse_wait(&later(&lane, &job)), None, "a schedule is nothing to serve");
        assert_eq!(parse_wait("tollgate.wait.due.batch.search"), None);
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
