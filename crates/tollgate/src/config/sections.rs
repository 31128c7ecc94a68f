//! The sections of the configuration file, with their defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use tollgate_policy::routing::Strategy;
use tollgate_providers::{KeySource, Vendor};
use tollgate_types::{Class, Limits};

use super::values::{Decimal, Period, Secret, Size};

mod teams;

pub use teams::{Budget, Organisation, Team};

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
    /// Where alerts go beside their subject.
    pub alerts: Alerts,
    /// Probes and metrics.
    pub http: Http,
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
}

impl Default for ClickHouse {
    fn default() -> Self {
        ClickHouse {
            url: "http://127.0.0.1:8123".into(),
            database: "tollgate".into(),
            user: "default".into(),
            password: Secret::default(),
            tls_ca: None,
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

/// Where alerts go beside their subject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// The address that each alert is posted to as JSON. Such addresses often carry a key, so it is shown as a secret.
    pub webhook: Option<Secret>,
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

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Lines for people or for machines.
    pub log_format: LogFormat,
    /// What is logged, such as `info` or `warn,tollgate_worker=debug`.
    pub log: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { log_format: LogFormat::Text, log: "info,async_nats=warn".into() }
    }
}

/// One provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Whose wire format it speaks.
    pub vendor: String,
    /// What the vendor's own clients take; the vendor's own address if left out.
    pub base_url: Option<String>,
    /// The dated version of Azure's API; the undated one if left out. For Azure alone.
    pub api_version: Option<String>,
    /// How the key goes along: as Azure's API key, or as a bearer token of Microsoft Entra. For Azure alone.
    pub credential: Option<Credential>,
    /// Where its key comes from.
    pub key: Option<Key>,
    /// Where its keys come from, in place of `key`, if it has several: they are used in turn.
    pub keys: Vec<Key>,
    /// Whether `base_url` may be an address that only neighbours on the same wire have.
    pub allow_link_local: bool,
    /// The vendor whose list prices hold here; for the vendor's own address, that vendor.
    pub prices_as: Option<String>,
    /// Where it runs, for reports.
    pub region: Option<String>,
    /// From the start of a call to the response's headers.
    pub first_byte_timeout: Period,
    /// From the start of a call to the end of the answer.
    pub total_timeout: Period,
    /// How long a streamed answer may be silent; before the model's first word the first byte's time holds, if longer.
    pub stall_timeout: Period,
    /// Whether job, run and attempt go along as headers.
    pub correlation_headers: bool,
    /// Whether it costs nothing.
    pub free: bool,
}

impl Provider {
    /// Whose wire format it speaks, if that is known.
    pub fn speaks(&self) -> Option<Vendor> {
        self.vendor.parse().ok()
    }

    /// The base URL, without a slash at its end.
    pub fn address(&self) -> &str {
        let own = || self.speaks().and_then(Vendor::own_address).unwrap_or_default();
        self.base_url.as_deref().unwrap_or_else(own).trim_end_matches('/')
    }

    /// The vendor, if this is its own address; of Azure, a resource's.
    pub fn is_the_vendor_itself(&self) -> Option<Vendor> {
        self.speaks().filter(|vendor| match vendor {
            Vendor::Azure => self.is_at_azure(),
            vendor => vendor.own_address() == Some(self.address()),
        })
    }

    /// Whether it is a resource of Azure, by the hosts that Azure gives out.
    fn is_at_azure(&self) -> bool {
        const RESOURCES: [&str; 3] = [".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"];
        let rest = self.address().strip_prefix("https://").unwrap_or_default();
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        RESOURCES.iter().any(|domain| host.ends_with(domain))
    }
}

impl Default for Provider {
    fn default() -> Self {
        let timeouts = tollgate_providers::Timeouts::default();
        Provider {
            vendor: "openai".into(),
            base_url: None,
            api_version: None,
            credential: None,
            key: None,
            keys: Vec::new(),
            allow_link_local: false,
            prices_as: None,
            region: None,
            first_byte_timeout: Period(timeouts.first_byte),
            total_timeout: Period(timeouts.total),
            stall_timeout: Period(timeouts.stall),
            correlation_headers: false,
            free: false,
        }
    }
}

/// How a key goes along to Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// In the header `api-key`, as if nothing were said.
    ApiKey,
    /// As a bearer token.
    Bearer,
}

/// Where a key comes from: one of `env`, `file` and `command`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// An environment variable.
    pub env: Option<String>,
    /// A file that holds the key and nothing else.
    pub file: Option<PathBuf>,
    /// A program with its arguments that prints the key and nothing else.
    pub command: Option<Vec<String>>,
    /// How long the command's key is used before it is run again.
    pub every: Option<Period>,
    /// What logs and metrics call the key; `key-1` and so on if left out.
    pub name: Option<String>,
}

impl Key {
    /// How long a command's key is used if nobody says otherwise.
    const EVERY: Period = Period::secs(600);

    /// What it says, if that is a source.
    pub fn source(&self) -> Option<KeySource> {
        match self {
            Key { env: Some(name), .. } => Some(KeySource::Env(name.clone())),
            Key { file: Some(path), .. } => Some(KeySource::File(path.clone())),
            Key { command: Some(argv), every, .. } => {
                Some(KeySource::Command { argv: argv.clone(), every: every.unwrap_or(Key::EVERY).0 })
            }
            Key { env: None, file: None, command: None, .. } => None,
        }
    }
}

/// What serves a model name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// The deployments, in the order in which they are tried.
    pub deployments: Vec<Deployment>,
    /// How they share the calls: `ordered`, `weighted`, `lowest_cost` or `lowest_latency`.
    pub routing: Strategy,
    /// The most answer tokens that the model can give, for upper bounds; what is known of the vendor's model if left out.
    pub output_tokens_max: Option<u64>,
    /// The most prompt tokens that the model can read; what is known of the vendor's model if left out. Ollama is told it
    /// (its `num_ctx`), and cuts longer prompts.
    pub context_tokens: Option<u64>,
    /// The operator's own price, in US dollars per million tokens, in place of the list price.
    pub price: Option<Price>,
    /// The models that serve its jobs when none of its deployments answers, in order.
    pub fallbacks: Vec<String>,
    /// The models that serve a job whose prompt is too long for it.
    pub on_context_length: Vec<String>,
    /// The models that serve a job whose prompt its content policy refuses.
    pub on_content_policy: Vec<String>,
}

/// A model at a provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deployment {
    /// The provider's name in this file.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Its part of the calls with `routing = "weighted"`, against the others'; 1 if left out, 0 for a last resort.
    pub weight: Option<u32>,
    /// Where it runs; as its provider if left out.
    pub region: Option<String>,
    /// What jobs can ask for by `tollgate.tags`.
    pub tags: BTreeSet<String>,
    /// As of the model.
    pub output_tokens_max: Option<u64>,
    /// As of the model.
    pub context_tokens: Option<u64>,
    /// As of the model.
    pub price: Option<Price>,
    /// The most requests in any sliding minute, over all workers.
    pub requests_per_minute: Option<u32>,
    /// The most tokens in any sliding minute, over all workers.
    pub tokens_per_minute: Option<u64>,
    /// The most calls at once, over all workers.
    pub concurrency: Option<u32>,
}

impl Deployment {
    /// How fast it may be called.
    pub fn limits(&self) -> Limits {
        let Deployment { requests_per_minute, tokens_per_minute, concurrency, .. } = *self;
        Limits { requests_per_minute, tokens_per_minute, concurrency }
    }
}

/// A price in US dollars per million tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Prompt tokens.
    pub input: Option<Decimal>,
    /// Answer tokens.
    pub output: Option<Decimal>,
    /// Prompt tokens read from the provider's cache; the input price if left out.
    pub cache_read: Option<Decimal>,
    /// Prompt tokens written to it; the input price if left out.
    pub cache_write: Option<Decimal>,
    /// What the vendor's batch service saves, as a part of one.
    pub batch_discount: Option<Decimal>,
    /// Other rates for whole requests with long prompts, from the smallest up.
    pub long_prompts: Vec<LongPrompts>,
    /// What is booked with every cost as the price's version; `override` if left out.
    pub version: Option<String>,
}

/// The price of a request whose prompt is long, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LongPrompts {
    /// It holds for prompts of more tokens than this.
    pub above_prompt_tokens: u64,
    /// Prompt tokens.
    pub input: Option<Decimal>,
    /// Answer tokens.
    pub output: Option<Decimal>,
    /// Prompt tokens read from the provider's cache; this input price if left out.
    pub cache_read: Option<Decimal>,
    /// Prompt tokens written to it; this input price if left out.
    pub cache_write: Option<Decimal>,
}
