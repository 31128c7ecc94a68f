//! The `clickhouse` crate, unmodified, with its defaults: LZ4 and validated rows.

use clickhouse::Row;
use clickhouse::error::Error;
use serde::{Deserialize, Serialize};

use crate::Case;

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Event {
    id: u64,
    team: String,
    cost: i64,
    labels: Vec<String>,
    note: Option<String>,
}

fn events(ids: std::ops::Range<u64>) -> Vec<Event> {
    let event = |id: u64| Event {
        id,
        team: format!("team-{}", id % 3),
        cost: -(id as i64),
        labels: vec!["a'b".to_owned(), "\t\0".to_owned()],
        note: id.is_multiple_of(2).then(|| "even".to_owned()),
    };
    ids.map(event).collect()
}

const CREATE: &str = "CREATE TABLE events (id UInt64, team LowCardinality(String), cost Int64, labels Array(String), \
                      note Nullable(String), at DateTime64(3) DEFAULT now64(3)) ENGINE = MergeTree ORDER BY id \
                      SETTINGS non_replicated_deduplication_window = 100";

async fn insert(client: &clickhouse::Client, rows: &[Event], token: &str) -> Result<(), Error> {
    let insert = client.insert::<Event>("events").await?;
    let mut insert = insert.with_setting("async_insert", "0").with_setting("insert_deduplication_token", token);
    for row in rows {
        insert.write(row).await?;
    }
    insert.end().await
}

pub(crate) async fn rows_are_inserted_and_read_back(case: Case) {
    let client = case.client();
    client.query(CREATE).execute().await.unwrap();
    let rows = events(0..5000);
    insert(&client, &rows, "all").await.unwrap();
    let query = client.query("SELECT ?fields FROM events ORDER BY id");
    assert_eq!(query.fetch_all::<Event>().await.unwrap(), rows);
}

pub(crate) async fn values_are_bound_by_both_ways(case: Case) {
    let client = case.client();
    let bound = client.query("SELECT toString(?), length(?)").bind("it's ?").bind([1_u8, 2].as_slice());
    assert_eq!(bound.fetch_one::<(String, u64)>().await.unwrap(), ("it's ?".to_owned(), 2));

    let text = "line\nbreak\ttab \\ quote' é";
    let placed =
        client.query("SELECT {text:String}, arraySum({ids:Array(UInt8)})").param("text", text).param("ids", vec![1, 2]);
    assert_eq!(placed.fetch_one::<(String, u64)>().await.unwrap(), (text.to_owned(), 3));
}

pub(crate) async fn a_failure_carries_clickhouses_code(case: Case) {
    let client = case.client();
    let code = async |sql: &str| match client.query(sql).execute().await {
        Err(Error::BadResponse(text)) => text.split(". ").next().unwrap().to_owned(),
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(code("SELECT * FROM nowhere").await, "Code: 60");
    assert_eq!(code("SELEC 1").await, "Code: 62");
    assert_eq!(code("SELECT throwIf(1, 'x')").await, "Code: 395");
    let stranger = client.clone().with_password("wrong");
    let refused = stranger.query("SELECT 1").execute().await.unwrap_err().to_string();
    assert!(refused.contains("Code: 516."), "{refused}");
}

pub(crate) async fn a_row_that_does_not_fit_its_table_is_refused(case: Case) {
    let client = case.client();
    client.query("CREATE TABLE events (id String) ENGINE = Memory").execute().await.unwrap();
    let refused = insert(&client, &events(0..1), "t").await.unwrap_err();
    assert!(matches!(refused, Error::SchemaMismatch(_)), "{refused:?}");
}

pub(crate) async fn a_batch_sent_twice_under_one_token_counts_once_in_its_rollup_too(case: Case) {
    let client = case.client();
    let statements = [
        CREATE,
        "CREATE TABLE rollup (team String, events UInt64, cost Int64) ENGINE = SummingMergeTree ORDER BY team \
         SETTINGS non_replicated_deduplication_window = 100",
        "CREATE MATERIALIZED VIEW to_rollup TO rollup AS \
         SELECT team, count() AS events, sum(events.cost) AS cost FROM events GROUP BY team",
    ];
    for statement in statements {
        client.query(statement).execute().await.unwrap();
    }
    let (first, second) = (events(0..2000), events(2000..3000));
    for (rows, token) in [(&first, "1"), (&first, "1"), (&second, "2"), (&first, "1"), (&second, "2")] {
        insert(&client, rows, token).await.unwrap();
    }
    let expected = (3000, -(0..3000_i64).sum::<i64>());
    let raw = client.query("SELECT count(), sum(cost) FROM events").fetch_one::<(u64, i64)>().await.unwrap();
    let rollup = client.query("SELECT sum(events), sum(cost) FROM rollup").fetch_one::<(u64, i64)>().await.unwrap();
    assert_eq!((raw, rollup), (expected, expected));
}

pub(crate) async fn many_statements_run_side_by_side(case: Case) {
    let client = &case.client();
    let tasks = (0..16_u64).map(|task| async move {
        for round in 0..10 {
            let number = task * 1000 + round;
            let query = client.query("SELECT sum(number) FROM numbers(?)").bind(number);
            assert_eq!(query.fetch_one::<u64>().await.unwrap(), (0..number).sum::<u64>());
        }
    });
    futures_util::future::join_all(tasks).await;
}
