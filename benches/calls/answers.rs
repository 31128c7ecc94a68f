//! What the provider sends: answers of so many tokens in each vendor's format, whole or in events.
//!
//! The address names the answer, so that the provider needs no other instruction. Each event is a chunk of HTTP, as
//! vendors send them, with the fields that they send today.

use std::str::FromStr;

use anyhow::Context as _;
use serde_json::{Value, json};
use tollgate_providers::Vendor;

/// One token of the answer's text. Four bytes are what English has on average.
const TOKEN: &str = " fox";
/// What the provider says the prompt had.
const PROMPT_TOKENS: usize = 250;

/// Whether an answer comes whole or in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As one JSON document.
    Whole,
    /// As events, all at once: many of them come in one read.
    AtOnce,
    /// As events, a millisecond apart: each comes in a read of its own.
    Paced,
}

/// An answer that the provider can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) vendor: Vendor,
    pub(crate) pace: Pace,
    pub(crate) tokens: usize,
}

impl Answer {
    /// The segment of the path that names it.
    pub(crate) fn segment(self) -> String {
        let pace = match self.pace {
            Pace::Whole => "whole",
            Pace::AtOnce => "at_once",
            Pace::Paced => "paced",
        };
        format!("{}-{pace}-{}", self.vendor.as_str(), self.tokens)
    }

    /// The response in the pieces in which it is written, from its head to its end.
    pub(crate) fn response(self) -> Vec<Vec<u8>> {
        if self.pace == Pace::Whole {
            let body = self.whole().to_string();
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req-bench\r\ncontent-length: ";
            return vec![format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()];
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req-bench\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = |event: String| format!("{:x}\r\n{event}\r\n", event.len());
        let mut pieces = vec![head.to_owned()];
        pieces.extend(self.events().into_iter().map(chunk));
        pieces.push("0\r\n\r\n".to_owned());
        match self.pace {
            Pace::Whole | Pace::AtOnce => vec![pieces.concat().into_bytes()],
            Pace::Paced => pieces.into_iter().map(String::into_bytes).collect(),
        }
    }

    fn whole(self) -> Value {
        let text = TOKEN.repeat(self.tokens);
        match self.vendor {
            Vendor::Anthropic => json!({
                "id": "msg_bench", "type": "message", "role": "assistant", "model": "bench-small",
                "content": [{ "type": "text", "text": text }], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": { "input_tokens": PROMPT_TOKENS, "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0, "output_tokens": self.tokens, "service_tier": "standard" },
            }),
            Vendor::Gemini => json!({
                "candidates": [{ "content": { "parts": [{ "text": text }], "role": "model" },
                    "finishReason": "STOP", "index": 0 }],
                "usageMetadata": self.gemini_usage(), "modelVersion": "bench-small", "responseId": "bench",
            }),
            _ => json!({
                "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_763_000_000, "model": "bench-small",
                "choices": [{ "index": 0, "finish_reason": "stop", "logprobs": null,
                    "message": { "role": "assistant", "content": text, "refusal": null, "annotations": [] } }],
                "usage": self.openai_usage(), "service_tier": "default", "system_fingerprint": "fp_bench",
            }),
        }
    }

    fn events(self) -> Vec<String> {
        let tokens = self.tokens;
        match self.vendor {
            Vendor::Anthropic => {
                let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or(""));
                let delta = json!({ "type": "text_delta", "text": TOKEN });
                let delta = event(json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
                let mut start = self.whole();
                start["content"] = json!([]);
                start["stop_reason"] = Value::Null;
                let mut events = vec![
                    event(json!({ "type": "message_start", "message": start })),
                    event(json!({ "type": "content_block_start", "index": 0,
                        "content_block": { "type": "text", "text": "" } })),
                ];
                events.extend(std::iter::repeat_n(delta, tokens));
                events.push(event(json!({ "type": "content_block_stop", "index": 0 })));
                events.push(event(json!({ "type": "message_delta", "usage": { "output_tokens": tokens },
                    "delta": { "stop_reason": "end_turn", "stop_sequence": null } })));
                events.push(event(json!({ "type": "message_stop" })));
                events
            }
            Vendor::Gemini => {
                let event = |data: Value| format!("data: {data}\r\n\r\n");
                let frame = |text: &str| {
                    let content = json!({ "parts": [{ "text": text }], "role": "model" });
                    json!({ "candidates": [{ "content": content, "index": 0 }], "modelVersion": "bench-small",
                        "usageMetadata": self.gemini_usage(), "responseId": "bench" })
                };
                let mut events = vec![event(frame(TOKEN)); tokens];
                let mut last = frame("");
                last["candidates"][0]["finishReason"] = "STOP".into();
                events.push(event(last));
                events
            }
            _ => {
                let event = |choices: Value, usage: Value| {
                    let chunk = json!({
                        "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_763_000_000,
                        "model": "bench-small", "service_tier": "default", "system_fingerprint": "fp_bench",
                        "choices": choices, "usage": usage, "obfuscation": "a9ZkQ",
                    });
                    format!("data: {chunk}\n\n")
                };
                let choice = |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]);
                let opening = json!({ "role": "assistant", "content": "", "refusal": null });
                let mut events = vec![event(choice(opening, Value::Null), Value::Null)];
                let piece = event(choice(json!({ "content": TOKEN }), Value::Null), Value::Null);
                events.extend(std::iter::repeat_n(piece, tokens));
                events.push(event(choice(json!({}), "stop".into()), Value::Null));
                events.push(event(json!([]), self.openai_usage()));
                events.push("data: [DONE]\n\n".to_owned());
                events
            }
        }
    }

    fn openai_usage(self) -> Value {
        json!({ "prompt_tokens": PROMPT_TOKENS, "completion_tokens": self.tokens,
            "total_tokens": PROMPT_TOKENS + self.tokens, "prompt_tokens_details": { "cached_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0 } })
    }

    fn gemini_usage(self) -> Value {
        json!({ "promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": self.tokens,
            "totalTokenCount": PROMPT_TOKENS + self.tokens })
    }
}

impl FromStr for Answer {
    type Err = anyhow::Error;
    fn from_str(segment: &str) -> anyhow::Result<Self> {
        let mut parts = segment.split('-');
        let mut next = || parts.next().context("a path that names no answer");
        let vendor = next()?.parse().map_err(anyhow::Error::msg)?;
        let pace = match next()? {
            "whole" => Pace::Whole,
            "at_once" => Pace::AtOnce,
            "paced" => Pace::Paced,
            _ => anyhow::bail!("a path that names no answer"),
        };
        Ok(Answer { vendor, pace, tokens: next()?.parse()? })
    }
}
