//! What is asked of every vendor, and what must come of it.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_types::{Billed, FailureKind};

/// One question in the shape of a chat completion.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The user's message, by which the server's fixture is found.
    says: &'static str,
    /// The fields beside the model and the messages, and messages that follow the user's.
    more: fn(&mut Value),
    /// Words that the server must have understood.
    pub(crate) understood: &'static [&'static str],
    pub(crate) then: Then,
}

/// How a call must end.
pub(crate) enum Then {
    /// With an answer that ended so and says this.
    Answer { finish: &'static str, says: fn(&Value, &str) },
    /// With a failure.
    Fail { kind: FailureKind, status: Option<u16>, retry_after: Option<Duration>, billed: Billed },
}

impl Case {
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({ "model": "fast", "max_tokens": 50,
            "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": self.says }] });
        (self.more)(&mut body);
        body
    }
}

fn nothing_more(_: &mut Value) {}

fn tool(body: &mut Value) {
    let city = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let function = json!({ "name": "weather_at", "description": "the weather", "parameters": city });
    body["tools"] = json!([{ "type": "function", "function": function }]);
}

fn result_of_a_tool(body: &mut Value) {
    tool(body);
    let call = json!({ "id": "call-1", "type": "function",
        "function": { "name": "weather_at", "arguments": "{\"city\":\"Oslo\"}" } });
    let messages = body["messages"].as_array_mut().expect("a list");
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
    messages.push(json!({ "role": "tool", "tool_call_id": "call-1", "content": "rain" }));
}

fn schema(body: &mut Value) {
    let city = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
        "additionalProperties": false });
    body["response_format"] =
        json!({ "type": "json_schema", "json_schema": { "name": "place", "strict": true, "schema": city } });
}

const fn failure(kind: FailureKind, status: u16, retry_after_s: Option<u64>) -> Then {
    let retry_after = match retry_after_s {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => None,
    };
    Then::Fail { kind, status: Some(status), retry_after, billed: Billed::No }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a plain question",
        says: "a plain question",
        more: nothing_more,
        understood: &["be brief", "a plain question"],
        then: Then::Answer {
            finish: "stop",
            says: |message, what| assert_eq!(message["content"], "a plain answer", "{what}"),
        },
    },
    Case {
        name: "a call of a tool",
        says: "a question for a tool",
        more: tool,
        understood: &["weather_at", "the weather"],
        then: Then::Answer {
            finish: "tool_calls",
            says: |message, what| {
                let call = &message["tool_calls"][0];
                assert!(call["id"].as_str().is_some_and(|id| !id.is_empty()), "{what}: {call}");
                assert_eq!(
                    (&call["type"], &call["function"]["name"]),
                    (&"function".into(), &"weather_at".into()),
                    "{what}"
                );
                let arguments = call["function"]["arguments"].as_str().expect("text");
                assert_eq!(
                    serde_json::from_str::<Value>(arguments).expect("JSON"),
                    json!({ "city": "Oslo" }),
                    "{what}"
                );
            },
        },
    },
    Case {
        name: "a result of a tool",
        says: "a result of a tool",
        more: result_of_a_tool,
        understood: &["weather_at", "rain"],
        then: Then::Answer {
            finish: "stop",
            says: |message, what| assert_eq!(message["content"], "it rains in Oslo", "{what}"),
        },
    },
    Case {
        name: "an answer by a schema",
        says: "a question for JSON",
        more: schema,
        understood: &["a question for JSON"],
        then: Then::Answer {
            finish: "stop",
            says: |message, what| assert_eq!(message["content"], "{\"city\":\"Oslo\"}", "{what}"),
        },
    },
    Case {
        name: "a prompt that is too long",
        says: "a prompt that is too long",
        more: nothing_more,
        understood: &["a prompt that is too long"],
        then: failure(FailureKind::ContextLength, 400, None),
    },
    Case {
        name: "a call too many",
        says: "a call too many",
        more: nothing_more,
        understood: &["a call too many"],
        then: failure(FailureKind::RateLimited, 429, Some(1)),
    },
    Case {
        name: "a call without credit",
        says: "a call without credit",
        more: nothing_more,
        understood: &["a call without credit"],
        then: failure(FailureKind::QuotaExhausted, 429, Some(1)),
    },
    Case {
        name: "a busy provider",
        says: "a busy provider",
        more: nothing_more,
        understood: &["a busy provider"],
        then: failure(FailureKind::ServerError, 529, None),
    },
    Case {
        name: "a connection that breaks",
        says: "a connection that breaks",
        more: nothing_more,
        understood: &["a connection that breaks"],
        then: Then::Fail { kind: FailureKind::Reset, status: None, retry_after: None, billed: Billed::Maybe },
    },
    Case {
        name: "an answer that is garbled",
        says: "an answer that is garbled",
        more: nothing_more,
        understood: &["an answer that is garbled"],
        then: Then::Fail {
            kind: FailureKind::BadResponse,
            status: Some(200),
            retry_after: None,
            billed: Billed::Maybe,
        },
    },
];
