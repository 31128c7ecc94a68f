//! The questions, from the rollups and from the raw table in turn.

use std::future::Future;

use benches::report::{Spread, progress, say, table, whole};
use tollgate_usage::questions::{Asked, Dimension, Filter, JobFilter, Measured, Questions, Step};
use tollgate_usage::{Store, StoreError};

use crate::events::{Filled, fill};
use crate::world::Tables;

const DATABASE: &str = "questions";

/// A question as its two statements; of those that only one table can answer, one.
struct Question {
    name: &'static str,
    rollup: Option<String>,
    raw: Option<String>,
}

/// Fills the tables, asks everything so many times, and prints the best of each.
pub(crate) async fn measure(tables: &Tables, events: u64, rounds: usize) -> anyhow::Result<()> {
    let store = tables.store(DATABASE).await?;
    let filled = Filled::now()?;
    fill(tables, DATABASE, events, filled).await?;
    let sizes = format!(
        "SELECT table, formatReadableQuantity(sum(rows)), formatReadableSize(sum(bytes_on_disk)) FROM system.parts \
         WHERE active AND database = '{DATABASE}' AND rows > 100 GROUP BY table ORDER BY sum(bytes_on_disk) DESC"
    );
    say(tables.text(&sizes).await?);
    let mut questions = of_use(&store, filled).await?;
    questions.extend(of_detail(&store, filled).await?);
    let mut rows = Vec::new();
    for question in &questions {
        rows.push(turns(tables, question, rounds).await?);
    }
    table(
        &format!("{} rows over 30 days, best of {rounds}, ms", whole(events as f64)),
        &["question", "rollup", "rows read", "raw", "rows read", "ratio"],
        rows,
    );
    if let Some(memory) = tables.memory()? {
        say(format_args!("\nengine: {} MiB resident at the most", memory.peak >> 20));
    }
    Ok(())
}

async fn turns(tables: &Tables, question: &Question, rounds: usize) -> anyhow::Result<Vec<String>> {
    progress(question.name);
    let (mut rollup, mut raw) = ((Vec::new(), 0), (Vec::new(), 0));
    for _ in 0..rounds {
        for (statement, seen) in [(&question.rollup, &mut rollup), (&question.raw, &mut raw)] {
            if let Some(statement) = statement {
                let went = tables.went(statement).await?;
                seen.0.push(went.took.as_secs_f64() * 1e3);
                seen.1 = went.read;
            }
        }
    }
    let best = |seen: &(Vec<f64>, u64)| (!seen.0.is_empty()).then(|| Spread::of(seen.0.iter().copied()).least);
    let cells = |seen: &(Vec<f64>, u64)| match best(seen) {
        Some(ms) => [format!("{ms:.1}"), whole(seen.1 as f64)],
        None => ["".to_owned(), "".to_owned()],
    };
    let ratio = best(&rollup).zip(best(&raw)).map_or_else(String::new, |(rollup, raw)| format!("{:.1}", raw / rollup));
    Ok([question.name.to_owned()].into_iter().chain(cells(&rollup)).chain(cells(&raw)).chain([ratio]).collect())
}

/// Both statements of a question.
async fn both<'a, T, F>(
    store: &'a Store,
    name: &'static str,
    ask: impl Fn(Questions<'a>) -> F,
) -> anyhow::Result<Question>
where
    F: Future<Output = Result<Asked<T>, StoreError>>,
{
    let (rollup, raw) = (ask(store.ask()).await?.sql, ask(store.ask_raw()).await?.sql);
    Ok(Question { name, rollup: Some(rollup), raw: Some(raw) })
}

async fn of_use(store: &Store, filled: Filled) -> anyhow::Result<Vec<Question>> {
    let week = &Filter { range: filled.last(7), ..Filter::default() };
    let month = &Filter { range: filled.last(30), ..Filter::default() };
    let team = &Filter { team: Some("team-3".to_owned()), ..week.clone() };
    let (by_team, by_model, by_day) = (Dimension::Team, Dimension::Model, Dimension::Day);
    let by_label = Dimension::Label("feature".to_owned());
    let (team_model, team_day) = (&[by_team.clone(), by_model.clone()], &[by_team.clone(), by_day]);
    let (label, user, by_team, by_model) = (&[by_label], &[Dimension::User], &by_team, &by_model);
    Ok(vec![
        both(store, "totals, week", |ask| async move { ask.totals(week).await }).await?,
        both(store, "totals, month", |ask| async move { ask.totals(month).await }).await?,
        both(store, "totals, one team, week", |ask| async move { ask.totals(team).await }).await?,
        both(store, "by team and model, week", |ask| async move { ask.usage(week, team_model).await }).await?,
        both(store, "by team and day, month", |ask| async move { ask.usage(month, team_day).await }).await?,
        both(store, "by label, week", |ask| async move { ask.usage(week, label).await }).await?,
        both(store, "by user, one team, week", |ask| async move { ask.usage(team, user).await }).await?,
        both(store, "spend by model and day, month", |ask| async move {
            ask.spend_over_time(month, Step::Day, by_model, 5).await
        })
        .await?,
        both(store, "spend by team and hour, week", |ask| async move {
            ask.spend_over_time(week, Step::Hour, by_team, 5).await
        })
        .await?,
        both(store, "token waterfall, month", |ask| async move { ask.token_waterfall(month, by_team).await }).await?,
        both(store, "cache savings, month", |ask| async move { ask.cache_savings(month, Step::Day).await }).await?,
        Question {
            name: "prompt drift, day",
            rollup: Some(store.ask().drift(&Filter { range: filled.last(1), ..Filter::default() }).await?.sql),
            raw: None,
        },
    ])
}

async fn of_detail(store: &Store, filled: Filled) -> anyhow::Result<Vec<Question>> {
    let week = &Filter { range: filled.last(7), ..Filter::default() };
    let month = &Filter { range: filled.last(30), ..Filter::default() };
    let team = &Filter { team: Some("team-3".to_owned()), ..week.clone() };
    let (calls, waiting) = (Measured::Calls, Measured::Waiting);
    let day =
        JobFilter { about: Filter { range: filled.last(1), ..Filter::default() }, limit: 50, ..JobFilter::default() };
    let of_team =
        JobFilter { about: team.clone(), status: Some("failed".to_owned()), limit: 50, ..JobFilter::default() };
    let page = store.ask().jobs(&of_team).await?;
    let job = page.rows.first().map_or("none", |line| line.job.as_str());
    let raw_only = |name, sql| Question { name, rollup: None, raw: Some(sql) };
    Ok(vec![
        both(store, "latency heatmap, week", |ask| async move { ask.latency_heatmap(week, Step::Hour, calls).await })
            .await?,
        both(store, "latency heatmap, one team, week", |ask| async move {
            ask.latency_heatmap(team, Step::Hour, calls).await
        })
        .await?,
        both(store, "percentiles by hour, week", |ask| async move {
            ask.latency_percentiles(week, Step::Hour, calls).await
        })
        .await?,
        both(store, "percentiles of waiting, week", |ask| async move {
            ask.latency_percentiles(week, Step::Hour, waiting).await
        })
        .await?,
        both(store, "guardrail hits, month", |ask| async move { ask.guardrail_hits(month).await }).await?,
        both(store, "guardrails by day, month", |ask| async move { ask.guardrails_over_time(month, Step::Day).await })
            .await?,
        both(store, "risk, month", |ask| async move { ask.risk_histogram(month).await }).await?,
        both(store, "providers, week", |ask| async move { ask.providers(week).await }).await?,
        both(store, "providers by hour, week", |ask| async move { ask.providers_over_time(week, Step::Hour).await })
            .await?,
        both(store, "errors of providers, week", |ask| async move { ask.provider_errors(week).await }).await?,
        raw_only("page of jobs, day", store.ask().jobs(&day).await?.sql),
        raw_only("page of failed jobs, one team, week", page.sql.clone()),
        raw_only("one job", store.ask().job("team-3", job).await?.sql),
        raw_only("state of the sink", store.ask().sink_state().await?.sql),
    ])
}
