//! What guardrails look for is nowhere but in the job and its result: not in a log, a metric, a row of ClickHouse, an error,
//! or any other stream, after jobs with every kind of it went through a whole system in every way.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use testkit::eventually;
use tollgate_guard::Policy;
use tollgate_queue::Connection;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::subjects;

use crate::harness::{Journal, System, TEAMS, drained, whole_log};

/// One sentence of the corpus in so many is sent; each kind has dozens.
const EVERY: usize = 4;
/// Shorter values, and those of these kinds, are in places of their own accord: loopback addresses, dates.
const LENGTH_MIN: usize = 9;
const KINDS_ELSEWHERE: [&str; 3] = ["date_of_birth", "ipv4", "ipv6"];

struct Sentence {
    text: String,
    values: Vec<String>,
}

fn corpus() -> Vec<Sentence> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guard/tests/corpus");
    let mut sentences = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(path).expect("a file");
            sentences.extend(text.lines().map(sentence));
        }
    }
    sentences.retain(|sentence| !sentence.values.is_empty());
    assert!(sentences.len() > 500, "only {} sentences hold something", sentences.len());
    sentences.into_iter().step_by(EVERY).collect()
}

fn sentence(line: &str) -> Sentence {
    let line: Value = serde_json::from_str(line).expect("a line of the corpus");
    let found = line["found"].as_array().cloned().unwrap_or_default();
    let telling = |label: &Value| {
        let (kind, value) = (label[0].as_str()?, label[1].as_str()?);
        (value.len() >= LENGTH_MIN && !KINDS_ELSEWHERE.contains(&kind)).then(|| value.to_owned())
    };
    let values = found.iter().filter_map(telling).collect();
    Sentence { text: line["text"].as_str().expect("a text").to_owned(), values }
}

/// A line whose answer repeats the sentence, or whose call fails.
fn line(at: usize, text: &str) -> Vec<u8> {
    let directive = if at.is_multiple_of(7) { "status=400" } else { "echo" };
    let body = json!({
        "model": "gpt-4o-mini", "stream": at.is_multiple_of(3), "metadata": {"sim": directive},
        "messages": [{"role": "system", "content": "Repeat."}, {"role": "user", "content": text}],
    });
    // Also what is no job: its bytes go to the dead letters, which are what the producer sent.
    json!({ "custom_id": format!("s-{at}"), "body": body }).to_string().into_bytes()
}

/// One team redacts, one blocks, one only tells.
async fn put_policies(system: &System) {
    let core = system.core().await;
    let context = jetstream::new(core.client.clone());
    let directory = tollgate::connect::directory(&context).await.expect("the live configuration");
    let all = |action: &str| json!({"pii": action, "secrets": action, "prompt_safety": "flag"});
    for ((team, _), action) in TEAMS.into_iter().zip(["redact", "block", "flag"]) {
        let policy = json!({"input": all(action), "output": all(action)});
        let guardrails: Policy = serde_json::from_value(policy).expect("a policy");
        let record = TeamRecord { guardrails, ..TeamRecord::default() };
        let put = directory.put_team(&team.parse().expect("a team"), &record, Expected::Any).await;
        put.expect("the record is valid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guardrails_find_is_in_no_log_metric_row_or_error() {
    let verbose = "info,tollgate=trace,tollgate_worker=trace,tollgate_guard=trace,tollgate_providers=trace,\
                   tollgate_queue=trace,tollgate_sink=trace,tollgate_settler=trace,reqwest=debug,hyper_util=debug";
    let verbose = |options: &mut tollgate::stack::StackOptions| {
        options.broker_envs.push(("TOLLGATE_LOG".into(), verbose.into()));
    };
    let system = System::start_with("", verbose).await;
    put_policies(&system).await;
    let (sentences, journal) = (corpus(), Journal::default());
    for (index, (team, class)) in TEAMS.into_iter().enumerate() {
        let producer = system.producer(team).await;
        let lines = sentences.iter().enumerate().map(|(at, sentence)| line(at + index, &sentence.text).into());
        journal.submit_all(&producer, class, lines).await;
    }
    let core = system.core().await;
    drained(&core, &journal, Duration::from_secs(300)).await;

    let values: BTreeSet<&str> = sentences.iter().flat_map(|sentence| &sentence.values).map(String::as_str).collect();
    let (facts, answers) = results(&core).await;
    // What is looked for can be found at all: in the answers of the team that only tells.
    let told = values.iter().filter(|value| answers.contains(&escaped(value))).count();
    assert!(told * 2 > values.len(), "only {told} of {} values are in any answer", values.len());

    let mut places = vec![("errors and facts of results".to_owned(), facts)];
    places.extend(logs(&system));
    places.extend(metrics(&system).await);
    places.push(("ClickHouse".to_owned(), rows(&system).await));
    for stream in [subjects::AUDIT_STREAM, subjects::DEAD_STREAM, "KV_TOLLGATE_STATE", "KV_TOLLGATE_LEDGER"] {
        places.push((stream.to_owned(), everything_in(&core, stream).await));
    }
    for (place, text) in &places {
        for value in &values {
            let found = text.contains(*value) || text.contains(&escaped(value));
            assert!(
                !found,
                "{place} holds a value of {} characters that begins with {:?}",
                value.len(),
                &value[..2.min(value.len())]
            );
        }
    }
    system.stop().await;
}

/// A value as JSON writes it.
fn escaped(value: &str) -> String {
    let text = serde_json::to_string(value).expect("a text serialises");
    text[1..text.len() - 1].to_owned()
}

/// What results say beside answers, and all answers.
async fn results(core: &Connection) -> (String, String) {
    let (_, entries) = whole_log(core).await;
    let context = jetstream::new(core.client.clone());
    let stream = context.get_stream(subjects::RESULTS_STREAM).await.expect("the results");
    let messages = futures_util::stream::iter(entries).map(|entry| stream.get_raw_message(entry.seq)).buffered(64);
    let messages: Vec<_> = messages.collect().await;
    let (mut facts, mut answers) = (String::new(), String::new());
    for message in messages {
        let message = message.expect("it is kept");
        for (name, values) in message.headers.iter() {
            facts.push_str(&format!("{name} {values:?}\n"));
        }
        let Ok(mut result) = serde_json::from_slice::<Value>(&message.payload) else { continue };
        answers.push_str(&result["response"].take().to_string());
        facts.push_str(&format!("{result}\n"));
    }
    (facts, answers)
}

/// Every log of every process.
fn logs(system: &System) -> Vec<(String, String)> {
    let mut logs = Vec::new();
    let mut folders = vec![system.stack.dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("nats") && !path.ends_with("jetstream") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read(&path).expect("a log");
                logs.push((path.display().to_string(), String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }
    let brokers: Vec<_> = logs.iter().filter(|(_, text)| text.contains("called a provider")).collect();
    assert!(
        brokers.len() >= 2,
        "the logs of both workers are here: {:?}",
        logs.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    logs
}

async fn metrics(system: &System) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for broker in system.stack.endpoints().brokers {
        let text = async || reqwest::get(format!("{}/metrics", broker.url)).await.ok()?.text().await.ok();
        let text = eventually("metrics", Duration::from_secs(10), text).await;
        all.push((format!("metrics of {}", broker.name), text));
    }
    assert!(all.iter().any(|(_, text)| text.contains("tollgate_guardrail_hits_total")), "hits are counted");
    all
}

/// Every row of every table.
async fn rows(system: &System) -> String {
    let clickhouse = system.stack.endpoints().clickhouse;
    let ask = async |sql: String| {
        let request = reqwest::Client::new().post(&clickhouse.url);
        let request = request.basic_auth(&clickhouse.user, Some(&clickhouse.password)).body(sql);
        request.send().await.expect("ClickHouse answers").text().await.expect("a text")
    };
    let mut all = String::new();
    let database = &clickhouse.database;
    let sql = format!("SELECT name FROM system.tables WHERE database = '{database}' FORMAT TabSeparated");
    let tables: Vec<String> = ask(sql).await.lines().map(str::to_owned).collect();
    for table in tables {
        all.push_str(&ask(format!("SELECT * FROM {database}.{table} FORMAT JSONEachRow")).await);
    }
    assert!(all.contains("payment_card"), "the rows are here");
    all
}

async fn everything_in(core: &Connection, stream: &str) -> String {
    let context = jetstream::new(core.client.clone());
    let mut stream = context.get_stream(stream).await.expect("the stream");
    let state = stream.info().await.expect("its state").state.clone();
    let mut all = String::new();
    for seq in state.first_sequence..=state.last_sequence {
        if let Ok(message) = stream.get_raw_message(seq).await {
            all.push_str(&String::from_utf8_lossy(&message.payload));
            all.push_str(&format!("{:?}\n", message.headers));
        }
    }
    all
}
