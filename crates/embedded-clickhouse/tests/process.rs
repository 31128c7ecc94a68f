//! The engine in a process of its own, through the example `serve`, which calls `run` with a watch on its input.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sandbox::{Locations, Progress};

/// The engine, fetched where this machine does not have it yet.
fn library() -> PathBuf {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (locations, progress) = (Locations::from_env().unwrap(), Progress::silent());
    runtime.block_on(sandbox::clickhouse_engine(&locations, &progress)).unwrap()
}

/// A process that is killed if its test fails before it has ended.
struct Serve(Child);

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Serve {
    fn spawn(data: &Path) -> Self {
        // Cargo builds a package's examples along with its tests, two directories above the test's own binary.
        let test = std::env::current_exe().unwrap();
        let serve = test.ancestors().nth(2).unwrap().join("examples/serve");
        let mut command = Command::new(serve);
        command.arg(library()).arg(data).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits until it takes requests.
    fn addr(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, for a while.
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends a statement without waiting for its answer.
fn ask(addr: SocketAddr, sql: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    let length = sql.len();
    write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{sql}").unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_ends_with_its_parents_pipe() {
    let data = tempfile::tempdir().unwrap();
    let mut serve = Serve::spawn(data.path());
    assert!(answer(ask(serve.addr(), "SELECT 41 + 1")).ends_with("\r\n\r\n42\n"));
    // What the operating system does to the pipe of a parent that died.
    drop(serve.0.stdin.take());
    assert!(serve.ended().success());
}

#[test]
fn a_statement_under_way_is_finished_before_it_ends_at_a_signal() {
    let data = tempfile::tempdir().unwrap();
    let mut serve = Serve::spawn(data.path());
    let addr = serve.addr();
    let statement = ask(addr, "SELECT sleep(1), 42");
    while !answer(ask(addr, "SELECT count() > 1 FROM system.processes")).ends_with("\r\n\r\n1\n") {}
    // The terminal's interrupt is the parent's business.
    serve.signal("INT");
    assert!(answer(ask(addr, "SELECT 1")).ends_with("\r\n\r\n1\n"));
    serve.signal("TERM");
    assert!(answer(statement).ends_with("\r\n\r\n0\t42\n"));
    assert!(serve.ended().success());
}

#[test]
fn a_second_process_on_the_same_directory_fails_and_what_was_stored_outlives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Serve::spawn(data.path());
    let addr = first.addr();
    for sql in ["CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a", "INSERT INTO t VALUES (1), (2)"] {
        assert!(answer(ask(addr, sql)).starts_with("HTTP/1.1 200 "));
    }
    assert!(!Serve::spawn(data.path()).ended().success());
    assert!(answer(ask(addr, "SELECT count() FROM t")).ends_with("\r\n\r\n2\n"));

    first.0.kill().unwrap();
    first.ended();
    let mut second = Serve::spawn(data.path());
    assert!(answer(ask(second.addr(), "SELECT count() FROM t")).ends_with("\r\n\r\n2\n"));
}
