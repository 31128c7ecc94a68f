//! Holding a job: a lease on one message, its renewal, and its one settlement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use tollgate_types::{Gate, JobId, LaneKey, UnixMillis, headers, subjects};

use crate::api;
use crate::connect::Connection;
use crate::pull::Arrival;
use crate::queue_key::{Origin, QueueKey};

/// A job that the server leased to us; unless it is settled, the server gives it to somebody after its ack wait.
///
/// While it lives, [`Leases::keep`] renews the lease. Dropping it unsettled stops the renewal: that is how a crash and
/// an abandoned job look the same.
#[derive(Debug)]
pub struct Delivery {
    /// The lane it belongs to.
    pub lane: Arc<LaneKey>,
    /// The gate that it waited behind, if it comes from the stream of waiting jobs.
    pub gate: Option<Gate>,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The payload as it came.
    pub payload: Bytes,
    /// Where it stands in the stream and how often it was delivered.
    pub place: Place,
    subject: async_nats::Subject,
    client: Client,
    ack_subject: async_nats::Subject,
    leases: Leases,
    lease: u64,
}

/// A delivery's place, from its ack subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The stream that it came from.
    pub origin: Origin,
    /// The message's sequence in that stream.
    pub sequence: u64,
    /// Which delivery of this message this is, from 1.
    pub delivered: u64,
    /// When the server accepted the job; that of a parked one is the time before it was parked.
    pub accepted_at: UnixMillis,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The job has its result: take it out of the queue.
    Done,
    /// Somebody else should have it now: we are going away.
    Release,
    /// Nothing: the lease runs out and the server delivers it again.
    Abandon,
}

impl Delivery {
    /// Takes over a job that a pull brought; `None` if it is no JetStream delivery.
    pub fn take(connection: &Connection, leases: &Leases, arrival: Arrival) -> Option<Delivery> {
        let Arrival { queue, message } = arrival;
        let ack_subject = message.reply.clone()?;
        let headers = message.headers.unwrap_or_default();
        let mut place = place_of(&ack_subject, queue.origin())?;
        // Only the broker writes the stream of waiting jobs; on the other these headers are a producer's own.
        if queue.origin() == Origin::Wait
            && let Some(at) = number(&headers, headers::PARKED_ACCEPTED_AT)
        {
            place.accepted_at = UnixMillis(at);
        }
        let lease = leases.register(&ack_subject);
        Some(Delivery {
            lane: queue.lane,
            gate: queue.gate,
            headers,
            payload: message.payload,
            place,
            subject: message.subject,
            client: connection.client.clone(),
            ack_subject,
            leases: leases.clone(),
            lease,
        })
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// All headers' bytes together, as NATS counts them.
    pub fn header_bytes(&self) -> usize {
        self.headers
            .iter()
            .map(|(name, values)| {
                values.iter().map(|v| AsRef::<[u8]>::as_ref(name).len() + v.as_str().len() + 4).sum::<usize>()
            })
            .sum()
    }

    /// The queue that it came through.
    pub fn queue(&self) -> QueueKey {
        QueueKey { lane: self.lane.clone(), gate: self.gate.clone() }
    }

    /// The id of a parked job, which its subject says; `None` for one from a lane, whose headers say it.
    pub fn parked_job_id(&self) -> Option<JobId> {
        subjects::parse_wait(&self.subject).map(|(_, _, job)| job)
    }

    /// How many deliveries before this message's own may have been paid for; none for a job from a lane.
    pub fn carried_deliveries(&self) -> u64 {
        match self.place.origin {
            Origin::Jobs => 0,
            Origin::Wait => number(&self.headers, headers::PARKED_DELIVERIES).unwrap_or(0),
        }
    }

    /// The subject that it was published on.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The producer's trace context, if it sent one.
    pub fn traceparent(&self) -> Option<&str> {
        self.header(headers::TRACEPARENT)
    }

    /// Settles the delivery, once. `Done` is confirmed by the server; if no confirmation comes, the job is delivered
    /// again and only its tail is replayed.
    pub async fn settle(self, settlement: Settlement) {
        let body: &'static [u8] = match settlement {
            Settlement::Done => b"+ACK",
            Settlement::Release => b"-NAK",
            Settlement::Abandon => return,
        };
        for _ in 0..ACK_TRIES {
            let sent = api::raw(&self.client, self.ack_subject.to_string(), None, Bytes::from_static(body)).await;
            match sent {
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, sequence = self.place.sequence, "ack not confirmed"),
            }
        }
        metrics::counter!("tollgate_unconfirmed_acks_total").increment(1);
    }
}

/// Each try waits for its answer; after these the lease runs out and the tail is replayed.
const ACK_TRIES: usize = 3;

impl Drop for Delivery {
    fn drop(&mut self) {
        self.leases.forget(self.lease);
    }
}

/// Every lease that this process holds, renewed by one task.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    next: u64,
    by_id: HashMap<u64, (async_nats::Subject, Instant)>,
}

impl Leases {
    fn register(&self, ack_subject: &async_nats::Subject) -> u64 {
        let mut held = self.0.lock().expect("no holder panics");
        held.next += 1;
        let id = held.next;
        held.by_id.insert(id, (ack_subject.clone(), Instant::now()));
        id
    }

    fn forget(&self, id: u64) {
        self.0.lock().expect("no holder panics").by_id.remove(&id);
    }

    /// How many deliveries are held.
    pub fn len(&self) -> usize {
        self.0.lock().expect("no holder panics").by_id.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Renews every lease that is older than a third of `ack_wait`, three times in `ack_wait`, for ever.
    ///
    /// Cancel safe: what is not renewed in time is delivered again.
    pub async fn keep(&self, connection: &Connection, ack_wait: Duration) {
        let pause = ack_wait / 3;
        loop {
            tokio::time::sleep(pause).await;
            let due: Vec<async_nats::Subject> = {
                let held = self.0.lock().expect("no holder panics");
                let old = held.by_id.values().filter(|(_, since)| since.elapsed() >= pause / 2);
                old.map(|(subject, _)| subject.clone()).collect()
            };
            for subject in due {
                // A publish that fails is a lease that runs out, which is safe.
                if connection.client.publish(subject, Bytes::from_static(b"+WPI")).await.is_err() {
                    break;
                }
            }
        }
    }
}

/// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>`, or the longer form with
/// domain and account hash (ADR-15).
fn place_of(ack_subject: &str, origin: Origin) -> Option<Place> {
    let tokens: Vec<&str> = ack_subject.strip_prefix("$JS.ACK.")?.split('.').collect();
    let at = match tokens.len() {
        7 => 2,
        n if n >= 9 => 4,
        _ => return None,
    };
    let nanos: i64 = tokens[at + 3].parse().ok()?;
    Some(Place {
        origin,
        delivered: tokens[at].parse().ok()?,
        sequence: tokens[at + 1].parse().ok()?,
        accepted_at: UnixMillis(nanos / 1_000_000),
    })
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_read_from_both_forms_of_the_ack_subject() {
        let origin = Origin::Jobs;
        let place = Place { origin, delivered: 2, sequence: 41, accepted_at: UnixMillis(1_763_000_000_123) };
        assert_eq!(place_of("$JS.ACK.TOLLGATE_JOBS.lane-a.2.41.7.1763000000123456789.9", origin), Some(place));
        assert_eq!(
            place_of("$JS.ACK.hub.abcdef.TOLLGATE_JOBS.lane-a.2.41.7.1763000000123456789.9.x", origin),
            Some(place)
        );
        for bad in ["", "$JS.ACK.a.b", "$JS.ACK.s.c.x.1.1.1.1", "reply.search.1"] {
            assert_eq!(place_of(bad, origin), None, "{bad}");
        }
    }
}
