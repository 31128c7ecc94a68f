//! Every message header that Tollgate reads or writes.

/// The job's id, NATS' own way to say "this is the same message".
pub const JOB_ID: &str = "Nats-Msg-Id";
/// On a result: the usage event as JSON in ASCII, at most [`USAGE_MAX`] bytes. A result counts only with it.
pub const USAGE: &str = "Tollgate-Usage";
/// On a result: [`Digest`](crate::Digest) of the request that it answers.
pub const DIGEST: &str = "Tollgate-Digest";
/// In place of a digest on a result that answers its id whatever the request was.
pub const ANY_DIGEST: &str = "any";
/// NATS' own headers act on whatever message carries them, so a dead letter has the producer's under this prefix
/// instead of [`NATS`].
pub const DEAD: &str = "Tollgate-Dead-";
/// How NATS' own headers begin.
pub const NATS: &str = "Nats-";
/// On a dead letter: the error code of the reason.
pub const DEAD_REASON: &str = "Tollgate-Dead-Reason";
/// On a dead letter: the subject that the job was published on.
pub const DEAD_SUBJECT: &str = "Tollgate-Dead-Subject";
/// On a dead letter: the job id that it was answered under.
pub const DEAD_JOB: &str = "Tollgate-Dead-Job";
/// On a dead letter: the producer's own `Nats-Msg-Id`.
pub const DEAD_MSG_ID: &str = "Tollgate-Dead-Msg-Id";
/// On a dead letter whose headers could not be read: the header block as base64.
pub const DEAD_HEADERS: &str = "Tollgate-Dead-Headers";
/// On a job: the id of the API key that it came in with; written by the front door, and by producers that keep their own.
pub const KEY: &str = "Tollgate-Key";
/// On a parked job: the digest of the request, so that an id that comes again with another body is noticed.
pub const PARKED_DIGEST: &str = "Tollgate-Parked-Digest";
/// On a parked job: when the server first accepted it, ms since the Unix epoch.
pub const PARKED_ACCEPTED_AT: &str = "Tollgate-Accepted-At";
/// On a parked job: how many earlier deliveries may have been paid for.
pub const PARKED_DELIVERIES: &str = "Tollgate-Deliveries";
/// On a parked job: what it waits for, in words.
pub const PARKED_FOR: &str = "Tollgate-Waits-For";
/// On a result whose texts are gone: the [`Tombstone`](crate::Tombstone) as JSON in ASCII.
pub const TOMBSTONE: &str = "Tollgate-Tombstone";
/// On a kept answer: the id of the job that it came from, so that it goes when that job is forgotten.
pub const FROM_JOB: &str = "Tollgate-From-Job";
/// W3C trace context of the producer; it goes on through the provider call.
pub const TRACEPARENT: &str = "traceparent";
/// W3C vendor trace state; it travels with [`TRACEPARENT`].
pub const TRACESTATE: &str = "tracestate";
/// A publish is refused unless this is the last sequence on its subject; `0` makes it create-only.
pub const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// How long the server keeps a message, such as `3600s`.
pub const TTL: &str = "Nats-TTL";
/// On a kept answer: of what call it is, as JSON.
pub const CACHED: &str = "Tollgate-Cached";

/// The most bytes of the usage header: it must leave room in the message and stay cheap to read alone.
pub const USAGE_MAX: usize = 16 * 1024;
/// The most bytes of all headers of a job together; a job has no use for more.
pub const JOB_HEADERS_MAX: usize = 16 * 1024;
