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
