//! `--max-cost-usd`: what may be submitted so that the worst case stays under the cap. Pure.

use std::collections::HashMap;

use tollgate_policy::price::Price;
use tollgate_types::event::EventKind;
use tollgate_types::{JobId, JobSpec, NanoUsd, UsageEvent};

/// What a job can cost at most, with the numbers that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// The most that one call can cost.
    pub(super) call: NanoUsd,
    /// How many calls a run may make.
    pub(super) calls: u32,
    prompt_tokens: u64,
    answer_tokens: u64,
}

impl Bound {
    /// The bound of a job at a price: every prompt byte a token at the dearest rate, the longest answer, every call.
    ///
    /// `answer_tokens_max` is what the model can give where the job names no limit.
    pub(super) fn of(job: &JobSpec, price: &Price, answer_tokens_max: u64, calls: u32) -> Self {
        let prompt_tokens = tollgate_providers::tokens::prompt_bound(job.body.len());
        let answer_tokens = job.request.max_tokens.unwrap_or(answer_tokens_max).saturating_mul(job.request.n);
        Bound { call: price.upper_bound(prompt_tokens, answer_tokens), calls, prompt_tokens, answer_tokens }
    }

    /// The most that the job can cost.
    pub(super) fn total(&self) -> NanoUsd {
        NanoUsd(self.call.0.saturating_mul(i64::from(self.calls)))
    }

    /// The sum in words.
    pub(super) fn arithmetic(&self) -> String {
        format!(
            "at most {} prompt and {} answer tokens make {} a call, times {} calls = {}",
            self.prompt_tokens,
            self.answer_tokens,
            self.call,
            self.calls,
            self.total()
        )
    }
}

/// Spent, and what jobs under way may still spend; never above the cap together.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    cap: NanoUsd,
    spent: NanoUsd,
    open: HashMap<JobId, NanoUsd>,
    held: NanoUsd,
}

/// What the guard says about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// It fits, and is held from now on.
    Submit,
    /// It does not fit now; it may when jobs under way turn out cheaper than their bounds.
    Wait,
    /// It does not fit, and nothing is under way.
    Stop,
}

impl Guard {
    /// Nothing spent yet.
    pub(super) fn new(cap: NanoUsd) -> Self {
        Guard { cap, spent: NanoUsd::ZERO, open: HashMap::new(), held: NanoUsd::ZERO }
    }

    /// Judges a job by its bound.
    pub(super) fn admit(&mut self, id: &JobId, bound: NanoUsd) -> Say {
        if self.worst().0.saturating_add(bound.0) > self.cap.0 {
            return if self.open.is_empty() { Say::Stop } else { Say::Wait };
        }
        if self.open.insert(id.clone(), bound).is_none() {
            self.held += bound;
        }
        Say::Submit
    }

    /// Books a record: what was really spent takes the place of the job's bound when its result is there.
    pub(super) fn book(&mut self, event: &UsageEvent) {
        // What may have been paid without a record counts as paid.
        self.spent += event.cost() + event.unknown_nanousd;
        if event.kind == EventKind::Result {
            self.release(&event.job);
        }
    }

    /// Forgets a job that was not accepted.
    pub(super) fn release(&mut self, id: &JobId) {
        if let Some(bound) = self.open.remove(id) {
            self.held = self.held - bound;
        }
    }

    /// The most that can have been spent when everything under way has ended.
    fn worst(&self) -> NanoUsd {
        self.spent + self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_policy::price::Tier;

    fn id(text: &str) -> JobId {
        text.parse().expect("an id")
    }

    fn ended(job: &str, cost: i64) -> UsageEvent {
        let json = format!(
            r#"{{"version":1,"kind":"result","job":"{job}","team":"a","class":"batch","run":"r","worker":"w",
            "delivery":1,"status":"succeeded","attempts":[],"unknown_nanousd":{cost},"cache":"miss","accepted_at":0,
            "queued_ms":0,"run_ms":0}}"#
        );
        serde_json::from_str(&json).expect("an event")
    }

    #[test]
    fn a_bound_counts_every_byte_every_answer_and_every_call() {
        let line = r#"{"body":{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":100,"n":2}}"#;
        let job = JobSpec::decode(&line.into(), 4096).expect("a job");
        // One and two dollars per million tokens.
        let tier = Tier { above_prompt_tokens: 0, input: 1_000_000, cache_read: 0, cache_write: 0, output: 2_000_000 };
        let price = Price::new("v", vec![tier], 0).expect("a price");
        let bound = Bound::of(&job, &price, 9_999, 3);
        let prompt = i64::try_from(job.body.len()).expect("short") + 64;
        assert_eq!(bound.call, NanoUsd(prompt * 1000 + 200 * 2000));
        assert_eq!(bound.total(), NanoUsd(3 * bound.call.0));
        assert!(bound.arithmetic().contains("200 answer tokens") && bound.arithmetic().contains("times 3 calls"));
    }

    #[test]
    fn submitting_waits_at_the_cap_and_goes_on_when_jobs_turn_out_cheaper() {
        let mut guard = Guard::new(NanoUsd(100));
        assert_eq!(guard.admit(&id("1"), NanoUsd(60)), Say::Submit);
        assert_eq!(guard.admit(&id("2"), NanoUsd(40)), Say::Submit, "exactly the cap still fits");
        assert_eq!(guard.admit(&id("3"), NanoUsd(40)), Say::Wait);
        guard.book(&ended("1", 5));
        assert_eq!((guard.spent, guard.worst()), (NanoUsd(5), NanoUsd(45)));
        assert_eq!(guard.admit(&id("3"), NanoUsd(40)), Say::Submit);
        guard.book(&ended("2", 40));
        guard.book(&ended("3", 40));
        assert_eq!(guard.admit(&id("4"), NanoUsd(16)), Say::Stop, "nothing is under way that could end cheaper");
        assert_eq!(guard.admit(&id("4"), NanoUsd(15)), Say::Submit);
    }

    #[test]
    fn a_job_that_fits_never_is_stopped_at_once() {
        assert_eq!(Guard::new(NanoUsd(100)).admit(&id("1"), NanoUsd(101)), Say::Stop);
        assert_eq!(Guard::new(NanoUsd(100)).admit(&id("1"), NanoUsd(i64::MAX)), Say::Stop, "no overflow");
    }
}
