//! Forgetting jobs, wherever they are.

use std::future::IntoFuture as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use testkit::{Flow, Proxy, World, eventually};
use tollgate_queue::Answers;
use tollgate_queue::answers::Purge;
use tollgate_queue::directory::{Pause, Paused};
use tollgate_queue::service::{self, Cancelling};
use tollgate_queue::texts;
use tollgate_retention::{ForgetError, Kept, Request, Whom};
use tollgate_types::{Class, ErrorCode, JobId, Status, Tombstone, UnixMillis, headers, subjects};

use crate::bench::{Bench, CANARY, LIMIT, of_user, quick};

/// Nothing of it is left, a copy that comes late is answered and not run, and repeating changes nothing.
async fn check_forgotten(bench: &Bench, id: &JobId, directive: &str, calls: usize) {
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    assert_eq!(bench.calls_of(id), calls);
    // After the duplicate window the same id is a job again.
    tokio::time::sleep(testkit::small_limits().duplicate_window + Duration::from_millis(200)).await;
    let inbox = format!("reply.search.{}", id.as_str().replace(':', "-"));
    let mut replies = bench.search.client().subscribe(inbox.clone()).await.expect("allowed");
    let line = World::line(CANARY, Some(directive), json!({ "reply_to": inbox }));
    bench.submit(line, Some(id)).await;
    let reply = tokio::time::timeout(LIMIT, futures_util::StreamExt::next(&mut replies)).await;
    let reply = reply.expect("a reply in time").expect("a reply");
    let said: serde_json::Value = serde_json::from_slice(&reply.payload).expect("a result");
    assert_eq!((&said["error"]["code"], &said["response"]), (&json!("forgotten"), &json!(null)), "{said}");
    bench.until_empty().await;
    assert_eq!(bench.calls_of(id), calls, "the late copy is not run");
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new(), "and leaves nothing behind");
    let again = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!((again.jobs, again.results, again.before), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_texts_of_a_finished_job_are_nowhere_and_its_id_is_answered() {
    let bench = Bench::start().await;
    bench.capture(true).await;
    let worker = bench.worker().await;
    let id = bench.submit(World::line(CANARY, Some("tokens=10"), json!({})), None).await;
    let before = bench.result(&id).await;
    bench.until_empty().await;
    let places = bench.places_of(CANARY).await;
    assert!(places.iter().any(|place| place.starts_with("TOLLGATE_RESULTS")), "{places:?}");
    assert!(places.iter().any(|place| place.starts_with("TOLLGATE_CAPTURE")), "{places:?}");

    let on_disk = bench.streams_on_disk(CANARY);
    assert!(on_disk.contains("TOLLGATE_RESULTS"), "it can be found there: {on_disk:?}");

    let done = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!((done.jobs, done.cancelled, done.unseen), (1, 0, 0), "{done:?}");
    let after = bench.result(&id).await;
    assert_eq!(after.tollgate.status, Status::Succeeded, "how it ended stays");
    assert_eq!(after.tollgate.cost_nanousd, before.tollgate.cost_nanousd);
    assert_eq!(after.custom_id, None);
    let status = bench.world.ask(&bench.search, "status", json!({ "job": id })).await.expect("it is known");
    assert_eq!((&status["state"], &status["texts_gone"]), (&json!("ended"), &json!("forgotten")), "{status}");
    // What was deleted is overwritten in the server's files. What was acknowledged before is not: see docs/privacy.md.
    let on_disk = bench.streams_on_disk(CANARY);
    assert!(!on_disk.contains("TOLLGATE_RESULTS") && !on_disk.contains("TOLLGATE_CAPTURE"), "{on_disk:?}");
    check_forgotten_once_more(&bench, &id).await;
    worker.drained().await;
}

/// As [`check_forgotten`], for the same request: its digest is the result's.
async fn check_forgotten_once_more(bench: &Bench, id: &JobId) {
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    let calls = bench.calls_of(id);
    tokio::time::sleep(testkit::small_limits().duplicate_window + Duration::from_millis(200)).await;
    bench.submit(World::line(CANARY, Some("tokens=10"), json!({})), Some(id)).await;
    bench.until_empty().await;
    assert_eq!(bench.calls_of(id), calls);
    assert_eq!(bench.result(id).await.error.map(|error| error.code), Some(ErrorCode::Forgotten));
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new(), "no capture comes of it either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_never_seen_can_neither_run_nor_pay() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let id: JobId = "search:never-seen".parse().expect("an id");
    let done = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!((done.jobs, done.before), (1, 1), "{done:?}");
    let result = bench.result(&id).await;
    assert_eq!(result.tollgate.status, Status::Cancelled);
    check_forgotten(&bench, &id, "tokens=10", 0).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_and_parked_and_later_jobs_are_ended_first_and_their_copies_go() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let pause = |what: &Paused| {
        let pause = Pause { what: what.to_string(), author: "ann".into(), at: UnixMillis(0), reason: "a test".into() };
        let (directory, what) = (bench.directory.clone(), what.clone());
        async move { drop(directory.pause(&what, &pause).await.expect("paused")) }
    };
    let lane = Paused::Lane { class: Some(Class::Standard), team: "search".parse().expect("a team") };
    let (model, second) = (Paused::model("sim-free"), Duration::from_secs(1));
    pause(&model).await;
    // A pause reaches every worker within a second.
    tokio::time::sleep(second).await;
    let mut behind: serde_json::Value = serde_json::from_slice(&quick(CANARY)).expect("JSON");
    behind["body"]["model"] = json!("sim-free");
    let parked = bench.submit(behind.to_string().into(), None).await;
    let later = World::line(CANARY, Some("tokens=10"), json!({ "not_before": "2099-01-01T00:00:00Z" }));
    let later = bench.submit(later, None).await;
    let stream = || async { bench.context.get_stream("TOLLGATE_WAIT").await.expect("the stream") };
    let both = || async { (stream().await.cached_info().state.messages == 2).then_some(()) };
    eventually("both are parked", LIMIT, both).await;
    pause(&lane).await;
    tokio::time::sleep(second).await;
    let waiting = bench.submit(quick(CANARY), None).await;

    for (id, at) in [(&parked, "parked"), (&later, "parked"), (&waiting, "queued")] {
        let first =
            bench.forget().await.once(&bench.request(Whom::Job(id.clone()))).await.expect("it can be forgotten");
        assert_eq!(first.cancelled, 1, "{first:?}");
        let removed = if at == "parked" { first.removed.parked } else { first.removed.queued };
        assert_eq!(removed, 1, "{first:?}");
        let done = bench.forgotten(Whom::Job(id.clone())).await;
        assert_eq!(done.pending, 0, "{done:?}");
        assert_eq!(bench.gone(&bench.search, id, ErrorCode::Forgotten).await.tollgate.status, Status::Cancelled);
    }
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    bench.directory.resume(&lane).await.expect("resumed");
    bench.directory.resume(&model).await.expect("resumed");
    bench.until_empty().await;
    assert_eq!(bench.world.sim.calls().len(), 0, "nobody ran");
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_cut_off_and_what_it_cost_stays_in_the_books() {
    let bench = Bench::start().await;
    bench.capture(true).await;
    let worker = bench.worker().await;
    let id = bench.submit(World::line(CANARY, Some("delay=60s;tokens=10"), json!({})), None).await;
    eventually("it is called", LIMIT, || async { (bench.calls_of(&id) == 1).then_some(()) }).await;
    let done = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!(done.pending, 0, "{done:?}");
    bench.until_empty().await;
    let extra = eventually("its spend is booked", LIMIT, || async {
        let mut whole = bench.log().await.whole().await.expect("the log");
        let mut cost = 0;
        while let Some(batch) = whole.next().await.expect("the log") {
            let events = batch.into_iter().filter_map(|counted| counted.entry.event.ok());
            cost += events.filter(|event| event.job == id).map(|event| event.cost().0).sum::<i64>();
        }
        (cost > 0).then_some(cost)
    })
    .await;
    assert!(extra > 0);
    let done = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!(done.removed, Default::default(), "no capture came after it: {done:?}");
    check_forgotten(&bench, &id, "delay=60s;tokens=10", 1).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_tombstone_and_deletion_the_next_time_mends_it() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let id = bench.submit(quick(CANARY), None).await;
    bench.result(&id).await;
    bench.until_empty().await;
    // What a kill at F1 leaves: the tombstone is stored, the result still there.
    let tombs = bench.tombs().await;
    let lying = tombs.find("search", &id).await.expect("an answer").expect("a result");
    assert!(tombs.raise(&lying, ErrorCode::Forgotten, false).await.expect("an answer"));
    assert!(!tombs.raise(&lying, ErrorCode::Forgotten, false).await.expect("an answer"), "there is only ever one");
    assert_eq!(bench.places_of(CANARY).await.len(), 1, "the result is still there");
    assert_eq!(bench.result(&id).await.error.map(|error| error.code), Some(ErrorCode::Forgotten), "lookups know");

    let done = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!((done.results, done.before), (0, 1), "{done:?}");
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_of_an_end_user_is_forgotten_and_nobody_elses() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(bench.submit(of_user(&format!("{CANARY} {n}"), "ann"), None).await);
    }
    let other = bench.submit(of_user("of bob", "bob"), None).await;
    for id in ids.iter().chain([&other]) {
        bench.result(id).await;
    }
    bench.until_empty().await;
    worker.drained().await;
    // One more waits, with nobody to run it.
    let waiting = bench.submit(of_user(CANARY, "ann"), None).await;
    let ann = Whom::EndUser("ann".to_owned());
    let found = bench.forget().await.find(&bench.request(ann.clone())).await.expect("they are found");
    assert_eq!(found, ids.iter().chain([&waiting]).cloned().collect());
    let refused = bench.forget().await.once(&bench.request(ann.clone())).await;
    assert!(matches!(refused, Err(ForgetError::NoWorker)), "{refused:?}");
    eventually("one that cannot be ended holds up no other", LIMIT, || async {
        let _ = bench.forget().await.once(&bench.request(Whom::EndUser("ann".to_owned()))).await;
        (bench.places_of(CANARY).await == ["TOLLGATE_JOBS tollgate.jobs.standard.search"]).then_some(())
    })
    .await;

    let worker = bench.worker().await;
    eventually("a worker answers", LIMIT, || async {
        bench.forget().await.once(&bench.request(Whom::EndUser("ann".to_owned()))).await.ok()
    })
    .await;
    let done = bench.forgotten(ann).await;
    assert_eq!((done.jobs, done.pending), (4, 0), "{done:?}");
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    assert!(bench.result(&other).await.response.is_some());
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_an_end_user_sends_after_the_request_are_not_meant_by_its_second_look() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let before = bench.submit(of_user(CANARY, "ann"), None).await;
    let broken: JobId = "search:broken".parse().expect("an id");
    let request = bench.request(Whom::EndUser("ann".to_owned()));
    // The clock of the requests counts in milliseconds.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ended = bench.submit(of_user("later, ended", "ann"), None).await;
    let dead = json!({ "body": { "what": "later, dead" }, "tollgate": { "user": "ann" } }).to_string();
    bench.submit(dead.into(), Some(&broken)).await;
    for id in [&before, &ended, &broken] {
        bench.result(id).await;
    }
    bench.until_empty().await;
    let parked = World::line("later, parked", None, json!({ "user": "ann", "not_before": "2099-01-01T00:00:00Z" }));
    let parked = bench.submit(parked, None).await;
    eventually("it is parked", LIMIT, || async {
        let stream = bench.context.get_stream("TOLLGATE_WAIT").await.expect("the stream");
        (stream.cached_info().state.messages == 1).then_some(())
    })
    .await;
    let before_it = bench.forget().await.find(&request).await.expect("they are found");
    assert_eq!(before_it, [before.clone()].into());
    let now = bench.request(Whom::EndUser("ann".to_owned()));
    let all = bench.forget().await.find(&now).await.expect("they are found");
    assert_eq!(all, [before.clone(), ended, broken, parked].into());

    Request { due: UnixMillis(1), ..request }.keep(&bench.state).await.expect("it is kept");
    let _sweeper = bench.sweeper("sweeper").await;
    bench.gone(&bench.search, &before, ErrorCode::Forgotten).await;
    eventually("it is struck off", LIMIT, || async {
        Kept::all(&bench.state).await.expect("they can be read").is_empty().then_some(())
    })
    .await;
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    assert_eq!(bench.places_of("later, ended").await.len(), 1);
    assert_eq!(bench.places_of("later, dead").await.len(), 1);
    assert_eq!(bench.places_of("later, parked").await.len(), 1);
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_end_user_sent_and_nobody_could_run_is_found_by_his_name() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let options = json!({ "user": "ann", "unheard_of": true });
    let wrong = json!({ "body": { "messages": CANARY }, "tollgate": options }).to_string();
    let twice = format!("{{\"body\": \"{CANARY}\", \"body\": 1, \"tollgate\": {{\"user\": \"ann\"}}}}");
    let mut ids = std::collections::BTreeSet::new();
    for line in [wrong, twice] {
        ids.insert(bench.submit(line.into(), None).await);
    }
    for id in &ids {
        bench.result(id).await;
    }
    bench.until_empty().await;
    assert_eq!(bench.places_of(CANARY).await.len(), 2, "their dead letters");
    let ann = Whom::EndUser("ann".to_owned());
    // Also where the dead letters are gone: the books name him.
    let mut whole = bench.log().await.whole().await.expect("the log");
    let mut users = Vec::new();
    while let Some(batch) = whole.next().await.expect("the log") {
        users.extend(batch.into_iter().filter_map(|counted| counted.entry.event.ok()).map(|event| event.user));
    }
    assert_eq!(users, ["ann", "ann"]);
    assert_eq!(bench.forget().await.find(&bench.request(ann.clone())).await.expect("they are found"), ids);
    let done = bench.forgotten(ann).await;
    assert_eq!((done.jobs, done.removed.dead, done.pending), (2, 2, 0), "{done:?}");
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_and_kept_answers_of_a_job_go_and_another_request_under_its_id_stays() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let id: JobId = "search:dead".parse().expect("an id");
    let broken = format!("{{\"custom_id\": \"{CANARY}\"");
    bench.submit(broken.into(), Some(&id)).await;
    bench.result(&id).await;
    bench.until_empty().await;
    for (job, subject) in [(id.as_str(), "tollgate.cache.search.m.1"), ("search:other", "tollgate.cache.search.m.2")] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(tollgate_types::headers::FROM_JOB, job);
        let stored = bench.context.publish_with_headers(subject, headers, format!("of {job}").into()).await;
        stored.expect("sent").await.expect("stored");
    }
    worker.drained().await;
    // Another request under the same id waits, with nobody to answer it.
    tokio::time::sleep(testkit::small_limits().duplicate_window + Duration::from_millis(200)).await;
    bench.submit(quick("another request"), Some(&id)).await;

    let done = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!(done.jobs, 1);
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    assert_eq!(bench.places_of("of search:dead").await, Vec::<String>::new());
    assert_eq!(bench.places_of("of search:other").await.len(), 1);
    assert_eq!(bench.places_of("another request").await, ["TOLLGATE_JOBS tollgate.jobs.standard.search"]);
    let worker = bench.worker().await;
    bench.until_empty().await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_message_in_the_place_of_a_result_keeps_no_id_from_being_forgotten() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let id: JobId = "search:stray".parse().expect("an id");
    let stray = bench.context.publish(subjects::result("search", &id), "no result".into()).await;
    stray.expect("sent").await.expect("stored");
    let done = bench.forgotten(Whom::Job(id.clone())).await;
    assert_eq!(done.pending, 0, "{done:?}");
    bench.gone(&bench.search, &id, ErrorCode::Forgotten).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_comes_late_is_refused() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let id: JobId = "search:late".parse().expect("an id");
    bench.forgotten(Whom::Job(id.clone())).await;
    let connection = bench.world.broker("late").await;
    let kept = texts::capture(&connection, "search", &id, CANARY.into()).await;
    assert_eq!(kept, Ok(false));
    assert_eq!(texts::captured(&connection, "search", &id).await, Ok(None));
    assert!(bench.places_of(CANARY).await.is_empty());
    assert_eq!(subjects::capture("search", &id), "tollgate.capture.search.search:late");
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_kept_is_finished_by_the_sweeper_whoever_died() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let id = bench.submit(quick(CANARY), None).await;
    bench.result(&id).await;
    bench.until_empty().await;
    // Who asked died before he did anything.
    let whom = Whom::Job(id.clone());
    Request { due: UnixMillis(1), ..bench.request(whom) }.keep(&bench.state).await.expect("it is kept");
    let _sweeper = bench.sweeper("sweeper").await;
    bench.gone(&bench.search, &id, ErrorCode::Forgotten).await;
    eventually("it is struck off", LIMIT, || async {
        Kept::all(&bench.state).await.expect("they can be read").is_empty().then_some(())
    })
    .await;
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_by_itself_is_not_told_as_cancelled() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let ended = bench.submit(quick(CANARY), None).await;
    bench.result(&ended).await;
    let running = bench.submit(World::line(CANARY, Some("delay=60s;tokens=10"), json!({})), None).await;
    eventually("it is called", LIMIT, || async { (bench.calls_of(&running) == 1).then_some(()) }).await;
    let unknown: JobId = "search:unknown".parse().expect("an id");
    let connection = bench.world.broker("asker").await;
    let asked = [ended.clone(), running.clone(), unknown.clone()];
    let told = service::cancel(&connection, "search", &asked).await.expect("an answer");
    let expected =
        [(ended, Cancelling::Ended), (running.clone(), Cancelling::Cancelled), (unknown, Cancelling::Unknown)];
    assert_eq!(told, expected.into());
    assert_eq!(bench.result(&running).await.tollgate.status, Status::Cancelled);
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_asked_once_for_all_jobs_of_an_end_user() {
    const JOBS: usize = 30;
    let bench = Bench::start().await;
    let lines = (0..JOBS).map(|n| bench.submit(of_user(&format!("{CANARY} {n}"), "ann"), None));
    futures_util::future::join_all(lines).await;
    let onlooker = bench.world.broker("onlooker").await;
    let mut questions = onlooker.client.subscribe("tollgate.api.search.cancel").await.expect("subscribed");
    onlooker.client.flush().await.expect("the server knows of it");
    // They wait behind a pause, so that none ends by itself.
    let lane = Paused::Lane { class: None, team: "search".parse().expect("a team") };
    let pause = Pause { what: lane.to_string(), author: "ann".into(), at: UnixMillis(0), reason: "a test".into() };
    bench.directory.pause(&lane, &pause).await.expect("paused");
    let worker = bench.worker().await;
    let (forget, request) = (bench.forget().await, bench.request(Whom::EndUser("ann".to_owned())));
    let done = eventually("a worker answers", LIMIT, || async { forget.once(&request).await.ok() }).await;
    assert_eq!((done.jobs, done.cancelled, done.ended), (JOBS as u64, JOBS as u64, 0), "{done:?}");
    let mut heard = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), questions.next()).await {
        heard += 1;
    }
    // Those that nobody heard were asked before a worker was there.
    assert!((1..=3).contains(&heard), "{heard} questions for {JOBS} jobs");
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_again_while_a_request_is_finished_is_not_forgotten_himself() {
    let bench = Bench::start().await;
    let request = bench.request(Whom::EndUser("ann".to_owned()));
    let kept = |request: &Request| {
        let request = request.clone();
        let state = &bench.state;
        async move { request.keep(state).await.expect("it is kept") }
    };
    let asked_again = Request { asked_at: request.asked_at.plus(Duration::from_secs(1)), ..request.clone() };
    let (first, second) = (kept(&request).await, kept(&asked_again).await);
    first.clone().done(&bench.state).await.expect("an answer");
    first.put_off(UnixMillis(1), &bench.state).await.expect("an answer");
    assert_eq!(Kept::all(&bench.state).await.expect("an answer"), std::slice::from_ref(&second));
    second.clone().put_off(UnixMillis(7), &bench.state).await.expect("an answer");
    let put_off = Kept::all(&bench.state).await.expect("an answer").pop().expect("it is kept");
    assert_eq!(put_off.request, Request { due: UnixMillis(7), ..asked_again });
    // What was put off is kept anew: the old revision strikes nothing off.
    second.done(&bench.state).await.expect("an answer");
    assert_eq!(Kept::all(&bench.state).await.expect("an answer").len(), 1);
    put_off.done(&bench.state).await.expect("an answer");
    assert_eq!(Kept::all(&bench.state).await.expect("an answer"), []);
}

/// A worker that is asked and does not answer holds a request up for longer than another sweeper waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweeper_that_finishes_requests_for_long_stays_in_office() {
    let bench = Bench::start().await;
    let deaf = bench.world.broker("deaf").await;
    let mut questions = deaf.client.subscribe("tollgate.api.search.cancel").await.expect("subscribed");
    deaf.client.flush().await.expect("the server knows of it");
    let whom = Whom::Job("search:unheard".parse().expect("an id"));
    let request = Request { due: UnixMillis(1), ..bench.request(whom) };
    request.keep(&bench.state).await.expect("it is kept");
    let _first = bench.sweeper("first").await;
    questions.next().await.expect("it is asked");
    let _second = bench.sweeper("second").await;
    // Eight signs of life are four leases; whoever stands by waits for three.
    let mut last = 0;
    for _ in 0..8 {
        last = eventually("it shows that it is there", LIMIT, || async {
            let (value, revision) =
                bench.state.get("sweeper").await.expect("an answer").expect("somebody is in office");
            let record: serde_json::Value = serde_json::from_slice(&value).expect("a record");
            assert_eq!(record["owner"], "first", "{record}");
            (revision > last).then_some(revision)
        })
        .await;
    }
}

/// Each is forgotten in the moment in which its result is published, by the two steps of it that matter here: the tombstone,
/// and the removal of what is kept. Its worker hears late that the result is published, so he keeps the answer afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_kept_while_its_job_is_forgotten_does_not_stay() {
    const JOBS: usize = 5;
    let bench = Bench::start().await;
    let cable = Proxy::start(bench.world.nats.port()).await;
    let worker = bench.world.worker_over(bench.world.broker_at(cable.url(), "w1").await, "w1", |_| {}).await;
    cable.to_client(Flow::Late(Duration::from_millis(50)));
    let onlooker = bench.world.broker("onlooker").await;
    let mut results = onlooker.client.subscribe("tollgate.results.search.*").await.expect("subscribed");
    onlooker.client.flush().await.expect("the server knows of it");
    let context = async_nats::jetstream::new(onlooker.client.clone());
    let (answers, log, tombs) = (Answers::new(&onlooker.client), bench.log().await, bench.tombs().await);
    for n in 0..JOBS {
        let sequence = log.bounds().await.expect("bounds").last + 1;
        let line = World::line(&format!("{CANARY} {n}"), Some("tokens=10"), json!({ "cache": "use" }));
        bench.submit(line, None).await;
        let result = results.next().await.expect("its result is published");
        let said = result.headers.expect("a result has headers");
        let mut sent = async_nats::HeaderMap::new();
        for name in [headers::USAGE, headers::DIGEST] {
            sent.insert(name, said.get(name).expect("a result says it").as_str());
        }
        sent.insert(headers::TOMBSTONE, Tombstone::new(sequence, UnixMillis(0), false).to_header());
        let purge = Purge { team: Some("search".to_owned()), ..Purge::default() };
        let sent = context.publish_with_headers(result.subject, sent, "{}".into()).await.expect("it is sent");
        let (stored, purged) = tokio::join!(sent.into_future(), answers.purge(&purge));
        assert_eq!(stored.expect("it is stored").sequence, sequence + 1);
        purged.expect("what is kept is removed");
        results.next().await.expect("its tombstone was published");
        tombs.bury(sequence).await.expect("the result is removed");
    }
    worker.drained().await;
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    assert_eq!(answers.contents().await.expect("counted").answers, 0);
}
