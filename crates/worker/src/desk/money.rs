//! What a team spent, and what its budgets leave.

use serde_json::{Value, json};
use tollgate_policy::account::Account;
use tollgate_types::Scope;

use super::{Answer, Refusal};
use crate::context::Context;

/// What the team spent, by model and end, since its account was opened or rebuilt.
pub(super) async fn usage(team: &str, cx: &Context) -> Answer {
    let scope = Scope::Team { team: team.to_owned() };
    let account = cx.ledger.current(&scope).await.map_err(|error| Refusal::unavailable(&error))?;
    let folded = account.as_ref().map_or(0, Account::folded);
    let lines = account.iter().flat_map(Account::tally).map(|(key, tallied)| {
        let (model, status) = key.rsplit_once('|').unwrap_or((key, ""));
        json!({ "model": model, "status": status, "jobs": tallied.jobs, "calls": tallied.calls, "cost_nanousd": tallied.nanousd })
    });
    Ok(json!({ "team": team, "usage": lines.collect::<Vec<_>>(), "through_sequence": folded }))
}

/// The team's budgets: its own, and those of its projects, users and keys that have spent something.
pub(super) async fn budget(team: &str, cx: &Context) -> Answer {
    let now = cx.clock.now();
    let mut budgets: Vec<Value> = Vec::new();
    for account in cx.ledger.accounts_of(team) {
        let rules = cx.ledger.rules_of(account.scope());
        for standing in account.standing(now, &rules) {
            let mut line = json!(standing);
            line["scope"] = json!(account.scope());
            budgets.push(line);
        }
    }
    Ok(json!({ "team": team, "budgets": budgets }))
}
