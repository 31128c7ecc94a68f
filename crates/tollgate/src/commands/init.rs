//! `init`: streams, buckets, tables, teams and what holds for all, as the configuration wants them. It may run at any time, any number of
//! times.

use async_nats::jetstream;
use tollgate_queue::streams::{self, Change, InitError, Planned};
use tollgate_usage::{Schema, SchemaError};

use super::Cx;
use super::apply::{self, Step};
use crate::config::{Config, build};
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{self, By};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave ClickHouse alone
    #[arg(long)]
    skip_clickhouse: bool,
    #[command(flatten)]
    by: By,
}

const NAME: &str = "tollgate init";

/// Runs the command.
///
/// # Errors
/// What could not be created; what was done before it stays, and running it again goes on from there.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let loaded = cx.load()?;
    let config = &loaded.config;
    let connection = connect::nats(config, NAME).await?;
    let context = connect::jetstream(&connection);
    let mut steps =
        if args.dry_run { would_ensure(&context, config).await? } else { streams(&context, config).await? };
    if !args.skip_clickhouse {
        steps.push(tables(config, args.dry_run).await?);
    }
    // Last: the streams are there now, for the audit too.
    steps.extend(if args.dry_run {
        apply::would_apply(connect::directory(&context).await.ok().as_ref(), config).await?
    } else {
        apply::apply(&live::connected(config, cx, &args.by, NAME).await?, config, "init").await?
    });
    apply::print(&steps, cx)?;
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
    let version_before = store.schema_version().await.unwrap_or_default();
    let applied = Schema::apply(&store).await.map_err(|error| match &error {
        SchemaError::Statement { source, .. } => connect::clickhouse_failure(config, source),
        SchemaError::Newer { .. } => {
            Failure::new(Code::Failed, "the schema is newer").because(&error).try_this("use the newer tollgate")
        }
        SchemaError::Changed { .. } => Failure::new(Code::Failed, "the schema differs")
            .because(&error)
            .try_this("use another [clickhouse] database"),
    })?;
    if applied > 0 && version_before.is_some() {
        crate::output::say("new rollups begin empty: `tollgate usage rebuild` fills them from the raw table");
    }
    let change = if applied == 0 { "unchanged" } else { "updated" };
    Ok(Step::new("schema", store.database(), change, version))
}
