//! What waits: jobs in their lanes, and jobs parked behind gates that are narrower than a lane.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tollgate_queue::Connection;
use tollgate_types::{Gate, LaneKey, Team, UnixMillis, subjects};

use crate::connect;
use crate::exit::{Code, Failure};

/// How many jobs wait in one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// In the lane itself, with those that run.
    pub in_lane: u64,
    /// Parked, by the gate that they wait behind.
    pub behind: BTreeMap<Gate, u64>,
}

impl Waiting {
    /// Parked behind any gate.
    pub fn parked(&self) -> u64 {
        self.behind.values().sum()
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.in_lane + self.parked()
    }
}

/// Every lane in which something waits, and how many jobs wait for their time, which belong to no gate yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Everywhere {
    /// By lane.
    pub lanes: BTreeMap<LaneKey, Waiting>,
    /// Jobs that wait for their time, of all lanes.
    pub for_later: u64,
}

impl Everywhere {
    /// Counts by the server's own counters; nothing is read or leased.
    ///
    /// # Errors
    /// The streams cannot be read.
    pub async fn count(connection: &Connection, context: &Context) -> Result<Everywhere, Failure> {
        let (_, backlog) = connect::backlog(connection).await?;
        let mut lanes: BTreeMap<LaneKey, Waiting> = BTreeMap::new();
        for (lane, jobs) in backlog.lanes {
            lanes.entry(lane).or_default().in_lane = jobs;
        }
        let (parked, all) = parked(context).await?;
        for ((gate, lane), jobs) in &parked {
            *lanes.entry(lane.clone()).or_default().behind.entry(gate.clone()).or_default() += jobs;
        }
        Ok(Everywhere { lanes, for_later: all.saturating_sub(parked.values().sum()) })
    }

    /// All lanes of a team.
    pub fn of_team<'a>(&'a self, team: &'a str) -> impl Iterator<Item = (&'a LaneKey, &'a Waiting)> {
        self.lanes.iter().filter(move |(lane, _)| lane.team == team)
    }
}

/// Parked jobs by gate and lane, and all messages in their stream.
///
/// Each gate of a lane has a consumer, which knows how many jobs stand behind it.
async fn parked(context: &Context) -> Result<(BTreeMap<(Gate, LaneKey), u64>, u64), Failure> {
    let unread = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(Code::Nats, "the parked jobs cannot be counted").because(error).try_this("run `tollgate init`")
    };
    let stream = context.get_stream(subjects::WAIT_STREAM).await.map_err(|error| unread(&error))?;
    let mut counts = BTreeMap::new();
    let mut consumers = stream.consumers();
    while let Some(consumer) = consumers.try_next().await.map_err(|error| unread(&error))? {
        if let Some(key) = key_of(&consumer.config.filter_subject) {
            *counts.entry(key).or_default() += consumer.num_pending + consumer.num_ack_pending as u64;
        }
    }
    Ok((counts, stream.cached_info().state.messages))
}

/// What a lane's consumer says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Jobs that workers hold.
    pub in_flight: u64,
    /// Deliveries since the consumer was made; a job that came twice counts twice.
    pub delivered: u64,
}

/// What runs, by lane. Lanes without a consumer have never been served, or not for long.
///
/// # Errors
/// The stream cannot be read.
pub async fn running(context: &Context) -> Result<BTreeMap<LaneKey, Running>, Failure> {
    let unread = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(Code::Nats, "the lanes cannot be read").because(error).try_this("run `tollgate init`")
    };
    let stream = context.get_stream(subjects::JOBS_STREAM).await.map_err(|error| unread(&error))?;
    let mut running: BTreeMap<LaneKey, Running> = BTreeMap::new();
    let mut consumers = stream.consumers();
    while let Some(consumer) = consumers.try_next().await.map_err(|error| unread(&error))? {
        let Some(lane) = subjects::parse_jobs(&consumer.config.filter_subject) else { continue };
        let of_lane = running.entry(lane).or_default();
        of_lane.in_flight += consumer.num_ack_pending as u64;
        of_lane.delivered += consumer.delivered.consumer_sequence;
    }
    Ok(running)
}

/// How many jobs of a team are parked, behind whatever gate, or wait for their time. By the server's counts of subjects:
/// a message's own headers are a producer's, and may hold bytes that cut a client's connection.
///
/// # Errors
/// The server did not answer.
pub async fn parked_of(client: &Client, team: &Team) -> Result<u64, Failure> {
    let unread = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(Code::Nats, "the parked jobs cannot be counted").because(error).try_this("run `tollgate init`")
    };
    let context = async_nats::jetstream::new(client.clone());
    let stream = context.get_stream(subjects::WAIT_STREAM).await.map_err(|error| unread(&error))?;
    let of_team = stream.info_with_subjects(format!("tollgate.wait.*.*.{team}.*")).await;
    let mut of_team = of_team.map_err(|error| unread(&error))?;
    let mut parked = 0;
    while let Some((_, jobs)) = of_team.try_next().await.map_err(|error| unread(&error))? {
        parked += jobs as u64;
    }
    Ok(parked)
}

/// How many lanes are asked for their oldest job at a time, and at all: each is a question of its own.
const OLDEST: (usize, usize) = (16, 256);

/// Where the oldest job of a lane is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Those in the lane itself, with those that run.
    Lane,
    /// Those that are parked or wait for their time, too.
    All,
}

/// When the oldest job of each lane was accepted (of one that is parked: when it was), as far as it is known.
///
/// Through the server's JSON interface, because producers' headers may hold bytes that cut a client's connection.
pub async fn oldest<'a>(
    client: &Client,
    among: Among,
    lanes: impl Iterator<Item = &'a LaneKey>,
) -> BTreeMap<LaneKey, UnixMillis> {
    let ask = |lane: LaneKey| async move {
        let places = [
            (subjects::JOBS_STREAM, subjects::jobs(&lane)),
            (subjects::WAIT_STREAM, format!("tollgate.wait.*.{}.{}.*", lane.class, lane.team)),
        ];
        let mut oldest = None;
        let places = places.into_iter().take(if among == Among::All { 2 } else { 1 });
        for (stream, subject) in places {
            let at = first_at(client, stream, &subject).await;
            oldest = [oldest, at].into_iter().flatten().min();
        }
        Some((lane, oldest?))
    };
    let lanes: Vec<LaneKey> = lanes.take(OLDEST.1).cloned().collect();
    let asked = futures_util::stream::iter(lanes).map(ask).buffer_unordered(OLDEST.0);
    asked.filter_map(async |found| found).collect().await
}

/// How long the server may take for one message.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// When the first message under a subject was stored.
async fn first_at(client: &Client, stream: &str, subject: &str) -> Option<UnixMillis> {
    #[derive(Deserialize)]
    struct Reply {
        message: Option<Stored>,
    }
    #[derive(Deserialize)]
    struct Stored {
        time: String,
    }
    let question = serde_json::json!({ "seq": 1, "next_by_subj": subject }).to_string();
    let asked = client.request(format!("$JS.API.STREAM.MSG.GET.{stream}"), question.into());
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await.ok()?.ok()?;
    let reply: Reply = serde_json::from_slice(&answer.payload).ok()?;
    UnixMillis::from_rfc3339(&reply.message?.time)
}

/// Gate and lane of a consumer's filter: `tollgate.wait.<gate>.<class>.<team>.*`.
fn key_of(filter: &str) -> Option<(Gate, LaneKey)> {
    let (gate, lane, _) = subjects::parse_wait(&format!("{}x", filter.strip_suffix('*')?))?;
    Some((gate, lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_and_lane_are_read_from_a_filter() {
        let lane = LaneKey { class: "batch".into(), team: "search".into() };
        let filter = format!("tollgate.wait.{}.batch.search.*", Gate::of_model("m"));
        assert_eq!(key_of(&filter), Some((Gate::of_model("m"), lane)));
        for bad in ["tollgate.wait.*.batch.search.*", "tollgate.wait.due.batch.search.x", "tollgate.wait.later.a.b.*"] {
            assert_eq!(key_of(bad), None, "{bad}");
        }
    }
}
