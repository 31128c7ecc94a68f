//! A producer's and a worker's hands for tests: jobs go in, deliveries come out.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use tollgate_queue::{
    Connection, Delivery, LaneConfig, Lanes, Leases, PullEvent, Puller, QueueKey, ServerClock, Settlement, Wait,
};
use tollgate_types::{JobId, LaneKey, headers, subjects};

use crate::world::{DEADLINE, World};

/// Short, so that an abandoned delivery comes again soon.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Hands {
    pub(crate) lanes: Lanes,
    pub(crate) wait: Wait,
    pub(crate) clock: ServerClock,
    connection: Connection,
    puller: Puller,
    leases: Leases,
}

pub(crate) fn lane() -> LaneKey {
    LaneKey { class: "batch".into(), team: "search".into() }
}

pub(crate) fn job(text: &str) -> JobId {
    text.parse().expect("a job id")
}

impl Hands {
    pub(crate) async fn open(world: &World) -> Hands {
        let config = LaneConfig { ack_wait: ACK_WAIT, ..LaneConfig::default() };
        let clock = ServerClock::new();
        let lanes = Lanes::open(&world.connection.client, config, clock.clone()).await.expect("the stream");
        let wait = Wait::open(&world.connection, config).await.expect("the stream");
        let puller = Puller::open(&world.connection).await.expect("an inbox");
        Hands { connection: world.connection.clone(), lanes, wait, clock, puller, leases: Leases::default() }
    }

    /// Submits a job to [`lane`] and takes it.
    pub(crate) async fn accepted(&mut self, world: &World, id: &str, payload: &str) -> Delivery {
        let mut sent = HeaderMap::new();
        sent.insert(headers::JOB_ID, id);
        sent.insert(headers::TRACEPARENT, "00-trace");
        sent.insert(headers::KEY, "k1");
        sent.insert("Nats-Expected-Stream", subjects::JOBS_STREAM);
        // A producer may say what it likes; only the broker's word counts.
        sent.insert(headers::PARKED_ACCEPTED_AT, "1");
        sent.insert(headers::PARKED_DELIVERIES, "99");
        submit(world, sent, payload).await;
        self.lanes.ensure(&lane()).await.expect("a consumer");
        self.take(&QueueKey::of_lane(lane())).await
    }

    /// Takes the next job of a queue.
    pub(crate) async fn take(&mut self, queue: &QueueKey) -> Delivery {
        self.take_within(queue, DEADLINE).await.unwrap_or_else(|| panic!("nothing came from {queue}"))
    }

    /// Takes the next job of a queue, if one comes within that time.
    pub(crate) async fn take_within(&mut self, queue: &QueueKey, within: Duration) -> Option<Delivery> {
        let pull = self.puller.pull(&Arc::new(queue.clone()), 1, Some(within)).await.expect("it is sent");
        loop {
            let event = tokio::time::timeout(within + DEADLINE, self.puller.next()).await.expect("an end in time");
            match event.expect("a connection") {
                PullEvent::Job(arrival) => {
                    assert_eq!(arrival.queue, *queue);
                    let delivery = Delivery::take(&self.connection, &self.leases, *arrival);
                    return Some(delivery.expect("a delivery of JetStream"));
                }
                PullEvent::Drained { pull: id } if id == pull.id => return None,
                PullEvent::Ended { pull: id, reason, .. } if id == pull.id => panic!("{queue}: {reason}"),
                PullEvent::Drained { .. } | PullEvent::Ended { .. } => {}
            }
        }
    }
}

/// Publishes to [`lane`] and awaits the acknowledgement.
pub(crate) async fn submit(world: &World, sent: HeaderMap, payload: &str) {
    let published = world.context.publish_with_headers(subjects::jobs(&lane()), sent, payload.to_owned().into()).await;
    published.expect("it is sent").await.expect("it is stored");
}

pub(crate) async fn done(delivery: Delivery) {
    delivery.settle(Settlement::Done).await;
}
