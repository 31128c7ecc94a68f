//! How many waiting jobs are close to their deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tollgate_queue::{Origin, Scan};

use super::{Deadline, filter};
use crate::context::Context;

/// A waiting job is at risk when its deadline is this close.
const AT_RISK: Duration = Duration::from_secs(30);
/// How often the jobs at risk are counted.
pub(super) const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Questions to the server in one count.
const QUESTIONS_MAX: usize = 64;

/// Counts them, and forgets those that left the queue meanwhile. One question tells of a whole stretch that is gone; with
/// more stretches than questions the rest counts as waiting.
pub(super) async fn count(scan: &Scan, deadlines: &mut BTreeSet<Deadline>, cx: &Context) {
    let soon = cx.clock.now().plus(AT_RISK);
    let near: Vec<Deadline> = deadlines.range(..(soon, Origin::Jobs, 0)).copied().collect();
    let mut by_place: BTreeMap<(Origin, u64), Deadline> =
        near.into_iter().map(|deadline| ((deadline.1, deadline.2), deadline)).collect();
    let mut waiting = 0;
    for _ in 0..QUESTIONS_MAX {
        let Some((&(origin, sequence), _)) = by_place.first_key_value() else { break };
        let next = match scan.next(origin, filter(origin), sequence).await {
            Ok(next) => next.unwrap_or(u64::MAX),
            Err(error) => {
                tracing::debug!(%error, "jobs at risk not counted");
                break;
            }
        };
        if next == sequence {
            waiting += 1;
            by_place.remove(&(origin, sequence));
            continue;
        }
        let left = by_place.split_off(&(origin, next));
        for gone in std::mem::replace(&mut by_place, left).into_values() {
            deadlines.remove(&gone);
        }
    }
    metrics::gauge!("tollgate_jobs_at_risk").set((waiting + by_place.len()) as f64);
    metrics::gauge!("tollgate_jobs_with_deadline").set(deadlines.len() as f64);
}
