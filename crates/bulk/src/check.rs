//! Says what is wrong with a file before anything of it is submitted, in OpenAI's own words and form.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use serde::Serialize;
use tokio::io::AsyncRead;
use tollgate_types::batch::LINES_MAX;
use tollgate_types::{Digest, ErrorCode, JobSpec, Rejection};

use crate::line::Shape;
use crate::source::{Raw, Source, Unreadable, Whole};

/// More than anybody mends in one go; the others are counted.
pub const ERRORS_MAX: usize = 1000;

/// One thing that is wrong, as OpenAI's batch object lists it
/// (<https://platform.openai.com/docs/api-reference/batch/object>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// What kind of mistake it is; stable.
    pub code: String,
    /// What is wrong and what to do, without any of the prompt.
    pub message: String,
    /// The field, as a dotted path.
    pub param: Option<String>,
    /// The line it stands on, from 1; of a document, which request it is.
    pub line: Option<u64>,
}

impl LineError {
    /// One without its line.
    pub fn new(code: &str, message: impl Into<String>, param: Option<&str>) -> LineError {
        LineError { code: code.to_owned(), message: message.into(), param: param.map(str::to_owned), line: None }
    }

    pub(crate) fn json(why: String) -> LineError {
        LineError::new("invalid_json_line", format!("this line is not parseable as valid JSON: {why}"), None)
    }

    pub(crate) fn missing(name: &str) -> LineError {
        LineError::new("missing_required_parameter", format!("Missing required parameter: '{name}'."), Some(name))
    }
}

/// A file that was read to its end.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it is.
    pub whole: Whole,
    /// How many requests it has.
    pub requests: u64,
    /// What is wrong, in the order of the lines; at most [`ERRORS_MAX`].
    pub errors: Vec<LineError>,
    /// How many things are wrong.
    pub errors_total: u64,
    /// What it asks for, by model.
    pub asked: BTreeMap<String, Asked>,
}

/// What is asked of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// How many requests.
    pub requests: u64,
    /// The bytes of their bodies: an upper bound of their prompt tokens.
    pub body_bytes: u64,
    /// The most answer tokens of those that say how many they want.
    pub answer_tokens: u64,
    /// How many answers may be as long as they like.
    pub unbounded: u64,
}

/// Models that are told apart in [`Checked::asked`]; further ones are one.
const MODELS_MAX: usize = 100;

/// Reads a file to its end and checks every request, as it will be submitted with `shape`. `line_bytes_max` is the most
/// that the server takes in a message, less what headers need. `look` is told of every request that is right, as a job,
/// and may object.
///
/// Memory grows by eight bytes a request.
///
/// # Errors
/// The file cannot be read or is no batch at all.
pub async fn check<R: AsyncRead + Unpin>(
    mut source: Source<R>,
    shape: &Shape,
    line_bytes_max: usize,
    mut look: impl FnMut(&JobSpec) -> Result<(), LineError>,
) -> Result<Checked, Unreadable> {
    let mut found = Found::default();
    let mut names = Names::default();
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    let mut requests = 0;
    while let Some(raw) = source.next().await? {
        requests = raw.number;
        if requests > LINES_MAX {
            let message = format!("the file has more than {LINES_MAX} requests; split it");
            found.add(Some(raw.line), LineError::new("too_many_tasks", message, None));
            break;
        }
        let judged = judge(&raw, shape, line_bytes_max);
        match judged.and_then(|(name, job)| look(&job).map(|()| (name, job))) {
            Ok((name, job)) => {
                names.add(&name);
                let model = if asked.len() < MODELS_MAX || asked.contains_key(&job.request.model) {
                    job.request.model.clone()
                } else {
                    "(others)".to_owned()
                };
                let asked = asked.entry(model).or_default();
                asked.requests += 1;
                asked.body_bytes += job.body.len() as u64;
                match job.request.max_tokens {
                    Some(tokens) => asked.answer_tokens += tokens * job.request.n,
                    None => asked.unbounded += job.request.n,
                }
            }
            Err(error) => found.add(Some(raw.line), error),
        }
    }
    let whole = source.whole().await?;
    if requests == 0 {
        found.add(None, LineError::new("empty_file", "the file has no requests", None));
    }
    Ok(Checked { whole, requests, errors: found.errors, errors_total: found.total, asked })
        .map(|checked| Checked { errors_total: checked.errors_total + names.twice(), ..checked })
}

/// Reads a file once more for names that stand twice, after [`check`] counted some; most files need no such look.
///
/// # Errors
/// The file cannot be read.
pub async fn duplicates<R: AsyncRead + Unpin>(
    mut source: Source<R>,
    shape: &Shape,
) -> Result<Vec<LineError>, Unreadable> {
    let mut first: HashMap<Digest, u64> = HashMap::new();
    let mut errors = Vec::new();
    while let Some(Raw { line, text, .. }) = source.next().await? {
        let Some(made) = text.and_then(|text| shape.make(&text).ok()) else { continue };
        if let Some(first) = first.get(&Digest::of(&[made.custom_id.as_bytes()])) {
            let message =
                format!("the `custom_id` of this request stands on line {first} too; it must be unique in the file");
            let error = LineError::new("duplicate_custom_id", message, Some("custom_id"));
            errors.push(LineError { line: Some(line), ..error });
            if errors.len() >= ERRORS_MAX {
                break;
            }
        } else {
            first.insert(Digest::of(&[made.custom_id.as_bytes()]), line);
        }
    }
    Ok(errors)
}

#[derive(Default)]
struct Found {
    errors: Vec<LineError>,
    total: u64,
}

impl Found {
    fn add(&mut self, line: Option<u64>, error: LineError) {
        self.total += 1;
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(LineError { line, ..error });
        }
    }
}

/// The hashes of all names, keyed by chance so that nobody can make two of them equal: eight bytes each, where a set of
/// the names would need fifty.
#[derive(Default)]
struct Names {
    hasher: RandomState,
    hashes: Vec<u64>,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.hashes.push(self.hasher.hash_one(name));
    }

    /// How many stand a second time. Two different names are taken for one once in a hundred thousand files of ten
    /// million; [`duplicates`] then finds none.
    fn twice(mut self) -> u64 {
        self.hashes.sort_unstable();
        self.hashes.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
    }
}

fn judge(raw: &Raw, shape: &Shape, line_bytes_max: usize) -> Result<(String, JobSpec), LineError> {
    let too_large = |bytes: usize| {
        let message = format!("the request has {bytes} bytes and this server takes {line_bytes_max}");
        LineError::new("request_too_large", message, None)
    };
    let text = raw.text.as_ref().ok_or_else(|| too_large(crate::source::REQUEST_BYTES_MAX + 1))?;
    let made = shape.make(text)?;
    if made.line.len() > line_bytes_max {
        return Err(too_large(made.line.len()));
    }
    let job = JobSpec::decode(&made.line, usize::MAX).map_err(|rejection| of_rejection(&rejection))?;
    if job.request.stream_at.is_some() {
        let message = "`body.stream` is true, but the results of a batch come whole; remove it";
        return Err(LineError::new("invalid_request", message, Some("body.stream")));
    }
    Ok((made.custom_id, job))
}

/// What the broker would say of a job, in the words of a batch.
fn of_rejection(rejection: &Rejection) -> LineError {
    let code = match rejection.code {
        ErrorCode::InvalidJson | ErrorCode::BadEncoding | ErrorCode::TooDeep | ErrorCode::DuplicateField => {
            "invalid_json_line"
        }
        ErrorCode::MissingField | ErrorCode::NoMessages => "missing_required_parameter",
        ErrorCode::UnsupportedUrl => "invalid_url",
        ErrorCode::UnknownField | ErrorCode::ForbiddenField => "unknown_parameter",
        ErrorCode::TooLarge => "request_too_large",
        _ => "invalid_request",
    };
    // Messages name the field first, between backticks.
    let param = rejection.message.split('`').nth(1);
    LineError::new(code, rejection.message.clone(), param)
}

#[cfg(test)]
mod tests;
