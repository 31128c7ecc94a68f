//! How fast a file of requests is submitted, against bare publishing with as many acknowledgements under way, and in how much
//! memory.
//!
//! Both publish as a team's user across the border of its account, each in a process of its own, and take turns on the same
//! nats-server. The file is made while it is read, so that no disk is in it.

#![allow(clippy::disallowed_methods, reason = "each part is a process that does one thing and ends whole")]

mod file;

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use async_nats::jetstream;
use benches::procfs;
use benches::report::say;
use clap::Parser;
use futures_util::StreamExt as _;
use sandbox::{BROKER_USER, Locations, NatsConfig, NatsOptions, NatsServer, Progress, TeamAccount};
use serde_json::{Map, Value, json};
use tollgate_bulk::check::check;
use tollgate_bulk::source::Source;
use tollgate_bulk::{Begun, Bulk, Chosen, Plan, Shape};
use tollgate_client::Producer;
use tollgate_queue::streams::{self, Limits};
use tollgate_queue::{Connection, NatsConfig as Reach};
use tollgate_types::batch::BatchFormat;
use tollgate_types::{Class, UnixMillis, subjects};

use file::Generated;

const TEAM: &str = "batchers";
const PASSWORD: &str = "not-a-secret";
/// As many acknowledgements as `tollgate-bulk` has under way.
const UNDER_WAY: usize = 512;
const GIB: i64 = 1 << 30;

/// Measures the submission of batches.
#[derive(Debug, clap::Parser)]
#[command(name = "batch")]
struct Options {
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// Run as a part: `bare` or `bulk`
    #[arg(long, hide = true)]
    role: Option<String>,
    #[arg(long, hide = true, default_value = "")]
    url: String,
    #[arg(long, hide = true, default_value = "")]
    key: String,
    /// Requests of the file whose rate is measured
    #[arg(long, default_value_t = 50_000)]
    lines: u64,
    /// Bytes of each request
    #[arg(long, default_value_t = 1024)]
    line_bytes: usize,
    /// Turns that each takes
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The size of the file whose memory is measured, in MiB
    #[arg(long, default_value_t = 1024)]
    memory_mib: u64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match options.role.as_deref() {
        Some("bare") => runtime.block_on(bare(&options)),
        Some(_) => runtime.block_on(bulk(&options)),
        None if options.bench => runtime.block_on(measure(&options)),
        None => {
            say("nothing measured; run it with `cargo bench -p benches --bench batch`");
            Ok(())
        }
    }
}

async fn connect(url: &str, user: &str) -> anyhow::Result<Connection> {
    let inbox_prefix = (user != BROKER_USER).then(|| format!("_INBOX_{user}"));
    let (user, password) = (Some(user.to_owned()), Some(PASSWORD.into()));
    let reach = Reach { url: url.to_owned(), user, password, inbox_prefix, ..Reach::default() };
    Ok(Connection::open(&reach, "bench").await?)
}

/// Publishes the lines, and awaits that each is stored.
async fn bare(options: &Options) -> anyhow::Result<()> {
    let connection = connect(&options.url, TEAM).await?;
    let context = jetstream::new(connection.client.clone());
    let subject = format!("tollgate.jobs.batch.{TEAM}");
    let begun = Instant::now();
    let lines = futures_util::stream::iter(0..options.lines);
    let publish = |n| {
        let (context, subject, line) = (context.clone(), subject.clone(), file::line(n, options.line_bytes));
        async move { context.publish(subject, line.into()).await?.await.map_err(anyhow::Error::from) }
    };
    let mut acks = lines.map(publish).buffered(UNDER_WAY);
    while let Some(ack) = acks.next().await {
        ack?;
    }
    tell(begun, begun)
}

/// Checks the file and submits it, as `tollgate batch submit` does.
async fn bulk(options: &Options) -> anyhow::Result<()> {
    let connection = connect(&options.url, TEAM).await?;
    let bulk = Bulk::new(Producer::new(connection.client, TEAM.parse().expect("a team")));
    let begun = Instant::now();
    let generated = || Source::open(Generated::new(options.lines, options.line_bytes));
    let shape = Shape { format: BatchFormat::OpenAi, options: Map::new(), model: None };
    let checked = check(generated().await?, &shape, bulk.line_bytes_max(), |_| Ok(())).await?;
    ensure!(checked.errors_total == 0 && checked.requests == options.lines, "{:?}", checked.errors.first());
    let plan = Plan {
        id: None,
        format: BatchFormat::OpenAi,
        file: "generated".to_owned(),
        whole: checked.whole,
        jobs: checked.requests,
        class: Class::Batch,
        options: Map::new(),
        model: None,
        key: Some(options.key.clone()),
        max_cost_usd: None,
        again: None,
        asked: String::new(),
        created_at: UnixMillis(0),
    };
    let Begun::New(spec) = bulk.begin(&plan).await? else { anyhow::bail!("it was there before") };
    let checked_at = Instant::now();
    let source = (generated().await?, &Chosen::All, 0);
    let submitted = bulk.submit(&spec, source, || UnixMillis(0), |_| ()).await?;
    ensure!(submitted.through == options.lines && submitted.duplicates == 0, "{submitted:?}");
    tell(begun, checked_at)
}

#[allow(clippy::print_stdout, reason = "a part tells its parent")]
fn tell(begun: Instant, checked_at: Instant) -> anyhow::Result<()> {
    let peak = procfs::memory(std::process::id())?.peak;
    println!(
        "{}",
        json!({ "all_s": begun.elapsed().as_secs_f64(), "publish_s": checked_at.elapsed().as_secs_f64(), "peak": peak })
    );
    Ok(())
}

/// Runs a part, with empty streams.
async fn part(nats: &NatsServer, role: &str, lines: u64, options: &Options) -> anyhow::Result<Value> {
    let context = jetstream::new(connect(&nats.url(), BROKER_USER).await?.client);
    context.get_stream(subjects::JOBS_STREAM).await?.purge().await?;
    let key = format!("{lines}-{:?}", Instant::now());
    let numbers = [lines.to_string(), options.line_bytes.to_string()];
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--role", role, "--url", &nats.url(), "--key", &key])
        .args(["--lines", &numbers[0], "--line-bytes", &numbers[1]])
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "the part {role} failed");
    let stored = context.get_stream(subjects::JOBS_STREAM).await?.cached_info().state.messages;
    ensure!(stored == lines, "{stored} of {lines} lines are stored");
    serde_json::from_slice(&output.stdout).context("what a part told")
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = NatsOptions {
        binary: sandbox::nats_server(&Locations::from_env()?, &Progress::silent()).await?,
        work_dir: dir.path().join("nats"),
        store_dir: None,
        config: NatsConfig {
            file_store_bytes_max: 32 << 30,
            ..NatsConfig::new(vec![TeamAccount::new(TEAM, PASSWORD)?], PASSWORD, PASSWORD)
        },
        port: None,
    };
    let nats = NatsServer::start(server).await?;
    let context = jetstream::new(connect(&nats.url(), BROKER_USER).await?.client);
    let limits = Limits { jobs_bytes_max: 8 * GIB, results_bytes_max: GIB, dead_bytes_max: GIB, ..Limits::default() };
    streams::ensure(&context, &limits).await?;

    say(format_args!("{} lines of {} bytes, {} rounds", options.lines, options.line_bytes, options.rounds));
    let mut ratios = Vec::new();
    for round in 0..options.rounds {
        let order = if round % 2 == 0 { ["bare", "bulk"] } else { ["bulk", "bare"] };
        let mut rates = Map::new();
        for role in order {
            let told = part(&nats, role, options.lines, options).await?;
            let rate = |name: &str| options.lines as f64 / told[name].as_f64().unwrap_or(f64::INFINITY);
            rates.insert(role.to_owned(), json!([rate("publish_s"), rate("all_s")]));
        }
        let [bare, submit, whole] =
            [&rates["bare"][0], &rates["bulk"][0], &rates["bulk"][1]].map(|rate| rate.as_f64().unwrap_or_default());
        say(format_args!("bare {bare:.0}/s, submitted {submit:.0}/s, checked and submitted {whole:.0}/s"));
        ratios.push([submit / bare, whole / bare]);
    }
    let median = |at: usize| {
        let mut all: Vec<f64> = ratios.iter().map(|ratio| ratio[at]).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    say(format_args!("submitted / bare: {:.2} (median); with the check before it: {:.2}", median(0), median(1)));

    let lines = options.memory_mib * (1 << 20) / options.line_bytes as u64;
    let told = part(&nats, "bulk", lines, options).await?;
    let peak = told["peak"].as_f64().unwrap_or_default() / f64::from(1 << 20);
    say(format_args!("a file of {} MiB, {lines} lines: peak {peak:.0} MiB resident", options.memory_mib));
    Ok(())
}
