//! What the tables hold, to compare one with the other and with the log.

use clickhouse::Row;
use serde::Deserialize;
use tollgate_types::{NanoUsd, Status, Tokens};

use crate::error::StoreError;
use crate::range::HourRange;
use crate::reconcile::{self, Key, Ledger, Totals};
use crate::store::{Bound, Store};

/// Which table answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// One row per attempt and job.
    Raw,
    /// The hourly sums.
    Rollup,
}

/// What a team did with a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamModelUsage {
    /// The team.
    pub team: String,
    /// The model.
    pub model: String,
    /// Finished jobs, by how they ended, in the order of [`Status::ALL`].
    pub jobs_by_status: [u64; 6],
    /// Calls to providers.
    pub attempts: u64,
    /// Tokens of those calls.
    pub tokens: Tokens,
    /// What those calls cost.
    pub cost: NanoUsd,
    /// What answers from the cache would have cost.
    pub saved: NanoUsd,
    /// Deliveries that may have been paid for and left no record.
    pub unknown_attempts: i64,
    /// The most that those may have cost; no part of `cost`.
    pub unknown: NanoUsd,
    /// Jobs on which a guardrail rule fired.
    pub guardrail_jobs: u64,
    /// Jobs answered from the cache.
    pub cache_hit_jobs: u64,
    /// Mean latency of the calls that ended well, ms; exact. `None` if none did.
    pub avg_latency_ms: Option<f64>,
    /// The latency that 95 % of those calls stayed under, ms; from a digest.
    pub p95_latency_ms: Option<f64>,
}

impl TeamModelUsage {
    /// All finished jobs.
    pub fn jobs(&self) -> u64 {
        self.jobs_by_status.iter().sum()
    }
}

/// What the tables hold altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// The sums of the raw table.
    pub raw: Totals,
    /// The sums of the rollup; equal to `raw` when all is well.
    pub rollup: Totals,
    /// Rows of the raw table.
    pub rows: u64,
    /// Rows whose record was stored before: in the commit log twice, or inserted twice.
    pub repeated_rows: u64,
}

#[derive(Row, Deserialize)]
struct UsageRow {
    team: String,
    model: String,
    jobs_by_status: Vec<u64>,
    attempts: u64,
    tokens: Vec<u64>,
    cost: i64,
    saved: i64,
    unknown_attempts: i64,
    unknown: i64,
    guardrail_jobs: u64,
    cache_hit_jobs: u64,
    ok_calls: u64,
    ok_latency_ms: u64,
    ok_quantiles: Vec<f32>,
}

/// The sums of tokens as one array, in the order of the fields of [`Tokens`].
const TOKENS: &str = "[sum(u.tokens_in), sum(u.tokens_cache_read), sum(u.tokens_cache_write), sum(u.tokens_out), \
                      sum(u.tokens_reasoning)]";

#[derive(Row, Deserialize)]
struct TotalsRow {
    team: String,
    model: String,
    end: String,
    jobs: u64,
    attempts: u64,
    tokens: Vec<u64>,
    cost: i64,
    unknown_attempts: i64,
    unknown: i64,
}

#[derive(Row, Deserialize)]
struct CountRow {
    rows: u64,
    distinct: u64,
}

#[derive(Row, Deserialize)]
struct LastRow {
    rows: u64,
    last: u64,
}

impl Store {
    /// What each team did with each model, from the rollup, by cost. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage_by_team_model(&self, range: HourRange) -> Result<Vec<TeamModelUsage>, StoreError> {
        let ends: Vec<String> =
            Status::ALL.iter().map(|end| format!("sumIf(u.events, u.kind = 'job' AND u.status = '{end}')")).collect();
        let sql = format!(
            "SELECT u.team AS team, u.model AS model, [{}] AS jobs_by_status, \
                sumIf(u.events, u.kind = 'attempt') AS attempts, {TOKENS} AS tokens, \
                sum(u.cost_nanousd) AS cost, sum(u.saved_nanousd) AS saved, \
                sum(u.unknown_attempts) AS unknown_attempts, sum(u.unknown_nanousd) AS unknown, \
                sumIf(u.guardrail_events, u.kind = 'job') AS guardrail_jobs, \
                sumIf(u.cache_hits, u.kind = 'job') AS cache_hit_jobs, \
                sumIf(u.events, u.outcome = 'ok') AS ok_calls, sumIf(u.latency_sum_ms, u.outcome = 'ok') AS ok_latency_ms, \
                quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.latency_q, u.outcome = 'ok') AS ok_quantiles \
             FROM usage_hourly AS u WHERE u.hour >= toDateTime(?, 'UTC') AND u.hour < toDateTime(?, 'UTC') \
             GROUP BY team, model ORDER BY cost DESC, team, model",
            ends.join(", ")
        );
        let rows: Vec<UsageRow> = self.fetch(&sql, &bounds(range)).await?;
        Ok(rows.into_iter().map(TeamModelUsage::from).collect())
    }

    /// The totals per team, model and status, to compare one table with the other and with the results. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn totals(&self, range: HourRange, source: Source) -> Result<Ledger, StoreError> {
        // A DateTime64 is compared with a DateTime64 only: against a DateTime the engine takes the last millisecond
        // of an hour for the next one.
        let (table, column, at) = match source {
            Source::Raw => ("usage_events", "u.ts", "toDateTime64(?, 3, 'UTC')"),
            Source::Rollup => ("usage_hourly", "u.hour", "toDateTime(?, 'UTC')"),
        };
        let of = |kind: &str| match source {
            Source::Raw => format!("countIf(u.kind = '{kind}')"),
            Source::Rollup => format!("sumIf(u.events, u.kind = '{kind}')"),
        };
        let sql = format!(
            "SELECT u.team AS team, u.model AS model, toString(u.status) AS end, {} AS jobs, {} AS attempts, \
                {TOKENS} AS tokens, sum(u.cost_nanousd) AS cost, \
                sum(u.unknown_attempts) AS unknown_attempts, sum(u.unknown_nanousd) AS unknown \
             FROM {table} AS u WHERE {column} >= {at} AND {column} < {at} \
             GROUP BY team, model, end",
            of("job"),
            of("attempt")
        );
        let rows: Vec<TotalsRow> = self.fetch(&sql, &bounds(range)).await?;
        Ok(rows.into_iter().filter_map(TotalsRow::entry).collect())
    }

    /// What the tables hold altogether. Cancel safe; the three questions do not see the same moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn books(&self) -> Result<Books, StoreError> {
        let raw = reconcile::sum(&self.totals(HourRange::ALL, Source::Raw).await?);
        let rollup = reconcile::sum(&self.totals(HourRange::ALL, Source::Rollup).await?);
        let sql = "SELECT count() AS rows, uniqExact(event_id) AS distinct FROM usage_events";
        let counts: Vec<CountRow> = self.fetch(sql, &[]).await?;
        let (rows, distinct) = counts.first().map_or((0, 0), |c| (c.rows, c.distinct));
        Ok(Books { raw, rollup, rows, repeated_rows: rows.saturating_sub(distinct) })
    }

    /// The highest sequence of an incarnation of the results stream that is in the raw table. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_sequence(&self, stream: &str) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT count() AS rows, max(u.stream_seq) AS last FROM usage_events AS u WHERE u.stream = ?";
        let found: Vec<LastRow> = self.fetch(sql, &[Bound::Text(stream)]).await?;
        Ok(found.first().filter(|row| row.rows > 0).map(|row| row.last))
    }
}

fn bounds(range: HourRange) -> [Bound<'static>; 2] {
    [Bound::Integer(range.from_seconds()), Bound::Integer(range.to_seconds())]
}

fn tokens(sums: &[u64]) -> Tokens {
    let at = |index: usize| sums.get(index).copied().unwrap_or(0);
    Tokens { input: at(0), cache_read: at(1), cache_write: at(2), output: at(3), reasoning: at(4) }
}

impl TotalsRow {
    fn entry(self) -> Option<(Key, Totals)> {
        let status = Status::ALL.into_iter().find(|s| s.as_str() == self.end)?;
        let totals = Totals {
            jobs: self.jobs,
            attempts: self.attempts,
            tokens: tokens(&self.tokens),
            cost: NanoUsd(self.cost),
            unknown_attempts: self.unknown_attempts,
            unknown: NanoUsd(self.unknown),
        };
        Some((Key { team: self.team, model: self.model, status }, totals))
    }
}

impl From<UsageRow> for TeamModelUsage {
    fn from(row: UsageRow) -> Self {
        let known = row.ok_calls > 0;
        TeamModelUsage {
            jobs_by_status: std::array::from_fn(|index| row.jobs_by_status.get(index).copied().unwrap_or(0)),
            attempts: row.attempts,
            tokens: tokens(&row.tokens),
            cost: NanoUsd(row.cost),
            saved: NanoUsd(row.saved),
            unknown_attempts: row.unknown_attempts,
            unknown: NanoUsd(row.unknown),
            guardrail_jobs: row.guardrail_jobs,
            cache_hit_jobs: row.cache_hit_jobs,
            avg_latency_ms: known.then(|| row.ok_latency_ms as f64 / row.ok_calls as f64),
            p95_latency_ms: row.ok_quantiles.get(1).copied().filter(|_| known).map(f64::from),
            team: row.team,
            model: row.model,
        }
    }
}
