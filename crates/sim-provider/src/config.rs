//! What a simulated provider is started with.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::faults::{FaultPlan, PlanError};
use crate::model::Profile;

/// The settings of one simulated provider. The default listens on a free loopback port and answers at once.
#[derive(Clone)]
pub struct Config {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The seed of every draw: latencies, lengths, words, planned faults.
    pub seed: u64,
    /// How fast and how long the answers are.
    pub profile: Profile,
    /// Which faults happen by chance.
    pub faults: FaultPlan,
    /// The file to which the call log is appended as JSON lines, if any.
    pub log_path: Option<PathBuf>,
    /// The accepted bearer keys; anything else gets a 401. `None` accepts every request, with or without a key.
    pub api_keys: Option<BTreeSet<String>>,
    /// The names listed by `GET /v1/models`. Any name is answered, listed or not.
    pub models: Vec<String>,
    /// How long a held request is held before its connection is reset.
    pub hang_cap: Duration,
    /// The largest request body in bytes; a larger one gets a 413.
    pub body_bytes_max: usize,
    /// How many calls the in-memory log keeps; the oldest are forgotten first (the file keeps all).
    pub calls_max: usize,
    /// How long a shutdown waits for answers under way. Held requests are not waited for.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 0,
            profile: Profile::instant(),
            faults: FaultPlan::none(),
            log_path: None,
            api_keys: None,
            models: ["sim-large", "sim-small"].map(str::to_owned).to_vec(),
            // The default timeout of the vendor's own SDKs: nobody who waits at all waits longer.
            hang_cap: Duration::from_secs(600),
            // Hosted APIs state 32 MiB for one request; servers of one's own take what a broker sends at most.
            body_bytes_max: 65 << 20,
            // About 400 bytes each.
            calls_max: 1_000_000,
            shutdown_grace: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("seed", &self.seed)
            .field("profile", &self.profile)
            .field("faults", &self.faults)
            .field("log_path", &self.log_path)
            .field("api_keys", &self.api_keys.as_ref().map(BTreeSet::len))
            .field("models", &self.models)
            .field("hang_cap", &self.hang_cap)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("calls_max", &self.calls_max)
            .field("shutdown_grace", &self.shutdown_grace)
            .finish()
    }
}

/// Why a simulated provider did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address could not be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The log file could not be opened for appending.
    #[error("cannot open the call log {}", path.display())]
    Log {
        /// The file asked for.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The fault plan's probabilities make no sense.
    #[error("bad fault plan")]
    Faults(#[from] PlanError),
    /// The profile holds a number that is negative, not finite, or out of its range.
    #[error("bad profile: {0}")]
    Profile(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_never_printed() {
        let config = Config { api_keys: Some(BTreeSet::from(["sk-secret".to_owned()])), ..Config::default() };
        let printed = format!("{config:?}");
        assert!(!printed.contains("sk-secret"), "{printed}");
        assert!(printed.contains("api_keys: Some(1)"), "{printed}");
    }
}
