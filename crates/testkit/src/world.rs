//! One test's world.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sandbox::{BROKER_USER, NatsConfig, NatsOptions, NatsServer, TeamAccount};
use sim_provider::{Config as SimConfig, SimProvider};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tollgate_client::Producer;
use tollgate_policy::price::{Price, Tier};
use tollgate_providers::{Caller, CallerOptions, Checker, Deployment, Timeouts, Vendor};
use tollgate_queue::Wait;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::dead::DeadLetters;
use tollgate_queue::directory::{Checks, Directory, Expected, TeamRecord};
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::ledger::Records;
use tollgate_queue::state::State;
use tollgate_queue::streams::{self, Limits};
use tollgate_queue::{Connection, LaneConfig, Lanes, NatsConfig as Reach, Results, ServerClock};
use tollgate_settler::{BudgetAlert, Settler, SettlerConfig};
use tollgate_types::{Class, JobId, JobResult};
use tollgate_worker::{Config, Parts, Priced, Routes, Worker};

use crate::Raw;

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Teams that have an account in NATS.
    pub accounts: Vec<&'static str>,
    /// Those of them that are registered with the broker.
    pub registered: Vec<&'static str>,
    /// The simulated provider.
    pub sim: SimConfig,
    /// Ack wait of the lanes.
    pub ack_wait: Duration,
    /// The provider's timeouts.
    pub timeouts: Timeouts,
    /// The largest message that the server takes, in bytes.
    pub payload_bytes_max: u64,
    /// How fast each deployment may be called.
    pub limits: tollgate_types::Limits,
}

/// What the broker's own processes judge live configuration by, but for the shortest time that results are kept.
pub fn checks() -> Checks {
    Checks {
        budgets: |budgets| tollgate_policy::budget::check_budgets(budgets).map_err(|error| error.to_string()),
        guardrails: |policy| tollgate_guard::check(policy).map_err(|error| error.to_string()),
        // A test does not wait for ten minutes.
        results_keep_secs_min: 1,
    }
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            accounts: vec!["search", "marketing", "batchers", "ghost"],
            registered: vec!["search", "marketing", "batchers"],
            sim: SimConfig::default(),
            ack_wait: Duration::from_secs(3),
            timeouts: Timeouts::default(),
            payload_bytes_max: 1 << 20,
            limits: tollgate_types::Limits::default(),
        }
    }
}

/// A nats-server, a simulated provider, and what tests do with them.
pub struct World {
    /// The server; tests may kill and restart it.
    pub nats: NatsServer,
    /// The simulated provider, which logs what it was really asked.
    pub sim: SimProvider,
    setup: Setup,
    _dir: TempDir,
}

/// A worker in the test's own process.
pub struct WorkerHandle {
    /// Cancelled to make it drain.
    pub stop: CancellationToken,
    /// How it is doing.
    pub status: tokio::sync::watch::Receiver<tollgate_worker::WorkerStatus>,
    /// What its connection has been through.
    pub health: tokio::sync::watch::Receiver<tollgate_queue::connect::Health>,
    /// The live configuration as it knows it.
    pub directory: Directory,
    task: tokio::task::JoinSet<()>,
}

impl WorkerHandle {
    /// Asks for a stop and waits for its end.
    pub async fn drained(mut self) {
        self.stop.cancel();
        self.task.join_next().await;
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.task.try_join_next().is_none() && !self.task.is_empty()
    }

    /// Ends it where it stands, as a crash would.
    pub fn crash(mut self) {
        self.task.abort_all();
    }
}

/// A settler in the test's own process.
pub struct SettlerHandle {
    /// Cancelled to make it stop.
    pub stop: CancellationToken,
    /// What it alerts.
    pub alerts: tokio::sync::mpsc::Receiver<BudgetAlert>,
    task: tokio::task::JoinSet<()>,
}

impl SettlerHandle {
    /// Ends it where it stands, as a crash would.
    pub fn crash(mut self) {
        self.task.abort_all();
    }
}

/// The password of every user.
pub const PASSWORD: &str = "not-a-secret";

impl World {
    /// Starts everything and creates the streams.
    pub async fn start(setup: Setup) -> World {
        crate::show_logs();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let teams = setup.accounts.iter().map(|name| TeamAccount::new(name, PASSWORD).expect("a team's name"));
        let mut config = NatsConfig::new(teams.collect(), PASSWORD, PASSWORD);
        config.payload_bytes_max = setup.payload_bytes_max;
        let binary = crate::nats_server().await;
        let work_dir = dir.path().join("nats");
        let options = NatsOptions { binary, work_dir, store_dir: None, config, port: None };
        let nats = NatsServer::start(options).await.expect("nats-server starts");
        let sim = SimProvider::start(setup.sim.clone()).await.expect("the simulated provider starts");
        let world = World { nats, sim, setup, _dir: dir };
        let broker = world.broker("init").await;
        let context = async_nats::jetstream::new(broker.client.clone());
        streams::ensure(&context, &small_limits()).await.expect("streams are created");
        let known = Directory::open(&context, checks()).await.expect("the bucket exists");
        for team in &world.setup.registered {
            let put = known.put_team(&team.parse().expect("a team"), &TeamRecord::default(), Expected::Any).await;
            put.expect("the team is registered");
        }
        world
    }

    /// A connection of the broker.
    pub async fn broker(&self, name: &str) -> Connection {
        self.broker_at(self.nats.url(), name).await
    }

    /// A connection of the broker by way of another address.
    pub async fn broker_at(&self, url: String, name: &str) -> Connection {
        let reach = Reach { url, ..self.reach(BROKER_USER, None) };
        Connection::open(&reach, name).await.expect("the broker connects")
    }

    /// A connection as anybody, that sends whatever bytes it is given.
    pub async fn raw(&self, user: &str) -> Raw {
        Raw::connect(self.nats.port(), user, PASSWORD).await
    }

    /// JetStream in the hands of the broker's operator.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.broker("operator").await.client)
    }

    /// A connection as a team's user, and a producer over it.
    pub async fn producer(&self, team: &str) -> Producer {
        let reach = self.reach(team, Some(format!("_INBOX_{team}")));
        let connection = Connection::open(&reach, "producer").await.expect("the team connects");
        Producer::new(connection.client, team.parse().expect("a team"))
    }

    fn reach(&self, user: &str, inbox_prefix: Option<String>) -> Reach {
        Reach {
            url: self.nats.url(),
            user: Some(user.to_owned()),
            password: Some(PASSWORD.into()),
            inbox_prefix,
            ..Reach::default()
        }
    }

    /// Starts a worker with a change to the default test configuration.
    pub async fn worker(&self, name: &str, change: impl FnOnce(&mut Config)) -> WorkerHandle {
        self.worker_over(self.broker(name).await, name, change).await
    }

    /// Starts a worker over a connection of its own.
    pub async fn worker_over(
        &self,
        connection: Connection,
        name: &str,
        change: impl FnOnce(&mut Config),
    ) -> WorkerHandle {
        let config = self.config(name, change);
        self.worker_with(connection, self.routes(), config).await
    }

    fn config(&self, name: &str, change: impl FnOnce(&mut Config)) -> Config {
        let lanes = LaneConfig { ack_wait: self.setup.ack_wait, ..LaneConfig::default() };
        let mut config = Config { name: name.into(), concurrency: 32, lanes, ..Config::default() };
        config.drain = Duration::from_secs(10);
        change(&mut config);
        config
    }

    /// Starts a worker that serves what the test says.
    pub async fn worker_on(&self, routes: Routes, name: &str, change: impl FnOnce(&mut Config)) -> WorkerHandle {
        let config = self.config(name, change);
        self.worker_with(self.broker(name).await, routes, config).await
    }

    /// Starts a worker with other routes and external checkers.
    pub async fn worker_checking(
        &self,
        routes: Routes,
        checkers: BTreeMap<String, Checker>,
        name: &str,
        change: impl FnOnce(&mut Config),
    ) -> WorkerHandle {
        let config = self.config(name, change);
        let parts = parts(self.broker(name).await, config.lanes, routes).await;
        self.started(config, Parts { checkers, ..parts })
    }

    async fn worker_with(&self, connection: Connection, routes: Routes, config: Config) -> WorkerHandle {
        let parts = parts(connection, config.lanes, routes).await;
        self.started(config, parts)
    }

    fn started(&self, config: Config, parts: Parts) -> WorkerHandle {
        let (health, directory) = (parts.connection.health(), parts.directory.clone());
        let worker = Worker::new(config, parts);
        let (stop, status) = (CancellationToken::new(), worker.status());
        let mut task = tokio::task::JoinSet::new();
        let stopping = stop.clone();
        task.spawn(async move { worker.run(stopping).await.expect("the worker runs until it is stopped") });
        WorkerHandle { stop, status, health, directory, task }
    }

    /// Starts a settler.
    pub async fn settler(&self, name: &str) -> SettlerHandle {
        self.settler_with(name, |_| {}).await
    }

    /// Starts a settler with a change to the default configuration.
    pub async fn settler_with(&self, name: &str, change: impl FnOnce(&mut SettlerConfig)) -> SettlerHandle {
        let connection = self.broker(name).await;
        let context = async_nats::jetstream::new(connection.client.clone());
        let (clock, directory) = (ServerClock::new(), Directory::open(&context, checks()).await.expect("the bucket"));
        ask_the_time(&connection.client, &clock).await.expect("the server tells its time");
        let (alerts, alerted) = tokio::sync::mpsc::channel(64);
        let log = CommitLog::open(&context).await.expect("the results stream exists");
        let state = State::open(&context).await.expect("the bucket exists");
        let records = Records::open(&context).await.expect("the bucket exists");
        let parts = (records, directory.clone(), clock);
        let mut config = SettlerConfig::new(name);
        change(&mut config);
        let settler = Settler::new(config, log, state, parts, alerts);
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            tokio::select! {
                () = settler.run(stopping) => {}
                () = directory.follow() => {}
            }
        });
        SettlerHandle { stop, alerts: alerted, task }
    }

    /// The account and limit records.
    pub async fn records(&self) -> Records {
        Records::open(&self.jetstream().await).await.expect("the bucket exists")
    }

    /// The live configuration.
    pub async fn directory(&self) -> Directory {
        Directory::open(&self.jetstream().await, checks()).await.expect("the bucket exists")
    }

    /// Asks the service `tollgate.api.<team>.<question>` over the team's own connection, as a stock client would; a
    /// refusal is its number and its words. A worker that just started offers the service a moment later.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn ask(
        &self,
        producer: &Producer,
        question: &str,
        payload: serde_json::Value,
    ) -> Result<serde_json::Value, (u16, String)> {
        let subject = format!("tollgate.api.{}.{question}", producer.team());
        let request = || async { producer.client().request(subject.clone(), payload.to_string().into()).await.ok() };
        let answer = crate::eventually("an answer", Duration::from_secs(15), request).await;
        let header = |name: &str| answer.headers.as_ref().and_then(|all| all.get(name)).map(|v| v.as_str().to_owned());
        match header("Nats-Service-Error-Code") {
            Some(code) => Err((code.parse().expect("a number"), header("Nats-Service-Error").unwrap_or_default())),
            None => Ok(serde_json::from_slice(&answer.payload).expect("answers are JSON")),
        }
    }

    /// The parts that a worker is put together from.
    pub async fn parts(&self, name: &str, lanes: LaneConfig) -> Parts {
        parts(self.broker(name).await, lanes, self.routes()).await
    }

    /// A deployment of `sim-small` at a simulated provider, with a price, under a provider's name of its own.
    pub fn deployment(&self, provider: &str, base_url: &str) -> Deployment {
        let mut deployment =
            Deployment::new(provider, Vendor::OpenAi, base_url, "sim-small", None).expect("a deployment");
        deployment.timeouts = self.setup.timeouts;
        deployment.correlation_headers = true;
        deployment
    }

    /// `sim-small` with a price, `sim-free` declared free, `sim-unpriced` without either.
    fn routes(&self) -> Routes {
        let price = price();
        let mut routes = Routes::default();
        let prices = [("sim-small", Some(price)), ("sim-free", Some(Price::free())), ("sim-unpriced", None)];
        for (model, price) in prices {
            let base = self.sim.base_url();
            let mut deployment = Deployment::new("sim", Vendor::OpenAi, &base, model, None).expect("a deployment");
            deployment.timeouts = self.setup.timeouts;
            deployment.correlation_headers = true;
            let priced = Priced { limits: self.setup.limits, ..Priced::new(deployment, price, 4096) };
            routes.add(model, priced);
        }
        routes
    }

    /// Waits for the one result of a job.
    pub async fn result(&self, producer: &Producer, id: &JobId) -> JobResult {
        let what = format!("a result of {id}");
        let look = || async { producer.result(id).await.ok().flatten() };
        let line = crate::eventually(&what, Duration::from_secs(30), look).await;
        serde_json::from_slice(&line).expect("results are readable")
    }

    /// Submits a line and waits for its result.
    pub async fn run(&self, producer: &Producer, class: Class, line: impl Into<Bytes>) -> JobResult {
        let receipt = producer.submit(class, line.into(), None).await.expect("the job is accepted");
        self.result(producer, &receipt.id).await
    }
}

/// 0.15 and 0.60 USD per million tokens.
///
/// # Panics
/// Never: it is a price.
pub fn price() -> Price {
    // Pico-dollars per token.
    let tier =
        Tier { above_prompt_tokens: 0, input: 150_000, cache_read: 75_000, cache_write: 150_000, output: 600_000 };
    Price::new("test-1", vec![tier], 0).expect("a price")
}

/// The parts that a worker is put together from, over a connection of the broker.
///
/// # Panics
/// If the streams and buckets do not exist.
pub async fn parts(connection: Connection, lanes: LaneConfig, routes: Routes) -> Parts {
    let context = async_nats::jetstream::new(connection.client.clone());
    let clock = ServerClock::new();
    Parts {
        checkers: Default::default(),
        clock: clock.clone(),
        lanes: Lanes::open(&connection.client, lanes, clock).await.expect("the jobs stream exists"),
        results: Results::open(&connection.client).await.expect("an inbox"),
        dead: DeadLetters::new(&connection.client),
        state: State::open(&context).await.expect("the bucket exists"),
        directory: Directory::open(&context, checks()).await.expect("the bucket exists"),
        wait: Wait::open(&connection, lanes).await.expect("the stream of waiting jobs exists"),
        records: Records::open(&context).await.expect("the bucket exists"),
        log: CommitLog::open(&context).await.expect("the results stream exists").identity().to_owned(),
        routes,
        caller: Caller::new(&CallerOptions::default()).expect("an HTTP client"),
        connection,
    }
}

/// A job line for the simulated provider: a prompt, and optionally a directive of how to behave.
impl World {
    /// A chat request as a job line.
    pub fn line(prompt: &str, directive: Option<&str>, tollgate: serde_json::Value) -> Bytes {
        let mut body = serde_json::json!({
            "model": "sim-small",
            "messages": [{"role": "user", "content": prompt}],
        });
        if let Some(directive) = directive {
            body["metadata"] = serde_json::json!({ "sim": directive });
        }
        serde_json::json!({ "custom_id": prompt, "body": body, "tollgate": tollgate }).to_string().into()
    }
}

/// Short, so that tests can see what happens after it.
const SHORT_WINDOW: Duration = Duration::from_secs(1);

/// The limits of a world's streams.
pub fn small_limits() -> Limits {
    Limits {
        jobs_bytes_max: 1 << 30,
        wait_bytes_max: 1 << 30,
        results_bytes_max: 2 << 30,
        dead_bytes_max: 64 << 20,
        capture_bytes_max: 64 << 20,
        blobs_bytes_max: 1 << 30,
        files_bytes_max: 1 << 30,
        duplicate_window: SHORT_WINDOW,
        ..Limits::default()
    }
}
