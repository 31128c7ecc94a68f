//! Kept answers: found by their request until their time is over, by nobody else.

use std::time::Duration;

use tollgate_queue::answers::{Facts, KeptAnswer, Purge, Slot};
use tollgate_queue::{Answers, control};
use tollgate_types::{Digest, NanoUsd, Tokens, UnixMillis, subjects};

use crate::world::{World, eventually};

pub(crate) fn slot(team: &str, model: &str, request: &str) -> Slot {
    Slot { team: team.to_owned(), model: model.to_owned(), key: Digest::of(&[request.as_bytes()]) }
}

fn answer(body: &str) -> KeptAnswer {
    let facts = Facts {
        version: Facts::VERSION,
        job: "search:1".parse().expect("an id"),
        provider: "openai".to_owned(),
        model: "gpt".to_owned(),
        cost_nanousd: NanoUsd(41),
        tokens: Tokens { input: 3, ..Tokens::default() },
        request_id: "r".to_owned(),
        at: UnixMillis(5),
    };
    KeptAnswer { facts, body: body.to_owned().into() }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_answer_is_found_by_its_request_until_it_is_replaced_or_its_time_is_over() {
    let world = World::start().await;
    let answers = Answers::new(&world.connection.client);
    let here = slot("search", "m", "a");
    assert!(answers.find(&here).await.expect("an answer").is_none());
    answers.keep(&here, &answer("{}"), HOUR).await.expect("kept");
    let found = answers.find(&here).await.expect("an answer").expect("it is there");
    assert_eq!((found.facts, &*found.body), (answer("").facts, b"{}".as_slice()));
    for other in [slot("marketing", "m", "a"), slot("search", "n", "a"), slot("search", "m", "b")] {
        assert!(answers.find(&other).await.expect("an answer").is_none());
    }
    answers.keep(&here, &answer("[]"), Duration::from_secs(1)).await.expect("kept");
    assert_eq!(answers.contents().await.expect("counted").answers, 1, "one in the place of the other");
    eventually("it is forgotten", async || answers.find(&here).await.expect("an answer").is_none().then_some(())).await;
}

#[tokio::test]
async fn a_purge_forgets_what_it_names_and_is_told() {
    let world = World::start().await;
    let answers = Answers::new(&world.connection.client);
    let mut purges = control::purges(&world.connection).await.expect("subscribed");
    for (team, model) in [("a", "m"), ("a", "n"), ("b", "m")] {
        answers.keep(&slot(team, model, "x"), &answer("{}"), HOUR).await.expect("kept");
    }
    let contents = answers.contents().await.expect("counted");
    let of = |team: &str, model: &str| contents.by_model.get(&(team.to_owned(), model.to_owned())).copied();
    assert_eq!((contents.answers, of("a", "m"), of("b", "m"), of("b", "n")), (3, Some(1), Some(1), None));
    assert!(contents.bytes > 0);
    let purge = Purge { team: Some("a".to_owned()), model: Some("m".to_owned()), key: None };
    assert_eq!(answers.purge(&purge).await, Ok(1));
    assert!(answers.find(&slot("a", "n", "x")).await.expect("an answer").is_some());
    control::announce_purged(&world.connection, &purge).await.expect("told");
    assert_eq!(purges.next().await, Some(purge));
    assert_eq!(answers.purge(&Purge::default()).await, Ok(2));
}

#[tokio::test]
async fn a_team_reaches_neither_answers_nor_claims() {
    let world = World::start().await;
    let answers = Answers::new(&world.connection.client);
    let here = slot("search", "m", "a");
    answers.keep(&here, &answer("{}"), HOUR).await.expect("kept");
    let search = world.team("search").await;
    let theirs = Answers::new(&search.client);
    assert!(theirs.find(&here).await.is_err());
    assert!(theirs.keep(&here, &answer("[]"), HOUR).await.is_err());
    search.client.publish(here.subject(), "forged".into()).await.expect("sent");
    search.client.publish(subjects::flight("0123456789abcdef"), "forged".into()).await.expect("sent");
    search.client.flush().await.expect("sent");
    assert_eq!(&*answers.find(&here).await.expect("an answer").expect("it is there").body, b"{}");
}

#[tokio::test]
async fn without_the_stream_nothing_is_kept_and_that_is_said_at_once() {
    let world = World::start().await;
    world.context.delete_stream(subjects::CACHE_STREAM).await.expect("deleted");
    let answers = Answers::new(&world.connection.client);
    let asked = std::time::Instant::now();
    assert!(answers.find(&slot("search", "m", "a")).await.is_err());
    assert!(answers.keep(&slot("search", "m", "a"), &answer("{}"), HOUR).await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(4));
}
