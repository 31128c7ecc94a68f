//! 56 to 59 and 61: keys that are not taken, rates, statuses that alternate, prompts that are too long.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::json;
use testkit::{Setup, World, eventually};
use tollgate_policy::routing::Strategy;
use tollgate_types::ErrorCode::{ContextLengthExceeded, InvalidRequest, ProviderAuth};
use tollgate_types::{Class, JobResult, Status};
use tollgate_worker::{Routes, StandIns};

use crate::bench::{KEY, LEFT_ALONE_MAX, check, priced};
use crate::row::Paid::{Nothing, Told};
use crate::row::{At, Row, row, sim};
use crate::server::{Raw, Reply};

/// 56 and 61.
fn keys() -> Vec<Row> {
    let two_keys = |name, directive: &str| Row { keys: 2, ..row(56, name, sim(directive)) };
    vec![
        two_keys("a bad key, and another", "invalid-key*1").tries([Nothing, Told]),
        two_keys("a key that may not, and another", "status=403*1").tries([Nothing, Told]),
        two_keys("two bad keys", "invalid-key").fails(ProviderAuth, "after 2 attempts").tries([Nothing, Nothing]),
        row(56, "a bad key", sim("invalid-key")).fails(ProviderAuth, "invalid_api_key").tries([Nothing]),
        row(56, "a key that may not", sim("status=403")).fails(ProviderAuth, "HTTP 403").tries([Nothing]),
        row(56, "a bad key, with another provider", sim("invalid-key")).backup().tries([Nothing, Told]),
        row(61, "a key in the error", sim("echo-key"))
            .fails(InvalidRequest, "It was sent with the API key [key].")
            .tries([Nothing]),
        row(61, "a key in the error of a bad key", {
            let body = format!(r#"{{"error":{{"message":"no {KEY}-1, 'Bearer {KEY}-1'","code":"{KEY}-1"}}}}"#);
            At::Raw(vec![Reply::http("401 Unauthorized", &["content-type: application/json"], body)])
        })
        .fails(ProviderAuth, "HTTP 401 [key]: no [key], 'Bearer [key]'")
        .tries([Nothing]),
    ]
}

/// 57: one refusal for the rate, and then an answer, at the time that the provider's own log shows.
fn rates() -> Vec<Row> {
    let limited = |headers: &[&str]| {
        let body = r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#;
        At::Raw(vec![Reply::http("429 Too Many Requests", headers, body), Reply::good()])
    };
    let once = |name, at, apart: Range<u128>| row(57, name, at).tries([Nothing, Told]).apart(apart);
    // Where nothing sensible is asked for, our own wait counts. A wish is kept, and not outdone by much.
    let (ours, two, longest) = (0..4_000, 2_000..8_000, LEFT_ALONE_MAX.as_millis()..9_000);
    let mut rows = vec![
        once("two seconds", sim("429*1:retry-after=2"), two.clone()),
        once("a date", sim("429*1:retry-after=http-date+3"), 1_900..9_000),
        once("a date that has passed", limited(&["retry-after: Mon, 23 Nov 2020 10:00:00 GMT"]), ours.clone()),
        once("a second that has passed", sim("429*1:retry-after=-1"), ours.clone()),
        once("years", sim("429*1:retry-after=1e9"), longest.clone()),
        once("a word", sim("429*1:retry-after=soon"), ours.clone()),
        once("nothing", sim("429*1"), ours.clone()),
        once("two headers", limited(&["retry-after: 2", "retry-after: 1"]), two),
        once("a header that is no text", limited(&["retry-after: \u{e9}\u{fc}"]), ours),
    ];
    let backup = row(57, "years, with another provider", sim("429:retry-after=1e9")).backup();
    rows.push(backup.tries([Nothing, Told]));
    rows
}

/// 58 and 59.
fn requests() -> Vec<Row> {
    vec![
        row(58, "500, then 499", sim("status=500*1;then=status=499"))
            .fails(InvalidRequest, "HTTP 499")
            .tries([Nothing, Nothing]),
        row(58, "500 twice", sim("status=500*2")).tries([Nothing, Nothing, Told]),
        row(58, "500, with another provider", sim("status=500")).backup().tries([Nothing, Nothing, Nothing, Told]),
        row(59, "a prompt too long", sim("context-length"))
            .fails(ContextLengthExceeded, "maximum context length")
            .tries([Nothing]),
        // Another deployment of the same model would say the same, and is not asked.
        Row { backup: true, ..row(59, "a prompt too long, with another provider", sim("context-length")) }
            .fails(ContextLengthExceeded, "maximum context length")
            .tries([Nothing]),
        Row { larger: true, ..row(59, "a prompt too long, with a larger model", sim("context-length")) }
            .tries([Nothing, Told]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_costs_nothing_and_is_followed_by_what_helps_and_by_nothing_else() {
    check([keys(), rates(), requests()].into_iter().flatten().collect()).await;
}

/// What a deployment answers from now on.
struct Switch(Arc<AtomicU16>);

impl Switch {
    async fn server() -> (Switch, Raw) {
        let status = Arc::new(AtomicU16::new(200));
        let now = Arc::clone(&status);
        let server = Raw::by(move |_| match now.load(Ordering::SeqCst) {
            200 => Reply::good(),
            status => Reply::http(&format!("{status} Odd"), &[], ""),
        });
        (Switch(status), server.await)
    }

    fn to(&self, status: u16) {
        self.0.store(status, Ordering::SeqCst);
    }
}

/// 58: the breaker opens at 500s, keeps calls away, lets one through now and then, and closes at a 499, which says that
/// somebody is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_is_half_open_lets_one_call_try_and_closes_at_any_word_from_the_other_side() {
    let (switch, first) = Switch::server().await;
    let world = World::start(Setup::default()).await;
    let mut routes = Routes::default();
    routes.arrange("fast", Strategy::Ordered, StandIns::default());
    routes.add("fast", priced(world.deployment("first", &first.base_url())));
    routes.add("fast", priced(world.deployment("second", &world.sim.base_url())));
    let _worker = world.worker_on(routes, "w0", |_| {}).await;
    let search = world.producer("search").await;
    let run = async || -> JobResult {
        let line = json!({ "body": { "model": "fast", "messages": [{ "role": "user", "content": "x" }] } });
        world.run(&search, Class::Standard, line.to_string()).await
    };
    assert_eq!(run().await.tollgate.provider.as_deref(), Some("first"));

    switch.to(500);
    eventually("the breaker is open", Duration::from_secs(30), async || {
        let before = first.requests().len();
        let result = run().await;
        assert_eq!(result.tollgate.provider.as_deref(), Some("second"), "{result:?}");
        (first.requests().len() == before).then_some(())
    })
    .await;
    // One call at a time tries it, and its job goes on elsewhere.
    let before = first.requests().len();
    eventually("it was tried", Duration::from_secs(30), async || {
        let result = run().await;
        assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
        (first.requests().len() > before).then_some(())
    })
    .await;
    assert_eq!(first.requests().len(), before + 1);

    switch.to(499);
    let refused = eventually("it was tried again", Duration::from_secs(30), async || {
        let result = run().await;
        (result.tollgate.status != Status::Succeeded).then_some(result)
    })
    .await;
    assert_eq!(refused.error.map(|error| error.code), Some(InvalidRequest));
    assert_eq!(first.requests().len(), before + 2);

    switch.to(200);
    assert_eq!(run().await.tollgate.provider.as_deref(), Some("first"), "58: it is closed again");
}
