//! Every question from the rollups against the same from the raw table, and against hand-counted numbers.

use std::fmt::Debug;

use serde::Serialize;
use serde_json::Value;
use tollgate_types::event::{AttemptOutcome, EventKind};
use tollgate_types::guardrails::{Followed, Hit, Side};
use tollgate_types::{Tokens, UnixMillis, UsageEvent};
use tollgate_usage::questions::{Asked, Dimension, Filter, JobFilter, Measured, Questions, Step};
use tollgate_usage::{HourRange, StoreError};

use super::events::{AT, attempt, event, varied};
use super::{Case, batch};

const HOUR: i64 = 3_600_000;

/// Values that would change a statement if they were not quoted.
const HOSTILE: [&str; 10] = [
    "it's",
    "\\",
    "\\' OR 1=1 --",
    "a\nb\r\tc",
    "'; DROP TABLE usage_events; --",
    "{x:String} {{database}} ?",
    "/* a */ `b` \"c\"",
    "größe \u{202e}\u{1f600}",
    "FORMAT Null",
    "%_%",
];

/// Jobs of five hours of two days, with every dimension varied.
fn lot() -> Vec<(UnixMillis, UsageEvent)> {
    let mut lot = Vec::new();
    for index in 0..600u64 {
        let mut one = varied(index);
        one.class = ["interactive", "batch"][(index % 2) as usize].into();
        one.project = HOSTILE[(index % 3) as usize].into();
        one.user = HOSTILE[(index % 10) as usize].into();
        one.queued_ms = index * 37;
        one.run_ms = 10 + index;
        one.risk = (index % 101) as u8;
        if index % 3 != 0 {
            one.labels =
                [("feature".into(), HOSTILE[(index % 7) as usize].into()), (HOSTILE[4].into(), "x".into())].into();
        }
        if index % 5 == 0 {
            let hit = |on, action| Hit { rule: HOSTILE[(index % 4) as usize].into(), on, action, count: 2 };
            one.guardrails = vec![hit(Side::Request, Followed::Redact), hit(Side::Answer, Followed::Flag)];
        }
        for (at, call) in one.attempts.iter_mut().enumerate() {
            call.provider = ["sim", HOSTILE[2]][(index % 2) as usize].into();
            call.latency_ms = 5 + index * 3 + at as u64;
            call.error = if call.outcome == AttemptOutcome::Ok { String::new() } else { HOSTILE[1].into() };
        }
        lot.push((UnixMillis(AT.0 + (index as i64 % 5) * 7 * HOUR), one));
    }
    lot
}

fn filters() -> Vec<Filter> {
    let all = Filter::default;
    let day = HourRange::covering(AT, UnixMillis(AT.0 + 8 * HOUR));
    vec![
        all(),
        Filter { range: day, ..all() },
        Filter { team: Some("search".into()), model: Some("gpt".into()), ..all() },
        Filter { provider: Some(HOSTILE[2].into()), ..all() },
        Filter { project: Some(HOSTILE[1].into()), class: Some("batch".into()), ..all() },
        Filter { user: Some(HOSTILE[3].into()), range: day, ..all() },
        Filter { label: Some(("feature".into(), HOSTILE[4].into())), ..all() },
        Filter { label: Some((HOSTILE[4].into(), "x".into())), model: Some("mini".into()), ..all() },
    ]
}

fn breakdowns() -> Vec<Vec<Dimension>> {
    use Dimension::{Class, Day, Hour, Label, Model, Project, Provider, Team, User};
    vec![
        vec![],
        vec![Team],
        vec![Project, Model],
        vec![User, Team],
        vec![Provider, Class],
        vec![Day, Team],
        vec![Hour],
        vec![Label("feature".into())],
        vec![Label(HOSTILE[4].into()), Day],
        vec![Label("feature".into()), Model],
    ]
}

/// Whole numbers and texts agree exactly, quantiles within a bucket; a rollup without quantiles may not know them.
fn agree(rollup: &Value, raw: &Value) -> bool {
    match (rollup, raw) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys())
                && a.iter().all(|(key, value)| {
                    let unknown = value.is_null() && ["p50_ms", "p95_ms", "p99_ms"].contains(&key.as_str());
                    unknown || agree(value, &b[key])
                })
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            (a - b).abs() <= 0.13 * a.abs().max(b.abs())
        }
        (a, b) => a == b,
    }
}

fn same<T: Serialize + Debug>(
    what: &str,
    rollup: Result<Asked<T>, StoreError>,
    raw: Result<Asked<T>, StoreError>,
) -> usize {
    let rollup = rollup.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let raw = raw.unwrap_or_else(|error| panic!("{what}, raw: {error:?}"));
    let value = |rows: &[T]| serde_json::to_value(rows).expect("rows serialise");
    let (a, b) = (value(&rollup.rows), value(&raw.rows));
    assert!(agree(&a, &b), "{what}\n{}\n{:#?}\n{}\n{:#?}", rollup.sql, rollup.rows, raw.sql, raw.rows);
    rollup.rows.len()
}

pub(super) async fn rollups_and_the_raw_table_give_the_same_answers(case: &Case) {
    fill(case).await;
    let (rollup, raw) = (case.store.ask(), case.store.ask_raw());
    let mut answered = [0; 10];
    for filter in &filters() {
        let f = |what: &str| format!("{what} of {filter:?}");
        for by in &breakdowns() {
            answered[0] +=
                same(&format!("{by:?} of {filter:?}"), rollup.usage(filter, by).await, raw.usage(filter, by).await);
            if let [by] = by.as_slice() {
                let (a, b) = (rollup.token_waterfall(filter, by).await, raw.token_waterfall(filter, by).await);
                answered[1] += same(&f("tokens"), a, b);
                let spend = async |ask: Questions<'_>| ask.spend_over_time(filter, Step::Hour, by, 3).await;
                answered[2] += same(&f("spend"), spend(rollup).await, spend(raw).await);
            }
        }
        for (step, measured) in
            [(Step::Hour, Measured::Calls), (Step::Day, Measured::Jobs), (Step::Hour, Measured::Waiting)]
        {
            let heat = async |ask: Questions<'_>| ask.latency_heatmap(filter, step, measured).await;
            answered[3] += same(&f("heat"), heat(rollup).await, heat(raw).await);
            let most = async |ask: Questions<'_>| ask.latency_percentiles(filter, step, measured).await;
            answered[4] += same(&f("percentiles"), most(rollup).await, most(raw).await);
        }
        answered[5] += same(
            &f("cache"),
            rollup.cache_savings(filter, Step::Day).await,
            raw.cache_savings(filter, Step::Day).await,
        );
        answered[6] += same(&f("hits"), rollup.guardrail_hits(filter).await, raw.guardrail_hits(filter).await);
        let hits = async |ask: Questions<'_>| ask.guardrails_over_time(filter, Step::Hour).await;
        same(&f("hits over time"), hits(rollup).await, hits(raw).await);
        answered[7] += same(&f("risk"), rollup.risk_histogram(filter).await, raw.risk_histogram(filter).await);
        answered[8] += same(&f("providers"), rollup.providers(filter).await, raw.providers(filter).await);
        let over = async |ask: Questions<'_>| ask.providers_over_time(filter, Step::Day).await;
        same(&f("providers over time"), over(rollup).await, over(raw).await);
        answered[9] += same(&f("errors"), rollup.provider_errors(filter).await, raw.provider_errors(filter).await);
    }
    assert!(answered.iter().all(|&rows| rows > 8), "every question was answered: {answered:?}");
}

async fn fill(case: &Case) {
    for (chunk, number) in lot().chunks(150).zip(0..) {
        let rows: Vec<_> = chunk.iter().flat_map(|(at, one)| batch(std::slice::from_ref(one), *at)).collect();
        case.store.insert(&rows, &format!("fill-{number}")).await.expect("the batch is inserted");
    }
}

/// The case has the same content as that of the rollups.
pub(super) async fn a_value_of_a_producer_changes_nothing(case: &Case) {
    let lot = lot();
    for hostile in HOSTILE {
        let filter = Filter { user: Some(hostile.into()), ..Filter::default() };
        let is_job = |one: &&(UnixMillis, UsageEvent)| one.1.kind == EventKind::Result && one.1.user == hostile;
        let expected = lot.iter().filter(is_job).count() as u64;
        let found = case.store.ask().totals(&filter).await.expect("an answer");
        assert_eq!(found.rows[0].jobs, expected, "{}", found.sql);
        let more = Filter { user: Some(format!("{hostile}\\")), ..Filter::default() };
        assert_eq!(case.store.ask().totals(&more).await.expect("an answer").rows[0].jobs, 0);

        let page = JobFilter { about: filter, text: Some(hostile.into()), ..JobFilter::default() };
        let page = case.store.ask().jobs(&page).await.expect("an answer");
        assert_eq!(page.rows.len() as u64, expected, "{}", page.sql);
        assert!(page.rows.iter().all(|job| job.user == hostile));

        let label = Filter { label: Some((hostile.into(), hostile.into())), ..Filter::default() };
        assert_eq!(case.store.ask().totals(&label).await.expect("an answer").rows[0].jobs, 0);
        let by = [Dimension::Label(hostile.into())];
        case.store.ask().usage(&Filter::default(), &by).await.expect("an answer");
        case.store.ask_raw().usage(&label, &by).await.expect("an answer");
        let text = Some(hostile.to_owned());
        let words = JobFilter {
            status: text.clone(),
            error_code: text.clone(),
            cache: text.clone(),
            job: text,
            ..JobFilter::default()
        };
        assert_eq!(case.store.ask().jobs(&words).await.expect("an answer").rows, []);
        assert_eq!(case.store.ask().job(hostile, hostile).await.expect("an answer").rows, []);
        // What is shown beside a chart is what was asked: any client gets the same from it.
        let count = format!("SELECT toUInt64(jobs) FROM ({})", found.sql);
        assert_eq!(case.number(&count).await, expected, "{count}");
    }
}

/// The case has the same content as that of the rollups.
pub(super) async fn pages_of_jobs_hold_each_job_once(case: &Case) {
    let expected = lot().iter().filter(|(_, one)| one.kind == EventKind::Result).count();
    let mut filter = JobFilter { limit: 37, ..JobFilter::default() };
    let mut seen = Vec::new();
    loop {
        let page = case.store.ask().jobs(&filter).await.expect("a page").rows;
        let Some(last) = page.last() else { break };
        filter.before = Some(last.cursor());
        seen.extend(page.into_iter().map(|job| (std::cmp::Reverse(job.ts_ms), job.team, job.job)));
    }
    assert_eq!(seen.len(), expected);
    assert!(
        seen.is_sorted_by(|a, b| a.0 < b.0 || (a.0 == b.0 && (&b.1, &b.2) < (&a.1, &a.2))),
        "newest first, each once"
    );

    let failed = JobFilter { status: Some("failed".into()), job: Some("job-1".into()), ..JobFilter::default() };
    let failed = case.store.ask().jobs(&failed).await.expect("a page").rows;
    assert!(!failed.is_empty() && failed.iter().all(|job| job.status == "failed" && job.job.starts_with("job-1")));
}

pub(super) async fn a_job_is_told_call_by_call(case: &Case) {
    let tokens = Tokens { input: 7, cache_read: 1, cache_write: 2, output: 3, reasoning: 4 };
    let mut job = event(
        EventKind::Result,
        "waterfall",
        vec![
            attempt("gpt", AttemptOutcome::Timeout, Tokens::default(), 0),
            attempt("mini", AttemptOutcome::Ok, tokens, 90),
        ],
    );
    job.attempts[1].started_at = UnixMillis(AT.0 + 700);
    job.guardrails = vec![Hit { rule: "pii".into(), on: Side::Request, action: Followed::Redact, count: 3 }; 2];
    let rows = batch(&[job], AT);
    case.store.insert(&rows, "one").await.expect("inserted");
    case.store.insert(&rows, "again, by mistake").await.expect("inserted");
    let told = case.store.ask().job("search", "waterfall").await.expect("an answer").rows;
    let kinds: Vec<(&str, u16, &str)> = told.iter().map(|r| (r.kind.as_str(), r.attempt, r.outcome.as_str())).collect();
    assert_eq!(kinds, [("attempt", 1, "timeout"), ("job", 2, "none"), ("attempt", 2, "ok")]);
    assert_eq!((told[2].tokens, told[2].cost_nanousd, told[1].job_cost_nanousd), (tokens, 90, 90));
    let job = &told[1];
    assert_eq!((job.guardrail_rules.as_slice(), job.guardrail_counts.as_slice()), (&["pii".to_owned()][..], &[6][..]));
    assert_eq!((job.guardrail_sides[0].as_str(), job.guardrail_actions[0].as_str()), ("request", "redact"));
    assert_eq!(case.store.ask().job("ads", "waterfall").await.expect("an answer").rows, [], "it is the team's own");
}

pub(super) async fn prompts_that_grew_are_seen_against_their_own_week(case: &Case) {
    let now = UnixMillis(AT.0 + 9 * 24 * HOUR);
    let call = |input| attempt("gpt", AttemptOutcome::Ok, Tokens { input, output: 10, ..Tokens::default() }, 5);
    let job = |name: String, template: &str, input| {
        let mut job = event(EventKind::Result, &name, vec![call(input)]);
        job.labels = [("template".to_owned(), template.to_owned())].into();
        job
    };
    let before = |at: i64, name: &str| job(format!("{name}-{at}"), name, 90);
    for day in 1..=8i64 {
        let jobs: Vec<_> = ["steady", "grown"].map(|name| before(day, name)).into();
        let at = UnixMillis(now.0 - day * 24 * HOUR);
        case.store.insert(&batch(&jobs, at), &format!("day-{day}")).await.expect("inserted");
    }
    let today = [job("s".into(), "steady", 90), job("g".into(), "grown", 490), job("n".into(), "new", 90)];
    case.store.insert(&batch(&today, now), "today").await.expect("inserted");

    let hour = Filter { range: HourRange::covering(now, UnixMillis(now.0 + 1)), ..Filter::default() };
    let drift = case.store.ask().drift(&hour).await.expect("an answer").rows;
    let of =
        |value: &str| drift.iter().find(|row| row.value == value).unwrap_or_else(|| panic!("{value} in {drift:#?}"));
    assert_eq!(
        (of("grown").tokens_per_job, of("grown").tokens_per_job_before, of("grown").ratio),
        (Some(500.0), Some(100.0), Some(5.0))
    );
    assert_eq!((of("steady").ratio, of("steady").jobs_before, of("steady").label.as_str()), (Some(1.0), 7, "template"));
    assert_eq!((of("new").jobs, of("new").ratio), (1, None));
    assert_eq!((of("gpt").dimension.as_str(), of("gpt").jobs, of("gpt").jobs_before), ("model", 3, 14));
}
