//! Batches as OpenAI's clients order them, to their end and back as files.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{World, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_batches::{Counter, CounterConfig};
use tollgate_bulk::results::{Order, Read};
use tollgate_orders::{Clerk, ClerkConfig, Parts};
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::state::State;
use tollgate_queue::{Batches, CrashPlan, ServerClock};
use tollgate_types::event::EventKind;
use tollgate_types::{Class, Door, UnixMillis};

use crate::files::{form, upload, uploaded};
use crate::world::{Doors, Key, told};

const LONG: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_millis(300);

/// Whoever counts and whoever submits, until this is dropped.
struct Office(#[allow(dead_code, reason = "they end with it")] JoinSet<()>);

impl Office {
    async fn open(world: &World) -> Office {
        let mut tasks = JoinSet::new();
        tasks.spawn(counter(world).await.run(CancellationToken::new()));
        let office = Office(tasks);
        office.with_clerk(world).await
    }

    async fn with_clerk(mut self, world: &World) -> Office {
        let context = world.jetstream().await;
        let connection = world.broker("clerk").await;
        let clock = ServerClock::new();
        ask_the_time(&connection.client, &clock).await.unwrap();
        let parts = Parts { connection, state: State::open(&context).await.unwrap(), clock };
        let config = ClerkConfig { name: "clerk".to_owned(), lease: LEASE, crash: CrashPlan::default() };
        self.0.spawn(Clerk::new(config, parts).run(CancellationToken::new()));
        self
    }
}

async fn counter(world: &World) -> Counter {
    let context = world.jetstream().await;
    let (log, state) = (CommitLog::open(&context).await.unwrap(), State::open(&context).await.unwrap());
    let config = CounterConfig { lease: LEASE, ..CounterConfig::new("counter") };
    Counter::new(config, world.broker("counter").await, log, state, world.directory().await)
}

fn line(n: usize, model: &str, directive: &str) -> String {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": format!("question {n}") }],
        "metadata": { "sim": directive } });
    let line = json!({ "custom_id": format!("q-{n}"), "method": "POST", "url": "/v1/chat/completions", "body": body });
    format!("{line}\n")
}

fn lines(count: usize, directive: &str) -> Vec<u8> {
    (0..count).map(|n| line(n, "sim-small", directive)).collect::<String>().into_bytes()
}

fn wish(input: &str) -> Value {
    json!({ "input_file_id": input, "endpoint": "/v1/chat/completions", "completion_window": "24h",
        "metadata": { "for": "a test" } })
}

async fn ordered(doors: &Doors, key: &Key, body: &Value) -> String {
    let (status, batch) = told(doors.post("/v1/batches", key, body)).await;
    assert_eq!(status, 200, "{batch}");
    batch["id"].as_str().unwrap().to_owned()
}

async fn look(doors: &Doors, key: &Key, id: &str) -> Value {
    let (status, batch) = told(doors.get(&format!("/v1/batches/{id}"), key)).await;
    assert_eq!(status, 200, "{batch}");
    batch
}

/// The batch once it has that status.
async fn until(doors: &Doors, key: &Key, id: &str, status: &str) -> Value {
    eventually(&format!("the batch is {status}"), LONG, || async {
        let batch = look(doors, key, id).await;
        (batch["status"] == status).then_some(batch)
    })
    .await
}

async fn content(doors: &Doors, key: &Key, file: &Value) -> Vec<Value> {
    let path = format!("/v1/files/{}/content", file.as_str().expect("there is such a file"));
    let text = doors.get(&path, key).send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(lines: &[Value]) -> BTreeSet<String> {
    let names: BTreeSet<String> =
        lines.iter().map(|line| line["custom_id"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(names.len(), lines.len(), "each once");
    names
}

#[tokio::test]
async fn a_batch_runs_to_its_end_and_its_results_are_files() {
    let doors = Doors::open().await;
    let (_worker, _office) = (doors.worker().await, Office::open(&doors.world).await);
    let key = doors.key(|_| {}).await;
    let mut bytes = lines(40, "ok");
    bytes.extend_from_slice(line(40, "nobody-serves-this", "ok").as_bytes());
    let input = uploaded(&doors, &key, &bytes).await;
    let id = ordered(&doors, &key, &wish(&input)).await;
    assert!(id.parse::<tollgate_types::BatchId>().is_ok());
    let batch = until(&doors, &key, &id, "completed").await;
    assert_eq!(batch["request_counts"], json!({ "total": 41, "completed": 40, "failed": 1 }));
    assert_eq!((&batch["input_file_id"], &batch["metadata"]), (&json!(input), &json!({ "for": "a test" })));
    assert!(batch["usage"]["total_tokens"].as_u64() > Some(0), "{batch}");
    for time in ["created_at", "in_progress_at", "finalizing_at", "completed_at", "expires_at"] {
        assert!(batch[time].is_i64(), "{time}: {batch}");
    }
    let output = content(&doors, &key, &batch["output_file_id"]).await;
    assert_eq!(names(&output), (0..40).map(|n| format!("q-{n}")).collect());
    assert!(output.iter().all(|line| line["response"]["body"]["choices"][0]["message"]["content"].is_string()));
    let errors = content(&doors, &key, &batch["error_file_id"]).await;
    assert_eq!((errors.len(), &errors[0]["error"]["code"]), (1, &json!("unknown_model")), "{errors:?}");
    let (status, file) =
        told(doors.get(&format!("/v1/files/{}", batch["output_file_id"].as_str().unwrap()), &key)).await;
    assert_eq!((status, &file["purpose"], &file["tollgate"]["lines"]), (200, &json!("batch_output"), &json!(40)));

    // It is the team's, counted under its key, and known by its own means too.
    let context = doors.world.jetstream().await;
    let log = CommitLog::open(&context).await.unwrap();
    let bounds = log.bounds().await.unwrap();
    let entries = log.read_range(bounds.first, bounds.last, LONG).await.unwrap();
    let events: Vec<_> = entries.into_iter().filter_map(|entry| entry.event.ok()).collect();
    let results: Vec<_> = events.iter().filter(|event| event.kind == EventKind::Result).collect();
    assert_eq!(results.len(), 41);
    assert!(results.iter().all(|event| event.key == key.id.as_str() && event.job.as_str().starts_with(&id)));
    let (_, list) = told(doors.get("/v1/batches", &key)).await;
    assert_eq!((&list["data"][0]["id"], &list["has_more"]), (&json!(id), &json!(false)));
    let theirs = doors.key(|record| record.team = "marketing".parse().unwrap()).await;
    assert_eq!(told(doors.get(&format!("/v1/batches/{id}"), &theirs)).await.0, 404);
    assert_eq!(told(doors.post(&format!("/v1/batches/{id}/cancel"), &theirs, &json!({}))).await.0, 404);
    assert_eq!(told(doors.get("/v1/batches", &theirs)).await.1["data"], json!([]));
    for file in ["output_file_id", "error_file_id"] {
        let path = format!("/v1/files/{}/content", batch[file].as_str().unwrap());
        assert_eq!(told(doors.get(&path, &theirs)).await.0, 404);
        let path = path.trim_end_matches("/content").to_owned();
        assert_eq!(told(doors.http.delete(doors.url(&path)).bearer_auth(&key.text)).await.0, 400);
    }
    let (status, late) = told(doors.post(&format!("/v1/batches/{id}/cancel"), &key, &json!({}))).await;
    assert_eq!((status, &late["error"]["code"]), (409, &json!("batch_has_ended")));
    // Without its input file the results are there all the same.
    told(doors.http.delete(doors.url(&format!("/v1/files/{input}"))).bearer_auth(&key.text)).await;
    assert_eq!(content(&doors, &key, &batch["output_file_id"]).await.len(), 40);
}

#[tokio::test]
async fn a_file_that_is_wrong_fails_with_openais_errors_and_costs_nothing() {
    let doors = Doors::open().await;
    let (_worker, _office) = (doors.worker().await, Office::open(&doors.world).await);
    let key = doors.key(|record| record.models = vec!["sim-*".to_owned()]).await;
    let wrong = [
        line(0, "sim-small", "ok"),
        "nonsense\n".to_owned(),
        line(2, "gpt-4o", "ok"),
        format!(
            "{}\n",
            json!({ "custom_id": "q-3", "method": "POST", "url": "/v1/embeddings",
            "body": { "model": "sim-small", "input": "x" } })
        ),
        line(0, "sim-small", "ok"),
    ];
    let input = uploaded(&doors, &key, wrong.concat().as_bytes()).await;
    let id = ordered(&doors, &key, &wish(&input)).await;
    let batch = until(&doors, &key, &id, "failed").await;
    let errors: Vec<(&str, u64)> = batch["errors"]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["code"].as_str().unwrap(), error["line"].as_u64().unwrap()))
        .collect();
    let expected = [("invalid_json_line", 2), ("model_not_allowed", 3), ("invalid_url", 4), ("duplicate_custom_id", 5)];
    assert_eq!(errors, expected, "{batch}");
    assert_eq!(batch["errors"]["object"], "list");
    assert!(batch["failed_at"].is_i64() && batch["output_file_id"].is_null(), "{batch}");
    assert_eq!(batch["request_counts"], json!({ "total": 0, "completed": 0, "failed": 0 }));
    let document = uploaded(&doors, &key, b"{\"requests\":[]}").await;
    let id = ordered(&doors, &key, &wish(&document)).await;
    let batch = until(&doors, &key, &id, "failed").await;
    assert_eq!(batch["errors"]["data"][0]["code"], "invalid_file_format");
    assert!(doors.world.sim.calls().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn an_order_may_no_more_than_its_key_and_says_what_is_wrong() {
    let doors = Doors::open().await;
    let key = doors.key(|record| record.endpoints = vec![Door::Embeddings]).await;
    let input = uploaded(&doors, &key, b"x").await;
    let with = |name: &str, value: Value| {
        let mut body = wish(&input);
        body["endpoint"] = json!("/v1/embeddings");
        body[name] = value;
        body
    };
    let nobody = format!("file-{}", "0".repeat(32));
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
    for (what, body, status, code, param) in [
        ("another endpoint", wish(&input), 403, "endpoint_not_allowed", None),
        ("no endpoint of ours", with("endpoint", json!("/v1/images")), 400, "invalid_value", Some("endpoint")),
        ("a file of nobody", with("input_file_id", json!(nobody)), 404, "file_not_found", Some("input_file_id")),
        ("a path", with("input_file_id", json!("../x")), 400, "invalid_value", Some("input_file_id")),
        ("a number", with("input_file_id", json!(7)), 400, "invalid_type", None),
        ("a long window", with("completion_window", json!("8d")), 400, "invalid_value", Some("completion_window")),
        ("no window", with("completion_window", json!("soon")), 400, "invalid_value", Some("completion_window")),
        ("much metadata", with("metadata", json!(many)), 400, "invalid_value", Some("metadata")),
        ("long metadata", with("metadata", json!({ "a": "x".repeat(513) })), 400, "invalid_value", Some("metadata")),
        ("metadata of numbers", with("metadata", json!({ "a": 1 })), 400, "invalid_type", None),
        (
            "a life of its output",
            with("output_expires_after", json!({})),
            400,
            "unknown_parameter",
            Some("output_expires_after"),
        ),
        (
            "a wish that is none",
            with("tollgate", json!({ "cache": "perhaps" })),
            400,
            "invalid_field",
            Some("tollgate.cache"),
        ),
        (
            "a missing field",
            json!({ "endpoint": "/v1/embeddings" }),
            400,
            "missing_required_parameter",
            Some("input_file_id"),
        ),
        ("a list", json!([]), 400, "bad_request", None),
    ] {
        let (got, answer) = told(doors.post("/v1/batches", &key, &body)).await;
        let error = &answer["error"];
        assert_eq!(
            (got, error["code"].as_str(), error["param"].as_str()),
            (status, Some(code), param),
            "{what}: {answer}"
        );
    }
    let narrow = doors.key(|record| record.classes = vec![Class::Interactive]).await;
    let asked = doors.post("/v1/batches", &narrow, &wish(&input)).header("x-tollgate-class", "batch");
    assert_eq!(told(asked).await.0, 403);
    let expired = doors.key(|record| record.expires_at = Some(UnixMillis(1))).await;
    assert_eq!(told(doors.post("/v1/batches", &expired, &wish(&input))).await.0, 401);
    let theirs = doors.key(|record| record.team = "marketing".parse().unwrap()).await;
    assert_eq!(told(doors.post("/v1/batches", &theirs, &wish(&input))).await.0, 404, "another team's file");
    for path in ["*", "batch_x", "..%2Fx", &format!("batch_{}", "0".repeat(32))] {
        assert_eq!(told(doors.get(&format!("/v1/batches/{path}"), &key)).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_batch_and_without_one_each_call_is_another() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let input = uploaded(&doors, &key, &lines(1, "ok")).await;
    let named = |body: &Value| doors.post("/v1/batches", &key, body).header("idempotency-key", "once");
    let (_, first) = told(named(&wish(&input))).await;
    let again = named(&wish(&input)).send().await.unwrap();
    assert_eq!(again.headers()["x-tollgate-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], first["id"]);
    let mut other = wish(&input);
    other["metadata"] = json!({});
    let (status, reused) = told(named(&other)).await;
    assert_eq!((status, &reused["error"]["code"]), (422, &json!("idempotency_key_reused")));
    let theirs = doors.key(|_| {}).await;
    let (_, second) = told(doors.post("/v1/batches", &theirs, &wish(&input)).header("idempotency-key", "once")).await;
    let (third, fourth) = (ordered(&doors, &key, &wish(&input)).await, ordered(&doors, &key, &wish(&input)).await);
    let all = [first["id"].as_str().unwrap(), second["id"].as_str().unwrap(), &third, &fourth];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 4);
    let (_, list) = told(doors.get("/v1/batches?limit=2", &key)).await;
    assert_eq!((&list["data"][0]["id"], &list["has_more"]), (&json!(fourth), &json!(true)), "the newest first");
    let after = list["last_id"].as_str().unwrap();
    let (_, list) = told(doors.get(&format!("/v1/batches?after={after}"), &key)).await;
    assert_eq!((list["data"].as_array().map(Vec::len), &list["has_more"]), (Some(2), &json!(false)));
}

#[tokio::test]
async fn a_batch_is_cancelled_wherever_it_is_and_every_request_has_its_line() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let _worker = doors.worker().await;
    // Before anybody takes it.
    let input = uploaded(&doors, &key, &lines(200, "delay=300ms")).await;
    let early = ordered(&doors, &key, &wish(&input)).await;
    let cancel = async |id: &str| told(doors.post(&format!("/v1/batches/{id}/cancel"), &key, &json!({}))).await;
    let (status, batch) = cancel(&early).await;
    assert_eq!((status, &batch["status"]), (200, &json!("cancelling")), "{batch}");
    assert!(batch["cancelling_at"].is_i64());
    let _office = Office::open(&doors.world).await;
    let batch = until(&doors, &key, &early, "cancelled").await;
    assert_eq!((&batch["output_file_id"], &batch["error_file_id"]), (&Value::Null, &Value::Null), "{batch}");
    assert!(batch["cancelled_at"].is_i64());
    // While it runs.
    let running = ordered(&doors, &key, &wish(&input)).await;
    until(&doors, &key, &running, "in_progress").await;
    assert_eq!(cancel(&running).await.0, 200);
    assert_eq!(cancel(&running).await.0, 200, "asked twice it is cancelled once");
    let batch = until(&doors, &key, &running, "cancelled").await;
    let counts = &batch["request_counts"];
    assert_eq!(counts["completed"].as_u64().unwrap() + counts["failed"].as_u64().unwrap(), 200, "{batch}");
    let errors = content(&doors, &key, &batch["error_file_id"]).await;
    assert!(errors.iter().any(|line| line["error"]["code"] == "batch_cancelled"));
    let mut all = names(&errors);
    if batch["output_file_id"].is_string() {
        all.extend(names(&content(&doors, &key, &batch["output_file_id"]).await));
    }
    assert_eq!(all.len(), 200);
}

#[tokio::test]
async fn a_stop_that_comes_between_check_and_submission_is_seen_and_its_requests_have_lines() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let _worker = doors.worker().await;
    let input = uploaded(&doors, &key, &lines(5, "ok")).await;
    let id = ordered(&doors, &key, &wish(&input)).await;
    told(doors.post(&format!("/v1/batches/{id}/cancel"), &key, &json!({}))).await;
    // As a clerk leaves it who asked for a stop before it was said, made the batch, and died.
    let connection = doors.world.broker("clerk before").await;
    let producer = tollgate_client::Producer::new(connection.client.clone(), "search".parse().unwrap());
    let (order, _) =
        Batches::new(connection.client.clone()).order("search", &id.parse().unwrap()).await.unwrap().unwrap();
    let plan = tollgate_bulk::Plan {
        id: Some(order.id.clone()),
        format: tollgate_types::batch::BatchFormat::OpenAi,
        file: "in.jsonl".to_owned(),
        whole: tollgate_bulk::source::Whole { sha256: "x".to_owned(), bytes: 1 },
        jobs: 5,
        class: order.class,
        options: order.options.clone(),
        model: None,
        key: None,
        max_cost_usd: None,
        again: None,
        asked: String::new(),
        created_at: order.created_at,
    };
    let bulk = tollgate_bulk::Bulk::new(producer);
    bulk.begin(&plan).await.unwrap();
    let _office = Office::open(&doors.world).await;
    let batch = until(&doors, &key, &id, "cancelled").await;
    assert_eq!(batch["request_counts"], json!({ "total": 5, "completed": 0, "failed": 5 }), "{batch}");
    let errors = content(&doors, &key, &batch["error_file_id"]).await;
    assert_eq!(names(&errors), (0..5).map(|n| format!("q-{n}")).collect());
    assert!(errors.iter().all(|line| line["error"]["code"] == "batch_cancelled"), "{errors:?}");
    // By the command line each has its line too, and each once.
    let standing = bulk.standing(&order.id).await.unwrap().unwrap();
    let (mut read, mut lines) = (Read::default(), Vec::<Value>::new());
    for _ in 0..2 {
        let how = (&mut read, Order::Input, standing.done.as_ref());
        let write = |line: &tollgate_bulk::render::Rendered, _: &Read| {
            lines.push(serde_json::from_str(&line.text)?);
            Ok(())
        };
        bulk.read_results(&standing.spec, how, write).await.unwrap();
    }
    let ids: Vec<Value> = lines.iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, (1..=5).map(|n| json!(order.id.job(n))).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["error"]["code"] == "batch_cancelled"), "{lines:?}");
    assert!(doors.world.sim.calls().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn an_order_whose_file_is_deleted_fails_and_one_that_is_too_late_expires() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let _worker = doors.worker().await;
    let (status, file) = upload(&doors, &key, form(&[("purpose", None, b"batch"), ("file", Some("f"), b"x")])).await;
    assert_eq!(status, 200);
    let input = file["id"].as_str().unwrap();
    let id = ordered(&doors, &key, &wish(input)).await;
    told(doors.http.delete(doors.url(&format!("/v1/files/{input}"))).bearer_auth(&key.text)).await;
    let slow = uploaded(&doors, &key, &lines(30, "delay=20s")).await;
    let mut late = wish(&slow);
    late["tollgate"] = json!({ "deadline": "3s" });
    let late = ordered(&doors, &key, &late).await;
    let _office = Office::open(&doors.world).await;
    let batch = until(&doors, &key, &id, "failed").await;
    assert_eq!(batch["errors"]["data"][0]["code"], "file_not_found", "{batch}");
    let batch = until(&doors, &key, &late, "expired").await;
    assert!(batch["expired_at"].is_i64(), "{batch}");
    if batch["error_file_id"].is_string() {
        let errors = content(&doors, &key, &batch["error_file_id"]).await;
        assert!(errors.iter().all(|line| line["error"]["code"] == "batch_expired"), "{errors:?}");
        assert_eq!(errors.len(), 30);
    }
}

#[tokio::test]
async fn a_huge_file_of_one_team_holds_up_no_other() {
    let doors = Doors::open().await;
    let (ours, theirs) =
        (doors.key(|_| {}).await, doors.key(|record| record.team = "marketing".parse().unwrap()).await);
    let huge = uploaded(&doors, &ours, &lines(30_000, "ok")).await;
    let (first, second) = (ordered(&doors, &ours, &wish(&huge)).await, ordered(&doors, &ours, &wish(&huge)).await);
    let small = uploaded(&doors, &theirs, &lines(3, "ok")).await;
    let id = ordered(&doors, &theirs, &wish(&small)).await;
    let (_worker, _office) = (doors.worker().await, Office::open(&doors.world).await);
    until(&doors, &theirs, &id, "completed").await;
    for id in [first, second] {
        let batch = look(&doors, &ours, &id).await;
        assert!(["validating", "in_progress"].contains(&batch["status"].as_str().unwrap()), "{batch}");
        assert_ne!(batch["request_counts"]["completed"], json!(30_000), "{batch}");
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_while_it_is_submitted_fails_its_batch_and_what_ran_has_its_results() {
    // Far more than is read ahead.
    const LINES: usize = 8000;
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let long = |n| line(n, "sim-small", "ok").replace("question", &"word ".repeat(600));
    let input = uploaded(&doors, &key, (0..LINES).map(long).collect::<String>().as_bytes()).await;
    let id = ordered(&doors, &key, &wish(&input)).await;
    let (_worker, _office) = (doors.worker().await, Office::open(&doors.world).await);
    eventually("some of it ran", LONG, || async {
        (look(&doors, &key, &id).await["request_counts"]["completed"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let delete = doors.http.delete(doors.url(&format!("/v1/files/{input}"))).bearer_auth(&key.text);
    assert_eq!(told(delete).await.0, 200);
    let batch = until(&doors, &key, &id, "failed").await;
    assert_eq!(batch["errors"]["data"][0]["code"], "file_not_found", "{batch}");
    let mut all = content(&doors, &key, &batch["output_file_id"]).await;
    assert!(all.iter().all(|line| line["error"].is_null()));
    let errors = content(&doors, &key, &batch["error_file_id"]).await;
    assert!(errors.iter().all(|line| line["error"]["code"] == "batch_cancelled"));
    assert!(
        errors.iter().any(|line| line["custom_id"].is_null()),
        "who was never submitted has no name without the file"
    );
    all.extend(errors);
    let ids: BTreeSet<&str> = all.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), all.len()), (LINES, LINES), "each once");
}
