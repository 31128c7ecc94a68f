//! What Tollgate reads in a body, by endpoint: enough to route, bound and price it, and to refuse what no provider takes.

use std::ops::Range;

use serde_json::value::RawValue;

use super::fields::{Fields, forbidden, wrong_type};
use super::{INPUTS_MAX, MAX_TOKENS_MAX, Rejection, Request};
use crate::code::ErrorCode;
use crate::endpoint::Endpoint;

const AT: &str = "body";
/// What a body may not set, as far as a provider's own fields have no such name.
pub(super) const FORBIDDEN_IN_BODY: &[&str] = &["api_key", "api_base", "base_url", "extra_headers"];

/// Reads the body of a job for an endpoint.
pub(super) fn decode(endpoint: Endpoint, raw: &RawValue, body: &Fields<'_>) -> Result<Request, Rejection> {
    if let Some(name) = FORBIDDEN_IN_BODY.iter().find(|name| body.get(name).is_some()) {
        return Err(forbidden(AT, name));
    }
    let model = body.optional_text(AT, "model")?.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| missing("model", ""))?;
    let span = |value: &RawValue| span_in(raw, value);
    let model_at = span(body.get("model").expect("the model was just read"));
    let (max_tokens, n) = match endpoint {
        Endpoint::ChatCompletions => chat(body)?,
        Endpoint::Embeddings => embeddings(body)?,
        Endpoint::Responses => response(body)?,
    };
    let stream = body.get("stream").filter(|raw| raw.get() != "null");
    if let Some(raw) = stream.filter(|raw| !matches!(raw.get(), "true" | "false")) {
        return Err(wrong_type(AT, "stream", "true or false", raw));
    }
    let stream_at = stream.filter(|raw| raw.get() == "true").map(span);
    if endpoint == Endpoint::Embeddings && stream_at.is_some() {
        return Err(invalid("`body.stream` is true, but embeddings come whole; remove it"));
    }
    let stream_options_at = body.get("stream_options").map(span);
    let stored = ["previous_response_id", "conversation", "prompt"];
    let is_given = |name: &&str| body.get(name).is_some_and(|raw| raw.get() != "null");
    let prompt_elsewhere = endpoint == Endpoint::Responses && stored.iter().any(is_given);
    Ok(Request { endpoint, model, model_at, max_tokens, n, stream_at, stream_options_at, prompt_elsewhere })
}

/// Where a value lies in the text that it was read from.
fn span_in(whole: &RawValue, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - whole.get().as_ptr() as usize;
    start..start + value.get().len()
}

const FOR_CHAT: &str = "; a body with `messages` is for the `url` /v1/chat/completions";

/// The hint, if the body has a field of another endpoint.
fn meant_for<'a>(body: &Fields<'_>, name: &str, hint: &'a str) -> &'a str {
    if body.get(name).is_some() { hint } else { "" }
}

/// The answer's longest length and the number of answers.
type Answers = (Option<u64>, u64);

fn chat(body: &Fields<'_>) -> Result<Answers, Rejection> {
    match body.get("messages") {
        None => {
            return Err(missing(
                "messages",
                meant_for(body, "input", "; a body with `input` is for the `url` /v1/embeddings or /v1/responses"),
            ));
        }
        Some(messages) if !messages.get().starts_with('[') => {
            return Err(wrong_type(AT, "messages", "an array of messages", messages));
        }
        Some(messages) if is_empty_array(messages) => {
            return Err(Rejection::new(ErrorCode::NoMessages, "`body.messages` is empty; send at least one message"));
        }
        Some(_) => {}
    }
    let max_tokens = body.optional_count(AT, "max_completion_tokens", MAX_TOKENS_MAX)?;
    let max_tokens = max_tokens.or(body.optional_count(AT, "max_tokens", MAX_TOKENS_MAX)?);
    let n = body.optional_count(AT, "n", 128)?.unwrap_or(1);
    numbers(body, &["temperature", "top_p", "frequency_penalty", "presence_penalty"])?;
    Ok((max_tokens, n))
}

/// Embeddings have no answer tokens, and one vector for each input.
fn embeddings(body: &Fields<'_>) -> Result<Answers, Rejection> {
    let Some(input) = body.get("input").filter(|raw| raw.get() != "null") else {
        return Err(missing("input", meant_for(body, "messages", FOR_CHAT)));
    };
    body.optional_count(AT, "dimensions", MAX_TOKENS_MAX)?;
    if let Some(format) = body.optional_text(AT, "encoding_format")?
        && !matches!(format.as_str(), "float" | "base64")
    {
        return Err(invalid("`body.encoding_format` must be \"float\" or \"base64\""));
    }
    Ok((Some(0), inputs(input)?))
}

/// How many texts or lists of token ids there are.
fn inputs(input: &RawValue) -> Result<u64, Rejection> {
    const WANTED: &str = "a text, a list of texts, a list of token ids, or a list of such lists";
    let wrong = || wrong_type(AT, "input", WANTED, input);
    let empty = |what: &str| invalid(format!("`body.input` {what}; remove it or give it a text"));
    match input.get().as_bytes()[0] {
        b'"' if input.get() == "\"\"" => Err(empty("is empty")),
        b'"' => Ok(1),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(input.get()).map_err(|_| wrong())?;
            let first = items.first().ok_or_else(|| empty("is empty"))?;
            let kind = Item::of(first).ok_or_else(wrong)?;
            if !items.iter().all(|item| Item::of(item) == Some(kind)) {
                return Err(invalid(format!("`body.input` mixes kinds; it must be {WANTED}")));
            }
            if kind == Item::Token {
                return Ok(1);
            }
            if items.iter().any(|item| item.get() == "\"\"" || is_empty_array(item)) {
                return Err(empty("holds an empty text or list"));
            }
            if items.len() > INPUTS_MAX {
                let message =
                    format!("`body.input` has {} entries and may have {INPUTS_MAX}; make two jobs", items.len());
                return Err(invalid(message));
            }
            Ok(items.len() as u64)
        }
        _ => Err(wrong()),
    }
}

/// What a list of inputs holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Text,
    Token,
    Tokens,
}

impl Item {
    fn of(raw: &RawValue) -> Option<Item> {
        match raw.get().as_bytes()[0] {
            b'"' => Some(Item::Text),
            b'0'..=b'9' => raw.get().parse::<u32>().is_ok().then_some(Item::Token),
            b'[' => serde_json::from_str::<Vec<u32>>(raw.get()).is_ok().then_some(Item::Tokens),
            _ => None,
        }
    }
}

/// A response needs an input, or something that is stored with the provider: an earlier response or a prompt. What is
/// stored is known to the account that stored it, so such a job passes and goes well where that account serves it; another
/// one refuses it by itself. Only `background` cannot work at all.
fn response(body: &Fields<'_>) -> Result<Answers, Rejection> {
    let given = |name: &str| body.get(name).filter(|raw| raw.get() != "null");
    match given("input") {
        Some(input) if input.get() == "\"\"" || is_empty_array(input) => {
            return Err(invalid("`body.input` is empty; send a text or at least one item"));
        }
        Some(input) if !input.get().starts_with(['"', '[']) => {
            return Err(wrong_type(AT, "input", "a text or an array of items", input));
        }
        None if given("previous_response_id").is_none() && given("prompt").is_none() => {
            return Err(missing("input", meant_for(body, "messages", FOR_CHAT)));
        }
        Some(_) | None => {}
    }
    // The provider would answer at once and be done later, where nobody asks: the answer would be lost, and its cost.
    if let Some(raw) = given("background").filter(|raw| raw.get() != "false") {
        return Err(match raw.get() {
            "true" => invalid("`body.background` is true; a job already runs in the background, so remove it"),
            _ => wrong_type(AT, "background", "true or false", raw),
        });
    }
    numbers(body, &["temperature", "top_p"])?;
    Ok((body.optional_count(AT, "max_output_tokens", MAX_TOKENS_MAX)?, 1))
}

fn numbers(body: &Fields<'_>, names: &[&str]) -> Result<(), Rejection> {
    names.iter().try_for_each(|name| body.optional_number(AT, name))
}

fn is_empty_array(raw: &RawValue) -> bool {
    raw.get().strip_prefix('[').is_some_and(|rest| rest.trim_start() == "]")
}

fn missing(name: &str, hint: &str) -> Rejection {
    Rejection::new(ErrorCode::MissingField, format!("`body.{name}` is missing{hint}"))
}

fn invalid(message: impl Into<String>) -> Rejection {
    Rejection::new(ErrorCode::InvalidField, message)
}
