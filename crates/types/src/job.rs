//! A job: one request line of the OpenAI Batch format, with our own options in one extra object.
//!
//! [`JobSpec::decode`] is the only way in. It refuses with a [`Rejection`] that names the field and the fix, and it
//! copies no prompt: the body stays a slice of the message that carried it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::code::ErrorCode;
use crate::ids::Digest;
use crate::instant::UnixMillis;
use crate::strict::{self, StrictError};

/// The version of the `tollgate` object that this code speaks.
pub const VERSION: u32 = 1;
/// The endpoint that this broker serves.
pub const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
/// The longest `custom_id`, project, user or model, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The most labels of one job.
pub const LABELS_MAX: usize = 16;
/// The most bytes of all labels together as JSON: they travel in the usage header.
pub const LABELS_BYTES_MAX: usize = 3072;
/// The largest answer length that a job may ask for; above any model's.
pub const MAX_TOKENS_MAX: u64 = 10_000_000;

/// What a producer publishes: a request line of an OpenAI batch file, and our options.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub struct JobLine {
    /// The producer's own name for the request; it comes back with the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub custom_id: Option<String>,
    /// `POST`; may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `/v1/chat/completions`; may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The request for the provider; fields that Tollgate does not know pass untouched.
    pub body: serde_json::Map<String, serde_json::Value>,
    /// Our own options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tollgate: Option<Options>,
}

/// Tollgate's own options of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Options {
    /// The version of this object; 1.
    #[schemars(default)]
    pub version: u32,
    /// Where to copy the result, under `reply.<team>.` or `_INBOX_<team>.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// RFC 3339; after it the job ends as `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub deadline: Option<Deadline>,
    /// A project of the team, for budgets and reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub project: Option<String>,
    /// The end user on whose behalf the job runs, for reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub user: Option<String>,
    /// Free dimensions for reports; at most 16.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub labels: BTreeMap<String, String>,
}

/// A deadline as the producer wrote it, and as a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The point in time.
    pub at: UnixMillis,
}

impl Serialize for Deadline {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.at.to_rfc3339())
    }
}

/// A decoded job, without its id and lane, which the message carries.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The producer's own name for it.
    pub custom_id: Option<String>,
    /// The request body, byte for byte as it came.
    pub body: Bytes,
    /// What Tollgate read in the body.
    pub request: ChatRequest,
    /// Our options.
    pub options: Options,
    /// SHA-256 of endpoint and body: the same id with another digest is a conflict.
    pub digest: Digest,
}

/// What Tollgate reads in a chat completion request; all else passes untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRequest {
    /// The model that was asked for.
    pub model: String,
    /// Where the model's JSON string lies in the body.
    pub model_at: Range<usize>,
    /// `max_completion_tokens` or `max_tokens`.
    pub max_tokens: Option<u64>,
    /// How many answers; 1 unless the body says more.
    pub n: u64,
    /// Where `true` of `"stream": true` lies, if the body has that.
    pub stream_at: Option<Range<usize>>,
    /// Where the value of `stream_options` lies.
    pub stream_options_at: Option<Range<usize>>,
}

/// Why a payload is not a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The stable code.
    pub code: ErrorCode,
    /// What is wrong and what to do, without any of the prompt.
    pub message: String,
    /// The `custom_id`, where it could still be read.
    pub custom_id: Option<String>,
    /// The `tollgate.reply_to`, where it could still be read: who sent a malformed job waits for an answer too.
    pub reply_to: Option<String>,
}

impl Rejection {
    /// A refusal with a code and a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Rejection { code, message: message.into(), custom_id: None, reply_to: None }
    }
}

/// The digest of a payload that could not be decoded.
pub fn undecoded_digest(payload: &[u8]) -> Digest {
    Digest::of(&[b"undecoded", payload])
}

impl JobSpec {
    /// Reads one payload. `bytes_max` is the operator's limit.
    ///
    /// # Errors
    /// Returns what is wrong, naming the field by its path and the fix.
    pub fn decode(payload: &Bytes, bytes_max: usize) -> Result<JobSpec, Rejection> {
        let text = readable(payload, bytes_max)?;
        strict::check(text).map_err(from_strict)?;
        let line = Fields::read(text).ok_or_else(|| {
            Rejection::new(ErrorCode::BadRequest, format!("the payload is {}, not a request object", kind_of(text)))
        })?;
        let custom_id = line.optional_text("", "custom_id").ok().flatten();
        let options = line.get("tollgate").and_then(|raw| Fields::read(raw.get()));
        let reply_to = options.and_then(|options| options.optional_text("", "reply_to").ok().flatten());
        decode_line(payload, &line).map_err(|rejection| Rejection { custom_id, reply_to, ..rejection })
    }
}

fn readable(payload: &Bytes, bytes_max: usize) -> Result<&str, Rejection> {
    let reject = |code, message: &str| Err(Rejection::new(code, message));
    if payload.is_empty() {
        return reject(
            ErrorCode::BadRequest,
            "the payload is empty; publish one request line of the OpenAI Batch format",
        );
    }
    if payload.len() > bytes_max {
        let message = format!("the payload has {} bytes; this broker takes {bytes_max}", payload.len());
        return Err(Rejection::new(ErrorCode::TooLarge, message));
    }
    match &payload[..] {
        [0xef, 0xbb, 0xbf, ..] => {
            return reject(ErrorCode::BadEncoding, "the payload starts with a byte order mark; remove it");
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..] => {
            return reject(ErrorCode::BadEncoding, "the payload looks like UTF-16; send UTF-8");
        }
        [0x1f, 0x8b, ..] => {
            return reject(ErrorCode::BadEncoding, "the payload looks gzip-compressed; send it uncompressed");
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            return reject(ErrorCode::BadEncoding, "the payload looks zstd-compressed; send it uncompressed");
        }
        _ => {}
    }
    std::str::from_utf8(payload).map_err(|error| {
        Rejection::new(ErrorCode::BadEncoding, format!("invalid UTF-8 after byte {}; send UTF-8", error.valid_up_to()))
    })
}

fn from_strict(error: StrictError) -> Rejection {
    let code = match &error {
        StrictError::TooDeep { .. } => ErrorCode::TooDeep,
        StrictError::TooManyValues => ErrorCode::TooLarge,
        StrictError::Duplicate { .. } => ErrorCode::DuplicateField,
        StrictError::Syntax(_) => ErrorCode::InvalidJson,
    };
    Rejection::new(code, error.to_string())
}

const LINE_FIELDS: &[&str] = &["custom_id", "method", "url", "body", "tollgate"];
const OPTION_FIELDS: &[&str] = &["version", "reply_to", "deadline", "project", "user", "labels"];
/// What a payload must never set: LiteLLM's CVE-2024-6587 was a client-chosen `api_base` that received the key.
const FORBIDDEN: &[&str] = &[
    "api_key",
    "api_base",
    "base_url",
    "api_version",
    "organization",
    "extra_headers",
    "headers",
    "authorization",
    "priority",
    "weight",
    "team",
    "class",
    "cost_nanousd",
];
const FORBIDDEN_IN_BODY: &[&str] = &["api_key", "api_base", "base_url", "extra_headers"];

fn decode_line(payload: &Bytes, line: &Fields<'_>) -> Result<JobSpec, Rejection> {
    line.only("", LINE_FIELDS)?;
    let custom_id = line.optional_text("", "custom_id")?;
    let method = line.optional_text("", "method")?;
    let url = line.optional_text("", "url")?;
    if method.as_deref().is_some_and(|m| m != "POST") || url.as_deref().is_some_and(|u| u != CHAT_COMPLETIONS) {
        let message = format!("`method` and `url` must be POST and {CHAT_COMPLETIONS}, or left out");
        return Err(Rejection::new(ErrorCode::UnsupportedUrl, message));
    }
    let options = match line.get("tollgate") {
        Some(raw) => decode_options(&object(raw, "tollgate")?)?,
        None => Options { version: VERSION, ..Options::default() },
    };
    let raw_body = line.get("body").ok_or_else(|| {
        let hint = if line.get("messages").is_some() { "; put the chat request into `body`" } else { "" };
        Rejection::new(ErrorCode::MissingField, format!("`body` is missing{hint}"))
    })?;
    let request = decode_chat(raw_body, &object(raw_body, "body")?)?;
    let body = payload.slice_ref(raw_body.get().as_bytes());
    let digest = Digest::of(&[CHAT_COMPLETIONS.as_bytes(), &body]);
    Ok(JobSpec { custom_id, body, request, options, digest })
}

fn decode_options(fields: &Fields<'_>) -> Result<Options, Rejection> {
    let at = "tollgate";
    let version = match fields.get("version") {
        None => VERSION,
        Some(raw) => raw.get().parse().map_err(|_| wrong_type(at, "version", "a whole number", raw))?,
    };
    if version != VERSION {
        let message = format!("`tollgate.version` is {version}; this broker speaks {VERSION}");
        return Err(Rejection::new(ErrorCode::UnsupportedVersion, message));
    }
    fields.only(at, OPTION_FIELDS)?;
    let deadline = fields.optional_text(at, "deadline")?.map(|text| parse_deadline(&text)).transpose()?;
    Ok(Options {
        version,
        reply_to: fields.optional_text(at, "reply_to")?,
        deadline,
        project: fields.optional_text(at, "project")?,
        user: fields.optional_text(at, "user")?,
        labels: fields.get("labels").map(decode_labels).transpose()?.unwrap_or_default(),
    })
}

fn parse_deadline(text: &str) -> Result<Deadline, Rejection> {
    OffsetDateTime::parse(text, &Rfc3339).map(|at| Deadline { at: at.into() }).map_err(|_| {
        let message = "`tollgate.deadline` must be an RFC 3339 time with a zone, such as 2026-12-01T10:00:00Z";
        Rejection::new(ErrorCode::InvalidField, message)
    })
}

fn decode_labels(raw: &RawValue) -> Result<BTreeMap<String, String>, Rejection> {
    let invalid = |message: String| Rejection::new(ErrorCode::InvalidField, message);
    let labels: BTreeMap<String, String> = serde_json::from_str(raw.get())
        .map_err(|_| invalid(format!("`tollgate.labels` must be an object of texts, not {}", kind_of(raw.get()))))?;
    if labels.len() > LABELS_MAX {
        return Err(invalid(format!("`tollgate.labels` has {} labels and may have {LABELS_MAX}", labels.len())));
    }
    let bytes = crate::event::ascii_json(&labels).len();
    if bytes > LABELS_BYTES_MAX {
        return Err(invalid(format!("`tollgate.labels` takes {bytes} bytes as JSON and may take {LABELS_BYTES_MAX}")));
    }
    let name_ok = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    if !labels.keys().all(|name| name_ok(name)) {
        return Err(invalid("names of `tollgate.labels` are 1 to 64 characters of A-Z a-z 0-9 _ - .".to_owned()));
    }
    Ok(labels)
}

fn decode_chat(raw: &RawValue, body: &Fields<'_>) -> Result<ChatRequest, Rejection> {
    let at = "body";
    if let Some(name) = FORBIDDEN_IN_BODY.iter().find(|name| body.get(name).is_some()) {
        return Err(forbidden(at, name));
    }
    let model = body.optional_text(at, "model")?.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Rejection::new(ErrorCode::MissingField, "`body.model` is missing"))?;
    let span = |value: &RawValue| {
        let start = value.get().as_ptr() as usize - raw.get().as_ptr() as usize;
        start..start + value.get().len()
    };
    let model_at = span(body.get("model").expect("the model was just read"));
    match body.get("messages") {
        None => return Err(Rejection::new(ErrorCode::MissingField, "`body.messages` is missing")),
        Some(messages) if !messages.get().starts_with('[') => {
            return Err(wrong_type(at, "messages", "an array of messages", messages));
        }
        Some(messages) if messages.get()[1..].trim_start().starts_with(']') => {
            return Err(Rejection::new(ErrorCode::NoMessages, "`body.messages` is empty; send at least one message"));
        }
        Some(_) => {}
    }
    let max_tokens = body.optional_count(at, "max_completion_tokens", MAX_TOKENS_MAX)?;
    let max_tokens = max_tokens.or(body.optional_count(at, "max_tokens", MAX_TOKENS_MAX)?);
    let n = body.optional_count(at, "n", 128)?.unwrap_or(1);
    for name in ["temperature", "top_p", "frequency_penalty", "presence_penalty"] {
        body.optional_number(at, name)?;
    }
    let stream = body.get("stream").filter(|raw| raw.get() != "null");
    if let Some(raw) = stream.filter(|raw| !matches!(raw.get(), "true" | "false")) {
        return Err(wrong_type(at, "stream", "true or false", raw));
    }
    let stream_at = stream.filter(|raw| raw.get() == "true").map(span);
    Ok(ChatRequest {
        model,
        model_at,
        max_tokens,
        n,
        stream_at,
        stream_options_at: body.get("stream_options").map(span),
    })
}

/// The fields of one object in order, their values unread.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|&(_, value)| value)
    }

    /// Refuses fields outside `known`, by name and with the nearest known one.
    fn only(&self, at: &str, known: &[&str]) -> Result<(), Rejection> {
        let Some((name, _)) = self.0.iter().find(|(key, _)| !known.contains(&key.as_ref())) else { return Ok(()) };
        if FORBIDDEN.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(forbidden(at, name));
        }
        let shown: String = name.chars().take(64).collect();
        let near = known.iter().chain(["messages", "model"].iter()).map(|k| (distance(k, name), *k)).min();
        let hint = match near {
            Some((d, k)) if d <= 2 && known.contains(&k) => format!("; did you mean `{}`?", dotted(at, k)),
            Some((d, k)) if d <= 2 => format!("; did you mean `body.{k}`?"),
            _ => format!("; known here: {}", known.join(", ")),
        };
        let message = format!("`{}` is not a field that Tollgate knows{hint}", dotted(at, &shown));
        Err(Rejection::new(ErrorCode::UnknownField, message))
    }

    fn optional_text(&self, at: &str, name: &str) -> Result<Option<String>, Rejection> {
        let Some(raw) = self.get(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        let text: String = serde_json::from_str(raw.get()).map_err(|_| wrong_type(at, name, "a text", raw))?;
        if text.len() > NAME_BYTES_MAX {
            let message = format!("`{}` has {} bytes and may have {NAME_BYTES_MAX}", dotted(at, name), text.len());
            return Err(Rejection::new(ErrorCode::InvalidField, message));
        }
        if text.chars().any(char::is_control) {
            let message = format!("`{}` holds a control character", dotted(at, name));
            return Err(Rejection::new(ErrorCode::InvalidField, message));
        }
        Ok(Some(text))
    }

    fn optional_count(&self, at: &str, name: &str, max: u64) -> Result<Option<u64>, Rejection> {
        let Some(raw) = self.get(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        match raw.get().parse::<u64>() {
            Ok(count) if (1..=max).contains(&count) => Ok(Some(count)),
            _ => Err(wrong_type(at, name, &format!("a whole number from 1 to {max}"), raw)),
        }
    }

    fn optional_number(&self, at: &str, name: &str) -> Result<(), Rejection> {
        let Some(raw) = self.get(name).filter(|raw| raw.get() != "null") else { return Ok(()) };
        match raw.get().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(()),
            _ => Err(wrong_type(at, name, "a number", raw)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((entry.0.0, entry.1));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn object<'a>(raw: &'a RawValue, name: &str) -> Result<Fields<'a>, Rejection> {
    Fields::read(raw.get()).ok_or_else(|| wrong_type("", name, "an object", raw))
}

fn dotted(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn forbidden(at: &str, name: &str) -> Rejection {
    let message = format!(
        "`{}` may not be set by a job; class and team come from the subject, the rest from the operator",
        dotted(at, name)
    );
    Rejection::new(ErrorCode::ForbiddenField, message)
}

fn wrong_type(at: &str, name: &str, wanted: &str, raw: &RawValue) -> Rejection {
    let message = format!("`{}` must be {wanted}, not {}", dotted(at, name), kind_of(raw.get()));
    Rejection::new(ErrorCode::InvalidField, message)
}

/// Names the type of a JSON value without repeating it, short numbers excepted.
fn kind_of(text: &str) -> String {
    let text = text.trim_start();
    match text.as_bytes().first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b'"') => "a text".into(),
        Some(b't' | b'f') => "a boolean".into(),
        Some(b'n') => "null".into(),
        _ => format!("the number {}", text.chars().take(24).collect::<String>()),
    }
}

/// Edit distance between two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
