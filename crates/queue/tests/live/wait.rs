//! Parking: one copy at least at every moment, never two that run, and nothing of the producer's acts again.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::HeaderMap;
use tokio::time::timeout;
use tollgate_queue::streams::{self, Limits};
use tollgate_queue::wait::QueueCount;
use tollgate_queue::{ApiError, Delivery, Kept, Origin, Parked, QueueKey, Settlement, Until, Wait};
use tollgate_types::{Digest, Gate, JobId, UnixMillis, headers, subjects};

use crate::jobs::{ACK_WAIT, Hands, done, job, lane, submit};
use crate::world::{DEADLINE, World, eventually, small};

fn digest(payload: &str) -> Digest {
    Digest::of(&[payload.as_bytes()])
}

async fn park(wait: &Wait, delivery: &Delivery, job: &JobId, until: &Until) -> Result<Kept, ApiError> {
    let digest = Digest::of(&[&delivery.payload]);
    let accepted_at = delivery.place.accepted_at;
    wait.park(Parked { delivery, job, digest, until, accepted_at, deliveries: 3, why: "money\r\nX: y" }).await
}

fn model() -> Until {
    Until::Gate(Gate::of_model("gpt-4o"))
}

fn behind(until: &Until) -> QueueKey {
    QueueKey::behind(until.gate(), lane())
}

async fn stored(world: &World) -> u64 {
    let stream = world.context.get_stream(subjects::WAIT_STREAM).await.expect("the stream");
    stream.cached_info().state.messages
}

/// What a parked job still is when it comes out: the producer's bytes and headers, our facts, and nothing of NATS' own.
fn check_parked(delivery: &Delivery, id: &str, payload: &str, accepted_at: UnixMillis) {
    assert_eq!((delivery.payload.as_ref(), delivery.parked_job_id()), (payload.as_bytes(), Some(job(id))));
    assert_eq!((delivery.traceparent(), delivery.header(headers::KEY)), (Some("00-trace"), Some("k1")));
    assert_eq!((delivery.place.origin, delivery.place.accepted_at), (Origin::Wait, accepted_at));
    assert_eq!((delivery.place.delivered, delivery.carried_deliveries()), (1, 3));
    assert_eq!(delivery.header(headers::PARKED_DIGEST), Some(digest(payload).to_string().as_str()));
    assert_eq!(delivery.header(headers::PARKED_FOR), Some("money  X: y"));
    for gone in [headers::JOB_ID, "Nats-Expected-Stream", "Nats-Schedule", "Nats-Schedule-Target", "X"] {
        assert_eq!(delivery.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_parked_job_comes_out_of_its_gate_as_it_went_in() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let delivery = hands.accepted(&world, "search:1", "body").await;
    assert_eq!((delivery.parked_job_id(), delivery.carried_deliveries()), (None, 0));
    let accepted_at = delivery.place.accepted_at;
    assert!(accepted_at.0 > 1, "a producer's header is not believed");
    assert_eq!(park(&hands.wait, &delivery, &job("search:1"), &model()).await, Ok(Kept::New));
    done(delivery).await;

    let counts = hands.wait.queues().await.expect("the queues");
    let key = (Gate::of_model("gpt-4o"), lane());
    assert_eq!(counts, HashMap::from([(key.clone(), QueueCount { waiting: 1, in_flight: 0 })]));
    let copies = hands.wait.find_parked("search", &job("search:1")).await.expect("an answer");
    assert_eq!((copies.len(), copies[0].until.clone(), &*copies[0].payload), (1, model(), b"body".as_slice()));
    assert_eq!((copies[0].accepted_at, copies[0].deliveries, copies[0].lane.clone()), (accepted_at, 3, lane()));
    assert_eq!(copies, hands.wait.parked_copies(&lane(), &job("search:1")).await.expect("an answer"));
    assert_eq!(hands.wait.find_parked("marketing", &job("search:1")).await, Ok(Vec::new()));

    let parked = hands.take(&behind(&model())).await;
    check_parked(&parked, "search:1", "body", accepted_at);
    let counts = hands.wait.queues().await.expect("the queues");
    assert_eq!(counts[&key], QueueCount { waiting: 0, in_flight: 1 });
    done(parked).await;
    eventually("an empty stream", async || (stored(&world).await == 0).then_some(())).await;
}

#[tokio::test]
async fn parking_twice_keeps_one_and_another_request_under_that_id_is_a_conflict() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let delivery = hands.accepted(&world, "search:1", "body").await;
    let id = job("search:1");
    assert_eq!(park(&hands.wait, &delivery, &id, &model()).await, Ok(Kept::New));
    assert_eq!(park(&hands.wait, &delivery, &id, &model()).await, Ok(Kept::Already));
    let other = hands.accepted(&world, "search:2", "another body").await;
    assert_eq!(park(&hands.wait, &other, &id, &model()).await, Ok(Kept::Conflict));
    assert_eq!(stored(&world).await, 1);
    let elsewhere = async |delivery, payload| hands.wait.parked_elsewhere(delivery, &id, digest(payload)).await;
    assert_eq!(elsewhere(&delivery, "body").await, Ok(true));
    assert_eq!(elsewhere(&other, "another body").await, Ok(false), "the copy is of another request");
    assert_eq!(hands.wait.parked_elsewhere(&delivery, &job("search:3"), digest("body")).await, Ok(false));
}

#[tokio::test]
async fn a_worker_killed_between_the_publish_and_the_ack_leaves_one_copy_that_its_successor_finds() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let delivery = hands.accepted(&world, "search:1", "body").await;
    assert_eq!(park(&hands.wait, &delivery, &job("search:1"), &model()).await, Ok(Kept::New));
    delivery.settle(Settlement::Abandon).await;
    // What a dying parker may not have come to.
    let stream = world.context.get_stream(subjects::WAIT_STREAM).await.expect("the stream");
    let consumer = format!("wait-{}-batch-search", model().gate());
    stream.delete_consumer(&consumer).await.expect("it is deleted");

    let again = hands.take(&QueueKey::of_lane(lane())).await;
    assert_eq!(again.place.delivered, 2);
    assert_eq!(hands.wait.parked_elsewhere(&again, &job("search:1"), digest("body")).await, Ok(true));
    done(again).await;
    let parked = hands.take(&behind(&model())).await;
    // It is the only one, so it is the one that runs.
    assert_eq!(hands.wait.parked_elsewhere(&parked, &job("search:1"), digest("body")).await, Ok(false));
    done(parked).await;
}

#[tokio::test]
async fn a_parked_job_may_be_parked_again_behind_the_same_gate_and_behind_another() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let id = job("search:1");
    let delivery = hands.accepted(&world, "search:1", "body").await;
    let accepted_at = delivery.place.accepted_at;
    park(&hands.wait, &delivery, &id, &model()).await.expect("it is parked");
    done(delivery).await;

    let first = hands.take(&behind(&model())).await;
    assert_eq!(park(&hands.wait, &first, &id, &model()).await, Ok(Kept::New));
    assert_eq!(stored(&world).await, 2, "never less than one, so two for a moment");
    // As if killed here: both come, and the older one is only to be acked.
    first.settle(Settlement::Abandon).await;
    let second = hands.take(&behind(&model())).await;
    check_parked(&second, "search:1", "body", accepted_at);
    let older = hands.take(&behind(&model())).await;
    assert!(older.place.sequence < second.place.sequence && older.place.delivered == 2);
    assert_eq!(hands.wait.parked_elsewhere(&older, &id, digest("body")).await, Ok(true));
    assert_eq!(park(&hands.wait, &older, &id, &model()).await, Ok(Kept::Already));
    done(older).await;

    let account = Until::Gate("a-0123456789abcdef".parse().expect("a gate"));
    assert_eq!(park(&hands.wait, &second, &id, &account).await, Ok(Kept::New));
    assert_eq!(hands.wait.parked_elsewhere(&second, &id, digest("body")).await, Ok(true));
    done(second).await;
    let third = hands.take(&behind(&account)).await;
    check_parked(&third, "search:1", "body", accepted_at);
    done(third).await;
    eventually("an empty stream", async || (stored(&world).await == 0).then_some(())).await;
}

#[tokio::test]
async fn of_two_copies_that_look_at_the_same_time_the_older_one_gives_way() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let id = job("search:1");
    let delivery = hands.accepted(&world, "search:1", "body").await;
    park(&hands.wait, &delivery, &id, &model()).await.expect("it is parked");
    done(delivery).await;
    let account = Until::Gate("a-0123456789abcdef".parse().expect("a gate"));
    let older = hands.take(&behind(&model())).await;
    assert_eq!(park(&hands.wait, &older, &id, &account).await, Ok(Kept::New));
    // As if its worker was killed before the ack, and whoever took the newer one too.
    older.settle(Settlement::Abandon).await;
    hands.take(&behind(&account)).await.settle(Settlement::Abandon).await;

    let (newer, older) = (hands.take(&behind(&account)).await, hands.take(&behind(&model())).await);
    assert_eq!((newer.place.delivered, older.place.delivered), (2, 2));
    assert_eq!(hands.wait.parked_elsewhere(&older, &id, digest("body")).await, Ok(true));
    assert_eq!(hands.wait.parked_elsewhere(&newer, &id, digest("body")).await, Ok(false), "or both would be acked");
    // Nor may the newer one be left to the older one, when it moves to where that stands.
    assert_eq!(park(&hands.wait, &newer, &id, &model()).await, Ok(Kept::New));
    done(newer).await;
    assert_eq!(hands.wait.parked_elsewhere(&older, &id, digest("body")).await, Ok(true));
    done(older).await;
    let last = hands.take(&behind(&model())).await;
    assert_eq!(hands.wait.parked_elsewhere(&last, &id, digest("body")).await, Ok(false));
    done(last).await;
    eventually("an empty stream", async || (stored(&world).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_job_for_later_comes_due_once_and_survives_a_killed_server() {
    let mut world = World::start().await;
    let mut hands = Hands::open(&world).await;
    hands.lanes.backlog().await.expect("the server's clock");
    let id = job("search:1");
    let delivery = hands.accepted(&world, "search:1", "body").await;
    let accepted_at = delivery.place.accepted_at;
    let at = hands.clock.now().plus(Duration::from_secs(3));
    let later = Until::Time(at);
    assert_eq!(park(&hands.wait, &delivery, &id, &later).await, Ok(Kept::New));
    assert_eq!(park(&hands.wait, &delivery, &id, &later).await, Ok(Kept::Already), "create-only, with a schedule too");
    assert_eq!(hands.wait.parked_elsewhere(&delivery, &id, digest("body")).await, Ok(true));
    done(delivery).await;
    let copies = hands.wait.find_parked("search", &id).await.expect("an answer");
    assert_eq!((copies.len(), &copies[0].until), (1, &later));
    let early = hands.take_within(&behind(&later), Duration::from_millis(200)).await;
    assert!(early.is_none(), "no consumer sees it before its time");

    world.kill_and_restart().await;
    let due = eventually_taken(&mut hands, &behind(&later)).await;
    assert!(hands.clock.now() >= at, "not before its time");
    check_parked(&due, "search:1", "body", accepted_at);
    assert_eq!(stored(&world).await, 1, "the schedule took itself away");
    done(due).await;
    // The time for a second firing, and for a redelivery.
    assert!(hands.take_within(&behind(&later), 2 * ACK_WAIT).await.is_none(), "it came twice");
    assert_eq!(stored(&world).await, 0);
}

/// Pulls until a job comes; a restarted server forgets the pulls that it had.
async fn eventually_taken(hands: &mut Hands, queue: &QueueKey) -> Delivery {
    let taken = timeout(DEADLINE, async {
        loop {
            if let Some(delivery) = hands.take_within(queue, Duration::from_millis(500)).await {
                return delivery;
            }
        }
    });
    taken.await.expect("a job in time")
}

#[tokio::test]
async fn a_job_that_is_put_off_again_while_its_due_copy_is_held_is_not_lost() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let id = job("search:1");
    let delivery = hands.accepted(&world, "search:1", "body").await;
    let past = Until::Time(UnixMillis(1_000_000_000_000));
    assert_eq!(park(&hands.wait, &delivery, &id, &past).await, Ok(Kept::New));
    done(delivery).await;
    let first = hands.take(&behind(&past)).await;
    // It comes due on the subject of the copy that is still held: both are there.
    assert_eq!(park(&hands.wait, &first, &id, &past).await, Ok(Kept::New));
    let second = hands.take(&behind(&past)).await;
    assert!(second.place.sequence > first.place.sequence);
    assert_eq!(hands.wait.parked_elsewhere(&first, &id, digest("body")).await, Ok(true));
    done(first).await;
    assert_eq!(hands.wait.parked_elsewhere(&second, &id, digest("body")).await, Ok(false));
    done(second).await;
    eventually("an empty stream", async || (stored(&world).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_producer_cannot_reach_the_waiting_jobs() {
    let world = World::start().await;
    let team = world.team("search").await;
    let until = model();
    let subject = subjects::wait(&until.gate(), &lane(), &job("search:1"));
    for subject in [subject, subjects::later(&lane(), &job("search:1"))] {
        let asked = team.client.request(subject, "forged".into());
        let refused = timeout(Duration::from_secs(2), asked).await;
        assert!(!matches!(refused, Ok(Ok(_))), "{refused:?}");
    }
    // Nor by a schedule of its own, on the lane that it may write.
    let mut sent = HeaderMap::new();
    sent.insert("Nats-Schedule", "@at 2001-01-01T00:00:00Z");
    sent.insert("Nats-Schedule-Target", "tollgate.jobs.batch.marketing");
    let asked = team.client.request_with_headers(subjects::jobs(&lane()), sent, "forged".into());
    let answer = timeout(DEADLINE, asked).await.expect("an answer").expect("an answer");
    let answer = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(answer.contains("error"), "{answer}");
    assert_eq!(stored(&world).await, 0);
}

#[tokio::test]
async fn unused_consumers_are_dropped_and_those_that_somebody_needs_are_not() {
    let mut world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let none = Duration::ZERO;
    let served = hands.accepted(&world, "search:1", "body").await;
    park(&hands.wait, &served, &job("search:1"), &model()).await.expect("it is parked");
    done(served).await;
    assert_eq!(hands.wait.drop_unused(none).await, Ok(0), "a job waits in it");
    let parked = hands.take(&behind(&model())).await;
    assert_eq!(hands.wait.drop_unused(none).await, Ok(0), "a job of it runs");
    done(parked).await;
    assert_eq!(hands.wait.drop_unused(Duration::from_secs(3600)).await, Ok(0), "it was used just now");
    world.kill_and_restart().await;
    eventually("an answer", async || hands.wait.queues().await.ok()).await;
    assert_eq!(hands.wait.drop_unused(Duration::from_secs(3600)).await, Ok(0), "a restart makes nothing look old");
    assert_eq!(hands.wait.drop_unused(none).await, Ok(1));
    assert!(hands.wait.queues().await.expect("the queues").is_empty());

    // A job for later needs the consumer of what is due, though that is empty.
    let put_off = hands.accepted(&world, "search:2", "body").await;
    let later = Until::Time(put_off.place.accepted_at.plus(Duration::from_secs(3600)));
    park(&hands.wait, &put_off, &job("search:2"), &later).await.expect("it is parked");
    done(put_off).await;
    assert_eq!(hands.wait.drop_unused(none).await, Ok(0));
    assert_eq!(hands.wait.queues().await.expect("the queues").len(), 1);
}

#[tokio::test]
async fn consumers_of_answers_are_dropped_apart_from_others() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let of_an_answer = Until::Gate(Gate::Answer(digest("x").short()));
    for (id, until) in [("search:1", model()), ("search:2", of_an_answer.clone()), ("search:3", of_an_answer)] {
        let delivery = hands.accepted(&world, id, "body").await;
        park(&hands.wait, &delivery, &job(id), &until).await.expect("it is parked");
        done(delivery).await;
        let parked = hands.take(&behind(&until)).await;
        assert_eq!(hands.wait.drop_unused_answers(Duration::ZERO).await, Ok(0), "a job of it runs");
        done(parked).await;
    }
    assert_eq!(hands.wait.drop_unused_answers(Duration::from_secs(60)).await, Ok(0), "it was used just now");
    assert_eq!(hands.wait.drop_unused_answers(Duration::ZERO).await, Ok(1));
    let left: Vec<Gate> = hands.wait.queues().await.expect("the queues").into_keys().map(|(gate, _)| gate).collect();
    assert_eq!(left, [Gate::of_model("gpt-4o")]);
}

#[tokio::test]
async fn whoever_parks_notices_that_a_consumer_was_dropped() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let other = Hands::open(&world).await;
    for id in ["search:1", "search:2"] {
        let delivery = hands.accepted(&world, id, "body").await;
        park(&hands.wait, &delivery, &job(id), &model()).await.expect("it is parked");
        done(delivery).await;
        done(hands.take(&behind(&model())).await).await;
        assert_eq!(other.wait.drop_unused(Duration::ZERO).await, Ok(1));
        // The count that every worker takes all the time ends the trust in what is gone.
        assert!(hands.wait.queues().await.expect("the queues").is_empty());
    }
    let delivery = hands.accepted(&world, "search:3", "body").await;
    park(&hands.wait, &delivery, &job("search:3"), &model()).await.expect("it is parked");
    assert_eq!(hands.wait.queues().await.expect("the queues").len(), 1);
}

#[tokio::test]
async fn dropping_and_parking_at_once_leaves_no_job_unseen() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let mut deliveries = Vec::new();
    for n in 0..40 {
        deliveries.push(hands.accepted(&world, &format!("search:{n}"), "body").await);
    }
    let dropper = Hands::open(&world).await;
    let parking = async {
        for (n, delivery) in deliveries.into_iter().enumerate() {
            // A process of its own each time, which trusts nothing that it did not see.
            let parker = Wait::open(&world.connection, Default::default()).await.expect("the stream");
            let gate = Until::Gate(Gate::of_model(&format!("model-{n}")));
            assert_eq!(park(&parker, &delivery, &job(&format!("search:{n}")), &gate).await, Ok(Kept::New));
            done(delivery).await;
        }
    };
    let dropping = async {
        loop {
            dropper.wait.drop_unused(Duration::ZERO).await.expect("an answer");
        }
    };
    tokio::select! {
        () = parking => {}
        () = dropping => {}
    }
    let counts = hands.wait.queues().await.expect("the queues");
    assert_eq!(counts.values().map(|count| count.waiting).sum::<u64>(), 40, "{} queues", counts.len());
}

#[tokio::test]
async fn the_list_of_queues_is_read_to_its_end() {
    let world = World::start().await;
    let hands = Hands::open(&world).await;
    for n in 0..300 {
        let queue = QueueKey::behind(Gate::of_model(&format!("model-{n}")), lane());
        hands.wait.ensure(&queue).await.expect("a consumer");
    }
    assert_eq!(hands.wait.queues().await.expect("the queues").len(), 300);
}

#[tokio::test]
async fn when_there_is_no_room_a_job_stays_in_its_lane_but_a_parked_one_may_move() {
    let world = World::start().await;
    let context = &world.context;
    context.delete_stream(subjects::WAIT_STREAM).await.expect("the operator may");
    streams::ensure(context, &Limits { wait_max: 1, ..small() }).await.expect("it is made anew");
    let mut hands = Hands::open(&world).await;
    let first = hands.accepted(&world, "search:1", "body").await;
    assert_eq!(park(&hands.wait, &first, &job("search:1"), &model()).await, Ok(Kept::New));
    done(first).await;
    let second = hands.accepted(&world, "search:2", "body").await;
    let fresh = Wait::open(&world.connection, Default::default()).await.expect("the stream");
    assert_eq!(park(&fresh, &second, &job("search:2"), &model()).await, Ok(Kept::NoRoom));
    assert_eq!(stored(&world).await, 1);
    let parked = hands.take(&behind(&model())).await;
    let other = Until::Gate(Gate::of_model("another"));
    assert_eq!(park(&fresh, &parked, &job("search:1"), &other).await, Ok(Kept::New));
}

#[tokio::test]
async fn a_job_at_the_size_limit_is_parked_without_its_producers_headers() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let payload = "x".repeat((1 << 20) - 1_500);
    let mut sent = HeaderMap::new();
    sent.insert(headers::JOB_ID, "search:1");
    sent.insert(headers::KEY, "k1");
    sent.insert("Long", "y".repeat(1_300).as_str());
    submit(&world, sent, &payload).await;
    hands.lanes.ensure(&lane()).await.expect("a consumer");
    let delivery = hands.take(&QueueKey::of_lane(lane())).await;
    assert_eq!(park(&hands.wait, &delivery, &job("search:1"), &model()).await, Ok(Kept::New));
    done(delivery).await;
    let parked = hands.take(&behind(&model())).await;
    assert_eq!(
        (parked.payload.len(), parked.header("Long"), parked.header(headers::KEY)),
        (payload.len(), None, Some("k1"))
    );
}

#[tokio::test]
async fn without_its_stream_nothing_can_wait_and_it_is_said() {
    let world = World::start().await;
    world.context.delete_stream(subjects::WAIT_STREAM).await.expect("the operator may");
    let missing = Wait::open(&world.connection, Default::default()).await;
    assert!(matches!(missing, Err(ApiError::Refused { code: 10059, .. })), "it must be refused");
}
