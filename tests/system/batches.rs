//! Batches through the command line, over real processes: whoever is killed, each line of the file is in the output once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use testkit::eventually;
use tollgate_types::batch::BatchDone;

use crate::harness::System;

const LONG: Duration = Duration::from_secs(120);
const PROFILE: &str = r#"
[worker]
ack_wait = "3s"
concurrency = 24
"#;

/// The program as a team's user.
fn tollgate(system: &System, team: &str, args: &[&str]) -> Command {
    let endpoints = system.stack.endpoints();
    let access = &endpoints.nats.teams[team];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("batch").args(args).args(["--team", team]).current_dir(system.stack.dir()).stdin(Stdio::null());
    command.env("NATS_URL", &endpoints.nats.url).env("NATS_USER", &access.user).env("NATS_PASSWORD", &access.password);
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
}

async fn run(system: &System, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = output(tollgate(system, "search", args)).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

async fn submitted(system: &System, args: &[&str]) -> String {
    let (code, stdout, stderr) = run(system, &[&["submit"], args].concat()).await;
    assert_eq!(code, Some(0), "{stderr}");
    stdout.trim().to_owned()
}

async fn status(system: &System, id: &str) -> Value {
    let (_, stdout, stderr) = run(system, &["status", id, "--output", "json"]).await;
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}"))
}

/// A file of OpenAI's lines; every tenth asks for a model that nobody serves.
fn file(path: &Path, lines: usize, directive: &str) {
    let line = |n: usize| {
        let model = if n.is_multiple_of(10) { "nobody-serves-this" } else { "gpt-4o-mini" };
        let body = json!({ "model": model, "max_tokens": 20, "messages": [{ "role": "user", "content": format!("question {n}") }],
            "metadata": { "sim": directive } });
        json!({ "custom_id": format!("q-{n}"), "method": "POST", "url": "/v1/chat/completions", "body": body })
            .to_string()
    };
    std::fs::write(path, (0..lines).map(|n| line(n) + "\n").collect::<String>()).expect("the file is written");
}

/// How often each name stands in a file of results.
fn names(paths: &[&Path]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for path in paths {
        for line in std::fs::read_to_string(path).expect("results").lines() {
            let line: Value = serde_json::from_str(line).expect("each line is JSON");
            *names.entry(line["custom_id"].as_str().expect("a name").to_owned()).or_default() += 1;
        }
    }
    names
}

fn each_once(paths: &[&Path], lines: usize) {
    let names = names(paths);
    assert_eq!(names.len(), lines);
    assert!(names.values().all(|&count| count == 1), "no line is there twice");
}

/// Starts it, and kills it when `when` holds, or says that it ended before.
async fn killed_when(mut command: Command, mut when: impl FnMut() -> bool) -> bool {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let begun = Instant::now();
    loop {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        if when() {
            child.kill().expect("it is killed");
            child.wait().expect("it is dead");
            return true;
        }
        assert!(begun.elapsed() < LONG, "it neither ended nor came so far");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_each_line_is_in_the_output_once() {
    const LINES: usize = 4000;
    let mut system = System::start("status=503@0.01", PROFILE).await;
    let dir = system.stack.dir().to_owned();
    let (input, out, errors) = (dir.join("in.jsonl"), dir.join("out.jsonl"), dir.join("errors.jsonl"));
    file(&input, LINES, "delay=5ms");
    let mut done =
        system.producer("search").await.client().subscribe("tollgate.batches.search.*.done").await.expect("allowed");

    // Killed while it submits, at several points: as soon as so many calls arrived at the provider.
    let log = system.stack.endpoints().sim.log;
    let calls = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let mut submitters_killed = 0;
    for calls_min in [1, 40, 120] {
        let killed = killed_when(tollgate(&system, "search", &["submit", "in.jsonl"]), || calls() >= calls_min).await;
        submitters_killed += usize::from(killed);
    }
    assert!(submitters_killed > 0, "no submitter was killed while it submitted");
    // Two who count and run jobs die at every step, and are started again.
    std::fs::write(system.crash_plan(), "B0:0.2,B1:0.2,C4:0.002,C6:0.002").expect("the plan is written");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    let id = submitted(&system, &["in.jsonl"]).await;
    assert_eq!(submitted(&system, &["in.jsonl"]).await, id, "the same file is the same batch");

    // Results are written meanwhile by one who is killed again and again.
    let written = || std::fs::read_to_string(&out).map_or(0, |text| text.lines().count());
    let args = ["results", &id, "--wait", "--out", "out.jsonl", "--errors", "errors.jsonl"];
    let begun = Instant::now();
    let mut kills = 0;
    while kills < 4 {
        let before = written();
        let reader = tollgate(&system, "search", &args);
        let enough = || {
            system.nurse();
            written() > before + 150 || begun.elapsed() > LONG
        };
        if !killed_when(reader, enough).await {
            break;
        }
        kills += 1;
    }
    assert!(kills > 0, "nobody was killed while results were written");
    let hits = crate::chaos::hits(&system, &["B0", "B1"]);
    assert!(hits.len() == 2, "nobody who counts died at every step: {hits:?}");
    eprintln!("submitters killed: {submitters_killed}, readers: {kills}, counters: {hits:?}");
    std::fs::remove_file(system.crash_plan()).expect("the plan is removed");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    let (code, _, stderr) =
        run(&system, &["resume", &id, "--wait", "--out", "out.jsonl", "--errors", "errors.jsonl"]).await;
    assert_eq!(code, Some(1), "some have no answer: {stderr}");
    each_once(&[&out, &errors], LINES);
    assert_eq!(names(&[&errors]).len(), LINES / 10);
    let first: Value =
        serde_json::from_str(std::fs::read_to_string(&out).expect("results").lines().next().expect("a line"))
            .expect("JSON");
    assert!(first["response"]["body"]["choices"][0]["message"]["content"].is_string(), "{first}");

    let standing = status(&system, &id).await;
    let counts =
        [&standing["state"], &standing["ends"]["succeeded"], &standing["ends"]["rejected"], &standing["ended"]];
    assert_eq!(counts, [&json!("completed"), &json!(LINES * 9 / 10), &json!(LINES / 10), &json!(LINES)], "{standing}");
    let heard = done.next().await.expect("the end is announced");
    let heard: BatchDone = serde_json::from_slice(&heard.payload).expect("readable");
    assert_eq!((heard.batch.as_str(), heard.jobs), (id.as_str(), LINES as u64));
    booked_as_counted(&system, &id, standing["cost_nanousd"].as_i64().expect("a cost")).await;
    system.stop().await;
}

/// What the batch counted is what the log says, whatever crashed.
async fn booked_as_counted(system: &System, id: &str, counted: i64) {
    let (_, entries) = crate::harness::whole_log(&system.core().await).await;
    let of_it =
        entries.iter().filter_map(|entry| entry.event.as_ref().ok()).filter(|event| event.job.as_str().starts_with(id));
    let booked: i64 = of_it.map(|event| event.cost().0).sum();
    assert_eq!(counted, booked, "the cost of the batch is what its records say");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_cancelled_capped_and_tried_again() {
    let system = System::start("", PROFILE).await;
    let dir = system.stack.dir().to_owned();
    file(&dir.join("slow.jsonl"), 1000, "delay=400ms");
    let id = submitted(&system, &["slow.jsonl"]).await;
    assert_eq!(status(&system, &id).await["state"], "in_progress");
    assert_eq!(run(&system, &["cancel", &id]).await.0, Some(0));
    let (code, _, stderr) = run(&system, &["results", &id, "--wait", "--out", "slow-out.jsonl"]).await;
    assert_eq!(code, Some(1), "{stderr}");
    let standing = status(&system, &id).await;
    assert_eq!((&standing["state"], &standing["ended"]), (&json!("cancelled"), &json!(1000)), "{standing}");
    assert!(standing["ends"]["cancelled"].as_u64() > Some(500), "{standing}");
    each_once(&[&dir.join("slow-out.jsonl")], 1000);
    let text = std::fs::read_to_string(dir.join("slow-out.jsonl")).expect("results");
    assert!(text.contains("batch_cancelled"), "as OpenAI names it");
    let (code, _, stderr) = run(&system, &["submit", "slow.jsonl"]).await;
    assert!(code == Some(1) && stderr.contains("--key"), "a cancelled batch does not go on: {stderr}");

    // A cap of a few answers.
    let capped = submitted(&system, &["slow.jsonl", "--key", "capped", "--max-cost", "0.0001"]).await;
    assert_ne!(capped, id);
    let (code, ..) = run(&system, &["watch", &capped]).await;
    let standing = status(&system, &capped).await;
    assert_eq!((code, &standing["state"]), (Some(1), &json!("max_cost")), "{standing}");
    let succeeded = standing["ends"]["succeeded"].as_u64().expect("a count");
    assert!((1..1000).contains(&succeeded), "{standing}");
    file(&dir.join("other.jsonl"), 3, "ok");
    let (code, _, stderr) = run(&system, &["submit", "other.jsonl", "--key", "capped"]).await;
    assert!(code == Some(2) && stderr.contains(&capped), "the key is taken: {stderr}");

    // Those that nobody serves, with a model that somebody serves.
    file(&dir.join("in.jsonl"), 100, "ok");
    let first = submitted(&system, &["in.jsonl"]).await;
    run(&system, &["watch", &first]).await;
    let args = ["retry-errors", &first, "in.jsonl", "--model", "gpt-4o-mini", "--out", "again.jsonl"];
    let (code, _, stderr) = run(&system, &args).await;
    assert_eq!(code, Some(0), "{stderr}");
    let again = names(&[&dir.join("again.jsonl")]);
    let expected: Vec<String> = (0..100).step_by(10).map(|n| format!("q-{n}")).collect();
    assert_eq!(again.keys().cloned().collect::<std::collections::BTreeSet<_>>(), expected.into_iter().collect());
    let (_, stdout, _) = run(&system, &["list", "--output", "json"]).await;
    let listed: Value = serde_json::from_str(&stdout).expect("a list");
    assert_eq!(listed.as_array().map(Vec::len), Some(4), "{stdout}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropics_document_comes_back_as_anthropics_lines() {
    let system = System::start("", PROFILE).await;
    let dir = system.stack.dir().to_owned();
    let request = |n: usize| {
        json!({ "custom_id": format!("q-{n}"), "params": { "model": if n == 0 { "nobody-serves-this" } else { "gpt-4o-mini" },
            "max_tokens": 20, "messages": [{ "role": "user", "content": [{ "type": "text", "text": format!("question {n}") }] }] } })
    };
    let document = json!({ "requests": (0..20).map(request).collect::<Vec<_>>() });
    std::fs::write(dir.join("in.json"), serde_json::to_string_pretty(&document).expect("JSON")).expect("written");
    let args = ["submit", "in.json", "--out", "out.jsonl", "--project", "ranking"];
    let (code, _, stderr) = run(&system, &args).await;
    assert_eq!(code, Some(1), "{stderr}");
    each_once(&[&dir.join("out.jsonl")], 20);
    for line in std::fs::read_to_string(dir.join("out.jsonl")).expect("results").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["custom_id"] == "q-0" {
            assert_eq!(line["result"]["type"], "errored", "{line}");
        } else {
            assert_eq!(line["result"]["message"]["role"], "assistant", "{line}");
            assert!(line["result"]["message"]["usage"]["output_tokens"].as_u64() > Some(0), "{line}");
        }
    }
    // Another team knows nothing of it.
    let listed = eventually("a list", LONG, || async {
        let output = output(tollgate(&system, "marketing", &["list", "--output", "json"])).await;
        output.status.success().then_some(output.stdout)
    });
    assert_eq!(serde_json::from_slice::<Value>(&listed.await).expect("a list"), json!([]));
    system.stop().await;
}
