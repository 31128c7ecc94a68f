//! The embedded ClickHouse, started by the sandbox with these flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use embedded_clickhouse::Config;

use benches::report::say;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    library: PathBuf,
    #[arg(long)]
    path: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    user: String,
    #[arg(long, env = "TOLLGATE_EMBEDDED_PASSWORD", hide_env_values = true)]
    password: String,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let config = Config {
        listen: args.listen,
        user: args.user,
        password: Some(args.password.into()),
        watch_stdin: true,
        ..Config::new(args.library, args.path)
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(embedded_clickhouse::run(config, say));
    // Dropped, it would wait for statements that outlast the grace period.
    runtime.shutdown_background();
    Ok(outcome?)
}
