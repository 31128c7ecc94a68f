//! The grammar by which one request asks for its own fault.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::faults::{Fault, ResetAt, RetryAfter, WrongUsage};

pub(crate) const BOMB_MIB: u32 = 1_024;
pub(crate) const DRIP_EVERY: Duration = Duration::from_secs(1);
pub(crate) const ABORT_AFTER: u32 = 3;

/// The vendor's limit on a metadata value.
const TEXT_BYTES_MAX: usize = 512;
/// The longest delay: the vendor's own default timeout.
const DELAY_MAX: Duration = Duration::from_secs(600);

/// Parameterless faults by name.
const PLAIN: [(&str, Fault); 17] = [
    ("ok", Fault::Ok),
    ("quota", Fault::Quota),
    ("context-length", Fault::ContextLength),
    ("invalid-key", Fault::InvalidKey),
    ("echo-key", Fault::EchoKey),
    ("hang", Fault::Hang),
    ("reset-before-headers", Fault::ResetBeforeHeaders),
    ("html", Fault::Html),
    ("error-200", Fault::Error200),
    ("content-filter", Fault::ContentFilter),
    ("no-usage", Fault::NoUsage),
    ("garbage", Fault::Garbage),
    ("empty", Fault::Empty),
    ("truncate", Fault::Truncate),
    ("stall", Fault::Stall),
    ("no-done", Fault::NoDone),
    ("rate-limit", Fault::Status { code: 429, retry_after: None }),
];

/// What one request asks to happen to it, in `metadata: {"sim": "<directive>"}`.
///
/// ```text
/// directive = clause *(";" clause)
/// clause    = fault | "then=" fault | "delay=" duration | "tokens=" number | "echo"
/// fault     = name ["=" value] ["*" times] [":" key "=" text]
/// duration  = number ("ms" | "s" | "m")
/// ```
///
/// The names and keys are those of [`Fault`]. `status=503*2` is for the first two calls with this content (the same
/// model, messages and directive), `then` is what follows, else `ok`; `then` without `*` means `*1`; a fault with
/// neither is for every call. `delay` is waited before anything is sent, `tokens` is the answer's length; both are for
/// every call; with `echo` the answer repeats the last message of the user. `text` is taken literally up to the next `;`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directive {
    /// What happens first.
    pub first: Fault,
    /// To how many calls; `None` is every call.
    pub times: Option<u32>,
    /// What happens after that.
    pub then: Fault,
    /// The wait before anything is sent.
    pub delay: Option<Duration>,
    /// The answer's length in tokens.
    pub tokens: Option<u32>,
    /// Whether the answer repeats the last message of the user, a word a token.
    pub echo: bool,
}

impl Directive {
    /// The fault for the call with this ordinal (from 0) among those of its content.
    pub fn fault(&self, attempt: u32) -> &Fault {
        match self.times {
            Some(times) if attempt >= times => &self.then,
            _ => &self.first,
        }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.name())?;
        if let Some(times) = self.times {
            write!(f, "*{times}")?;
        }
        if let Some(parameter) = self.first.parameter() {
            write!(f, ":{parameter}")?;
        }
        if self.then != Fault::Ok {
            write!(f, ";then={}", self.then)?;
        }
        if let Some(delay) = self.delay {
            write!(f, ";delay={}ms", delay.as_millis())?;
        }
        if self.echo {
            write!(f, ";echo")?;
        }
        self.tokens.map_or(Ok(()), |tokens| write!(f, ";tokens={tokens}"))
    }
}

impl FromStr for Directive {
    type Err = DirectiveError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(DirectiveError::TooLong);
        }
        let (mut first, mut then, mut delay, mut tokens, mut echo) = (None, None, None, None, false);
        for clause in text.split(';').map(str::trim) {
            let once = match clause.split_once('=') {
                Some(("then", fault_text)) => then.replace(fault(fault_text)?).is_none(),
                Some(("delay", value)) => delay.replace(duration("delay", value)?).is_none(),
                Some(("tokens", value)) => tokens.replace(number("tokens", value, 1, 1_048_576)?).is_none(),
                None if clause == "echo" => !std::mem::replace(&mut echo, true),
                _ => first.replace(repeated(clause)?).is_none(),
            };
            if !once {
                return Err(DirectiveError::Twice(clause.to_owned()));
            }
        }
        let (first, times) = first.unwrap_or_default();
        let times = times.or(then.is_some().then_some(1));
        Ok(Self { first, times, then: then.unwrap_or_default(), delay, tokens, echo })
    }
}

/// Parses one fault that is not repeated.
pub(crate) fn fault(text: &str) -> Result<Fault, DirectiveError> {
    match repeated(text)? {
        (fault, None) => Ok(fault),
        (_, Some(_)) => Err(DirectiveError::Value { what: "times", text: text.to_owned(), expected: "no * here" }),
    }
}

/// Parses `name[=value][*times][:key=text]`.
fn repeated(clause: &str) -> Result<(Fault, Option<u32>), DirectiveError> {
    let (head, parameter) = match clause.split_once(':') {
        Some((head, parameter)) => (head, Some(parameter)),
        None => (clause, None),
    };
    let (head, times) = match head.split_once('*') {
        Some((head, times)) => (head, Some(number("times", times, 1, 1_000_000)?)),
        None => (head, None),
    };
    Ok((with_parameter(named(head)?, head, parameter)?, times))
}

fn named(head: &str) -> Result<Fault, DirectiveError> {
    if let Some((_, fault)) = PLAIN.iter().find(|(name, _)| *name == head) {
        return Ok(fault.clone());
    }
    match head.split_once('=').unwrap_or((head, "")) {
        ("429", "") => Ok(Fault::Status { code: 429, retry_after: None }),
        ("status", code) => Ok(Fault::Status { code: number("status", code, 400, 599)? as u16, retry_after: None }),
        ("redirect", "") => Ok(Fault::Redirect { to: None }),
        ("bomb", "") => Ok(Fault::Bomb { mib: BOMB_MIB }),
        ("reset", "") => Ok(Fault::Reset(ResetAt::Body)),
        ("drip", "") => Ok(Fault::Drip { every: DRIP_EVERY }),
        ("abort-stream", "") => Ok(Fault::AbortStream { after: ABORT_AFTER }),
        ("wrong-usage", "negative") => Ok(Fault::WrongUsage(WrongUsage::Negative)),
        ("wrong-usage", "absurd") => Ok(Fault::WrongUsage(WrongUsage::Absurd)),
        ("wrong-usage", "string") => Ok(Fault::WrongUsage(WrongUsage::String)),
        ("wrong-usage", other) => Err(DirectiveError::Value {
            what: "wrong-usage",
            text: other.to_owned(),
            expected: "negative, absurd or string",
        }),
        _ => Err(DirectiveError::UnknownFault(head.to_owned())),
    }
}

fn with_parameter(fault: Fault, head: &str, parameter: Option<&str>) -> Result<Fault, DirectiveError> {
    let Some(parameter) = parameter else { return Ok(fault) };
    let (key, text) = parameter.split_once('=').unwrap_or((parameter, ""));
    match (fault, key) {
        (Fault::Status { code, .. }, "retry-after") => {
            Ok(Fault::Status { code, retry_after: Some(RetryAfter::Header(header_text("retry-after", text)?)) })
        }
        (Fault::Status { code, .. }, "retry-after-ms") => {
            Ok(Fault::Status { code, retry_after: Some(RetryAfter::Millis(header_text("retry-after-ms", text)?)) })
        }
        (Fault::Redirect { .. }, "to") => Ok(Fault::Redirect { to: Some(header_text("to", text)?) }),
        (Fault::Bomb { .. }, "mib") => Ok(Fault::Bomb { mib: number("mib", text, 1, 16_384)? }),
        (Fault::Reset(_), "at") => match text {
            "headers" => Ok(Fault::Reset(ResetAt::Headers)),
            "body" => Ok(Fault::Reset(ResetAt::Body)),
            _ => Err(DirectiveError::Value { what: "at", text: text.to_owned(), expected: "headers or body" }),
        },
        (Fault::Drip { .. }, "every") => Ok(Fault::Drip { every: duration("every", text)? }),
        (Fault::AbortStream { .. }, "after") => Ok(Fault::AbortStream { after: number("after", text, 0, 131_072)? }),
        _ => Err(DirectiveError::UnknownParameter { fault: head.to_owned(), parameter: key.to_owned() }),
    }
}

fn header_text(what: &'static str, text: &str) -> Result<Box<str>, DirectiveError> {
    let printable = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let bad = || DirectiveError::Value { what, text: text.to_owned(), expected: "printable ASCII" };
    if printable { Ok(text.into()) } else { Err(bad()) }
}

fn number(what: &'static str, text: &str, least: u32, most: u32) -> Result<u32, DirectiveError> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| DirectiveError::Range { what, text: text.to_owned(), least, most })
}

fn duration(what: &'static str, text: &str) -> Result<Duration, DirectiveError> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(1)),
        "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_secs(60)),
        _ => None,
    };
    let length = unit.zip(digits.parse::<u32>().ok()).and_then(|(unit, count)| unit.checked_mul(count));
    let bad = || DirectiveError::Value { what, text: text.to_owned(), expected: "as 500ms, 2s or 1m, at most 10m" };
    length.filter(|length| *length <= DELAY_MAX).ok_or_else(bad)
}

/// Why a directive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// The text is longer than a metadata value may be.
    #[error("directive is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// No fault has this name.
    #[error("unknown fault {0:?}: expected {names}", names = names())]
    UnknownFault(String),
    /// The fault has no such parameter.
    #[error("fault {fault:?} has no parameter {parameter:?}")]
    UnknownParameter {
        /// The fault as written.
        fault: String,
        /// The parameter's key.
        parameter: String,
    },
    /// A value is not of its form.
    #[error("bad value {text:?} for {what}: expected {expected}")]
    Value {
        /// What the value is of.
        what: &'static str,
        /// The value as written.
        text: String,
        /// The form.
        expected: &'static str,
    },
    /// A number is none, or out of its range.
    #[error("bad number {text:?} for {what}: expected {least} to {most}")]
    Range {
        /// What the number is of.
        what: &'static str,
        /// The number as written.
        text: String,
        /// The least allowed.
        least: u32,
        /// The most allowed.
        most: u32,
    },
    /// A clause repeats another of its kind.
    #[error("second clause of its kind: {0:?}")]
    Twice(String),
}

fn names() -> String {
    let plain: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).collect();
    format!("429, status=<code>, redirect, bomb, reset, drip, abort-stream, wrong-usage=<how>, {}", plain.join(", "))
}

#[cfg(test)]
mod tests;
