//! What is read of a chat completion request, and the identity of its content.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::directive::Directive;
use crate::model::StableHash;
use crate::refusal::Refusal;
use crate::usage;

/// The metadata key that carries a directive.
const DIRECTIVE_KEY: &str = "sim";

/// The fields that the simulation reacts to; as at the vendor's, there are many more.
#[derive(Deserialize)]
struct Body {
    model: String,
    messages: Vec<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u32>,
    metadata: Option<BTreeMap<String, String>>,
    tools: Option<Box<RawValue>>,
    tool_choice: Option<Value>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A well-formed request.
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) tokens_max: Option<u64>,
    pub(crate) prompt_tokens: u64,
    /// `None` leaves it to the fault plan.
    pub(crate) directive: Option<Directive>,
    /// The tool that must be called, if the request leaves no choice.
    pub(crate) tool: Option<String>,
    /// What the answer repeats, if the directive says so.
    pub(crate) echo: Option<String>,
    /// The hash of model and messages, from which the answer is drawn.
    pub(crate) content: u64,
    /// The hash of the content and the directive, by which calls are counted.
    pub(crate) counted_as: u64,
}

impl ChatRequest {
    /// Reads a request body.
    ///
    /// # Errors
    ///
    /// The 400 that says what is wrong with it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let body: Body = serde_json::from_slice(body).map_err(|error| {
            Refusal::invalid(None, None, format!("We could not parse the JSON body of your request: {error}."))
        })?;
        if body.messages.is_empty() {
            return Err(Refusal::invalid(Some("messages"), Some("empty_array"), "Invalid 'messages': empty array."));
        }
        if body.n.is_some_and(|n| n != 1) {
            return Err(Refusal::invalid(Some("n"), Some("unsupported_value"), "Only one choice is supported: n = 1."));
        }
        let tokens_max = body.max_completion_tokens.or(body.max_tokens);
        if tokens_max == Some(0) {
            let message = "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1.";
            return Err(Refusal::invalid(Some("max_tokens"), Some("integer_below_min_value"), message));
        }
        let stream = body.stream.unwrap_or(false);
        let text = body.metadata.as_ref().and_then(|metadata| metadata.get(DIRECTIVE_KEY));
        let content = content_hash(&body.model, &body.messages);
        let mut counted_as = StableHash::new(content);
        counted_as.text(text.map_or("", String::as_str));
        let directive = text.map(|text| directive(text, stream)).transpose()?;
        let tools = body.tools.as_ref().map_or("", |tools| tools.get());
        Ok(Self {
            tool: body.tool_choice.as_ref().and_then(|choice| forced(choice, tools)),
            echo: directive.as_ref().is_some_and(|directive| directive.echo).then(|| last_of_user(&body.messages)),
            directive,
            stream,
            include_usage: body.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            tokens_max,
            prompt_tokens: usage::prompt_tokens(&body.messages, body.tools.map_or(0, |tools| tools.get().len())),
            content,
            counted_as: counted_as.finish(),
            model: body.model,
        })
    }
}

/// The function that must be called: the one that is named, or the first where any will do.
fn forced(choice: &Value, tools: &str) -> Option<String> {
    let tools: Vec<Value> = serde_json::from_str(tools).ok()?;
    let named = choice["function"]["name"].as_str();
    let any = || tools.first()?["function"]["name"].as_str().filter(|_| choice == "required");
    named.or_else(any).map(str::to_owned)
}

/// The text of the user's last message; the first part of one in parts.
fn last_of_user(messages: &[Value]) -> String {
    let last = messages.iter().rfind(|message| message["role"] == "user");
    let content = last.map(|message| &message["content"]).unwrap_or(&Value::Null);
    content.as_str().or_else(|| content[0]["text"].as_str()).unwrap_or_default().to_owned()
}

fn directive(text: &str, stream: bool) -> Result<Directive, Refusal> {
    let refused =
        |why: String| Refusal::invalid(Some("metadata"), Some("bad_directive"), format!("metadata.sim: {why}"));
    let directive: Directive = text.parse().map_err(|error: crate::DirectiveError| refused(error.to_string()))?;
    for fault in [&directive.first, &directive.then] {
        if fault.needs_stream() && !stream {
            return Err(refused(format!("{} needs \"stream\": true", fault.name())));
        }
    }
    Ok(directive)
}

/// Hashes model and messages, whatever the order of the keys and the white space.
fn content_hash(model: &str, messages: &[Value]) -> u64 {
    let mut hash = StableHash::new(0);
    hash.text(model);
    messages.iter().for_each(|message| hash_value(message, &mut hash));
    hash.finish()
}

fn hash_value(value: &Value, hash: &mut StableHash) {
    match value {
        Value::Null => hash.number(0),
        Value::Bool(truth) => hash.number(1 + u64::from(*truth)),
        Value::Number(number) => hash.text(&number.to_string()),
        Value::String(text) => hash.text(text),
        Value::Array(items) => {
            hash.number(items.len() as u64);
            items.iter().for_each(|item| hash_value(item, hash));
        }
        Value::Object(fields) => {
            // A sum does not depend on the order, and the order depends on a feature of the JSON library.
            let sum = fields.iter().fold(fields.len() as u64, |sum, (key, value)| {
                let mut field = StableHash::new(1);
                field.text(key);
                hash_value(value, &mut field);
                sum.wrapping_add(field.finish())
            });
            hash.number(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &str) -> ChatRequest {
        ChatRequest::parse(body.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    #[test]
    fn the_identity_is_the_content_and_not_its_spelling() {
        let base = parse(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
        let same = [
            r#"{"messages":[{"content":"hi","role":"user"}],"model":"m"}"#,
            r#"{ "model": "m", "messages": [ {"role": "user", "content": "hi"} ], "temperature": 1, "stream": true }"#,
        ];
        for body in same {
            assert_eq!(parse(body).counted_as, base.counted_as, "{body}");
        }
        let others = [
            r#"{"model":"n","messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi!"}]}"#,
            r#"{"model":"m","messages":[{"role":"system","content":"hi"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"h"},{"role":"user","content":"i"}]}"#,
        ];
        for body in others {
            assert_ne!(parse(body).content, base.content, "{body}");
        }
        let directed = parse(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"sim":"ok"}}"#);
        assert_eq!(directed.content, base.content);
        assert_ne!(directed.counted_as, base.counted_as);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |body: Value, expected: &str| {
            let refusal = ChatRequest::parse(body.to_string().as_bytes()).err().expect("refused");
            let text = String::from_utf8(refusal.body()).unwrap();
            assert!(text.contains(expected), "{body}: {text}");
        };
        let messages = json!([{"role": "user", "content": "hi"}]);
        check(json!({"messages": messages}), "missing field `model`");
        check(json!({"model": "m", "messages": []}), "empty_array");
        check(json!({"model": "m", "messages": messages, "n": 2}), "unsupported_value");
        check(json!({"model": "m", "messages": messages, "max_tokens": 0}), "integer_below_min_value");
        check(json!({"model": "m", "messages": messages, "metadata": {"sim": 5}}), "could not parse");
        check(
            json!({"model": "m", "messages": messages, "metadata": {"sim": "explode"}}),
            "metadata.sim: unknown fault",
        );
        check(
            json!({"model": "m", "messages": messages, "metadata": {"sim": "no-done"}}),
            "needs \\\"stream\\\": true",
        );
    }
}
