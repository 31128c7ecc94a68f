//! The faults, what each means for the bill, and the plan that makes them happen by chance.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::directive::{self, DirectiveError};
use crate::model::Chance;

/// What goes wrong with one request. `Display` and `FromStr` are the text of a directive's fault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fault {
    /// `ok`: nothing.
    #[default]
    Ok,
    /// `status=503`, also `429` for `status=429`: an error status from 400 to 599, with an error body of its kind.
    Status {
        /// The status code.
        code: u16,
        /// The wait asked for, if any.
        retry_after: Option<RetryAfter>,
    },
    /// `quota`: 429 `insufficient_quota`.
    Quota,
    /// `context-length`: 400 `context_length_exceeded`.
    ContextLength,
    /// `invalid-key`: 401 `invalid_api_key`.
    InvalidKey,
    /// `echo-key`: a 400 whose message repeats the key that was sent.
    EchoKey,
    /// `redirect`: 302 to another host, `redirect:to=<url>`.
    Redirect {
        /// Where to; `None` is a host that does not exist.
        to: Option<Box<str>>,
    },
    /// `hang`: nothing is sent until the client leaves or `hang_cap` is over.
    Hang,
    /// `reset-before-headers`: a TCP reset in place of an answer.
    ResetBeforeHeaders,
    /// `html`: 200 with an HTML page.
    Html,
    /// `error-200`: 200 with an error as its body (in a stream: as its only event).
    Error200,
    /// `content-filter`: an answer with `finish_reason` `content_filter`.
    ContentFilter,
    /// `no-usage`: an answer without `usage`.
    NoUsage,
    /// `wrong-usage=negative|absurd|string`: an answer with a false `usage`.
    WrongUsage(WrongUsage),
    /// `garbage`: 200 with a body (in a stream: events) that is not JSON.
    Garbage,
    /// `empty`: 200 without a body.
    Empty,
    /// `bomb`: 200 with a small gzip body that unpacks to 1 GiB of spaces, `bomb:mib=64` to 64 MiB.
    Bomb {
        /// The unpacked size in MiB, from 1 to 16384.
        mib: u32,
    },
    /// `reset`: the answer's headers and first half, then a TCP reset; `reset:at=headers` right after the headers.
    Reset(ResetAt),
    /// `truncate`: half of the answer, then the connection is closed in order but too early.
    Truncate,
    /// `stall`: half of the answer, then silence as in `hang`.
    Stall,
    /// `drip`: the answer byte by byte, one a second, or one each `drip:every=50ms`.
    Drip {
        /// The time between two bytes.
        every: Duration,
    },
    /// `abort-stream`: a stream that ends in order after 3 (or `abort-stream:after=<n>`) words, without a
    /// `finish_reason`, usage or `[DONE]`.
    AbortStream {
        /// How many words are sent.
        after: u32,
    },
    /// `no-done`: a whole stream that lacks only `[DONE]`.
    NoDone,
}

impl Fault {
    /// Whether the model runs: true for faults that spoil the transport or the form of an answer which was generated,
    /// and which a real provider would bill; false for refusals and for what hides the model entirely.
    pub fn generates(&self) -> bool {
        match self {
            Self::Ok
            | Self::ContentFilter
            | Self::NoUsage
            | Self::WrongUsage(_)
            | Self::Garbage
            | Self::Empty
            | Self::Bomb { .. }
            | Self::Reset(_)
            | Self::Truncate
            | Self::Stall
            | Self::Drip { .. }
            | Self::AbortStream { .. }
            | Self::NoDone => true,
            Self::Status { .. }
            | Self::Quota
            | Self::ContextLength
            | Self::InvalidKey
            | Self::EchoKey
            | Self::Redirect { .. }
            | Self::Hang
            | Self::ResetBeforeHeaders
            | Self::Html
            | Self::Error200 => false,
        }
    }

    /// Whether the fault can happen to a streamed answer only.
    pub fn needs_stream(&self) -> bool {
        matches!(self, Self::AbortStream { .. } | Self::NoDone)
    }

    /// The fault's name without its parameter: what statistics count by.
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Status { code, .. } => return Cow::Owned(format!("status={code}")),
            Self::Redirect { .. } => "redirect",
            Self::Bomb { .. } => "bomb",
            Self::Reset(_) => "reset",
            Self::Drip { .. } => "drip",
            Self::AbortStream { .. } => "abort-stream",
            Self::WrongUsage(WrongUsage::Negative) => "wrong-usage=negative",
            Self::WrongUsage(WrongUsage::Absurd) => "wrong-usage=absurd",
            Self::WrongUsage(WrongUsage::String) => "wrong-usage=string",
            Self::Ok => "ok",
            Self::Quota => "quota",
            Self::ContextLength => "context-length",
            Self::InvalidKey => "invalid-key",
            Self::EchoKey => "echo-key",
            Self::Hang => "hang",
            Self::ResetBeforeHeaders => "reset-before-headers",
            Self::Html => "html",
            Self::Error200 => "error-200",
            Self::ContentFilter => "content-filter",
            Self::NoUsage => "no-usage",
            Self::Garbage => "garbage",
            Self::Empty => "empty",
            Self::Truncate => "truncate",
            Self::Stall => "stall",
            Self::NoDone => "no-done",
        })
    }

    /// The parameter as `key=value`, where it is not the default.
    pub(crate) fn parameter(&self) -> Option<String> {
        match self {
            Self::Status { retry_after: Some(RetryAfter::Header(text)), .. } => Some(format!("retry-after={text}")),
            Self::Status { retry_after: Some(RetryAfter::Millis(text)), .. } => Some(format!("retry-after-ms={text}")),
            Self::Redirect { to: Some(to) } => Some(format!("to={to}")),
            Self::Bomb { mib } if *mib != directive::BOMB_MIB => Some(format!("mib={mib}")),
            Self::Reset(ResetAt::Headers) => Some("at=headers".to_owned()),
            Self::Drip { every } if *every != directive::DRIP_EVERY => Some(format!("every={}ms", every.as_millis())),
            Self::AbortStream { after } if *after != directive::ABORT_AFTER => Some(format!("after={after}")),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        self.parameter().map_or(Ok(()), |parameter| write!(f, ":{parameter}"))
    }
}

impl FromStr for Fault {
    type Err = DirectiveError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        directive::fault(text)
    }
}

impl TryFrom<String> for Fault {
    type Error = DirectiveError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

/// The wait that an error status asks for, as literal header text, so that it can be nonsense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryAfter {
    /// `retry-after=<text>`: the `retry-after` header. `http-date+30` stands for the date 30 seconds from now.
    Header(Box<str>),
    /// `retry-after-ms=<text>`: the vendor's header in milliseconds.
    Millis(Box<str>),
}

/// Where a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetAt {
    /// After the headers, before the body.
    Headers,
    /// In the middle of the body.
    Body,
}

/// How a reported usage is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongUsage {
    /// Negative counts.
    Negative,
    /// Counts of more than 10¹⁵ tokens.
    Absurd,
    /// Counts as strings.
    String,
}

/// One fault of a plan and how often it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// What happens.
    pub fault: Fault,
    /// To which part of the calls, from 0 to 1.
    pub probability: f64,
}

/// The faults that happen by chance, at most one to a call. A request's own directive overrules the plan.
///
/// Whether and which is drawn from the seed, the content and its attempt: the same calls fail in every run. As text:
/// `429:retry-after=2@0.05;hang@0.01`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// The faults; their probabilities add up to at most 1, the rest of the calls are well.
    pub faults: Vec<PlannedFault>,
}

impl FaultPlan {
    /// The plan in which nothing goes wrong.
    pub const fn none() -> Self {
        Self { faults: Vec::new() }
    }

    /// Checks that the probabilities are such.
    ///
    /// # Errors
    ///
    /// When one is not from 0 to 1, or their sum is above 1.
    pub fn check(&self) -> Result<(), PlanError> {
        if let Some(bad) = self.faults.iter().find(|planned| !(0.0..=1.0).contains(&planned.probability)) {
            return Err(PlanError::Probability(bad.probability));
        }
        let sum: f64 = self.faults.iter().map(|planned| planned.probability).sum();
        if sum > 1.0 + 1e-9 { Err(PlanError::Sum(sum)) } else { Ok(()) }
    }

    /// Draws what happens to one call. A fault that needs a stream spares a call without.
    pub(crate) fn draw(&self, chance: &mut Chance, stream: bool) -> Fault {
        let mut rest = chance.unit();
        for planned in &self.faults {
            if rest < planned.probability {
                let spared = planned.fault.needs_stream() && !stream;
                return if spared { Fault::Ok } else { planned.fault.clone() };
            }
            rest -= planned.probability;
        }
        Fault::Ok
    }
}

impl FromStr for FaultPlan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        let faults: Result<Vec<_>, _> = entries.map(planned).collect();
        let plan = Self { faults: faults? };
        plan.check().map(|()| plan)
    }
}

fn planned(entry: &str) -> Result<PlannedFault, PlanError> {
    let form = || PlanError::Form(entry.to_owned());
    let (fault, probability) = entry.rsplit_once('@').ok_or_else(form)?;
    Ok(PlannedFault { fault: fault.trim().parse()?, probability: probability.trim().parse().map_err(|_| form())? })
}

/// Why a fault plan is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// An entry is not `fault@probability`.
    #[error("bad entry {0:?}: expected <fault>@<probability>")]
    Form(String),
    /// An entry's fault is not in the grammar.
    #[error(transparent)]
    Fault(#[from] DirectiveError),
    /// A probability is not from 0 to 1.
    #[error("probability {0} is not from 0 to 1")]
    Probability(f64),
    /// More faults than calls.
    #[error("probabilities add up to {0}, more than 1")]
    Sum(f64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Question;

    fn chance(content: u64) -> Chance {
        Question { seed: 5, content, attempt: 0, prompt_tokens: 1, tokens_max: None, tokens_exact: None }
            .chance("fault")
    }

    #[test]
    fn a_plan_hits_its_share_of_calls_and_the_same_ones_again() {
        let plan: FaultPlan = "429:retry-after=2@0.05; hang@0.2".parse().unwrap();
        let drawn: Vec<Fault> = (0..10_000).map(|content| plan.draw(&mut chance(content), false)).collect();
        let count = |name: &str| drawn.iter().filter(|fault| fault.name() == name).count();
        assert!((400..600).contains(&count("status=429")), "{}", count("status=429"));
        assert!((1_800..2_200).contains(&count("hang")), "{}", count("hang"));
        let again: Vec<Fault> = (0..10_000).map(|content| plan.draw(&mut chance(content), false)).collect();
        assert_eq!(drawn, again);
    }

    #[test]
    fn a_fault_of_streams_spares_plain_calls() {
        let plan: FaultPlan = "no-done@1".parse().unwrap();
        assert_eq!(plan.draw(&mut chance(1), false), Fault::Ok);
        assert_eq!(plan.draw(&mut chance(1), true), Fault::NoDone);
    }

    #[test]
    fn bad_plans_are_refused_by_cause() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<FaultPlan>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("hang", "expected <fault>@<probability>");
        check("hang@often", "expected <fault>@<probability>");
        check("hang@1.5", "not from 0 to 1");
        check("hang@NaN", "not from 0 to 1");
        check("hang@0.6;html@0.6", "add up to 1.2");
        check("explode@0.1", "unknown fault \"explode\"");
    }

    #[test]
    fn a_plan_survives_json() {
        let plan: FaultPlan = "status=503:retry-after=1@0.25;drip:every=5ms@0.5".parse().unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<FaultPlan>(&json).unwrap(), plan);
        assert!(serde_json::from_str::<FaultPlan>(r#"{"faults":[],"more":1}"#).is_err());
    }
}
