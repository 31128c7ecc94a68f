//! The program from outside: help, exit codes, where its output goes, and how it waits for a server that is away.

#![allow(clippy::unwrap_used, reason = "what tests call is a test too")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

/// The program in an empty directory, with no variable of ours.
fn tollgate(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(args).current_dir(dir).env_clear().env("HOME", dir).stdin(Stdio::null());
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    tollgate(dir, args).output().unwrap()
}

fn empty() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn shells_complete_it_and_every_command_has_a_manual_page() {
    let dir = empty();
    for (shell, sign) in
        [("bash", "complete -F _tollgate"), ("zsh", "#compdef tollgate"), ("fish", "complete -c tollgate")]
    {
        let script = run(dir.path(), &["completions", shell]);
        assert!(script.status.success() && text(&script.stdout).contains(sign), "{shell}");
    }
    let page = text(&run(dir.path(), &["man"]).stdout);
    assert!(page.contains(".TH tollgate 1") && page.contains("reconcile"), "{page}");
    assert!(run(dir.path(), &["man", "--dir", "pages"]).status.success());
    for page in ["tollgate.1", "tollgate-serve.1", "tollgate-usage-export.1"] {
        let page = std::fs::read_to_string(dir.path().join("pages").join(page)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn every_command_has_help() {
    let dir = empty();
    let commands = [
        vec![],
        vec!["serve"],
        vec!["completions"],
        vec!["man"],
        vec!["webhook"],
        vec!["webhook", "replay"],
        vec!["init"],
        vec!["config"],
        vec!["config", "check"],
        vec!["config", "show"],
        vec!["config", "example"],
        vec!["config", "apply"],
        vec!["budget"],
        vec!["budget", "set"],
        vec!["budget", "raise"],
        vec!["queue", "pause"],
        vec!["team", "remove"],
        vec!["job", "explain"],
        vec!["batch"],
        vec!["batch", "submit"],
        vec!["batch", "results"],
        vec!["dead", "replay"],
        vec!["doctor"],
        vec!["dev"],
        vec!["sim-provider"],
        vec!["embedded-clickhouse"],
    ];
    for command in commands {
        let answer = run(dir.path(), &[&command[..], &["--help"]].concat());
        assert!(answer.status.success(), "{command:?}");
        let help = text(&answer.stdout);
        assert!(help.contains("Usage: tollgate") && help.contains("--output"), "{command:?}: {help}");
        assert!(answer.stderr.is_empty(), "{command:?}");
    }
    let version = run(dir.path(), &["--version"]);
    assert_eq!(text(&version.stdout), concat!("tollgate ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let dir = empty();
    for args in [&["serf"][..], &["serve", "--roles", "cook"], &[]] {
        assert_eq!(run(dir.path(), args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_wrong_configuration_is_exit_code_2_with_every_mistake() {
    let dir = empty();
    std::fs::write(dir.path().join("tollgate.toml"), "[worker]\nconcurrency = 0\nack = 1\n").unwrap();
    for args in [&["config", "check"][..], &["serve"], &["init"], &["doctor"]] {
        let answer = run(dir.path(), args);
        assert_eq!(answer.status.code(), Some(2), "{args:?}");
        assert!(answer.stdout.is_empty(), "{args:?}");
        let said = text(&answer.stderr);
        for part in ["tollgate.toml has 2 problem(s)", "line 2: worker.concurrency", "line 3: worker.ack", "try: "] {
            assert!(said.contains(part), "{args:?}: {part} is missing in {said}");
        }
    }
}

#[test]
fn the_example_is_a_configuration_and_is_shown_with_its_origins() {
    let dir = empty();
    let example = run(dir.path(), &["config", "example"]);
    std::fs::write(dir.path().join("t.toml"), &example.stdout).unwrap();
    let check = tollgate(dir.path(), &["config", "check", "--config", "t.toml"]).env("OPENAI_API_KEY", "sk-1").output();
    assert_eq!(check.unwrap().status.code(), Some(0));
    let check = run(dir.path(), &["config", "check", "--config", "t.toml"]);
    assert_eq!(check.status.code(), Some(2), "the key is missing");
    assert!(text(&check.stderr).contains("OPENAI_API_KEY"));
    let shown = tollgate(dir.path(), &["config", "show", "--config", "t.toml", "-o", "json", "-s", "nats://flag:1"]);
    let shown = { shown }.env("CLICKHOUSE_PASSWORD", "hunter2").output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let of = |key: &str| shown.as_array().unwrap().iter().find(|s| s["key"] == key).unwrap()["origin"].clone();
    assert_eq!(of("nats.url"), "flag --server");
    assert_eq!(of("clickhouse.password"), "env CLICKHOUSE_PASSWORD");
    assert!(of("worker.concurrency").as_str().unwrap().starts_with("file, line "));
    assert!(!shown.to_string().contains("hunter2"));
}

#[test]
fn a_server_that_is_away_is_exit_code_3_with_what_to_try() {
    let dir = empty();
    let server = format!("nats://127.0.0.1:{}", free_port());
    let answer = run(dir.path(), &["init", "--server", &server]);
    assert_eq!(answer.status.code(), Some(3));
    let said = text(&answer.stderr);
    assert!(said.contains(&format!("error: cannot reach NATS at {server}")) && said.contains("try: "), "{said}");
    let report = run(dir.path(), &["doctor", "--server", &server, "-o", "json"]);
    assert_eq!(report.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    let nats = report.as_array().unwrap().iter().find(|f| f["check"] == "nats.connection").unwrap();
    assert_eq!(nats["verdict"], "fail");
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A broker whose NATS is away; killed if its test fails.
struct Waiting {
    child: Child,
    addr: SocketAddr,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Waiting {
    fn start(dir: &Path) -> Self {
        std::fs::write(
            dir.join("tollgate.toml"),
            "[providers.sim]\nbase_url = \"http://127.0.0.1:9/v1\"\nfree = true\n",
        )
        .unwrap();
        let server = format!("nats://127.0.0.1:{}", free_port());
        let args = ["serve", "--server", &server, "--listen", "127.0.0.1:0"];
        let mut child = tollgate(dir, &args).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let addr = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("addr=")?;
            Some(rest.split_whitespace().next().unwrap().parse().unwrap())
        });
        // Nobody reads on, and a full pipe would stop the child.
        std::thread::spawn(move || lines.for_each(drop));
        Waiting { child, addr: addr.expect("it says where it listens") }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_broker_without_nats_is_alive_says_why_it_is_not_ready_and_stops_when_asked() {
    let dir = empty();
    let mut broker = Waiting::start(dir.path());
    assert!(broker.get("/livez").starts_with("HTTP/1.1 200"));
    let deadline = Instant::now() + LONG;
    loop {
        let ready = broker.get("/readyz");
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        if ready.contains("cannot reach NATS at nats://127.0.0.1") {
            break;
        }
        assert!(Instant::now() < deadline, "{ready}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let signalled = Command::new("kill").args(["-TERM", &broker.child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_batch_is_checked_and_priced_without_any_server() {
    let dir = empty();
    let line = |id: &str, model: &str| {
        format!(
            r#"{{"custom_id":"{id}","method":"POST","url":"/v1/chat/completions","body":{{"model":"{model}","max_tokens":10,"messages":[{{"role":"user","content":"x"}}]}}}}"#
        )
    };
    let good = format!("{}\n{}\n", line("a", "gpt-4o-mini"), line("b", "nobody-knows-it"));
    std::fs::write(dir.path().join("good.jsonl"), good).unwrap();
    let answer = run(dir.path(), &["batch", "submit", "good.jsonl", "--dry-run", "--output", "json"]);
    assert_eq!(answer.status.code(), Some(0), "{}", text(&answer.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((rows[0]["model"].as_str(), rows[0]["requests"].as_u64()), (Some("gpt-4o-mini"), Some(1)), "{rows}");
    assert!(rows[1]["most_usd"].is_null(), "without a price nothing is guessed: {rows}");
    assert!(text(&answer.stderr).contains("nothing was submitted"));

    let bad = format!("{}\n{{\n{}\n", line("a", "m"), line("a", "m"));
    std::fs::write(dir.path().join("bad.jsonl"), bad).unwrap();
    let answer = run(dir.path(), &["batch", "submit", "bad.jsonl", "--dry-run", "--output", "json"]);
    assert_eq!(answer.status.code(), Some(2));
    let list: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(list["object"], "list");
    let found = |at: usize| (list["data"][at]["line"].as_u64(), list["data"][at]["code"].as_str());
    assert_eq!([found(0), found(1)], [(Some(2), Some("invalid_json_line")), (Some(3), Some("duplicate_custom_id"))]);
    for wrong in ["none.jsonl", "."] {
        assert_eq!(run(dir.path(), &["batch", "submit", wrong, "--dry-run"]).status.code(), Some(2), "{wrong}");
    }
}
