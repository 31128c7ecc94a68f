//! What a well-formed configuration may still not say.

use std::time::Duration;

use tollgate_traces::Unusable;
use tollgate_types::CacheRules;
use tollgate_types::event::ATTEMPTS_MAX;

use super::build;
use super::models as listed;
use super::sections::Config;
use super::values::{Period, Size};
use super::{Origin, Origins, Problem};

mod dashboard;
mod front;
mod guardrails;
mod keys;
mod models;
mod providers;
mod teams;

pub use teams::Served;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What cannot be.
    pub problems: Vec<Problem>,
    /// What is probably not meant, but can be.
    pub warnings: Vec<Problem>,
}

/// Checks all values, in the order of the file's sections. Reads no files and no keys.
pub fn check(config: &Config, origins: &Origins) -> Found {
    let mut checker = Checker { config, origins, found: Found::default() };
    checker.nats();
    checker.streams();
    checker.clickhouse();
    checker.worker();
    checker.settler();
    checker.sink();
    checker.cache();
    checker.alerts();
    checker.traces();
    checker.dashboard();
    checker.front();
    checker.telemetry();
    checker.providers();
    checker.models();
    checker.organisation();
    checker.teams();
    checker.checkers();
    checker.guardrails();
    checker.webhooks();
    checker.found
}

struct Checker<'a> {
    config: &'a Config,
    origins: &'a Origins,
    found: Found,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Checker<'_> {
    fn problem(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        let problem = self.about(key.into(), reason.into());
        self.found.problems.push(problem);
    }

    fn warning(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        let problem = self.about(key.into(), reason.into());
        self.found.warnings.push(problem);
    }

    fn about(&self, key: String, reason: String) -> Problem {
        // An entry of a list stands where its list stands.
        let mut at = key.as_str();
        let origin = loop {
            match (self.origins.get(at), at.rsplit_once('.')) {
                (Some(origin), _) => break origin.clone(),
                (None, Some((outer, _))) => at = outer,
                (None, None) => break Origin::Default,
            }
        };
        Problem { key, origin, reason }
    }

    fn number<T: PartialOrd + std::fmt::Display + Copy>(&mut self, key: &str, value: T, least: T, most: T) {
        if value < least || value > most {
            self.problem(key, format!("{value} is not from {least} to {most}"));
        }
    }

    fn period(&mut self, key: &str, value: Period, least: Duration, most: Duration) {
        self.number(key, value, Period(least), Period(most));
    }

    fn size(&mut self, key: &str, value: Size, least: u64) {
        self.number(key, value, Size(least), Size(1 << 60));
    }

    fn nats(&mut self) {
        let nats = &self.config.nats;
        for url in nats.url.split(',').map(str::trim) {
            let scheme = url.split_once("://").map_or("nats", |(scheme, _)| scheme);
            if url.is_empty() || !["nats", "tls", "ws", "wss"].contains(&scheme) {
                let shown = tollgate_queue::connect::redacted(url);
                self.problem("nats.url", format!("'{shown}' is not a server such as nats://127.0.0.1:4222"));
            }
        }
        if nats.user.is_some() && nats.password.is_none() {
            self.problem("nats.user", "there is no password; set nats.password or NATS_PASSWORD");
        }
        if nats.tls_cert.is_some() != nats.tls_key.is_some() {
            let key = if nats.tls_cert.is_some() { "nats.tls_cert" } else { "nats.tls_key" };
            self.problem(key, "tls_cert and tls_key must be given together");
        }
        let ways = [
            ("user and password", nats.user.is_some()),
            ("token", nats.token.is_some()),
            ("creds", nats.creds.is_some()),
            ("nkey", nats.nkey.is_some()),
        ];
        let ways: Vec<&str> = ways.into_iter().filter(|(_, given)| *given).map(|(way, _)| way).collect();
        if ways.len() > 1 {
            self.warning("nats", format!("several credentials are given ({}); the server takes one", ways.join(", ")));
        }
    }

    fn streams(&mut self) {
        let streams = &self.config.streams;
        if ![1, 3, 5].contains(&streams.replicas) {
            self.problem("streams.replicas", format!("{} is not 1, 3 or 5", streams.replicas));
        }
        const MIB: u64 = 1 << 20;
        self.size("streams.jobs_bytes_max", streams.jobs_bytes_max, MIB);
        self.size("streams.wait_bytes_max", streams.wait_bytes_max, MIB);
        self.size("streams.results_bytes_max", streams.results_bytes_max, MIB);
        self.size("streams.dead_bytes_max", streams.dead_bytes_max, MIB);
        self.size("streams.blobs_bytes_max", streams.blobs_bytes_max, MIB);
        self.size("streams.files_bytes_max", streams.files_bytes_max, MIB);
        self.number("streams.jobs_max", streams.jobs_max, 1, i64::MAX as u64);
        self.number("streams.wait_max", streams.wait_max, 1, i64::MAX as u64);
        self.number("streams.results_max", streams.results_max, 1, i64::MAX as u64);
        // A resubmitted id is answered from the results once the duplicate window is over.
        self.period("streams.results_age_max", streams.results_age_max, HOUR, 3650 * DAY);
        self.period("capture.keep", self.config.capture.keep, MINUTE, 3650 * DAY);
        self.size("capture.bytes_max", self.config.capture.bytes_max, MIB);
        self.period("streams.dead_age_max", streams.dead_age_max, HOUR, 3650 * DAY);
        self.period("streams.blobs_age_max", streams.blobs_age_max, HOUR, 3650 * DAY);
        // The server keeps every id of the window in memory.
        self.period("streams.duplicate_window", streams.duplicate_window, Duration::from_millis(100), HOUR);
        if streams.results_age_max.0 < DAY && streams.results_age_max.0 >= HOUR {
            let reason = "a ClickHouse outage longer than this loses records; keep results for a day at least";
            self.warning("streams.results_age_max", reason);
        }
    }

    fn clickhouse(&mut self) {
        let config = build::clickhouse(self.config);
        if let Err(error) = tollgate_usage::Store::new(config) {
            let key = match &error {
                tollgate_usage::ConfigError::Url(_) => "clickhouse.url",
                tollgate_usage::ConfigError::Database(_) => "clickhouse.database",
                tollgate_usage::ConfigError::Cluster(_) => "clickhouse.cluster",
                tollgate_usage::ConfigError::Authority { .. } => "clickhouse.tls_ca",
            };
            self.problem(key, error.to_string());
        }
    }

    fn worker(&mut self) {
        let worker = &self.config.worker;
        self.number("worker.concurrency", worker.concurrency, 1, 100_000);
        self.period("worker.lease", worker.lease, SECOND, 10 * MINUTE);
        self.period("worker.ack_wait", worker.ack_wait, 2 * SECOND, 10 * MINUTE);
        self.number("worker.lane_in_flight_max", worker.lane_in_flight_max, 1, 10_000_000);
        self.period("worker.lane_idle_max", worker.lane_idle_max, MINUTE, 365 * DAY);
        self.number("worker.payload_bytes_max", worker.payload_bytes_max, Size(1 << 10), Size(64 << 20));
        let attempts_max = u32::try_from(ATTEMPTS_MAX).expect("a small number");
        self.number("worker.attempts_total", worker.attempts_total, 1, attempts_max);
        self.number("worker.attempts_per_deployment", worker.attempts_per_deployment, 1, worker.attempts_total.max(1));
        self.period("worker.retry_after_max", worker.retry_after_max, Duration::ZERO, HOUR);
        self.number("worker.output_tokens_default", worker.output_tokens_default, 1, 10_000_000);
        self.period("worker.drain", worker.drain, Duration::ZERO, HOUR);
        if worker.name.as_deref().is_some_and(|name| name.is_empty() || name.len() > 64) {
            self.problem("worker.name", "a name has 1 to 64 characters");
        }
    }

    fn settler(&mut self) {
        let settler = &self.config.settler;
        self.period("settler.lease", settler.lease, SECOND, 10 * MINUTE);
        self.period("settler.batch_wait", settler.batch_wait, Duration::ZERO, 10 * SECOND);
    }

    fn cache(&mut self) {
        let cache = &self.config.cache;
        self.size("cache.bytes_max", cache.bytes_max, 1 << 20);
        self.number("cache.memory_bytes_max", cache.memory_bytes_max, Size(0), Size(1 << 40));
        self.cache_rules("cache", &cache.rules());
    }

    fn cache_rules(&mut self, at: &str, rules: &CacheRules) {
        if let Err(reason) = rules.check() {
            // The reason names the field first.
            let field = reason.split('`').nth(1).unwrap_or_default().to_owned();
            self.problem(format!("{at}.{field}"), reason);
        }
    }

    fn alerts(&mut self) {
        let alerts = &self.config.alerts;
        self.period("alerts.every", alerts.every, SECOND, 10 * MINUTE);
        self.period("alerts.record_every", alerts.record_every, 10 * SECOND, 60 * MINUTE);
        self.period("alerts.again_after", alerts.again_after, MINUTE, 30 * 24 * 60 * MINUTE);
        self.number("alerts.blobs_full", alerts.blobs_full.into(), 0, 100);
        self.number("alerts.provider_failures", alerts.provider_failures.into(), 0, 100);
        if !(alerts.drift == 0.0 || (1.0..=1000.0).contains(&alerts.drift)) {
            self.problem("alerts.drift", "this is neither 0, for off, nor from 1 to 1000");
        }
        let Some(webhook) = &self.config.alerts.webhook else { return };
        // The address may carry a key, so no message repeats it.
        let address = reqwest::Url::parse(webhook.expose());
        if !address.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            self.problem("alerts.webhook", "this is not an address such as https://hooks.example.com/tollgate");
        }
    }

    fn webhooks(&mut self) {
        for (team, webhook) in &self.config.webhooks {
            let at = format!("webhooks.{team}");
            if let Err(error) = team.parse::<tollgate_types::Team>() {
                self.problem(at.clone(), error.to_string());
            }
            if webhook.events.is_empty() {
                self.problem(
                    format!("{at}.events"),
                    "names nothing; leave it out, or name `results`, `batches` or both",
                );
            }
            match webhook.endpoint().check() {
                Ok(()) => {}
                Err(error @ tollgate_webhooks::Unusable::Secret) => {
                    self.problem(format!("{at}.secret"), error.to_string())
                }
                Err(error) => self.problem(format!("{at}.url"), error.to_string()),
            }
        }
    }

    fn traces(&mut self) {
        let traces = &self.config.telemetry.traces;
        self.period("telemetry.traces.age_max", traces.age_max, SECOND, 30 * 24 * 60 * MINUTE);
        let Some(exporter) = build::exporter(self.config) else { return };
        match exporter.check() {
            Ok(()) => {}
            Err(error @ Unusable::Header(_)) => self.problem("telemetry.traces.headers", error.to_string()),
            Err(error) => self.problem("telemetry.traces.endpoint", error.to_string()),
        }
    }

    fn sink(&mut self) {
        let sink = &self.config.sink;
        self.number("sink.batch_rows_max", sink.batch_rows_max, 1, 500_000);
        self.period("sink.batch_wait", sink.batch_wait, Duration::from_millis(10), MINUTE);
        self.period("sink.lease", sink.lease, SECOND, 10 * MINUTE);
        self.period("sink.shutdown_grace", sink.shutdown_grace, Duration::ZERO, 10 * MINUTE);
    }

    fn telemetry(&mut self) {
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.config.telemetry.log) {
            self.problem("telemetry.log", format!("this is no log filter such as info,tollgate_worker=debug: {error}"));
        }
    }

    fn providers(&mut self) {
        let known = listed::vendors();
        for (name, provider) in &self.config.providers {
            let key = |field: &str| format!("providers.{name}.{field}");
            self.wire_format(name, provider);
            if let Some(vendor) = provider.prices_as.as_deref().filter(|vendor| !known.contains(vendor)) {
                let list: Vec<&str> = known.iter().copied().collect();
                self.problem(
                    key("prices_as"),
                    format!("there are no prices of '{vendor}'; there are: {}", list.join(", ")),
                );
            }
            self.link_local(name, provider);
            self.keys(name, provider);
            self.period(&key("first_byte_timeout"), provider.first_byte_timeout, SECOND, DAY);
            self.period(&key("total_timeout"), provider.total_timeout, SECOND, DAY);
            self.region(&key("region"), provider.region.as_deref());
            self.period(&key("stall_timeout"), provider.stall_timeout, SECOND, DAY);
            if name.is_empty() || name.len() > 64 {
                self.problem(format!("providers.{name}"), "a provider's name has 1 to 64 characters");
            }
        }
    }
}
