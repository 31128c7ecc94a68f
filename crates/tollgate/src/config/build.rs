//! What becomes of the configuration: the typed configs of the crates below.

use std::sync::Arc;

use tollgate_policy::failure;
use tollgate_policy::price::{Price as Rates, PriceBook, PriceError, PriceSpec};
use tollgate_providers::keys::{ApiKey, KeySource};
use tollgate_providers::{CallerOptions, Deployment, Timeouts, Vendor};
use tollgate_queue::streams::Limits;
use tollgate_queue::{LaneConfig, NatsConfig};
use tollgate_settler::SettlerConfig;
use tollgate_sink::SinkConfig;
use tollgate_usage::ClickHouseConfig;
use tollgate_worker::{Pool, Priced, Routes};

use super::sections::{self, Config, Key, Model, Price, Provider};
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
        ..ClickHouseConfig::new(clickhouse.url.clone())
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

/// The way out to the providers.
pub fn caller(config: &Config) -> CallerOptions {
    CallerOptions { proxy: config.worker.proxy.clone(), ..CallerOptions::default() }
}

/// The vendors' list prices.
pub fn price_book() -> PriceBook {
    PriceBook::shipped()
}

/// The vendor whose list prices hold at a provider.
pub fn prices_as(provider: &Provider) -> Option<&str> {
    provider.prices_as.as_deref().or_else(|| provider.is_the_vendor_itself().map(Vendor::as_str))
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
        ..PriceSpec::default()
    };
    Rates::try_from(&spec).map_err(|error| {
        let field = match &error {
            PriceError::NotADecimal { field, .. }
            | PriceError::TooManyDecimals { field, .. }
            | PriceError::OutOfRange { field, .. }
            | PriceError::Missing { field } => field,
            _ => "version",
        };
        (field.to_owned(), error.to_string())
    })
}

/// One deployment.
///
/// # Errors
/// Returns what is wrong with the provider, in words.
pub fn deployment_of(name: &str, provider: &Provider, model: &str, key: Option<ApiKey>) -> Result<Deployment, String> {
    let vendor: Vendor = provider.vendor.parse()?;
    let deployment = Deployment::new(name, vendor, provider.address(), model, key);
    let mut deployment = deployment.map_err(|error| error.to_string())?;
    deployment.region = provider.region.clone().unwrap_or_default();
    deployment.timeouts = Timeouts {
        first_byte: provider.first_byte_timeout.0,
        total: provider.total_timeout.0,
        stall: provider.stall_timeout.0,
    };
    deployment.correlation_headers = provider.correlation_headers;
    Ok(deployment)
}

/// Where a provider's key comes from: what the file says, else for a vendor's own address the variable that its own
/// clients read.
pub fn key_source(provider: &Provider) -> KeySource {
    match &provider.key {
        Some(Key { env: Some(name), .. }) => KeySource::Env(name.clone()),
        Some(Key { file: Some(path), .. }) => KeySource::File(path.clone()),
        _ => match provider.is_the_vendor_itself() {
            Some(vendor) => KeySource::Env(vendor.key_variable().into()),
            None => KeySource::None,
        },
    }
}

/// A provider's key.
///
/// # Errors
/// Returns where no usable key was found.
pub fn key(name: &str, provider: &Provider, env: &Env) -> Result<Option<ApiKey>, Problem> {
    key_source(provider).resolve(&|name| env.get(name)).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Problem { key: format!("providers.{name}.key"), origin: Origin::Default, reason: format!("{error}{source}") }
    })
}

/// Which deployments serve what.
///
/// # Errors
/// Returns every provider whose key is missing, or that there is no provider at all.
pub fn routes(config: &Config, env: &Env) -> Result<Routes, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut keys = std::collections::BTreeMap::new();
    for (name, provider) in &config.providers {
        match key(name, provider, env) {
            Ok(key) => drop(keys.insert(name.as_str(), key)),
            Err(problem) => problems.push(problem),
        }
    }
    if config.providers.is_empty() {
        let reason = "no provider is configured; `[providers.openai]` alone is enough with OPENAI_API_KEY set";
        problems.push(Problem { key: "providers".into(), origin: Origin::Default, reason: reason.into() });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut build = Build { config, keys, book: price_book(), routes: Routes::default() };
    if config.models.is_empty() {
        build.every_listed_model()
    } else {
        build.named_models()
    }
    Ok(build.routes)
}

struct Build<'a> {
    config: &'a Config,
    keys: std::collections::BTreeMap<&'a str, Option<ApiKey>>,
    book: PriceBook,
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
        }
    }

    fn add(&mut self, alias: &str, served: &sections::Deployment, provider: &Provider, settings: &Model) {
        let (name, model) = (served.provider.as_str(), served.model.as_str());
        let own = settings.price.as_ref().map(|own| price(own).expect("checked when it was loaded"));
        let free = provider.free.then(Rates::free);
        let rates = own.or(free).or_else(|| list_price(&self.book, name, provider, model));
        let key = self.keys.get(name).cloned().flatten();
        let deployment = deployment_of(name, provider, model, key).expect("checked when it was loaded");
        let output_tokens_max = settings.output_tokens_max.unwrap_or(self.config.worker.output_tokens_default);
        let priced = Priced {
            deployment: Arc::new(deployment),
            price: rates.map(Arc::new),
            output_tokens_max,
            limits: served.limits(),
        };
        self.routes.add(alias, priced);
    }
}
