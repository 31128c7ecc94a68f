//! The rollups as this code knows them: what each must add up to, compared with the raw table and refilled from it.

use std::collections::BTreeMap;
use std::fmt;

use clickhouse::Row;
use serde::Deserialize;
use tollgate_types::UnixMillis;
use uuid::Uuid;

use crate::error::StoreError;
use crate::range::HourRange;
use crate::schema;
use crate::store::Store;

/// A table that a view of the same name with `_mv` sums up from `usage_events`.
struct Rollup {
    table: &'static str,
    /// Numbers that must agree: their name, how the raw table makes them, and how the rollup does. Whole numbers, so that
    /// every agreement is exact.
    quantities: &'static [(&'static str, &'static str, &'static str)],
}

/// The sums of calls that several rollups keep under the names of the raw table.
const TOKENS: &str = "sum(u.tokens_in) + 3 * sum(u.tokens_cache_read) + 5 * sum(u.tokens_cache_write) + 7 * sum(u.tokens_out) + \
     11 * sum(u.tokens_reasoning)";

/// The sums of the map of labels: a row counts once for each label.
const PER_LABEL: &str = "sum(length(u.labels) * (u.tokens_in + 3 * u.tokens_cache_read + 5 * u.tokens_cache_write + \
                         7 * u.tokens_out + 11 * u.tokens_reasoning))";

const ROLLUPS: &[Rollup] = &[
    Rollup {
        table: "usage_hourly",
        quantities: &[
            ("rows", "count()", "sum(u.events)"),
            ("jobs", "countIf(u.kind = 'job')", "sumIf(u.events, u.kind = 'job')"),
            ("tokens, weighted by part", TOKENS, TOKENS),
            ("cost_nanousd", "sum(u.cost_nanousd)", "sum(u.cost_nanousd)"),
            ("saved_nanousd", "sum(u.saved_nanousd)", "sum(u.saved_nanousd)"),
            ("unknown_nanousd", "sum(u.unknown_nanousd)", "sum(u.unknown_nanousd)"),
            ("latency_ms", "sum(u.latency_ms)", "sum(u.latency_sum_ms)"),
            ("rows with a latency", "count()", "arraySum(mapValues(sumMap(u.latency_hist)))"),
            (
                "rows with a first byte",
                "countIf(u.first_byte_ms > 0)",
                "arraySum(mapValues(sumMap(u.first_byte_hist)))",
            ),
            ("retries", "countIf(u.kind = 'attempt' AND u.attempt > 1)", "sum(u.retries)"),
            ("jobs that waited", "countIf(u.kind = 'job')", "arraySum(mapValues(sumMap(u.queued_hist)))"),
            ("jobs with a risk", "countIf(u.kind = 'job')", "arraySum(mapValues(sumMap(u.risk_hist)))"),
        ],
    },
    Rollup {
        table: "users_hourly",
        quantities: &[
            ("jobs", "countIf(u.kind = 'job')", "sum(u.jobs)"),
            ("attempts", "countIf(u.kind = 'attempt')", "sum(u.attempts)"),
            ("tokens, weighted by part", TOKENS, TOKENS),
            ("cost_nanousd", "sum(u.cost_nanousd)", "sum(u.cost_nanousd)"),
            ("saved_nanousd", "sum(u.saved_nanousd)", "sum(u.saved_nanousd)"),
            ("unknown_nanousd", "sum(u.unknown_nanousd)", "sum(u.unknown_nanousd)"),
        ],
    },
    Rollup {
        table: "labels_hourly",
        quantities: &[
            ("jobs by label", "sumIf(length(u.labels), u.kind = 'job')", "sum(u.jobs)"),
            ("attempts by label", "sumIf(length(u.labels), u.kind = 'attempt')", "sum(u.attempts)"),
            ("tokens by label, weighted by part", PER_LABEL, TOKENS),
            ("cost_nanousd by label", "sum(toInt64(length(u.labels)) * u.cost_nanousd)", "sum(u.cost_nanousd)"),
        ],
    },
    Rollup {
        table: "guardrails_hourly",
        quantities: &[
            ("jobs by hit", "sumIf(length(u.guardrail_rules), u.kind = 'job')", "sum(u.jobs)"),
            ("hits", "sumIf(arraySum(u.guardrail_counts), u.kind = 'job')", "sum(u.hits)"),
        ],
    },
    Rollup {
        table: "errors_hourly",
        quantities: &[("calls", "countIf(u.outcome NOT IN ('none', 'ok'))", "sum(u.calls)")],
    },
];

/// For how long no part of the raw table is dropped: its time to live is 13 months, and a little is kept off. An older hour
/// cannot be filled again, so it is never emptied.
const RAW_KEPT_HOURS: i64 = 390 * 24;

/// How much of the raw table one statement of a rebuild reads: it is sorted by team, so its memory is what bounds this.
const CHUNK_HOURS: i64 = 24;

/// How often a rebuild begins again when rows arrive in the hours that it fills.
const TRIES: usize = 3;

/// A number on which a rollup does not agree with the raw table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupDifference {
    /// The rollup.
    pub table: &'static str,
    /// The team.
    pub team: String,
    /// Which number.
    pub quantity: &'static str,
    /// What the raw table says, each row of a record counting once.
    pub raw: i64,
    /// What the rollup says.
    pub rollup: i64,
}

impl fmt::Display for RollupDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RollupDifference { table, team, quantity, raw, rollup } = self;
        write!(f, "{table} {team} {quantity}: raw {raw}, rollup {rollup} ({:+})", rollup.saturating_sub(*raw))
    }
}

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The hours that were emptied and filled; `None` if none of those asked for is closed and still has its raw rows.
    pub hours: Option<HourRange>,
    /// What does not agree all the same, because rows kept arriving in those hours: run it again when they do not.
    pub differences: Vec<RollupDifference>,
}

#[derive(Row, Deserialize)]
struct TeamSums {
    team: String,
    sums: Vec<i64>,
}

#[derive(Row, Deserialize)]
struct Ends {
    rows: u64,
    first: i64,
    last: i64,
}

impl Store {
    /// Every number of every rollup that is not what the raw table makes it, per team; empty means that all are exact.
    ///
    /// Of rows that were inserted twice the raw side counts one, as the results do. Rows that arrive meanwhile may show as
    /// differences that are none. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rollup_differences(&self, range: HourRange) -> Result<Vec<RollupDifference>, StoreError> {
        let mut differences = Vec::new();
        let chunks = self.chunks(range).await?;
        for rollup in ROLLUPS {
            let (mut raw, mut summed) = (Sums::new(), Sums::new());
            for &chunk in &chunks {
                let expressions = rollup.quantities.iter().map(|quantity| quantity.1);
                self.add(&mut raw, &once(self, chunk), expressions).await?;
            }
            let at = format!("(SELECT * FROM {}.{} WHERE {})", self.database(), rollup.table, hours(range));
            self.add(&mut summed, &at, rollup.quantities.iter().map(|quantity| quantity.2)).await?;
            differences.extend(unequal(rollup, &raw, &summed));
        }
        Ok(differences)
    }

    /// Empties every rollup for the closed hours of `range` and fills it again from the raw table, of whose rows each counts
    /// once.
    ///
    /// Hours whose raw rows may have been dropped by age are left as they are, and the hour of `now` too. While it runs,
    /// questions see these hours empty or half filled; after it was killed too, until it is run again. Records that arrive
    /// late in these hours make it begin again.
    ///
    /// # Errors
    /// [`StoreError`]; then the hours may be empty or half filled.
    pub async fn rebuild(&self, range: HourRange, now: UnixMillis) -> Result<Rebuilt, StoreError> {
        let Some(hours) = closed(range, now) else { return Ok(Rebuilt { hours: None, differences: Vec::new() }) };
        let mut differences = Vec::new();
        for _ in 0..TRIES {
            let run = Uuid::new_v4();
            let chunks = self.chunks(hours).await?;
            for rollup in ROLLUPS {
                self.refill(rollup, hours, &chunks, run).await?;
            }
            differences = self.rollup_differences(hours).await?;
            if differences.is_empty() {
                break;
            }
        }
        Ok(Rebuilt { hours: Some(hours), differences })
    }

    async fn refill(
        &self,
        rollup: &Rollup,
        range: HourRange,
        chunks: &[HourRange],
        run: Uuid,
    ) -> Result<(), StoreError> {
        let (database, table) = (self.database(), rollup.table);
        // Waits for every replica, so that nothing that is inserted after it is deleted by it.
        let delete =
            format!("ALTER TABLE {database}.{table} DELETE WHERE {} SETTINGS mutations_sync = 2", hours(range));
        self.execute(&delete).await?;
        let raw = format!("FROM {}.usage_events\n", schema::PLACEHOLDER);
        let sum = schema::sum_of(table);
        let columns = columns(&sum).join(", ");
        for &chunk in chunks {
            let from = format!("FROM {} AS usage_events\n", once(self, chunk));
            let select = sum.replacen(&raw, &from, 1);
            // The token is new each time: under one that was used before, or under none, the server takes rows that it has
            // seen for a repetition and drops them, although they were deleted meanwhile.
            let token = format!("rebuild:{run}:{table}:{}", chunk.from_seconds());
            self.execute(&format!(
                "INSERT INTO {database}.{table} ({columns}) SETTINGS insert_deduplication_token = '{token}' \
                 SELECT {columns} FROM ({select})"
            ))
            .await?;
        }
        Ok(())
    }

    /// The hours of a range that have raw rows, in pieces that one statement can read.
    async fn chunks(&self, range: HourRange) -> Result<Vec<HourRange>, StoreError> {
        let sql = format!(
            "SELECT count() AS rows, toInt64(toUnixTimestamp(min(u.ts))) AS first, toInt64(toUnixTimestamp(max(u.ts))) AS last \
             FROM {}.usage_events AS u WHERE {}",
            self.database(),
            times(range),
        );
        let ends: Vec<Ends> = self.fetch_text(&sql).await?;
        let Some(Ends { first, last, .. }) = ends.into_iter().find(|ends| ends.rows > 0) else { return Ok(Vec::new()) };
        let to = range.to_seconds().min(last + 1);
        let step = usize::try_from(CHUNK_HOURS * 3600).expect("a day of seconds");
        let from = HourRange::of_seconds(first, first).from_seconds();
        Ok((from..to).step_by(step).map(|at| HourRange::of_seconds(at, to.min(at + CHUNK_HOURS * 3600))).collect())
    }

    async fn add(&self, sums: &mut Sums, of: &str, expressions: impl Iterator<Item = &str>) -> Result<(), StoreError> {
        let columns: Vec<String> = expressions.map(|expression| format!("toInt64({expression})")).collect();
        let sql =
            format!("SELECT toString(u.team) AS team, [{}] AS sums FROM {of} AS u GROUP BY u.team", columns.join(", "));
        for row in self.fetch_text::<TeamSums>(&sql).await? {
            let sums = sums.entry(row.team).or_insert_with(|| vec![0; row.sums.len()]);
            sums.iter_mut().zip(row.sums).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
        }
        Ok(())
    }
}

/// The sums of each team, in the order of the quantities. They wrap as those of the server do.
type Sums = BTreeMap<String, Vec<i64>>;

fn unequal(rollup: &Rollup, raw: &Sums, summed: &Sums) -> Vec<RollupDifference> {
    let teams: std::collections::BTreeSet<&String> = raw.keys().chain(summed.keys()).collect();
    let of = |sums: &Sums, team: &String, at: usize| sums.get(team).and_then(|sums| sums.get(at)).copied().unwrap_or(0);
    let mut found = Vec::new();
    for team in teams {
        for (at, quantity) in rollup.quantities.iter().enumerate() {
            let (raw, rollup_says) = (of(raw, team, at), of(summed, team, at));
            if raw != rollup_says {
                found.push(RollupDifference {
                    table: rollup.table,
                    team: team.clone(),
                    quantity: quantity.0,
                    raw,
                    rollup: rollup_says,
                });
            }
        }
    }
    found
}

/// The raw rows of a time, each once, as a table: one that was inserted twice has the same place in the log.
fn once(store: &Store, range: HourRange) -> String {
    let (database, times) = (store.database(), times(range));
    format!("(SELECT * FROM {database}.usage_events WHERE {times} LIMIT 1 BY stream, stream_seq, event_id)")
}

fn times(range: HourRange) -> String {
    let at = |seconds: i64| format!("toDateTime64({seconds}, 3, 'UTC')");
    format!("ts >= {} AND ts < {}", at(range.from_seconds()), at(range.to_seconds()))
}

fn hours(range: HourRange) -> String {
    let at = |seconds: i64| format!("toDateTime({seconds}, 'UTC')");
    format!("hour >= {} AND hour < {}", at(range.from_seconds()), at(range.to_seconds()))
}

/// The hours that are over and whose raw rows are all there.
fn closed(range: HourRange, now: UnixMillis) -> Option<HourRange> {
    let this_hour = HourRange::covering(now, now).from_seconds();
    let (from, to) = (range.from_seconds().max(this_hour - RAW_KEPT_HOURS * 3600), range.to_seconds().min(this_hour));
    (from < to).then(|| HourRange::of_seconds(from, to))
}

/// The names of the columns that a view's statement makes, in its order: its groups as they stand, then its sums.
fn columns(sum: &str) -> Vec<&str> {
    let made = sum.lines().take_while(|line| !line.starts_with("FROM "));
    let mut names = Vec::new();
    for line in made.map(str::trim).filter(|line| *line != "SELECT") {
        let line = line.trim_end_matches(',');
        match line.split_once(" AS hour, ") {
            Some((_, groups)) => names.extend(std::iter::once("hour").chain(groups.split(", "))),
            None => names.extend(line.rsplit_once(" AS ").map(|(_, name)| name)),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_that_is_open_or_too_old_is_never_emptied() {
        let now = UnixMillis(1_763_000_000_123);
        let this_hour = 1_762_999_200;
        let check = |from: i64, to: i64, expected: Option<(i64, i64)>| {
            let hours = closed(HourRange::of_seconds(from, to), now).map(|h| (h.from_seconds(), h.to_seconds()));
            assert_eq!(hours, expected, "{from}..{to}");
        };
        let oldest = this_hour - RAW_KEPT_HOURS * 3600;
        check(0, i64::MAX / 1000, Some((oldest, this_hour)));
        check(this_hour - 7200, this_hour - 3600, Some((this_hour - 7200, this_hour - 3600)));
        check(this_hour, this_hour + 3600, None);
        check(0, oldest, None);
    }

    #[test]
    fn every_view_of_the_schema_is_a_rollup_that_is_known_here() {
        let views = schema::summing_views();
        assert_eq!(views.len(), ROLLUPS.len(), "{views:?}");
        for rollup in ROLLUPS {
            assert!(views.contains(&format!("{}_mv", rollup.table)), "{}", rollup.table);
            let sum = schema::sum_of(rollup.table);
            assert_eq!(sum.matches(&format!("FROM {}.usage_events\n", schema::PLACEHOLDER)).count(), 1, "{sum}");
            let columns = columns(&sum);
            assert_eq!(
                (columns[0], columns[1]),
                ("hour", if rollup.table == "usage_hourly" { "kind" } else { "team" })
            );
            assert!(columns.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')), "{columns:?}");
        }
        assert!(columns(&schema::sum_of("usage_hourly")).ends_with(&["retries", "queued_hist", "risk_hist"]));
    }
}
