//! `budget show`: one account whole.

use serde::Serialize;
use tollgate_policy::account::{Account, Block};
use tollgate_types::{AccountId, Budget, NanoUsd, Scope, UnixMillis};

use super::unread;
use crate::accounts::{self, Line, Owned, dollars, owned, owner_of};
use crate::commands::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::live::Operator;
use crate::live::diff::terms;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Shown {
    scope: Scope,
    /// The name of its record; a rule for each of a kind has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    /// The budgets that cap it, as they were written.
    budgets: Vec<Budget>,
    /// Where they stand.
    windows: Vec<Line>,
    /// Who holds money for jobs that run.
    blocks: Vec<Held>,
    /// What was spent, by model and status; of teams alone.
    spent_on: Vec<SpentOn>,
    /// When the record was last changed; nothing if nobody spent anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    /// Everything up to this sequence of the results is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    folded: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Held {
    lease: String,
    held_nanousd: NanoUsd,
    #[serde(skip_serializing_if = "is_zero")]
    held_for_downgraded_nanousd: NanoUsd,
    until: String,
    state: &'static str,
}

fn is_zero(amount: &NanoUsd) -> bool {
    *amount == NanoUsd::ZERO
}

impl Held {
    fn new(lease: &str, block: &Block, now: UnixMillis) -> Self {
        let state = match (block.closing, block.until < now) {
            (true, _) => "closing",
            (false, true) => "over",
            (false, false) => "open",
        };
        let (main, downgraded) = (block.held.main, block.held.downgraded);
        let until = block.until.to_rfc3339();
        Held { lease: lease.to_owned(), held_nanousd: main, held_for_downgraded_nanousd: downgraded, until, state }
    }
}

#[derive(Debug, Serialize)]
struct SpentOn {
    model: String,
    status: String,
    cost_nanousd: NanoUsd,
    calls: u64,
    jobs: u64,
}

pub(super) async fn run(scope: &Scope, operator: &Operator, cx: &Cx) -> Outcome {
    let (team, on) = owner_of(scope);
    let owner = owned(&operator.directory).into_iter().find(|owner| owner.team == team);
    let owner = owner.ok_or_else(|| {
        let failure = Failure::new(Code::Failed, format!("the team of {scope} is not registered"));
        failure.try_this("look at `tollgate team list`")
    })?;
    let accounts = accounts::read(&operator.context).await.map_err(|error| unread(&error))?;
    let now = operator.now();
    let account = accounts.get(scope);
    let mut windows = accounts::lines(&owner, &accounts, now);
    // The rule for each of a kind shows everyone that it caps.
    let is_rule = scope.name() == "*";
    windows.retain(|line| line.scope == *scope || (is_rule && line.scope.kind() == scope.kind()));
    let capping = |budget: &&Budget| budget.on == on || (!is_rule && budget.on.covers(scope));
    let shown = Shown {
        scope: scope.clone(),
        account: (!is_rule).then(|| scope.account()),
        budgets: owner.budgets.iter().filter(capping).cloned().collect(),
        windows: if windows.is_empty() { unspent(scope, &owner, now) } else { windows },
        blocks: account.into_iter().flat_map(Account::blocks).map(|(lease, b)| Held::new(lease, b, now)).collect(),
        spent_on: account.map(spent_on).unwrap_or_default(),
        as_of: account.map(|account| account.as_of().to_rfc3339()),
        folded: account.map(Account::folded),
    };
    if shown.budgets.is_empty() && account.is_none() {
        let failure = Failure::new(Code::Failed, format!("{scope} has no budget"));
        return Err(failure.try_this(format!("`tollgate budget set {scope} --window day --cap 100`")));
    }
    cx.output.record(&shown, |shown| in_words(shown, &cx.output))?;
    Ok(Code::Ok)
}

/// One that a rule for each caps, and that has not spent anything yet.
fn unspent(scope: &Scope, owner: &Owned, now: UnixMillis) -> Vec<Line> {
    accounts::of_scope(scope, (&owner.budgets, now), None, now)
}

fn spent_on(account: &Account) -> Vec<SpentOn> {
    let line = |(key, tallied): (&String, &tollgate_policy::account::Tallied)| {
        let (model, status) = key.rsplit_once('|').unwrap_or((key, ""));
        let (model, status) = (model.to_owned(), status.to_owned());
        SpentOn { model, status, cost_nanousd: tallied.nanousd, calls: tallied.calls, jobs: tallied.jobs }
    };
    account.tally().iter().map(line).collect()
}

fn in_words(shown: &Shown, output: &Output) -> String {
    let account = shown.account.as_ref().map(|account| format!(" (account {account})")).unwrap_or_default();
    let mut parts = vec![format!("{}{account}", shown.scope)];
    for budget in &shown.budgets {
        parts.push(format!("  {} for {}: {}", budget.on, budget.window_id(), terms(budget)));
        for raise in &budget.raises {
            let (from, until) = (raise.from.to_rfc3339(), raise.until.to_rfc3339());
            let reason = if raise.reason.is_empty() { String::new() } else { format!(": {}", raise.reason) };
            let amount = dollars(raise.amount_usd.0);
            parts.push(format!("    raised by {amount} from {from} until {until} by {}{reason}", raise.author));
        }
    }
    let mut table = output.table(&Line::HEADER);
    for line in &shown.windows {
        table.add_row(line.row());
    }
    parts.extend([String::new(), table.trim_fmt()]);
    parts.extend(shown.windows.iter().flat_map(notes));
    if !shown.blocks.is_empty() {
        let mut table = output.table(&["lease", "held", "until", "state"]);
        for block in &shown.blocks {
            let held = dollars(block.held_nanousd + block.held_for_downgraded_nanousd);
            table.add_row([block.lease.clone(), held, block.until.clone(), block.state.to_owned()]);
        }
        parts.extend([String::new(), table.trim_fmt()]);
    }
    if !shown.spent_on.is_empty() {
        let mut table = output.table(&["model", "status", "cost", "calls", "jobs"]);
        for line in &shown.spent_on {
            let (cost, calls, jobs) = (dollars(line.cost_nanousd), line.calls.to_string(), line.jobs.to_string());
            table.add_row([line.model.clone(), line.status.clone(), cost, calls, jobs]);
        }
        parts.extend([String::new(), table.trim_fmt()]);
    }
    parts.join("\n")
}

/// What the table has no room for.
fn notes(line: &Line) -> Vec<String> {
    let about = format!("{} for {}", line.scope, line.window);
    let mut notes = Vec::new();
    if let Some(overrun) = line.overrun_nanousd.filter(|overrun| *overrun > NanoUsd::ZERO) {
        notes.push(format!("{about}: the cap was exceeded by {} in this window", dollars(overrun)));
    }
    if let Some(since) = &line.since {
        notes.push(format!("{about}: counted since {since}; `tollgate ledger rebuild` counts the rest of the window"));
    }
    match &line.at_this_rate {
        Some(rate) if rate.spent_at.is_some() => {
            notes.push(format!("{about}: at this rate spent at {}", rate.spent_at.as_deref().unwrap_or_default()));
        }
        Some(rate) => {
            notes.push(format!("{about}: at this rate {} when the window ends", dollars(rate.at_end_nanousd)))
        }
        None => {}
    }
    notes
}
