//! What a team may use holds for every model, stand-in and cheaper model, by the providers' own logs.

use std::collections::BTreeSet;

use serde_json::json;
use tollgate_policy::routing::Strategy;
use tollgate_queue::directory::{Access, Expected, TeamRecord};
use tollgate_types::{Class, ErrorCode, Status};
use tollgate_worker::{Priced, Routes, StandIns};

use crate::bench::{Bench, answers_after, line, line_of, serving, succeeded};

fn in_region(mut priced: Priced, region: &str) -> Priced {
    let mut deployment = (*priced.deployment).clone();
    deployment.region = region.to_owned();
    priced.deployment = deployment.into();
    priced
}

/// `a` is in the US and `b` in Frankfurt; `search` may be served in the EU only.
async fn european() -> (Bench, Routes) {
    let bench = Bench::start(answers_after(5.0)).await;
    let record = TeamRecord {
        access: Access { regions: vec!["eu".into()], ..Access::default() },
        ..serde_json::from_str(r#"{"weight":1,"budgets":[{"window":"day","cap_usd":"0.000001","when_spent":"downgrade","downgrade_to":"cheap"}]}"#).expect("a record")
    };
    let directory = bench.world.directory().await;
    directory.put_team(&"search".parse().expect("a team"), &record, Expected::Any).await.expect("stored");
    let (us, eu) = (in_region(bench.at_a(), "us-east-1"), in_region(bench.at_b(), "eu-central-1"));
    let mut routes = serving("fast", Strategy::Ordered, [us.clone(), eu.clone()]);
    routes.add("american", us.clone());
    routes.add("mixed", eu.clone());
    routes.arrange(
        "mixed",
        Strategy::Ordered,
        StandIns {
            fallbacks: vec!["american".into()],
            on_context_length: vec!["american".into()],
            on_content_policy: vec!["american".into()],
        },
    );
    routes.add("cheap", us);
    routes.add("cheap", eu);
    (bench, routes)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_leaves_the_region_whatever_fails() {
    let (bench, routes) = european().await;
    let _worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    let forbidden = bench.run(line_of("american", "x", None, json!({}))).await;
    assert_eq!(forbidden.tollgate.status, Status::Rejected);
    assert_eq!(forbidden.error.map(|error| error.code), Some(ErrorCode::ForbiddenModel));
    // Failures that would lead elsewhere: errors, a prompt too long or unwelcome, and a budget that is spent.
    let mut ids = Vec::new();
    for (n, directive) in ["status=500*2", "context-length", "429*1", "reset*1", "ok"].iter().enumerate() {
        for model in ["fast", "mixed", "cheap"] {
            ids.push(bench.submit(line_of(model, &format!("{n}"), Some(directive), json!({}))).await);
        }
    }
    let results = bench.results(&ids, std::time::Duration::from_secs(60)).await;
    assert!(succeeded(&results) >= 9, "those with a failure that passes");
    assert!(results.iter().any(|result| result.tollgate.downgraded_to.as_deref() == Some("cheap")));
    let bad_key = bench.run(line_of("mixed", "x", Some("invalid-key"), json!({}))).await;
    assert_eq!(bad_key.error.map(|error| error.code), Some(ErrorCode::ProviderAuth));
    assert_eq!(bench.calls_at_a(), 0, "a call in the United States");

    // Somebody else may.
    let marketing = bench.world.producer("marketing").await;
    let result = bench.world.run(&marketing, Class::Standard, line("x")).await;
    assert_eq!((result.tollgate.provider.as_deref(), bench.calls_at_a()), (Some("a"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_team_may_use_can_change_while_its_jobs_wait() {
    let (bench, routes) = european().await;
    let _worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    assert_eq!(succeeded(&[bench.run(line("x")).await]), 1);
    let directory = bench.world.directory().await;
    let none = TeamRecord {
        access: Access { providers: vec!["nobody".into()], ..Access::default() },
        ..TeamRecord::default()
    };
    directory.put_team(&"search".parse().expect("a team"), &none, Expected::Any).await.expect("stored");
    testkit::eventually("it is refused", std::time::Duration::from_secs(20), || async {
        let refused = bench.run(line("y")).await;
        (refused.error.map(|error| error.code) == Some(ErrorCode::ForbiddenModel)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_choose_among_deployments() {
    let bench = Bench::start(answers_after(5.0)).await;
    let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<BTreeSet<_>>();
    let a = Priced { tags: tags(&["cheap"]), ..bench.at_a() };
    let b = Priced { tags: tags(&["cheap", "gpu"]), ..bench.at_b() };
    let _worker = bench.world.worker_on(serving("fast", Strategy::Ordered, [a, b]), "w0", |_| {}).await;
    let served_by = async |tags: serde_json::Value| {
        let result = bench.run(line_of("fast", "x", None, json!({ "tags": tags }))).await;
        (result.tollgate.provider, result.error.map(|error| error.code))
    };
    assert_eq!(served_by(json!([])).await, (Some("a".to_owned()), None));
    assert_eq!(served_by(json!(["cheap"])).await, (Some("a".to_owned()), None));
    assert_eq!(served_by(json!(["gpu"])).await, (Some("b".to_owned()), None));
    assert_eq!(served_by(json!(["cheap", "gpu"])).await, (Some("b".to_owned()), None));
    assert_eq!(served_by(json!(["quantum"])).await, (None, Some(ErrorCode::UnknownTag)));
    assert_eq!(served_by(json!([1])).await, (None, Some(ErrorCode::InvalidField)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_the_team_may_not_use_is_as_one_that_does_not_exist() {
    let bench = Bench::start(answers_after(5.0)).await;
    let record = TeamRecord {
        access: Access { models: vec!["fast".into(), "house-*".into()], ..Access::default() },
        ..TeamRecord::default()
    };
    let directory = bench.world.directory().await;
    directory.put_team(&"search".parse().expect("a team"), &record, Expected::Any).await.expect("stored");
    let mut routes = serving("fast", Strategy::Ordered, [bench.at_a()]);
    routes.add("house-model", bench.at_a());
    routes.add("secret", bench.at_a());
    let _worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    let refused = async |model: &str| {
        let error = bench.run(line_of(model, "x", None, json!({}))).await.error.expect("it is refused");
        (error.code, error.message.replace(model, "MODEL"))
    };
    let unknown = refused("secreT").await;
    assert_eq!(unknown.0, ErrorCode::UnknownModel);
    assert_eq!(refused("secret").await, unknown, "the same words");
    assert!(!unknown.1.contains("secret"), "{}", unknown.1);
    let near = refused("house-modell").await;
    assert!(near.1.contains("there are: house-model, fast"), "the nearest first: {}", near.1);
    assert_eq!(bench.calls_at_a(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_inside_of_a_private_network_are_not_passed_on() {
    let bench = Bench::start(answers_after(5.0)).await;
    let _worker = bench.world.worker_on(bench.only_a(), "w0", |_| {}).await;
    let picture = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    let asks = |pictures: Vec<serde_json::Value>| {
        json!({ "body": { "model": "fast", "messages": [{ "role": "user", "content": pictures }] } }).to_string()
    };
    let refused = bench.run(asks(vec![picture("https://example.com/a.png"), picture("http://169.254.169.254/")])).await;
    let error = refused.error.expect("it is refused");
    assert_eq!(error.code, ErrorCode::ForbiddenUrl);
    assert!(error.message.contains("`body.messages.0.content.1.image_url.url`"), "{}", error.message);
    let many = (0..10_000).map(|n| picture(&format!("https://example.com/{n}.png"))).collect();
    assert_eq!(succeeded(&[bench.run(asks(many)).await]), 1);
    assert_eq!(bench.calls_at_a(), 1);
}
