//! Screen: what the team's guardrails say of a prompt before anything is sent, and of an answer before anything of it is
//! delivered.
//!
//! Patterns come first, then external checkers, which see what the patterns left: what was redacted stays here. A rule
//! that cannot be applied stops the job, unless the team wants it to pass. What fired is told in the result, in the usage
//! record and in metrics; what it found is told nowhere.

mod rules;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_guard::{Action, Guard, Sieve, TooLarge, Vault, Verdict};
use tollgate_providers::Answer;
use tollgate_types::guardrails::{HITS_MAX, Hit, Side};
use tollgate_types::{ErrorCode, JobSpec};

use crate::context::Context;
use crate::end::{End, Outcome};
use rules::{Screening, apart, blocked, unusable};

/// What is told of a job's guardrails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The rules that fired, all of them.
    pub(crate) hits: Vec<Hit>,
    /// What they add up to on the request, 0 to 100.
    pub(crate) risk: u8,
    /// What the producer should know although the job went on.
    pub(crate) warnings: Vec<String>,
}

impl Told {
    /// As many hits as a record has room for: those of which the most followed come first.
    pub(crate) fn most_telling(&self) -> Vec<Hit> {
        let mut hits = self.hits.clone();
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.action));
        hits.truncate(HITS_MAX);
        hits
    }
}

/// A job that passed, as it goes on.
pub(crate) struct Passed<'a> {
    /// With the body that may leave.
    pub(crate) job: Cow<'a, JobSpec>,
    guard: Option<Arc<Guard>>,
    vault: Vault,
    pub(crate) told: Told,
}

/// Screens a prompt: the job as it may go on, or its end and why.
pub(crate) async fn request<'a>(job: &'a JobSpec, team: &str, cx: &Context) -> Result<Passed<'a>, (End, Told)> {
    let guard = match cx.guards.of(team) {
        Ok(Some(guard)) => guard,
        Ok(None) => return Ok(Passed::untouched(job)),
        Err(_) => return Err((unusable(), Told::default())),
    };
    let mut screening = Screening { side: Side::Request, guard, vault: Vault::default(), told: Told::default() };
    let screened = screening.of(job.body.clone(), team, cx).await;
    let Screening { guard, vault, mut told, .. } = screening;
    told.risk = guard.risk(&told.hits);
    let too_risky = guard.block_from().is_some_and(|from| told.risk >= from);
    let body = match screened {
        Ok(_) if too_risky => return Err((blocked(Side::Request, tollgate_guard::RISK), told)),
        Ok(body) => body,
        Err(end) => return Err((end, told)),
    };
    let job = match body {
        None => Cow::Borrowed(job),
        Some(body) => match job.with_body(body) {
            Ok(changed) => Cow::Owned(changed),
            // What may leave is no request any more: it does not leave.
            Err(_) => return Err((unusable(), told)),
        },
    };
    Ok(Passed { job, guard: Some(guard), vault, told })
}

impl<'a> Passed<'a> {
    fn untouched(job: &'a JobSpec) -> Passed<'a> {
        Passed { job: Cow::Borrowed(job), guard: None, vault: Vault::default(), told: Told::default() }
    }

    /// Whether the job goes on with another body, whose length counts otherwise.
    pub(crate) fn changed(&self) -> bool {
        matches!(self.job, Cow::Owned(_))
    }

    /// A sieve for the deltas of one call, if they need one; `Err` if none may leave before the whole answer was judged.
    pub(crate) fn sieve(&self) -> Result<Option<Sieve>, WholeFirst> {
        let Some(guard) = &self.guard else { return Ok(None) };
        if guard.checkers(Side::Answer).any(|(_, action)| action > Action::Flag) {
            return Err(WholeFirst);
        }
        Ok((guard.looks_at_answers() || !self.vault.is_empty()).then(|| guard.sieve(&self.vault)))
    }

    /// Whether anything is looked for in the job at all.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// Screens the answer of a call, if it came to one, and puts back what was redacted in the prompt. Returns the end, and
    /// the answer's body as it is fit for others, with placeholders, if it is not the one that the producer gets.
    ///
    /// What is blocked was paid for: the attempts stay.
    pub(crate) async fn answer(&mut self, end: End, team: &str, cx: &Context) -> (End, Option<Box<RawValue>>) {
        let Some(guard) = self.guard.clone() else { return (end, None) };
        let (answer, request_id, attempts) = match end {
            End { outcome: Outcome::Answered(answer, request_id), attempts } => (answer, request_id, attempts),
            End { outcome: Outcome::Refused(code, message), attempts } => {
                let message = self.words(&guard, code, message);
                return (End { outcome: Outcome::Refused(code, message), attempts }, None);
            }
        };
        let vault = std::mem::take(&mut self.vault);
        let told = std::mem::take(&mut self.told);
        let mut screening = Screening { side: Side::Answer, guard: guard.clone(), vault, told };
        let screened = screening.of(Bytes::copy_from_slice(answer.body.get().as_bytes()), team, cx).await;
        let Screening { vault, told, .. } = screening;
        (self.vault, self.told) = (vault, told);
        let body = match screened {
            Ok(body) => body,
            Err(refused) => return (End { attempts, ..refused }, None),
        };
        let kept = match body.map(|body| raw(body.into())) {
            None => None,
            Some(Some(body)) => Some(body),
            Some(None) => return (End { attempts, ..unusable() }, None),
        };
        let seen = kept.as_ref().unwrap_or(&answer.body).clone();
        let restored = match self.restored(guard, seen, cx).await {
            Ok(restored) => restored,
            Err(end) => return (End { attempts, ..end }, None),
        };
        let fit = kept.or_else(|| restored.is_some().then(|| answer.body.clone()));
        let body = restored.or_else(|| fit.clone()).unwrap_or_else(|| answer.body.clone());
        (End { outcome: Outcome::Answered(Box::new(Answer { body, ..*answer }), request_id), attempts }, fit)
    }

    /// The answer with what was redacted in the prompt put back, if something is.
    async fn restored(
        &self,
        guard: Arc<Guard>,
        body: Box<RawValue>,
        cx: &Context,
    ) -> Result<Option<Box<RawValue>>, End> {
        let (vault, most) = (self.vault.clone(), cx.connection.payload_bytes_max());
        let restored = apart(body.get().len(), move || guard.restore(body.get().as_bytes(), &vault, most)).await?;
        match restored {
            Ok(restored) => Ok(restored.and_then(raw)),
            Err(TooLarge) => {
                let message = "with what was redacted in the prompt put back, the answer does not fit a message";
                Err(End::refused(ErrorCode::ResultTooLarge, message))
            }
        }
    }

    /// What a producer is told of a failure: a provider's words may repeat what it must not hear.
    fn words(&self, guard: &Guard, code: ErrorCode, message: String) -> String {
        let wrapped = serde_json::json!({ "choices": [{ "index": 0, "message": { "content": message } }] });
        let screened = guard.screen_answer(wrapped.to_string().as_bytes(), &mut Vault::default());
        let clean = screened.verdict == Verdict::Pass && screened.body.is_none();
        if clean { message } else { code.cause().to_owned() }
    }
}

/// No delta may leave before the whole answer was judged, by a checker that reads whole texts.
#[derive(Debug)]
pub(crate) struct WholeFirst;

fn raw(body: Vec<u8>) -> Option<Box<RawValue>> {
    String::from_utf8(body).ok().and_then(|text| RawValue::from_string(text).ok())
}
