//! The broker, wired together: what runs in one process, and in which order it starts and stops.

mod front;
mod observers;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, watch};
use tollgate_dashboard::Dashboard;
use tollgate_front::Front;
use tollgate_http::{Http, Probes, Readiness};
use tollgate_operate::live::Operator;
use tollgate_providers::{Caller, Checker};
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::connect::Health;
use tollgate_queue::dead::DeadLetters;
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::ledger::Records;
use tollgate_queue::state::State;
use tollgate_queue::{Connection, Lanes, Results, ServerClock, Wait};
use tollgate_retention::{Sweeper, SweeperConfig};
use tollgate_settler::{Settler, SettlerConfig};
use tollgate_sink::Sink;
use tollgate_worker::{CrashPlan, Parts, Routes, Worker, WorkerStatus};

use crate::alerts;
use crate::config::{Loaded, Refused, build};
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::keys;
use crate::signals::{Hangups, Signals};
use crate::supervisor::{Ended, Supervisor};
use crate::telemetry;
use crate::webhook::webhook;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Runs jobs.
    Worker,
    /// Moves results into ClickHouse.
    Sink,
    /// Folds results into the accounts, and removes the texts of those that are old enough.
    Settler,
    /// Answers probes, and shows the dashboards.
    Http,
}

impl Role {
    /// All of them, which is the default.
    pub const ALL: [Role; 4] = [Role::Worker, Role::Sink, Role::Settler, Role::Http];
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Worker => "worker",
            Role::Sink => "sink",
            Role::Settler => "settler",
            Role::Http => "http",
        })
    }
}

/// How long the last probes may take after everything else has stopped.
const HTTP_GRACE: Duration = Duration::from_secs(2);
/// What a worker may take beyond its drain time: to hand jobs back, and for the pulls that the server still holds.
const HAND_BACK: Duration = Duration::from_secs(15);
/// What a sink may take beyond its own grace, to release its office.
const RELEASE: Duration = Duration::from_secs(10);
/// How long the last acknowledgements may take to leave.
const FLUSH: Duration = Duration::from_secs(5);
/// How long webhooks may take to answer what is under way.
const POSTS: Duration = Duration::from_secs(10);
/// Histograms grow until they are folded.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Waits between tries at the start: soon there after a restart, light on a server that is away for long.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(5);

/// Runs the broker until a signal, or until a part ends by itself.
///
/// The first signal drains; a second leaves at once, which loses nothing, because nothing is acknowledged before its
/// result is stored.
///
/// # Errors
/// What is wrong with the configuration, or what ended by itself.
pub async fn serve(loaded: &Loaded, roles: &[Role]) -> Outcome {
    let mut signals = Signals::listen()?;
    let hangups = Hangups::listen()?;
    let metrics = telemetry::install_recorder()?;
    // Everything that can be wrong without any server is found before the first one is asked.
    let plan = Plan::new(loaded, roles)?;

    let mut broker = Broker { readiness: Readiness::new(), supervisor: Supervisor::new(), plan };
    broker.readiness.because("starting", "not connected to nats yet");
    // Probes come first, because whoever starts us wants to know why we are not ready.
    broker.observe(loaded, roles, metrics).await?;
    broker.keep_keys(hangups);
    tracing::info!(version = VERSION, name = broker.plan.name, ?roles, "starting");
    let connection = tokio::select! {
        connection = broker.start() => connection?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before the start was complete");
            return Ok(Code::Ok);
        }
    };
    let outcome = tokio::select! {
        ended = broker.supervisor.ended() => Err(unasked(ended)),
        signal = signals.next() => {
            tracing::info!(signal, "stopping; a second signal leaves at once");
            Ok(Code::Ok)
        }
    };
    tokio::select! {
        () = broker.stop(&connection) => outcome,
        signal = signals.next() => {
            tracing::warn!(signal, "leaving at once; jobs in flight go to another worker");
            Ok(Code::Interrupted)
        }
    }
}

/// The variable that names a file with the crash points to arm. A file, so that a test disarms them for the processes
/// that it starts later.
const CRASH: &str = "TOLLGATE_CRASH_FILE";
/// The variable that names a file with the milliseconds by which this machine's clock is made to be wrong, for tests of
/// what a wrong clock does. A file, for the same reason.
const CLOCK: &str = "TOLLGATE_CLOCK_FILE";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What will run, decided before anything does.
struct Plan {
    loaded: Loaded,
    name: String,
    worker: Option<(Routes, Caller)>,
    /// The external checkers that guardrails name, if there is a worker that asks them.
    checkers: BTreeMap<String, Checker>,
    /// The keys of all providers and checkers, if there is a worker that uses them.
    keys: build::Rings,
    sink: Option<tollgate_usage::Store>,
    settler: bool,
    /// The screens, if this process serves them.
    dashboard: Option<Dashboard>,
    /// The front door, if this process serves it.
    front: Option<Front>,
    crash: CrashPlan,
    /// By how many milliseconds the local wall clock is made to be wrong; 0 outside of tests.
    clock_wrong_by: i64,
}

impl Plan {
    fn new(loaded: &Loaded, roles: &[Role]) -> Result<Self, Failure> {
        let config = &loaded.config;
        let refused = |problems| Refused { path: loaded.path.clone(), problems };
        let keys = roles.contains(&Role::Worker).then(|| build::rings(config, &loaded.env)).transpose();
        let mut keys = keys.map_err(refused)?.unwrap_or_default();
        let checkers = roles.contains(&Role::Worker).then(|| build::checkers(config, &loaded.env)).transpose();
        let (checkers, of_checkers) = checkers.map_err(refused)?.unwrap_or_default();
        keys.extend(of_checkers);
        let worker = roles.contains(&Role::Worker).then(|| {
            let routes = build::routes_with(config, &keys).map_err(refused)?;
            let no_caller = |error| Failure::new(Code::Usage, "providers cannot be called").because(&error);
            Ok::<_, Failure>((routes, Caller::new(&build::caller(config)).map_err(no_caller)?))
        });
        let sink = roles.contains(&Role::Sink).then(|| connect::clickhouse(config));
        let name = config.worker.name.clone().unwrap_or_else(|| default_name(&loaded.env));
        let crash = for_tests(&loaded.env, CRASH)?;
        let crash: Result<CrashPlan, String> = crash.as_deref().unwrap_or_default().parse();
        let crash = crash.map_err(|why| Failure::new(Code::Usage, format!("{CRASH} is not a plan: {why}")))?;
        let wrong_by = for_tests(&loaded.env, CLOCK)?;
        let clock_wrong_by = wrong_by.map_or(Ok(0), |text| text.parse::<i64>());
        let clock_wrong_by = clock_wrong_by
            .map_err(|why| Failure::new(Code::Usage, format!("{CLOCK} does not hold milliseconds: {why}")))?;
        Ok(Plan {
            loaded: loaded.clone(),
            name,
            crash,
            clock_wrong_by,
            worker: worker.transpose()?,
            checkers,
            keys,
            sink: sink.transpose()?,
            settler: roles.contains(&Role::Settler),
            dashboard: None,
            front: None,
        })
    }
}

/// What a file says that a variable names, for the tests over the system; a file that is not there says nothing.
fn for_tests(env: &crate::env::Env, variable: &str) -> Result<Option<String>, Failure> {
    let Some(file) = env.get(variable) else { return Ok(None) };
    if !cfg!(debug_assertions) {
        return Err(Failure::new(Code::Usage, format!("{variable} is for tests, and this is a release build")));
    }
    Ok(std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned()))
}

/// Names a process by its host, its id, and chance, because containers often share the first two.
fn default_name(env: &crate::env::Env) -> String {
    let host = env.get("HOSTNAME").unwrap_or_else(|| "tollgate".into());
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    format!("{host}-{}-{:04x}", std::process::id(), rand::random::<u16>())
}

struct Broker {
    plan: Plan,
    readiness: Readiness,
    supervisor: Supervisor,
}

impl Broker {
    async fn observe(&mut self, loaded: &Loaded, roles: &[Role], metrics: PrometheusHandle) -> Result<(), Failure> {
        if roles.contains(&Role::Http) {
            let probes = Probes { readiness: self.readiness.clone(), metrics: metrics.clone(), version: VERSION };
            let taken = |error| {
                let failure = Failure::new(Code::Usage, "probes cannot be answered").because(&error);
                failure.try_this("name another address with --listen or [http] listen; port 0 takes a free one")
            };
            let listen = loaded.config.http.listen;
            let dashboard = loaded.config.dashboard.enabled.then(|| {
                // Without one there is no history; what is now is shown all the same.
                let store = connect::clickhouse(&loaded.config).ok();
                Dashboard::new(build::dashboard(&loaded.config), store, listen)
            });
            let mut pages = dashboard.as_ref().map(Dashboard::router).unwrap_or_default();
            if let Some(front) = self.front_door(loaded) {
                match loaded.config.front.listen {
                    None => pages = pages.merge(front.router()),
                    Some(own) => self.serve_apart(own, &front).await?,
                }
            }
            let http = Http::bind(listen, probes, pages).await.map_err(taken)?;
            tracing::info!(addr = %http.addr(), dashboard = dashboard.is_some(), "answering probes");
            self.plan.dashboard = dashboard;
            self.supervisor.spawn("http", |stop| async move { http.run(stop).await.context("probes") });
        }
        self.supervisor.spawn("metrics", |stop| async move {
            while tokio::time::timeout(METRICS_UPKEEP, stop.cancelled()).await.is_err() {
                metrics.run_upkeep();
            }
            Ok(())
        });
        Ok(())
    }

    fn keep_keys(&mut self, hangups: Hangups) {
        let rings = std::mem::take(&mut self.plan.keys).into_values().collect();
        self.supervisor.spawn("keys", |stop| keys::keep_fresh(rings, hangups, keys::LOOK_EVERY, stop));
    }

    /// Starts what the roles ask for, trying for as long as a server is away.
    async fn start(&mut self) -> Result<Connection, Failure> {
        let config = &self.plan.loaded.config;
        let name = format!("tollgate {}", self.plan.name);
        let connection = self.until("nats", async || connect::nats(config, &name).await).await;
        let context = connect::jetstream(&connection);
        // The sink before the worker: results are consumed before the first one is made.
        let sink = match self.plan.sink.take() {
            Some(store) => Some(self.sink(&context, store).await),
            None => None,
        };
        // And spend is folded before it is made.
        if self.plan.settler {
            self.settler(&connection, &context).await?;
            self.counter(&connection, &context).await;
            self.clerk(&connection, &context).await;
        }
        if let Some(dashboard) = self.plan.dashboard.take() {
            let named = || (connection.clone(), "dashboard".to_owned(), String::new());
            let open = async || {
                let (connection, author, reason) = named();
                Operator::new(connection, author, reason).await
            };
            let operator = self.until("streams", open).await;
            self.supervisor.spawn("dashboard", |stop| async move {
                dashboard.run(operator, stop).await;
                Ok(())
            });
        }
        let worker = match self.plan.worker.take() {
            Some((routes, caller)) => Some(self.worker(&connection, &context, routes, caller).await),
            None => None,
        };
        if let Some(sink) = sink {
            self.traces(&context).await?;
            self.supervisor.spawn("sink", |stop| async move {
                sink.run(stop).await;
                Ok(())
            });
        }
        let status = worker.as_ref().map(Worker::status);
        if let Some(worker) = worker {
            self.supervisor.spawn("worker", |stop| async move { worker.run(stop).await.context("the worker") });
        }
        // Last: a bucket that an older `init` did not make keeps callers out, and no job waiting.
        self.open_front(&connection, &context).await?;
        let (readiness, health) = (self.readiness.clone(), connection.health());
        self.supervisor.spawn("readiness", |stop| async move {
            tokio::select! {
                () = follow_connection(&readiness, health) => {}
                () = follow_worker(&readiness, status) => {}
                () = stop.cancelled() => return Ok(()),
            }
            anyhow::bail!("nobody tells how the parts are doing")
        });
        self.readiness.clear("starting");
        tracing::info!("started");
        Ok(connection)
    }

    async fn sink(&self, context: &jetstream::Context, store: tollgate_usage::Store) -> Sink {
        let log = self.until("streams", async || CommitLog::open(context).await.map_err(not_there)).await;
        let state = self.until("streams", async || State::open(context).await.map_err(not_there)).await;
        Sink::new(build::sink(&self.plan.loaded.config, &self.plan.name), log, state, store)
    }

    /// Starts the settler and what passes its alerts on.
    async fn settler(&mut self, connection: &Connection, context: &jetstream::Context) -> Result<(), Failure> {
        let log = self.until("streams", async || CommitLog::open(context).await.map_err(not_there)).await;
        let state = self.until("streams", async || State::open(context).await.map_err(not_there)).await;
        let records = self.until("streams", async || Records::open(context).await.map_err(not_there)).await;
        let directory = self.until("streams", async || connect::directory(context).await.map_err(not_there)).await;
        let (clock, client) = (self.clock(), connection.client.clone());
        self.until("streams", async || ask_the_time(&client, &clock).await.map_err(not_there)).await;
        let (sender, receiver) = mpsc::channel(alerts::WAITING_MAX);
        let settings = build::settler(&self.plan.loaded.config, &self.plan.name);
        let settings = SettlerConfig { crash: self.plan.crash.clone(), ..settings };
        let config = &self.plan.loaded.config;
        let webhook = config.alerts.webhook.as_ref().map(|url| webhook(url, config.worker.proxy.as_deref()));
        let (webhook, poster) = webhook.transpose()?.unzip();
        // Beside the settler, because every deployment has one.
        let sweeping = SweeperConfig {
            lease: settings.lease,
            crash: self.plan.crash.clone(),
            ..SweeperConfig::new(&self.plan.name)
        };
        let (known, time) = (directory.clone(), clock.clone());
        let sweeper = Sweeper::new(sweeping, connection, log.clone(), state.clone(), (known, time));
        self.supervisor.spawn("sweeper", |stop| async move {
            sweeper.run(stop).await;
            Ok(())
        });
        let settler = Settler::new(settings, log, state, (records, directory.clone(), clock.clone()), sender);
        self.supervisor.spawn("settler", |stop| async move {
            tokio::select! {
                () = settler.run(stop) => Ok(()),
                () = directory.follow() => anyhow::bail!("the directory is not followed any more"),
                () = keep_time(&client, &clock) => anyhow::bail!("nobody asks for the time any more"),
            }
        });
        self.watch(connection, context, webhook.clone()).await?;
        self.webhooks(context)?;
        let connection = connection.clone();
        self.supervisor.spawn("alerts", |stop| async move {
            // It ends after the settler, when all that was handed over is passed on.
            alerts::pass_on(receiver, &connection, webhook).await;
            stop.cancelled().await;
            Ok(())
        });
        if let Some(poster) = poster {
            self.supervisor.spawn("webhook", |stop| async move {
                tokio::select! {
                    // After the alerts, when all are posted.
                    () = poster.run() => stop.cancelled().await,
                    () = stop.cancelled() => {}
                }
                Ok(())
            });
        }
        Ok(())
    }

    fn clock(&self) -> ServerClock {
        ServerClock::with_wall_clock_wrong_by(self.plan.clock_wrong_by)
    }

    async fn worker(
        &self,
        connection: &Connection,
        context: &jetstream::Context,
        routes: Routes,
        caller: Caller,
    ) -> Worker {
        let config = &self.plan.loaded.config;
        let (client, clock) = (&connection.client, self.clock());
        let open_lanes = async || Lanes::open(client, build::lanes(config), clock.clone()).await.map_err(not_there);
        let lanes = self.until("streams", open_lanes).await;
        let results = self.until("streams", async || Results::open(client).await.map_err(not_there)).await;
        let state = self.until("streams", async || State::open(context).await.map_err(not_there)).await;
        let directory = self.until("streams", async || connect::directory(context).await.map_err(not_there)).await;
        let records = self.until("streams", async || Records::open(context).await.map_err(not_there)).await;
        let log = self.until("streams", async || CommitLog::open(context).await.map_err(not_there)).await;
        let open_wait = async || Wait::open(connection, build::lanes(config)).await.map_err(not_there);
        let wait = self.until("streams", open_wait).await;
        let log = log.identity().to_owned();
        let dead = DeadLetters::new(client);
        let connection = connection.clone();
        let checkers = self.plan.checkers.clone();
        let parts = Parts {
            connection,
            clock,
            lanes,
            wait,
            results,
            dead,
            state,
            directory,
            records,
            log,
            routes,
            caller,
            checkers,
        };
        let settings = build::worker(config, &self.plan.name);
        Worker::new(tollgate_worker::Config { crash: self.plan.crash.clone(), ..settings }, parts)
    }

    /// Tries until it works; meanwhile readiness says why it does not.
    async fn until<T>(&self, what: &'static str, try_it: impl AsyncFn() -> Result<T, Failure>) -> T {
        let mut wait = *RETRY.start();
        loop {
            match try_it().await {
                Ok(made) => {
                    self.readiness.clear(what);
                    return made;
                }
                Err(failure) => {
                    let (reason, remedy) = (failure.reason(), failure.remedy().unwrap_or_default());
                    let retry_in_ms = wait.as_millis();
                    tracing::error!(waiting_for = what, reason, remedy, retry_in_ms, "cannot start yet");
                    self.readiness.because(what, format!("{reason} ({remedy})"));
                }
            }
            // Jittered, so that a fleet does not come back in one instant.
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(*RETRY.end());
        }
    }

    async fn stop(&mut self, connection: &Connection) {
        let config = &self.plan.loaded.config;
        // First, so that no balancer or operator counts on us any more.
        self.readiness.because("draining", "a stop was asked for");
        // Before the sink, which then finds the last results in the log.
        self.supervisor.stop("worker", config.worker.drain.0 + HAND_BACK).await;
        self.supervisor.stop("keys", HTTP_GRACE).await;
        // After the worker, whose last results its callers still get.
        self.supervisor.stop("front", HTTP_GRACE).await;
        self.supervisor.stop("front http", HTTP_GRACE).await;
        self.supervisor.stop("sweeper", HTTP_GRACE).await;
        self.supervisor.stop("settler", HTTP_GRACE).await;
        self.supervisor.stop("orders", HTTP_GRACE).await;
        self.supervisor.stop("batches", HTTP_GRACE).await;
        self.supervisor.stop("watch", HTTP_GRACE).await;
        self.supervisor.stop("alerts", HTTP_GRACE).await;
        self.supervisor.stop("webhook", HTTP_GRACE).await;
        // What is under way longer is told again, by whoever has it next.
        self.supervisor.stop("webhooks", POSTS).await;
        self.supervisor.stop("traces", HTTP_GRACE).await;
        self.supervisor.stop("sink", config.sink.shutdown_grace.0 + RELEASE).await;
        // After the parts that publish on it: the last acknowledgements must leave.
        if tokio::time::timeout(FLUSH, connection.client.flush()).await.is_err() {
            tracing::warn!("nats did not take the last messages in time; unacknowledged jobs come again");
        }
        self.supervisor.stop("readiness", HTTP_GRACE).await;
        self.supervisor.stop("metrics", HTTP_GRACE).await;
        // Before the server, which waits for pages that are open.
        self.supervisor.stop("dashboard", HTTP_GRACE).await;
        // Last, so that probes tell the draining from an absence.
        self.supervisor.stop("http", HTTP_GRACE).await;
        tracing::info!("stopped");
    }
}

/// How often a process that counts no lanes asks the server for its time.
const TIME_EVERY: Duration = Duration::from_secs(5);

async fn keep_time(client: &async_nats::Client, clock: &ServerClock) {
    loop {
        tokio::time::sleep(TIME_EVERY).await;
        if let Err(error) = ask_the_time(client, clock).await {
            tracing::debug!(%error, "the server did not tell its time");
        }
    }
}

fn unasked(ended: Ended) -> Failure {
    let error = ended.outcome.err().unwrap_or_else(|| anyhow::anyhow!("the task `{}` ended", ended.name));
    tracing::error!(error = format!("{error:#}"), "stopping, because a part failed");
    let failure = Failure::new(Code::Failed, error.to_string());
    match error.chain().nth(1) {
        Some(cause) => failure.because(cause),
        None => failure,
    }
}

fn not_there<E: std::error::Error + 'static>(error: E) -> Failure {
    Failure::new(Code::Nats, "the streams are not ready").because(&error).try_this("run `tollgate init`")
}

/// Ends when nobody tells any more.
async fn follow_connection(readiness: &Readiness, mut health: watch::Receiver<Health>) {
    loop {
        let connected = health.borrow_and_update().connected;
        readiness.set("nats", (!connected).then(|| "not connected to nats".to_owned()));
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Ends never without a worker, and otherwise with it, because then the supervisor ends the process.
async fn follow_worker(readiness: &Readiness, status: Option<watch::Receiver<WorkerStatus>>) {
    if let Some(mut status) = status {
        loop {
            let holding = status.borrow_and_update().holding;
            readiness.set("worker", holding.map(str::to_owned));
            if status.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}
