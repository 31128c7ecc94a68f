//! The accounts: every version that there ever was, and what the results say that they must be.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use testkit::eventually;
use tollgate::connect;
use tollgate_policy::account::{Account, Tallied};
use tollgate_queue::commit_log::{CommitLog, LogEntry};
use tollgate_queue::ledger::{ACCOUNTS, Records, account_key};
use tollgate_queue::state::State;
use tollgate_queue::{Connection, Directory};
use tollgate_settler::Progress;
use tollgate_settler::rebuild::{Rebuilt, Which, rebuild};
use tollgate_types::event::EventKind;
use tollgate_types::{NanoUsd, Scope, UnixMillis, UsageEvent, subjects};

/// How long the settler may take to fold what is there: it may have to take over from a dead one first.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

fn context(core: &Connection) -> Context {
    jetstream::new(core.client.clone())
}

async fn stream(core: &Connection) -> Stream {
    let name = format!("KV_{}", subjects::LEDGER_BUCKET);
    context(core).get_stream(name).await.expect("the bucket's stream")
}

/// Keeps every version of every account from now on, instead of the last few.
pub(crate) async fn keep_every_version(core: &Connection) {
    let mut config = stream(core).await.cached_info().config.clone();
    config.max_messages_per_subject = 1_000_000;
    context(core).update_stream(config).await.expect("the server keeps more");
}

/// One version of an account, with when the server stored it.
pub(crate) struct Version {
    pub(crate) account: Account,
    pub(crate) at: UnixMillis,
}

/// Every version of every account, in the order in which they were swapped in.
pub(crate) async fn every_version(core: &Connection) -> Vec<Version> {
    let stream = stream(core).await;
    let state = stream.get_info().await.expect("the server answers").state;
    assert_eq!(state.messages, state.last_sequence - state.first_sequence + 1, "every version is kept");
    let consumer = stream.create_consumer(OrderedConfig::default()).await.expect("a reader");
    let mut messages = consumer.messages().await.expect("messages");
    let prefix = format!("$KV.{}.{ACCOUNTS}", subjects::LEDGER_BUCKET);
    let mut versions = Vec::new();
    loop {
        let message = messages.next().await.expect("it goes on").expect("a version");
        let info = message.info().expect("a delivery");
        if message.subject.starts_with(&prefix) {
            let account = serde_json::from_slice(&message.payload).expect("an account");
            versions.push(Version { account, at: UnixMillis::from(info.published) });
        }
        if info.stream_sequence >= state.last_sequence {
            return versions;
        }
    }
}

/// What every version of the accounts said.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) versions: BTreeMap<String, usize>,
    /// The most blocks at once in one account.
    pub(crate) blocks: usize,
    /// The largest overrun of any window.
    pub(crate) overrun: NanoUsd,
}

/// Asserts the promise of each version: settled and held are at most the cap and the overruns that it records; and that
/// no record goes back in the log or in time.
pub(crate) async fn promise_holds(core: &Connection) -> Seen {
    let mut seen = Seen::default();
    let mut before: BTreeMap<String, (u64, UnixMillis)> = BTreeMap::new();
    for Version { account, at } in every_version(core).await {
        let scope = account.scope().to_string();
        if let Err(problem) = account.check() {
            panic!("the account of {scope} at {}: {problem}\n{account:?}", at.to_rfc3339());
        }
        let place = (account.folded(), account.as_of());
        let last = before.insert(scope.clone(), place).unwrap_or_default();
        assert!(last.0 <= place.0 && last.1 <= place.1, "{scope} went back from {last:?} to {place:?}");
        *seen.versions.entry(scope).or_default() += 1;
        seen.blocks = seen.blocks.max(account.blocks().len());
        let overruns = account.windows().values().map(|spent| spent.overrun.sum());
        seen.overrun = overruns.fold(seen.overrun, NanoUsd::max);
    }
    seen
}

/// The account of a scope as it is now.
pub(crate) async fn account(core: &Connection, scope: &str) -> Option<Account> {
    let scope: Scope = scope.parse().expect("a scope");
    let records = Records::open(&context(core)).await.ok()?;
    let (value, _) = records.get(&account_key(&scope.account())).await.ok()??;
    Some(serde_json::from_slice(&value).expect("an account"))
}

/// Every account as it is now.
pub(crate) async fn accounts(core: &Connection) -> Vec<Account> {
    let records = Records::open(&context(core)).await.expect("the bucket");
    let versions = records.read_all(ACCOUNTS).await.expect("the accounts");
    versions.iter().map(|version| serde_json::from_slice(&version.value).expect("an account")).collect()
}

/// The live configuration.
pub(crate) async fn directory(core: &Connection) -> Directory {
    connect::directory(&context(core)).await.expect("the live configuration")
}

/// Waits until everything in the log is folded.
async fn settled(core: &Connection, last: u64) {
    let state = State::open(&context(core)).await.expect("the state bucket");
    eventually("all is settled", SETTLED_WITHIN, || async {
        let (value, _) = state.get(tollgate_settler::KEY).await.ok()??;
        let office: serde_json::Value = serde_json::from_slice(&value).expect("an office");
        let progress: Progress = serde_json::from_value(office["value"].clone()).ok()?;
        (progress.through >= last).then_some(())
    })
    .await;
}

/// Compares the accounts with the results, to the nano-dollar: each team's totals per model and status, and what each
/// window has settled.
///
/// # Panics
/// On the first sum that differs, or when the settler does not get there.
pub(crate) async fn agrees(core: &Connection, entries: &[LogEntry]) {
    let Some(last) = entries.last() else { return };
    settled(core, last.seq).await;
    let mut teams: BTreeMap<&str, BTreeMap<String, Tallied>> = BTreeMap::new();
    for event in entries.iter().filter_map(|entry| entry.event.as_ref().ok()) {
        tally(teams.entry(&event.team).or_default(), event);
    }
    let accounts = accounts(core).await;
    for (team, expected) in teams {
        let scope = Scope::Team { team: team.to_owned() };
        let account = accounts.iter().find(|account| *account.scope() == scope);
        let account = account.unwrap_or_else(|| panic!("{scope} has no account"));
        assert_eq!(*account.tally(), expected, "{scope}: what its account says, and what its results say");
    }
    for account in &accounts {
        account.check().unwrap_or_else(|problem| panic!("the account of {}: {problem}", account.scope()));
        for (window, spent) in account.windows() {
            let from = spent.since.unwrap_or(spent.start);
            let counted = |entry: &&LogEntry| from <= entry.at && entry.at < spent.end;
            let events = entries.iter().filter(counted).filter_map(|entry| entry.event.as_ref().ok());
            let cost: NanoUsd =
                events.filter(|event| event.scopes().contains(account.scope())).map(UsageEvent::cost).sum();
            assert_eq!(spent.settled.sum(), cost, "{} {window}: settled, and what the results cost", account.scope());
        }
    }
}

/// Counts an event by the rule that accounts count by, written once more: that one is what is checked.
fn tally(totals: &mut BTreeMap<String, Tallied>, event: &UsageEvent) {
    let mut last = &event.model_requested;
    for attempt in &event.attempts {
        let total = totals.entry(format!("{}|{}", attempt.model, event.status.as_str())).or_default();
        (total.nanousd, total.calls) = (total.nanousd + attempt.cost_nanousd, total.calls + 1);
        last = &attempt.model;
    }
    if event.kind == EventKind::Result {
        totals.entry(format!("{last}|{}", event.status.as_str())).or_default().jobs += 1;
    }
}

/// Waits until no account holds anything: workers gave back what they do not use, and the dead are forgotten.
pub(crate) async fn nothing_is_held(core: &Connection, within: Duration) {
    eventually("nothing is held", within, || async {
        let held: NanoUsd = accounts(core).await.iter().map(|account| account.held().sum()).sum();
        (held == NanoUsd::ZERO).then_some(())
    })
    .await;
}

/// Makes all accounts anew from the log.
pub(crate) async fn rebuilt(core: &Connection) -> Vec<Rebuilt> {
    let context = context(core);
    let log = CommitLog::open(&context).await.expect("the results stream");
    let records = Records::open(&context).await.expect("the bucket");
    let now = UnixMillis::from(time::OffsetDateTime::now_utc());
    rebuild((&log, &records, &directory(core).await), &Which::All, false, now)
        .await
        .expect("the accounts are made anew")
}
