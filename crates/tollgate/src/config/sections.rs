//! The sections of the configuration file, with their defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use tollgate_types::Class;
use tollgate_types::guardrails::Policy;

use super::values::{Period, Secret, Size};

mod alerts;
mod cache;
mod checkers;
mod dashboard;
mod front;
mod teams;
mod telemetry;
mod upstream;
mod webhooks;

pub use alerts::Alerts;
pub use cache::{Cache, TeamCache};
pub use checkers::{Checker, Kind as CheckerKind};
pub use dashboard::{Dashboard, DashboardRole, DashboardUser};
pub use front::Front;
pub use teams::{Budget, Organisation, Team};
pub use telemetry::{LogFormat, Telemetry, Traces};
pub use upstream::{Credential, Deployment, Key, LongPrompts, Model, Price, Provider};
pub use webhooks::Webhook;

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How to reach NATS.
    pub nats: Nats,
    /// What the streams may take.
    pub streams: Streams,
    /// How to reach ClickHouse.
    pub clickhouse: ClickHouse,
    /// How jobs are run.
    pub worker: Worker,
    /// How spend goes into the accounts.
    pub settler: Settler,
    /// How the log goes into ClickHouse.
    pub sink: Sink,
    /// The cache of answers: its size, and what holds for everybody, as `init` and `config apply` write it.
    pub cache: Cache,
    /// What is kept of teams that have their prompts and answers captured.
    pub capture: Capture,
    /// What is watched, and where alerts go beside their subject.
    pub alerts: Alerts,
    /// Probes and metrics.
    pub http: Http,
    /// The screens, which are served where the probes are.
    pub dashboard: Dashboard,
    /// The front door.
    pub front: Front,
    /// Logs.
    pub telemetry: Telemetry,
    /// The providers, by the operator's names.
    pub providers: BTreeMap<String, Provider>,
    /// What serves a model name; without any, every priced model of each provider is served by its own name.
    pub models: BTreeMap<String, Model>,
    /// What holds for everybody together, as `init` and `config apply` write it.
    pub organisation: Organisation,
    /// The teams that `init` and `config apply` register.
    pub teams: BTreeMap<String, Team>,
    /// The guardrails of every team, as far as its own do not say otherwise; `init` and `config apply` write them.
    pub guardrails: Option<Policy>,
    /// The external checkers, by the operator's names, which are rules of guardrails.
    pub checkers: BTreeMap<String, Checker>,
    /// Where results are posted to, by team.
    pub webhooks: BTreeMap<String, Webhook>,
}

/// How to reach NATS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// One or more server URLs, comma separated.
    pub url: String,
    /// A context of the `nats` command, by name, in place of all other keys here.
    pub context: Option<String>,
    /// The user, with `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A bare token.
    pub token: Option<Secret>,
    /// A credentials file.
    pub creds: Option<PathBuf>,
    /// An NKey seed file.
    pub nkey: Option<PathBuf>,
    /// The authority that signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Refuse to talk without TLS.
    pub tls_required: bool,
    /// The prefix of our inboxes.
    pub inbox_prefix: Option<String>,
}

impl Default for Nats {
    fn default() -> Self {
        Nats {
            url: "nats://127.0.0.1:4222".into(),
            context: None,
            user: None,
            password: None,
            token: None,
            creds: None,
            nkey: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            tls_required: false,
            inbox_prefix: None,
        }
    }
}

/// What the streams may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// Replicas of every stream: 1, 3 or 5.
    pub replicas: usize,
    /// Most bytes of waiting jobs; producers are refused above it.
    pub jobs_bytes_max: Size,
    /// Most waiting jobs.
    pub jobs_max: u64,
    /// Most bytes of jobs that wait behind a gate or for their time.
    pub wait_bytes_max: Size,
    /// Most jobs that wait behind a gate or for their time.
    pub wait_max: u64,
    /// Most bytes of kept results.
    pub results_bytes_max: Size,
    /// Most kept results.
    pub results_max: u64,
    /// How long results are kept.
    pub results_age_max: Period,
    /// Most bytes of dead letters.
    pub dead_bytes_max: Size,
    /// How long dead letters are kept.
    pub dead_age_max: Period,
    /// Most bytes of bodies that do not fit a message; more are refused.
    pub blobs_bytes_max: Size,
    /// How long such a body is kept: no less than jobs wait and results are kept.
    pub blobs_age_max: Period,
    /// Most bytes of uploaded files; more are refused.
    pub files_bytes_max: Size,
    /// How long the server itself answers a resubmitted id with `duplicate`.
    pub duplicate_window: Period,
}

impl Default for Streams {
    fn default() -> Self {
        let limits = tollgate_queue::streams::Limits::default();
        let count = |n: i64| u64::try_from(n).expect("the defaults are positive");
        Streams {
            replicas: limits.replicas,
            jobs_bytes_max: Size(count(limits.jobs_bytes_max)),
            jobs_max: count(limits.jobs_max),
            wait_bytes_max: Size(count(limits.wait_bytes_max)),
            wait_max: count(limits.wait_max),
            results_bytes_max: Size(count(limits.results_bytes_max)),
            results_max: count(limits.results_max),
            results_age_max: Period(limits.results_age_max),
            dead_bytes_max: Size(count(limits.dead_bytes_max)),
            dead_age_max: Period(limits.dead_age_max),
            blobs_bytes_max: Size(count(limits.blobs_bytes_max)),
            blobs_age_max: Period(limits.blobs_age_max),
            files_bytes_max: Size(count(limits.files_bytes_max)),
            duplicate_window: Period(limits.duplicate_window),
        }
    }
}

/// How to reach ClickHouse.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouse {
    /// The address of its HTTP interface.
    pub url: String,
    /// The database that holds our tables.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The authority that signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// The cluster, of one shard, whose servers replicate the tables; they need the macros `shard` and `replica`. Left out,
    /// the tables are on this one server.
    pub cluster: Option<String>,
}

impl Default for ClickHouse {
    fn default() -> Self {
        ClickHouse {
            url: "http://127.0.0.1:8123".into(),
            database: "tollgate".into(),
            user: "default".into(),
            password: Secret::default(),
            tls_ca: None,
            cluster: None,
        }
    }
}

/// How jobs are run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// The worker's name in results and logs; unique. Left out, it is made from host and process.
    pub name: Option<String>,
    /// The most jobs in flight.
    pub concurrency: usize,
    /// The classes that this process serves; all if empty.
    pub classes: Vec<Class>,
    /// The teams that this process serves; all if empty.
    pub teams: Vec<tollgate_types::Team>,
    /// How long a block of money or permits is held without a sign of life from its worker.
    pub lease: Period,
    /// How long a worker may be silent before its jobs go to another.
    pub ack_wait: Period,
    /// The most jobs of one lane in flight, over all workers.
    pub lane_in_flight_max: u32,
    /// A lane's consumer goes away after this long without a pull.
    pub lane_idle_max: Period,
    /// The largest job that is read.
    pub payload_bytes_max: Size,
    /// The most calls to one deployment in one run of a job.
    pub attempts_per_deployment: u32,
    /// The most calls in one run of a job.
    pub attempts_total: u32,
    /// The longest wait that a provider may ask for and still be waited for.
    pub retry_after_max: Period,
    /// Answer tokens that are assumed where neither job nor model names a limit; for upper bounds.
    pub output_tokens_default: u64,
    /// How long jobs in flight may go on after a stop was asked for.
    pub drain: Period,
    /// The proxy that all calls to providers go through.
    pub proxy: Option<String>,
    /// Whether prompts may name pictures and files at private addresses for a provider to fetch.
    pub private_references: bool,
}

impl Default for Worker {
    fn default() -> Self {
        let worker = tollgate_worker::Config::default();
        Worker {
            name: None,
            concurrency: worker.concurrency,
            classes: Vec::new(),
            teams: Vec::new(),
            lease: Period::secs(30),
            ack_wait: Period(worker.lanes.ack_wait),
            lane_in_flight_max: u32::try_from(worker.lanes.in_flight_max).expect("the default is small"),
            lane_idle_max: Period(worker.lanes.idle_max),
            payload_bytes_max: Size(worker.payload_bytes_max as u64),
            attempts_per_deployment: worker.limits.attempts_per_deployment,
            attempts_total: worker.limits.attempts_total,
            retry_after_max: Period(worker.limits.retry_after_max),
            output_tokens_default: worker.output_tokens_default,
            drain: Period(worker.drain),
            proxy: None,
            private_references: false,
        }
    }
}

/// How spend goes into the accounts: by one active settler among all workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settler {
    /// A settler that stands by takes over after three of these without a sign of life.
    pub lease: Period,
    /// How long results may gather before they are settled together.
    pub batch_wait: Period,
}

impl Default for Settler {
    fn default() -> Self {
        Settler { lease: Period::secs(5), batch_wait: Period(std::time::Duration::from_millis(50)) }
    }
}

/// What is kept of teams that have their prompts and answers captured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// How long.
    pub keep: Period,
    /// Most bytes; the oldest go first.
    pub bytes_max: Size,
}

impl Default for Capture {
    fn default() -> Self {
        let limits = tollgate_queue::streams::Limits::default();
        let bytes = u64::try_from(limits.capture_bytes_max).expect("the default is positive");
        Capture { keep: Period(limits.capture_age_max), bytes_max: Size(bytes) }
    }
}

/// How the log goes into ClickHouse.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    /// The most rows of one insert.
    pub batch_rows_max: usize,
    /// How long a batch may wait to fill.
    pub batch_wait: Period,
    /// A sink that stands by takes over after three of these without a sign of life.
    pub lease: Period,
    /// How long a stop waits for the insert under way.
    pub shutdown_grace: Period,
}

impl Default for Sink {
    fn default() -> Self {
        let sink = tollgate_sink::SinkConfig::new("");
        Sink {
            batch_rows_max: sink.batch_rows_max,
            batch_wait: Period(sink.batch_wait),
            lease: Period(sink.lease),
            shutdown_grace: Period(sink.shutdown_grace),
        }
    }
}

/// Probes and metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Http { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) }
    }
}
