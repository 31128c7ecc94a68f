//! Tollgate's sink.

use async_nats::jetstream;
use sandbox::BROKER_USER;
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_sink::{Sink, SinkConfig};
use tollgate_usage::{ClickHouseConfig, Schema, Store};

use super::{connect, ready};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server
    #[arg(long)]
    nats: String,
    /// ClickHouse
    #[arg(long)]
    url: String,
    /// Its user
    #[arg(long)]
    user: String,
    /// The user's password, of a server that ends with the benchmark
    #[arg(long)]
    password: String,
    /// The database of this run
    #[arg(long)]
    database: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let config = ClickHouseConfig {
        user: args.user,
        password: args.password.into(),
        database: args.database,
        ..ClickHouseConfig::new(args.url)
    };
    let store = Store::new(config)?;
    Schema::apply(&store).await?;
    let context = jetstream::new(connect(&args.nats, BROKER_USER).await?.client);
    let (log, state) = (CommitLog::open(&context).await?, State::open(&context).await?);
    ready();
    Sink::new(SinkConfig::new("sink"), log, state, store).run(CancellationToken::new()).await;
    Ok(())
}
