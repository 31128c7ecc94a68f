//! The rules of one side, applied to one body: patterns, then external checkers, each of which may stop the job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use tollgate_guard::{Action, Guard, OnFailure, Screened, Vault, Verdict};
use tollgate_providers::{Opinion, Question};
use tollgate_types::ErrorCode;
use tollgate_types::guardrails::{Followed, Hit, Side};

use super::Told;
use crate::context::Context;
use crate::end::End;

/// Larger bodies are worked on where they hold up no other job.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// One body on its way through the rules.
pub(super) struct Screening {
    pub(super) side: Side,
    pub(super) guard: Arc<Guard>,
    pub(super) vault: Vault,
    pub(super) told: Told,
}

impl Screening {
    /// The body that may go on, if it is another; or the job's end.
    pub(super) async fn of(&mut self, body: Bytes, team: &str, cx: &Context) -> Result<Option<Bytes>, End> {
        let Screened { verdict, body: changed, fired, .. } = self.by_patterns(body.clone()).await?;
        self.tell(fired);
        if let Verdict::Block { rule } = verdict {
            return Err(blocked(self.side, &rule));
        }
        let changed = changed.map(Bytes::from);
        let seen = changed.clone().unwrap_or(body);
        Ok(self.by_checkers(seen, team, cx).await?.or(changed))
    }

    async fn by_patterns(&mut self, body: Bytes) -> Result<Screened, End> {
        let started = std::time::Instant::now();
        let (guard, side, mut vault) = (self.guard.clone(), self.side, std::mem::take(&mut self.vault));
        let bytes = body.len();
        let screen = move || match side {
            Side::Request => (guard.screen_request(&body, &mut vault), vault),
            Side::Answer => (guard.screen_answer(&body, &mut vault), vault),
        };
        let (screened, vault) = apart(bytes, screen).await?;
        self.vault = vault;
        metrics::histogram!("tollgate_screen_seconds", "on" => side.as_str()).record(started.elapsed().as_secs_f64());
        Ok(screened)
    }

    /// What the external checkers make of a body that the patterns have seen, and may have changed.
    async fn by_checkers(&mut self, body: Bytes, team: &str, cx: &Context) -> Result<Option<Bytes>, End> {
        let guard = self.guard.clone();
        let rules: Vec<(&str, Action)> = guard.checkers(self.side).collect();
        if rules.is_empty() {
            return Ok(None);
        }
        let (of, side, seen) = (guard.clone(), self.side, body.clone());
        let texts = apart(body.len(), move || of.texts(side, &seen)).await?;
        if !texts.whole {
            // The rest could hold anything.
            rules.iter().try_for_each(|(name, _)| self.failed(name, "it cannot be shown all of it", team))?;
        } else if texts.joined.trim().is_empty() {
            return Ok(None);
        }
        let question = Question { side: self.side, team, texts: &[texts.joined] };
        let mut named = Vec::new();
        for (name, action, opinion) in cx.guards.ask(&rules, &question, &cx.caller).await {
            match opinion {
                Err(why) => self.failed(name, &why.to_string(), team)?,
                Ok(Opinion { flagged, found }) if !flagged && found.is_empty() => {}
                Ok(_) if action == Action::Flag => self.tell(vec![hit(name, self.side, Followed::Flag, 1)]),
                Ok(Opinion { found, .. }) if action == Action::Redact && !found.is_empty() => named.push((name, found)),
                // Also where it should redact and did not say what.
                Ok(_) => {
                    self.tell(vec![hit(name, self.side, Followed::Block, 1)]);
                    return Err(blocked(self.side, name));
                }
            }
        }
        self.replaced(body, named, team).await
    }

    /// The body without what checkers named, all at once: what they named may overlap.
    async fn replaced(
        &mut self,
        body: Bytes,
        named: Vec<(&str, Vec<(String, String)>)>,
        team: &str,
    ) -> Result<Option<Bytes>, End> {
        let values: Vec<(String, String)> = named.iter().flat_map(|(_, found)| found).cloned().collect();
        if values.is_empty() {
            return Ok(None);
        }
        let (guard, side, mut vault) = (self.guard.clone(), self.side, std::mem::take(&mut self.vault));
        let replace = move || (guard.replace(side, &body, &values, &mut vault), vault);
        let (replaced, vault) = apart(INLINE_BYTES_MAX + 1, replace).await?;
        self.vault = vault;
        for (name, found) in &named {
            match &replaced {
                Err(why) => self.failed(name, &why.to_string(), team)?,
                Ok(_) => self.tell(vec![hit(name, self.side, Followed::Redact, found.len())]),
            }
        }
        Ok(replaced.ok().flatten().map(Bytes::from))
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
    }
}

/// Does the guard's work on so many bytes: here if they are few, else where it holds up no other job. A guard that panics
/// has not let anything pass.
pub(super) async fn apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, End> {
    if bytes > INLINE_BYTES_MAX {
        return tokio::task::spawn_blocking(work).await.map_err(|_| panicked());
    }
    // What it worked on is dropped with it.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| panicked())
}

fn panicked() -> End {
    tracing::error!("a guardrail panicked; the job is blocked");
    unusable()
}

fn hit(rule: &str, on: Side, action: Followed, count: usize) -> Hit {
    Hit { rule: rule.to_owned(), on, action, count: u32::try_from(count).unwrap_or(u32::MAX) }
}

/// The end of a job that a rule stopped.
pub(super) fn blocked(side: Side, rule: &str) -> End {
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

/// The end of a job to which the guardrails cannot be applied at all.
pub(super) fn unusable() -> End {
    End::refused(ErrorCode::GuardrailFailed, "the team's guardrails cannot be applied; the operator's log says why")
}
