//! One in office, others stand by: handed over at once, taken after patience, and never held by two.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tollgate_queue::office::{Left, Office, Term};
use tollgate_queue::state::State;

use crate::world::{DEADLINE, World};

const LEASE: Duration = Duration::from_millis(400);
const KEY: &str = "office.test";

async fn office(world: &World, name: &str) -> Office {
    Office::new(State::open(&world.context).await.expect("the bucket"), KEY, name, LEASE)
}

async fn take(office: &mut Office) -> Term {
    let stop = CancellationToken::new();
    timeout(DEADLINE, office.stand_by(&stop)).await.expect("in time").expect("nobody stops it")
}

async fn stays_out(office: &mut Office, long: Duration) {
    let stop = CancellationToken::new();
    let taken = timeout(long, office.stand_by(&stop)).await;
    assert!(taken.is_err(), "it took an office that is held");
}

#[tokio::test]
async fn an_office_is_handed_over_with_its_value_and_the_former_one_is_out() {
    let world = World::start().await;
    let stop = CancellationToken::new();
    let (mut first, mut second) = (office(&world, "first").await, office(&world, "second").await);
    let mut term = take(&mut first).await;
    assert_eq!((term.value(), term.number()), (&Value::Null, 1));
    term.advance(json!({ "seq": 7 }), &stop).await.expect("it is stored");
    // As long as the record is touched, nobody else gets in.
    let touching = async {
        loop {
            tokio::time::sleep_until(term.touch_at()).await;
            term.touch(&stop).await.expect("it is touched");
        }
    };
    tokio::select! {
        () = stays_out(&mut second, LEASE * 6) => {}
        () = touching => {}
    }
    assert!(term.is_sure());
    term.release().await;
    let since = Instant::now();
    let mut term = take(&mut second).await;
    assert!(since.elapsed() < LEASE * 2, "{:?}", since.elapsed());
    assert_eq!((term.value(), term.number()), (&json!({ "seq": 7 }), 2));
    term.advance(json!({ "seq": 8 }), &stop).await.expect("it is stored");
}

#[tokio::test]
async fn a_silent_one_is_replaced_after_three_leases_and_fenced_at_its_next_word() {
    let world = World::start().await;
    let stop = CancellationToken::new();
    let (mut first, mut second) = (office(&world, "first").await, office(&world, "second").await);
    let mut silent = take(&mut first).await;
    silent.advance(json!(1), &stop).await.expect("it is stored");
    let since = Instant::now();
    let mut term = take(&mut second).await;
    assert!(since.elapsed() >= LEASE * 3, "{:?}", since.elapsed());
    assert!(!silent.is_sure(), "it can know that it may be replaced");
    assert_eq!(silent.advance(json!(2), &stop).await, Err(Left::Fenced));
    assert_eq!(silent.touch(&stop).await, Err(Left::Fenced));
    assert_eq!((term.value(), term.number()), (&json!(1), 2));
    // Its late farewell changes nothing.
    silent.release().await;
    term.touch(&stop).await.expect("still in office");
}

#[tokio::test]
async fn who_comes_back_under_its_name_takes_its_office_back_and_fences_its_former_self() {
    let world = World::start().await;
    let stop = CancellationToken::new();
    let mut before = take(&mut office(&world, "first").await).await;
    before.advance(json!(1), &stop).await.expect("it is stored");
    let since = Instant::now();
    let mut after = take(&mut office(&world, "first").await).await;
    assert!(since.elapsed() < LEASE * 2, "{:?}", since.elapsed());
    assert_eq!(before.touch(&stop).await, Err(Left::Fenced));
    after.touch(&stop).await.expect("in office");
}

#[tokio::test]
async fn of_many_who_want_it_one_gets_it() {
    let world = World::start().await;
    let mut offices = Vec::new();
    for n in 0..8 {
        offices.push(office(&world, &format!("n{n}")).await);
    }
    let stop = CancellationToken::new();
    let wanted = offices.iter_mut().map(|office| timeout(LEASE * 2, office.stand_by(&stop)));
    let taken = futures_util::future::join_all(wanted).await;
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_server_that_is_away_ends_no_term_and_a_stop_ends_the_waiting() {
    let mut world = World::start().await;
    let stop = CancellationToken::new();
    let mut waiting = office(&world, "second").await;
    let mut term = take(&mut office(&world, "first").await).await;
    term.advance(json!(1), &stop).await.expect("it is stored");
    world.server.kill9().expect("it is killed");
    let (stored, restarted) = tokio::join!(timeout(DEADLINE, term.advance(json!(2), &stop)), world.server.restart());
    restarted.expect("it starts again");
    stored.expect("in time").expect("it is stored once the server is back");
    assert_eq!(term.value(), &json!(2));

    world.server.kill9().expect("it is killed");
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.cancel();
    };
    let (left, ()) = tokio::join!(timeout(DEADLINE, term.touch(&stop)), stopping);
    assert_eq!(left.expect("in time"), Err(Left::Stopped));
    assert!(waiting.stand_by(&stop).await.is_none());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_alone() {
    let world = World::start().await;
    let state = State::open(&world.context).await.expect("the bucket");
    state.put(KEY, "{".into()).await.expect("it is put");
    stays_out(&mut office(&world, "first").await, LEASE * 5).await;
    assert_eq!(state.get(KEY).await.expect("an answer").expect("a record").0, "{");
}
