//! What a provider does beside writing text: vectors, responses in the newer format, and calls of tools where the request
//! leaves no choice. All of it is a pure function of the request, and billed by its usage; only a response comes in pieces, if that
//! is asked for.

use std::io;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::body::Source;
use crate::ending::{Ending, JSON, SSE};
use crate::refusal::Refusal;
use crate::request::ChatRequest;

/// The length of a vector whose request names none.
const DIMENSIONS: usize = 8;
const DIMENSIONS_MAX: usize = 4096;

#[derive(Deserialize)]
struct Embeddings {
    model: String,
    input: Value,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

/// Answers with vectors, one for each input.
pub(crate) fn embeddings(body: &[u8], ending: Ending) -> Response {
    let Ok(request) = serde_json::from_slice::<Embeddings>(body) else {
        return ending.refuse(&Refusal::invalid(None, None, "We could not parse the JSON body of your request."));
    };
    let inputs = match &request.input {
        Value::Array(inputs) if !inputs.iter().all(Value::is_number) => inputs.clone(),
        one => vec![one.clone()],
    };
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS).clamp(1, DIMENSIONS_MAX);
    let as_base64 = request.encoding_format.as_deref() == Some("base64");
    let vector = |input: &Value| {
        let vector = vector(&input.to_string(), dimensions);
        if as_base64 { Value::from(base64(&vector)) } else { json!(vector) }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| json!({ "object": "embedding", "index": index, "embedding": vector(input) }))
        .collect();
    let tokens = tokens_in(&request.input);
    whole(
        ending,
        &json!({
            "object": "list", "data": data, "model": request.model,
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        }),
    )
}

fn whole(ending: Ending, body: &Value) -> Response {
    ending.respond(StatusCode::OK, JSON, Source::Whole(body.to_string().into()))
}

/// A token is about four characters.
fn tokens_in(value: &Value) -> usize {
    value.to_string().len().div_ceil(4)
}

/// Numbers between minus one and one, by the text alone.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let number = |at: usize| {
        let hash = Sha256::digest(format!("{at}:{text}"));
        f32::from(i16::from_le_bytes([hash[0], hash[1]])) / 32768.0
    };
    (0..dimensions).map(number).collect()
}

/// The bytes of a vector as the vendor's own clients ask for them.
fn base64(vector: &[f32]) -> String {
    const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let sextet = bits >> (18 - 6 * at) & 63;
            text.push(if at <= group.len() { char::from(CHARS[sextet as usize]) } else { '=' });
        }
    }
    text
}

/// Answers in the newer format: what the input says, again.
pub(crate) fn responses(body: &[u8], ending: Ending) -> Response {
    let Some((model, input)) = serde_json::from_slice::<Value>(body).ok().and_then(|body| {
        let model = body["model"].as_str()?.to_owned();
        let last = body["input"].as_array().and_then(|items| items.last()).map(|item| &item["content"]);
        let content = last.unwrap_or(&body["input"]);
        let text = content.as_str().or_else(|| content[0]["text"].as_str())?.to_owned();
        Some((model, text))
    }) else {
        return ending.refuse(&Refusal::invalid(Some("input"), None, "Missing required parameter: 'input'."));
    };
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let id = ending.id().to_owned();
    let (read, written) = (tokens_in(&input.as_str().into()), tokens_in(&input.as_str().into()));
    let item = match asked["tools"][0]["name"].as_str().filter(|_| asked["tool_choice"] == "required") {
        Some(tool) => json!({ "type": "function_call", "id": format!("fc_{id}"), "call_id": format!("call_{id}"),
            "status": "completed", "name": tool, "arguments": "{\"city\":\"Paris\"}" }),
        None => json!({ "type": "message", "id": format!("msg_{id}"), "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": input, "annotations": [] }] }),
    };
    let response = json!({
            "id": format!("resp_{id}"), "object": "response", "created_at": 0, "status": "completed", "error": null,
            "incomplete_details": null, "instructions": null, "metadata": {}, "model": model,
            "output": [item],
            "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
            "usage": { "input_tokens": read, "input_tokens_details": { "cached_tokens": 0 }, "output_tokens": written,
                "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": read + written },
    });
    if asked["stream"] == true {
        return ending.respond(StatusCode::OK, SSE, Source::pieces(paced(events_of(&response))));
    }
    whole(ending, &response)
}

/// How long after each other the events of a response come.
const EVENT_EVERY: Duration = Duration::from_millis(10);

fn paced(events: Vec<String>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::iter(events).then(|event| async move {
        tokio::time::sleep(EVENT_EVERY).await;
        Ok(Bytes::from(event))
    })
}

/// A response of one item as the events of its stream, a word each.
fn events_of(response: &Value) -> Vec<String> {
    let mut begun = response.clone();
    (begun["status"], begun["output"], begun["usage"]) = ("in_progress".into(), json!([]), Value::Null);
    let item = &response["output"][0];
    let is_call = item["type"] == "function_call";
    let mut opened = item.clone();
    opened["status"] = "in_progress".into();
    match is_call {
        true => opened["arguments"] = "".into(),
        false => opened["content"] = json!([]),
    }
    let place = |more: Value| {
        let mut place = json!({ "item_id": item["id"], "output_index": 0 });
        if !is_call {
            place["content_index"] = 0.into();
        }
        place
            .as_object_mut()
            .into_iter()
            .for_each(|fields| fields.extend(more.as_object().cloned().unwrap_or_default()));
        place
    };
    let part = &item["content"][0];
    let (kind, text) = match is_call {
        true => ("response.function_call_arguments", item["arguments"].as_str().unwrap_or_default()),
        false => ("response.output_text", part["text"].as_str().unwrap_or_default()),
    };
    let mut all = vec![
        ("response.created".to_owned(), json!({ "response": begun })),
        ("response.in_progress".to_owned(), json!({ "response": begun })),
        ("response.output_item.added".to_owned(), json!({ "output_index": 0, "item": opened })),
    ];
    if !is_call {
        let empty = json!({ "type": "output_text", "text": "", "annotations": [] });
        all.push(("response.content_part.added".to_owned(), place(json!({ "part": empty }))));
    }
    all.extend(text.split_inclusive(' ').map(|word| (format!("{kind}.delta"), place(json!({ "delta": word })))));
    all.push((format!("{kind}.done"), place(json!({ "text": text, "arguments": text }))));
    if !is_call {
        all.push(("response.content_part.done".to_owned(), place(json!({ "part": part }))));
    }
    all.push(("response.output_item.done".to_owned(), json!({ "output_index": 0, "item": item })));
    all.push(("response.completed".to_owned(), json!({ "response": response })));
    let written = |(number, (kind, mut data)): (usize, (String, Value))| {
        data["type"] = kind.as_str().into();
        data["sequence_number"] = number.into();
        format!("event: {kind}\ndata: {data}\n\n")
    };
    all.into_iter().enumerate().map(written).collect()
}

/// What a model that must call a tool says: the one it is told to call, with an empty object.
pub(crate) fn tool_call(chat: &ChatRequest, tool: &str, ending: Ending) -> Response {
    let id = ending.id().to_owned();
    let usage = json!({ "prompt_tokens": chat.prompt_tokens, "completion_tokens": 5,
        "total_tokens": chat.prompt_tokens + 5 });
    let call = json!({ "id": format!("call_{id}"), "type": "function",
        "function": { "name": tool, "arguments": "{\"city\":\"Paris\"}" } });
    if !chat.stream {
        let message = json!({ "role": "assistant", "content": null, "refusal": null, "tool_calls": [call] });
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "tool_calls" });
        return whole(
            ending,
            &json!({
                "id": format!("chatcmpl-{id}"), "object": "chat.completion", "created": 0, "model": chat.model,
                "choices": [choice], "usage": usage,
            }),
        );
    }
    let event = |choices: Value, usage: &Value| {
        let chunk = json!({ "id": format!("chatcmpl-{id}"), "object": "chat.completion.chunk", "created": 0,
            "model": chat.model, "choices": choices, "usage": usage });
        format!("data: {chunk}\n\n")
    };
    let piece = |delta: Value, finish: Value| {
        event(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]), &Value::Null)
    };
    let mut begun = call;
    begun["index"] = 0.into();
    begun["function"]["arguments"] = "".into();
    let arguments = |text: &str| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": text } }] });
    let mut text = piece(json!({ "role": "assistant", "content": null, "tool_calls": [begun] }), Value::Null);
    text.push_str(&piece(arguments("{\"city\":"), Value::Null));
    text.push_str(&piece(arguments("\"Paris\"}"), Value::Null));
    text.push_str(&piece(json!({}), "tool_calls".into()));
    if chat.include_usage {
        text.push_str(&event(json!([]), &usage));
    }
    text.push_str("data: [DONE]\n\n");
    ending.respond(StatusCode::OK, SSE, Source::Whole(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_the_same_for_the_same_text_and_reads_back_from_base64() {
        assert_eq!(vector("a", 3), vector("a", 3));
        assert_ne!(vector("a", 3), vector("b", 3));
        assert_eq!(base64(&[0.0]), "AAAAAA==");
        assert_eq!(base64(&[1.0, -1.0]), "AACAPwAAgL8=");
    }
}
