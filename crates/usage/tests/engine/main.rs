//! Schema, inserts and questions against the real ClickHouse engine, over its HTTP interface.
//!
//! A process can run one engine, so all cases share one server; each has a database of its own.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod events;
mod questions;
mod rollups;
mod schema;
mod tls;

use std::collections::BTreeMap;

use clickhouse::Client;
use embedded_clickhouse::{Config, Server};
use events::{AT, attempt, event};
use sandbox::{Locations, Progress};
use tollgate_types::event::{AttemptOutcome, AttemptRecord, CacheUse, EventKind};
use tollgate_types::guardrails::{Followed, Hit, Side};
use tollgate_types::{NanoUsd, Status, Tokens, UnixMillis, UsageEvent};
use tollgate_usage::questions::{Dimension, Filter};
use tollgate_usage::reconcile::{self, Key, Ledger};
use tollgate_usage::{
    ClickHouseConfig, Fault, HourRange, RecentUse, Row, Schema, SchemaError, Source, Stamp, Store, rows,
};

/// One case: a database of its own.
struct Case {
    url: String,
    store: Store,
    /// The bare client, for what an analyst would ask.
    client: Client,
}

impl Case {
    async fn new(url: &str, database: &str) -> Self {
        let config = ClickHouseConfig { database: database.to_owned(), ..ClickHouseConfig::new(url) };
        let store = Store::new(config).expect("the configuration is sound");
        assert_eq!(store.schema_version().await.expect("an answer"), None, "there is no database yet");
        let applied = Schema::apply(&store).await.expect("the schema applies to an empty server");
        assert_eq!(applied, usize::try_from(Schema::VERSION).expect("few files"));
        let client = Client::default().with_url(url).with_database(database);
        // The cases' time is fixed, and grows older than what the tables keep.
        client.query_raw("SYSTEM STOP TTL MERGES").execute().await.expect("nothing is dropped by age");
        Case { url: url.to_owned(), store, client }
    }

    async fn number(&self, sql: &str) -> u64 {
        self.client.query_raw(sql).fetch_one().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn check_books(&self, events: &[UsageEvent]) {
        let mut log = Ledger::new();
        events.iter().for_each(|event| reconcile::book(&mut log, event));
        let raw = self.store.totals(HourRange::ALL, Source::Raw).await.expect("raw totals");
        let rollup = self.store.totals(HourRange::ALL, Source::Rollup).await.expect("rollup totals");
        let differences = reconcile::reconcile(&log, &raw, &rollup);
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_keep_exact_books() {
    let locations = Locations::from_env().expect("a cache directory");
    let library = sandbox::clickhouse_engine(&locations, &Progress::silent()).await.expect("the engine");
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(Config::new(library, data.path().join("data"))).await.expect("the engine starts");
    let url = format!("http://{}", server.addr());

    the_schema_applies_once_and_is_never_lowered(&Case::new(&url, "schema_case").await).await;
    every_column_explains_itself(&Case::new(&url, "comment_case").await).await;
    a_batch_counts_once_however_often_it_is_sent(&Case::new(&url, "token_case").await).await;
    two_partitions_of_one_batch_count_once_too(&Case::new(&url, "month_case").await).await;
    every_value_of_every_enumeration_is_the_tables(&Case::new(&url, "enum_case").await).await;
    questions_answer_with_exact_numbers(&Case::new(&url, "question_case").await).await;
    schema::a_sample_that_is_written_twice_counts_once(&Case::new(&url, "sample_case").await).await;
    schema::every_view_is_found_by_name_and_explains_itself(&Case::new(&url, "view_case").await).await;
    schema::what_is_sent_to_a_cluster_are_statements(&Case::new(&url, "cluster_case").await).await;
    schema::the_templates_of_access_are_statements(&Case::new(&url, "access_case").await).await;
    let answers = Case::new(&url, "answers_case").await;
    questions::rollups_and_the_raw_table_give_the_same_answers(&answers).await;
    questions::a_value_of_a_producer_changes_nothing(&answers).await;
    questions::pages_of_jobs_hold_each_job_once(&answers).await;
    calls_are_told_as_they_were_booked(&Case::new(&url, "calls_case").await).await;
    questions::a_job_is_told_call_by_call(&Case::new(&url, "job_case").await).await;
    questions::prompts_that_grew_are_seen_against_their_own_week(&Case::new(&url, "drift_case").await).await;
    rollups::a_batch_that_failed_half_way_counts_once_in_every_rollup(&Case::new(&url, "half_case").await).await;
    rollups::rollups_are_refilled_from_the_raw_table(&Case::new(&url, "rebuild_case").await).await;
    rollups::a_rollup_that_came_later_is_filled(&Case::new(&url, "later_case").await).await;
    failures_say_what_kind_they_are(&Case::new(&url, "failure_case").await).await;
    tls::a_private_authority_is_trusted_when_it_is_named(server.addr()).await;
    server.shutdown().await;
}

async fn the_schema_applies_once_and_is_never_lowered(case: &Case) {
    assert_eq!(Schema::apply(&case.store).await.expect("nothing is missing"), 0);
    assert_eq!(case.store.schema_version().await.expect("an answer"), Some(Schema::VERSION));
    let sql = "INSERT INTO schema_migrations (version, name, checksum) VALUES (900, 'later', 'x')";
    case.client.query_raw(sql).execute().await.expect("the row is written");
    let refused = Schema::apply(&case.store).await;
    assert!(matches!(refused, Err(SchemaError::Newer { found: 900, known: Schema::VERSION })), "{refused:?}");
    assert_eq!(case.store.schema_version().await.expect("an answer"), Some(900));
}

async fn every_column_explains_itself(case: &Case) {
    let tables = "(SELECT name FROM system.tables WHERE database = 'comment_case' AND engine LIKE '%MergeTree')";
    let of = |what: &str| {
        format!("SELECT count() FROM system.columns WHERE database = 'comment_case' AND table IN {tables} {what}")
    };
    assert!(case.number(&of("")).await > 150);
    assert_eq!(case.number(&of("AND comment = ''")).await, 0);
}

async fn a_batch_counts_once_however_often_it_is_sent(case: &Case) {
    let events: Vec<UsageEvent> = (0..400).map(events::varied).collect();
    let batch = batch(&events, AT);
    for (start, token) in [(0, "18a:1-200"), (200, "18a:201-400")] {
        let part: Vec<Row> =
            batch.iter().filter(|r| (start..start + 200).contains(&(r.stream_seq - 1))).cloned().collect();
        for _ in 0..3 {
            case.store.insert(&part, token).await.expect("the batch is inserted");
        }
    }
    case.check_books(&events).await;
    let books = case.store.books().await.expect("the books");
    assert_eq!((books.rows, books.repeated_rows), (batch.len() as u64, 0));
    assert_eq!(books.raw, books.rollup);
    let cost: NanoUsd = events.iter().map(UsageEvent::cost).sum();
    assert_eq!((books.raw.cost, books.raw.jobs > 0), (cost, true));
    assert_eq!(case.store.last_sequence("18a").await.expect("an answer"), Some(400));
    assert_eq!(case.store.last_sequence("other").await.expect("an answer"), None);

    // The check can fail: the same batch under another token doubles, and the difference is named.
    case.store.insert(&batch, "another").await.expect("the batch is inserted");
    let doubled = case.store.books().await.expect("the books");
    assert_eq!((doubled.rows, doubled.repeated_rows), (2 * books.rows, books.rows));
}

async fn two_partitions_of_one_batch_count_once_too(case: &Case) {
    // The last second of a month and the first of the next: two partitions, so two parts under one token.
    let border = 1_764_547_200_000;
    let events: Vec<UsageEvent> = (0..40).map(events::varied).collect();
    let mut both = batch(&events[..20], UnixMillis(border - 1));
    both.extend(batch(&events[20..], UnixMillis(border)));
    for _ in 0..2 {
        case.store.insert(&both, "18a:1-40").await.expect("the batch is inserted");
    }
    case.check_books(&events).await;
    let months = case.number("SELECT uniqExact(toYYYYMM(ts)) FROM usage_events").await;
    assert_eq!(months, 2);
    let november = HourRange::covering(UnixMillis(0), UnixMillis(border));
    let mut log = Ledger::new();
    events[..20].iter().for_each(|event| reconcile::book(&mut log, event));
    let raw = case.store.totals(november, Source::Raw).await.expect("raw totals");
    let rollup = case.store.totals(november, Source::Rollup).await.expect("rollup totals");
    assert_eq!(reconcile::reconcile(&log, &raw, &rollup), vec![]);
}

fn hit(rule: &str) -> Hit {
    Hit { rule: rule.to_owned(), on: Side::Request, action: Followed::Flag, count: 1 }
}

async fn every_value_of_every_enumeration_is_the_tables(case: &Case) {
    use AttemptOutcome::{Cancelled, Error, Ok, RateLimited, Timeout};
    let mut made = Vec::new();
    for (status, cache) in Status::ALL.into_iter().zip([CacheUse::Miss, CacheUse::Hit, CacheUse::Bypass].repeat(2)) {
        let mut one = event(EventKind::Result, status.as_str(), vec![]);
        (one.status, one.cache) = (status, cache);
        one.attempts =
            [Ok, RateLimited, Timeout, Cancelled, Error].map(|o| attempt("m", o, Tokens::default(), 1)).into();
        one.labels = [("größe".to_owned(), "x'y\\\n".to_owned())].into();
        one.guardrails = ["secrets", "pii", "pii"].map(hit).into();
        one.risk = 40;
        made.push(one);
    }
    let mut later = event(EventKind::Started, "redelivered", vec![]);
    later.unknown_attempts = 1;
    made.push(later);
    made.push(event(EventKind::Extra, "lost", vec![attempt("m", Ok, Tokens::default(), 1)]));
    case.store.insert(&batch(&made, AT), "t").await.expect("the batch is inserted");
    let agree = |sql: &'static str, expected: u64| async move { assert_eq!(case.number(sql).await, expected, "{sql}") };
    agree("SELECT count() FROM usage_events WHERE kind = 'job' AND toString(status) = job_id", 6).await;
    agree("SELECT uniqExact(outcome) FROM usage_events WHERE kind = 'attempt'", 5).await;
    agree("SELECT count() FROM usage_events WHERE outcome = 'rate_limited'", 6).await;
    agree("SELECT count() FROM usage_events WHERE outcome = 'none' AND kind != 'attempt'", 7).await;
    agree("SELECT countIf(cache = 'hit') * 100 + countIf(cache = 'bypass') FROM usage_events WHERE kind = 'job'", 202)
        .await;
    agree("SELECT count() FROM usage_events WHERE record = 'started' AND kind = 'unknown'", 1).await;
    agree("SELECT count() FROM usage_events WHERE record = 'extra' AND kind = 'attempt'", 1).await;
    agree("SELECT count() FROM usage_events WHERE usage_source = 'provider'", 31).await;
    agree("SELECT count() FROM usage_events WHERE labels['größe'] = 'x\\'y\\\\\\n' AND kind = 'job'", 6).await;
    agree("SELECT count() FROM usage_events WHERE guardrails = ['pii', 'secrets']", 6).await;
    agree("SELECT sum(risk) FROM usage_events", 240).await;
    agree("SELECT toUInt64(sum(cost_usd * 1000000000)) FROM usage_events", 31).await;
    case.check_books(&made).await;
}

async fn questions_answer_with_exact_numbers(case: &Case) {
    let call = |latency: u64, outcome| {
        let mut call = attempt("gpt", outcome, Tokens { input: 100, output: 10, ..Tokens::default() }, 84);
        call.latency_ms = latency;
        call
    };
    let job = |name: &str, latency| event(EventKind::Result, name, vec![call(latency, AttemptOutcome::Ok)]);
    let mut made: Vec<UsageEvent> = (1..=100).map(|i| job(&format!("j{i}"), i * 10)).collect();
    made[0].guardrails = vec![hit("pii")];
    made[1].attempts.insert(0, call(1, AttemptOutcome::Timeout));
    let mut rejected = event(EventKind::Result, "r", vec![]);
    (rejected.status, rejected.model_requested) = (Status::Rejected, "gpt".into());
    made.push(rejected);
    case.store.insert(&batch(&made, AT), "t").await.expect("the batch is inserted");

    let hour = HourRange::covering(AT, UnixMillis(AT.0 + 1));
    let by = &[Dimension::Team, Dimension::Model];
    let during = |range| Filter { range, ..Filter::default() };
    let usage = case.store.ask().usage(&during(hour), by).await.expect("an answer").rows;
    assert_eq!(usage.len(), 1, "{usage:?}");
    let gpt = &usage[0];
    assert_eq!((&gpt.keys[..], gpt.jobs, gpt.attempts), (&["search".to_owned(), "gpt".to_owned()][..], 101, 101));
    assert_eq!(gpt.jobs_by_status, [100, 0, 1, 0, 0, 0]);
    assert_eq!((gpt.cost_nanousd, gpt.tokens.input, gpt.tokens.output, gpt.guardrail_jobs), (8484, 10_100, 1010, 1));
    assert_eq!(gpt.avg_ms, Some(505.0));
    // 95 of the hundred calls took 950 ms or less; a bucket is exact to 2.2 %.
    let near = |found: Option<f64>, exact: f64| found.is_some_and(|ms| (ms / exact - 1.0).abs() <= 0.022);
    assert!(near(gpt.p50_ms, 500.0) && near(gpt.p95_ms, 950.0) && near(gpt.p99_ms, 990.0), "{gpt:?}");
    let before = HourRange::covering(UnixMillis(0), UnixMillis(hour.from_seconds() * 1000));
    assert!(case.store.ask().usage(&during(before), by).await.expect("an answer").rows.is_empty());

    assert_eq!(case.number("SELECT toUInt64(cost_nanousd) FROM team_spend_daily WHERE team = 'search'").await, 8484);
    assert_eq!(case.number("SELECT jobs FROM team_spend_daily WHERE model = 'gpt'").await, 101);
    assert_eq!(case.number("SELECT calls FROM model_latency WHERE outcome = 'ok'").await, 100);
    assert_eq!(case.number("SELECT toUInt64(max_ms) FROM model_latency WHERE outcome = 'ok'").await, 1000);
    let p95 = case.number("SELECT toUInt64(p95_ms) FROM model_latency WHERE outcome = 'ok'").await;
    assert!(near(Some(p95 as f64), 950.0), "{p95}");
    let histogram = "SELECT toUInt64(arraySum(mapValues(sumMap(latency_hist)))) FROM usage_hourly WHERE outcome = 'ok'";
    assert_eq!(case.number(histogram).await, 100);
}

/// What the watch, `top` and re-pricing ask of the raw table.
async fn calls_are_told_as_they_were_booked(case: &Case) {
    let made: Vec<UsageEvent> = (0..60).map(events::varied).collect();
    case.store.insert(&batch(&made, AT), "t").await.expect("the batch is inserted");
    let calls: Vec<_> = made.iter().flat_map(|event| &event.attempts).collect();
    let cost: i64 = calls.iter().map(|call| call.cost_nanousd.0).sum();

    let recent = case.store.recent_use(AT).await.expect("an answer");
    let jobs = made.iter().filter(|event| event.kind == EventKind::Result).count();
    assert_eq!((recent.jobs, recent.calls, recent.cost_nanousd), (jobs as u64, calls.len() as u64, cost));
    assert_eq!(recent.tokens, calls.iter().map(|call| call.tokens.total()).sum::<u64>());
    let later = UnixMillis(AT.0 + 1);
    assert_eq!(case.store.recent_use(later).await.expect("an answer"), RecentUse::default());

    let deployments = case.store.recent_calls(AT).await.expect("an answer");
    let blamed = |call: &&&AttemptRecord| match call.outcome {
        AttemptOutcome::RateLimited | AttemptOutcome::Timeout => true,
        AttemptOutcome::Error => ![400, 413, 422].contains(&call.http_status),
        AttemptOutcome::Ok | AttemptOutcome::Cancelled => false,
    };
    let ended = calls.iter().filter(|call| call.outcome != AttemptOutcome::Cancelled);
    assert_eq!(deployments.iter().map(|one| one.calls).sum::<u64>(), ended.count() as u64);
    assert_eq!(deployments.iter().map(|one| one.failed).sum::<u64>(), calls.iter().filter(blamed).count() as u64);

    // Twice under two tokens: each call is told once all the same.
    case.store.insert(&batch(&made, AT), "u").await.expect("the batch is inserted");
    let hour = HourRange::covering(AT, later);
    let page = case.store.billed_calls(hour, None).await.expect("a page");
    assert_eq!(page.len(), calls.len());
    assert_eq!(page.iter().map(|call| call.cost_nanousd).sum::<i64>(), cost);
    assert_eq!(page.iter().map(|call| call.tokens().total()).sum::<u64>(), recent.tokens);
    let rest = case.store.billed_calls(hour, page.get(9)).await.expect("a page");
    assert_eq!(rest, page[10..], "the next page goes on where one ended");
    assert!(case.store.billed_calls(hour, page.last()).await.expect("a page").is_empty());
}

async fn failures_say_what_kind_they_are(case: &Case) {
    let made = batch(&[event(EventKind::Result, "j", vec![])], AT);
    case.client.query_raw("RENAME TABLE usage_events TO elsewhere").execute().await.expect("it is renamed");
    let gone = case.store.insert(&made, "t").await.expect_err("the table is gone");
    assert_eq!(gone.fault(), Fault::Schema, "{gone:?}");
    case.client.query_raw("RENAME TABLE elsewhere TO usage_events").execute().await.expect("it is renamed");
    case.store.insert(&made, "t").await.expect("the same batch goes in when the table is back");

    let nowhere = Store::new(ClickHouseConfig::new("http://127.0.0.1:1")).expect("the configuration is sound");
    assert_eq!(nowhere.ping().await.expect_err("nobody listens").fault(), Fault::Transient);
    assert!(case.store.version().await.expect("a version").starts_with("2"));
    assert!(case.store.ping().await.is_ok() && case.url.starts_with("http://"));
}

fn batch(events: &[UsageEvent], at: UnixMillis) -> Vec<Row> {
    let numbered = events.iter().zip(1u64..);
    numbered.flat_map(|(event, seq)| rows(Stamp { stream: "18a", seq, at }, event)).collect()
}

/// The ledger is an ordinary map, so that a report can walk it.
#[test]
fn a_ledger_is_keyed_by_team_model_and_status() {
    let mut ledger: BTreeMap<Key, _> = Ledger::new();
    reconcile::book(&mut ledger, &event(EventKind::Result, "j", vec![]));
    assert_eq!(ledger.keys().next().map(|k| (k.team.as_str(), k.status)), Some(("search", Status::Succeeded)));
}
