//! `top`: what happens now, over and over: lanes, rates, spend a minute, providers, alerts.

mod frame;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::time::Instant;
use tollgate_operate::waiting::{self, Among, Everywhere, Running};
use tollgate_queue::control::{self, Heard, WorkerReport};
use tollgate_queue::state::State;
use tollgate_queue::{Connection, Directory, ServerClock};
use tollgate_types::{LaneKey, UnixMillis};
use tollgate_usage::Store;

use super::Cx;
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::output::Format;
use frame::{Frame, Lane, Minute};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often to look
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    every: Period,
    /// Look once and end
    #[arg(long)]
    once: bool,
}

/// A worker that has not said anything for so long is gone; they report every three seconds.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// So long a single look listens, so that every worker has reported.
const LISTEN: Duration = Duration::from_millis(3500);
/// The shortest pause between two looks: each asks the server of every lane.
const EVERY_MIN: Duration = Duration::from_millis(500);
const MINUTE_MS: i64 = 60_000;

/// To an alternate screen and back, and to its first place with the rest cleared.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const AGAIN: &str = "\x1b[H\x1b[J";

/// Runs the command, until Ctrl-C.
///
/// # Errors
/// When NATS cannot be asked. Without ClickHouse the last minute's sums are left out.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate top").await?;
    let mut look = Look::open(connection, connect::clickhouse(&loaded.config)?).await?;
    let live = !args.once && cx.output.format() == Format::Table && std::io::stdout().is_terminal();
    if live {
        cx.output.part(ENTER)?;
    }
    let told = tokio::select! {
        told = tell(args, &mut look, live, cx) => told,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if live {
        cx.output.part(LEAVE)?;
    }
    told.map(|()| Code::Ok)
}

async fn tell(args: &Args, look: &mut Look, live: bool, cx: &Cx) -> Result<(), Failure> {
    let mut wait = LISTEN;
    loop {
        look.listen(wait).await;
        let frame = look.take().await?;
        let text = |frame: &Frame| frame.in_words(&cx.output);
        if live {
            cx.output.part(&format!("{AGAIN}{}\n", text(&frame)))?;
        } else {
            cx.output.record(&frame, text)?;
        }
        if args.once {
            return Ok(());
        }
        wait = args.every.0.max(EVERY_MIN);
    }
}

/// What is looked at, and what is remembered from look to look.
struct Look {
    connection: Connection,
    context: async_nats::jetstream::Context,
    directory: Directory,
    state: State,
    clock: ServerClock,
    store: Store,
    heard: Heard<WorkerReport>,
    workers: BTreeMap<String, (WorkerReport, Instant)>,
    /// Deliveries by lane, at the look before.
    before: Option<(BTreeMap<LaneKey, Running>, Instant)>,
}

impl Look {
    async fn open(connection: Connection, store: Store) -> Result<Look, Failure> {
        let unread = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(Code::Nats, "the broker cannot be looked at").because(error).try_this("run `tollgate init`")
        };
        let context = connect::jetstream(&connection);
        Ok(Look {
            heard: control::reports(&connection).await.map_err(|error| unread(&error))?,
            directory: connect::directory(&context).await.map_err(|error| unread(&error))?,
            state: State::open(&context).await.map_err(|error| unread(&error))?,
            clock: connect::server_clock(&connection).await?,
            workers: BTreeMap::new(),
            before: None,
            connection,
            context,
            store,
        })
    }

    /// Hears what workers report, for so long.
    async fn listen(&mut self, length: Duration) {
        let until = Instant::now() + length;
        while let Ok(Some(report)) = tokio::time::timeout_at(until, self.heard.next()).await {
            self.workers.insert(report.worker.clone(), (report, Instant::now()));
        }
        tokio::time::sleep_until(until).await;
        self.workers.retain(|_, (_, at)| at.elapsed() < FORGOTTEN_AFTER);
    }

    async fn take(&mut self) -> Result<Frame, Failure> {
        let (everywhere, running) =
            tokio::try_join!(Everywhere::count(&self.connection, &self.context), waiting::running(&self.context))?;
        let now = self.clock.now();
        let oldest = waiting::oldest(&self.connection.client, Among::Lane, everywhere.lanes.keys()).await;
        let took = self.before.as_ref().map(|(_, at)| at.elapsed());
        let lane = |(key, waiting): (&LaneKey, &waiting::Waiting)| {
            let is = running.get(key).copied().unwrap_or_default();
            let was = self.before.as_ref().and_then(|(before, _)| before.get(key));
            let shown = key.plain();
            Lane {
                class: shown.class,
                team: shown.team,
                weight: self.directory.team(&key.team).map(|record| record.weight),
                waiting: waiting.in_lane.saturating_sub(is.in_flight),
                running: is.in_flight,
                parked: waiting.parked(),
                oldest_seconds: oldest.get(key).map(|at| now.since(*at).as_secs()),
                per_second: was.zip(took).map(|(was, took)| frame::rate(is.delivered, was.delivered, took)),
            }
        };
        let lanes = everywhere.lanes.iter().map(lane).collect();
        let minute = self.store.recent_use(UnixMillis(now.0.saturating_sub(MINUTE_MS))).await.ok();
        let alerts = tollgate_watch::firing(&self.state).await.unwrap_or_default();
        self.before = Some((running, Instant::now()));
        let workers: Vec<WorkerReport> = self.workers.values().map(|(report, _)| report.clone()).collect();
        Ok(Frame::new(now, lanes, workers, minute.map(Minute::from), alerts))
    }
}
