//! What becomes of the configuration: the typed configs of the crates below.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use tollgate_policy::catalogue::Catalogue;
use tollgate_policy::failure;
use tollgate_policy::price::{Price as Rates, PriceBook, PriceError, PriceSpec, TierSpec};
use tollgate_providers::outbound::Reach;
use tollgate_providers::{CallerOptions, Checker, Deployment, KeySource, Ring, Speaks, Timeouts, Vendor};
use tollgate_queue::streams::Limits;
use tollgate_queue::{LaneConfig, NatsConfig};
use tollgate_settler::SettlerConfig;
use tollgate_sink::SinkConfig;
use tollgate_traces::{ExporterConfig, TracesConfig};
use tollgate_usage::ClickHouseConfig;
use tollgate_watch::WatchConfig;
use tollgate_worker::{Pool, Priced, Routes, StandIns};

use super::sections::{self, CheckerKind, Config, Credential, Key, Model, Price, Provider};
use super::{Origin, Problem, models};
use crate::env::Env;

/// How to reach NATS.
pub fn nats(config: &Config) -> NatsConfig {
    let nats = config.nats.clone();
    NatsConfig {
        url: nats.url,
        user: nats.user,
        password: nats.password.map(|secret| secret.share()),
        token: nats.token.map(|secret| secret.share()),
        creds: nats.creds,
        nkey: nats.nkey,
        tls_ca: nats.tls_ca,
        tls_cert: nats.tls_cert,
        tls_key: nats.tls_key,
        tls_required: nats.tls_required,
        inbox_prefix: nats.inbox_prefix,
    }
}

/// What the streams may take.
pub fn limits(config: &Config) -> Limits {
    let streams = &config.streams;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Limits {
        replicas: streams.replicas,
        jobs_bytes_max: streams.jobs_bytes_max.signed(),
        jobs_max: count(streams.jobs_max),
        wait_bytes_max: streams.wait_bytes_max.signed(),
        wait_max: count(streams.wait_max),
        results_bytes_max: streams.results_bytes_max.signed(),
        results_max: count(streams.results_max),
        results_age_max: streams.results_age_max.0,
        dead_bytes_max: streams.dead_bytes_max.signed(),
        dead_age_max: streams.dead_age_max.0,
        blobs_bytes_max: streams.blobs_bytes_max.signed(),
        // An answer must not go before its result.
        blobs_age_max: streams.blobs_age_max.0.max(streams.results_age_max.0),
        files_bytes_max: streams.files_bytes_max.signed(),
        cache_bytes_max: config.cache.bytes_max.signed(),
        capture_bytes_max: config.capture.bytes_max.signed(),
        capture_age_max: config.capture.keep.0,
        duplicate_window: streams.duplicate_window.0,
    }
}

/// How to reach ClickHouse.
pub fn clickhouse(config: &Config) -> ClickHouseConfig {
    let clickhouse = &config.clickhouse;
    ClickHouseConfig {
        database: clickhouse.database.clone(),
        user: clickhouse.user.clone(),
        password: clickhouse.password.share(),
        tls_ca: clickhouse.tls_ca.clone(),
        cluster: clickhouse.cluster.clone(),
        ..ClickHouseConfig::new(clickhouse.url.clone())
    }
}

/// Who may look at the screens, and who may act there.
pub fn dashboard(config: &Config) -> tollgate_dashboard::Config {
    use tollgate_dashboard::{Role, User};
    let dashboard = &config.dashboard;
    let user = |(name, user): (&String, &sections::DashboardUser)| {
        let role = match user.role {
            sections::DashboardRole::Viewer => Role::Viewer,
            sections::DashboardRole::Operator => Role::Operator,
        };
        let share = |secret: &Option<super::values::Secret>| secret.as_ref().map(super::values::Secret::share);
        (name.clone(), User { password: share(&user.password), token: share(&user.token), role })
    };
    tollgate_dashboard::Config {
        users: dashboard.users.iter().map(user).collect(),
        session_key: dashboard.session_key.as_ref().map(super::values::Secret::share),
        session_max: dashboard.session.0,
        loopback_operator: dashboard.loopback_operator,
        plain_http: dashboard.plain_http,
        models: config.models.keys().cloned().collect(),
    }
}

/// How calls are taken at the front door.
pub fn front(config: &Config) -> tollgate_front::Config {
    let front = &config.front;
    let size = |size: super::values::Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    let routes = served(config, &Rings::default());
    tollgate_front::Config {
        class: front.class,
        wait: front.wait.0,
        heartbeat: front.heartbeat.0,
        body_bytes_max: size(config.worker.payload_bytes_max),
        calls_max: front.calls_max,
        bodies_bytes_max: size(front.bodies_bytes_max),
        file_bytes_max: front.file_bytes_max.0,
        team_files_bytes_max: front.team_files_bytes_max.0,
        models: routes.names().map(str::to_owned).collect(),
        ..tollgate_front::Config::default()
    }
}

/// How jobs are run, by a worker of that name.
pub fn worker(config: &Config, name: &str) -> tollgate_worker::Config {
    let worker = &config.worker;
    tollgate_worker::Config {
        name: name.to_owned(),
        concurrency: worker.concurrency,
        lanes: lanes(config),
        payload_bytes_max: usize::try_from(worker.payload_bytes_max.0).unwrap_or(usize::MAX),
        limits: failure::Limits {
            attempts_per_deployment: worker.attempts_per_deployment,
            attempts_total: worker.attempts_total,
            retry_after_max: worker.retry_after_max.0,
        },
        output_tokens_default: worker.output_tokens_default,
        drain: worker.drain.0,
        pool: Pool { classes: worker.classes.clone(), teams: worker.teams.iter().map(ToString::to_string).collect() },
        lease: worker.lease.0,
        cache_memory_bytes_max: config.cache.memory_bytes_max.0,
        reach: if worker.private_references { Reach::Private } else { Reach::Public },
        ..tollgate_worker::Config::default()
    }
}

/// How the lanes' consumers are made.
pub fn lanes(config: &Config) -> LaneConfig {
    LaneConfig {
        ack_wait: config.worker.ack_wait.0,
        in_flight_max: i64::from(config.worker.lane_in_flight_max),
        idle_max: config.worker.lane_idle_max.0,
    }
}

/// How the log goes into ClickHouse, by a sink of that name.
pub fn sink(config: &Config, name: &str) -> SinkConfig {
    let sink = &config.sink;
    SinkConfig {
        batch_rows_max: sink.batch_rows_max,
        batch_wait: sink.batch_wait.0,
        lease: sink.lease.0,
        shutdown_grace: sink.shutdown_grace.0,
        ..SinkConfig::new(name)
    }
}

/// How spend goes into the accounts, by a settler of that name.
pub fn settler(config: &Config, name: &str) -> SettlerConfig {
    let settler = &config.settler;
    SettlerConfig { lease: settler.lease.0, batch_wait: settler.batch_wait.0, ..SettlerConfig::new(name) }
}

/// How the broker is watched, by a process of that name.
pub fn watch(config: &Config, name: &str) -> WatchConfig {
    let alerts = &config.alerts;
    WatchConfig {
        every: alerts.every.0,
        record_every: alerts.record_every.0,
        again_after: alerts.again_after.0,
        lines: alerts.lines(),
        ..WatchConfig::new(name)
    }
}

/// How traces are exported, by a process of that name; nothing if they are not.
pub fn traces(config: &Config, name: &str) -> Option<TracesConfig> {
    let exporter = exporter(config)?;
    let (lease, age_max) = (config.sink.lease.0, config.telemetry.traces.age_max.0);
    Some(TracesConfig { name: name.to_owned(), lease, age_max, exporter })
}

/// Where traces go; nothing if they go nowhere.
pub fn exporter(config: &Config) -> Option<ExporterConfig> {
    let traces = &config.telemetry.traces;
    Some(ExporterConfig {
        endpoint: traces.endpoint.clone().filter(|endpoint| !endpoint.is_empty())?,
        headers: traces.headers.iter().map(|(name, value)| (name.clone(), value.share())).collect(),
        service: traces.service.clone(),
        version: env!("CARGO_PKG_VERSION"),
        proxy: config.worker.proxy.clone(),
    })
}

/// The way out to the providers.
pub fn caller(config: &Config) -> CallerOptions {
    CallerOptions { proxy: config.worker.proxy.clone(), ..CallerOptions::default() }
}

/// The vendors' list prices.
pub fn price_book() -> PriceBook {
    PriceBook::shipped()
}

/// What is known of the vendors' models.
pub fn catalogue() -> Catalogue {
    Catalogue::shipped()
}

/// The vendor whose list prices hold at a provider.
///
/// At Azure a model has the name that its operator gave it, which may be another model's, so its list prices hold only where
/// somebody says so.
pub fn prices_as(provider: &Provider) -> Option<&str> {
    let itself = || provider.is_the_vendor_itself().filter(|vendor| *vendor != Vendor::Azure).map(Vendor::as_str);
    provider.prices_as.as_deref().or_else(itself)
}

/// The vendor whose models a provider serves where there is no `[models]`, if it has any.
pub fn served_as(provider: &Provider) -> Option<&str> {
    prices_as(provider).filter(|vendor| models::of_vendor(vendor).next().is_some())
}

/// The list price of a model at a provider.
pub fn list_price(book: &PriceBook, name: &str, provider: &Provider, model: &str) -> Option<Rates> {
    book.price(name, prices_as(provider), model).cloned()
}

/// The operator's own price, or the field that is wrong and why.
///
/// # Errors
/// Returns the field and what is wrong with it.
pub fn price(price: &Price) -> Result<Rates, (String, String)> {
    let text = |decimal: &Option<super::values::Decimal>| decimal.as_ref().map(|decimal| decimal.0.clone());
    let spec = PriceSpec {
        version: price.version.clone(),
        input: text(&price.input).unwrap_or_default(),
        output: text(&price.output).unwrap_or_default(),
        cache_read: text(&price.cache_read),
        cache_write: text(&price.cache_write),
        batch_discount: text(&price.batch_discount),
        long_prompts: price.long_prompts.iter().map(tier).collect(),
    };
    Rates::try_from(&spec).map_err(|error| {
        let field = match &error {
            PriceError::NotADecimal { field, .. }
            | PriceError::TooManyDecimals { field, .. }
            | PriceError::OutOfRange { field, .. }
            | PriceError::Missing { field } => field,
            PriceError::TierOrder { .. } => "long_prompts",
            _ => "version",
        };
        (field.to_owned(), error.to_string())
    })
}

fn tier(long: &sections::LongPrompts) -> TierSpec {
    let text = |decimal: &Option<super::values::Decimal>| decimal.as_ref().map(|decimal| decimal.0.clone());
    TierSpec {
        above_prompt_tokens: long.above_prompt_tokens,
        input: text(&long.input).unwrap_or_default(),
        output: text(&long.output).unwrap_or_default(),
        cache_read: text(&long.cache_read),
        cache_write: text(&long.cache_write),
    }
}

/// One deployment, without its keys.
///
/// # Errors
/// Returns what is wrong with the provider, in words.
pub fn deployment_of(name: &str, provider: &Provider, model: &str) -> Result<Deployment, String> {
    let vendor: Vendor = provider.vendor.parse()?;
    let deployment = Deployment::new(name, vendor, provider.address(), model, None);
    let mut deployment = deployment.map_err(|error| error.to_string())?;
    if let Some(version) = &provider.api_version {
        deployment = deployment.with_api_version(version).map_err(|error| error.to_string())?;
    }
    if provider.credential == Some(Credential::Bearer) {
        deployment = deployment.with_bearer_token().map_err(|error| error.to_string())?;
    }
    deployment.region = provider.region.clone().unwrap_or_default();
    deployment.timeouts = Timeouts {
        first_byte: provider.first_byte_timeout.0,
        total: provider.total_timeout.0,
        stall: provider.stall_timeout.0,
    };
    deployment.correlation_headers = provider.correlation_headers;
    Ok(deployment)
}

/// Where a provider's keys come from, each with its id: what the file says, else for a vendor's own address the variable
/// that its own clients read.
pub fn key_sources(provider: &Provider) -> Vec<(String, KeySource)> {
    let said = provider.key.iter().chain(&provider.keys);
    let id = |at: usize, key: &Key| key.name.clone().unwrap_or_else(|| format!("key-{}", at + 1));
    let said = said.enumerate().filter_map(|(at, key)| Some((id(at, key), key.source()?)));
    let sources: Vec<(String, KeySource)> = said.collect();
    match provider.is_the_vendor_itself().and_then(Vendor::key_variable) {
        Some(variable) if sources.is_empty() => vec![(id(0, &Key::default()), KeySource::Env(variable.into()))],
        _ => sources,
    }
}

/// A provider's keys. Blocks while files are read and commands run.
///
/// # Errors
/// Returns where no usable key was found.
pub fn ring(name: &str, provider: &Provider, env: &Env) -> Result<Arc<Ring>, Problem> {
    let sources = key_sources(provider);
    let ids: Vec<String> = sources.iter().map(|(id, _)| id.clone()).collect();
    Ring::open(name, sources, &|name| env.get(name), Instant::now()).map_err(|(id, error)| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        let at = ids.iter().position(|of| *of == id).filter(|_| !provider.keys.is_empty());
        let key = at.map_or_else(|| format!("providers.{name}.key"), |at| format!("providers.{name}.keys.{at}"));
        Problem { key, origin: Origin::Default, reason: format!("{error}{source}") }
    })
}

/// The keys of every provider, by its name.
pub type Rings = BTreeMap<String, Arc<Ring>>;

/// Finds the keys of every provider. Blocks while files are read and commands run.
///
/// # Errors
/// Returns every provider whose keys are missing.
pub fn rings(config: &Config, env: &Env) -> Result<Rings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rings = Rings::new();
    for (name, provider) in &config.providers {
        match ring(name, provider, env) {
            Ok(ring) => drop(rings.insert(name.clone(), ring)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(rings) } else { Err(problems) }
}

/// The external checkers by their names, and the keys of those that take one. Blocks while files are read and commands
/// run.
///
/// # Errors
/// Returns every checker whose key is missing.
pub fn checkers(config: &Config, env: &Env) -> Result<(BTreeMap<String, Checker>, Rings), Vec<Problem>> {
    let (mut checkers, mut rings, mut problems) = (BTreeMap::new(), Rings::new(), Vec::new());
    for (name, settings) in &config.checkers {
        let source = settings.key.as_ref().and_then(Key::source);
        let sources = source.into_iter().map(|source| ("key-1".to_owned(), source)).collect();
        let ring = match Ring::open(format!("checker {name}"), sources, &|name| env.get(name), Instant::now()) {
            Ok(ring) => ring,
            Err((_, error)) => {
                let key = format!("checkers.{name}.key");
                problems.push(Problem { key, origin: Origin::Default, reason: error.to_string() });
                continue;
            }
        };
        let checker = Checker::new(&settings.url, speaks(settings), ring.clone(), settings.timeout.0);
        checkers.insert(name.clone(), checker.expect("checked when it was loaded"));
        rings.insert(format!("checker {name}"), ring);
    }
    if problems.is_empty() { Ok((checkers, rings)) } else { Err(problems) }
}

/// What a checker speaks.
pub fn speaks(settings: &sections::Checker) -> Speaks {
    match settings.kind {
        CheckerKind::Tollgate => Speaks::Tollgate,
        CheckerKind::OpenaiModeration => {
            Speaks::OpenAiModeration { model: settings.model.clone(), categories: settings.categories.clone() }
        }
    }
}

/// Which deployments serve what, with the keys that are found now.
///
/// # Errors
/// Returns every provider whose keys are missing, or that there is no provider at all.
pub fn routes(config: &Config, env: &Env) -> Result<Routes, Vec<Problem>> {
    routes_with(config, &rings(config, env)?)
}

/// Which deployments serve what, with these keys.
///
/// # Errors
/// Returns that there is no provider at all.
pub fn routes_with(config: &Config, rings: &Rings) -> Result<Routes, Vec<Problem>> {
    if config.providers.is_empty() {
        let reason = "no provider is configured; `[providers.openai]` alone is enough with OPENAI_API_KEY set";
        return Err(vec![Problem { key: "providers".into(), origin: Origin::Default, reason: reason.into() }]);
    }
    Ok(served(config, rings))
}

/// Which deployments serve what; without rings it is for looking at, and nothing can be called.
pub fn served(config: &Config, rings: &Rings) -> Routes {
    let (book, catalogue) = (price_book(), catalogue());
    let mut build = Build { config, rings, book, catalogue, routes: Routes::default() };
    if config.models.is_empty() {
        build.every_listed_model()
    } else {
        build.named_models()
    }
    build.routes
}

struct Build<'a> {
    config: &'a Config,
    rings: &'a Rings,
    book: PriceBook,
    catalogue: Catalogue,
    routes: Routes,
}

impl Build<'_> {
    fn every_listed_model(&mut self) {
        let config = self.config;
        for (name, provider) in &config.providers {
            for model in served_as(provider).into_iter().flat_map(models::of_vendor) {
                let served = sections::Deployment { provider: name.clone(), model: model.into(), ..Default::default() };
                self.add(model, &served, provider, &Model::default());
            }
        }
    }

    fn named_models(&mut self) {
        let config = self.config;
        for (alias, model) in &config.models {
            for served in &model.deployments {
                let provider = config.providers.get(&served.provider).expect("checked when it was loaded");
                self.add(alias, served, provider, model);
            }
            let stand_ins = StandIns {
                fallbacks: model.fallbacks.clone(),
                on_context_length: model.on_context_length.clone(),
                on_content_policy: model.on_content_policy.clone(),
            };
            self.routes.arrange(alias, model.routing, stand_ins);
        }
    }

    fn add(&mut self, alias: &str, served: &sections::Deployment, provider: &Provider, settings: &Model) {
        let (name, model) = (served.provider.as_str(), served.model.as_str());
        let own = served.price.as_ref().or(settings.price.as_ref());
        let own = own.map(|own| price(own).expect("checked when it was loaded"));
        let free = provider.free.then(Rates::free);
        let rates = own.or(free).or_else(|| list_price(&self.book, name, provider, model));
        let mut deployment = deployment_of(name, provider, model).expect("checked when it was loaded");
        if let Some(ring) = self.rings.get(name) {
            deployment.keys = ring.clone();
        }
        if let Some(region) = &served.region {
            deployment.region.clone_from(region);
        }
        deployment.context_tokens = served.context_tokens.or(settings.context_tokens);
        let known = self.catalogue.facts(prices_as(provider), model);
        let output = served.output_tokens_max.or(settings.output_tokens_max).or(known.output_tokens_max);
        let priced = Priced {
            context_tokens: served.context_tokens.or(settings.context_tokens).or(known.context_tokens),
            limits: served.limits(),
            weight: served.weight.unwrap_or(1),
            tags: served.tags.clone(),
            ..Priced::new(deployment, rates, output.unwrap_or(self.config.worker.output_tokens_default))
        };
        self.routes.add(alias, priced);
    }
}
