//! Cache: an answer that was given before is given again, if nothing that may change it differs.
//!
//! Answers are kept in a stream that all workers share, and the latest ones in the memory of each. Nothing hangs on
//! either: whatever goes wrong here is a miss, and the provider is called. What is the same request, and which answer is
//! worth keeping, is [`tollgate_policy::cache`]'s decision.
//!
//! An answer is kept after its result was committed and copied. Killed before that: it is not kept, and the next such
//! job calls the provider; what was paid is in the books either way. Killed after it: it is kept.

mod memory;

use std::sync::Arc;

use serde_json::value::RawValue;
use tollgate_policy::cache::{self as rule, Asked, Way};
use tollgate_providers::Answer;
use tollgate_queue::answers::{Facts, KeptAnswer, Purge, Slot};
use tollgate_queue::flights::{Claim, Claimant};
use tollgate_queue::{Answers, Connection, control, purged};
use tollgate_types::caching::SharedBy;
use tollgate_types::event::{CacheUse, KeptFrom};
use tollgate_types::{CacheRules, Endpoint, Gate, JobSpec, NanoUsd, Tokens, UnixMillis, UsageSource};

use crate::context::Context;
use crate::end::{End, Outcome};
use crate::park::{Parking, Until};
use crate::route::Route;
use crate::run::Run;
use memory::Memory;

/// The kept answers, as this worker reaches them.
pub(crate) struct Cache {
    pub(crate) answers: Answers,
    pub(crate) memory: Memory,
    connection: Connection,
}

/// What the cache says of a job.
pub(crate) enum Looked {
    /// Its answer was given before.
    Hit(Box<KeptAnswer>),
    /// Another job is fetching it.
    Wait(Parking),
    /// The provider is to be called.
    Go(Ticket),
}

/// What a job that is called may do for others: nothing, if it does not use the cache.
#[derive(Default)]
pub(crate) struct Ticket {
    pub(crate) wanted: Option<Wanted>,
    /// Whether others may wait for its answer.
    pub(crate) shares: bool,
}

/// Where an answer is kept, and under which rules.
pub(crate) struct Wanted {
    pub(crate) slot: Slot,
    pub(crate) rules: CacheRules,
    pub(crate) endpoint: Endpoint,
    /// Whether it takes the place of what is kept.
    pub(crate) refreshes: bool,
    /// Who may give the answer now: the provider and its name of the model, for each deployment that the job may use.
    pub(crate) servers: Vec<(String, String)>,
}

/// What the records say of the cache.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    pub(crate) used: CacheUse,
    pub(crate) kept: Option<Box<KeptFrom>>,
    pub(crate) saved: NanoUsd,
}

impl Cached {
    /// Of a job that does not use the cache.
    pub(crate) fn bypassed() -> Cached {
        Cached { used: CacheUse::Bypass, ..Cached::default() }
    }
}

impl Cached {
    /// The same of a job that ended so: without an answer, nothing was saved.
    pub(crate) fn of(self, end: &End) -> Cached {
        match end.outcome {
            Outcome::Answered(..) => self,
            Outcome::Refused(..) => Cached { saved: NanoUsd::ZERO, ..self },
        }
    }
}

impl Ticket {
    /// What the records say of a job that was called.
    pub(crate) fn cached(&self) -> Cached {
        if self.wanted.is_some() { Cached::default() } else { Cached::bypassed() }
    }
}

impl Wanted {
    /// Who would claim the answer.
    pub(crate) fn claimant(&self, run: &Run) -> Claimant {
        let (team, job) = (run.team.clone(), run.job.clone());
        Claimant { key: self.slot.key, team, job, run: run.id.clone(), redelivered: run.redelivered() }
    }
}

impl Cache {
    /// With so many bytes of memory.
    pub(crate) fn new(connection: &Connection, memory_bytes_max: u64) -> Cache {
        Cache {
            answers: Answers::new(&connection.client),
            memory: Memory::new(memory_bytes_max, connection.health()),
            connection: connection.clone(),
        }
    }

    /// Forgets in memory what somebody purged, and what came from jobs that are forgotten; for ever. What is said while
    /// the connection is away is made up for when it comes back, by forgetting everything.
    pub(crate) async fn follow(&self) {
        loop {
            let heard = (control::purges(&self.connection).await, control::forgotten(&self.connection).await);
            if let (Ok(mut purges), Ok(mut forgotten)) = heard {
                loop {
                    tokio::select! {
                        Some(purge) = purges.next() => self.memory.purge(&purge),
                        Some(jobs) = forgotten.next() => self.memory.forget(&jobs),
                        else => break,
                    }
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }

    /// Keeps an answer, for all workers and here; says whether it is kept.
    ///
    /// Not if its call began before a purge that reaches it, or its job is forgotten: `called_at` is when it began.
    pub(crate) async fn keep(&self, wanted: &Wanted, answer: KeptAnswer, called_at: UnixMillis, cx: &Context) -> bool {
        let (slot, since) = (&wanted.slot, self.memory.purges());
        // One that is made anew under the same name is another team.
        if cx.directory.team(&slot.team).is_none() {
            return false;
        }
        if let Err(error) = self.answers.keep(slot, &answer, wanted.rules.ttl()).await {
            failed("keep", &error);
            if wanted.refreshes {
                self.drop_kept(slot).await;
            }
            return false;
        }
        // After it is kept: who forgets a job puts its tombstone before he looks for answers. Killed before this: the
        // second look of the request finds it. The same with a purge, which notes its time first.
        let (result, purged) =
            tokio::join!(cx.results.find(&slot.team, &answer.facts.job), purged::last(&cx.state, slot));
        let is_forgotten = result.is_ok_and(|found| found.is_some_and(|existing| existing.is_tombstone));
        let is_purged = purged.map_or(true, |purged| purged.is_some_and(|at| called_at <= at));
        if is_forgotten || is_purged {
            self.drop_kept(slot).await;
            return false;
        }
        if wanted.refreshes {
            // What was kept before is in the memory of workers, ours too. Killed before this: until its time is over.
            self.announce(&Purge::of(slot)).await;
        } else {
            self.memory.put(slot, Arc::new(answer), since);
        }
        true
    }

    /// Forgets the answer of one request, everywhere: a fresh one came that is not kept, or must not be.
    pub(crate) async fn drop_kept(&self, slot: &Slot) {
        let purge = Purge::of(slot);
        if let Err(error) = self.answers.purge(&purge).await {
            failed("drop", &error);
        }
        self.announce(&purge).await;
    }

    async fn announce(&self, purge: &Purge) {
        if let Err(error) = control::announce_purged(&self.connection, purge).await {
            tracing::debug!(%error, "workers were not told to forget an answer");
        }
    }

    /// The kept answer of all workers, if it may be given to the job.
    pub(crate) async fn find_shared(&self, wanted: &Wanted, cx: &Context) -> Option<KeptAnswer> {
        let since = self.memory.purges();
        let is_json = |answer: &KeptAnswer| serde_json::from_slice::<&RawValue>(&answer.body).is_ok();
        let found = match self.answers.find(&wanted.slot).await {
            Ok(found) => found.filter(|answer| is_good(answer, wanted, cx) && is_json(answer))?,
            Err(error) => {
                failed("find", &error);
                return None;
            }
        };
        self.memory.put(&wanted.slot, Arc::new(found.clone()), since);
        Some(found)
    }
}

/// Looks for the job's answer, and for who is fetching it. After the route: what a team may not use, it gets from no
/// cache either.
pub(crate) async fn look(job: &JobSpec, run: &Run, route: &Route, cx: &Context) -> Looked {
    let Some((wanted, way)) = wanted(job, run, route, cx) else { return Looked::Go(Ticket::default()) };
    if way == Way::Refresh {
        return Looked::Go(Ticket { wanted: Some(wanted), shares: false });
    }
    let here = cx.cache.memory.find(&wanted.slot).filter(|answer| is_good(answer, &wanted, cx));
    if let Some(answer) = here {
        return Looked::Hit(Box::new((*answer).clone()));
    }
    let claimant = wanted.claimant(run);
    let (found, claimed) = tokio::join!(cx.cache.find_shared(&wanted, cx), cx.claims.flights.look(&claimant));
    if let Some(answer) = found {
        return Looked::Hit(Box::new(answer));
    }
    let shares = match claimed {
        Ok(Some(Claim::Theirs)) => match wait(&wanted, cx) {
            Some(parking) => return Looked::Wait(parking),
            None => false,
        },
        Ok(Some(Claim::Alone)) => false,
        Ok(Some(Claim::Ours(_)) | None) => true,
        Err(error) => {
            failed("look", &error);
            false
        }
    };
    Looked::Go(Ticket { wanted: Some(wanted), shares })
}

/// The wait for the answer that another job fetches; `None` if too many are waited for already.
pub(crate) fn wait(wanted: &Wanted, cx: &Context) -> Option<Parking> {
    let gate = Gate::Answer(wanted.slot.key.short());
    if !cx.gates.may_wait_for(&gate, std::time::Instant::now()) {
        return None;
    }
    metrics::counter!("tollgate_cache_waits_total", "team" => wanted.slot.team.clone()).increment(1);
    Some(Parking { until: Until::Gate(gate), why: "an identical job is being answered".to_owned() })
}

fn wanted(job: &JobSpec, run: &Run, route: &Route, cx: &Context) -> Option<(Wanted, Way)> {
    let rules = cx.directory.cache_rules(&run.team);
    // Asked of every job; without a wish and a rule the body is not read.
    let way = match rule::way(job.options.cache, &rules, None) {
        Way::None => return None,
        _ => rule::way(job.options.cache, &rules, rule::temperature(&job.body)),
    };
    // What is stored with the provider may have changed since; what a search finds, too.
    if way == Way::None || job.request.prompt_elsewhere || (!rules.tool_calls() && rule::searches(&job.body)) {
        return None;
    }
    let shared_by = match rules.shared_by() {
        SharedBy::Team => ("", ""),
        SharedBy::Project => ("project", job.options.project.as_deref()?),
        SharedBy::User => ("user", job.options.user.as_deref()?),
    };
    let model = &job.request.model;
    let asked = Asked {
        team: &run.team,
        shared_by,
        model,
        endpoint: job.request.endpoint,
        tags: &job.options.tags,
        body: &job.body,
    };
    let slot = Slot { team: run.team.clone(), model: Gate::digest_of_model(model), key: rule::key(&asked)? };
    let (endpoint, refreshes) = (job.request.endpoint, way == Way::Refresh);
    let deployments = route.legs[0].deployments.iter().map(|(priced, _)| &priced.deployment);
    let servers = deployments.map(|deployment| (deployment.provider.clone(), deployment.model.clone())).collect();
    Some((Wanted { slot, rules, endpoint, refreshes, servers }, way))
}

/// Whether a kept answer may be given to the job. A time to live that was lowered holds for what is kept already, and so
/// does a right that was taken away, or a name that means another model since.
fn is_good(answer: &KeptAnswer, wanted: &Wanted, cx: &Context) -> bool {
    let facts = &answer.facts;
    let from_a_server =
        || wanted.servers.iter().any(|(provider, model)| *provider == facts.provider && *model == facts.model);
    cx.clock.now().since(facts.at) < wanted.rules.ttl() && from_a_server()
}

/// The end of a job whose answer was given before. It costs nothing.
pub(crate) fn play(answer: KeptAnswer) -> (End, Cached) {
    let KeptAnswer { facts, body } = answer;
    let body: Box<RawValue> = serde_json::from_slice(&body).expect("it was read when it was kept or found");
    let Facts { job: from, provider, model, cost_nanousd, tokens, request_id, at, .. } = facts;
    let answer = Answer {
        body,
        http_status: OK,
        tokens: Tokens::default(),
        usage_source: UsageSource::None,
        raw_usage: String::new(),
        finish: String::new(),
        answer_text_bytes: 0,
    };
    let end = End { outcome: Outcome::Answered(Box::new(answer), request_id), attempts: Vec::new() };
    let kept = Some(Box::new(KeptFrom { job: from, provider, model, tokens, at }));
    (end, Cached { used: CacheUse::Hit, kept, saved: cost_nanousd })
}

/// The only status that is kept.
pub(crate) const OK: u16 = 200;

/// The cache is a saving: what fails here is counted, and nobody is woken.
pub(crate) fn failed(what: &'static str, error: &tollgate_queue::ApiError) {
    metrics::counter!("tollgate_cache_failures_total", "what" => what).increment(1);
    tracing::debug!(what, %error, "the cache does not answer");
}
