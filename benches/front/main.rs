//! What a call through the front door takes longer than one to the provider directly: a closed loop of so many
//! connections, each contender in turn.
//!
//! The provider, and the broker with its front door, are processes of their own (`--role`); this one is the caller.

#![allow(clippy::disallowed_methods, reason = "each part is a process that does one thing and ends whole")]

mod broker;
mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use benches::child::Child;
use benches::report::{Spread, progress, say, table};
use clap::Parser;
use sandbox::{Locations, NatsConfig, NatsOptions, NatsServer, Progress, TeamAccount};
use tokio::task::JoinSet;
use tollgate_queue::Keys;
use tollgate_queue::directory::{Directory, Expected, TeamRecord};
use tollgate_queue::streams::{self, Limits};

use crate::broker::{PASSWORD, TEAM};

/// Measures the front door against the provider itself.
#[derive(Debug, clap::Parser)]
#[command(name = "front")]
struct Options {
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// One round with few calls
    #[arg(long)]
    quick: bool,
    /// How long the provider takes, ms
    #[arg(long, default_value_t = 500)]
    provider_ms: u64,
}

/// What this process is.
#[derive(Debug, clap::Parser)]
enum Role {
    /// Answers like a provider, after a delay.
    Provider(provider::Args),
    /// Runs jobs, and takes calls.
    Broker(broker::Args),
}

const CONNECTIONS: [usize; 3] = [1, 64, 256];
/// A model takes longer; a queue that stands is worse than that.
const CALL_MAX: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let runtime = tokio::runtime::Runtime::new()?;
    if args.get(1).is_some_and(|arg| arg == "--role") {
        args.remove(1);
        return runtime.block_on(async {
            match Role::parse_from(args) {
                Role::Provider(args) => provider::run(args).await,
                Role::Broker(args) => broker::run(args).await,
            }
        });
    }
    tollgate_providers::install_crypto();
    let options = Options::parse_from(args);
    if !options.bench {
        say("nothing measured; run it with `cargo bench -p benches --bench front`");
        return Ok(());
    }
    runtime.block_on(measure(&options))
}

/// Where a call goes.
#[derive(Clone)]
struct Target {
    url: String,
    key: String,
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let log = |name: &str| dir.path().join(name);
    let nats = start_nats(&dir).await?;
    let key = prepare(&nats).await?;
    let delay = vec!["--delay-ms".to_owned(), options.provider_ms.to_string()];
    let (_provider, provider) = Child::start("provider", &delay, log("provider.log")).await?;
    let args = ["--nats", &nats.url(), "--provider", &provider].map(str::to_owned);
    let (_broker, front) = Child::start("broker", &args, log("broker.log")).await?;
    let path = "/v1/chat/completions";
    let direct = Target { url: format!("http://{provider}{path}"), key: "none".to_owned() };
    let front = Target { url: format!("http://{front}{path}"), key };
    let rounds = if options.quick { 1 } else { 3 };
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let calls = if options.quick { connections * 4 + 20 } else { connections * 20 + 60 };
        // Connections, lanes and pools are made before anything counts.
        run(&front, connections, connections * 2).await?;
        let (mut added_50, mut added_99) = (Vec::new(), Vec::new());
        let (mut directs, mut fronts) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            progress(format_args!("{connections} connections, round {}", round + 1));
            let one = run(&direct, connections, calls).await?;
            let other = run(&front, connections, calls).await?;
            added_50.push(at(&other, 0.50) - at(&one, 0.50));
            added_99.push(at(&other, 0.99) - at(&one, 0.99));
            directs.push(at(&one, 0.50));
            fronts.push(at(&other, 0.50));
        }
        let middle = |numbers: Vec<f64>| format!("{:.1}", Spread::of(numbers).median);
        rows.push(vec![
            connections.to_string(),
            middle(directs),
            middle(fronts),
            Spread::of(added_50).ratio(),
            Spread::of(added_99).ratio(),
        ]);
    }
    let title = "**Front door**: latency of a call, ms; added is front door less provider, round by round";
    table(title, &["connections", "provider p50", "front door p50", "added p50", "added p99"], rows);
    Ok(())
}

async fn start_nats(dir: &tempfile::TempDir) -> anyhow::Result<NatsServer> {
    let options = NatsOptions {
        binary: sandbox::nats_server(&Locations::from_env()?, &Progress::silent()).await?,
        work_dir: dir.path().join("nats"),
        store_dir: None,
        config: NatsConfig {
            file_store_bytes_max: 32 << 30,
            ..NatsConfig::new(vec![TeamAccount::new(TEAM, PASSWORD)?], PASSWORD, PASSWORD)
        },
        port: None,
    };
    Ok(NatsServer::start(options).await?)
}

/// Makes the streams, the team and a key, which it returns.
async fn prepare(nats: &NatsServer) -> anyhow::Result<String> {
    let context = async_nats::jetstream::new(broker::connect(&nats.url()).await?.client);
    let limits = Limits { jobs_bytes_max: 1 << 30, results_bytes_max: 4 << 30, ..Limits::default() };
    streams::ensure(&context, &limits).await?;
    let directory = Directory::open(&context, testkit::checks()).await?;
    directory.put_team(&TEAM.parse()?, &TeamRecord::default(), Expected::Any).await?;
    let keys = Keys::open(&context).await?;
    let (id, record, text) = broker::key()?;
    keys.create(&id, &record).await?;
    Ok(text)
}

/// Makes so many calls over so many connections, and returns how long each took, sorted, ms.
async fn run(target: &Target, connections: usize, calls: usize) -> anyhow::Result<Vec<f64>> {
    let client = reqwest::Client::builder().http1_only().tcp_nodelay(true).no_proxy().timeout(CALL_MAX);
    let client = client.pool_max_idle_per_host(usize::MAX).build()?;
    let left = Arc::new(AtomicUsize::new(calls));
    let mut callers = JoinSet::new();
    for _ in 0..connections {
        let (client, target, left) = (client.clone(), target.clone(), left.clone());
        callers.spawn(async move {
            let mut took = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let since = Instant::now();
                call(&client, &target).await?;
                took.push(since.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(caller) = callers.join_next().await {
        took.extend(caller??);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// A call counts only with its answer.
async fn call(client: &reqwest::Client, target: &Target) -> anyhow::Result<()> {
    let body = serde_json::json!({ "model": broker::MODEL, "max_tokens": 100,
        "messages": [{ "role": "user", "content": "The quick brown fox jumps over the lazy dog. ".repeat(20) }] });
    let answer = client.post(&target.url).bearer_auth(&target.key).json(&body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success() && text.contains("\"choices\""), "{status}: {text}");
    Ok(())
}

fn at(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let rank = (last as f64 * part).ceil();
    sorted.get(rank as usize).copied().context("nothing was measured").unwrap_or(f64::NAN)
}
