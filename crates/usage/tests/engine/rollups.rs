//! Every rollup counts once whatever happens to a batch, and is refilled from the raw table.

use std::time::Duration;

use tollgate_types::guardrails::{Followed, Hit, Side};
use tollgate_types::{UnixMillis, UsageEvent};
use tollgate_usage::{HourRange, Row};

use super::events::{AT, varied};
use super::{Case, batch};

const TABLES: [&str; 5] = ["usage_hourly", "users_hourly", "labels_hourly", "guardrails_hourly", "errors_hourly"];

const HOUR: i64 = 3_600_000;

/// Records that are in every rollup.
fn lot(from: u64, to: u64, at: UnixMillis) -> Vec<Row> {
    let one = |index: u64| -> UsageEvent {
        let mut one = varied(index);
        one.labels = [("feature".to_owned(), format!("f{}", index % 3)), ("tier".to_owned(), "gold".to_owned())].into();
        let hit = |rule: &str, on| Hit { rule: rule.into(), on, action: Followed::Flag, count: 2 };
        one.guardrails = vec![hit("pii", Side::Request), hit("pii", Side::Answer)];
        (one.risk, one.queued_ms) = ((index % 101) as u8, index * 3);
        one
    };
    batch(&(from..to).map(one).collect::<Vec<_>>(), at)
}

impl Case {
    async fn differing(&self) -> Vec<String> {
        let found = self.store.rollup_differences(HourRange::ALL).await.expect("an answer");
        let mut tables: Vec<String> = found.iter().map(|difference| difference.table.to_owned()).collect();
        tables.dedup();
        tables
    }

    async fn run(&self, sql: &str) {
        self.client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

pub(super) async fn a_batch_that_failed_half_way_counts_once_in_every_rollup(case: &Case) {
    let mut half = 0;
    for (table, number) in TABLES.iter().zip(0..) {
        let rows = lot(number * 100, number * 100 + 100, UnixMillis(AT.0 + number as i64 * HOUR));
        let token = format!("batch-{number}");
        case.run(&format!("ALTER TABLE {table} ADD CONSTRAINT broken CHECK hour < toDateTime(1, 'UTC')")).await;
        case.store.insert(&rows, &token).await.expect_err("one view cannot write");
        let seen =
            case.number(&format!("SELECT count() FROM usage_events WHERE job_id = 'job-{}'", number * 100 + 1)).await;
        half += u64::from(seen > 0);
        case.run(&format!("ALTER TABLE {table} DROP CONSTRAINT broken")).await;
        for _ in 0..3 {
            case.store.insert(&rows, &token).await.expect("the same batch goes in");
            assert_eq!(case.differing().await, [""; 0], "after {table} failed");
        }
    }
    assert!(half > 0, "at least one batch was in the raw table while a rollup lacked it");
    let books = case.store.books().await.expect("the books");
    assert_eq!((books.repeated_rows, books.raw), (0, books.rollup));
}

pub(super) async fn rollups_are_refilled_from_the_raw_table(case: &Case) {
    let now = UnixMillis(AT.0 + 30 * HOUR);
    for hour in 0..5i64 {
        let rows = lot(hour as u64 * 60, hour as u64 * 60 + 60, UnixMillis(AT.0 + hour * 9 * HOUR));
        case.store.insert(&rows, &format!("b{hour}")).await.expect("inserted");
    }
    let exact = case.store.books().await.expect("the books");
    let jobs_after =
        async || case.number("SELECT sum(jobs) FROM users_hourly WHERE hour >= toDateTime(1763107200, 'UTC')").await;
    let open = jobs_after().await;
    assert!(open > 0, "the last of them lie in the hours that are not over");

    // Doubled by mistake, in the raw table and in every rollup.
    case.store.insert(&lot(60, 120, UnixMillis(AT.0 + 9 * HOUR)), "another token").await.expect("inserted");
    assert_eq!(case.differing().await, TABLES, "each rollup differs, and is named");
    for _ in 0..2 {
        let rebuilt = case.store.rebuild(HourRange::ALL, now).await.expect("it is rebuilt");
        assert_eq!(rebuilt.differences, []);
        assert_eq!(case.store.books().await.expect("the books").rollup, exact.rollup);
    }
    assert_eq!((case.differing().await, jobs_after().await), (vec![], open));

    // Killed at any moment, and run again.
    for killed_after in [0, 3, 10, 30, 60, 100, 200] {
        let work = case.store.rebuild(HourRange::ALL, now);
        let _ = tokio::time::timeout(Duration::from_millis(killed_after), work).await;
    }
    case.run("ALTER TABLE labels_hourly DELETE WHERE team = 'ads' SETTINGS mutations_sync = 2").await;
    case.run("INSERT INTO users_hourly SELECT * FROM users_hourly WHERE hour < toDateTime(1763010000, 'UTC')").await;
    let settled = case.store.rebuild(HourRange::ALL, now).await.expect("it is rebuilt");
    let hours = settled.hours.expect("closed hours");
    assert_eq!((settled.differences.as_slice(), hours.to_seconds()), (&[][..], now.0 / HOUR * 3600));
    let closed = case.store.rollup_differences(hours).await.expect("an answer");
    assert_eq!(closed, [], "all that is closed is exact again");
    assert_eq!(jobs_after().await, open, "and what is open was left alone");
}

/// As when a rollup is new and the rows are not.
pub(super) async fn a_rollup_that_came_later_is_filled(case: &Case) {
    case.store.insert(&lot(0, 90, AT), "before").await.expect("inserted");
    for table in &TABLES[1..] {
        case.run(&format!("TRUNCATE TABLE {table}")).await;
    }
    assert_eq!(case.differing().await, TABLES[1..]);
    let rebuilt = case.store.rebuild(HourRange::ALL, UnixMillis(AT.0 + 2 * HOUR)).await.expect("it is rebuilt");
    assert_eq!((rebuilt.differences.len(), case.differing().await.len()), (0, 0));
}
