//! The other endpoints: embeddings, responses, Anthropic's messages, models.

use serde_json::{Value, json};

use crate::world::{Doors, told};

#[tokio::test]
async fn embeddings_and_responses_are_jobs_of_their_own_endpoints() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let body = json!({ "model": "sim-small", "input": ["one", "two"], "encoding_format": "base64" });
    let (status, vectors) = told(doors.post("/v1/embeddings", &key, &body)).await;
    assert_eq!((status, vectors["data"].as_array().map(Vec::len)), (200, Some(2)), "{vectors}");
    assert!(vectors["data"][0]["embedding"].is_string());

    let mut body = json!({ "model": "sim-small", "input": "Say it" });
    let (status, response) = told(doors.post("/v1/responses", &key, &body)).await;
    assert_eq!((status, &response["output"][0]["content"][0]["text"]), (200, &"Say it".into()), "{response}");
    body["stream"] = true.into();
    let streamed = doors.post("/v1/responses", &key, &body).send().await.unwrap().text().await.unwrap();
    assert!(streamed.contains("event: response.created\n") && streamed.contains(r#""delta":"Say ""#), "{streamed}");
    assert!(streamed.contains("event: response.completed\n"), "{streamed}");
}

/// The events of a stream: what each says it is, and its data.
fn events(text: &str) -> Vec<(String, Value)> {
    let events = text.split("\n\n").filter(|event| event.starts_with("event: "));
    let read = |event: &str| {
        let (name, data) = event.split_once("\ndata: ").expect("data");
        (name.trim_start_matches("event: ").to_owned(), serde_json::from_str(data).expect("JSON"))
    };
    events.map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_is_told_while_it_is_written() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    // The provider takes 10 ms for each of its words.
    let long = "word ".repeat(200);
    let body = json!({ "model": "sim-small", "input": long, "stream": true });
    let mut answer = doors.post("/v1/responses", &key, &body).send().await.unwrap();
    let mut text = String::new();
    let mut before_the_end = 0;
    while let Some(bytes) = answer.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&bytes).unwrap());
        if !text.contains("response.output_text.done") {
            before_the_end = text.matches("event: response.output_text.delta").count();
        }
    }
    assert!(before_the_end > 20, "{before_the_end} words came before the last");
    let events = events(&text);
    let numbers: Vec<_> = events.iter().map(|(_, data)| data["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let said = events.iter().filter(|(kind, _)| kind == "response.output_text.delta");
    let said: String = said.map(|(_, data)| data["delta"].as_str().unwrap()).collect();
    assert_eq!(said, long);
    let (last, completed) = events.last().unwrap();
    assert_eq!(last, "response.completed");
    assert_eq!(completed["response"]["output"][0]["content"][0]["text"], long.as_str());
    let id = &completed["response"]["output"][0]["id"];
    assert!(events.iter().all(|(_, data)| data.get("item_id").is_none_or(|of| of == id)), "each names the same thing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_calls_a_function_is_told_by_its_arguments() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let body = json!({ "model": "sim-small", "input": "Hi", "stream": true, "tool_choice": "required",
        "tools": [{ "type": "function", "name": "weather", "parameters": { "type": "object" } }] });
    let text = doors.post("/v1/responses", &key, &body).send().await.unwrap().text().await.unwrap();
    let events = events(&text);
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.trim_start_matches("response.")).collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds, expected, "{text}");
    assert_eq!((&events[2].1["item"]["name"], &events[2].1["item"]["arguments"]), (&"weather".into(), &"".into()));
    assert_eq!(events[4].1["arguments"], r#"{"city":"Paris"}"#);
}

#[tokio::test]
async fn a_message_is_a_chat_completion_whole_and_in_events() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let mut body = json!({ "model": "sim-small", "max_tokens": 50,
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hi" }] }] });
    let call = |body: &Value| doors.http.post(doors.url("/v1/messages")).header("x-api-key", &key.text).json(body);
    let (status, message) = told(call(&body)).await;
    assert_eq!((status, &message["type"], &message["content"][0]["type"]), (200, &"message".into(), &"text".into()));
    body["stream"] = true.into();
    let text = call(&body).send().await.unwrap().text().await.unwrap();
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((kinds[0], kinds[1], kinds[kinds.len() - 1]), ("message_start", "content_block_start", "message_stop"));

    body["model"] = "nobody".into();
    let (status, error) = told(call(&body)).await;
    assert_eq!((status, &error["type"], &error["error"]["type"]), (404, &"error".into(), &"not_found_error".into()));
    body["messages"] = "Hi".into();
    let (status, error) = told(call(&body)).await;
    assert_eq!((status, &error["error"]["type"]), (400, &"invalid_request_error".into()), "{error}");
}

#[tokio::test]
async fn tokens_are_counted_without_a_job() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let count = async |more: Value| {
        let mut body = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "Hello there" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        told(doors.post("/v1/messages/count_tokens", &key, &body)).await
    };
    // No worker runs: it is answered all the same.
    let (status, short) = count(json!({})).await;
    assert_eq!(status, 200, "{short}");
    let short = short["input_tokens"].as_u64().unwrap();
    assert!((2..20).contains(&short), "{short}");
    let (_, long) = count(json!({ "system": "word ".repeat(100),
        "tools": [{ "name": "weather", "input_schema": { "type": "object" } }] }))
    .await;
    assert!(long["input_tokens"].as_u64().unwrap() > short + 100, "{long}");
    let (status, error) = count(json!({ "messages": "Hi" })).await;
    assert_eq!((status, &error["error"]["type"]), (400, &"invalid_request_error".into()), "{error}");
    let narrow = doors.key(|record| record.endpoints = vec![tollgate_types::Door::Chat]).await;
    let (status, _) = told(doors.post("/v1/messages/count_tokens", &narrow, &json!({}))).await;
    assert_eq!(status, 403);
    let (status, _) = told(doors.http.post(doors.url("/v1/messages/count_tokens")).body("{}")).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn tools_are_called_in_either_shape() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let body = json!({ "model": "sim-small", "max_tokens": 50, "messages": [{ "role": "user", "content": "Hi" }],
        "tools": [{ "name": "weather", "input_schema": { "type": "object" } }], "tool_choice": { "type": "any" } });
    let (status, message) = told(doors.post("/v1/messages", &key, &body)).await;
    assert_eq!(status, 200, "{message}");
    let block = &message["content"][0];
    assert_eq!(
        (&block["type"], &block["name"], &block["input"]["city"]),
        (&"tool_use".into(), &"weather".into(), &"Paris".into())
    );
    assert_eq!(message["stop_reason"], "tool_use");
}

#[tokio::test]
async fn models_are_listed_in_the_shape_of_who_asks() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let (_, list) = told(doors.get("/v1/models", &key)).await;
    assert_eq!((&list["object"], &list["data"][0]["object"]), (&"list".into(), &"model".into()));
    let (_, list) = told(doors.get("/v1/models", &key).header("anthropic-version", "2023-06-01")).await;
    assert_eq!((&list["has_more"], &list["data"][0]["type"]), (&false.into(), &"model".into()));
    let (status, one) = told(doors.get("/v1/models/sim-small", &key)).await;
    assert_eq!((status, &one["id"]), (200, &"sim-small".into()));
}
