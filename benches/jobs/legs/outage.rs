//! ClickHouse away under load: how long the sink takes to catch up, and whether the tables are exact then.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_sink::SinkProgress;
use tollgate_usage::{ClickHouseConfig, HourRange, Store};

use crate::Size;
use crate::run::{all_done, sink};
use crate::world::{Tables, Team, World};
use benches::child::Child;
use benches::procfs::memory;
use benches::report::{progress, table, whole};

const COLUMNS: [&str; 8] = [
    "jobs/s",
    "away, s",
    "records waiting then",
    "caught up in, s",
    "times faster than it grew",
    "sink MiB at the most",
    "rows lost or twice",
    "rollups that differ",
];

/// Jobs submitted each second, before, during and after.
const RATE: u64 = 200;

/// How many records behind is caught up: two seconds of load, a batch.
const NEAR: u64 = 2 * RATE;

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    let away = Duration::from_secs(if size == Size::Quick { 20 } else { 600 });
    let (before, after) = (Duration::from_secs(5), away / 2 + Duration::from_secs(10));
    let jobs = RATE * (before + away + after).as_secs();
    let world = World::start(1, Team::Plain).await?;
    let mut tables = Tables::start().await?;
    let (mock, provider) = Child::start("mock", &[], world.file("mock.log")).await?;
    let (sink, database) = sink(&world, &mut tables).await?;
    let nats = world.nats.url();
    let args = ["--nats", &nats, "--provider", &provider, "--in-flight", "256"].map(String::from);
    let (worker, _) = Child::start("worker", &args, world.file("worker.log")).await?;
    let args = ["--nats", &nats, "--count", &jobs.to_string(), "--bytes", "1024", "--outstanding", "256"];
    let args: Vec<String> = args.into_iter().chain(["--rate", &RATE.to_string()]).map(String::from).collect();
    let (mut loader, _) = Child::start("loader", &args, world.file("loader.log")).await?;

    progress(format_args!("ClickHouse is away for {} s at {RATE} jobs/s", away.as_secs()));
    tokio::time::sleep(before).await;
    tables.server.kill9()?;
    tokio::time::sleep(away).await;
    let (log, state) = (CommitLog::open(&world.context).await?, State::open(&world.context).await?);
    let waiting = behind(&log, &state).await?;
    tables.server.restart().await?;
    let took = caught_up(&log, &state, away + after).await?;

    let said = loader.line(after + Duration::from_secs(120)).await?;
    ensure!(said == "done", "the loader said '{said}'");
    all_done(&world, jobs, true).await.with_context(|| sink.said())?;
    let memory = memory(sink.pid()?)?;
    let found = Found::of(&tables, &database, jobs).await?;
    for part in [loader, worker, sink, mock] {
        part.end().await?;
    }
    let row = vec![
        RATE.to_string(),
        away.as_secs().to_string(),
        whole(waiting as f64),
        format!("{:.1}", took.as_secs_f64()),
        // In that time it also took what came meanwhile.
        format!("{:.0}", away.as_secs_f64() / took.as_secs_f64()),
        (memory.peak >> 20).to_string(),
        found.wrong_rows.to_string(),
        found.differences.to_string(),
    ];
    table("Outage: ClickHouse is killed and comes back, the load goes on", &COLUMNS, vec![row]);
    Ok(())
}

/// How many records of the log are not in ClickHouse.
async fn behind(log: &CommitLog, state: &State) -> anyhow::Result<u64> {
    let done = SinkProgress::read(state).await?.map_or(0, |progress| progress.committed_seq);
    Ok(log.bounds().await?.last.saturating_sub(done))
}

async fn caught_up(log: &CommitLog, state: &State, within: Duration) -> anyhow::Result<Duration> {
    let since = Instant::now();
    while behind(log, state).await? > NEAR {
        ensure!(since.elapsed() < within, "it does not catch up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(since.elapsed())
}

/// What the tables hold that they should not, or not what they should.
struct Found {
    wrong_rows: u64,
    differences: usize,
}

impl Found {
    async fn of(tables: &Tables, database: &str, jobs: u64) -> anyhow::Result<Found> {
        let server = &tables.server;
        let store = Store::new(ClickHouseConfig {
            user: server.user().to_owned(),
            password: server.password().to_owned().into(),
            database: database.to_owned(),
            ..ClickHouseConfig::new(server.url())
        })?;
        let books = store.books().await?;
        // A job and its one call.
        let lost = (2 * jobs).abs_diff(books.rows - books.repeated_rows);
        let differences = store.rollup_differences(HourRange::ALL).await?.len();
        Ok(Found { wrong_rows: lost + books.repeated_rows, differences })
    }
}
