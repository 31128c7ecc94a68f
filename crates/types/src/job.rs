//! A job: one request line of the OpenAI Batch format, with our own options in one extra object.
//!
//! [`JobSpec::decode`] is the only way in. It refuses with a [`Rejection`] that names the field and the fix, and it
//! copies no prompt: the body stays a slice of the message that carried it.

mod fields;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::budget::Usd;
use crate::claim::{self, Claim};
use crate::code::ErrorCode;
use crate::endpoint::Endpoint;
use crate::ids::Digest;
use crate::instant::UnixMillis;
use crate::money::NanoUsd;
use crate::strict::{self, StrictError};

use fields::{Fields, is_a_name, kind_of, object, wrong_type};

/// The version of the `tollgate` object that this code speaks.
pub const VERSION: u32 = 1;
/// The longest `custom_id`, project, user or model, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The most labels of one job.
pub const LABELS_MAX: usize = 16;
/// The most tags of one job.
pub const TAGS_MAX: usize = 16;
/// The most bytes of all labels together as JSON: they travel in the usage header.
pub const LABELS_BYTES_MAX: usize = 3072;
/// The largest answer length that a job may ask for; above any model's.
pub const MAX_TOKENS_MAX: u64 = 10_000_000;
/// The most inputs of one job for embeddings, as OpenAI has it
/// (<https://platform.openai.com/docs/api-reference/embeddings/create>).
pub const INPUTS_MAX: usize = 2048;

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
    /// `/v1/chat/completions`, `/v1/embeddings` or `/v1/responses`; the first if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The request for the provider; fields that Tollgate does not know pass untouched. Left out if `tollgate.body` says
    /// where it lies.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schemars(default)]
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
    /// RFC 3339; the job waits at least until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub not_before: Option<Deadline>,
    /// The most that the job may cost, in dollars as a decimal text; one that could cost more is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub max_cost_usd: Option<Usd>,
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
    /// Only deployments that have all of these tags serve the job; at most 16.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(default)]
    pub tags: BTreeSet<String>,
    /// Whether a kept answer may be used; what the team's configuration says if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheWish>,
    /// The body, if it does not fit a message: its chunks lie under the job's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Claim>,
}

/// What a job wants of the cache of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheWish {
    /// A kept answer is welcome, and the answer may be kept.
    Use,
    /// No kept answer is used, none is kept, and no call is shared.
    Bypass,
    /// The provider is called, and its answer takes the place of the kept one.
    Refresh,
}

impl CacheWish {
    /// Every wish.
    pub const ALL: [CacheWish; 3] = [CacheWish::Use, CacheWish::Bypass, CacheWish::Refresh];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheWish::Use => "use",
            CacheWish::Bypass => "bypass",
            CacheWish::Refresh => "refresh",
        }
    }
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
    /// The request body, byte for byte as it came; empty while it [lies elsewhere](JobSpec::elsewhere).
    pub body: Bytes,
    /// What Tollgate read in the body; of one that lies elsewhere, nothing but the endpoint.
    pub request: Request,
    /// Our options.
    pub options: Options,
    /// SHA-256 of endpoint and body, or of endpoint and where the body lies: the same id with another digest is a conflict.
    pub digest: Digest,
}

/// What Tollgate reads in a body; all else passes untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is for.
    pub endpoint: Endpoint,
    /// The model that was asked for.
    pub model: String,
    /// Where the model's JSON string lies in the body.
    pub model_at: Range<usize>,
    /// The longest answer in tokens: `max_completion_tokens` or `max_tokens`, of responses `max_output_tokens`; 0 of
    /// embeddings, which have no answer tokens.
    pub max_tokens: Option<u64>,
    /// How many answers: of a chat completion `n`, of embeddings one for each input; else 1.
    pub n: u64,
    /// Where `true` of `"stream": true` lies, if the body has that.
    pub stream_at: Option<Range<usize>>,
    /// Where the value of `stream_options` lies.
    pub stream_options_at: Option<Range<usize>>,
    /// Whether a part of the prompt is stored with the provider, so that the body does not bound it.
    pub prompt_elsewhere: bool,
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
    /// The `tollgate.user`, where it could still be read and fits a record: what somebody asks to have forgotten is found
    /// by it.
    pub user: Option<String>,
}

impl Rejection {
    /// A refusal with a code and a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Rejection { code, message: message.into(), custom_id: None, reply_to: None, user: None }
    }
}

/// The digest of a payload that could not be decoded.
pub fn undecoded_digest(payload: &[u8]) -> Digest {
    Digest::of(&[b"undecoded", payload])
}

/// The end user that a payload names, also where it is no job: too large, badly encoded, or wrong elsewhere. What is not
/// JSON names nobody.
pub fn named_user(payload: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(payload);
    let line = Fields::read(text.trim_start_matches('\u{feff}'))?;
    let options = Fields::read(line.get("tollgate")?.get())?;
    serde_json::from_str(options.get("user")?.get()).ok()
}

/// A line without its body, which says where that lies, and the body; `None` if it is no object with a body, or one that
/// lies elsewhere already. What the line says stays as it was written.
pub fn checked_in(line: &Bytes) -> Option<(Bytes, Bytes)> {
    let fields = Fields::read(std::str::from_utf8(line).ok()?)?;
    let body = line.slice_ref(fields.get("body").filter(|raw| raw.get() != "null")?.get().as_bytes());
    let options = match fields.get("tollgate").filter(|raw| raw.get() != "null") {
        Some(raw) => Fields::read(raw.get())?,
        None => Fields::read("{}")?,
    };
    if options.get("body").is_some() {
        return None;
    }
    let claim = serde_json::value::to_raw_value(&Claim::of(&body)).expect("a text and a number always serialise");
    let options = written(options.iter().chain([("body", &*claim)]));
    let options = RawValue::from_string(options).expect("it is made of JSON");
    let rest = fields.iter().filter(|(name, _)| !matches!(*name, "body" | "tollgate"));
    Some((written(rest.chain([("tollgate", &*options)])).into(), body))
}

fn written<'a>(fields: impl Iterator<Item = (&'a str, &'a RawValue)>) -> String {
    let field = |(name, value): (&str, &RawValue)| {
        format!("{}:{}", serde_json::to_string(name).expect("a text always serialises"), value.get())
    };
    format!("{{{}}}", fields.map(field).collect::<Vec<_>>().join(","))
}

impl JobSpec {
    /// Reads one payload. `bytes_max` is the operator's limit.
    ///
    /// # Errors
    /// Returns what is wrong, naming the field by its path and the fix.
    pub fn decode(payload: &Bytes, bytes_max: usize) -> Result<JobSpec, Rejection> {
        JobSpec::read(payload, bytes_max)
            .map_err(|rejection| Rejection { user: named_user(payload).filter(|user| is_a_name(user)), ..rejection })
    }

    fn read(payload: &Bytes, bytes_max: usize) -> Result<JobSpec, Rejection> {
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

    /// Where the body lies, as long as it was not fetched.
    pub fn elsewhere(&self) -> Option<&Claim> {
        self.options.body.as_ref().filter(|_| self.body.is_empty())
    }

    /// The digest that the job has if its body is put beside its line.
    pub fn digest_if_elsewhere(&self) -> Digest {
        digest_elsewhere(self.request.endpoint, &Claim::of(&self.body))
    }

    /// The same job with the body that lay elsewhere; it keeps its digest.
    ///
    /// # Errors
    /// What is wrong with the body, as if it had come with the line.
    pub fn fetched(&self, body: Bytes) -> Result<JobSpec, Rejection> {
        let named = |rejection| Rejection {
            custom_id: self.custom_id.clone(),
            reply_to: self.options.reply_to.clone(),
            user: self.options.user.clone(),
            ..rejection
        };
        let read = || {
            strict::check(readable(&body, usize::MAX)?).map_err(from_strict)?;
            self.with_body(body.clone())
        };
        read().map_err(named)
    }

    /// The same job with another body, such as one without what must not leave; it keeps its digest, because it is the
    /// same request.
    ///
    /// # Errors
    /// The body is none for the job's endpoint.
    pub fn with_body(&self, body: Bytes) -> Result<JobSpec, Rejection> {
        let bad = || Rejection::new(ErrorCode::BadRequest, "the body is not a JSON object");
        let raw: &RawValue = serde_json::from_slice(&body).map_err(|_| bad())?;
        let request = request::decode(self.request.endpoint, raw, &object(raw, "body")?)?;
        // What is read in the body is found by its place in it.
        let body = body.slice_ref(raw.get().as_bytes());
        Ok(JobSpec { body, request, ..self.clone() })
    }
}

impl Request {
    /// Of a body that nobody has read yet.
    fn unread(endpoint: Endpoint) -> Request {
        Request {
            endpoint,
            model: String::new(),
            model_at: 0..0,
            max_tokens: None,
            n: 1,
            stream_at: None,
            stream_options_at: None,
            prompt_elsewhere: false,
        }
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
const OPTION_FIELDS: &[&str] = &[
    "version",
    "reply_to",
    "deadline",
    "not_before",
    "max_cost_usd",
    "project",
    "user",
    "labels",
    "tags",
    "cache",
    "body",
];

fn decode_line(payload: &Bytes, line: &Fields<'_>) -> Result<JobSpec, Rejection> {
    line.only("", LINE_FIELDS)?;
    let custom_id = line.optional_text("", "custom_id")?;
    let method = line.optional_text("", "method")?;
    let url = line.optional_text("", "url")?;
    let endpoint = url.as_deref().map_or(Some(Endpoint::default()), Endpoint::of_url);
    let endpoint = endpoint.filter(|_| method.as_deref().is_none_or(|method| method == "POST")).ok_or_else(|| {
        let known = Endpoint::ALL.map(Endpoint::as_str).join(", ");
        let message = format!("`method` must be POST and `url` one of {known}, or both left out");
        Rejection::new(ErrorCode::UnsupportedUrl, message)
    })?;
    let options = match line.get("tollgate") {
        Some(raw) => decode_options(&object(raw, "tollgate")?)?,
        None => Options { version: VERSION, ..Options::default() },
    };
    let given = line.get("body").filter(|raw| raw.get() != "null");
    if let (Some(claim), None) = (&options.body, given) {
        let request = Request::unread(endpoint);
        let digest = digest_elsewhere(endpoint, claim);
        return Ok(JobSpec { custom_id, body: Bytes::new(), request, options, digest });
    }
    if options.body.is_some() {
        let message = "`body` and `tollgate.body` are both there; send the one or say where it lies";
        return Err(Rejection::new(ErrorCode::InvalidField, message));
    }
    let raw_body = line.get("body").ok_or_else(|| {
        let beside = ["messages", "input"].iter().any(|name| line.get(name).is_some());
        let hint = if beside { "; put the request into `body`" } else { "" };
        Rejection::new(ErrorCode::MissingField, format!("`body` is missing{hint}"))
    })?;
    let request = request::decode(endpoint, raw_body, &object(raw_body, "body")?)?;
    let body = payload.slice_ref(raw_body.get().as_bytes());
    let digest = Digest::of(&[endpoint.as_str().as_bytes(), &body]);
    Ok(JobSpec { custom_id, body, request, options, digest })
}

/// The digest of a job whose body lies elsewhere.
fn digest_elsewhere(endpoint: Endpoint, claim: &Claim) -> Digest {
    Digest::of(&[endpoint.as_str().as_bytes(), b"elsewhere", claim.sha256.as_bytes()])
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
    let deadline = parse_time(fields, "deadline")?;
    let not_before = parse_time(fields, "not_before")?;
    if let (Some(deadline), Some(not_before)) = (&deadline, &not_before)
        && deadline.at <= not_before.at
    {
        let message = "`tollgate.deadline` is not after `tollgate.not_before`; the job could never run";
        return Err(Rejection::new(ErrorCode::InvalidField, message));
    }
    Ok(Options {
        version,
        reply_to: fields.optional_text(at, "reply_to")?,
        deadline,
        not_before,
        max_cost_usd: fields.get("max_cost_usd").map(decode_max_cost).transpose()?,
        project: fields.optional_text(at, "project")?,
        user: fields.optional_text(at, "user")?,
        labels: fields.get("labels").map(decode_labels).transpose()?.unwrap_or_default(),
        tags: fields.get("tags").map(decode_tags).transpose()?.unwrap_or_default(),
        cache: decode_cache(fields)?,
        body: fields.get("body").map(decode_claim).transpose()?,
    })
}

fn parse_time(fields: &Fields<'_>, name: &str) -> Result<Option<Deadline>, Rejection> {
    let Some(raw) = fields.get(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
    let invalid = |why: &str| {
        let message =
            format!("`tollgate.{name}` {why}; write an RFC 3339 time with a zone, such as 2026-12-01T10:00:00Z");
        Rejection::new(ErrorCode::InvalidField, message)
    };
    let text: String =
        serde_json::from_str(raw.get()).map_err(|_| invalid(&format!("must be a text, not {}", kind_of(raw.get()))))?;
    let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| invalid("is not a point in time"))?;
    Ok(Some(Deadline { at: at.into() }))
}

fn decode_max_cost(raw: &RawValue) -> Result<Usd, Rejection> {
    let cap: Result<Usd, _> = serde_json::from_str(raw.get());
    match cap {
        Ok(cap) if cap.0 > NanoUsd::ZERO => Ok(cap),
        _ => {
            let message = "`tollgate.max_cost_usd` must be dollars as a decimal text above zero, such as \"0.05\"";
            Err(Rejection::new(ErrorCode::InvalidField, message))
        }
    }
}

fn decode_cache(fields: &Fields<'_>) -> Result<Option<CacheWish>, Rejection> {
    let Some(word) = fields.optional_text("tollgate", "cache")? else { return Ok(None) };
    let wish = CacheWish::ALL.into_iter().find(|wish| wish.as_str() == word);
    wish.map(Some).ok_or_else(|| {
        let message = "`tollgate.cache` must be \"use\", \"bypass\" or \"refresh\", or left out";
        Rejection::new(ErrorCode::InvalidField, message)
    })
}

fn decode_claim(raw: &RawValue) -> Result<Claim, Rejection> {
    let claim: Option<Claim> = serde_json::from_str(raw.get()).ok();
    claim.filter(Claim::is_valid).ok_or_else(|| {
        let message = format!(
            "`tollgate.body` must be an object with `sha256` (64 lower case hexadecimal digits) and `bytes` (1 to {})",
            claim::BODY_BYTES_MAX
        );
        Rejection::new(ErrorCode::InvalidField, message)
    })
}

fn decode_tags(raw: &RawValue) -> Result<BTreeSet<String>, Rejection> {
    let tags: Result<BTreeSet<String>, _> = serde_json::from_str(raw.get());
    match tags {
        Ok(tags) if tags.len() <= TAGS_MAX && tags.iter().all(|tag| is_a_tag(tag)) => Ok(tags),
        _ => {
            let message = format!(
                "`tollgate.tags` must be a list of at most {TAGS_MAX} tags of 1 to 64 characters of A-Z a-z 0-9 _ - ."
            );
            Err(Rejection::new(ErrorCode::InvalidField, message))
        }
    }
}

/// Whether a text can be a tag of a deployment, or the name of a label.
pub fn is_a_tag(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
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
    if !labels.keys().all(|name| is_a_tag(name)) {
        return Err(invalid("names of `tollgate.labels` are 1 to 64 characters of A-Z a-z 0-9 _ - .".to_owned()));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests;
