//! Screen: what the team's guardrails say of a prompt before anything is sent, and of an answer before anything of it is
//! delivered.
//!
//! Patterns come first, then external checkers, which see what the patterns left: what was redacted stays here. A rule
//! that cannot be applied stops the job, unless the team wants it to pass. What fired is told in the result, in the usage
//! record and in metrics; what it found is told nowhere.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_guard::{Action, Guard, OnFailure, Screened, Sieve, Vault, Verdict};
use tollgate_providers::{Answer, Question};
use tollgate_types::guardrails::{Followed, HITS_MAX, Hit, Side};
use tollgate_types::{ErrorCode, JobSpec};

use crate::context::Context;
use crate::end::{End, Outcome};

/// What is told of a job's guardrails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The rules that fired.
    pub(crate) hits: Vec<Hit>,
    /// What they add up to on the request, 0 to 100.
    pub(crate) risk: u8,
    /// What the producer should know although the job went on.
    pub(crate) warnings: Vec<String>,
}

/// A job that passed, as it goes on.
pub(crate) struct Passed<'a> {
    /// With the body that may leave.
    pub(crate) job: Cow<'a, JobSpec>,
    guard: Option<Arc<Guard>>,
    vault: Vault,
    pub(crate) told: Told,
}

/// Larger bodies are screened where they hold up no other job.
const INLINE_BYTES_MAX: usize = 64 * 1024;

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

    /// Screens the answer of a call, if it came to one, and puts back what was redacted in the prompt. Returns the end, and
    /// the answer's body as it is fit for others, with placeholders, if screening changed it.
    ///
    /// What is blocked was paid for: the attempts stay.
    pub(crate) async fn answer(&mut self, end: End, team: &str, cx: &Context) -> (End, Option<Box<RawValue>>) {
        let Some(guard) = self.guard.clone() else { return (end, None) };
        let End { outcome: Outcome::Answered(answer, request_id), attempts } = end else { return (end, None) };
        let vault = std::mem::take(&mut self.vault);
        let told = std::mem::take(&mut self.told);
        let mut screening = Screening { side: Side::Answer, guard, vault, told };
        let screened = screening.of(Bytes::copy_from_slice(answer.body.get().as_bytes()), team, cx).await;
        let Screening { guard, vault, told, .. } = screening;
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
        let seen = kept.as_ref().unwrap_or(&answer.body);
        let restored = guard.restore(seen.get().as_bytes(), &self.vault).and_then(raw);
        let body = restored.or_else(|| kept.clone()).unwrap_or_else(|| answer.body.clone());
        (End { outcome: Outcome::Answered(Box::new(Answer { body, ..*answer }), request_id), attempts }, kept)
    }
}

/// No delta may leave before the whole answer was judged, by a checker that reads whole texts.
#[derive(Debug)]
pub(crate) struct WholeFirst;

/// One body on its way through the rules.
struct Screening {
    side: Side,
    guard: Arc<Guard>,
    vault: Vault,
    told: Told,
}

impl Screening {
    /// The body that may go on, if it is another; or the job's end.
    async fn of(&mut self, body: Bytes, team: &str, cx: &Context) -> Result<Option<Bytes>, End> {
        let Screened { verdict, body: changed, fired, .. } = self.by_patterns(body.clone()).await?;
        self.tell(fired);
        if let Verdict::Block { rule } = verdict {
            return Err(blocked(self.side, &rule));
        }
        let changed = changed.map(Bytes::from);
        self.by_checkers(body, changed, team, cx).await
    }

    async fn by_patterns(&mut self, body: Bytes) -> Result<Screened, End> {
        let started = std::time::Instant::now();
        let (guard, side) = (self.guard.clone(), self.side);
        let screened = if body.len() <= INLINE_BYTES_MAX {
            by_side(&guard, side, &body, &mut self.vault)
        } else {
            let mut vault = std::mem::take(&mut self.vault);
            let screened = tokio::task::spawn_blocking(move || (by_side(&guard, side, &body, &mut vault), vault)).await;
            let (screened, vault) = screened.map_err(|_| unusable())?;
            self.vault = vault;
            screened
        };
        metrics::histogram!("tollgate_screen_seconds", "on" => side.as_str()).record(started.elapsed().as_secs_f64());
        Ok(screened)
    }

    /// What the external checkers make of a body, which the patterns may have changed.
    async fn by_checkers(
        &mut self,
        body: Bytes,
        mut changed: Option<Bytes>,
        team: &str,
        cx: &Context,
    ) -> Result<Option<Bytes>, End> {
        let guard = self.guard.clone();
        let rules: Vec<(&str, Action)> = guard.checkers(self.side).collect();
        if rules.is_empty() {
            return Ok(changed);
        }
        let texts = guard.texts(changed.as_ref().unwrap_or(&body));
        if !texts.whole {
            // The rest could hold anything.
            rules.iter().try_for_each(|(name, _)| self.failed(name, "the texts are too long for it", team))?;
        }
        let question = Question { side: self.side, team, texts: &[texts.joined] };
        for (name, action, opinion) in cx.guards.ask(&rules, &question, &cx.caller).await {
            match opinion {
                Err(why) => self.failed(name, &why.to_string(), team)?,
                Ok(opinion) if action == Action::Redact && !opinion.found.is_empty() => {
                    let seen = changed.as_ref().unwrap_or(&body);
                    match guard.replace(self.side, seen, &opinion.found, &mut self.vault) {
                        Err(why) => self.failed(name, &why.to_string(), team)?,
                        Ok(replaced) => {
                            self.tell(vec![hit(name, self.side, Followed::Redact, opinion.found.len())]);
                            changed = replaced.map(Bytes::from).or(changed);
                        }
                    }
                }
                Ok(opinion) if !opinion.flagged => {}
                Ok(_) if action == Action::Flag => self.tell(vec![hit(name, self.side, Followed::Flag, 1)]),
                // Also where it should redact and did not say what.
                Ok(_) => {
                    self.tell(vec![hit(name, self.side, Followed::Block, 1)]);
                    return Err(blocked(self.side, name));
                }
            }
        }
        Ok(changed)
    }

    /// A rule that could not be applied: the job's end, or a warning where the team wants it so.
    fn failed(&mut self, rule: &str, why: &str, team: &str) -> Result<(), End> {
        let on = self.side.as_str();
        tracing::warn!(team, rule, on, why, "a guardrail could not be applied");
        match self.guard.on_failure() {
            OnFailure::Block => {
                self.tell(vec![hit(rule, self.side, Followed::Block, 1)]);
                let message = format!("the guardrail rule '{rule}' could not be applied to the {on}: {why}");
                Err(End::refused(ErrorCode::GuardrailFailed, message))
            }
            OnFailure::Allow => {
                self.tell(vec![hit(rule, self.side, Followed::Passed, 1)]);
                let warning = format!("the {on} passed without the guardrail rule '{rule}': {why}");
                self.told.warnings.push(warning);
                Ok(())
            }
        }
    }

    fn tell(&mut self, fired: Vec<Hit>) {
        for hit in fired {
            let same = |told: &&mut Hit| told.rule == hit.rule && told.on == hit.on && told.action == hit.action;
            match self.told.hits.iter_mut().find(same) {
                Some(told) => told.count = told.count.saturating_add(hit.count),
                None => self.told.hits.push(hit),
            }
        }
        // What did the most is told first, and never left out.
        self.told.hits.sort_by_key(|hit| std::cmp::Reverse(hit.action));
        self.told.hits.truncate(HITS_MAX);
    }
}

fn by_side(guard: &Guard, side: Side, body: &[u8], vault: &mut Vault) -> Screened {
    match side {
        Side::Request => guard.screen_request(body, vault),
        Side::Answer => guard.screen_answer(body, vault),
    }
}

fn hit(rule: &str, on: Side, action: Followed, count: usize) -> Hit {
    Hit { rule: rule.to_owned(), on, action, count: u32::try_from(count).unwrap_or(u32::MAX) }
}

/// The end of a job that a rule stopped.
fn blocked(side: Side, rule: &str) -> End {
    let code = match (side, rule) {
        (_, tollgate_guard::UNREADABLE) => ErrorCode::GuardrailFailed,
        (Side::Request, _) => ErrorCode::PromptBlocked,
        (Side::Answer, _) => ErrorCode::AnswerBlocked,
    };
    let what = match side {
        Side::Request => "prompt; nothing was sent to a provider",
        Side::Answer => "answer, which is not delivered; its call was paid for",
    };
    End::refused(code, format!("the guardrail rule '{rule}' stopped the {what}"))
}

fn unusable() -> End {
    End::refused(ErrorCode::GuardrailFailed, "the team's guardrails cannot be applied; the operator's log says why")
}

fn raw(body: Vec<u8>) -> Option<Box<RawValue>> {
    String::from_utf8(body).ok().and_then(|text| RawValue::from_string(text).ok())
}
