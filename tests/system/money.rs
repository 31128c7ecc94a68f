//! Money under kills: no version of any account is ever above its cap, and in the end accounts, results and ClickHouse
//! say the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use testkit::eventually;
use tollgate_policy::price::PriceBook;
use tollgate_queue::Connection;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_queue::state::State;
use tollgate_types::budget::Usd;
use tollgate_types::{Budget, Class, JobResult, NanoUsd, Status};

use crate::harness::{Journal, System, check, drained_with, whole_log};
use crate::ledger;

/// Short leases, so that what the dead held comes back within the test.
const PROFILE: &str = r#"
[worker]
ack_wait = "3s"
concurrency = 12
lease = "6s"
[settler]
lease = "1s"
[sink]
lease = "2s"
batch_wait = "200ms"
"#;
/// The lease and the sweep of [`PROFILE`].
const LEASE_AND_SWEEP: Duration = Duration::from_secs(7);

const TEAM: &str = "marketing";
const JOBS: usize = 1000;
/// A project of the team that has a budget of its own: its jobs are parked when that is spent.
const PROJECT: &str = "newsletter";

/// Every crash point of a job's life, of the swaps of accounts and of the settler, with a chance that fits how often
/// each is passed.
const PLAN: &str = "C1:0.004,C2:0.004,C3:0.03,C4:0.004,C5:0.006,C6:0.006,C7:0.01,C8:0.01,C9:0.006,C10:0.006,\
    L1:0.006,L2:0.006,S0:0.01,S1:0.01";

/// The line of job `n`: of two models, a fifth of them of the project, a few that fail, are refused, or wait for their
/// time first.
fn line(n: usize) -> Bytes {
    let model = if n % 10 == 4 { "gpt-4o" } else { "gpt-4o-mini" };
    let sim = match n % 25 {
        3 => "status=400",
        13 => "status=503*1",
        _ => "ok",
    };
    let mut options = json!({});
    if n.is_multiple_of(5) {
        options["project"] = PROJECT.into();
    }
    match n % 25 {
        8 => options["max_cost_usd"] = "0.000000001".into(),
        18 => options["not_before"] = soon().into(),
        _ => {}
    }
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": format!("question {n:04}")}],
        "max_tokens": 40,
        "metadata": {"sim": sim},
    });
    json!({"custom_id": format!("q-{n}"), "body": body, "tollgate": options}).to_string().into()
}

fn soon() -> String {
    let now = tollgate_types::UnixMillis::from(time::OffsetDateTime::now_utc());
    now.plus(Duration::from_secs(3)).to_rfc3339()
}

/// The most that one call for job `n` can cost, as the router reckons it.
fn bound(n: usize) -> NanoUsd {
    let line: serde_json::Value = serde_json::from_slice(&line(n)).expect("JSON");
    let model = line["body"]["model"].as_str().expect("a model");
    let book = PriceBook::shipped();
    let price = book.price("sim", Some("openai"), model).expect("a list price");
    price.upper_bound(tollgate_providers::tokens::prompt_bound(line["body"].to_string().len()), 40)
}

fn budgets(team: NanoUsd, project: NanoUsd) -> Vec<Budget> {
    let budgets = json!([
        {"window": "month", "cap_usd": Usd(team)},
        {"window": "day", "cap_usd": Usd(NanoUsd(team.0 * 3)), "when_spent": "reject"},
        {"on": format!("project:{PROJECT}"), "window": "day", "cap_usd": Usd(project)},
    ]);
    serde_json::from_value(budgets).expect("budgets")
}

/// Gives a team these budgets, however often it takes while the server is away.
async fn set(core: &Connection, team: &str, budgets: Vec<Budget>) {
    let directory = ledger::directory(core).await;
    let record = TeamRecord { budgets, ..TeamRecord::default() };
    let team = team.parse().expect("a team");
    eventually("the budget is set", Duration::from_secs(20), || async {
        directory.put_team(&team, &record, Expected::Any).await.ok()
    })
    .await;
}

/// The team's money in its month: what is settled, and what is held.
async fn standing(core: &Connection, team: &str) -> Option<(NanoUsd, NanoUsd)> {
    let account = ledger::account(core, &format!("team:{team}")).await?;
    Some((account.windows().get("month")?.settled.sum(), account.held().sum()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_thousand_jobs_against_a_cap_for_fifty() {
    let mut system = System::start_with(PROFILE, |options| options.workers = 4).await;
    let core = system.core().await;
    ledger::keep_every_version(&core).await;
    let cap: NanoUsd = (0..50).map(bound).sum();
    let of_project: NanoUsd = (0..25).step_by(5).map(bound).sum();
    set(&core, TEAM, budgets(cap, of_project)).await;
    std::fs::write(system.crash_plan(), PLAN).expect("the plan is written");
    system.stack.workers.iter_mut().for_each(|worker| worker.restart().expect("it starts again"));

    let journal = Journal::default();
    let producer = system.producer(TEAM).await;
    let started = Instant::now();
    journal.submit_all(&producer, Class::Standard, (0..JOBS).map(line)).await;
    eprintln!("{JOBS} jobs accepted in {:?}", started.elapsed());

    let dearest = (0..JOBS).map(bound).max().expect("there are jobs");
    spent(&mut system, &core, cap, dearest).await;
    let (_, entries) = whole_log(&core).await;
    let ended = entries.iter().filter(|entry| entry.subject.contains(".results.")).count();
    eprintln!("the cap is spent after {:?} with {ended} jobs ended, {} still wait", started.elapsed(), JOBS - ended);
    assert!((50..JOBS / 2).contains(&ended), "the cap holds the others back");

    set(&core, TEAM, budgets(NanoUsd(cap.0 * 4), NanoUsd(of_project.0 * 4))).await;
    kill_at_random(&mut system, &core).await;
    eprintln!("kills over after {:?}, standing {:?}", started.elapsed(), standing(&core, TEAM).await);

    set(&core, TEAM, budgets(NanoUsd::from_usd(100), NanoUsd::from_usd(100))).await;
    drained_with(&core, &journal, Duration::from_secs(180), || system.nurse()).await;
    eprintln!("drained after {:?}", started.elapsed());
    hit_every_point(&mut system, &core, &journal).await;
    std::fs::remove_file(system.crash_plan()).expect("the plan is removed");
    system.stack.workers.iter_mut().for_each(|worker| worker.restart().expect("it starts again"));

    let report = check(&system, &core, &journal).await;
    eprintln!("{report}");
    assert!(report.by_status.len() >= 3, "jobs ended in several ways: {report}");
    ledger::nothing_is_held(&core, LEASE_AND_SWEEP * 3).await;
    let seen = ledger::promise_holds(&core).await;
    eprintln!("{seen:?}");
    assert_eq!(seen.overrun, NanoUsd::ZERO, "the provider is honest, so nothing may cost more than was held");
    for rebuilt in ledger::rebuilt(&core).await {
        assert!(rebuilt.same(), "{:#?}", rebuilt);
    }
    eprintln!("all is checked after {:?}", started.elapsed());
    system.stop().await;
}

/// Waits until the money is spent and settled, starting those again who die.
async fn spent(system: &mut System, core: &Connection, cap: NanoUsd, dearest: NanoUsd) {
    let since = Instant::now();
    loop {
        system.nurse();
        match standing(core, TEAM).await {
            Some((settled, held)) if settled + dearest > cap && held == NanoUsd::ZERO => return,
            standing => assert!(since.elapsed() < Duration::from_secs(180), "not spent: {standing:?} of {cap}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `kill -9` of a worker every second, sometimes of the one that settles, and of nats-server twice.
async fn kill_at_random(system: &mut System, core: &Connection) {
    let seed = rand::random();
    eprintln!("random kills with seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for second in 0..14 {
        tick.tick().await;
        system.nurse();
        let settler = settler(core).await;
        let any = rng.random_range(0..system.stack.workers.len());
        let settles = system.stack.workers.iter().position(|worker| Some(worker.name()) == settler.as_deref());
        let victim = if second % 3 == 1 { settles.unwrap_or(any) } else { any };
        let worker = &mut system.stack.workers[victim];
        worker.kill9().expect("the worker dies");
        worker.restart().expect("the worker starts again");
        if second % 6 == 4 {
            system.stack.nats.kill9().expect("nats-server dies");
            system.stack.nats.restart().await.expect("nats-server starts again");
        }
    }
}

/// The worker whose process settles now.
async fn settler(core: &Connection) -> Option<String> {
    let context = async_nats::jetstream::new(core.client.clone());
    let state = State::open(&context).await.ok()?;
    let (office, _) = state.get(tollgate_settler::KEY).await.ok()??;
    let office: serde_json::Value = serde_json::from_slice(&office).ok()?;
    office["holder"].as_str().map(str::to_owned)
}

/// Submits a few jobs more until every crash point was hit.
async fn hit_every_point(system: &mut System, core: &Connection, journal: &Journal) {
    let producer = system.producer(TEAM).await;
    let points: Vec<&str> = PLAN.split(',').filter_map(|part| Some(part.split_once(':')?.0)).collect();
    for round in 0.. {
        let hits = crate::chaos::hits(system, &points);
        let missed: Vec<_> = points.iter().filter(|point| !hits.contains_key(**point)).copied().collect();
        if missed.is_empty() {
            return eprintln!("crash points hit: {hits:?}");
        }
        assert!(round < 20, "crash points not hit: {missed:?}, of {hits:?}");
        // Those that were missed, and what brings others to them.
        let plan = missed.iter().map(|point| format!("{point}:0.2")).chain(["C4:0.1".to_owned()]);
        std::fs::write(system.crash_plan(), plan.collect::<Vec<_>>().join(",")).expect("the plan is written");
        system.stack.workers.iter_mut().for_each(|worker| worker.restart().expect("it starts again"));
        // Every other one waits for its time, so that some are parked.
        let more = (0..20).map(|n| line(JOBS * (2 + round) + 25 * n + if n % 2 == 0 { 18 } else { 0 }));
        journal.submit_all(&producer, Class::Standard, more).await;
        drained_with(core, journal, Duration::from_secs(60), || system.nurse()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_money_comes_back_with_its_lease() {
    let mut system = System::start_with(PROFILE, |_| ()).await;
    let core = system.core().await;
    // Room for one job at a time: as long as a dead worker holds it, nobody else has any.
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "wait"}], "max_tokens": 40,
        "metadata": {"sim": "hang*1"}});
    let price = PriceBook::shipped().price("sim", Some("openai"), "gpt-4o").expect("a list price").clone();
    let bound = price.upper_bound(tollgate_providers::tokens::prompt_bound(body.to_string().len()), 40);
    let cap = NanoUsd(bound.0 * 3 / 2);
    set(&core, "search", serde_json::from_value(json!([{"window": "month", "cap_usd": Usd(cap)}])).expect("a budget"))
        .await;
    system.stack.workers[1].kill9().expect("the second worker dies, so that the first one has the job");
    let journal = Journal::default();
    let producer = system.producer("search").await;
    let line = json!({ "body": body }).to_string();
    let job = journal.submit(&producer, Class::Standard, line.into()).await;
    let held = || async { standing(&core, "search").await.filter(|(_, held)| *held == bound).map(|_| ()) };
    eventually("the first worker holds money for the job", Duration::from_secs(20), held).await;
    let log = system.stack.endpoints().sim.log;
    let called = || async { std::fs::read_to_string(&log).ok()?.contains(job.as_str()).then_some(()) };
    eventually("the first worker called the provider", Duration::from_secs(20), called).await;

    system.stack.workers[1].restart().expect("the second worker starts again");
    system.stack.workers[1].ready("/readyz", Duration::from_secs(30)).await.expect("it is ready");
    let dead = ledger::account(&core, "team:search").await.expect("an account").blocks().clone();
    system.stack.workers[0].kill9().expect("the first worker dies");
    let died = Instant::now();
    let back = || async {
        let account = ledger::account(&core, "team:search").await?;
        dead.keys().all(|lease| account.block(lease).is_none()).then_some(())
    };
    eventually("the dead worker's block is back", LEASE_AND_SWEEP * 3, back).await;
    eprintln!("the block came back {:?} after its worker died", died.elapsed());

    let result = eventually("the job's result", Duration::from_secs(30), || async {
        producer.result(&job).await.ok().flatten()
    })
    .await;
    eprintln!("the job ended {:?} after its first worker died", died.elapsed());
    let result: JobResult = serde_json::from_slice(&result).expect("readable");
    assert_eq!((result.tollgate.status, result.tollgate.unknown_attempts), (Status::Succeeded, 1));
    let (_, entries) = whole_log(&core).await;
    let workers: BTreeMap<&str, usize> =
        entries.iter().filter_map(|entry| entry.event.as_ref().ok()).map(|event| (event.worker.as_str(), 1)).collect();
    assert!(workers.contains_key("worker-2"), "{workers:?}");
    check(&system, &core, &journal).await;
    let seen = ledger::promise_holds(&core).await;
    assert_eq!(seen.overrun, NanoUsd::ZERO);
    system.stop().await;
}
