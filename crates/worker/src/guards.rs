//! The guardrails of each team, compiled once and again when they change; and the external checkers that are rules of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tollgate_guard::{Action, Guard, PolicyError};
use tollgate_policy::health::breaker::{Breaker, Gate};
use tollgate_providers::{Caller, Checker, Opinion, Question, Unanswered};
use tollgate_queue::Directory;
use tollgate_queue::directory::{Organisation, TeamRecord};
use tollgate_types::guardrails::Policy;

/// The guardrails of every team.
pub(crate) struct Guards {
    directory: Directory,
    checkers: BTreeMap<String, Checked>,
    started: Instant,
    known: Mutex<Known>,
}

/// A team's guardrails; `None` if it has none.
type Compiled = Result<Option<Arc<Guard>>, PolicyError>;

#[derive(Default)]
struct Known {
    /// By team, with the records that they were made of.
    teams: HashMap<String, (Arc<TeamRecord>, Arc<Organisation>, Compiled)>,
    /// By what the policy says: most teams share one.
    policies: HashMap<String, Compiled>,
}

/// The most policies that are kept compiled; beyond it, those that are not in use are made again.
const POLICIES_MAX: usize = 256;

struct Checked {
    checker: Checker,
    breaker: Mutex<Breaker>,
}

/// Why a checker says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoOpinion {
    /// It was asked in vain.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// It failed lately, and is left alone for a moment.
    #[error("it failed lately and is left alone for a moment")]
    LeftAlone,
    /// This worker knows no checker of that name.
    #[error("this worker knows no checker of that name")]
    Unknown,
}

impl Guards {
    pub(crate) fn new(directory: Directory, checkers: BTreeMap<String, Checker>) -> Guards {
        let checked = |(name, checker)| (name, Checked { checker, breaker: Mutex::default() });
        let checkers = checkers.into_iter().map(checked).collect();
        Guards { directory, checkers, started: Instant::now(), known: Mutex::default() }
    }

    /// A team's guardrails as they are now; `None` without any.
    ///
    /// # Errors
    /// What the live configuration says cannot be applied: nothing of the team may pass.
    pub(crate) fn of(&self, team: &str) -> Result<Option<Arc<Guard>>, PolicyError> {
        // One that was removed a moment ago has those of everybody.
        let record = self.directory.team(team).unwrap_or_default();
        let organisation = self.directory.organisation();
        if let Some((of_team, of_all, compiled)) = self.known().teams.get(team)
            && Arc::ptr_eq(of_team, &record)
            && Arc::ptr_eq(of_all, &organisation)
        {
            return compiled.clone();
        }
        let policy = record.guardrails.over(&organisation.guardrails);
        let said = serde_json::to_string(&policy).expect("a policy always serialises");
        let found = self.known().policies.get(&said).cloned();
        // Outside of the lock, which every job takes: it takes its time. Whoever else does the same meanwhile does no harm.
        let compiled = found.unwrap_or_else(|| self.compile(&policy));
        let mut known = self.known();
        if known.policies.len() >= POLICIES_MAX {
            known.policies.clear();
        }
        known.policies.insert(said, compiled.clone());
        if let Err(error) = &compiled {
            tracing::error!(
                team,
                error = error as &dyn std::error::Error,
                "guardrails cannot be applied; jobs are blocked"
            );
        }
        known.teams.insert(team.to_owned(), (record, organisation, compiled.clone()));
        compiled
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder panics")
    }

    fn compile(&self, policy: &Policy) -> Compiled {
        if policy.is_empty() {
            return Ok(None);
        }
        // A rule that nothing here knows may be a checker of another worker: it fails when it is applied, not before.
        let names: BTreeSet<String> = policy.input.keys().chain(policy.output.keys()).cloned().collect();
        let checkers = names.into_iter().filter(|name| !tollgate_guard::knows(name, policy));
        Guard::new(policy, &checkers.collect()).map(|guard| Some(Arc::new(guard)))
    }

    /// What the external checkers of a policy say of texts, all asked at once; in the order of names.
    pub(crate) async fn ask<'a>(
        &self,
        rules: &[(&'a str, Action)],
        question: &Question<'_>,
        caller: &Caller,
    ) -> Vec<(&'a str, Action, Result<Opinion, NoOpinion>)> {
        let each = rules.iter().map(|&(name, action)| async move {
            let opinion = match self.checkers.get(name) {
                Some(checked) => checked.ask(question, caller, self.started).await,
                None => Err(NoOpinion::Unknown),
            };
            (name, action, opinion)
        });
        join_all(each).await
    }
}

impl Checked {
    async fn ask(&self, question: &Question<'_>, caller: &Caller, started: Instant) -> Result<Opinion, NoOpinion> {
        let began: Duration = started.elapsed();
        let probe = {
            let mut breaker = self.breaker.lock().expect("no holder panics");
            if let Gate::Shut { .. } = breaker.gate(began) {
                return Err(NoOpinion::LeftAlone);
            }
            breaker.begin(began)
        };
        let opinion = caller.check(&self.checker, question).await;
        let mut breaker = self.breaker.lock().expect("no holder panics");
        match &opinion {
            Ok(_) => breaker.succeeded(began, probe, started.elapsed()),
            Err(_) => breaker.failed(began, probe, started.elapsed()),
        }
        Ok(opinion?)
    }
}
