//! What a worker counts, with its meters made once: making one costs more than reading a job.

use std::collections::HashMap;

use metrics::{Counter, Histogram, counter, histogram};
use tollgate_types::event::CacheUse;
use tollgate_types::guardrails::Hit;
use tollgate_types::{AttemptOutcome, Class, Status, UsageEvent};

use crate::routes::Routes;

/// The meters of finished jobs and of their calls.
pub(crate) struct Meters {
    jobs: HashMap<(&'static str, Status), Counter>,
    queued: HashMap<&'static str, Histogram>,
    cost: Counter,
    attempts: HashMap<String, HashMap<AttemptOutcome, (Counter, Histogram)>>,
}

/// Counts what the cache did for a job. Most jobs have nothing to do with it, so these are made when they are needed.
fn cached(event: &UsageEvent) {
    let counter = |name: &'static str| counter!(name, "team" => event.team.clone());
    match event.cache {
        CacheUse::Hit => {
            counter("tollgate_cache_hits_total").increment(1);
            let saved = u64::try_from(event.saved_nanousd.0).unwrap_or(0);
            counter("tollgate_cache_saved_nanousd_total").increment(saved);
        }
        CacheUse::Miss => counter("tollgate_cache_misses_total").increment(1),
        CacheUse::Bypass => {}
    }
}

/// Counts the guardrail rules that fired on a job that got its result here.
pub(crate) fn fired(hits: &[Hit]) {
    for hit in hits {
        let (on, action) = (hit.on.as_str(), hit.action.as_str());
        let labels = [("rule", hit.rule.clone()), ("on", on.to_owned()), ("action", action.to_owned())];
        counter!("tollgate_guardrail_hits_total", &labels).increment(u64::from(hit.count));
    }
}

/// The class of a lane that has none.
const STRAY: &str = "other";

impl Meters {
    /// Makes the meters of every class and every provider.
    pub(crate) fn new(routes: &Routes) -> Meters {
        let classes = Class::ALL.map(Class::as_str).into_iter().chain([STRAY]);
        let jobs =
            classes.clone().flat_map(|class| Status::ALL.map(|status| (class, status))).map(|(class, status)| {
                ((class, status), counter!("tollgate_jobs_total", "class" => class, "status" => status.as_str()))
            });
        let queued = classes.map(|class| (class, histogram!("tollgate_job_queued_seconds", "class" => class)));
        let of_provider = |provider: &str| {
            let meters = AttemptOutcome::ALL.map(|outcome| {
                let labels = [("provider", provider.to_owned()), ("outcome", outcome.as_str().to_owned())];
                let meters =
                    (counter!("tollgate_attempts_total", &labels), histogram!("tollgate_attempt_seconds", &labels));
                (outcome, meters)
            });
            (provider.to_owned(), HashMap::from(meters))
        };
        Meters {
            jobs: jobs.collect(),
            queued: queued.collect(),
            cost: counter!("tollgate_cost_nanousd_total"),
            attempts: routes.providers().into_iter().map(of_provider).collect(),
        }
    }

    /// Counts a job that got its result here.
    pub(crate) fn finished(&self, event: &UsageEvent) {
        let class = event.known_class().map_or(STRAY, Class::as_str);
        if let Some(jobs) = self.jobs.get(&(class, event.status)) {
            jobs.increment(1);
        }
        if let Some(queued) = self.queued.get(class) {
            queued.record(event.queued_ms as f64 / 1e3);
        }
        self.cost.increment(u64::try_from(event.cost().0).unwrap_or(0));
        cached(event);
        for attempt in &event.attempts {
            let meters = self.attempts.get(&attempt.provider).and_then(|of_provider| of_provider.get(&attempt.outcome));
            if let Some((calls, seconds)) = meters {
                calls.increment(1);
                seconds.record(attempt.latency_ms as f64 / 1e3);
            }
        }
    }
}
