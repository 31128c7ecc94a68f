//! Every stream and bucket, with every limit explicit, and how `init` creates or upgrades them.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, kv};
use tollgate_types::caching::TTL_MAX;
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
    /// Most bytes of jobs that wait behind a gate or for their time; above it jobs wait in their lanes.
    pub wait_bytes_max: i64,
    /// Most jobs that wait behind a gate or for their time; a million cost the server about 280 MB of memory.
    pub wait_max: i64,
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
    /// Most bytes of kept answers; the oldest make room.
    pub cache_bytes_max: i64,
    /// Most bytes of captures; the oldest go first.
    pub capture_bytes_max: i64,
    /// How long captures are kept.
    pub capture_age_max: Duration,
    /// Most bytes of bodies that do not fit a message; more are refused.
    pub blobs_bytes_max: i64,
    /// How long such a body is kept: no less than results, and than jobs wait.
    pub blobs_age_max: Duration,
    /// Most bytes of uploaded files; more are refused.
    pub files_bytes_max: i64,
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
            wait_bytes_max: 10 * GIB,
            wait_max: 2_000_000,
            results_bytes_max: 20 * GIB,
            results_max: 2_000_000,
            results_age_max: Duration::from_secs(7 * 24 * 3600),
            dead_bytes_max: GIB,
            dead_age_max: Duration::from_secs(90 * 24 * 3600),
            cache_bytes_max: GIB,
            capture_bytes_max: GIB,
            capture_age_max: Duration::from_secs(30 * 24 * 3600),
            blobs_bytes_max: 4 * GIB,
            blobs_age_max: Duration::from_secs(14 * 24 * 3600),
            files_bytes_max: 4 * GIB,
            duplicate_window: DUPLICATE_WINDOW,
        }
    }
}

/// nats-server 2.15 allows 1,000 consumers on a stream unless told otherwise; a lane is one consumer.
pub const LANES_MAX: i32 = 10_000;
/// How long it is known who changed what.
pub const AUDIT_AGE: Duration = Duration::from_secs(400 * 24 * 3600);
/// The most bytes of the audit stream; a change is a few hundred.
const AUDIT_BYTES_MAX: i64 = 256 << 20;
/// The most kept answers; a million cost the server about 280 MB of memory.
const CACHE_MAX: i64 = 1_000_000;
/// The most claims at a time: far more than jobs can be in flight.
const FLIGHTS_MAX: i64 = 200_000;
/// Their bytes; a claim has some three hundred.
const FLIGHTS_BYTES_MAX: i64 = 64 << 20;
/// How long it is known what became of a batch, from the last word about it.
pub const BATCHES_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most bytes of one record of a batch: its lines are the largest, some KiB.
const BATCH_RECORD_BYTES_MAX: i32 = 64 << 10;
/// The most records of batches: of some 150,000 small ones. A million cost the server about 280 MB of memory.
const BATCHES_MAX: i64 = 1_000_000;
/// Their bytes: of the largest records, which tell of 16,384 lines each, more than there can be results.
const BATCHES_BYTES_MAX: i64 = 1 << 30;
/// How long an uploaded file is kept: as long as what became of its batch is known.
pub const FILES_AGE: Duration = BATCHES_AGE;
/// NATS' own default.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The streams as they should be.
pub fn wanted(limits: &Limits) -> Vec<Config> {
    vec![
        jobs(limits),
        results(limits),
        dead(limits),
        wait(limits),
        audit(limits),
        cache(limits),
        flights(limits),
        capture(limits),
        blobs(limits),
        batches(limits),
        files(limits),
    ]
}

fn base(limits: &Limits) -> Config {
    Config {
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
    }
}

fn jobs(limits: &Limits) -> Config {
    Config {
        name: subjects::JOBS_STREAM.into(),
        description: Some("accepted jobs; refuses new ones when full, never drops".into()),
        subjects: vec![subjects::JOBS.into()],
        retention: RetentionPolicy::WorkQueue,
        max_messages: limits.jobs_max,
        max_bytes: limits.jobs_bytes_max,
        max_age: Duration::ZERO,
        max_consumers: LANES_MAX,
        ..base(limits)
    }
}

fn results(limits: &Limits) -> Config {
    Config {
        name: subjects::RESULTS_STREAM.into(),
        description: Some("one final result per job, and spend that is in none: the commit log".into()),
        subjects: vec![subjects::RESULTS.into(), subjects::EXTRA.into()],
        retention: RetentionPolicy::Limits,
        max_messages: limits.results_max,
        max_bytes: limits.results_bytes_max,
        max_age: limits.results_age_max,
        max_consumers: 100,
        ..base(limits)
    }
}

fn dead(limits: &Limits) -> Config {
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
        ..base(limits)
    }
}

fn wait(limits: &Limits) -> Config {
    Config {
        name: subjects::WAIT_STREAM.into(),
        description: Some("jobs behind a gate narrower than their lane, or for later; only the broker writes".into()),
        subjects: vec![subjects::WAIT.into()],
        retention: RetentionPolicy::WorkQueue,
        // A stream with schedules cannot refuse what is new (error 10052), only drop what is old, which must never
        // happen here. So the server has no limit, and whoever parks keeps to the one in the metadata.
        discard: DiscardPolicy::Old,
        max_messages: -1,
        max_bytes: -1,
        max_age: Duration::ZERO,
        max_consumers: LANES_MAX,
        metadata: Room { bytes: limits.wait_bytes_max, messages: limits.wait_max }.written(),
        // Never on a stream that producers write: a schedule may name any subject of its stream as its target.
        allow_message_schedules: true,
        ..base(limits)
    }
}

fn audit(limits: &Limits) -> Config {
    Config {
        name: subjects::AUDIT_STREAM.into(),
        description: Some("who changed what, and when; nothing is ever taken out".into()),
        subjects: vec![subjects::AUDIT.into()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages: 1_000_000,
        max_bytes: AUDIT_BYTES_MAX,
        max_age: AUDIT_AGE,
        max_consumers: 100,
        deny_delete: true,
        deny_purge: true,
        ..base(limits)
    }
}

fn cache(limits: &Limits) -> Config {
    Config {
        name: subjects::CACHE_STREAM.into(),
        description: Some("kept answers, one for each request; nothing hangs on them".into()),
        subjects: vec![subjects::CACHE.into()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages: CACHE_MAX,
        max_messages_per_subject: 1,
        max_bytes: limits.cache_bytes_max,
        // Each message has its own time; no team may configure a longer one.
        max_age: TTL_MAX,
        max_consumers: 100,
        allow_message_ttl: true,
        ..base(limits)
    }
}

fn flights(limits: &Limits) -> Config {
    Config {
        name: subjects::FLIGHTS_STREAM.into(),
        description: Some("who fetches an answer that others wait for; each claim ends by itself".into()),
        subjects: vec![subjects::FLIGHTS.into()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages: FLIGHTS_MAX,
        max_messages_per_subject: 1,
        max_bytes: FLIGHTS_BYTES_MAX,
        max_age: Duration::ZERO,
        max_consumers: 100,
        allow_message_ttl: true,
        ..base(limits)
    }
}

fn capture(limits: &Limits) -> Config {
    Config {
        name: subjects::CAPTURE_STREAM.into(),
        description: Some("prompts and answers of teams that want them captured; only the broker writes".into()),
        subjects: vec![subjects::CAPTURE.into()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages: -1,
        max_bytes: limits.capture_bytes_max,
        max_age: limits.capture_age_max,
        max_consumers: 100,
        ..base(limits)
    }
}

fn blobs(limits: &Limits) -> Config {
    Config {
        name: subjects::BLOBS_STREAM.into(),
        description: Some("bodies that do not fit a message, in chunks; teams write and read their own".into()),
        subjects: vec![subjects::BLOBS.into()],
        retention: RetentionPolicy::Limits,
        max_messages: -1,
        // A chunk that is published again takes the place of the first, and its age begins anew.
        max_messages_per_subject: 1,
        max_bytes: limits.blobs_bytes_max,
        max_age: limits.blobs_age_max,
        max_consumers: 100,
        ..base(limits)
    }
}

fn batches(limits: &Limits) -> Config {
    Config {
        name: subjects::BATCHES_STREAM.into(),
        description: Some("batches: what submitters say of them, what the broker counted, and that they ended".into()),
        subjects: vec![subjects::BULK.into(), subjects::BATCHES.into()],
        retention: RetentionPolicy::Limits,
        // Full, it refuses: whoever fills it must not make the broker forget the batches of others.
        max_message_size: BATCH_RECORD_BYTES_MAX,
        max_messages: BATCHES_MAX,
        max_messages_per_subject: 1,
        max_bytes: BATCHES_BYTES_MAX,
        max_age: BATCHES_AGE,
        max_consumers: 100,
        ..base(limits)
    }
}

/// They lie in chunks too, and are refused when there is no room.
fn files(limits: &Limits) -> Config {
    Config {
        name: subjects::FILES_STREAM.into(),
        description: Some("uploaded files of requests, in chunks; only the broker writes and reads".into()),
        subjects: vec![subjects::FILES.into()],
        max_bytes: limits.files_bytes_max,
        max_age: FILES_AGE,
        ..blobs(limits)
    }
}

/// How much may wait behind gates, as the stream's own metadata says it to everybody who parks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The most bytes.
    pub bytes: i64,
    /// The most jobs.
    pub messages: i64,
}

impl Room {
    const BYTES: &str = "tollgate.max_bytes";
    const MESSAGES: &str = "tollgate.max_msgs";

    /// What a stream's metadata says; nothing said is no limit, as it is for the server's own limits.
    pub fn read(metadata: &HashMap<String, String>) -> Room {
        let number = |key| metadata.get(key).and_then(|text| text.parse().ok()).unwrap_or(-1);
        Room { bytes: number(Room::BYTES), messages: number(Room::MESSAGES) }
    }

    fn written(self) -> HashMap<String, String> {
        let (bytes, messages) = (self.bytes.to_string(), self.messages.to_string());
        HashMap::from([(Room::BYTES.to_owned(), bytes), (Room::MESSAGES.to_owned(), messages)])
    }
}

/// What `init` did to one stream or bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It did not exist.
    Created(String),
    /// It existed with other limits.
    Updated(String, Vec<String>),
    /// It was as wanted.
    Unchanged(String),
}

/// What [`ensure`] would do to one stream or bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The stream or bucket.
    pub name: String,
    /// What would become of it.
    pub step: Step,
}

/// What would become of a stream or bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It does not exist.
    Create,
    /// It has less than is wanted, or is the stream of kept answers, which may be lowered; in words.
    Raise(Vec<String>),
    /// Something would become less, which is refused; in words. Nothing else would be changed on it either.
    Refuse(Vec<String>),
    /// It is as wanted.
    Keep,
}

enum Wanted {
    Stream(Box<Config>),
    Bucket(Box<kv::Config>),
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

/// Says what [`ensure`] would do, and does nothing.
///
/// Cancel safe.
///
/// # Errors
/// Returns [`InitError::Server`] when a stream or bucket cannot be read.
pub async fn plan(context: &Context, limits: &Limits) -> Result<Vec<Planned>, InitError> {
    let planned = compare_all(context, limits).await?;
    Ok(planned.into_iter().map(|(planned, _)| planned).collect())
}

/// Creates what is missing, raises what is lower, and refuses to lower what exists. Idempotent.
///
/// # Errors
/// Returns the first refusal, before anything is changed; or why the server did not do it, after which what was done
/// stays and running it again is safe.
pub async fn ensure(context: &Context, limits: &Limits) -> Result<Vec<Change>, InitError> {
    let planned = compare_all(context, limits).await?;
    for (Planned { name, step }, _) in &planned {
        if let Step::Refuse(changes) = step {
            return Err(InitError::WouldLower { stream: name.clone(), changes: changes.join(", ") });
        }
    }
    let mut changes = Vec::new();
    for (planned, wanted) in planned {
        changes.push(carry_out(context, planned, wanted).await?);
    }
    Ok(changes)
}

async fn compare_all(context: &Context, limits: &Limits) -> Result<Vec<(Planned, Wanted)>, InitError> {
    let mut planned = Vec::new();
    for wanted in wanted(limits) {
        let name = wanted.name.clone();
        let step = current(context, &name, &name).await?.map_or(Step::Create, |current| step(&current, &wanted));
        planned.push((Planned { name, step }, Wanted::Stream(Box::new(wanted))));
    }
    for wanted in wanted_buckets(limits) {
        let name = wanted.bucket.clone();
        // A bucket is created or left as it is: its limits are ours alone.
        let step = current(context, &format!("KV_{name}"), &name).await?.map_or(Step::Create, |_| Step::Keep);
        planned.push((Planned { name, step }, Wanted::Bucket(Box::new(wanted))));
    }
    Ok(planned)
}

/// The configuration of a stream, or `None` where it does not exist.
async fn current(context: &Context, stream: &str, called: &str) -> Result<Option<Config>, InitError> {
    match context.get_stream(stream).await {
        Ok(found) => Ok(Some(found.cached_info().config.clone())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(refused("read", called)(error.into())),
    }
}

fn is_absent(error: &jetstream::context::GetStreamError) -> bool {
    matches!(error.kind(), jetstream::context::GetStreamErrorKind::JetStream(e) if e.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

fn refused(
    action: &'static str,
    stream: &str,
) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> InitError + use<> {
    let stream = stream.to_owned();
    move |source| InitError::Server { action, stream, source }
}

async fn carry_out(context: &Context, planned: Planned, wanted: Wanted) -> Result<Change, InitError> {
    let Planned { name, step } = planned;
    match (step, wanted) {
        (Step::Create, Wanted::Stream(wanted)) => {
            context.create_stream(*wanted).await.map_err(|error| refused("create", &name)(error.into()))?;
            Ok(Change::Created(name))
        }
        (Step::Create, Wanted::Bucket(wanted)) => {
            context.create_key_value(*wanted).await.map_err(|error| refused("create", &name)(error.into()))?;
            Ok(Change::Created(name))
        }
        (Step::Raise(words), Wanted::Stream(wanted)) => {
            // Read again, so that what nobody plans here is kept as it is.
            let current = current(context, &name, &name).await?.unwrap_or_else(|| (*wanted).clone());
            let raised = raised(current, *wanted);
            context.update_stream(&raised).await.map_err(|error| refused("update", &name)(error.into()))?;
            Ok(Change::Updated(name, words))
        }
        (Step::Keep | Step::Raise(_) | Step::Refuse(_), _) => Ok(Change::Unchanged(name)),
    }
}

/// The running configuration with what Tollgate looks after as wanted.
fn raised(current: Config, wanted: Config) -> Config {
    Config {
        subjects: wanted.subjects,
        max_messages: wanted.max_messages,
        max_bytes: wanted.max_bytes,
        max_age: wanted.max_age,
        max_message_size: wanted.max_message_size,
        max_consumers: wanted.max_consumers,
        num_replicas: wanted.num_replicas,
        duplicate_window: wanted.duplicate_window,
        allow_direct: wanted.allow_direct,
        allow_message_schedules: wanted.allow_message_schedules,
        allow_message_ttl: wanted.allow_message_ttl || current.allow_message_ttl,
        // Whatever else an operator forbids on his streams is his.
        deny_delete: wanted.deny_delete || current.deny_delete,
        deny_purge: wanted.deny_purge || current.deny_purge,
        description: wanted.description,
        metadata: current.metadata.into_iter().chain(wanted.metadata).collect(),
        ..current
    }
}

fn step(current: &Config, wanted: &Config) -> Step {
    let (raised, lowered) = difference(current, wanted);
    match (raised.is_empty(), lowered.is_empty()) {
        // Nothing that counts is lost with kept answers.
        (_, false) if wanted.name == subjects::CACHE_STREAM => Step::Raise([raised, lowered].concat()),
        (_, false) => Step::Refuse(lowered),
        (false, true) => Step::Raise(raised),
        (true, true) => Step::Keep,
    }
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
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    compare("max_msgs", current.max_messages, wanted.max_messages);
    compare("max_bytes", current.max_bytes, wanted.max_bytes);
    let (is, wants) = (Room::read(&current.metadata), Room::read(&wanted.metadata));
    compare(Room::MESSAGES, is.messages, wants.messages);
    compare(Room::BYTES, is.bytes, wants.bytes);
    compare("max_age (ms)", millis(current.max_age), millis(wanted.max_age));
    compare("max_msg_size", current.max_message_size.into(), wanted.max_message_size.into());
    compare("max_consumers", current.max_consumers.into(), wanted.max_consumers.into());
    let replicas = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    compare("replicas", replicas(current.num_replicas), replicas(wanted.num_replicas));
    // A window that is not set is the server's default, not unlimited; a shorter one forgets ids that it promised to
    // know.
    compare("duplicate_window (ms)", millis(current.duplicate_window), millis(wanted.duplicate_window));
    let missing =
        |a: &Config, b: &Config| a.subjects.iter().filter(|s| !b.subjects.contains(s)).cloned().collect::<Vec<_>>();
    lowered.extend(missing(current, wanted).into_iter().map(|s| format!("subject {s} removed")));
    raised.extend(missing(wanted, current).into_iter().map(|s| format!("subject {s} added")));
    let mut compare = |name: &str, is: bool, wants: bool| match (is, wants) {
        (false, true) => raised.push(format!("{name} false -> true")),
        (true, false) => lowered.push(format!("{name} true -> false")),
        (true, true) | (false, false) => {}
    };
    // Lookups of results go by direct gets; without, they fail.
    compare("allow_direct", current.allow_direct, wanted.allow_direct);
    // Where producers write, it lets them publish into each other's lanes.
    compare("allow_msg_schedules", current.allow_message_schedules, wanted.allow_message_schedules);
    // Without it kept answers and claims never end; once allowed, the server never takes it back.
    let ttl = wanted.allow_message_ttl || current.allow_message_ttl;
    compare("allow_msg_ttl", current.allow_message_ttl, ttl);
    compare("deny_delete", current.deny_delete, wanted.deny_delete || current.deny_delete);
    compare("deny_purge", current.deny_purge, wanted.deny_purge || current.deny_purge);
    for (name, is, wants) in [
        ("retention", format!("{:?}", current.retention), format!("{:?}", wanted.retention)),
        ("discard", format!("{:?}", current.discard), format!("{:?}", wanted.discard)),
        ("storage", format!("{:?}", current.storage), format!("{:?}", wanted.storage)),
    ] {
        if is != wants {
            lowered.push(format!("{name} {is} -> {wants}"));
        }
    }
    (raised, lowered)
}

fn wanted_buckets(limits: &Limits) -> [kv::Config; 5] {
    const MIB: i64 = 1 << 20;
    let bucket = |name: &str, history, max_bytes, max_value_size| kv::Config {
        bucket: name.to_owned(),
        history,
        max_bytes,
        max_value_size,
        num_replicas: limits.replicas,
        storage: StorageType::File,
        ..kv::Config::default()
    };
    [
        bucket(subjects::CONFIG_BUCKET, 64, 256 * MIB, 1 << 20),
        bucket(subjects::STATE_BUCKET, 1, 256 * MIB, 1 << 20),
        // The last versions of an account tell what went on; a record of 2,000 leases is far below the value's limit.
        bucket(subjects::LEDGER_BUCKET, 16, 1024 * MIB, 256 << 10),
        bucket(subjects::KEYS_BUCKET, 4, 64 * MIB, 64 << 10),
        // A note is of use for as long as its result.
        kv::Config { max_age: limits.results_age_max, ..bucket(subjects::CALLS_BUCKET, 1, 512 * MIB, 1 << 10) },
    ]
}

#[cfg(test)]
mod tests;
