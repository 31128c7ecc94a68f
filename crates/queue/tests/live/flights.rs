//! Claims: one at a time, and none that outlives its owner for long.

use std::time::{Duration, Instant};

use tollgate_queue::Flights;
use tollgate_queue::flights::{Claim, Claimant, LEASE};
use tollgate_types::{Digest, subjects};

use crate::world::{World, eventually};

fn who(job: &str, request: &str) -> Claimant {
    Claimant {
        key: Digest::of(&[request.as_bytes()]),
        team: "search".to_owned(),
        job: job.parse().expect("an id"),
        run: format!("run of {job}"),
        redelivered: false,
    }
}

async fn aloft(flights: &Flights, who: &Claimant) -> bool {
    let short = who.key.short();
    flights.aloft(&[short.clone(), "0123456789abcdef".to_owned()]).await.expect("an answer").contains(&short)
}

#[tokio::test]
async fn of_many_who_claim_one_flies_until_it_lands() {
    let world = World::start().await;
    let flights = Flights::new(&world.connection.client);
    let claims = (0..50).map(|number| {
        let flights = flights.clone();
        async move { flights.claim(&who(&format!("search:{number}"), "a")).await.expect("an answer") }
    });
    let mut ours = Vec::new();
    for claim in futures_util::future::join_all(claims).await {
        match claim {
            Claim::Ours(lease) => ours.push(lease),
            Claim::Theirs => {}
            Claim::Alone => panic!("nobody said so"),
        }
    }
    assert_eq!(ours.len(), 1);
    let other = who("search:x", "a");
    assert!(matches!(flights.look(&other).await, Ok(Some(Claim::Theirs))) && aloft(&flights, &other).await);
    assert!(matches!(flights.look(&who("search:x", "b")).await, Ok(None)), "another request");
    flights.release(ours.remove(0)).await.expect("given up");
    assert!(matches!(flights.look(&other).await, Ok(None)) && !aloft(&flights, &other).await);
    assert!(matches!(flights.claim(&other).await, Ok(Claim::Ours(_))));
}

#[tokio::test]
async fn a_claim_lasts_while_it_is_renewed_and_ends_soon_after() {
    let world = World::start().await;
    let flights = Flights::new(&world.connection.client);
    let Ok(Claim::Ours(mut lease)) = flights.claim(&who("search:1", "a")).await else { panic!("it is free") };
    let begun = Instant::now();
    while begun.elapsed() < LEASE + Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(flights.renew(&mut lease).await, Ok(true));
        assert!(aloft(&flights, &who("search:2", "a")).await);
    }
    let died = Instant::now();
    eventually("it ends", async || (!aloft(&flights, &who("search:2", "a")).await).then_some(())).await;
    assert!(died.elapsed() < LEASE + Duration::from_secs(3), "{:?}", died.elapsed());
    assert_eq!(flights.renew(&mut lease).await, Ok(false), "it was lost");
}

#[tokio::test]
async fn a_job_that_is_delivered_again_takes_its_own_claim_over_and_no_others() {
    let world = World::start().await;
    let flights = Flights::new(&world.connection.client);
    let Ok(Claim::Ours(mut first)) = flights.claim(&who("search:1", "a")).await else { panic!("it is free") };
    let again = |job: &str| Claimant { run: "another".to_owned(), redelivered: true, ..who(job, "a") };
    assert!(matches!(flights.claim(&who("search:1", "a")).await, Ok(Claim::Theirs)), "an id that came twice");
    assert!(matches!(flights.claim(&again("search:2")).await, Ok(Claim::Theirs)));
    assert!(matches!(flights.look(&again("search:1")).await, Ok(None)));
    let Ok(Claim::Ours(second)) = flights.claim(&again("search:1")).await else { panic!("it is its own") };
    assert_eq!(flights.renew(&mut first).await, Ok(false), "the first run lost it");
    flights.release(first).await.expect("nothing to give up");
    assert!(aloft(&flights, &who("search:3", "a")).await, "and takes nothing from the second");
    flights.release(second).await.expect("given up");
    assert!(!aloft(&flights, &who("search:3", "a")).await);
}

#[tokio::test]
async fn who_finds_nothing_to_share_sends_the_others_on_alone() {
    let world = World::start().await;
    let flights = Flights::new(&world.connection.client);
    let Ok(Claim::Ours(lease)) = flights.claim(&who("search:1", "a")).await else { panic!("it is free") };
    flights.leave_alone(lease).await.expect("said");
    let other = who("search:2", "a");
    assert!(matches!(flights.look(&other).await, Ok(Some(Claim::Alone))));
    assert!(matches!(flights.claim(&other).await, Ok(Claim::Alone)));
    assert!(!aloft(&flights, &other).await, "nobody waits for it");
}

/// Stores the claim anew behind its owner's back, as a renewal does whose acknowledgement is lost.
async fn renew_unheard(world: &World, who: &Claimant) {
    let subject = subjects::flight(&who.key.short());
    let stream = world.context.get_stream(subjects::FLIGHTS_STREAM).await.expect("it exists");
    let last = stream.get_last_raw_message_by_subject(&subject).await.expect("it is claimed");
    let stored = world.context.publish(subject, last.payload).await.expect("sent");
    stored.await.expect("stored");
}

#[tokio::test]
async fn a_renewal_that_nobody_heard_of_loses_no_claim() {
    let world = World::start().await;
    let flights = Flights::new(&world.connection.client);
    let one = who("search:1", "a");
    let Ok(Claim::Ours(mut lease)) = flights.claim(&one).await else { panic!("it is free") };
    renew_unheard(&world, &one).await;
    assert_eq!(flights.renew(&mut lease).await, Ok(true));
    assert_eq!(flights.renew(&mut lease).await, Ok(true));
    renew_unheard(&world, &one).await;
    flights.release(lease).await.expect("given up");
    assert!(!aloft(&flights, &one).await);
    let Ok(Claim::Ours(lease)) = flights.claim(&one).await else { panic!("it is free") };
    renew_unheard(&world, &one).await;
    flights.leave_alone(lease).await.expect("said");
    assert!(matches!(flights.look(&who("search:2", "a")).await, Ok(Some(Claim::Alone))));
}
