//! Chat completions: whole, in pieces, again by an idempotency key, and after the wait.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Setup, eventually};
use tollgate_queue::directory::Expected;
use tollgate_queue::{Calls, TeamRecord};
use tollgate_types::{Digest, JobId};

use crate::world::{Doors, Key, chat, told};

const CHAT: &str = "/v1/chat/completions";

/// The id of the job that a call under an idempotency key is.
fn named(key: &Key, name: &str) -> JobId {
    let digest = Digest::of(&[b"idempotency key", name.as_bytes()]).to_string();
    format!("search:{}:c{}", key.id, &digest[..32]).parse().unwrap()
}

/// The data of a stream's events, and its comments.
fn events(text: &str) -> (Vec<String>, Vec<String>) {
    let lines = text.lines();
    let of = |prefix: &'static str| lines.clone().filter_map(move |line| line.strip_prefix(prefix).map(str::to_owned));
    (of("data: ").collect(), of(": ").collect())
}

fn text_of(data: &[String]) -> String {
    let chunks = data.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_call_is_a_job_and_its_answer_comes_with_what_is_known_of_it() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let call = doors.post(CHAT, &key, &chat("Hello", Some("echo"))).header("x-tollgate-project", "ranking");
    let answer = call.header("x-tollgate-labels", "feature=summary").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("x-tollgate-status"), header("x-tollgate-class")), ("succeeded".into(), "interactive".into()));
    assert_eq!((header("x-tollgate-attempts"), header("content-type")), ("1".into(), "application/json".into()));
    assert!(header("x-request-id").starts_with("req_") && header("x-tollgate-cost-usd").starts_with("0."));
    let job = header("x-tollgate-job");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (&body["object"], &body["choices"][0]["message"]["content"]),
        (&"chat.completion".into(), &"Hello".into())
    );

    let producer = doors.world.producer("search").await;
    let result = doors.world.result(&producer, &job.parse().unwrap()).await;
    assert_eq!((result.tollgate.team.as_str(), result.tollgate.class.as_str()), ("search", "interactive"));
    let line = producer.result(&job.parse().unwrap()).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&line).contains("ranking"), "what a job is counted under is for the books");
    let context = doors.world.jetstream().await;
    let stream = context.get_stream("TOLLGATE_RESULTS").await.unwrap();
    let stored = stream.get_last_raw_message_by_subject(&format!("tollgate.results.search.{job}")).await.unwrap();
    let event: Value = serde_json::from_str(stored.headers.get("Tollgate-Usage").unwrap().as_str()).unwrap();
    assert_eq!((&event["key"], &event["project"]), (&key.id.to_string().into(), &"ranking".into()));
    assert_eq!(event["labels"], json!({ "feature": "summary" }));
}

#[tokio::test]
async fn options_in_the_body_count_and_do_not_reach_the_provider() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let mut body = chat("Hi", None);
    body["tollgate"] = json!({ "class": "standard", "project": "p" });
    body["user"] = "u-1".into();
    let answer = doors.post(CHAT, &key, &body).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-tollgate-class"]), (200, &"standard".parse().unwrap()));
    for (own, param) in [
        (json!({ "projct": "p" }), "tollgate.projct"),
        (json!({ "reply_to": "reply.search.1" }), "tollgate.reply_to"),
        (json!({ "labels": { "a": 7 } }), "tollgate.labels"),
    ] {
        body["tollgate"] = own;
        let (status, said) = told(doors.post(CHAT, &key, &body)).await;
        assert_eq!((status, &said["error"]["param"]), (400, &param.into()), "{said}");
    }
}

#[tokio::test]
async fn an_answer_in_pieces_is_the_answer_and_ends_as_the_vendor_ends_it() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    for usage in [false, true] {
        let mut body = chat("Hello there, how are you?", Some("echo"));
        body["stream"] = true.into();
        if usage {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let answer = doors.post(CHAT, &key, &body).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
        let text = answer.text().await.unwrap();
        let (data, comments) = events(&text);
        assert_eq!(data.last().map(String::as_str), Some("[DONE]"), "{text}");
        assert_eq!(text_of(&data), "Hello there, how are you?");
        assert_eq!(text.contains("\"total_tokens\""), usage, "{text}");
        assert!(comments.iter().any(|comment| comment.contains("cost_nanousd")), "{text}");
    }
}

#[tokio::test]
async fn what_ends_a_job_is_told_by_its_status_in_the_vendors_words() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let mut unknown = chat("Hi", None);
    unknown["model"] = "nobody".into();
    for stream in [false, true] {
        unknown["stream"] = stream.into();
        let (status, body) = told(doors.post(CHAT, &key, &unknown)).await;
        assert_eq!((status, &body["error"]["code"]), (404, &"model_not_found".into()), "{body}");
    }
    let mut dear = chat("Hi", None);
    dear["tollgate"] = json!({ "max_cost_usd": "0.000000001" });
    let (status, body) = told(doors.post(CHAT, &key, &dear)).await;
    assert_eq!((status, &body["error"]["code"]), (400, &"cost_above_max".into()), "{body}");
    let (status, body) = told(doors.post(CHAT, &key, &json!({ "model": "sim-small" }))).await;
    assert_eq!((status, &body["error"]["param"]), (400, &"messages".into()), "{body}");
    let (status, body) = told(doors.post(CHAT, &key, &chat("Hi", Some("status=400")))).await;
    assert_eq!((status, &body["error"]["type"]), (400, &"invalid_request_error".into()), "{body}");
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_job_also_after_the_duplicate_window() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let call = |prompt: &str, name: &str| doors.post(CHAT, &key, &chat(prompt, None)).header("idempotency-key", name);
    let first = call("Hi", "once").send().await.unwrap();
    let job = first.headers()["x-tollgate-job"].clone();
    let first: Value = first.json().await.unwrap();
    // The window of a world is a second; past it, only the kept result knows.
    let again = call("Hi", "once").send().await.unwrap();
    assert_eq!(
        (&again.headers()["x-tollgate-job"], &again.headers()["x-tollgate-replayed"]),
        (&job, &"true".parse().unwrap())
    );
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let (status, body) = told(call("Something else", "once")).await;
    assert_eq!((status, &body["error"]["code"]), (422, &"idempotency_key_reused".into()));
    let other = doors.key(|_| {}).await;
    let others = doors.post(CHAT, &other, &chat("Hi", None)).header("idempotency-key", "once").send().await.unwrap();
    assert_ne!(others.headers()["x-tollgate-job"], job, "another app's keys are its own");
    assert_eq!(doors.world.sim.calls().len(), 2, "the provider was called once for each job");
}

#[tokio::test]
async fn calls_at_the_same_time_with_one_idempotency_key_get_one_answer() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let call = || told(doors.post(CHAT, &key, &chat("Hi", Some("delay=300ms"))).header("idempotency-key", "k"));
    let (one, two, three) = tokio::join!(call(), call(), call());
    assert_eq!((one.0, &one, &one), (200, &two, &three));
    assert_eq!(doors.world.sim.calls().len(), 1);
}

#[tokio::test]
async fn a_wait_that_ends_says_where_the_job_goes_on_and_there_it_is() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    // Nobody works yet.
    let call = doors.post(CHAT, &key, &chat("Hello", Some("echo"))).header("x-tollgate-wait", "0.2");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (&body["object"], &body["url"], &body["response"]),
        (&"tollgate.job".into(), &location.clone().into(), &Value::Null)
    );

    let _worker = doors.worker().await;
    let (status, job) = told(doors.get(&location, &key).header("prefer", "wait=30")).await;
    assert_eq!((status, &job["status"]), (200, &"succeeded".into()), "{job}");
    assert_eq!(job["response"]["body"]["choices"][0]["message"]["content"], "Hello");
    let other = doors.key(|_| {}).await;
    assert_eq!(told(doors.get(&location, &other)).await.0, 404, "another key does not see it");
    assert_eq!(told(doors.get("/v1/jobs/nothing", &key)).await.0, 404);
}

#[tokio::test]
async fn a_job_is_cancelled_by_its_address_and_by_who_leaves_if_he_said_so() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let _worker = doors.worker().await;
    let asynchronous = doors.post(CHAT, &key, &chat("Hi", Some("delay=60s"))).header("prefer", "respond-async");
    let (status, job) = told(asynchronous).await;
    assert_eq!(status, 202);
    let url = job["url"].as_str().unwrap().to_owned();
    let delete = || async {
        let (status, body) = told(doors.http.delete(doors.url(&url)).bearer_auth(&key.text)).await;
        (status == 200).then_some(body)
    };
    let body = eventually("it is cancelled", Duration::from_secs(20), delete).await;
    assert_eq!((&body["status"], &body["error"]["code"]), (&"cancelled".into(), &"cancelled".into()), "{body}");

    let calls = Calls::open(&doors.world.jetstream().await).await.unwrap();
    for (name, word, delay, expected) in [("a", "cancel", "delay=60s", 409), ("b", "continue", "delay=1s", 200)] {
        let call = || doors.post(CHAT, &key, &chat("Hi", Some(delay))).header("idempotency-key", name);
        let id = named(&key, name);
        let noted = || async { calls.submitted(&id).await.unwrap() };
        tokio::select! {
            answer = call().header("x-tollgate-on-disconnect", word).send() => panic!("it takes longer: {answer:?}"),
            _ = eventually("it is submitted and noted", Duration::from_secs(10), noted) => {}
        }
        let (status, body) = told(call()).await;
        assert_eq!(status, expected, "{word}: {body}");
    }
}

#[tokio::test]
async fn a_process_that_stops_sends_its_callers_away_with_their_jobs() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let call = told(doors.post(CHAT, &key, &chat("Hi", None)));
    let stop = async {
        let waits = || async {
            let stream = doors.world.jetstream().await.get_stream("TOLLGATE_JOBS").await.unwrap();
            (stream.cached_info().state.messages == 1).then_some(())
        };
        eventually("the job is submitted", Duration::from_secs(10), waits).await;
        doors.stop.cancel();
    };
    let ((status, body), ()) = tokio::join!(call, stop);
    assert_eq!(status, 503);
    let said = body["error"]["message"].as_str().unwrap();
    assert!(said.contains("/v1/jobs/search:"), "{said}");
    assert_eq!(told(doors.get("/v1/models", &key)).await.0, 503, "nobody else comes in");
}

#[tokio::test]
async fn a_front_door_that_crashes_loses_nothing_and_doubles_nothing() {
    let mut doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    // Its caller waits for a worker that is not there yet.
    let call = doors.post(CHAT, &key, &chat("Hi", None)).header("idempotency-key", "k").send();
    let id = named(&key, "k");
    let calls = Calls::open(&doors.world.jetstream().await).await.unwrap();
    let noted = || async { calls.submitted(&id).await.unwrap() };
    let submitted = eventually("the job is submitted and noted", Duration::from_secs(10), noted);
    tokio::select! {
        answer = call => panic!("nobody can have answered: {answer:?}"),
        _ = submitted => {}
    }
    doors.crash_and_open_again().await;
    let other = doors.post(CHAT, &key, &chat("Something else", None)).header("idempotency-key", "k");
    assert_eq!(told(other).await.0, 422, "also while the first one waits");
    let _worker = doors.worker().await;
    let again = doors.post(CHAT, &key, &chat("Hi", None)).header("idempotency-key", "k");
    assert_eq!(told(again).await.0, 200);
    assert_eq!(doors.world.sim.calls().len(), 1, "both calls are one job, long after the server's own window");
}

#[tokio::test]
async fn a_budget_and_a_guardrail_that_refuse_are_told_at_once() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let record: TeamRecord = serde_json::from_value(json!({
        "budgets": [{ "on": format!("key:{}", key.id), "window": "day", "cap_usd": "0.000001", "when_spent": "reject" }],
        "guardrails": { "input": { "secrets": "block" } },
        "limits": { "requests_per_minute": 100, "tokens_per_minute": 1_000_000 },
    }))
    .unwrap();
    let team = "search".parse().unwrap();
    doors.world.directory().await.put_team(&team, &record, Expected::Any).await.unwrap();
    let refused = || async {
        let answer = doors.post(CHAT, &key, &chat("Hi", None)).send().await.unwrap();
        (answer.status() == 429).then_some(answer)
    };
    let answer = eventually("the budget of the key is known", Duration::from_secs(10), refused).await;
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.headers()["x-should-retry"], "false", "another try would be refused too");
    assert_eq!(answer.headers()["x-ratelimit-limit-requests"], "100");
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "insufficient_quota");

    let other = doors.key(|_| {}).await;
    let secret = "my key is AKIAIOSFODNN7EXAMPLE, and wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY is its secret";
    let answer = doors.post(CHAT, &other, &chat(secret, None)).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.headers().contains_key("x-tollgate-guardrails"));
    let text = answer.text().await.unwrap();
    assert!(text.contains("prompt_blocked") && !text.contains("AKIA"), "{text}");
}

#[tokio::test]
async fn silence_is_bridged_by_comments_and_an_error_after_it_is_an_event() {
    let doors = Doors::with(Setup::default(), |config| config.heartbeat = Duration::from_millis(200)).await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let mut body = chat("Hi", Some("status=400;delay=1s"));
    body["stream"] = true.into();
    let answer = doors.post(CHAT, &key, &body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "silence has lasted");
    let text = answer.text().await.unwrap();
    let (data, comments) = events(&text);
    assert!(comments.iter().filter(|comment| *comment == "heartbeat").count() >= 2, "{text}");
    let error: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(error["error"]["type"], "invalid_request_error", "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_call_that_fits_no_message_is_answered_and_under_its_key_answered_again() {
    let doors = Doors::with(Setup::default(), |config| config.body_bytes_max = 8 << 20).await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let long = chat(&"many words ".repeat(300_000), Some("tokens=400000"));
    let call = |body: &Value| doors.post(CHAT, &key, body).header("idempotency-key", "large");
    let (status, first) = told(call(&long)).await;
    let answer = first["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    assert!(status == 200 && answer.len() > 1 << 20, "{status}, {} bytes", answer.len());
    let (status, again) = told(call(&long)).await;
    assert!(status == 200 && again == first, "the same answer, by its look-up");
    assert_eq!(doors.world.sim.calls().len(), 1);
    let other = chat(&"other words ".repeat(300_000), None);
    assert_eq!(told(call(&other)).await.0, 422, "another large body under the same key");
}

#[tokio::test]
async fn two_requests_at_once_under_one_idempotency_key_do_not_get_each_others_answers() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let (one, other) = (chat("one", Some("echo")), chat("other", Some("echo")));
    let call = |body| told(doors.post(CHAT, &key, body).header("idempotency-key", "shared"));
    let answers = tokio::join!(call(&one), call(&other));
    for ((status, body), own) in [(answers.0, "one"), (answers.1, "other")] {
        let said = &body["choices"][0]["message"]["content"];
        assert!(status == 422 || (status == 200 && said == own), "{own}: {status} {body}");
    }
}
