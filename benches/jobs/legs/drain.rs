//! The sink over a log that is full: how fast records go from JetStream into ClickHouse when nothing else runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use benches::procfs::{cpu, memory};
use benches::record::record;
use benches::report::{progress, table, whole};
use bytes::Bytes;
use tokio::task::JoinSet;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_queue::{Commit, Results};
use tollgate_sink::SinkProgress;
use tollgate_types::{Digest, UnixMillis};
use tollgate_usage::{ClickHouseConfig, HourRange, Store};

use crate::Size;
use crate::run::sink;
use crate::world::{Tables, Team, World};

const COLUMNS: [&str; 8] = [
    "records",
    "records/s",
    "rows/s",
    "sink µs/row",
    "ClickHouse µs/row",
    "nats µs/row",
    "sink MiB",
    "rollups that differ",
];

/// Results that are stored at a time.
const UNDER_WAY: u64 = 256;
/// The bytes of a result beside its record.
const RESULT_BYTES: usize = 1024;
/// No drain takes longer.
const WITHIN: Duration = Duration::from_secs(300);

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    let records: u64 = if size == Size::Quick { 40_000 } else { 300_000 };
    let world = World::start(1, Team::Plain).await?;
    let mut tables = Tables::start().await?;
    progress(format_args!("{records} records into the log"));
    fill(&world, records).await?;

    let (log, state) = (CommitLog::open(&world.context).await?, State::open(&world.context).await?);
    let last = log.bounds().await?.last;
    let (sink, database) = sink(&world, &mut tables).await?;
    progress("the sink begins");
    // What comes before the first batch (the office, the survey of tombstones) is once in a life.
    let begin = committed(&state, 1).await.with_context(|| sink.said())?;
    let pids = [
        ("sink", sink.pid()?),
        ("clickhouse", tables.server.pid().context("it is a process of ours")?),
        ("nats", world.nats.pid()),
    ];
    let used = || pids.iter().map(|&(_, pid)| cpu(pid)).collect::<anyhow::Result<Vec<Duration>>>();
    let (since, before) = (Instant::now(), used()?);
    let store = store(&tables, &database)?;
    let rows_before = store.books().await?.rows;
    committed(&state, last).await.with_context(|| sink.said())?;
    let (took, after) = (since.elapsed().as_secs_f64(), used()?);
    let rows = (store.books().await?.rows - rows_before) as f64;
    let memory = memory(sink.pid()?)?;
    let differences = store.rollup_differences(HourRange::ALL).await?.len();
    sink.end().await?;

    let micros = |at: usize| format!("{:.1}", (after[at] - before[at]).as_secs_f64() * 1e6 / rows);
    let row = vec![
        whole((last - begin) as f64),
        whole((last - begin) as f64 / took),
        whole(rows / took),
        micros(0),
        micros(1),
        micros(2),
        (memory.peak >> 20).to_string(),
        differences.to_string(),
    ];
    table("Drain: the sink over a full log, validation and all rollups on", &COLUMNS, vec![row]);
    Ok(())
}

/// Commits so many results as a worker does.
async fn fill(world: &World, records: u64) -> anyhow::Result<()> {
    let results = Results::open(&world.context.client()).await?;
    let now = UnixMillis(1_763_000_000_123);
    let (next, payload) = (Arc::new(AtomicU64::new(1)), Bytes::from(vec![b'x'; RESULT_BYTES]));
    let mut writers = JoinSet::new();
    for _ in 0..UNDER_WAY {
        let (results, next, payload) = (results.clone(), next.clone(), payload.clone());
        writers.spawn(async move {
            loop {
                let seq = next.fetch_add(1, Ordering::Relaxed);
                if seq > records {
                    return anyhow::Ok(());
                }
                let event = record(seq, now);
                let digest = Digest::of(&[event.job.as_str().as_bytes()]);
                let commit = results.commit(&event.job, digest, &event, payload.clone()).await;
                ensure!(matches!(commit, Commit::Won), "record {seq} is there already");
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok(())
}

/// Waits until the log is in ClickHouse up to `least`, and says how far it is.
async fn committed(state: &State, least: u64) -> anyhow::Result<u64> {
    let since = Instant::now();
    loop {
        let done = SinkProgress::read(state).await?.map_or(0, |progress| progress.committed_seq);
        if done >= least {
            return Ok(done);
        }
        ensure!(since.elapsed() < WITHIN, "the sink does not get there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn store(tables: &Tables, database: &str) -> anyhow::Result<Store> {
    let server = &tables.server;
    Ok(Store::new(ClickHouseConfig {
        user: server.user().to_owned(),
        password: server.password().to_owned().into(),
        database: database.to_owned(),
        ..ClickHouseConfig::new(server.url())
    })?)
}
