//! Who is it, and what does it ask for: the job's id, its decoded form, and the digest that tells requests apart.

use std::sync::OnceLock;

use tollgate_queue::Delivery;
use tollgate_types::job::undecoded_digest;
use tollgate_types::subjects::{self, ReplyTo};
use tollgate_types::{Digest, ErrorCode, JobId, JobSpec, Rejection, headers};

use crate::context::Context;
use crate::room::Place;
use crate::run::Named;

/// What a delivery says of itself.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The id that its result is kept under.
    pub(crate) job: JobId,
    spec: Result<JobSpec, Rejection>,
    /// The job with its body, if that lay elsewhere and was fetched.
    fetched: OnceLock<Whole>,
    /// The digest of the request.
    pub(crate) digest: Digest,
    /// The id of the API key that it came in with; empty without one.
    key: String,
    /// The trace that the job came with; empty without one.
    traceparent: String,
}

/// A job with a body that lay elsewhere, and the memory that was counted for that.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) job: JobSpec,
    pub(crate) _room: Place,
}

/// Reads a delivery. It cannot fail: what is wrong becomes the job's result.
pub(crate) fn identify(delivery: &Delivery, cx: &Context) -> Identity {
    let made = || JobId::from_sequence(cx.lanes.stream_created_ns(), delivery.place.sequence);
    let named = match delivery.parked_job_id() {
        // A parked copy's subject was written by us.
        Some(id) => Some(id.as_str().to_owned()),
        None => delivery.header(headers::JOB_ID).map(str::to_owned),
    };
    let (job, bad_id) = match named.as_deref() {
        None => (made(), None),
        Some(text) => match text.parse() {
            Ok(id) => (id, None),
            Err(error) => (made(), Some(format!("the Nats-Msg-Id header is not a job id: {error}"))),
        },
    };
    let decoded = JobSpec::decode(&delivery.payload, cx.config.payload_bytes_max);
    let digest = decoded.as_ref().map_or_else(|_| undecoded_digest(&delivery.payload), |job| job.digest);
    let header_bytes = delivery.header_bytes();
    let refusal = if header_bytes > headers::JOB_HEADERS_MAX {
        let max = headers::JOB_HEADERS_MAX;
        Some((ErrorCode::BadHeader, format!("the headers have {header_bytes} bytes and may have {max}")))
    } else {
        bad_id.map(|message| (ErrorCode::BadId, message))
    };
    let spec = match refusal {
        None => decoded,
        Some((code, message)) => {
            let custom_id = decoded.as_ref().map_or_else(|r| r.custom_id.clone(), |job| job.custom_id.clone());
            let reply_to = decoded.as_ref().map_or_else(|r| r.reply_to.clone(), |job| job.options.reply_to.clone());
            let user = decoded.map_or_else(|r| r.user, |job| job.options.user);
            Err(Rejection { custom_id, reply_to, user, ..Rejection::new(code, message) })
        }
    };
    let traceparent = delivery.traceparent().filter(|text| is_a_trace(text)).unwrap_or_default().to_owned();
    Identity { job, spec, fetched: OnceLock::new(), digest, key: key(delivery), traceparent }
}

/// The most characters of a key's id.
const KEY_MAX: usize = 64;

/// The key's id; one that is no name is none: it only tells whose budget and report the job belongs to.
fn key(delivery: &Delivery) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let key = delivery.header(headers::KEY).unwrap_or_default();
    if key.len() <= KEY_MAX && key.chars().all(plain) { key.to_owned() } else { String::new() }
}

/// Whether a text is a trace's context (<https://www.w3.org/TR/trace-context/#traceparent-header>) and nothing else.
pub(crate) fn is_a_trace(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &&str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    matches!(&parts[..], [version, trace, parent, flags]
        if hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2))
}

impl Identity {
    /// The job, with its body as soon as that was [fetched](Identity::fetched); or why it is none.
    pub(crate) fn spec(&self) -> Result<&JobSpec, &Rejection> {
        self.fetched.get().map_or(self.spec.as_ref(), |whole| Ok(&whole.job))
    }

    /// Keeps the job with the body that lay elsewhere.
    pub(crate) fn fetched(&self, whole: Whole) -> &JobSpec {
        &self.fetched.get_or_init(|| whole).job
    }

    /// What the records of this job repeat.
    pub(crate) fn named(&self) -> Named {
        match self.spec() {
            Ok(job) => Named::of(job),
            Err(rejection) => Named::of_rejected(rejection),
        }
    }

    /// The id of the API key that the job came in with; empty without one.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The trace that the job came with; empty without one.
    pub(crate) fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The producer's own name for the request.
    pub(crate) fn custom_id(&self) -> Option<&str> {
        match &self.spec {
            Ok(job) => job.custom_id.as_deref(),
            Err(rejection) => rejection.custom_id.as_deref(),
        }
    }

    fn asked_reply(&self) -> Option<&str> {
        match &self.spec {
            Ok(job) => job.options.reply_to.as_deref(),
            Err(rejection) => rejection.reply_to.as_deref(),
        }
    }

    /// Where the team may have its result copied to, if the job asked for it.
    pub(crate) fn reply_to(&self, team: &str) -> Option<ReplyTo> {
        self.asked_reply().map(|subject| subjects::reply_to(team, subject))
    }
}
