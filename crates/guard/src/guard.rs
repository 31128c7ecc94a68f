//! A policy, ready to be applied to jobs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::check;
use crate::clauses::{Clauses, weight};
use crate::error::PolicyError;
use crate::look::{Looker, Tally};
use crate::policy::{Action, Followed, Hit, OnFailure, Policy, Side};
use crate::restore;
use crate::screen::Screen;
use crate::sieve::Sieve;
use crate::texts;
use crate::vault::{Full, Vault};

/// A policy, compiled. Dear to make, cheap to share; jobs of many threads use one at a time.
#[derive(Debug)]
pub struct Guard {
    policy: Policy,
    request: Clauses,
    /// Shared with the sieves of answers that are being written.
    answer: Arc<Clauses>,
}

/// What became of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct Screened {
    /// Whether the job goes on.
    pub verdict: Verdict,
    /// The body to go on with, if redaction changed it.
    pub body: Option<Vec<u8>>,
    /// What fired, the strictest first.
    pub fired: Vec<Hit>,
    /// What it all adds up to, 0 to 100.
    pub risk: u8,
}

/// Whether a job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Pass,
    /// It ends.
    Block {
        /// The rule's name, or one of [`RISK`], [`UNREADABLE`], [`TOO_MANY`].
        rule: Arc<str>,
    },
}

/// The rule that blocks what adds up to too much risk.
pub const RISK: &str = "risk";
/// The rule that fires on what cannot be looked at: prompts given as token ids, text that does not decode.
pub const UNREADABLE: &str = "unreadable";
/// The rule that blocks a job with more findings than can be kept apart.
pub const TOO_MANY: &str = "too_many_findings";

/// An answer would be too large with what was redacted in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer would be too large with what was redacted in the request")]
pub struct TooLarge;

/// The texts of a body, for somebody else to look at.
#[derive(Clone, PartialEq, Eq)]
pub struct Texts {
    /// The texts, one line or more each.
    pub joined: String,
    /// Whether these are all; not if they are longer than [`TEXT_BYTES_MAX`] or some cannot be read.
    pub whole: bool,
}

/// The most text that is taken out of a body for external checkers: enough for a million-token prompt in English would
/// be 4 MiB, which no checker takes; they are made for conversations.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

impl Guard {
    /// Compiles a policy; `checkers` are the names of the external checkers that exist.
    ///
    /// # Errors
    /// Returns the first field that names nothing that is known, contradicts another one, or cannot be compiled.
    pub fn new(policy: &Policy, checkers: &BTreeSet<String>) -> Result<Guard, PolicyError> {
        check::policy(policy, checkers)?;
        let request = Clauses::new(policy, Side::Request, checkers)?;
        let answer = Arc::new(Clauses::new(policy, Side::Answer, checkers)?);
        Ok(Guard { policy: policy.clone(), request, answer })
    }

    /// Whether anything is looked for in requests, external checkers apart.
    pub fn looks_at_requests(&self) -> bool {
        self.request.look()
    }

    /// Whether anything is looked for in answers, external checkers apart.
    pub fn looks_at_answers(&self) -> bool {
        self.answer.look()
    }

    /// The external checkers that look at one side, with what follows when they object.
    pub fn checkers(&self, side: Side) -> impl Iterator<Item = (&str, Action)> {
        let clauses = match side {
            Side::Request => &self.request,
            Side::Answer => &*self.answer,
        };
        clauses.checkers.iter().map(|(name, action)| (name.as_str(), *action))
    }

    /// What follows when a rule cannot be applied.
    pub fn on_failure(&self) -> OnFailure {
        self.policy.on_failure.unwrap_or_default()
    }

    /// Screens the JSON body of a request: a chat completion, embeddings, or responses.
    ///
    /// What is replaced is kept in the job's vault. All else stays as it is, byte for byte, so that providers find the
    /// beginnings of prompts again that they have cached.
    pub fn screen_request(&self, body: &[u8], vault: &mut Vault) -> Screened {
        self.screen(body, &self.request, vault)
    }

    /// Screens a provider's whole answer, before anything of it is delivered and before anything is restored in it.
    ///
    /// What is replaced here is gone for good: nobody asked for it.
    pub fn screen_answer(&self, body: &[u8], vault: &mut Vault) -> Screened {
        self.screen(body, &self.answer, vault)
    }

    fn screen(&self, body: &[u8], clauses: &Clauses, vault: &mut Vault) -> Screened {
        if !clauses.look() {
            return Screened::clean();
        }
        let Ok(body) = std::str::from_utf8(body) else {
            let fired = vec![self.failed(clauses.side)];
            return self.judged(fired, None);
        };
        let screen = Screen::of(body, Looker::new(clauses, Tally::default()));
        let mut fired = screen.fired();
        if screen.unreadable && !clauses.clauses.is_empty() {
            fired.push(self.failed(clauses.side));
        }
        if screen.looker.overflowed {
            fired.push(too_many(clauses.side));
        }
        if fired.iter().any(|hit| hit.action == Followed::Block) {
            return self.judged(fired, None);
        }
        match screen.redacted(vault) {
            Ok(redacted) => self.judged(fired, redacted.map(String::into_bytes)),
            Err(Full) => {
                fired.push(too_many(clauses.side));
                self.judged(fired, None)
            }
        }
    }

    /// What follows from what fired: the strictest first, then by name.
    fn judged(&self, mut fired: Vec<Hit>, body: Option<Vec<u8>>) -> Screened {
        fired.sort_by(|a, b| strictness(b.action).cmp(&strictness(a.action)).then_with(|| a.rule.cmp(&b.rule)));
        let risk = self.risk(&fired);
        let blocking = fired.iter().find(|hit| hit.action == Followed::Block).map(|hit| hit.rule.as_str());
        let on_request = fired.iter().any(|hit| hit.on == Side::Request);
        let risky = (on_request && self.block_from().is_some_and(|from| risk >= from)).then_some(RISK);
        match blocking.or(risky) {
            Some(rule) => Screened { verdict: Verdict::Block { rule: rule.into() }, body: None, fired, risk },
            None => Screened { verdict: Verdict::Pass, body, fired, risk },
        }
    }

    fn failed(&self, on: Side) -> Hit {
        let action = match self.on_failure() {
            OnFailure::Block => Followed::Block,
            OnFailure::Allow => Followed::Passed,
        };
        Hit { rule: UNREADABLE.to_owned(), on, action, count: 1 }
    }

    /// Puts what was redacted in the request back into an answer; `None` if there is nothing to put back. A model can say
    /// a placeholder of a long value over and over, so that the whole would be thousands of times as long.
    ///
    /// # Errors
    /// [`TooLarge`] if the whole would have more than `most` bytes, before it is built.
    pub fn restore(&self, body: &[u8], vault: &Vault, most: usize) -> Result<Option<Vec<u8>>, TooLarge> {
        let Some(body) = std::str::from_utf8(body).ok().filter(|_| self.restores()) else { return Ok(None) };
        Ok(restore::body(body, vault, most)?.map(String::into_bytes))
    }

    fn restores(&self) -> bool {
        self.policy.restore.unwrap_or(true)
    }

    /// The texts of a request or an answer, for external checkers.
    pub fn texts(&self, side: Side, body: &[u8]) -> Texts {
        texts::of(side, body)
    }

    /// A sieve for the answer of one job, after its request was screened.
    pub fn sieve(&self, vault: &Vault) -> Sieve {
        Sieve::new(self.answer.clone(), vault.clone(), self.restores())
    }

    /// What rules that fired add up to, 0 to 100; external checkers are rules too. Each counts once, however often it fired,
    /// and one that could not be applied and lets pass says nothing.
    pub fn risk(&self, fired: &[Hit]) -> u8 {
        let told = fired.iter().filter(|hit| hit.action != Followed::Passed);
        let rules: BTreeSet<&str> = told.map(|hit| hit.rule.as_str()).collect();
        let sum: u32 = rules.into_iter().map(|rule| u32::from(weight(&self.policy, rule))).sum();
        u8::try_from(sum.min(100)).unwrap_or(100)
    }

    /// The risk from which a request is blocked.
    pub fn block_from(&self) -> Option<u8> {
        self.policy.risk.block_from
    }
}

impl Screened {
    fn clean() -> Screened {
        Screened { verdict: Verdict::Pass, body: None, fired: Vec::new(), risk: 0 }
    }
}

fn too_many(on: Side) -> Hit {
    Hit { rule: TOO_MANY.to_owned(), on, action: Followed::Block, count: 1 }
}

fn strictness(followed: Followed) -> u8 {
    match followed {
        Followed::Passed => 0,
        Followed::Flag => 1,
        Followed::Redact => 2,
        Followed::Block => 3,
    }
}

/// Tells whether the body changed, not what it says.
impl fmt::Debug for Screened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screened")
            .field("verdict", &self.verdict)
            .field("changed", &self.body.is_some())
            .field("fired", &self.fired)
            .field("risk", &self.risk)
            .finish()
    }
}
