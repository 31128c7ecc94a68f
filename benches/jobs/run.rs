//! One run of one contender, on servers of its own.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_sink::SinkProgress;
use tollgate_types::subjects;

use crate::world::{Tables, Team, World};
use benches::child::Child;
use benches::procfs;

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The bare loop.
    Bare,
    /// Tollgate's worker.
    Tollgate,
}

impl Contender {
    /// Both, in an order that changes from round to round, so that neither always finds the warmer machine.
    pub(crate) fn pair(round: usize) -> [Contender; 2] {
        if round.is_multiple_of(2) {
            [Contender::Tollgate, Contender::Bare]
        } else {
            [Contender::Bare, Contender::Tollgate]
        }
    }

    fn role(self) -> &'static str {
        match self {
            Contender::Bare => "bare",
            Contender::Tollgate => "worker",
        }
    }
}

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) contender: Contender,
    /// The most jobs in flight in the worker.
    pub(crate) in_flight: usize,
    /// Jobs in all.
    pub(crate) jobs: u64,
    /// Of those, how many run before measuring begins and after it ends.
    pub(crate) warm: u64,
    /// How many jobs are measured at most; the rest of a backlog stays.
    pub(crate) measured_max: u64,
    /// Bytes of a job.
    pub(crate) bytes: usize,
    /// How long the provider takes.
    pub(crate) upstream: Duration,
    /// Jobs outstanding in a closed loop; without it the whole backlog is there first.
    pub(crate) outstanding: Option<usize>,
    /// Over how many lanes the jobs are spread: 1, or a multiple of 3.
    pub(crate) lanes: usize,
    /// What holds for the teams.
    pub(crate) team: Team,
}

/// What was seen of a run.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Jobs per second.
    pub(crate) rate: f64,
    /// CPU time per job by process, µs.
    pub(crate) micros: HashMap<&'static str, f64>,
    /// The worker's memory at the end of the measured stretch.
    pub(crate) memory: procfs::Memory,
    /// Requests that were open at the provider then.
    pub(crate) open: u64,
    /// From just before the submission to the arrival at the provider, ms, sorted; only of a closed loop.
    pub(crate) dispatch: Vec<f64>,
}

impl Measured {
    /// CPU of the contender and the server together, µs per job.
    pub(crate) fn core_micros(&self) -> f64 {
        ["worker", "nats"].iter().filter_map(|name| self.micros.get(name)).sum()
    }
}

/// No stretch of any run may take longer.
const STRETCH_WITHIN: Duration = Duration::from_secs(300);

/// Runs a plan, and with tables the sink beside it. Every job that should be is checked to be done.
pub(crate) async fn run(plan: &Plan, tables: Option<&mut Tables>) -> anyhow::Result<Measured> {
    let world = World::start(plan.lanes, plan.team).await?;
    let mut mock_args = vec!["--delay-ms".to_owned(), plan.upstream.as_millis().to_string()];
    if plan.outstanding.is_some() {
        mock_args.push("--remember".into());
    }
    let (mut mock, provider) = Child::start("mock", &mock_args, world.file("mock.log")).await?;
    let mut loader = Loader::of(plan, &world);
    if plan.outstanding.is_none() {
        loader.finish().await?;
    }
    let mut pids = vec![("nats", world.nats.pid()), ("mock", mock.pid()?)];
    let sink = match tables {
        Some(tables) => {
            pids.extend(tables.server.pid().map(|pid| ("clickhouse", pid)));
            Some(sink(&world, tables).await?.0)
        }
        None => None,
    };
    if let Some(sink) = &sink {
        pids.push(("sink", sink.pid()?));
    }
    let in_flight = plan.in_flight.to_string();
    let args = ["--nats", &world.nats.url(), "--provider", &provider, "--in-flight", &in_flight].map(String::from);
    let guarded = (plan.team == Team::Guarded).then(|| "--guarded".to_owned());
    let args: Vec<String> = args.into_iter().chain(guarded).collect();
    let (worker, _) = Child::start(plan.contender.role(), &args, world.file("worker.log")).await?;
    pids.push(("worker", worker.pid()?));
    if plan.outstanding.is_some() {
        pids.push(("loader", loader.start().await?));
    }

    let begin = Mark::set(plan.warm, &mut mock, &pids).await.with_context(|| worker.said())?;
    let until = (plan.jobs - plan.warm).min(plan.warm + plan.measured_max);
    let end = Mark::set(until, &mut mock, &pids).await.with_context(|| worker.said())?;
    let memory = procfs::memory(worker.pid()?)?;

    if plan.outstanding.is_some() {
        loader.finish().await?;
    }
    if plan.jobs <= until + plan.warm {
        all_done(&world, plan.jobs, sink.is_some()).await.with_context(|| worker.said())?;
    }
    let dispatch = match plan.outstanding {
        Some(_) => dispatch(&world, &mut mock).await?,
        None => Vec::new(),
    };
    worker.end().await?;
    mock.end().await?;
    if let Some(sink) = sink {
        sink.end().await?;
    }
    Ok(Measured { memory, dispatch, open: end.open, ..end.since(&begin) })
}

/// A sink with a database of its own.
pub(crate) async fn sink(world: &World, tables: &mut Tables) -> anyhow::Result<(Child, String)> {
    let database = tables.fresh_database();
    let server = &tables.server;
    let (url, user, password) = (server.url(), server.user(), server.password());
    let args =
        ["--nats", &world.nats.url(), "--url", url, "--user", user, "--password", password, "--database", &database];
    let (sink, _) = Child::start("sink", &args.map(String::from), world.file("sink.log")).await?;
    Ok((sink, database))
}

/// A moment of a run: how many requests had come, and what every process had used.
struct Mark {
    count: u64,
    at: Duration,
    open: u64,
    cpu: Vec<(&'static str, Duration)>,
}

impl Mark {
    /// Waits until so many requests have come.
    async fn set(count: u64, mock: &mut Child, pids: &[(&'static str, u32)]) -> anyhow::Result<Mark> {
        let answer = mock.ask(&format!("until {count}"), STRETCH_WITHIN).await?;
        let cpu: anyhow::Result<_> = pids.iter().map(|&(name, pid)| Ok((name, procfs::cpu(pid)?))).collect();
        let numbers: Vec<u64> = answer.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [count, nanos, open] = numbers[..] else { anyhow::bail!("'{answer}' is no mark") };
        Ok(Mark { count, at: Duration::from_nanos(nanos), open, cpu: cpu? })
    }

    fn since(&self, begin: &Mark) -> Measured {
        let jobs = (self.count - begin.count) as f64;
        let used = self.cpu.iter().zip(&begin.cpu);
        Measured {
            rate: jobs / (self.at - begin.at).as_secs_f64(),
            micros: used.map(|(now, then)| (now.0, (now.1 - then.1).as_secs_f64() * 1e6 / jobs)).collect(),
            memory: procfs::Memory { resident: 0, peak: 0 },
            open: self.open,
            dispatch: Vec::new(),
        }
    }
}

/// The loader, which runs before the worker or beside it.
struct Loader {
    args: Vec<String>,
    log: std::path::PathBuf,
    child: Option<Child>,
}

/// Publishes under way while a backlog is loaded.
const PUBLISHES: usize = 256;
/// A backlog of large jobs is loaded with fewer, so that no more than this many bytes are under way.
const PUBLISHED_BYTES: usize = 16 << 20;

impl Loader {
    fn of(plan: &Plan, world: &World) -> Loader {
        let under_way = PUBLISHES.min(PUBLISHED_BYTES / plan.bytes.max(1)).max(1);
        let outstanding = plan.outstanding.unwrap_or(under_way);
        let mut args = ["--nats", &world.nats.url(), "--count", &plan.jobs.to_string()].map(String::from).to_vec();
        args.extend(["--bytes", &plan.bytes.to_string(), "--outstanding", &outstanding.to_string()].map(String::from));
        args.extend(["--lanes".to_owned(), plan.lanes.to_string()]);
        if plan.outstanding.is_some() {
            let stamps = world.file("stamps").to_string_lossy().into_owned();
            let spread = plan.upstream.as_millis().to_string();
            args.extend(["--closed", "--spread-ms", &spread, "--stamps", &stamps].map(String::from));
        }
        Loader { args, log: world.file("loader.log"), child: None }
    }

    async fn start(&mut self) -> anyhow::Result<u32> {
        let (child, _) = Child::start("loader", &self.args, self.log.clone()).await?;
        let pid = child.pid()?;
        self.child = Some(child);
        Ok(pid)
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        if self.child.is_none() {
            self.start().await?;
        }
        let mut child = self.child.take().context("it was just started")?;
        let said = child.line(STRETCH_WITHIN).await?;
        ensure!(said == "done", "the loader said '{said}'");
        child.end().await
    }
}

/// How long the last jobs may take, and the sink to move them.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// Waits until every job has its one result and none is left, and with a sink, until ClickHouse has all of them.
pub(crate) async fn all_done(world: &World, jobs: u64, sink: bool) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + REST_WITHIN;
    loop {
        let results = world.messages(subjects::RESULTS_STREAM).await?;
        let left = world.messages(subjects::JOBS_STREAM).await?;
        if results == jobs && left == 0 {
            break;
        }
        ensure!(results <= jobs, "{results} results of {jobs} jobs");
        ensure!(tokio::time::Instant::now() < until, "{results} results of {jobs} jobs, {left} left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if sink {
        let (log, state) = (CommitLog::open(&world.context).await?, State::open(&world.context).await?);
        SinkProgress::catch_up(&state, log.identity(), jobs, REST_WITHIN).await?;
    }
    Ok(())
}

/// The times from submission to arrival, without the first tenth, in which connections are made.
async fn dispatch(world: &World, mock: &mut Child) -> anyhow::Result<Vec<f64>> {
    let path = world.file("arrivals");
    mock.ask(&format!("arrivals {}", path.display()), REST_WITHIN).await?;
    let submitted: HashMap<String, u64> = times(&world.file("stamps"))?.into_iter().collect();
    let arrived = times(&path)?;
    ensure!(arrived.len() == submitted.len(), "{} jobs and {} calls", submitted.len(), arrived.len());
    let warm = arrived.len() / 10;
    let mut dispatch = Vec::new();
    for (job, at) in arrived.into_iter().skip(warm) {
        let from = submitted.get(&job).with_context(|| format!("a call for job '{job}', which nobody submitted"))?;
        dispatch.push((at as f64 - *from as f64) / 1e6);
    }
    dispatch.sort_by(f64::total_cmp);
    Ok(dispatch)
}

fn times(path: &std::path::Path) -> anyhow::Result<Vec<(String, u64)>> {
    let text = std::fs::read_to_string(path)?;
    let entry = |line: &str| {
        let (job, nanos) = line.split_once(' ').context("an unknown form of times")?;
        Ok((job.to_owned(), nanos.parse()?))
    };
    text.lines().map(entry).collect()
}
