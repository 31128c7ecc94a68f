//! The parts, each a process of its own.

pub(crate) mod bare;
mod clickhouse;
pub(crate) mod loader;
mod mock;
mod sink;
mod worker;

use std::io::Read as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate_queue::{Connection, NatsConfig};
use tracing_subscriber::EnvFilter;

use benches::report::say;

/// The team that submits the jobs.
pub(crate) const TEAM: &str = "bench";
/// The password of every user of the benchmark's own server.
pub(crate) const PASSWORD: &str = "not-a-secret";
/// The model that jobs ask for.
pub(crate) const MODEL: &str = "bench-small";

/// What this process is.
#[derive(Debug, clap::Parser)]
pub(crate) enum Role {
    /// Answers like a provider, at once or after a delay.
    Mock(mock::Args),
    /// The bare loop.
    Bare(bare::Args),
    /// Tollgate's worker.
    Worker(worker::Args),
    /// Submits jobs.
    Loader(loader::Args),
    /// Tollgate's sink.
    Sink(sink::Args),
    /// The embedded ClickHouse.
    Clickhouse(clickhouse::Args),
}

impl Role {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new("info")).with_writer(std::io::stderr).init();
        let many = tokio::runtime::Builder::new_multi_thread;
        // What only feeds or answers gets one thread, so that it cannot crowd out what is measured.
        let one = tokio::runtime::Builder::new_current_thread;
        match self {
            Role::Mock(args) => one().enable_all().build()?.block_on(mock::run(args)),
            Role::Loader(args) => one().enable_all().build()?.block_on(loader::run(args)),
            Role::Bare(args) => many().enable_all().build()?.block_on(bare::run(args)),
            Role::Worker(args) => many().enable_all().build()?.block_on(worker::run(args)),
            Role::Sink(args) => many().enable_all().build()?.block_on(sink::run(args)),
            Role::Clickhouse(args) => clickhouse::run(args),
        }
    }
}

/// Says that this part is ready, and ends the process when standard input ends: then whoever started us is gone.
fn ready() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    say("ready");
}

/// A connection to the benchmark's server.
pub(crate) async fn connect(url: &str, user: &str) -> anyhow::Result<Connection> {
    let config = NatsConfig {
        url: url.to_owned(),
        user: Some(user.to_owned()),
        password: Some(PASSWORD.into()),
        inbox_prefix: (user == TEAM).then(|| format!("_INBOX_{TEAM}")),
        ..NatsConfig::default()
    };
    Ok(Connection::open(&config, user).await?)
}

/// Now, on the clock that all processes of one machine share; from the Unix epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
