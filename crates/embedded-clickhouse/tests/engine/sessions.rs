//! Requests with a `session_id`.

use std::time::{Duration, Instant};

use crate::Case;
use crate::http::{Http, encoded};

impl Case {
    /// The URL's query of a session of this case's own.
    fn session(&self) -> String {
        format!("session_id={}", self.database)
    }
}

/// Creates a temporary table, which only its session can see.
async fn mark(http: &Http, session: &str) {
    http.ok(session, "CREATE TEMPORARY TABLE mark (a UInt8)").await;
}

const MARKED: &str = "SELECT count() FROM mark";

pub(crate) async fn temporary_tables_live_as_long_as_their_session(case: Case) {
    let (http, session) = (case.http(), case.session());
    assert_eq!(http.code(&format!("{session}&session_check=1"), "SELECT 1").await, 372);
    mark(&http, &session).await;
    http.ok(&session, "INSERT INTO mark VALUES (1)").await;
    assert_eq!(http.ok(&session, MARKED).await, "1\n");
    assert_eq!(http.code("", MARKED).await, 60);
    assert_eq!(http.code(&format!("{session}_2"), MARKED).await, 60);

    assert_eq!(http.ok(&format!("{session}&close_session=1"), MARKED).await, "1\n");
    assert_eq!(http.code(&session, MARKED).await, 60);
    assert_eq!(http.code(&format!("{session}&session_timeout=999999"), "SELECT 1").await, 374);
}

pub(crate) async fn a_requests_settings_and_database_do_not_stay_in_its_session(case: Case) {
    let (http, session) = (Http::new(case.addr).with_password(), case.session());
    http.ok(&session, "SET max_threads = 3, join_algorithm = 'hash,partial_merge'").await;
    http.ok(&session, &format!("USE {}", case.database)).await;
    let state = "SELECT currentDatabase(), getSetting('max_threads'), getSetting('join_algorithm'), \
                 getSetting('max_block_size')";
    let before = http.ok(&session, state).await;
    assert!(before.starts_with(&format!("{}\t3\thash,partial_merge\t", case.database)), "{before}");
    let changed = format!("{session}&database=system&max_threads=5&join_algorithm=hash&max_block_size=77");
    assert_eq!(http.ok(&changed, state).await, "system\t5\thash\t77\n");
    assert_eq!(http.ok(&session, state).await, before);

    // A failure undoes what it had set, too.
    assert_eq!(http.code(&changed, "SELECT * FROM nowhere").await, 60);
    assert_eq!(http.code(&format!("{changed}&no_such_setting=1"), state).await, 115);
    assert_eq!(http.ok(&session, state).await, before);
}

pub(crate) async fn a_session_that_only_reads_can_write_afterwards(case: Case) {
    let (http, session) = (case.http(), case.session());
    mark(&http, &session).await;
    let get = async |sql: &str| http.send("GET", &format!("{session}&query={}", encoded(sql)), "").await;
    assert_eq!(get(MARKED).await.text(), "0\n");
    for writes in ["INSERT INTO mark VALUES (1)", "DROP TABLE mark", "CREATE TABLE t (a UInt8) ENGINE = Memory", "?"] {
        assert_eq!(get(writes).await.code(), 164, "{writes}");
        assert_eq!(http.code(&format!("{session}&readonly=1"), writes).await, 164, "{writes}");
    }
    http.ok(&session, "INSERT INTO mark VALUES (1)").await;
    assert_eq!(get(MARKED).await.text(), "1\n");
}

pub(crate) async fn a_busy_session_is_locked(case: Case) {
    let (http, session) = (case.http(), case.session());
    mark(&http, &session).await;
    // Each may be refused because of the other; the long one tries until it has held the session for a second.
    let long = async { while http.code(&session, "SELECT sleep(1)").await == 373 {} };
    let short = async {
        let deadline = Instant::now() + Duration::from_secs(20);
        while http.code(&session, "SELECT 1").await != 373 {
            assert!(Instant::now() < deadline, "the session was never locked");
        }
    };
    tokio::join!(long, short);
    assert_eq!(http.ok(&session, MARKED).await, "0\n");
}

/// Needs a server that keeps two sessions and has none: only eviction can make room for a third.
pub(crate) async fn idle_sessions_are_evicted(http: &Http) {
    for id in ["a", "b"] {
        http.ok(&format!("session_id={id}&session_timeout=1"), "CREATE TEMPORARY TABLE mark (a UInt8)").await;
    }
    assert_eq!(http.code("session_id=c", "SELECT 1").await, 202);
    let deadline = Instant::now() + Duration::from_secs(30);
    while http.code("session_id=c", "SELECT 1").await != 0 {
        assert!(Instant::now() < deadline, "no session was evicted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(http.code("session_id=a&session_check=1", "SELECT 1").await, 372);
}
