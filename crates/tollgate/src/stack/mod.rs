//! A whole system on this machine, each part a process of its own: for `dev`, `demo` and the tests over the system.
//!
//! nats-server with an account per team, ClickHouse, a simulated provider, and any number of broker processes. Each part
//! can be killed and started again on its port. Nothing outlives the process that owns the [`Stack`], even if that one
//! is killed.
//!
//! Start with [`Stack::start`]; [`plan`] is what is configured, [`child`] one process of this program.

mod child;
mod endpoints;
mod plan;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::{ClickHouse, ClickHouseOptions, EmbeddedCommand, Locations, NatsOptions, NatsServer, Progress};

use crate::exit::{Code, Failure};

pub use child::Child;
pub use endpoints::{ClickHouseEndpoint, Endpoints, NatsEndpoint, ProcessEndpoint, SimEndpoint, TeamEndpoint};
pub(crate) use plan::write_private;
pub use plan::{Ports, SimOptions};

use plan::Plan;

/// What to start.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// This program, `tollgate`.
    pub program: PathBuf,
    /// The directory of everything: data, logs, configuration. Created where it is missing.
    pub dir: PathBuf,
    /// The teams, each with an account and a password of its own.
    pub teams: Vec<String>,
    /// How many worker processes.
    pub workers: usize,
    /// Whether the sink is a process of its own; otherwise the first worker's process has it too.
    pub separate_sink: bool,
    /// The simulated provider.
    pub sim: SimOptions,
    /// Ports, where they must be known beforehand.
    pub ports: Ports,
    /// Variables for the broker's processes, such as the plan of crash points.
    pub broker_envs: Vec<(String, String)>,
    /// TOML that lies over the generated configuration, key by key.
    pub overrides: toml::Table,
}

impl StackOptions {
    /// Three teams, one process for worker and sink, free ports.
    pub fn new(program: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        StackOptions {
            program: program.into(),
            dir: dir.into(),
            teams: ["search", "marketing", "batchers"].map(str::to_owned).to_vec(),
            workers: 1,
            separate_sink: false,
            sim: SimOptions::default(),
            ports: Ports::default(),
            broker_envs: Vec::new(),
            overrides: toml::Table::new(),
        }
    }
}

/// A whole system that runs. Dropped, it is killed.
pub struct Stack {
    // In the order in which they are dropped: those that use others first.
    /// The processes that run jobs; the first has the sink too, unless that is apart.
    pub workers: Vec<Child>,
    /// The sink, if it is a process of its own.
    pub sink: Option<Child>,
    /// The simulated provider.
    pub sim: Child,
    /// ClickHouse.
    pub clickhouse: ClickHouse,
    /// NATS.
    pub nats: NatsServer,
    plan: Plan,
}

/// A first start creates streams and tables, on a machine that may be busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

impl Stack {
    /// Finds or fetches the servers, starts everything in order, and returns when the brokers are ready for jobs.
    ///
    /// Cancel safe: dropped, everything that was started is killed.
    ///
    /// # Errors
    /// Which part did not start, with the end of its log.
    pub async fn start(options: StackOptions, progress: &Progress) -> Result<Stack, Failure> {
        let locations = Locations::from_env().map_err(|error| Failure::new(Code::Usage, "no cache").because(&error))?;
        let program = sandbox::nats_server(&locations, progress).await.map_err(server)?;
        let source = sandbox::clickhouse(&locations, progress).await.map_err(server)?;
        std::fs::create_dir_all(&options.dir).map_err(|error| file("create", &options.dir, &error))?;
        let dir = std::fs::canonicalize(&options.dir).map_err(|error| file("find", &options.dir, &error))?;
        let plan = Plan::new(StackOptions { dir, ..options })?;

        let nats = NatsServer::start(NatsOptions {
            binary: program,
            work_dir: plan.options.dir.join("nats"),
            store_dir: None,
            config: plan.nats_config()?,
            port: plan.options.ports.nats,
        });
        let embedded =
            EmbeddedCommand { program: plan.options.program.clone(), args: vec!["embedded-clickhouse".into()] };
        let clickhouse = ClickHouseOptions {
            work_dir: plan.options.dir.join("clickhouse"),
            embedded: Some(embedded),
            port: plan.options.ports.clickhouse,
        };
        // Neither needs the other, and both take their time.
        let (nats, clickhouse) = tokio::join!(nats, ClickHouse::start(&source, clickhouse));
        let (nats, clickhouse) = (nats.map_err(server)?, clickhouse.map_err(server)?);
        let sim = plan.sim()?;
        sim.ready("/healthz", READY_WITHIN).await?;
        plan.write_config(&nats, &clickhouse, &sim)?;
        plan.init().await?;
        // Brokers last: they find everything they need, so that ready means ready.
        let workers = (0..plan.options.workers).map(|n| plan.worker(n)).collect::<Result<Vec<_>, _>>()?;
        let sink = plan.options.separate_sink.then(|| plan.sink()).transpose()?;
        for broker in workers.iter().chain(&sink) {
            broker.ready("/readyz", READY_WITHIN).await?;
        }
        Ok(Stack { workers, sink, sim, clickhouse, nats, plan })
    }

    /// Where everything is, with user names and passwords.
    pub fn endpoints(&self) -> Endpoints {
        let process =
            |child: &Child| ProcessEndpoint { name: child.name().to_owned(), url: child.url(), pid: child.pid() };
        Endpoints {
            dir: self.plan.options.dir.clone(),
            config: self.plan.config_path(),
            nats: self.plan.nats_endpoint(&self.nats),
            clickhouse: ClickHouseEndpoint {
                url: self.clickhouse.url().to_owned(),
                user: self.clickhouse.user().to_owned(),
                password: self.clickhouse.password().to_owned(),
                database: self.plan.database(),
                pid: self.clickhouse.pid(),
            },
            sim: SimEndpoint {
                url: self.sim.url(),
                base_url: format!("{}/v1", self.sim.url()),
                pid: self.sim.pid(),
                log: self.plan.sim_log(),
            },
            brokers: self.workers.iter().chain(&self.sink).map(process).collect(),
        }
    }

    /// The configuration that the brokers run with.
    pub fn config_path(&self) -> PathBuf {
        self.plan.config_path()
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        &self.plan.options.dir
    }

    /// Starts one more worker process and waits until it is ready.
    ///
    /// # Errors
    /// Why it did not start.
    pub async fn add_worker(&mut self) -> Result<(), Failure> {
        let worker = self.plan.worker(self.workers.len())?;
        worker.ready("/readyz", READY_WITHIN).await?;
        self.workers.push(worker);
        Ok(())
    }

    /// The name of a part that ended by itself and how it did, if one did.
    pub fn fallen(&mut self) -> Option<String> {
        // What others lean on comes first: their own end may only follow from its end.
        let nats = self.nats.ended().ok().flatten().map(|status| ("nats-server", status, self.nats.log_tail()));
        let clickhouse = self.clickhouse.ended().ok().flatten();
        let clickhouse = clickhouse.map(|status| ("ClickHouse", status, self.clickhouse.log_tail()));
        if let Some((name, status, log)) = nats.or(clickhouse) {
            return Some(format!("{name} ended: {status}\n{}", log.trim_end()));
        }
        let children = self.workers.iter_mut().chain(&mut self.sink).chain(std::iter::once(&mut self.sim));
        let fallen = children.filter_map(|child| child.ended().map(|how| format!("{} ended: {how}", child.name())));
        fallen.into_iter().next()
    }

    /// Stops everything, each within its grace: what uses others before what is used.
    ///
    /// # Errors
    /// What could not be stopped; it is killed all the same.
    pub async fn stop(self) -> Result<(), Failure> {
        let Stack { mut workers, mut sink, mut sim, clickhouse, nats, plan: _ } = self;
        // All at once: each waits for its own jobs only.
        workers.iter_mut().for_each(Child::terminate);
        for worker in &mut workers {
            worker.stop().await?;
        }
        if let Some(sink) = &mut sink {
            sink.stop().await?;
        }
        sim.stop().await?;
        clickhouse.stop().await.map_err(server)?;
        nats.stop().await.map_err(server)
    }
}

/// A failure of the sandbox, whose messages say what to try.
fn server(error: sandbox::Error) -> Failure {
    match error {
        sandbox::Error::TeamName { .. } => Failure::new(Code::Usage, error.to_string()),
        error => Failure::new(Code::Upstream, "the stack is not complete").because(&error),
    }
}

fn file(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Usage, format!("cannot {doing} {}", path.display())).because(error)
}
