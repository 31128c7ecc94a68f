//! The run itself: jobs go in as their teams, results are followed in the commit log and heard live.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, select_all};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::Notify;
use tollgate_client::{Producer, SubmitError};
use tollgate_queue::commit_log::{LogEntry, Tail};
use tollgate_types::event::EventKind;
use tollgate_types::{Digest, JobId, NanoUsd, Team, headers};

use super::guard::{Guard, Say};
use super::progress::Results;
use super::trace::Samples;
use super::workload::{Due, Planned, Workload};
use crate::books;
use crate::exit::Failure;

/// Submissions on their way at once: enough to keep the server busy, few enough that an interrupt is quick.
const IN_FLIGHT: usize = 64;
/// How many records are asked for at once, and how long they may take to be so many.
const BATCH: (usize, Duration) = (500, Duration::from_millis(100));
/// How long live results may lag behind the log that has them.
const LAG_MAX: Duration = Duration::from_secs(2);
/// Kept results that are looked up at once.
const LOOKUPS: usize = 64;

/// Everything that was seen, as it was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Jobs that the server accepted.
    pub(super) accepted: BTreeSet<JobId>,
    /// Jobs that it did not accept, with why.
    pub(super) refused: Vec<(JobId, String)>,
    /// Jobs that were held back by the cap.
    pub(super) held_back: usize,
    /// How many result records each job has in the log.
    pub(super) results: BTreeMap<JobId, u64>,
    /// How each job ended, by the first of them.
    pub(super) by_status: BTreeMap<&'static str, u64>,
    /// How long jobs of each class waited, ms.
    pub(super) queued_ms: BTreeMap<String, Vec<u64>>,
    /// When each job came and started, and what it cost.
    pub(super) samples: Samples,
    /// How late the latest submission was.
    pub(super) late: Duration,
    /// Calls to providers by how they ended.
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// What each result looked like when it was heard.
    live: HashMap<JobId, HashSet<Digest>>,
    guard: Option<Guard>,
    all_submitted: bool,
    last_result: Option<Instant>,
}

impl Tally {
    fn take(&mut self, entry: &LogEntry) {
        let Ok(event) = &entry.event else { return };
        for attempt in &event.attempts {
            *self.calls.entry(attempt.outcome.as_str()).or_default() += 1;
        }
        if let Some(guard) = &mut self.guard {
            guard.book(event);
        }
        if event.kind == EventKind::Result {
            let count = self.results.entry(event.job.clone()).or_default();
            *count += 1;
            if *count == 1 {
                *self.by_status.entry(event.status.as_str()).or_default() += 1;
                self.queued_ms.entry(event.class.clone()).or_default().push(event.queued_ms);
                self.samples.take(event);
            }
        }
    }

    /// Accepted jobs without a result.
    pub(super) fn lost(&self) -> usize {
        self.accepted.iter().filter(|id| !self.results.contains_key(id)).count()
    }

    /// Results beyond the first of their job.
    pub(super) fn duplicated(&self) -> u64 {
        self.results.values().map(|count| count.saturating_sub(1)).sum()
    }
}

/// A run of jobs.
pub(super) struct Run {
    producers: BTreeMap<Team, Producer>,
    tally: Mutex<Tally>,
    freed: Notify,
    patience: Duration,
}

impl Run {
    /// For the teams of `producers`; it is given up when nothing ends for as long as `patience`.
    pub(super) fn new(producers: BTreeMap<Team, Producer>, guard: Option<Guard>, patience: Duration) -> Self {
        let tally = Tally { guard, ..Tally::default() };
        Run { producers, tally: Mutex::new(tally), freed: Notify::new(), patience }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().expect("no holder panics")
    }

    /// When the last result was seen.
    pub(super) fn last_result(&self) -> Option<Instant> {
        self.tally().last_result
    }

    /// What was seen.
    pub(super) fn into_tally(self) -> Tally {
        self.tally.into_inner().expect("no holder panics")
    }

    /// Submits every job that the cap allows, in order, each when it is due. `bound` is the most that a job can cost.
    pub(super) async fn submit(&self, mut jobs: Workload, bound: impl Fn(&Planned) -> NanoUsd) {
        let started = Instant::now();
        let mut under_way = FuturesUnordered::new();
        while let Some(Due { after, planned }) = jobs.next() {
            let due = tokio::time::sleep_until((started + after).into());
            tokio::pin!(due);
            // Those under way must go on meanwhile.
            while started.elapsed() < after {
                tokio::select! {
                    () = &mut due => {}
                    Some(()) = under_way.next() => {}
                }
            }
            while under_way.len() >= IN_FLIGHT {
                under_way.next().await;
            }
            let bound = bound(&planned);
            let fits = loop {
                match self.admit(&planned.id, bound) {
                    Say::Submit => break true,
                    Say::Stop => break false,
                    Say::Wait => {}
                }
                // Those under way must go on meanwhile: the room that is waited for is theirs.
                tokio::select! {
                    () = self.freed.notified() => {}
                    Some(()) = under_way.next() => {}
                    () = tokio::time::sleep(self.patience) => break false,
                }
            };
            if !fits {
                self.tally().held_back = 1 + jobs.len();
                break;
            }
            self.late_by(started.elapsed().saturating_sub(after));
            under_way.push(self.send(planned));
            // The first poll sends.
            under_way.next().now_or_never();
        }
        while under_way.next().await.is_some() {}
        self.tally().all_submitted = true;
    }

    fn late_by(&self, late: Duration) {
        let mut tally = self.tally();
        tally.late = tally.late.max(late);
    }

    fn admit(&self, id: &JobId, bound: NanoUsd) -> Say {
        self.tally().guard.as_mut().map_or(Say::Submit, |guard| guard.admit(id, bound))
    }

    async fn send(&self, planned: Planned) {
        let Planned { id, team, class, line } = planned;
        let producer = &self.producers[&team];
        let submitted = producer.submit(class, line, Some(id.clone())).await;
        let mut tally = self.tally();
        match submitted {
            Ok(_) => drop(tally.accepted.insert(id)),
            Err(error) => {
                // One that may have been accepted may also be paid for: it stays held.
                if !matches!(error, SubmitError::Unknown(_))
                    && let Some(guard) = &mut tally.guard
                {
                    guard.release(&id);
                }
                tally.refused.push((id, error.to_string()));
            }
        }
    }

    /// Follows the log until every accepted job has a result, or nothing ended for too long.
    pub(super) async fn follow(&self, mut tail: Tail, shown: &mut Results) -> Result<(), Failure> {
        let mut heard = Instant::now();
        loop {
            let batch = tail.next_batch(BATCH.0, BATCH.1).await.map_err(books::unread)?;
            for entry in &batch {
                self.tally().take(entry);
                if let Ok(event) = &entry.event
                    && event.kind == EventKind::Result
                {
                    shown.one(&event.team);
                }
            }
            shown.tick();
            if !batch.is_empty() {
                heard = Instant::now();
                self.tally().last_result = Some(heard);
                self.freed.notify_one();
            }
            let (all_submitted, lost) = {
                let tally = self.tally();
                (tally.all_submitted, tally.lost())
            };
            // A log that still has records may have a second result of some job: it is read to its end.
            if all_submitted && (lost == 0 && batch.is_empty() || heard.elapsed() > self.patience) {
                return Ok(());
            }
        }
    }

    /// Subscribes to every team's results, before any job is submitted.
    pub(super) async fn subscribe(&self) -> Result<Vec<async_nats::Subscriber>, async_nats::SubscribeError> {
        let mut subscribers = Vec::new();
        for (team, producer) in &self.producers {
            subscribers.push(producer.client().subscribe(format!("tollgate.results.{team}.>")).await?);
            // A subscription is there once the server has answered something that was sent after it.
            let _ = producer.client().flush().await;
        }
        Ok(subscribers)
    }

    /// Listens to live results, for ever.
    pub(super) async fn listen(&self, subscribers: &mut [async_nats::Subscriber]) {
        let mut live = select_all(subscribers.iter_mut());
        while let Some(message) = live.next().await {
            let counts = message.headers.as_ref().is_some_and(|all| all.get(headers::USAGE).is_some());
            let id = message.subject.rsplit('.').next().and_then(|id| id.parse::<JobId>().ok());
            if let (true, Some(id)) = (counts, id) {
                self.tally().live.entry(id).or_default().insert(Digest::of(&[&message.payload]));
            }
        }
        std::future::pending().await
    }

    /// Waits until every result that is in the log was heard, or should have been.
    pub(super) async fn heard(&self) {
        let until = Instant::now() + LAG_MAX;
        let all = || {
            let tally = self.tally();
            tally.accepted.iter().all(|id| tally.live.contains_key(id))
        };
        while !all() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Looks up the kept result of every job as its team, and returns those whose kept result is missing, or was not
    /// among what was heard. A run that lost the race published a line too, which the server refused.
    pub(super) async fn changed(&self) -> Vec<JobId> {
        let ids: Vec<JobId> = self.tally().accepted.iter().cloned().collect();
        let looked = futures_util::stream::iter(ids).map(async |id| {
            let kept = self.kept(&id).await;
            let heard = self.tally().live.get(&id).cloned().unwrap_or_default();
            let same = kept.is_some_and(|kept| heard.is_empty() || heard.contains(&kept));
            (!same).then_some(id)
        });
        looked.buffer_unordered(LOOKUPS).filter_map(std::future::ready).collect().await
    }

    async fn kept(&self, id: &JobId) -> Option<Digest> {
        for producer in self.producers.values() {
            let own = id.as_str().strip_prefix(producer.team().as_str()).is_some_and(|rest| rest.starts_with(':'));
            if own {
                return producer.result(id).await.ok().flatten().map(|line| Digest::of(&[&line]));
            }
        }
        None
    }

    /// How many jobs' results were heard live.
    pub(super) fn heard_count(&self) -> usize {
        let tally = self.tally();
        tally.accepted.iter().filter(|id| tally.live.contains_key(id)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_types::UnixMillis;

    fn entry(seq: u64, job: &str, kind: &str) -> LogEntry {
        let json = format!(
            r#"{{"version":1,"kind":"{kind}","job":"{job}","team":"a","class":"batch","run":"r","worker":"w","delivery":1,
            "status":"failed","attempts":[],"cache":"miss","accepted_at":0,"queued_ms":7,"run_ms":0}}"#
        );
        let event = serde_json::from_str(&json).expect("an event");
        LogEntry { seq, subject: String::new(), at: UnixMillis(0), event: Ok(event), buried: None }
    }

    #[test]
    fn lost_and_duplicated_are_told_by_the_log() {
        let id = |text: &str| text.parse::<JobId>().expect("an id");
        let mut tally = Tally { accepted: ["1", "2", "3"].map(id).into(), ..Tally::default() };
        for (seq, (job, kind)) in [("1", "result"), ("2", "extra"), ("1", "result"), ("9", "result")].iter().enumerate()
        {
            tally.take(&entry(seq as u64 + 1, job, kind));
        }
        assert_eq!((tally.lost(), tally.duplicated()), (2, 1));
        assert_eq!(tally.by_status["failed"], 2, "a second result is not a second end");
        assert_eq!(tally.queued_ms["batch"], [7, 7]);
    }
}
