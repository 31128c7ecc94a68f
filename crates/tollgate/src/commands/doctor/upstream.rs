//! What can be seen of ClickHouse and of the providers.

use std::time::Duration;

use tollgate_usage::Schema;

use super::judge::{self, Area, Finding};
use crate::config::sections::Provider;
use crate::config::{Loaded, build};
use crate::connect;
use crate::env::Env;

/// Nobody waits longer for a doctor.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) fn client() -> Result<reqwest::Client, String> {
    tollgate_providers::install_crypto();
    reqwest::Client::builder().timeout(ANSWER).redirect(reqwest::redirect::Policy::none()).build().map_err(in_words)
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
        match build::key(name, provider, &loaded.env) {
            Ok(key) => {
                let detail = if key.is_some() { "has a key" } else { "needs no key" };
                findings.push(Finding::ok(Area::Configuration, "providers.key", format!("{name} {detail}")));
                if probe {
                    findings.push(judge::probed(name, list_models(provider, &loaded.env).await));
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

async fn list_models(provider: &Provider, env: &Env) -> Result<u16, String> {
    let key = build::key_source(provider).resolve(&|name| env.get(name)).map_err(|error| error.to_string())?;
    // The address and the headers are those of calls; the model does not matter.
    let deployment = build::deployment_of("probe", provider, "model", key)?;
    let (url, headers) = deployment.listing();
    let request = client()?.get(url).headers(headers.clone());
    Ok(request.send().await.map_err(in_words)?.status().as_u16())
}
