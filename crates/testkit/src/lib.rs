//! Real servers, a simulated provider and workers in one test's hands.
//!
//! [`World`] starts a nats-server with an account per team, the streams, and a simulated provider; workers run in the
//! test's own process, so that a failure points into the code. Whole processes, and killing them, are the stack's
//! business (`tollgate::stack`).

pub mod proxy;
mod raw;
mod world;

pub use proxy::{Flow, Proxy};
pub use raw::{Incoming, Raw};
pub use world::{PASSWORD, SettlerHandle, Setup, WorkerHandle, World, checks, parts, price, small_limits};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The nats-server that tests run: found or fetched once, with what is being fetched said on stderr.
///
/// # Panics
/// If there is none and none can be fetched; the message says what was tried.
pub async fn nats_server() -> PathBuf {
    let locations = sandbox::Locations::from_env().expect("a place for the cache");
    sandbox::nats_server(&locations, &sandbox::Progress::silent()).await.expect("a nats-server")
}

/// Shows what the broker logs in the output of a failing test; `TOLLGATE_LOG` raises it above warnings.
pub fn show_logs() {
    #[allow(clippy::disallowed_methods, reason = "tests have no binary that would read the environment for them")]
    let filter = std::env::var("TOLLGATE_LOG").unwrap_or_else(|_| "warn".into());
    // Every test asks; the first one is heard.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// Waits until `condition` holds, asking every 20 ms.
///
/// # Panics
/// If it does not hold within `within`; the message names `what`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> F,
) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(since.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
