//! `key`: the API keys of the front door.

mod change;
mod create;

use serde::Serialize;
use tollgate_queue::bucket::BucketError;
use tollgate_queue::{KeyRecord, Keys};
use tollgate_types::{Class, Door, KeyId, Scope, Team, UnixMillis};

use super::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::live::diff::Change;
use crate::live::{self, By, Operator};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key; it is printed once, and only a digest of it is kept
    Create(create::Args),
    /// List the keys, without their secrets
    List {
        /// This team's alone
        #[arg(long, value_name = "TEAM")]
        team: Option<Team>,
        /// Also those that were revoked or have expired
        #[arg(long)]
        all: bool,
    },
    /// Close a key for good; every process refuses it a moment later
    Revoke(change::Revoke),
    /// Give a key a new secret; the old one opens for a while longer
    Rotate(change::Rotate),
}

/// Runs the command.
///
/// # Errors
/// When NATS cannot be asked, the audit cannot be written, or what is asked for is not valid.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let by = match &args.command {
        Command::Create(args) => args.by.clone(),
        Command::Revoke(args) => args.by.clone(),
        Command::Rotate(args) => args.by.clone(),
        Command::List { .. } => By::default(),
    };
    let (operator, _) = live::open(cx, &by, "tollgate key").await?;
    let keys = Keys::open(&operator.context).await.map_err(|error| unread(&error))?;
    match &args.command {
        Command::Create(args) => create::run(args, &operator, &keys, cx).await,
        Command::List { team, all } => list(team.as_ref(), *all, &operator, &keys, cx),
        Command::Revoke(args) => change::revoke(args, &operator, &keys, cx).await,
        Command::Rotate(args) => change::rotate(args, &operator, &keys, cx).await,
    }
}

fn unread(error: &BucketError) -> Failure {
    Failure::new(Code::Nats, "the API keys cannot be read").because(error).try_this("run `tollgate init`")
}

/// What a write that failed means; without an answer it may have happened.
fn unwritten(error: &BucketError) -> Failure {
    let failure = match error {
        BucketError::Unknown(_) => Failure::new(Code::Nats, "it is not known whether the key was written"),
        _ => Failure::new(Code::Failed, "the key was not written"),
    };
    failure.because(error).try_this("look at `tollgate key list --all`, and repeat the command")
}

/// Notes in the audit what is going to be done with a key.
async fn note(operator: &Operator, (id, team): (&KeyId, &Team), action: &str, what: String) -> Result<(), Failure> {
    let scope = Scope::Key { team: team.to_string(), key: id.to_string() };
    let change = Change { scope: scope.to_string(), budget: None, what };
    operator.note(("key", id.as_str()), action, change).await
}

/// A key with its secret, which is shown this once.
#[derive(Debug, Serialize)]
struct Shown {
    id: KeyId,
    team: Team,
    name: String,
    key: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_until: Option<String>,
}

/// A key in a list.
#[derive(Debug, Serialize)]
struct Line {
    id: KeyId,
    team: Team,
    name: String,
    state: &'static str,
    created_at: String,
    created_by: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    models: Vec<String>,
    classes: Vec<Class>,
    endpoints: Vec<Door>,
}

impl Line {
    fn new(id: KeyId, record: &KeyRecord, now: UnixMillis) -> Line {
        let state = match (record.revoked_at, record.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(at)) if at <= now => "expired",
            (None, _) => "open",
        };
        let text = |at: Option<UnixMillis>| at.map(UnixMillis::to_rfc3339);
        Line {
            id,
            team: record.team.clone(),
            name: record.name.clone(),
            state,
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.clone(),
            expires_at: text(record.expires_at),
            revoked_at: text(record.revoked_at),
            models: record.models.clone(),
            classes: record.classes.clone(),
            endpoints: record.endpoints.clone(),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.team.to_string(),
            self.name.clone(),
            self.state.to_owned(),
            self.expires_at.clone().unwrap_or_else(|| "never".to_owned()),
            self.scope(),
        ]
    }

    fn scope(&self) -> String {
        let words = |what: &str, list: Vec<String>| (!list.is_empty()).then(|| format!("{what} {}", list.join(", ")));
        let scopes = [
            words("models", self.models.clone()),
            words("classes", self.classes.iter().map(Class::to_string).collect()),
            words("endpoints", self.endpoints.iter().map(Door::to_string).collect()),
        ];
        let said: Vec<String> = scopes.into_iter().flatten().collect();
        if said.is_empty() { "everything".to_owned() } else { said.join("; ") }
    }
}

fn list(team: Option<&Team>, all: bool, operator: &Operator, keys: &Keys, cx: &Cx) -> Outcome {
    let now = operator.now();
    let lines = keys.all().into_iter().map(|(id, record)| Line::new(id, &record, now));
    let wanted = |line: &Line| team.is_none_or(|team| line.team == *team) && (all || line.state == "open");
    let lines: Vec<Line> = lines.filter(wanted).collect();
    cx.output.records(&lines, &["id", "team", "name", "state", "expires", "opens"], Line::row)?;
    Ok(Code::Ok)
}
