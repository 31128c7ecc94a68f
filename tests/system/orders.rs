//! Batches over HTTP: whoever takes the order, submits, counts or runs is killed, and each line is in the output once.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::System;

/// Processes are killed and started again all the time.
const LONG: Duration = Duration::from_secs(240);
const LINES: usize = 1500;
const PROFILE: &str = r#"
[worker]
ack_wait = "3s"
concurrency = 24

[settler]
lease = "1s"
"#;
/// Where the clerk dies, and now and then who counts.
const POINTS: [&str; 3] = ["O0", "O1", "O2"];
const PLAN: &str = "O0:0.4,O1:0.4,O2:0.1,B0:0.02,B1:0.02";

/// The front door, whichever process answers.
struct Door {
    system: System,
    http: reqwest::Client,
    key: String,
}

impl Door {
    async fn open(system: System) -> Door {
        tollgate_providers::install_crypto();
        let config = system.stack.endpoints().config;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["key", "create", "--team", "search", "--name", "orders", "--config"]).arg(config);
        let made = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let key = String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().expect("a client");
        Door { system, http, key }
    }

    /// Asks until somebody answers well, and starts again who died.
    async fn ask(&mut self, make: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder) -> String {
        let begun = Instant::now();
        loop {
            self.system.nurse();
            for broker in self.system.stack.endpoints().brokers {
                let answer = make(&self.http, &broker.url).bearer_auth(&self.key).send().await;
                let Ok(answer) = answer else { continue };
                let (status, text) = (answer.status(), answer.text().await);
                match text {
                    Ok(text) if status.is_success() => return text,
                    Ok(text) => assert!(status.is_server_error(), "{status}: {text}"),
                    Err(_) => {}
                }
            }
            assert!(begun.elapsed() < LONG, "nobody answers");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ask_json(&mut self, make: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder) -> Value {
        serde_json::from_str(&self.ask(make).await).expect("JSON")
    }

    async fn upload(&mut self, lines: &str) -> String {
        let part = |name: &str, value: &str| {
            format!("--part\r\nContent-Disposition: form-data; name=\"{name}\r\n\r\n{value}\r\n")
        };
        let body =
            [part("purpose\"", "batch"), part("file\"; filename=\"in.jsonl\"", lines), "--part--\r\n".to_owned()]
                .concat();
        let kind = "multipart/form-data; boundary=part";
        let file = self
            .ask_json(|http, url| http.post(format!("{url}/v1/files")).header("content-type", kind).body(body.clone()))
            .await;
        assert_eq!(file["bytes"], lines.len(), "{file}");
        file["id"].as_str().expect("an id").to_owned()
    }

    async fn order(&mut self, input: &str, name: &str) -> String {
        let body = json!({ "input_file_id": input, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
        let batch = self
            .ask_json(|http, url| http.post(format!("{url}/v1/batches")).header("idempotency-key", name).json(&body))
            .await;
        batch["id"].as_str().expect("an id").to_owned()
    }

    async fn batch(&mut self, id: &str) -> Value {
        self.ask_json(|http, url| http.get(format!("{url}/v1/batches/{id}"))).await
    }

    async fn until(&mut self, id: &str, what: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let batch = self.batch(id).await;
            if what(&batch) {
                return batch;
            }
            assert!(begun.elapsed() < LONG, "it does not come so far: {batch}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The names in the two files of a batch.
    async fn names(&mut self, batch: &Value) -> Vec<String> {
        let mut names = Vec::new();
        for file in [&batch["output_file_id"], &batch["error_file_id"]] {
            let Some(file) = file.as_str() else { continue };
            let text = self.ask(|http, url| http.get(format!("{url}/v1/files/{file}/content"))).await;
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).expect("each line is JSON");
                names.push(line["custom_id"].as_str().expect("a name").to_owned());
            }
        }
        names
    }

    async fn each_once(&mut self, batch: &Value) {
        let names = self.names(batch).await;
        assert_eq!(names.len(), LINES, "{batch}");
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>().len(), LINES, "no line is there twice");
    }
}

/// OpenAI's lines; every tenth asks for a model that nobody serves.
fn lines(directive: &str) -> String {
    let line = |n: usize| {
        let model = if n.is_multiple_of(10) { "nobody-serves-this" } else { "gpt-4o-mini" };
        let body = json!({ "model": model, "max_tokens": 20, "messages": [{ "role": "user", "content": format!("question {n}") }],
            "metadata": { "sim": directive } });
        let line =
            json!({ "custom_id": format!("q-{n}"), "method": "POST", "url": "/v1/chat/completions", "body": body });
        format!("{line}\n")
    };
    (0..LINES).map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_an_ordered_batch_has_each_line_once() {
    let mut system = System::start("", PROFILE).await;
    std::fs::write(system.crash_plan(), PLAN).expect("the plan is written");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    let mut door = Door::open(system).await;
    let input = door.upload(&lines("delay=2ms")).await;
    let (mut ordered, begun) = (Vec::new(), Instant::now());
    // Until the clerk has died at every step.
    loop {
        let hits = crate::chaos::hits(&door.system, &POINTS);
        if hits.len() == POINTS.len() && ordered.len() >= 2 {
            eprintln!("{} batches; the clerk died at {hits:?}", ordered.len());
            break;
        }
        assert!(begun.elapsed() < LONG, "the clerk did not die at every step: {hits:?}");
        let id = door.order(&input, &format!("order {}", ordered.len())).await;
        door.until(&id, |batch| batch["status"] != "validating" && batch["request_counts"]["completed"] != 0).await;
        ordered.push(id);
    }
    // One that is stopped in the middle of it all.
    let stopped = door.order(&input, "stopped").await;
    door.until(&stopped, |batch| batch["status"] == "in_progress").await;
    door.ask(|http, url| http.post(format!("{url}/v1/batches/{stopped}/cancel"))).await;
    std::fs::remove_file(door.system.crash_plan()).expect("the plan is removed");
    for worker in &mut door.system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    for id in &ordered {
        let batch = door.until(id, |batch| batch["completed_at"].is_i64()).await;
        assert_eq!(batch["status"], "completed", "{batch}");
        assert_eq!(
            batch["request_counts"],
            json!({ "total": LINES, "completed": LINES * 9 / 10, "failed": LINES / 10 })
        );
        door.each_once(&batch).await;
    }
    let batch = door.until(&stopped, |batch| batch["cancelled_at"].is_i64()).await;
    door.each_once(&batch).await;
    door.system.stop().await;
}
