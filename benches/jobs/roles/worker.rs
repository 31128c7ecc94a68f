//! Tollgate's worker as `serve` runs it: logs at `info`, metrics recorded.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use sandbox::BROKER_USER;
use tokio_util::sync::CancellationToken;
use tollgate_policy::price::{Price, Tier};
use tollgate_providers::{Deployment, Vendor};
use tollgate_queue::LaneConfig;
use tollgate_queue::commit_log::CommitLog;
use tollgate_settler::{Settler, SettlerConfig};
use tollgate_worker::{Config, Parts, Priced, Routes, Worker};

use super::{MODEL, connect, ready};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server
    #[arg(long)]
    nats: String,
    /// The provider
    #[arg(long)]
    provider: String,
    /// The most jobs in flight
    #[arg(long)]
    in_flight: usize,
    /// Whether a settler runs beside the worker, as in `serve`
    #[arg(long)]
    guarded: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().set_buckets(&[0.01, 0.1, 1.0, 10.0])?.install_recorder()?;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            metrics.run_upkeep();
        }
    });
    let connection = connect(&args.nats, BROKER_USER).await?;
    let config = Config { concurrency: args.in_flight, lanes: LaneConfig::default(), ..Config::default() };
    let parts = testkit::parts(connection, config.lanes, routes(&args.provider)?).await;
    if args.guarded {
        settle(&parts).await?;
    }
    let worker = Worker::new(config, parts);
    ready();
    Ok(worker.run(CancellationToken::new()).await?)
}

/// Starts a settler; it ends with the process.
async fn settle(parts: &Parts) -> anyhow::Result<()> {
    let context = async_nats::jetstream::new(parts.connection.client.clone());
    let log = CommitLog::open(&context).await?;
    let (alerts, _) = tokio::sync::mpsc::channel(64);
    let of = (parts.records.clone(), parts.directory.clone(), parts.clock.clone());
    let settler = Settler::new(SettlerConfig::new("bench"), log, parts.state.clone(), of, alerts);
    tokio::spawn(settler.run(CancellationToken::new()));
    Ok(())
}

fn routes(provider: &str) -> anyhow::Result<Routes> {
    let tier =
        Tier { above_prompt_tokens: 0, input: 150_000, cache_read: 75_000, cache_write: 150_000, output: 600_000 };
    let price = Price::new("bench-1", vec![tier], 0)?;
    let mut deployment = Deployment::new("mock", Vendor::OpenAi, &format!("http://{provider}/v1"), MODEL, None)?;
    deployment.correlation_headers = true;
    let mut routes = Routes::default();
    routes.add(MODEL, Priced::new(deployment, Some(price), 4096));
    Ok(routes)
}
