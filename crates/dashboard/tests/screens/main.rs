//! The screens over real NATS and the real ClickHouse engine: what they show, to whom, and what can be done there.
//!
//! A process can run one engine, so all cases share one system.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod browser;
mod facts;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_nats::HeaderMap;
use browser::{Answer, Browser};
use embedded_clickhouse::{Config as Engine, Server};
use facts::{HOSTILE, TRACES};
use sandbox::{Locations, Progress};
use secrecy::SecretString;
use testkit::{Setup, World, eventually};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollgate_dashboard::{Config, Dashboard, Role, User};
use tollgate_operate::live::Operator;
use tollgate_operate::live::audit::Audit;
use tollgate_queue::control::{self, DeploymentReport, WorkerReport};
use tollgate_types::{Team, UnixMillis, headers};
use tollgate_usage::{ClickHouseConfig, Schema, Store};

const PAGES: [&str; 10] =
    ["overview", "queues", "jobs", "tokens", "latency", "spend", "guardrails", "providers", "cache", "dead"];
const PASSWORD: &str = "correct-horse";

fn users() -> Config {
    let user = |role, token: Option<&str>| User {
        password: Some(SecretString::from(PASSWORD)),
        token: token.map(SecretString::from),
        role,
    };
    let users = BTreeMap::from([
        ("ann".to_owned(), user(Role::Operator, Some("a-token-of-ann-for-scripts"))),
        ("vic".to_owned(), user(Role::Viewer, None)),
    ]);
    Config { users, models: vec!["fast".to_owned()], ..Config::default() }
}

/// Serves a dashboard on a free port; it judges as if it listened on `listen`.
async fn serve(config: Config, store: Option<Store>, listen: &str) -> (Dashboard, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let dashboard = Dashboard::new(config, store, listen.parse().expect("an address"));
    let router = dashboard.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (dashboard, addr)
}

async fn operator(world: &World) -> Operator {
    Operator::new(world.broker("dashboard").await, "dashboard".into(), String::new()).await.expect("an operator")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_screens_show_what_is_and_do_what_they_may() {
    let locations = Locations::from_env().expect("a cache directory");
    let library = sandbox::clickhouse_engine(&locations, &Progress::silent()).await.expect("the engine");
    let data = tempfile::tempdir().expect("a directory");
    let engine = Server::start(Engine::new(library, data.path().join("data"))).await.expect("the engine starts");
    let store = Store::new(ClickHouseConfig::new(format!("http://{}", engine.addr()))).expect("sound");
    Schema::apply(&store).await.expect("the schema applies");
    let world = World::start(Setup::default()).await;
    let operator = operator(&world).await;
    facts::insert(&store, UnixMillis(operator.now().0 - 1000)).await;
    hostile_things_over_nats(&world).await;
    budget(&operator).await;

    let (dashboard, addr) = serve(users(), Some(store.clone()), "10.1.2.3:80").await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(dashboard.run(operator.clone(), stop.clone()));
    let ann = Browser::signed_in(addr, "ann", PASSWORD).await;
    let vic = Browser::signed_in(addr, "vic", PASSWORD).await;

    nobody_sees_anything_without_signing_in(addr).await;
    every_page_shows_what_is_there(&world, &ann).await;
    hostile_texts_stay_texts(&ann).await;
    hostile_requests_are_refused(&ann).await;
    a_page_is_made_anew_while_it_is_looked_at(&ann).await;
    a_viewer_changes_nothing(&vic, &operator).await;
    forged_forms_change_nothing(&ann, &operator).await;
    an_operator_pauses_and_resumes(&ann, &operator).await;
    an_operator_replays_and_raises(&ann, &operator).await;
    a_script_acts_by_its_token(addr, &operator).await;

    engine.shutdown().await;
    without_clickhouse_the_rest_is_shown(addr, &ann).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.expect("it ends").expect("without a panic");
}

/// A dead letter, a job and a worker's report, whose texts mean harm.
async fn hostile_things_over_nats(world: &World) {
    let context = world.jetstream().await;
    let mut letter = HeaderMap::new();
    letter.insert(headers::DEAD_JOB, HOSTILE);
    letter.insert(headers::DEAD_REASON, HOSTILE);
    letter.insert(headers::DEAD_SUBJECT, "tollgate.jobs.batch.search");
    let body = r#"{"body":{"model":"fast","messages":[{"role":"user","content":"the secret prompt"}]}}"#;
    let sent = context.publish_with_headers("tollgate.dead.batch.search", letter, body.into()).await;
    sent.expect("it is sent").await.expect("it is stored");
    let sent = context.publish("tollgate.jobs.batch.search", body.into()).await;
    sent.expect("it is sent").await.expect("it is stored");
}

fn report() -> WorkerReport {
    let deployment = DeploymentReport {
        provider: HOSTILE.into(),
        model: HOSTILE.into(),
        standing: "shut".into(),
        shut_for_ms: Some(4000),
        running: 3,
        limit: Some(8),
        recent_ms: Some(900),
        usual_ms: Some(300),
        retries_left: 1.0,
    };
    WorkerReport {
        worker: HOSTILE.into(),
        running: 17,
        lanes: 2,
        holding: Some(HOSTILE.into()),
        deployments: vec![deployment],
    }
}

async fn budget(operator: &Operator) {
    let team: Team = "search".parse().expect("a team");
    let budgets = serde_json::from_str(r#"[{"window":"day","cap_usd":"100"}]"#).expect("a budget");
    let edit = |known: Option<&tollgate_queue::TeamRecord>| {
        let mut record = known.cloned().expect("the team is registered");
        record.budgets = <Vec<tollgate_types::Budget>>::clone(&budgets);
        Ok(record)
    };
    operator.change(&team, "test", edit).await.expect("the budget is set");
}

async fn nobody_sees_anything_without_signing_in(addr: SocketAddr) {
    let nobody = Browser { addr, cookie: None };
    for page in PAGES {
        let answer = nobody.get(&format!("/dashboard/{page}?team=a")).await;
        let expected = format!("/dashboard/sign-in?next=%2Fdashboard%2F{page}%3Fteam%3Da");
        assert_eq!((answer.status, answer.header("location")), (303, expected.as_str()), "{page}");
    }
    assert_eq!(nobody.get("/dashboard/job/search/search:1").await.status, 303);
    assert_eq!(nobody.get("/dashboard/live?page=queues").await.status, 401);
    assert_eq!(nobody.post("/dashboard/actions/pause", "team=search").await.status, 401);
    let forged = Browser { addr, cookie: Some("tollgate=e30.AAAA; __Host-tollgate=e30.AAAA".into()) };
    assert_eq!(forged.get("/dashboard/queues").await.status, 303);
    assert_eq!(nobody.post("/dashboard/sign-in", "name=ann&password=wrong").await.status, 401);
    let elsewhere = [("origin", "https://evil.example")];
    let form = format!("name=ann&password={PASSWORD}");
    assert_eq!(nobody.ask("POST", "/dashboard/sign-in", &elsewhere, &form).await.status, 403);
    // Not a loopback address, and nobody may sign in.
    let (_, addr) = serve(Config::default(), None, "10.1.2.3:80").await;
    let off = Browser { addr, cookie: None }.get("/dashboard/queues").await;
    assert!(off.status == 403 && off.body.contains("[dashboard.users]"), "{off:?}");
    let (_, addr) = serve(Config::default(), None, "127.0.0.1:80").await;
    let here = Browser { addr, cookie: None };
    assert_eq!(here.get("/dashboard/queues").await.status, 200);
    assert_eq!(here.ask("GET", "/dashboard/queues", &[("host", "evil.example")], "").await.status, 403);
}

fn is_a_page(page: &str, answer: &Answer) {
    assert_eq!(answer.status, 200, "{page}: {}", answer.body);
    let policy = answer.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{page}: {policy}");
    }
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.body.contains("<main id=\"main\">") && answer.body.contains("<nav "), "{page} has landmarks");
    assert!(!answer.body.contains(" style=") && !answer.body.contains("<style"), "{page} has no inline styles");
    assert!(
        !answer.body.contains("did not answer") && !answer.body.contains("cannot be asked"),
        "{page}: {}",
        answer.body
    );
}

async fn every_page_shows_what_is_there(world: &World, ann: &Browser) {
    let connection = world.broker("worker").await;
    eventually("the worker's report is heard", Duration::from_secs(20), async || {
        control::report(&connection, &report()).await.expect("it is said");
        ann.get("/dashboard/providers").await.body.contains("breaker open").then_some(())
    })
    .await;
    let shown: [(&str, &[&str]); 10] = [
        ("overview", &["$84.00", "the breaker of 1 worker(s) is open", "t-teams", "1 dead letters", "c-overview"]),
        ("queues", &["search / batch", "c-depth", "t-lanes", "c-share", "action=\"/dashboard/actions/pause\""]),
        ("jobs", &["search:1", "search:2", "/dashboard/job/search/search%3A1", "succeeded", "risk 75"]),
        ("tokens", &["c-tokens", "2,000", "1,000", "c-tokens-by"]),
        ("latency", &["c-heatmap", "c-percentiles", "t-percentiles"]),
        ("spend", &["$84.00", "c-spend", "c-burn-0", "team:search", "$100.00"]),
        ("guardrails", &["c-rules", "c-risk", "worth a look", "flag"]),
        ("providers", &["c-calls", "t-errors", "4 s", "breaker open", "17"]),
        ("cache", &["$7.00", "c-saved", "33.3 %"]),
        ("dead", &["tollgate dead list", "c-reasons", "action=\"/dashboard/actions/replay\""]),
    ];
    for (page, texts) in shown {
        let answer = ann.get(&format!("/dashboard/{page}")).await;
        is_a_page(page, &answer);
        for text in texts {
            assert!(answer.body.contains(text), "{page} shows {text}: {}", answer.body);
        }
        assert!(!answer.body.contains("the secret prompt"), "{page} shows no prompt");
        let has_source =
            answer.body.contains("<summary>SQL</summary>") || answer.body.contains("<summary>Source</summary>");
        assert!(has_source, "{page} says where its numbers come from");
    }
    let job = ann.get("/dashboard/job/search/search:1").await;
    is_a_page("job", &job);
    for text in ["c-waterfall", "queued", "screened and admitted", "call 1 of delivery 1", "committed", "$42.00"] {
        assert!(job.body.contains(text), "the job shows {text}: {}", job.body);
    }
    assert_eq!(ann.get("/dashboard/job/search/search:99").await.status, 404);
    let only = ann.get("/dashboard/jobs?team=nobody").await;
    assert!(only.body.contains("No finished jobs that fit"), "{}", only.body);
    assert_eq!(ann.get("/").await.header("location"), "/dashboard/overview");
    let page = ann.get("/dashboard/overview").await.body;
    for start in ["/dashboard/assets/style-", "/dashboard/assets/app-"] {
        let path = &page[page.find(start).expect("it is linked")..];
        let path = path.split('"').next().expect("a path");
        let asset = ann.get(path).await;
        assert_eq!(asset.status, 200);
        assert!(asset.header("cache-control").contains("immutable"), "{asset:?}");
    }
}

async fn hostile_texts_stay_texts(ann: &Browser) {
    let quoted: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut paths: Vec<String> = PAGES.iter().map(|page| format!("/dashboard/{page}")).collect();
    for page in PAGES {
        let values = [
            "team", "model", "range", "from", "to", "by", "of", "user", "project", "text", "error", "status", "before",
        ];
        let query: Vec<String> = values.iter().map(|name| format!("{name}={quoted}")).collect();
        paths.push(format!("/dashboard/{page}?{}&label={quoted}%3D{quoted}", query.join("&")));
        paths.push(format!("/dashboard/{page}?note={quoted}"));
    }
    paths.push("/dashboard/job/search/search:1".into());
    paths.push(format!("/dashboard/job/{quoted}/{quoted}"));
    paths.push(format!("/dashboard/sign-in?next={quoted}"));
    paths.push(format!("/dashboard/{quoted}"));
    for path in &paths {
        let answer = ann.get(path).await;
        assert!([200, 404].contains(&answer.status), "{path}: {answer:?}");
        for trace in TRACES {
            assert!(!answer.body.contains(trace), "{path} holds {trace}: {}", answer.body);
        }
    }
    for (path, times) in [("/dashboard/jobs", 5), ("/dashboard/providers", 5), ("/dashboard/job/search/search:1", 8)] {
        let shown = ann.get(path).await.body.matches("&lt;script&gt;").count();
        assert!(shown >= times, "{path} shows the texts as texts, {shown} times");
    }
    // A user of that very name is found, and nothing else happened to the tables.
    let found = ann.get(&format!("/dashboard/jobs?user={quoted}")).await;
    assert!(found.body.contains("search:1") && found.body.contains("search:2"), "{}", found.body);
    let injected = ann.get("/dashboard/jobs?user=x'%20OR%201%3D1%20--%20").await;
    assert!(injected.status == 200 && injected.body.contains("No finished jobs that fit"), "{}", injected.body);
}

async fn hostile_requests_are_refused(ann: &Browser) {
    let long = "x".repeat(9000);
    assert_eq!(ann.get(&format!("/dashboard/jobs?text={long}")).await.status, 414);
    let large = format!("token={}", "x".repeat(20_000));
    assert_eq!(ann.post("/dashboard/actions/pause", &large).await.status, 413);
    for (method, path, status) in [
        ("DELETE", "/dashboard/queues", 405),
        ("POST", "/dashboard/queues", 405),
        ("GET", "/dashboard/actions/pause", 405),
        ("GET", "/dashboard/../../etc/passwd", 404),
        ("GET", "/dashboard/assets/..%2f..%2fsrc%2flib.rs", 404),
        ("GET", "/dashboard/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/dashboard/live?page=nothing", 404),
    ] {
        let answer = ann.ask(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{method} {path}");
    }
}

async fn a_page_is_made_anew_while_it_is_looked_at(ann: &Browser) {
    let events = ann.first_event("/dashboard/live?page=queues").await;
    assert!(events.contains("content-type: text/event-stream"), "{events}");
    assert!(events.contains("event: panel"), "{events}");
}

fn is_paused(operator: &Operator) -> bool {
    !operator.directory.pauses().is_empty()
}

async fn a_viewer_changes_nothing(vic: &Browser, operator: &Operator) {
    let page = vic.get("/dashboard/queues").await;
    assert!(!page.body.contains("action=\"/dashboard/actions/"), "a viewer gets no forms for actions");
    let token = page.field("token");
    assert!(!token.is_empty(), "the form to sign out has one");
    let refused = vic.post("/dashboard/actions/pause", &format!("token={token}&team=search")).await;
    assert!(refused.status == 403 && refused.body.contains("a viewer changes nothing"), "{refused:?}");
    assert!(!is_paused(operator));
}

async fn forged_forms_change_nothing(ann: &Browser, operator: &Operator) {
    let token = ann.get("/dashboard/queues").await.field("token");
    for wrong in [String::new(), "token=".into(), format!("token={token}x"), "token=e30".into()] {
        let answer = ann.post("/dashboard/actions/pause", &format!("{wrong}&team=search")).await;
        assert_eq!(answer.status, 403, "{wrong}");
    }
    let form = format!("token={token}&team=search");
    for headers in [&[("origin", "https://evil.example")][..], &[("sec-fetch-site", "cross-site")][..], &[][..]] {
        assert_eq!(ann.ask("POST", "/dashboard/actions/pause", headers, &form).await.status, 403, "{headers:?}");
    }
    let token_of_another =
        Browser::signed_in(ann.addr, "ann", PASSWORD).await.get("/dashboard/queues").await.field("token");
    let form = format!("token={token_of_another}&team=search");
    assert_eq!(ann.post("/dashboard/actions/pause", &form).await.status, 403);
    assert!(!is_paused(operator));
}

/// Sends a form and follows it to the page that tells what came of it.
async fn act(ann: &Browser, action: &str, form: &str) -> String {
    let page = ann.get("/dashboard/queues").await;
    let form = format!("token={}&back=/dashboard/queues&{form}", page.field("token"));
    let answer = ann.post(&format!("/dashboard/actions/{action}"), &form).await;
    assert_eq!(answer.status, 303, "{action}: {answer:?}");
    assert!(answer.header("location").starts_with("/dashboard/queues?note="), "{answer:?}");
    ann.get(answer.header("location")).await.body
}

async fn an_operator_pauses_and_resumes(ann: &Browser, operator: &Operator) {
    let told = act(ann, "pause", "team=search&class=batch&reason=too+fast").await;
    assert!(told.contains("search/batch is paused"), "{told}");
    eventually("the pause is known", Duration::from_secs(10), async || is_paused(operator).then_some(())).await;
    let page = eventually("the page shows the pause", Duration::from_secs(20), async || {
        Some(ann.get("/dashboard/queues").await.body).filter(|body| body.contains("too fast"))
    })
    .await;
    assert!(page.contains("paused by ann@dashboard"), "{page}");
    let told = act(ann, "resume", "team=search&class=batch").await;
    assert!(told.contains("search/batch goes on"), "{told}");
    let unknown = act(ann, "pause", "team=nobody").await;
    assert!(unknown.contains("Not done: the team nobody is not registered"), "{unknown}");
    let entries =
        Audit::new(operator.context.clone()).history(Some(("pause", String::new()))).await.expect("the audit");
    let told: Vec<(&str, &str, &str)> = entries
        .iter()
        .map(|stored| (stored.entry.author.as_str(), stored.entry.action.as_str(), stored.entry.reason.as_str()))
        .collect();
    assert_eq!(told, [("ann@dashboard", "queue pause", "too fast"), ("ann@dashboard", "queue resume", "")]);
}

async fn an_operator_replays_and_raises(ann: &Browser, operator: &Operator) {
    let seq = ann.get("/dashboard/dead").await.field("seq");
    let told = act(ann, "replay", &format!("seq={seq}")).await;
    assert!(told.contains(&format!("Letter {seq}: replayed as search:r:")), "{told}");
    let again = act(ann, "replay", &format!("seq={seq}")).await;
    assert!(again.contains("replayed before"), "{again}");
    let told = act(ann, "raise", "scope=team:search&window=day&amount=50&for=2h&reason=launch").await;
    assert!(told.contains("team:search may spend $50 more for 2h"), "{told}");
    let record = eventually("the raise is known", Duration::from_secs(10), async || {
        operator.directory.team("search").filter(|record| !record.budgets[0].raises.is_empty())
    })
    .await;
    let raise = &record.budgets[0].raises[0];
    assert_eq!((raise.author.as_str(), raise.reason.as_str()), ("ann@dashboard", "launch"));
    for bad in ["amount=-5&for=2h", "amount=5&for=9000h", "amount=x&for=2h", "amount=5"] {
        let told = act(ann, "raise", &format!("scope=team:search&window=day&{bad}")).await;
        assert!(told.contains("Not done"), "{bad}: {told}");
    }
    let entries =
        Audit::new(operator.context.clone()).history(Some(("team", "search".into()))).await.expect("the audit");
    let raised = entries.iter().filter(|stored| stored.entry.action == "budget raise").count();
    assert_eq!(raised, 1);
}

async fn a_script_acts_by_its_token(addr: SocketAddr, operator: &Operator) {
    let script = Browser { addr, cookie: None };
    let known = [("authorization", "Bearer a-token-of-ann-for-scripts")];
    assert_eq!(script.ask("GET", "/dashboard/queues", &known, "").await.status, 200);
    let wrong = [("authorization", "Bearer a-token-of-nobody-at-all")];
    assert_eq!(script.ask("GET", "/dashboard/queues", &wrong, "").await.status, 303);
    assert_eq!(script.ask("POST", "/dashboard/actions/pause", &known, "model=fast").await.status, 303);
    eventually("the pause is known", Duration::from_secs(10), async || is_paused(operator).then_some(())).await;
}

async fn without_clickhouse_the_rest_is_shown(addr: SocketAddr, ann: &Browser) {
    for (page, there) in
        [("queues", "t-lanes"), ("overview", "In flight"), ("dead", "t-letters"), ("spend", "t-budgets")]
    {
        // Another range, so that nothing of a moment ago is shown.
        let answer = ann.get(&format!("/dashboard/{page}?range=7d")).await;
        assert_eq!(answer.status, 200, "{page}");
        assert!(answer.body.contains(there), "{page} shows what NATS knows: {}", answer.body);
        assert!(page == "dead" || answer.body.contains("ClickHouse cannot be asked"), "{page}: {}", answer.body);
    }
    // A process that has no connection yet says so, and shows the page.
    let (_, lonely) = serve(users(), None, "10.1.2.3:80").await;
    assert_ne!(lonely, addr);
    let somebody = Browser::signed_in(lonely, "vic", PASSWORD).await;
    let answer = somebody.get("/dashboard/queues").await;
    assert!(answer.status == 200 && answer.body.contains("NATS is not reached yet"), "{}", answer.body);
}
