//! How a command ends: a stable exit code, and for a failure what happened, why, and what to try.

use std::error::Error;
use std::fmt;

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It worked.
    Ok = 0,
    /// A job failed, the books disagree, or a check found something broken.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// NATS cannot be reached, or refuses us.
    Nats = 3,
    /// ClickHouse or a provider cannot be reached, or refuses us.
    Upstream = 4,
    /// A job was rejected.
    Rejected = 5,
    /// The time to wait is over.
    Timeout = 6,
    /// A signal ended it before it was done.
    Interrupted = 130,
}

/// A command that could not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    what: String,
    why: Vec<String>,
    remedy: Option<String>,
}

/// What a command returns.
pub type Outcome = Result<Code, Failure>;

impl Failure {
    /// What happened, as a fragment.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Failure { code, what: what.into(), why: Vec::new(), remedy: None }
    }

    /// Why: an error with everything that caused it.
    #[must_use]
    pub fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Libraries often repeat their cause in their own words.
            if !self.why.iter().any(|known| known.contains(&text)) {
                self.why.push(text);
            }
            next = error.source();
        }
        self
    }

    /// What happened and why, in one line.
    pub fn reason(&self) -> String {
        let what = self.what.replace('\n', "; ");
        if self.why.is_empty() { what } else { format!("{what}: {}", self.why.join(": ")) }
    }

    /// What to try, if that is known.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// What to try.
    #[must_use]
    pub fn try_this(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if !self.why.is_empty() {
            write!(f, "\n  why: {}", self.why.join(": "))?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  try: {remedy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_says_what_why_and_what_to_try() {
        let error = Outer(std::io::Error::other("connection refused"));
        let failure = Failure::new(Code::Nats, "cannot reach NATS").because(&error).try_this("start it");
        let expected = "error: cannot reach NATS\n  why: cannot connect: connection refused\n  try: start it";
        assert_eq!(failure.to_string(), expected);
        assert_eq!(failure.code as u8, 3);
    }
}
