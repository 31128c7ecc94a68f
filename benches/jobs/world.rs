//! The servers under one run: a nats-server of its own with empty streams, and for all runs together one ClickHouse.

use std::path::{Path, PathBuf};

use async_nats::jetstream::{self, Context};
use sandbox::{
    BROKER_USER, ClickHouse, ClickHouseOptions, EmbeddedCommand, Locations, NatsConfig, NatsOptions, NatsServer,
    Progress, TeamAccount,
};
use tempfile::TempDir;
use tollgate_queue::directory::{Directory, Expected, TeamRecord};
use tollgate_queue::streams::{self, Limits};
use tollgate_types::budget::Then;
use tollgate_types::{Budget, NanoUsd, Target, Usd, WhenSpent};

use crate::roles::{PASSWORD, TEAM, connect};

/// What holds for the teams of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Team {
    /// Nothing.
    Plain,
    /// Budgets and limits that are never reached; a settler folds what is spent.
    Guarded,
    /// Every rule of the guardrails, on both sides.
    Screened,
}

/// Personal data and secrets are redacted and tripwires flagged, so that every entity is looked for.
const GUARDRAILS: &str = r#"{
    "input": {"pii": "redact", "secrets": "redact", "prompt_safety": "flag"},
    "output": {"pii": "redact", "secrets": "redact", "prompt_safety": "flag"},
    "phone_country": "US"
}"#;

/// A nats-server with Tollgate's streams and one team.
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) context: Context,
    dir: TempDir,
}

const GIB: i64 = 1 << 30;

impl World {
    /// With teams of this kind for so many lanes.
    pub(crate) async fn start(lanes: usize, kind: Team) -> anyhow::Result<World> {
        let dir = tempfile::tempdir()?;
        let team = TeamAccount::new(TEAM, PASSWORD)?;
        let options = NatsOptions {
            binary: sandbox::nats_server(&Locations::from_env()?, &Progress::silent()).await?,
            work_dir: dir.path().join("nats"),
            store_dir: None,
            // Room for the limits of all streams together.
            config: NatsConfig { file_store_bytes_max: 32 << 30, ..NatsConfig::new(vec![team], PASSWORD, PASSWORD) },
            port: None,
        };
        let nats = NatsServer::start(options).await?;
        let context = jetstream::new(connect(&nats.url(), BROKER_USER).await?.client);
        // A million jobs of a KiB fit, and their results.
        let limits =
            Limits { jobs_bytes_max: 4 * GIB, results_bytes_max: 4 * GIB, dead_bytes_max: GIB, ..Limits::default() };
        streams::ensure(&context, &limits).await?;
        let directory = Directory::open(&context, testkit::checks()).await?;
        let record = match kind {
            Team::Plain => TeamRecord::default(),
            Team::Guarded => guarded_record(),
            Team::Screened => TeamRecord { guardrails: serde_json::from_str(GUARDRAILS)?, ..TeamRecord::default() },
        };
        for team in teams(lanes) {
            directory.put_team(&team.parse()?, &record, Expected::Any).await?;
        }
        Ok(World { nats, context, dir })
    }

    /// A place for a file of this run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How many messages a stream holds.
    pub(crate) async fn messages(&self, stream: &str) -> anyhow::Result<u64> {
        Ok(self.context.get_stream(stream).await?.cached_info().state.messages)
    }
}

/// The teams of so many lanes, three each; one lane is the benchmark's own team.
pub(crate) fn teams(lanes: usize) -> Vec<String> {
    if lanes <= 1 { vec![TEAM.to_owned()] } else { (0..lanes.div_ceil(3)).map(|n| format!("{TEAM}-{n}")).collect() }
}

/// Two budgets, a rate, tokens and a concurrency, all of them far away.
fn guarded_record() -> TeamRecord {
    let budget = |window: &str| Budget {
        on: Target::Owner,
        window: window.to_owned(),
        time_zone: "UTC".to_owned(),
        cap_usd: Usd(NanoUsd::from_usd(1_000_000)),
        when_spent: WhenSpent::Wait,
        downgrade_to: None,
        downgrade_cap_usd: None,
        then: Then::Wait,
        alert_percent: vec![80],
        raises: Vec::new(),
    };
    let limits = tollgate_types::Limits {
        requests_per_minute: Some(100_000_000),
        tokens_per_minute: Some(100_000_000_000),
        concurrency: Some(100_000),
    };
    TeamRecord { budgets: vec![budget("day"), budget("month")], limits, ..TeamRecord::default() }
}

/// A ClickHouse for the runs with the sink on.
pub(crate) struct Tables {
    pub(crate) server: ClickHouse,
    databases: u32,
    _dir: TempDir,
}

impl Tables {
    pub(crate) async fn start() -> anyhow::Result<Tables> {
        let dir = tempfile::tempdir()?;
        let source = sandbox::clickhouse(&Locations::from_env()?, &Progress::silent()).await?;
        let embedded = EmbeddedCommand {
            program: std::env::current_exe()?,
            args: ["--role", "clickhouse"].map(Into::into).to_vec(),
        };
        let options =
            ClickHouseOptions { work_dir: Path::join(dir.path(), "tables"), embedded: Some(embedded), port: None };
        let server = ClickHouse::start(&source, options).await?;
        Ok(Tables { server, databases: 0, _dir: dir })
    }

    /// A name that no run had before.
    pub(crate) fn fresh_database(&mut self) -> String {
        self.databases += 1;
        format!("bench_{}_{}", std::process::id(), self.databases)
    }
}
