//! What is told of the broker's own work: logs, and traces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::values::{Period, Secret};

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

/// Logs and traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Lines for people or for machines.
    pub log_format: LogFormat,
    /// What is logged, such as `info` or `warn,tollgate_worker=debug`.
    pub log: String,
    /// Where traces go, if anywhere.
    pub traces: Traces,
}

/// Traces over OTLP; with an endpoint they are exported, without one they are not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// The collector's address, such as `http://localhost:4318`; `/v1/traces` is added where it has no path.
    pub endpoint: Option<String>,
    /// Headers that go along, such as `authorization`.
    pub headers: BTreeMap<String, Secret>,
    /// The name of this service.
    pub service: String,
    /// Records older than this are not exported, when the collector was away for long.
    pub age_max: Period,
}

impl Default for Traces {
    fn default() -> Self {
        Traces { endpoint: None, headers: BTreeMap::new(), service: "tollgate".into(), age_max: Period::secs(3600) }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { log_format: LogFormat::Text, log: "info,async_nats=warn".into(), traces: Traces::default() }
    }
}
