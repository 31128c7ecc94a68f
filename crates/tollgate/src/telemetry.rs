//! Logs on standard error, and the recorder of metrics.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::sections::{LogFormat, Telemetry};
use crate::exit::{Code, Failure};

/// Upper bounds of latency buckets in seconds: from a cached answer to the longest call.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// Logs from here on. A second call does nothing.
pub fn init(telemetry: &Telemetry) {
    let filter = EnvFilter::try_new(&telemetry.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error says that somebody logs already, which is as good.
    let _ = match telemetry.log_format {
        LogFormat::Text => logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
}

/// What a person sees of a command's logs: warnings, but not of the connection. It ends when the command does, and what
/// the server refused is told by the command itself.
const QUIET: &str = "warn,tollgate_queue::connect=off";

/// Logs for a command that a person runs: little, unless the environment asks for more.
pub fn init_quiet(env: &crate::env::Env) {
    let log = env.first(&["TOLLGATE_LOG", "RUST_LOG"]).map_or_else(|| QUIET.to_owned(), |(_, value)| value);
    init(&Telemetry { log, ..Telemetry::default() });
}

/// Installs the recorder; its handle needs [`PrometheusHandle::run_upkeep`] every few seconds.
///
/// # Errors
/// Returns that a recorder is already installed.
pub fn install_recorder() -> Result<PrometheusHandle, Failure> {
    let failed = |error| Failure::new(Code::Failed, "cannot record metrics").because(&error);
    PrometheusBuilder::new().set_buckets(&SECONDS).map_err(failed)?.install_recorder().map_err(failed)
}
