//! A batch in OpenAI's words, made of all that is known of it
//! (<https://platform.openai.com/docs/api-reference/batch/object>).

use serde_json::{Value, json};
use tollgate_bulk::Standing;
use tollgate_types::batch::{BatchEnd, LINES_MAX};
use tollgate_types::file::Side;
use tollgate_types::order::{Ended, OrderEnd};
use tollgate_types::{BatchId, BatchOrder, BatchOutcome, FileName, UnixMillis};

use super::batches;
use crate::Parts;
use crate::auth::Caller;
use crate::files::results::{bulk, lines_of, unread};
use crate::files::{seconds, unanswered};
use crate::refused::Refused;

/// All that is known of a batch that was ordered here.
pub(crate) struct Known {
    pub(crate) order: BatchOrder,
    outcome: Option<BatchOutcome>,
    standing: Option<Standing>,
    stop: Option<UnixMillis>,
}

impl Known {
    /// Looks a batch up.
    pub(crate) async fn find(parts: &Parts, caller: &Caller, id: &BatchId) -> Result<Option<Known>, Refused> {
        let (batches, team) = (batches(parts), caller.team());
        let Some((order, _)) = batches.order(team, id).await.map_err(|error| unanswered(&error))? else {
            return Ok(None);
        };
        let bulk = bulk(parts, &caller.record.team);
        let (standing, outcome) = tokio::join!(bulk.standing(id), batches.outcome(team, id));
        let standing = standing.map_err(|error| unread(&error))?.filter(|standing| standing.spec.jobs <= LINES_MAX);
        let outcome = outcome.map_err(|error| unanswered(&error))?;
        // Without a spec a stop stands alone.
        let stop = match &standing {
            Some(standing) => standing.stop.clone(),
            None => batches.stop(team, id).await.map_err(|error| unanswered(&error))?,
        };
        Ok(Some(Known { order, outcome, standing, stop: stop.map(|stop| stop.at) }))
    }

    /// One that was ordered just now.
    pub(crate) fn new(order: BatchOrder) -> Known {
        Known { order, outcome: None, standing: None, stop: None }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<Ended> {
        let done = self.standing.as_ref().and_then(|standing| standing.done.as_ref());
        Ended::of(Some(&self.order), self.outcome.as_ref(), (self.standing.is_some(), done))
    }

    fn status(&self) -> &'static str {
        match (&self.standing, self.ended()) {
            (_, Some(ended)) => ended.as_str(),
            _ if self.stop.is_some() => "cancelling",
            (None, None) => "validating",
            (Some(standing), None) if standing.ended() >= standing.spec.jobs => "finalizing",
            (Some(_), None) => "in_progress",
        }
    }

    /// The object.
    pub(crate) fn object(&self) -> Value {
        let Known { order, outcome, standing, stop } = self;
        let done = standing.as_ref().and_then(|standing| standing.done.as_ref());
        let tally = standing.as_ref().map(Standing::tally).unwrap_or_default();
        let never = done.map_or(0, |done| done.not_submitted);
        let file = |side| {
            let there = done.is_some_and(|done| lines_of(done, side) > 0);
            there.then(|| FileName::Results(order.id.clone(), side).to_string())
        };
        let ended = self.ended();
        let ended_at =
            done.map(|done| done.ended_at.max(done.created_at)).or(outcome.as_ref().map(|outcome| outcome.at));
        let at = |which: Ended| ended_at.filter(|_| ended == Some(which)).map(seconds);
        let errors = outcome
            .as_ref()
            .filter(|outcome| outcome.end == OrderEnd::Failed)
            .map(|outcome| json!({ "object": "list", "data": outcome.errors }));
        let capped = done.is_some_and(|done| done.end == BatchEnd::MaxCost);
        json!({
            "id": order.id,
            "object": "batch",
            "endpoint": order.endpoint.as_str(),
            "errors": errors,
            "input_file_id": order.input,
            "completion_window": order.window,
            "status": self.status(),
            "output_file_id": file(Side::Output),
            "error_file_id": file(Side::Errors),
            "created_at": seconds(order.created_at),
            "in_progress_at": standing.as_ref().map(|standing| seconds(standing.spec.created_at)),
            "expires_at": seconds(order.deadline),
            "finalizing_at": done.and(ended_at).map(seconds),
            "completed_at": at(Ended::Completed),
            "failed_at": at(Ended::Failed),
            "expired_at": at(Ended::Expired),
            "cancelling_at": stop.map(seconds),
            "cancelled_at": at(Ended::Cancelled),
            "request_counts": {
                "total": standing.as_ref().map_or(0, |standing| standing.spec.jobs),
                "completed": tally.ends.succeeded,
                "failed": tally.ends.not_succeeded() + never,
            },
            "usage": {
                "input_tokens": tally.tokens.prompt(),
                "input_tokens_details": { "cached_tokens": tally.tokens.cache_read },
                "output_tokens": tally.tokens.completion(),
                "output_tokens_details": { "reasoning_tokens": tally.tokens.reasoning },
                "total_tokens": tally.tokens.prompt() + tally.tokens.completion(),
            },
            "metadata": (!order.metadata.is_empty()).then_some(&order.metadata),
            "tollgate": {
                "class": order.class, "key": order.key, "cost_nanousd": tally.cost_nanousd, "ends": tally.ends,
                "not_submitted": never, "stopped_at_cap": capped,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use tollgate_types::batch::{BatchDone, BatchSpec, Ends, Stop, Tally};
    use tollgate_types::order::FileError;

    use super::*;

    fn order() -> BatchOrder {
        let order = json!({
            "version": 1, "id": format!("batch_{}", "a".repeat(32)), "input": format!("file-{}", "b".repeat(32)),
            "endpoint": "/v1/chat/completions", "window": "24h", "deadline": 86_400_000, "class": "batch",
            "key": "abcdefghijkl", "digest": "d", "created_at": 0,
        });
        serde_json::from_value(order).expect("an order")
    }

    fn standing(ends: Option<Ends>, end: Option<BatchEnd>, ended_at: i64) -> Standing {
        let id = order().id;
        let spec: BatchSpec = serde_json::from_value(json!({
            "version": 1, "id": id, "format": "openai", "file": "f", "sha256": "s", "bytes": 1, "jobs": 10,
            "class": "batch", "created_at": 5000,
        }))
        .expect("a spec");
        let tally = Tally { ends: ends.unwrap_or_default(), ..Tally::default() };
        let progress = ends.map(|_| batch_progress(tally));
        let done = end.map(|end| BatchDone {
            version: 1,
            id: String::new(),
            team: "search".to_owned(),
            batch: id,
            end,
            file: "f".to_owned(),
            key: None,
            jobs: 10,
            not_submitted: 10 - tally.ends.total(),
            tally,
            created_at: UnixMillis(5000),
            ended_at: UnixMillis(ended_at),
        });
        Standing { spec, submitted: None, progress, stop: None, done }
    }

    fn batch_progress(tally: Tally) -> tollgate_types::batch::BatchProgress {
        tollgate_types::batch::BatchProgress { version: 1, jobs: 10, tally, at: UnixMillis(6000) }
    }

    fn known(outcome: Option<OrderEnd>, standing: Option<Standing>) -> Known {
        let error = FileError { code: "c".into(), message: "m".into(), param: None, line: Some(3) };
        let outcome = outcome.map(|end| BatchOutcome {
            version: 1,
            batch: order().id,
            end,
            errors: if end == OrderEnd::Failed { vec![error] } else { Vec::new() },
            at: UnixMillis(7000),
        });
        let stop = standing.as_ref().and_then(|standing| standing.stop.as_ref().map(|stop| stop.at));
        Known { order: order(), outcome, standing, stop }
    }

    #[test]
    fn each_state_has_openais_word_its_time_and_its_files() {
        let check = |known: Known, status: &str, time: Option<&str>, files: (bool, bool)| {
            let object = known.object();
            assert_eq!(object["status"], status, "{object}");
            for name in ["completed_at", "failed_at", "expired_at", "cancelled_at"] {
                assert_eq!(object[name].is_i64(), time == Some(name), "{name}: {object}");
            }
            let has = |name: &str| object[name].is_string();
            assert_eq!((has("output_file_id"), has("error_file_id")), files, "{object}");
        };
        let all = |succeeded, expired| Ends { succeeded, expired, ..Ends::default() };
        let day = 86_400_000;
        check(known(None, None), "validating", None, (false, false));
        check(known(Some(OrderEnd::Failed), None), "failed", Some("failed_at"), (false, false));
        check(known(Some(OrderEnd::Cancelled), None), "cancelled", Some("cancelled_at"), (false, false));
        check(known(None, Some(standing(Some(all(3, 0)), None, 0))), "in_progress", None, (false, false));
        check(known(None, Some(standing(Some(all(10, 0)), None, 0))), "finalizing", None, (false, false));
        let stop = Some(Stop { version: 1, reason: tollgate_types::batch::StopReason::Cancelled, at: UnixMillis(1) });
        let stopping = Standing { stop: stop.clone(), ..standing(Some(all(3, 0)), None, 0) };
        check(known(None, Some(stopping)), "cancelling", None, (false, false));
        let end = |ends, end, at| known(None, Some(standing(Some(ends), Some(end), at)));
        check(end(all(10, 0), BatchEnd::Completed, day), "completed", Some("completed_at"), (true, false));
        check(end(all(9, 1), BatchEnd::Completed, day - 1), "completed", Some("completed_at"), (true, true));
        check(end(all(9, 1), BatchEnd::Completed, day), "expired", Some("expired_at"), (true, true));
        check(end(all(0, 10), BatchEnd::Completed, day), "expired", Some("expired_at"), (false, true));
        check(end(all(4, 0), BatchEnd::Cancelled, 9000), "cancelled", Some("cancelled_at"), (true, true));
        // Its file went before all of it was submitted.
        check(
            known(Some(OrderEnd::Failed), Some(standing(Some(all(4, 0)), None, 0))),
            "in_progress",
            None,
            (false, false),
        );
        let gone = standing(Some(all(4, 0)), Some(BatchEnd::Cancelled), 9000);
        check(known(Some(OrderEnd::Failed), Some(gone)), "failed", Some("failed_at"), (true, true));
    }

    #[test]
    fn counts_add_up_to_the_total_at_the_end_of_what_was_stopped() {
        let ends = Ends { succeeded: 4, cancelled: 2, ..Ends::default() };
        let counts =
            &known(None, Some(standing(Some(ends), Some(BatchEnd::Cancelled), 9000))).object()["request_counts"];
        assert_eq!(*counts, json!({ "total": 10, "completed": 4, "failed": 6 }));
    }
}
