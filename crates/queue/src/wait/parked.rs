//! What a parked job looks like: its headers when it is written, and what they say when it is read.

use async_nats::HeaderMap;
use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::{Digest, Gate, JobId, LaneKey, UnixMillis, headers, subjects};

use crate::delivery::Delivery;
use crate::direct::Stored;
use crate::queue_key::Origin;

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Until {
    /// A gate that opens.
    Gate(Gate),
    /// A time, by the server's clock; then it is [`Gate::Due`].
    Time(UnixMillis),
}

impl Until {
    /// The gate whose consumer serves it in the end.
    pub fn gate(&self) -> Gate {
        match self {
            Until::Gate(gate) => gate.clone(),
            Until::Time(_) => Gate::Due,
        }
    }
}

/// A delivery to be parked.
#[derive(Clone, Copy, Debug)]
pub struct Parked<'a> {
    /// The delivery; it is acked by the caller, after it was parked.
    pub delivery: &'a Delivery,
    /// The id that its result is kept under.
    pub job: &'a JobId,
    /// The digest of the request.
    pub digest: Digest,
    /// What it waits for.
    pub until: &'a Until,
    /// When the server first accepted the job.
    pub accepted_at: UnixMillis,
    /// How many earlier deliveries may have been paid for.
    pub deliveries: u64,
    /// What it waits for, in words.
    pub why: &'a str,
}

/// A parked job as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedCopy {
    /// The lane it belongs to.
    pub lane: LaneKey,
    /// Its id.
    pub job: JobId,
    /// What it waits for; a time that cannot be read is 0.
    pub until: Until,
    /// Its sequence in the stream of waiting jobs.
    pub sequence: u64,
    /// The digest of the request, as hexadecimal digits.
    pub digest: String,
    /// When the server first accepted the job.
    pub accepted_at: UnixMillis,
    /// When it was parked.
    pub parked_at: UnixMillis,
    /// How many earlier deliveries may have been paid for.
    pub deliveries: u64,
    /// What it waits for, in words.
    pub why: String,
    /// The request line.
    pub payload: Bytes,
}

impl ParkedCopy {
    /// Whether it is of this request.
    pub(super) fn is_of(&self, digest: &Digest) -> bool {
        self.digest == digest.to_string()
    }

    /// Whether it was parked after the message that was delivered; the message in the lane is older than every copy.
    pub(super) fn is_newer_than(&self, delivery: &Delivery) -> bool {
        match delivery.place.origin {
            Origin::Jobs => true,
            Origin::Wait => self.sequence > delivery.place.sequence,
        }
    }
}

/// The longest reason that is kept.
const WHY_CHARS_MAX: usize = 200;
const PARKED: [&str; 4] =
    [headers::PARKED_DIGEST, headers::PARKED_ACCEPTED_AT, headers::PARKED_DELIVERIES, headers::PARKED_FOR];
const SCHEDULE: &str = "Nats-Schedule";
const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";

impl Parked<'_> {
    /// The subject of the copy.
    pub(super) fn subject(&self) -> String {
        match self.until {
            Until::Gate(gate) => subjects::wait(gate, &self.delivery.lane, self.job),
            Until::Time(_) => subjects::later(&self.delivery.lane, self.job),
        }
    }

    /// The producer's headers and ours. NATS' own are left out: they acted once, and would act again on the copy; above
    /// all `Nats-Msg-Id`, for which the server would drop the copy when it comes due.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut copy = self.lean_headers();
        for (name, values) in self.delivery.headers.iter() {
            let name: &str = name.as_ref();
            if !is_nats(name) && !PARKED.iter().any(|ours| ours.eq_ignore_ascii_case(name)) && copy.get(name).is_none()
            {
                values.iter().for_each(|value| copy.append(name, value.clone()));
            }
        }
        copy
    }

    /// What the copy cannot do without, for a job that leaves no room for more.
    pub(super) fn lean_headers(&self) -> HeaderMap {
        let mut lean = HeaderMap::new();
        lean.insert(headers::PARKED_DIGEST, self.digest.to_string());
        lean.insert(headers::PARKED_ACCEPTED_AT, self.accepted_at.0.to_string());
        lean.insert(headers::PARKED_DELIVERIES, self.deliveries.to_string());
        lean.insert(headers::PARKED_FOR, one_line(self.why));
        if let Some(key) = self.delivery.header(headers::KEY) {
            lean.insert(headers::KEY, key);
        }
        if let Until::Time(at) = self.until {
            lean.insert(SCHEDULE, format!("@at {}", at.to_rfc3339()));
            lean.insert(SCHEDULE_TARGET, subjects::wait(&Gate::Due, &self.delivery.lane, self.job));
        }
        lean
    }
}

impl ParkedCopy {
    /// Reads a stored message; `None` if it is no parked job.
    pub(super) fn read(stored: Stored) -> Option<ParkedCopy> {
        let Stored { sequence, subject, at, headers: read, payload } = stored;
        let tokens: Vec<&str> = subject.strip_prefix("tollgate.wait.")?.split('.').collect();
        let [gate, class, team, job] = tokens[..] else { return None };
        let text = |name: &str| read.get(name).map(async_nats::HeaderValue::as_str);
        let until = if gate == subjects::LATER {
            Until::Time(text(SCHEDULE).and_then(time_of).unwrap_or_default())
        } else {
            Until::Gate(gate.parse().ok()?)
        };
        let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
        Some(ParkedCopy {
            lane: LaneKey { class: class.to_owned(), team: team.to_owned() },
            job: job.parse().ok()?,
            until,
            sequence,
            digest: text(headers::PARKED_DIGEST).unwrap_or_default().to_owned(),
            accepted_at: number(headers::PARKED_ACCEPTED_AT).map_or(at, UnixMillis),
            parked_at: at,
            deliveries: number(headers::PARKED_DELIVERIES).and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            why: text(headers::PARKED_FOR).unwrap_or_default().to_owned(),
            payload,
        })
    }
}

fn time_of(schedule: &str) -> Option<UnixMillis> {
    OffsetDateTime::parse(schedule.strip_prefix("@at ")?, &Rfc3339).ok().map(UnixMillis::from)
}

fn is_nats(name: &str) -> bool {
    name.get(..headers::NATS.len()).is_some_and(|start| start.eq_ignore_ascii_case(headers::NATS))
}

/// A line break would end the header and begin another.
fn one_line(text: &str) -> String {
    text.chars().take(WHY_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_end_its_header_and_stays_short() {
        assert_eq!(one_line("a\r\nNats-Rollup: all"), "a  Nats-Rollup: all");
        assert_eq!(one_line(&"ü".repeat(999)).chars().count(), WHY_CHARS_MAX);
    }

    #[test]
    fn the_servers_own_headers_are_told_whatever_their_case() {
        assert!(["Nats-Msg-Id", "nats-expected-stream", "NATS-ROLLUP"].into_iter().all(is_nats));
        assert!(!["traceparent", "Tollgate-Key", "Nat", "X-Nats-Y"].into_iter().any(is_nats));
    }

    #[test]
    fn a_schedules_time_is_read_back() {
        let at = UnixMillis(1_763_000_000_123);
        assert_eq!(time_of(&format!("@at {}", at.to_rfc3339())), Some(at));
        assert_eq!(time_of("@every 1s"), None);
    }
}
