//! Making a job of a call: its body in the shape that jobs have, what it wants of Tollgate, and the id that it gets.

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tollgate_types::api_key::Door;
use tollgate_types::job::NAME_BYTES_MAX;
use tollgate_types::{Digest, Endpoint, JobId, JobSpec, LaneKey, UnixMillis, strict};

use crate::auth::Caller;
use crate::messages;
use crate::refused::Refused;
use crate::wish::Wish;

/// A job that is ready to be submitted.
pub(crate) struct Order {
    pub(crate) door: Door,
    pub(crate) lane: LaneKey,
    pub(crate) job: JobId,
    /// Whether the caller chose the id by an idempotency key.
    pub(crate) named: bool,
    pub(crate) spec: JobSpec,
    /// The digests that its result may have: as it is, and with its body beside its line.
    pub(crate) digests: [String; 2],
    pub(crate) wish: Wish,
    /// How the answer is asked for, if in pieces.
    pub(crate) stream: Option<Asked>,
    body: Bytes,
    options: Map<String, Value>,
}

/// How a streamed answer is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whether a last chunk tells the usage.
    pub(crate) usage: bool,
    /// Whether thoughts are asked for, in Anthropic's shape.
    pub(crate) thoughts: bool,
}

/// What all orders of a call's time and place have in common.
pub(crate) struct At<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) now: UnixMillis,
    /// The class where none is asked for.
    pub(crate) usual: tollgate_types::Class,
    /// The largest job line.
    pub(crate) line_bytes_max: usize,
}

/// The door's own endpoint of the broker.
fn endpoint(door: Door) -> Endpoint {
    match door {
        Door::Chat | Door::Messages => Endpoint::ChatCompletions,
        Door::Embeddings => Endpoint::Embeddings,
        Door::Responses => Endpoint::Responses,
    }
}

impl Order {
    /// Reads a body. Whatever the broker would refuse of the job itself is refused here, before it is one.
    ///
    /// # Errors
    /// What is wrong, naming the field.
    pub(crate) fn read(door: Door, headers: &HeaderMap, bytes: &Bytes, at: &At<'_>) -> Result<Order, Refused> {
        let wish = Wish::of_headers(headers, at.now)?;
        let (body, wish) = own_part(bytes, wish, at.now)?;
        let (body, asked) = match door {
            Door::Messages => messages::job_body(&body)?,
            Door::Chat | Door::Embeddings | Door::Responses => {
                let asked = Asked { usage: wants_usage(&body), thoughts: false };
                (body, asked)
            }
        };
        let class = at.caller.class(wish.class, at.usual)?;
        let lane = LaneKey::new(class, &at.caller.record.team);
        let mut options = wish.options.clone();
        if !options.contains_key("user")
            && let Some(user) = end_user(&body)
        {
            options.insert("user".to_owned(), user.into());
        }
        let (job, named) = id_of(door, headers, at.caller)?;
        let line = line(endpoint(door), &body, &options);
        let spec = JobSpec::decode(&line, at.line_bytes_max)?;
        at.caller.may_ask_for(&spec.request.model)?;
        let stream = spec.request.stream_at.is_some().then_some(asked);
        let digests = [spec.digest, spec.digest_if_elsewhere()].map(|digest| digest.to_string());
        Ok(Order { door, lane, job, named, spec, digests, wish, stream, body, options })
    }

    /// Whether a result with this digest is of this request, whether or not it fits a message.
    pub(crate) fn is_of(&self, digest: &str) -> bool {
        digest == tollgate_types::headers::ANY_DIGEST || self.digests.iter().any(|own| own == digest)
    }

    /// The body as the job has it.
    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Lets go of the body, once the job is submitted: a caller may wait for minutes.
    pub(crate) fn submitted(&mut self) {
        self.body = Bytes::new();
        self.spec.body = Bytes::new();
    }

    /// The job line, with where its result is to be copied to.
    pub(crate) fn line(&self, reply_to: String) -> Bytes {
        let mut options = self.options.clone();
        options.insert("reply_to".to_owned(), reply_to.into());
        line(endpoint(self.door), &self.body, &options)
    }
}

/// The body as it came, spliced into a job line.
pub(crate) fn line(endpoint: Endpoint, body: &Bytes, options: &Map<String, Value>) -> Bytes {
    let options = serde_json::to_string(options).expect("values always serialise");
    let mut line = Vec::with_capacity(body.len() + options.len() + 64);
    line.extend_from_slice(format!("{{\"url\":\"{endpoint}\",\"tollgate\":{options},\"body\":").as_bytes());
    line.extend_from_slice(body);
    line.push(b'}');
    line.into()
}

/// Takes our own object out of a body; all else stays as it came, byte for byte where there is none.
pub(crate) fn own_part(bytes: &Bytes, wish: Wish, now: UnixMillis) -> Result<(Bytes, Wish), Refused> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Refused::bad("bad_encoding", format!("invalid UTF-8 after byte {}; send UTF-8", error.valid_up_to()))
    })?;
    if text.trim().is_empty() {
        return Err(Refused::bad("bad_request", "the body is empty; send a JSON object"));
    }
    if text.starts_with('\u{feff}') {
        return Err(Refused::bad("bad_encoding", "the body starts with a byte order mark; remove it"));
    }
    strict::check(text).map_err(|error| {
        let code = match error {
            strict::StrictError::TooDeep { .. } => "too_deep",
            strict::StrictError::TooManyValues => "too_large",
            strict::StrictError::Duplicate { .. } => "duplicate_field",
            strict::StrictError::Syntax(_) => "invalid_json",
        };
        Refused::bad(code, format!("the body is not JSON as it should be: {error}"))
    })?;
    let raw: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|_| Refused::bad("bad_request", "the body is not a JSON object"))?;
    let Some(own) = raw.get("tollgate") else { return Ok((bytes.clone(), wish)) };
    let wish = wish.and_of_body(own.get(), now)?;
    let kept: Vec<String> = raw
        .iter()
        .filter(|(name, _)| *name != "tollgate")
        .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), value.get()))
        .collect();
    Ok((format!("{{{}}}", kept.join(",")).into(), wish))
}

/// Whether `stream_options` asks for the usage.
fn wants_usage(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Body {
        stream_options: Option<Options>,
    }
    #[derive(serde::Deserialize)]
    struct Options {
        include_usage: Option<bool>,
    }
    let body: Option<Body> = serde_json::from_slice(body).ok();
    body.and_then(|body| body.stream_options?.include_usage).unwrap_or(false)
}

/// The end user that a body names in the vendor's own field, if it can be one of ours.
fn end_user(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        safety_identifier: Option<Value>,
        user: Option<Value>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let user = body.safety_identifier.filter(Value::is_string).or(body.user)?;
    let user = user.as_str()?;
    let fits = (1..=NAME_BYTES_MAX).contains(&user.len()) && !user.chars().any(char::is_control);
    fits.then(|| user.to_owned())
}

/// The longest idempotency key, as the vendors have it.
const IDEMPOTENCY_BYTES_MAX: usize = 255;

/// The idempotency key of a call, if it has one.
///
/// # Errors
/// There is more than one, or it is too long.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&[u8]>, Refused> {
    let mut keys = headers.get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if (1..=IDEMPOTENCY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.as_bytes())),
        _ => {
            let why = format!("the Idempotency-Key header must be there once, with 1 to {IDEMPOTENCY_BYTES_MAX} bytes");
            Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_header", why))
        }
    }
}

/// The job's id: by chance, or made of the idempotency key, so that the same key is the same job whichever process takes
/// the call, and whatever happened in between.
fn id_of(door: Door, headers: &HeaderMap, caller: &Caller) -> Result<(JobId, bool), Refused> {
    let (text, named) = match idempotency_key(headers)? {
        None => (uuid::Uuid::now_v7().simple().to_string(), false),
        Some(key) => (Digest::of(&[b"idempotency key", key]).to_string()[..32].to_owned(), true),
    };
    let id = format!("{}{}{text}", caller.prefix(), door.letter());
    Ok((id.parse().expect("a team, a key's id and hexadecimal digits make an id"), named))
}
