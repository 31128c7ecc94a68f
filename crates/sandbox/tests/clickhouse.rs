//! How a ClickHouse is started, killed, paused and restarted. The other end of the socket is a stand-in: this very
//! test program, run again. The engine itself is tested where it lives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its fixtures too")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::{ClickHouse, ClickHouseOptions, ClickHouseSource, EmbeddedCommand, Error};
use tokio::net::TcpStream;

/// Given an address, as the commands below do, this one is the engine and does not return; by itself it asks itself.
#[test]
fn the_stand_in_answers_pings() {
    play();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut asking = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    std::thread::spawn(move || serve(&listener));
    asking.write_all(b"GET /ping HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "HTTP/1.0 200 OK\r\n\r\nOk.\n");
}

/// Runs as the engine if the arguments say so.
#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this process is the stand-in then, whose output and end are its answers"
)]
fn play() {
    let args: Vec<String> = std::env::args().collect();
    let after = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let configured = || {
        let file = args.iter().find_map(|arg| arg.strip_prefix("--config-file="))?;
        let config = std::fs::read_to_string(file).unwrap();
        let port = config.split("<http_port>").nth(1)?.split('<').next()?;
        Some(format!("127.0.0.1:{port}"))
    };
    let is_embedded = after("--listen").is_some();
    let Some(listen) = after("--listen").or_else(configured) else { return };
    println!("arguments: {}", args.join(" "));
    let listener = TcpListener::bind(listen).unwrap();
    std::thread::spawn(move || serve(&listener));
    if is_embedded {
        // The engine's lifeline.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        println!("standard input is closed");
        std::process::exit(0);
    }
    loop {
        std::thread::park();
    }
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        // Whoever only looks whether the port is open is gone by now.
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nOk.\n");
    }
}

/// The arguments that make this program run the stand-in alone; what follows counts as further names of tests.
const STAND_IN: [&str; 4] = ["the_stand_in_answers_pings", "--exact", "--nocapture", "--"];

async fn embedded(dir: &Path, before: &[&str]) -> Result<ClickHouse, Error> {
    let command =
        EmbeddedCommand { program: std::env::current_exe().unwrap(), args: before.iter().map(Into::into).collect() };
    let options = ClickHouseOptions { work_dir: dir.join("clickhouse"), embedded: Some(command), port: None };
    ClickHouse::start(&ClickHouseSource::Embedded { library: dir.join("libchdb.so") }, options).await
}

async fn is_open(clickhouse: &ClickHouse) -> bool {
    TcpStream::connect(clickhouse.url().strip_prefix("http://").unwrap()).await.is_ok()
}

#[tokio::test]
async fn the_engine_is_told_everything_but_the_password_by_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let clickhouse = embedded(dir.path(), &STAND_IN).await.unwrap();
    let log = clickhouse.log_tail();
    let listen = clickhouse.url().strip_prefix("http://").unwrap();
    let root = dir.path().canonicalize().unwrap();
    let expected = format!(
        "--library {} --path {} --listen {listen} --user tollgate\n",
        dir.path().join("libchdb.so").display(),
        root.join("clickhouse/data").display(),
    );
    assert!(log.contains(&expected), "{expected} is missing in: {log}");
    assert!(!clickhouse.password().is_empty() && !log.contains(clickhouse.password()));
    assert_eq!(clickhouse.user(), "tollgate");
}

#[tokio::test]
async fn a_killed_engine_comes_back_on_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut clickhouse = embedded(dir.path(), &STAND_IN).await.unwrap();
    let (url, pid) = (clickhouse.url().to_owned(), clickhouse.pid());
    clickhouse.kill9().unwrap();
    assert!(!is_open(&clickhouse).await);
    clickhouse.restart().await.unwrap();
    assert!(is_open(&clickhouse).await);
    assert_eq!(clickhouse.url(), url);
    assert_ne!(clickhouse.pid(), pid);
}

#[tokio::test]
async fn stop_closes_the_engines_standard_input_and_lets_it_end() {
    let dir = tempfile::tempdir().unwrap();
    let clickhouse = embedded(dir.path(), &STAND_IN).await.unwrap();
    clickhouse.stop().await.unwrap();
    let log = std::fs::read_to_string(dir.path().join("clickhouse/clickhouse.log")).unwrap();
    assert!(log.contains("standard input is closed"), "{log}");
}

#[tokio::test]
async fn a_paused_engine_answers_only_after_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let mut clickhouse = embedded(dir.path(), &STAND_IN).await.unwrap();
    clickhouse.pause().unwrap();
    let address = clickhouse.url().strip_prefix("http://").unwrap().to_owned();
    let mut answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /ping HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut answer).await.is_err());
    clickhouse.resume().unwrap();
    assert!(answer.await.unwrap().ends_with("Ok.\n"));
}

#[tokio::test]
async fn an_engine_that_ends_at_once_is_an_error_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let error = embedded(dir.path(), &["--no-such-option"]).await.unwrap_err();
    assert!(matches!(error, Error::Exited { .. }), "{error}");
    assert!(error.to_string().contains("no-such-option"), "{error}");
}

/// A program that is called like the server and runs the stand-in.
fn server_program(dir: &Path, name: &str) -> PathBuf {
    let program = dir.join(name);
    let this = std::env::current_exe().unwrap();
    let script = format!("#!/bin/sh\nexec '{}' {} \"$@\"\n", this.display(), STAND_IN.join(" "));
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[tokio::test]
async fn a_server_program_is_given_a_private_configuration_and_ends_when_asked() {
    for (name, subcommand) in [("clickhouse", " server --config-file="), ("clickhouse-server", " -- --config-file=")] {
        let dir = tempfile::tempdir().unwrap();
        let source = ClickHouseSource::Binary(server_program(dir.path(), name));
        let options = ClickHouseOptions { work_dir: dir.path().join("work"), embedded: None, port: None };
        let clickhouse = ClickHouse::start(&source, options).await.unwrap();
        assert!(is_open(&clickhouse).await);
        assert!(clickhouse.log_tail().contains(subcommand), "{}", clickhouse.log_tail());
        let users = std::fs::read_to_string(dir.path().join("work/users.xml")).unwrap();
        assert!(!users.contains(clickhouse.password()));
        clickhouse.stop().await.unwrap();
    }
}
