//! `dev` from outside: a whole system comes up, runs a job, is found healthy, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "what tests call is a test too")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use tollgate::stack::Endpoints;

/// A first start may compete with the build of other tests for two cores.
const LONG: Duration = Duration::from_secs(90);

/// A child that is killed if its test fails.
struct Dev {
    child: std::process::Child,
    dir: tempfile::TempDir,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dev {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = |name: &str| Stdio::from(std::fs::File::create(dir.path().join(name)).unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["dev", "--teams", "search,marketing", "--profile", "instant", "--dir"])
            .arg(dir.path().join("stack"))
            .arg("--ready-file")
            .arg(dir.path().join("ready.json"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(out("stdout"))
            .stderr(out("stderr"))
            .spawn()
            .unwrap();
        Dev { child, dir }
    }

    async fn endpoints(&mut self) -> Endpoints {
        let file = self.dir.path().join("ready.json");
        until("the ready file", || {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.said("stderr"));
            file.exists()
        })
        .await;
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    async fn ended(&mut self) -> ExitStatus {
        until("its end", || self.child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap()
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Processes that hold the directory's name in their command line: every server of the stack does.
fn left_over(dir: &Path) -> Vec<PathBuf> {
    let dir = dir.to_str().unwrap().to_owned();
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let uses = |process: &PathBuf| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&dir)
    };
    processes.filter(uses).collect()
}

#[tokio::test]
async fn a_job_is_answered_the_doctor_is_content_and_an_interrupt_stops_everything() {
    let mut dev = Dev::start();
    let endpoints = dev.endpoints().await;
    assert!(dev.said("stdout").contains(&endpoints.nats.url), "{}", dev.said("stdout"));

    let team = &endpoints.nats.teams["search"];
    let options = ConnectOptions::with_user_and_password(team.user.clone(), team.password.clone());
    let client = options.custom_inbox_prefix(&team.inbox_prefix).connect(&endpoints.nats.url).await.unwrap();
    let mut replies = client.subscribe("reply.search.1").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "search:1");
    let job = r#"{"custom_id": "q", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "fast", "messages": [{"role": "user", "content": "Say hello."}]},
        "tollgate": {"version": 1, "reply_to": "reply.search.1"}}"#;
    let accepted = client.request_with_headers("tollgate.jobs.standard.search", headers, job.into()).await.unwrap();
    assert!(String::from_utf8_lossy(&accepted.payload).contains("TOLLGATE_JOBS"), "{accepted:?}");
    let reply = tokio::time::timeout(LONG, replies.next()).await.unwrap().unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!((&reply["custom_id"], &reply["tollgate"]["status"]), (&"q".into(), &"succeeded".into()), "{reply}");

    let mut doctor = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    doctor
        .args(["doctor", "--probe", "--output", "json", "--config"])
        .arg(&endpoints.config)
        .current_dir(dev.dir.path());
    let report = doctor.output().await.unwrap();
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&report.stdout).unwrap();
    let not_ok: Vec<_> =
        findings.iter().filter(|f| f["verdict"] != "ok").map(|f| f["check"].as_str().unwrap()).collect();
    assert_eq!((report.status.code(), not_ok), (Some(0), vec!["nats.durability"]), "{findings:#?}");

    assert!(!left_over(&endpoints.dir).is_empty(), "the search finds what runs");
    kill("-INT", dev.child.id());
    assert_eq!(dev.ended().await.code(), Some(0), "{}", dev.said("stderr"));
    assert_eq!(left_over(&endpoints.dir), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn nothing_outlives_a_dev_that_is_killed() {
    let mut dev = Dev::start();
    let endpoints = dev.endpoints().await;
    kill("-KILL", dev.child.id());
    dev.ended().await;
    until("the end of all processes", || left_over(&endpoints.dir).is_empty()).await;
}

#[tokio::test]
async fn a_server_that_ends_by_itself_ends_dev_with_its_name() {
    for (name, pid) in [
        ("nats-server", (|e| e.nats.pid) as fn(&Endpoints) -> u32),
        ("ClickHouse", |e| e.clickhouse.pid.expect("it is the embedded one")),
    ] {
        let mut dev = Dev::start();
        let endpoints = dev.endpoints().await;
        kill("-KILL", pid(&endpoints));
        assert_eq!(dev.ended().await.code(), Some(1), "{}", dev.said("stderr"));
        let said = dev.said("stderr");
        assert!(said.contains(&format!("{name} ended: signal: 9")), "{said}");
        until("the end of all processes", || left_over(&endpoints.dir).is_empty()).await;
    }
}
