//! Ollama's chat as a chat completion.
//!
//! | Ollama's chat | chat completion |
//! |---|---|
//! | `content`, `thinking` | `content`, `reasoning_content` |
//! | `tool_calls` | the same, with the arguments as text and an id of ours where there is none |
//! | `done_reason` of `stop`, or none (old servers) | `tool_calls` if a tool is called, else `stop` |
//! | `length` | `length` |
//! | `load`, `unload`, not `done` | no answer |
//! | `prompt_eval_count`, `eval_count` | `usage`; thoughts are in the answer and not counted apart |

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_types::{Digest, Tokens};

use crate::adapter::{Read, Reported, Sent, Unusable};
use crate::completion::{Choice, Written, completion};
use crate::payload;
use crate::usage::{Counts, count, report};

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    model: Option<String>,
    created_at: Option<String>,
    message: Option<Message>,
    done: Option<bool>,
    done_reason: Option<String>,
    #[serde(borrow)]
    prompt_eval_count: Option<&'a RawValue>,
    #[serde(borrow)]
    eval_count: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Value>>,
}

/// Reads an answer: a chat that is done.
pub(super) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let mut chat: Chat<'_> = payload::parse(&text, "chat")?;
    payload::refuse_error(chat.error)?;
    let message = chat.message.take().ok_or_else(|| payload::unusable("an answer without a message"))?;
    let answered = Digest::of(&[chat.created_at.take().unwrap_or_default().as_bytes(), text.as_bytes()]).short();
    let written = written(message, &answered);
    let answer_text_bytes = written.bytes();
    let reported = reported(&chat, sent, answer_text_bytes);
    let finish = match chat.done_reason.as_deref() {
        _ if chat.done != Some(true) => return Err(Unusable::bad("an answer that is not done", reported)),
        Some("length") => "length",
        Some("stop") | None if !written.tool_calls.is_empty() => "tool_calls",
        Some("stop") | None => "stop",
        Some(_) => return Err(Unusable::bad("an answer without a known end", reported)),
    };
    if answer_text_bytes == 0 && finish == "stop" {
        return Err(Unusable::bad("an answer that holds nothing", reported));
    }
    let choices = vec![Choice { message: written, finish, stop_reason: None }];
    let body = completion(Some(format!("chatcmpl-{answered}")), chat.model, choices, reported.tokens.as_ref());
    Ok(Read { body, finish: finish.to_owned(), answer_text_bytes, reported })
}

/// What the model wrote; `answered` makes ids of its calls that no other answer has.
fn written(message: Message, answered: &str) -> Written {
    let call = |(at, call): (usize, Value)| {
        let own = || Value::from(format!("call_{answered}_{at}"));
        let id = call.get("id").filter(|id| id.as_str().is_some_and(|id| !id.is_empty())).cloned();
        let arguments = match &call["function"]["arguments"] {
            Value::Null => "{}".to_owned(),
            arguments => arguments.to_string(),
        };
        json!({
            "id": id.unwrap_or_else(own),
            "type": "function",
            "function": { "name": call["function"]["name"], "arguments": arguments },
        })
    };
    Written {
        text: message.content.unwrap_or_default(),
        thoughts: message.thinking.unwrap_or_default(),
        tool_calls: message.tool_calls.unwrap_or_default().into_iter().enumerate().map(call).collect(),
        ..Written::default()
    }
}

/// Ollama leaves out the count of a prompt that its cache held whole; then nothing is counted.
fn reported(chat: &Chat<'_>, sent: &Sent<'_>, answer_text_bytes: usize) -> Reported {
    if chat.prompt_eval_count.is_none() && chat.eval_count.is_none() {
        return Reported::default();
    }
    let counts = || {
        let (input, output) = (count(chat.prompt_eval_count)??, count(chat.eval_count)??);
        let tokens = Tokens { input, output, ..Tokens::default() };
        Some(Counts { tokens, reasoning_is_known: false, silent: 0 })
    };
    let usage = json!({ "prompt_eval_count": chat.prompt_eval_count, "eval_count": chat.eval_count });
    let usage = serde_json::value::to_raw_value(&usage).expect("values always serialise");
    report(&usage, counts(), sent, answer_text_bytes)
}
