//! What can be seen of ClickHouse and of the providers.

use std::time::Duration;

use tollgate_providers::{ApiKey, Caller, Question, Ring};
use tollgate_types::guardrails::Side;
use tollgate_usage::Schema;

use super::judge::{self, Area, Finding};
use crate::config::sections::Provider;
use crate::config::{Loaded, build};
use crate::connect;

/// Nobody waits longer for a doctor.
const ANSWER: Duration = Duration::from_secs(10);

/// A client that goes where calls go: through the configured proxy, never through one in the environment.
pub(super) fn client(proxy: Option<&str>) -> Result<reqwest::Client, String> {
    tollgate_providers::install_crypto();
    let builder = reqwest::Client::builder().timeout(ANSWER).redirect(reqwest::redirect::Policy::none()).no_proxy();
    let proxy = proxy.map(reqwest::Proxy::all).transpose().map_err(in_words)?;
    let builder = proxy.into_iter().fold(builder, reqwest::ClientBuilder::proxy);
    builder.build().map_err(in_words)
}

/// An error with its causes and without its URL, which may hold a password.
pub(super) fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// Every finding about ClickHouse; a single one if it cannot be reached.
pub(super) async fn clickhouse(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let seen = match connect::clickhouse(config) {
        Ok(store) => match store.version().await {
            Ok(version) => Ok((version, store.schema_version().await)),
            Err(error) => Err(connect::clickhouse_failure(config, &error)),
        },
        Err(failure) => Err(failure),
    };
    match seen {
        Ok((version, schema)) => {
            let schema = match schema {
                Ok(found) => judge::schema(found, Schema::VERSION),
                Err(error) => {
                    Finding::from((Area::Upstream, "clickhouse.schema", &connect::clickhouse_failure(config, &error)))
                }
            };
            vec![Finding::ok(Area::Upstream, "clickhouse.connection", format!("ClickHouse {version}")), schema]
        }
        Err(failure) => vec![Finding::from((Area::Upstream, "clickhouse.connection", &failure))],
    }
}

/// Whether every key is there and, if asked, what its provider says to it.
pub(super) async fn providers(loaded: &Loaded, probe: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if loaded.config.providers.is_empty() {
        let remedy = "add [providers.openai] and set OPENAI_API_KEY";
        findings.push(Finding::fail(Area::Configuration, "providers", "none is configured", remedy));
    }
    for (name, provider) in &loaded.config.providers {
        match build::ring(name, provider, &loaded.env) {
            Ok(ring) => {
                let detail = match ring.len() {
                    0 => format!("{name} needs no key"),
                    1 => format!("{name} has a key"),
                    count => format!("{name} has {count} keys"),
                };
                findings.push(Finding::ok(Area::Configuration, "providers.key", detail));
                if probe {
                    let proxy = loaded.config.worker.proxy.as_deref();
                    findings.extend(probed((name, provider), &ring, proxy).await);
                }
            }
            Err(problem) => {
                let remedy = format!("set it, or change key in [providers.{name}]");
                findings.push(Finding::fail(Area::Configuration, "providers.key", problem.to_string(), remedy));
            }
        }
    }
    findings
}

/// Whether every external checker answers.
pub(super) async fn checkers(loaded: &Loaded) -> Vec<Finding> {
    let (checkers, _) = match build::checkers(&loaded.config, &loaded.env) {
        Ok(found) => found,
        Err(problems) => return problems.iter().map(judge::no_checker).collect(),
    };
    let Ok(caller) = Caller::new(&build::caller(&loaded.config)) else { return Vec::new() };
    let texts = ["hello".to_owned()];
    let question = Question { side: Side::Request, team: "doctor", texts: &texts };
    let mut findings = Vec::new();
    for (name, checker) in &checkers {
        findings.push(judge::checked(name, caller.check(checker, &question).await.map(|_| ())));
    }
    findings
}

/// What the provider says to each key, or to none if it takes none.
async fn probed((name, provider): (&str, &Provider), ring: &Ring, proxy: Option<&str>) -> Vec<Finding> {
    let keys = ring.keys();
    if keys.is_empty() {
        return vec![judge::probed(name, None, list_models(provider, None, proxy).await)];
    }
    let mut findings = Vec::new();
    for (id, key) in &keys {
        let id = (keys.len() > 1).then_some(id.as_str());
        findings.push(judge::probed(name, id, list_models(provider, Some(key), proxy).await));
    }
    findings
}

async fn list_models(provider: &Provider, key: Option<&ApiKey>, proxy: Option<&str>) -> Result<u16, String> {
    // The address and the headers are those of calls; the model does not matter.
    let deployment = build::deployment_of("probe", provider, "model")?;
    let (url, headers) = deployment.listing(key);
    let request = client(proxy)?.get(url).headers(headers);
    Ok(request.send().await.map_err(in_words)?.status().as_u16())
}
