//! `init`: streams, buckets, tables and teams, as the configuration wants them. It may run at any time, any number of
//! times.

use async_nats::jetstream;
use serde::Serialize;
use tollgate_queue::streams::{self, Change, InitError, Planned};
use tollgate_queue::teams::{TeamRecord, Teams};
use tollgate_types::Team;
use tollgate_usage::{Schema, SchemaError};

use super::Cx;
use crate::config::{Config, build};
use crate::connect;
use crate::exit::{Code, Failure, Outcome};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave ClickHouse alone
    #[arg(long)]
    skip_clickhouse: bool,
}

/// What was done to one thing.
#[derive(Debug, Serialize)]
struct Step {
    kind: &'static str,
    name: String,
    change: &'static str,
    detail: String,
}

impl Step {
    fn new(kind: &'static str, name: impl Into<String>, change: &'static str, detail: impl Into<String>) -> Self {
        Step { kind, name: name.into(), change, detail: detail.into() }
    }
}

/// Runs the command.
///
/// # Errors
/// What could not be created; what was done before it stays, and running it again goes on from there.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let loaded = cx.load()?;
    let config = &loaded.config;
    let connection = connect::nats(config, "tollgate init").await?;
    let context = connect::jetstream(&connection);
    let mut steps =
        if args.dry_run { would_ensure(&context, config).await? } else { streams(&context, config).await? };
    if !args.skip_clickhouse {
        steps.push(tables(config, args.dry_run).await?);
    }
    steps.extend(teams(&context, config, args.dry_run).await?);
    let row = |s: &Step| vec![s.kind.to_owned(), s.name.clone(), s.change.to_owned(), s.detail.clone()];
    cx.output.records(&steps, &["kind", "name", "change", "detail"], row)?;
    Ok(Code::Ok)
}

async fn streams(context: &jetstream::Context, config: &Config) -> Result<Vec<Step>, Failure> {
    let changes = streams::ensure(context, &build::limits(config)).await.map_err(|error| refused(&error))?;
    let step = |change| match change {
        Change::Created(name) => Step::new("stream", name, "created", ""),
        Change::Updated(name, what) => Step::new("stream", name, "updated", what.join(", ")),
        Change::Unchanged(name) => Step::new("stream", name, "unchanged", ""),
    };
    Ok(changes.into_iter().map(step).collect())
}

async fn would_ensure(context: &jetstream::Context, config: &Config) -> Result<Vec<Step>, Failure> {
    let planned = streams::plan(context, &build::limits(config)).await.map_err(|error| refused(&error))?;
    let step = |Planned { name, step }: Planned| match step {
        streams::Step::Create => Step::new("stream", name, "would be created", ""),
        streams::Step::Raise(what) => Step::new("stream", name, "would be updated", what.join(", ")),
        streams::Step::Refuse(what) => Step::new("stream", name, "would be refused", what.join(", ")),
        streams::Step::Keep => Step::new("stream", name, "unchanged", ""),
    };
    Ok(planned.into_iter().map(step).collect())
}

/// Why the streams could not be brought to what is wanted, with what to do.
pub(super) fn refused(error: &InitError) -> Failure {
    match error {
        InitError::WouldLower { .. } => Failure::new(Code::Usage, "the streams are not as wanted")
            .because(error)
            .try_this("raise the limit in [streams], or lower the stream by hand with `nats stream edit`"),
        InitError::Server { .. } => Failure::new(Code::Nats, "the streams are not as wanted")
            .because(error)
            .try_this("check that JetStream is enabled, has room, and that we may use its API: `tollgate doctor`"),
    }
}

async fn tables(config: &Config, dry_run: bool) -> Result<Step, Failure> {
    let store = connect::clickhouse(config)?;
    store.ping().await.map_err(|error| connect::clickhouse_failure(config, &error))?;
    let version = format!("version {}", Schema::VERSION);
    if dry_run {
        let found = store.schema_version().await.map_err(|error| connect::clickhouse_failure(config, &error))?;
        let change = match found {
            Some(found) if found == Schema::VERSION => "unchanged",
            Some(found) if found > Schema::VERSION => "would be refused",
            Some(_) | None => "would be brought to",
        };
        return Ok(Step::new("schema", store.database(), change, version));
    }
    let applied = Schema::apply(&store).await.map_err(|error| match &error {
        SchemaError::Statement { source, .. } => connect::clickhouse_failure(config, source),
        SchemaError::Newer { .. } => {
            Failure::new(Code::Failed, "the schema is newer").because(&error).try_this("use the newer tollgate")
        }
        SchemaError::Changed { .. } => Failure::new(Code::Failed, "the schema differs")
            .because(&error)
            .try_this("use another [clickhouse] database"),
    })?;
    let change = if applied == 0 { "unchanged" } else { "updated" };
    Ok(Step::new("schema", store.database(), change, version))
}

async fn teams(context: &jetstream::Context, config: &Config, dry_run: bool) -> Result<Vec<Step>, Failure> {
    let failed = |error| Failure::new(Code::Nats, "the teams are not registered").because(&error);
    let teams = match Teams::open(context).await {
        Ok(teams) => Some(teams),
        // Before the first `init` there is no bucket yet.
        Err(_) if dry_run => None,
        Err(error) => return Err(failed(error)),
    };
    let mut steps = Vec::new();
    for (name, settings) in &config.teams {
        let known = teams.as_ref().and_then(|teams| teams.record(name));
        let wanted = TeamRecord { weight: settings.weight };
        let weight = format!("weight {}", wanted.weight);
        let (change, would) = match &known {
            Some(known) if *known == wanted => ("unchanged", "unchanged"),
            Some(_) => ("updated", "would be updated"),
            None => ("created", "would be created"),
        };
        if let (false, Some(teams)) = (dry_run || change == "unchanged", &teams) {
            let team: Team = name.parse().expect("checked when it was loaded");
            teams.put(&team, &wanted).await.map_err(failed)?;
        }
        steps.push(Step::new("team", name, if dry_run { would } else { change }, weight));
    }
    Ok(steps)
}
