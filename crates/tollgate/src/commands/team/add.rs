//! `team add`: registers a team, and says what the NATS server needs for it.

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use tollgate_queue::Connection;
use tollgate_queue::directory::{Paused, TeamRecord};
use tollgate_types::Team;

use crate::commands::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The team: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(value_name = "NAME")]
    name: Team,
    /// Its share against other teams of the same class; 1 for a new team
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: Option<u32>,
    /// Print an account with a fresh password also for a team that is already registered
    #[arg(long)]
    account: bool,
    #[command(flatten)]
    pub(super) by: By,
}

/// Long enough not to be guessed, and plain enough for the server's configuration language.
const PASSWORD_CHARS: usize = 24;

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

pub(super) async fn run(args: &Args, operator: &Operator, cx: &Cx) -> Outcome {
    let name = args.name.as_str();
    // Before anything is changed: some names that are teams are no users.
    let account = account(name)?;
    let wanted = |known: Option<&TeamRecord>| {
        let known = known.cloned().unwrap_or_default();
        Ok(TeamRecord { weight: args.weight.unwrap_or(known.weight), ..known })
    };
    let done = operator.change(&args.name, "team add", wanted).await?;
    let change = match &done.before {
        Some(known) if *known == done.after => "unchanged",
        Some(_) => "updated",
        None => "created",
    };
    let ask = done.before.is_none() || args.account;
    let by_account = if ask { accounts(&operator.connection).await } else { Accounts::NotAsked };
    let account = (by_account == Accounts::PerTeam).then_some(account);
    let added = Added { team: name.to_owned(), weight: done.after.weight, change, account };
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
    let is_ours = |paused: &Paused| matches!(paused, Paused::Lane { team, .. } if *team == args.name);
    if operator.directory.pauses().iter().any(|(paused, _)| is_ours(paused)) {
        output::say(format_args!("its jobs wait, because it is paused: `tollgate queue resume {name}`"));
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
