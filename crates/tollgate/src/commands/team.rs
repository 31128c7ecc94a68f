//! `team`: register teams, and say what the NATS server needs for a new one.

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use tollgate_queue::Connection;
use tollgate_queue::teams::{TeamRecord, Teams, TeamsError};
use tollgate_types::Team;

use super::Cx;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Register a team or change its weight; for a new one, print its account for the NATS server
    Add(AddArgs),
    /// List the registered teams
    List,
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// The team: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(value_name = "NAME")]
    name: Team,
    /// Its share against other teams of the same class
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: u32,
    /// Print an account with a fresh password also for a team that is already registered
    #[arg(long)]
    account: bool,
}

/// Long enough not to be guessed, and plain enough for the server's configuration language.
const PASSWORD_CHARS: usize = 24;

/// Runs the command.
///
/// # Errors
/// When NATS or the bucket cannot be reached.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate team").await?;
    let teams = Teams::open(&connect::jetstream(&connection)).await.map_err(|error| failed(&error))?;
    match &args.command {
        Command::Add(args) => add(args, &connection, &teams, cx).await,
        Command::List => list(&teams, cx),
    }
}

fn failed(error: &TeamsError) -> Failure {
    Failure::new(Code::Nats, "the teams cannot be read or changed").because(error)
}

fn list(teams: &Teams, cx: &Cx) -> Outcome {
    #[derive(Serialize)]
    struct Line {
        team: String,
        weight: u32,
    }
    let lines: Vec<Line> = teams.all().into_iter().map(|(team, record)| Line { team, weight: record.weight }).collect();
    cx.output.records(&lines, &["team", "weight"], |line| vec![line.team.clone(), line.weight.to_string()])?;
    Ok(Code::Ok)
}

/// What was done, and what is left to do.
#[derive(Debug, Serialize)]
struct Added {
    team: String,
    weight: u32,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
}

/// What the server needs.
#[derive(Debug, Serialize)]
struct Account {
    user: String,
    password: String,
    inbox_prefix: String,
    nats_config: String,
}

async fn add(args: &AddArgs, connection: &Connection, teams: &Teams, cx: &Cx) -> Outcome {
    let (name, wanted) = (args.name.as_str(), TeamRecord { weight: args.weight });
    // Before anything is changed: some names that are teams are no users.
    let account = account(name)?;
    let known = teams.record(name);
    let change = match &known {
        Some(known) if *known == wanted => "unchanged",
        Some(_) => "updated",
        None => "created",
    };
    if change != "unchanged" {
        teams.put(&args.name, &wanted).await.map_err(|error| failed(&error))?;
    }
    let by_account = if known.is_none() || args.account { accounts(connection).await } else { Accounts::NotAsked };
    let account = (by_account == Accounts::PerTeam).then_some(account);
    let added = Added { team: name.to_owned(), weight: args.weight, change, account };
    cx.output.record(&added, |added| {
        let first = format!("{}: {change}, weight {}", added.team, added.weight);
        match &added.account {
            Some(account) => format!(
                "# {first}; workers know it now. What is left is its account in the server:\n{}",
                account.nats_config
            ),
            None => first,
        }
    })?;
    match by_account {
        Accounts::PerTeam => output::say("the password is shown this once; Tollgate does not keep it"),
        Accounts::Other(account) => output::say(format_args!(
            "this server's streams are not in an account named CORE (we are in {account}), so no account was printed; \
             give the team's user the permissions that deploy/nats/README.md lists"
        )),
        Accounts::NotAsked => {}
    }
    Ok(Code::Ok)
}

fn account(team: &str) -> Result<Account, Failure> {
    let password = password();
    let account = sandbox::TeamAccount::new(team, password.as_str());
    let account = account.map_err(|error| Failure::new(Code::Usage, "this cannot be a team").because(&error))?;
    Ok(Account {
        user: team.to_owned(),
        password,
        inbox_prefix: format!("_INBOX_{team}"),
        nats_config: sandbox::team_account_block(&account),
    })
}

fn password() -> String {
    let rest = rand::rng().sample_iter(&Alphanumeric).take(PASSWORD_CHARS - 1).map(char::from);
    // A letter first: the server would read a number otherwise.
    std::iter::once('p').chain(rest).collect()
}

/// How the server tells teams apart.
#[derive(Debug, PartialEq, Eq)]
enum Accounts {
    /// The streams are in CORE, and each team has an account of its own.
    PerTeam,
    /// Something else; the account that we are in.
    Other(String),
    /// It does not matter now.
    NotAsked,
}

/// Asks the server which account we are in, as any user may (nats-server 2.10).
async fn accounts(connection: &Connection) -> Accounts {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        account: String,
    }
    let asked = connection.client.request("$SYS.REQ.USER.INFO", "".into()).await;
    let answer = asked.ok().and_then(|answer| serde_json::from_slice::<Answer>(&answer.payload).ok());
    match answer.map(|answer| answer.data.account) {
        Some(account) if account == "CORE" => Accounts::PerTeam,
        Some(account) => Accounts::Other(account),
        None => Accounts::Other("one that the server does not name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_comes_with_its_password_in_the_block_and_names_of_the_server_are_refused() {
        let made = account("ranking").expect("a team");
        assert!(made.nats_config.contains(&format!("password: \"{}\"", made.password)));
        assert_eq!((made.inbox_prefix.as_str(), made.password.len()), ("_INBOX_ranking", PASSWORD_CHARS));
        assert!(account("broker").is_err());
    }
}
