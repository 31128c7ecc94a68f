//! `demo`: everything at once on this machine, and the proof that every job has one result and the books agree.
//!
//! [`run`] reads in the order in which things happen: [`setting`] is what the broker is configured with, [`workload`],
//! [`file`] and [`trace`] what is asked, [`bounds`] what may be spent, [`world`] and [`run`](mod@run) the run itself,
//! [`report`] the last words.

mod bounds;
mod file;
mod guard;
mod progress;
mod report;
mod run;
mod setting;
mod trace;
mod witness;
mod workload;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_types::{Class, NanoUsd, Team};

use super::Cx;
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::signals::Signals;
use crate::stack::{SimOptions, Stack, StackOptions};

use bounds::Bounds;
use progress::Show;
use report::Report;
use setting::{SIMULATED, Setting};
use trace::{Asking, Replay};
use workload::{Ids, Planned, Workload};
use world::World;

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0 only if every job has exactly one result and results and ClickHouse agree. \
Lines of --jobs that are {\"question\": …} or {\"prompt\": …} are wrapped into chat requests; all others are submitted as they are.")]
pub struct Args {
    /// How many jobs the workload has
    #[arg(long, default_value_t = 600, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    count: usize,
    /// Seed of the workload and of the simulated provider
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An OpenAI batch file, or JSON lines with a question each, in place of the workload
    #[arg(long, value_name = "FILE", group = "lines", conflicts_with = "count")]
    jobs: Option<PathBuf>,
    /// The team of all lines of --jobs; otherwise they are dealt to three teams in turn
    #[arg(long, value_name = "TEAM", requires = "jobs")]
    team: Option<Team>,
    /// The class of all lines of --jobs or rows of --trace; otherwise each team has its own
    #[arg(long, value_name = "CLASS", requires = "lines")]
    class: Option<Class>,
    /// The model of the workload, of a trace or of wrapped questions
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The longest answer to wrapped questions, tokens
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    max_tokens: u64,
    /// `sim`, or a provider of the configuration; `openai` needs only OPENAI_API_KEY
    #[arg(long, default_value = SIMULATED, value_name = "NAME")]
    provider: String,
    /// How fast the simulated provider answers
    #[arg(long, default_value = "fast", value_name = "NAME", value_parser = ["instant", "fast", "realistic"])]
    profile: String,
    #[command(flatten)]
    trace: trace::Options,
    /// Stop submitting where the worst case would cost more; 1 with a real provider, otherwise no limit
    #[arg(long, value_name = "USD", value_parser = NanoUsd::parse_usd)]
    max_cost_usd: Option<NanoUsd>,
    /// Faults of the simulated provider by chance; empty for none
    #[arg(long, value_name = "PLAN")]
    faults: Option<String>,
    /// Jobs in flight
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    concurrency: usize,
    /// Worker processes
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=16))]
    workers: usize,
    /// A new directory for data and logs, kept afterwards; otherwise a temporary one, kept if something fails
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Give up when no job ends for this long
    #[arg(long, default_value = "1m30s", value_name = "DURATION")]
    patience: Period,
}

/// What is spent at most on a real provider, unless somebody says otherwise.
const CAP_DEFAULT_USD: i64 = 1;
/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(250);
/// More than any batch file, and less than memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Runs the command.
///
/// # Errors
/// What did not start or ended, with the end of its log.
pub async fn run(args: Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let mut signals = Signals::listen()?;
    let show = Show::new();
    // Everything that can be wrong is found before anything is fetched or started.
    let mut setting = setting::of(&args.provider, args.faults.as_deref(), args.concurrency, cx)?;
    let replay = args.trace.given().then(|| Replay::read(&args.trace, args.class)).transpose()?;
    let jobs = match &replay {
        Some(replay) => replayed(replay, &args, &mut setting, &show).await,
        None => Workload::at_once(planned(&args, &setting, &show)?),
    };
    let place = Place::new(args.dir.as_deref())?;
    let outcome = tokio::select! {
        outcome = in_place(Plan { args: &args, setting, replay }, jobs, place.path(), &show, cx) => outcome,
        _ = signals.next() => {
            show.say("interrupted");
            return Ok(Code::Interrupted);
        }
    };
    let code = outcome.as_ref().map_or_else(|failure| failure.code, |code| *code);
    // A cap that nothing fits under has left nothing to look at.
    if !matches!(code, Code::Ok | Code::Rejected) {
        let path = place.keep();
        show.say(format_args!("everything is kept in {0}; the logs are in {0}/logs", path.display()));
    }
    outcome
}

/// Where data and logs go.
enum Place {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn new(given: Option<&Path>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(Code::Usage, "no directory for the demo").because(&error);
        match given {
            // What an earlier run left would be counted as this one's.
            Some(dir) if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) => {
                let failure = Failure::new(Code::Usage, format!("{} is not empty", dir.display()));
                Err(failure.try_this("name a directory that does not exist yet"))
            }
            Some(dir) => Ok(Place::Given(dir.to_owned())),
            None => Ok(Place::Temporary(tempfile::Builder::new().prefix("tollgate-demo-").tempdir().map_err(failed)?)),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Place::Given(dir) => dir.clone(),
            Place::Temporary(dir) => dir.path().to_owned(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Place::Given(dir) => dir,
            Place::Temporary(dir) => dir.keep(),
        }
    }
}

/// The jobs: of the file, or of the workload.
fn planned(args: &Args, setting: &Setting, show: &Show) -> Result<Vec<Planned>, Failure> {
    let ids = Ids::fresh();
    let models = args.model.as_ref().map_or_else(|| setting.models.clone(), |model| vec![model.clone()]);
    let Some(path) = &args.jobs else { return Ok(workload::generate(args.seed, args.count, &models, &ids)) };
    let failed =
        |error: &std::io::Error| Failure::new(Code::Usage, format!("cannot read {}", path.display())).because(error);
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(Failure::new(
            Code::Usage,
            format!("{} has more than {FILE_BYTES_MAX} bytes; split it", path.display()),
        ));
    }
    let text = Bytes::from(std::fs::read(path).map_err(|error| failed(&error))?);
    let lanes = workload::teams().map(|(team, class)| match (&args.team, args.class) {
        (Some(team), class) => (team.clone(), class.unwrap_or(Class::Standard)),
        (None, Some(class)) => (team, class),
        (None, None) => (team, class),
    });
    let dealing = file::Dealing { lanes: lanes.to_vec(), model: models[0].clone(), max_tokens: args.max_tokens, ids };
    let read = file::read(&text, &dealing);
    if read.jobs.is_empty() {
        return Err(Failure::new(Code::Usage, format!("{} holds no lines", path.display())));
    }
    if read.wrapped > 0 {
        let (wrapped, model, max) = (read.wrapped, &dealing.model, args.max_tokens);
        show.say(format_args!(
            "{wrapped} line(s) are questions: each is wrapped into a chat request to {model}, at most {max} tokens"
        ));
    }
    if let Some(first) = &read.first_wrong {
        show.say(format_args!(
            "{} line(s) are no valid jobs; they are submitted too, and rejected ({first})",
            read.wrong
        ));
    }
    Ok(read.jobs)
}

/// The jobs of a trace, with what they need of the broker's configuration.
async fn replayed(replay: &Replay, args: &Args, setting: &mut Setting, show: &Show) -> Workload {
    show.say(replay.in_words());
    if replay.weights_compare_nothing() {
        show.say("each team has a class of its own, so that --weights compare nothing; --class gives all the same");
    }
    setting.overrides.insert("teams".to_owned(), toml::Value::Table(replay.weights()));
    let asking = Asking {
        model: args.model.clone().unwrap_or_else(|| setting.models[0].clone()),
        simulated: args.provider == SIMULATED,
        ids: Ids::fresh(),
    };
    replay.workload(asking).await
}

/// What was asked for, and what came of reading it.
struct Plan<'a> {
    args: &'a Args,
    setting: Setting,
    replay: Option<Replay>,
}

async fn in_place(plan: Plan<'_>, mut jobs: Workload, dir: PathBuf, show: &Show, cx: &Cx) -> Outcome {
    let Plan { args, setting, replay } = plan;
    let started = Instant::now();
    let provider = if args.provider == SIMULATED { "a simulated provider" } else { args.provider.as_str() };
    show.say(format_args!("starting NATS, ClickHouse, {provider} and the broker in {} …", dir.display()));
    let mut stack = Stack::start(options(args, setting, replay.as_ref(), dir, cx)?, &show.fetches()).await?;
    let world = World::open(&stack.endpoints(), &jobs, args.provider == SIMULATED).await?;
    let versions = world.versions().await?;
    show.say(format_args!("ready after {:.1} s: {versions}", started.elapsed().as_secs_f64()));

    let real = args.provider != SIMULATED;
    let cap = args.max_cost_usd.or(real.then(|| NanoUsd::from_usd(CAP_DEFAULT_USD)));
    let bounds = cap.map(|cap| Bounds::new(cap, stack.config_path(), cx)).transpose()?;
    if let Some(bounds) = &bounds {
        bounds.refuse_if_nothing_fits(&mut jobs)?;
    }
    if cx.env.get("CLICKHOUSE_URL").is_some() {
        show.say(format_args!(
            "CLICKHOUSE_URL is set: the rows go into its database {} and stay there",
            world.database()
        ));
    }
    let found = tokio::select! {
        found = world.work(jobs, bounds.as_ref(), args.patience.0, show) => found?,
        fallen = fallen(&mut stack) => return Err(Failure::new(Code::Failed, fallen)),
    };
    let report = Report::new(found, replay.as_ref(), args.workers);
    report.print(&cx.output)?;
    show.say("stopping …");
    stack.stop().await?;
    let code = report.code();
    if code == Code::Ok {
        show.say(NEXT);
    }
    Ok(code)
}

const NEXT: &str = "\nNext:\n  tollgate dev                            a system that stays; it prints addresses and passwords\n  \
tollgate submit --wait \"Say hello.\"     a job, as one of its teams\n  \
tollgate usage                          what was used, by team and model";

/// Waits until a process ends that should not, and says which.
async fn fallen(stack: &mut Stack) -> String {
    loop {
        if let Some(fallen) = stack.fallen() {
            return fallen;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn options(
    args: &Args,
    setting: Setting,
    replay: Option<&Replay>,
    dir: PathBuf,
    cx: &Cx,
) -> Result<StackOptions, Failure> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::new(Code::Failed, "cannot find this program").because(&error))?;
    let mut options = StackOptions::new(program, dir);
    for team in args.team.iter().chain(replay.iter().flat_map(|replay| replay.teams())) {
        if !options.teams.iter().any(|known| known == team.as_str()) {
            options.teams.push(team.to_string());
        }
    }
    options.workers = args.workers;
    options.overrides = setting.overrides;
    if cx.env.get("CLICKHOUSE_URL").is_some() {
        // Somebody else's server: what this run writes is kept apart from everything that is there.
        let database = format!("tollgate_demo_{:08x}", rand::random::<u32>());
        let section = toml::Table::from_iter([("database".to_owned(), database.into())]);
        options.overrides.insert("clickhouse".to_owned(), toml::Value::Table(section));
    }
    options.sim = SimOptions { faults: setting.faults, seed: args.seed, profile: args.profile.clone() };
    Ok(options)
}
