//! `sim-provider`: a simulated LLM provider.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use sim_provider::{Config, FaultPlan, Profile};

use super::Cx;
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::signals::Signals;
use crate::telemetry;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDR")]
    listen: SocketAddr,
    /// Seed of every draw
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How fast and how long answers are: instant, fast or realistic
    #[arg(long, default_value = "fast")]
    profile: Profile,
    /// Faults by chance, such as `429:retry-after=2@0.05;hang@0.01`
    #[arg(long, default_value = "", value_name = "PLAN")]
    faults: FaultPlan,
    /// File to which calls are logged as JSON lines
    #[arg(long, value_name = "PATH")]
    log: Option<PathBuf>,
    /// A bearer key that is accepted; may be repeated. Without any, every request is
    #[arg(long = "api-key", value_name = "KEY")]
    api_keys: Vec<String>,
    /// A model that is listed; may be repeated. Any name is answered
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// How long a held request is held
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    hang_cap: Period,
}

/// Runs the provider until a signal.
///
/// # Errors
/// When the address or the log file cannot be opened.
pub async fn run(args: Args, cx: &Cx) -> Outcome {
    telemetry::init_quiet(&cx.env);
    let default = Config::default();
    let config = Config {
        listen: args.listen,
        seed: args.seed,
        profile: args.profile,
        faults: args.faults,
        log_path: args.log,
        api_keys: (!args.api_keys.is_empty()).then(|| BTreeSet::from_iter(args.api_keys)),
        models: if args.models.is_empty() { default.models.clone() } else { args.models },
        hang_cap: args.hang_cap.0,
        ..default
    };
    let mut signals = Signals::listen()?;
    let stop = async move {
        signals.next().await;
    };
    let ready = |addr| output::say(format_args!("simulated provider at http://{addr}/v1"));
    let served = sim_provider::run(config, ready, stop).await;
    served.map_err(|error| Failure::new(Code::Failed, "the simulated provider did not start").because(&error))?;
    Ok(Code::Ok)
}
