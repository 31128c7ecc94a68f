//! Every stream and bucket, with every limit explicit, and how `init` creates or upgrades them.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, kv};
use tollgate_types::subjects;

/// What the operator decides about the streams. Sizes in bytes; zero or negative is refused, "unlimited" is spelled out
/// as a large number, so that a full disk never comes as a surprise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Replicas of every stream.
    pub replicas: usize,
    /// Most bytes of waiting jobs; producers are refused above it.
    pub jobs_bytes_max: i64,
    /// Most waiting jobs.
    pub jobs_max: i64,
    /// Most bytes of kept results.
    pub results_bytes_max: i64,
    /// Most kept results; a million cost the server about 280 MB of memory.
    pub results_max: i64,
    /// How long results are kept; longer than the longest ClickHouse outage.
    pub results_age_max: Duration,
    /// Most bytes of dead letters.
    pub dead_bytes_max: i64,
    /// How long dead letters are kept.
    pub dead_age_max: Duration,
    /// How long the server itself recognises a message id; after it a resubmitted id is answered from the results.
    pub duplicate_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: i64 = 1 << 30;
        Limits {
            replicas: 1,
            jobs_bytes_max: 10 * GIB,
            jobs_max: 10_000_000,
            results_bytes_max: 20 * GIB,
            results_max: 2_000_000,
            results_age_max: Duration::from_secs(7 * 24 * 3600),
            dead_bytes_max: GIB,
            dead_age_max: Duration::from_secs(90 * 24 * 3600),
            duplicate_window: DUPLICATE_WINDOW,
        }
    }
}

/// nats-server 2.15 allows 1,000 consumers on a stream unless told otherwise; a lane is one consumer.
pub const LANES_MAX: i32 = 10_000;
/// NATS' own default.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The streams as they should be.
pub fn wanted(limits: &Limits) -> Vec<Config> {
    let base = Config {
        storage: StorageType::File,
        num_replicas: limits.replicas,
        discard: DiscardPolicy::New,
        allow_direct: true,
        allow_rollup: false,
        deny_purge: false,
        deny_delete: false,
        duplicate_window: limits.duplicate_window,
        max_messages_per_subject: -1,
        max_message_size: -1,
        ..Config::default()
    };
    vec![
        Config {
            name: subjects::JOBS_STREAM.into(),
            description: Some("accepted jobs; refuses new ones when full, never drops".into()),
            subjects: vec![subjects::JOBS.into()],
            retention: RetentionPolicy::WorkQueue,
            max_messages: limits.jobs_max,
            max_bytes: limits.jobs_bytes_max,
            max_age: Duration::ZERO,
            max_consumers: LANES_MAX,
            ..base.clone()
        },
        Config {
            name: subjects::RESULTS_STREAM.into(),
            description: Some("one final result per job, and spend that is in none: the commit log".into()),
            subjects: vec![subjects::RESULTS.into(), subjects::EXTRA.into()],
            retention: RetentionPolicy::Limits,
            max_messages: limits.results_max,
            max_bytes: limits.results_bytes_max,
            max_age: limits.results_age_max,
            max_consumers: 100,
            ..base.clone()
        },
        Config {
            name: subjects::DEAD_STREAM.into(),
            description: Some("jobs that cannot be run: original bytes and headers, replayable".into()),
            subjects: vec![subjects::DEAD.into()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_messages: 1_000_000,
            max_bytes: limits.dead_bytes_max,
            max_age: limits.dead_age_max,
            max_consumers: 100,
            ..base
        },
    ]
}

/// What `init` did, or would do, to one stream or bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It did not exist.
    Created(String),
    /// It existed with other limits.
    Updated(String, Vec<String>),
    /// It was as wanted.
    Unchanged(String),
}

/// Why `init` stopped.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The change would lose data or promises; nothing was changed on this stream.
    #[error("refusing to lower {stream}: {changes}; change it by hand if you mean it")]
    WouldLower {
        /// The stream.
        stream: String,
        /// What would become less.
        changes: String,
    },
    /// The server refused.
    #[error("cannot {action} {stream}")]
    Server {
        /// What was tried.
        action: &'static str,
        /// On which stream or bucket.
        stream: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Creates what is missing, raises what is lower, and refuses to lower what exists. Idempotent.
///
/// # Errors
/// Returns the first refusal; streams before it are already as wanted, and running it again is safe.
pub async fn ensure(context: &Context, limits: &Limits) -> Result<Vec<Change>, InitError> {
    let mut changes = Vec::new();
    for config in wanted(limits) {
        changes.push(ensure_stream(context, config).await?);
    }
    for (bucket, history) in [(subjects::CONFIG_BUCKET, 64), (subjects::STATE_BUCKET, 1)] {
        changes.push(ensure_bucket(context, bucket, history, limits.replicas).await?);
    }
    Ok(changes)
}

async fn ensure_stream(context: &Context, wanted: Config) -> Result<Change, InitError> {
    let stream = wanted.name.clone();
    let server = |action| {
        let stream = stream.clone();
        move |source: Box<dyn std::error::Error + Send + Sync>| InitError::Server { action, stream, source }
    };
    let current = match context.get_stream(&stream).await {
        Ok(found) => found.cached_info().config.clone(),
        Err(error) if is_absent(&error) => {
            context.create_stream(wanted).await.map_err(|e| server("create")(e.into()))?;
            return Ok(Change::Created(stream));
        }
        Err(error) => return Err(server("read")(error.into())),
    };
    let (raised, lowered) = difference(&current, &wanted);
    if !lowered.is_empty() {
        return Err(InitError::WouldLower { stream, changes: lowered.join(", ") });
    }
    if raised.is_empty() {
        return Ok(Change::Unchanged(stream));
    }
    let updated = Config {
        subjects: wanted.subjects,
        max_messages: wanted.max_messages,
        max_bytes: wanted.max_bytes,
        max_age: wanted.max_age,
        max_consumers: wanted.max_consumers,
        num_replicas: wanted.num_replicas,
        description: wanted.description,
        ..current
    };
    context.update_stream(&updated).await.map_err(|e| server("update")(e.into()))?;
    Ok(Change::Updated(stream, raised))
}

fn is_absent(error: &jetstream::context::GetStreamError) -> bool {
    matches!(error.kind(), jetstream::context::GetStreamErrorKind::JetStream(e) if e.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

/// What `wanted` would raise and what it would lower, in words.
fn difference(current: &Config, wanted: &Config) -> (Vec<String>, Vec<String>) {
    let (mut raised, mut lowered) = (Vec::new(), Vec::new());
    let mut compare = |name: &str, from: i64, to: i64| {
        // Zero and below mean "no limit" to the server.
        let size = |n: i64| if n <= 0 { i64::MAX } else { n };
        let words = format!("{name} {from} -> {to}");
        match size(to).cmp(&size(from)) {
            std::cmp::Ordering::Less => lowered.push(words),
            std::cmp::Ordering::Greater => raised.push(words),
            std::cmp::Ordering::Equal => {}
        }
    };
    let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    compare("max_msgs", current.max_messages, wanted.max_messages);
    compare("max_bytes", current.max_bytes, wanted.max_bytes);
    compare("max_age (s)", seconds(current.max_age), seconds(wanted.max_age));
    compare("max_consumers", current.max_consumers.into(), wanted.max_consumers.into());
    let replicas = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    compare("replicas", replicas(current.num_replicas), replicas(wanted.num_replicas));
    let missing =
        |a: &Config, b: &Config| a.subjects.iter().filter(|s| !b.subjects.contains(s)).cloned().collect::<Vec<_>>();
    lowered.extend(missing(current, wanted).into_iter().map(|s| format!("subject {s} removed")));
    raised.extend(missing(wanted, current).into_iter().map(|s| format!("subject {s} added")));
    if current.retention != wanted.retention {
        lowered.push(format!("retention {:?} -> {:?}", current.retention, wanted.retention));
    }
    if current.discard != wanted.discard {
        lowered.push(format!("discard {:?} -> {:?}", current.discard, wanted.discard));
    }
    (raised, lowered)
}

/// The most bytes of a bucket: teams and small state.
const BUCKET_BYTES_MAX: i64 = 256 << 20;

async fn ensure_bucket(context: &Context, bucket: &str, history: i64, replicas: usize) -> Result<Change, InitError> {
    if context.get_key_value(bucket).await.is_ok() {
        return Ok(Change::Unchanged(bucket.to_owned()));
    }
    let config = kv::Config {
        bucket: bucket.to_owned(),
        history,
        max_bytes: BUCKET_BYTES_MAX,
        max_value_size: 1 << 20,
        num_replicas: replicas,
        storage: StorageType::File,
        ..kv::Config::default()
    };
    let failed = |source: async_nats::jetstream::context::CreateKeyValueError| InitError::Server {
        action: "create",
        stream: bucket.to_owned(),
        source: source.into(),
    };
    context.create_key_value(config).await.map_err(failed)?;
    Ok(Change::Created(bucket.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_is_told_apart_from_lowering() {
        let small = &wanted(&Limits::default())[0];
        let large = Config { max_bytes: small.max_bytes * 2, ..small.clone() };
        assert_eq!(difference(small, &large).1, Vec::<String>::new());
        assert_eq!(difference(small, &large).0.len(), 1);
        assert_eq!(difference(&large, small).1.len(), 1);
        let unlimited = Config { max_bytes: -1, ..small.clone() };
        assert_eq!(difference(&unlimited, small).1.len(), 1, "a limit where there was none is lower");
    }
}
