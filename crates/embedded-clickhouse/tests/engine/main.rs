//! The whole crate against the real engine, over real sockets.
//!
//! A process can run one engine on one directory, so all cases share one server; each has a database of its own, and
//! they run at the same time. Afterwards the server is stopped and started again on its data.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod http;
mod interface;
mod sessions;

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use embedded_clickhouse::{Config, Limits, Server};
use futures_util::FutureExt;
use sandbox::{Locations, Progress};

use crate::http::Http;

const USER: &str = "ada";
const PASSWORD: &str = "open:sesame";

/// Small enough that the cases reach them quickly.
fn limits() -> Limits {
    Limits {
        body_bytes_max: 8 << 20,
        result_bytes_max: 32 << 20,
        session_idle: Duration::from_secs(30),
        ..Limits::default()
    }
}

/// What a case gets: the server's address, and a database that is its own.
struct Case {
    addr: SocketAddr,
    database: String,
}

impl Case {
    /// The `clickhouse` crate's client, as the product uses it.
    fn client(&self) -> clickhouse::Client {
        clickhouse::Client::default()
            .with_url(format!("http://{}", self.addr))
            .with_user(USER)
            .with_password(PASSWORD)
            .with_database(&self.database)
    }

    /// A bare HTTP client that gives the right password.
    fn http(&self) -> Http {
        let http = Http::new(self.addr).header("X-ClickHouse-User", USER).header("X-ClickHouse-Key", PASSWORD);
        http.header("X-ClickHouse-Database", &self.database)
    }
}

type Run = fn(Case) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        [$((stringify!($case), (|case| Box::pin($module::$case(case))) as Run)),*]
    };
}

const CASES: &[(&str, Run)] = &cases![
    client::rows_are_inserted_and_read_back,
    client::values_are_bound_by_both_ways,
    client::a_failure_carries_clickhouses_code,
    client::a_row_that_does_not_fit_its_table_is_refused,
    client::a_batch_sent_twice_under_one_token_counts_once_in_its_rollup_too,
    client::many_statements_run_side_by_side,
    interface::a_ping_needs_no_password,
    interface::every_way_to_give_the_password_works_and_none_is_refused,
    interface::formats_parameters_and_settings_work_over_plain_http,
    interface::an_insert_takes_its_data_from_anywhere,
    interface::statements_without_an_answer_succeed,
    interface::bodies_and_answers_are_compressed_in_every_way,
    interface::an_answers_headers_say_what_was_done,
    interface::a_get_does_not_write,
    interface::what_would_silently_go_wrong_is_refused,
    interface::hostile_bodies_are_refused_and_the_server_goes_on,
    interface::limits_hold,
    interface::an_upload_that_breaks_off_inserts_nothing,
    sessions::temporary_tables_live_as_long_as_their_session,
    sessions::a_requests_settings_and_database_do_not_stay_in_its_session,
    sessions::a_session_that_only_reads_can_write_afterwards,
    sessions::a_busy_session_is_locked,
];

#[test]
fn the_engine_serves_clickhouses_http_interface() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(all_cases());
}

async fn all_cases() {
    let library = sandbox::clickhouse_engine(&Locations::from_env().unwrap(), &Progress::silent()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let config = Config {
        user: USER.to_owned(),
        password: Some(PASSWORD.into()),
        limits: limits(),
        ..Config::new(library, data.path().join("data"))
    };
    let server = Server::start(config.clone()).await.unwrap();

    let addr = server.addr();
    let runs = CASES.iter().enumerate().map(|(number, (name, run))| async move {
        let case = Case { addr, database: format!("case_{number}") };
        let admin = Http { headers: Vec::new(), ..case.http() }.with_password();
        admin.ok("", &format!("CREATE DATABASE {}", case.database)).await;
        let limit = Duration::from_secs(120);
        let outcome = AssertUnwindSafe(tokio::time::timeout(limit, run(case))).catch_unwind().await;
        (*name, matches!(outcome, Ok(Ok(()))))
    });
    let outcomes = futures_util::future::join_all(runs).await;
    let failed: Vec<&str> = outcomes.iter().filter(|(_, passed)| !passed).map(|(name, _)| *name).collect();
    assert!(failed.is_empty(), "failed, or not done in time: {failed:#?}");

    server.shutdown().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "nothing listens after the shutdown");

    let limits = Limits { sessions_max: 2, ..limits() };
    let server = Server::start(Config { limits, ..config }).await.unwrap();
    let http = Http::new(server.addr()).with_password();
    let databases = http.ok("", "SELECT count() FROM system.databases WHERE name LIKE 'case_%'").await;
    assert_eq!(databases, format!("{}\n", CASES.len()), "the data is there after a restart");
    sessions::idle_sessions_are_evicted(&http).await;
    server.shutdown().await;
}
