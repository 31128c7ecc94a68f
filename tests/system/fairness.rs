//! The fair order on the real stack: a huge backlog hardly delays others, saturated teams get what their weights say,
//! and nobody starves.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tollgate_policy::order;
use tollgate_queue::Connection;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::event::EventKind;
use tollgate_types::{Class, Tokens, UnixMillis, UsageEvent};

use crate::harness::{Journal, System, check, drained, whole_log};
use crate::ledger;

/// Few slots and answers that take a while, so that there is something to wait for.
const PROFILE: &str = "[worker]\nconcurrency = 8";
const SLOTS: usize = 8;

fn line(n: usize) -> Bytes {
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 60,
        "messages": [{"role": "user", "content": format!("question {n:05}")}]});
    json!({"custom_id": format!("q-{n}"), "body": body}).to_string().into()
}

async fn system(teams: &[&str]) -> System {
    System::start_with(PROFILE, |options| {
        options.workers = 1;
        options.teams = teams.iter().copied().map(str::to_owned).collect();
    })
    .await
}

/// The finished jobs of a team.
async fn ended(core: &Connection, team: &str) -> Vec<UsageEvent> {
    let (_, entries) = whole_log(core).await;
    let events = entries.into_iter().filter_map(|entry| entry.event.ok());
    events.filter(|event| event.kind == EventKind::Result && event.team == team).collect()
}

fn started(event: &UsageEvent) -> UnixMillis {
    event.accepted_at.plus(Duration::from_millis(event.queued_ms))
}

fn nearest_rank_95<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[(values.len() * 95).div_ceil(100) - 1]
}

/// Submits so many jobs, one every `every`, waits for them, and returns what 95 of 100 waited at most.
async fn trickle(system: &System, core: &Connection, journal: &Journal, jobs: std::ops::Range<usize>) -> Duration {
    let producer = system.producer("small").await;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut mine = Vec::new();
    for n in jobs {
        tick.tick().await;
        mine.push(journal.submit(&producer, Class::Standard, line(n)).await);
    }
    let ended = testkit::eventually("the small team's jobs end", Duration::from_secs(60), || async {
        let ended = ended(core, "small").await;
        let waits: Vec<u64> =
            ended.iter().filter(|event| mine.contains(&event.job)).map(|event| event.queued_ms).collect();
        (waits.len() == mine.len()).then_some(waits)
    });
    Duration::from_millis(nearest_rank_95(ended.await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_times_the_backlog_goes_behind_another_teams_few_jobs() {
    const TRICKLE: usize = 40;
    let system = system(&["small", "large"]).await;
    let (core, journal) = (system.core().await, Journal::default());
    let alone = trickle(&system, &core, &journal, 0..TRICKLE).await;

    let large = system.producer("large").await;
    journal.submit_all(&large, Class::Standard, (0..100 * TRICKLE).map(line)).await;
    let beside = trickle(&system, &core, &journal, TRICKLE..2 * TRICKLE).await;
    let (small, large) = (ended(&core, "small").await, ended(&core, "large").await);
    let left = 100 * TRICKLE - large.len();
    assert!(left > 1000, "the large team had a backlog all the time: {left}");
    // Counted in turns and not in time, so that it says the same on a busy machine.
    let first = large.iter().map(|job| job.accepted_at).min().expect("some ended");
    let passed = small.iter().filter(|job| job.accepted_at > first).map(|job| {
        let meanwhile = |other: &&UsageEvent| job.accepted_at < started(other) && started(other) < started(job);
        large.iter().filter(meanwhile).count()
    });
    let passed = nearest_rank_95(passed.collect());
    eprintln!("p95 of the small team's wait: {beside:?} beside a backlog of {left} jobs, {alone:?} alone");
    eprintln!("p95 of the large team's jobs that begin while one of the small team's waits: {passed}");
    assert!(passed <= 2 * SLOTS, "{passed} jobs passed one that waited for one of {SLOTS} slots");
    system.stop().await;
}

/// A job as the order dealt with it.
#[derive(Clone, Copy, Debug)]
struct Served {
    started: UnixMillis,
    team: usize,
    cost: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saturated_teams_get_what_their_weights_say_and_none_starves() {
    const TEAMS: [(&str, u32, usize); 3] = [("one", 1, 110), ("two", 2, 190), ("four", 4, 350)];
    let mut system = system(&TEAMS.map(|(name, ..)| name)).await;
    let (core, journal) = (system.core().await, Journal::default());
    let directory = ledger::directory(&core).await;
    for (name, weight, _) in TEAMS {
        let record = TeamRecord { weight, ..TeamRecord::default() };
        directory.put_team(&name.parse().expect("a team"), &record, Expected::Any).await.expect("it is set");
    }
    // Nobody works until all is there, so that no lane is alone at the start.
    system.stack.workers[0].kill9().expect("the worker dies");
    for (name, _, jobs) in TEAMS {
        let producer = system.producer(name).await;
        journal.submit_all(&producer, Class::Standard, (0..jobs).map(line)).await;
    }
    system.stack.workers[0].restart().expect("the worker starts again");
    drained(&core, &journal, Duration::from_secs(120)).await;

    let mut served: Vec<Served> = Vec::new();
    for (team, (name, ..)) in TEAMS.iter().enumerate() {
        served.extend(ended(&core, name).await.iter().map(|event| Served {
            started: started(event),
            team,
            cost: order::cost(&event.attempts.iter().fold(Tokens::default(), |sum, attempt| sum + attempt.tokens)),
        }));
    }
    served.sort_by_key(|job| job.started);
    let weights = TEAMS.map(|(_, weight, _)| f64::from(weight));
    judge(&served, &weights);
    check(&system, &core, &journal).await;
    system.stop().await;
}

/// Judges what was served while all teams had jobs waiting.
fn judge(served: &[Served], weights: &[f64]) {
    let last = |team: usize| served.iter().filter(|job| job.team == team).map(|job| job.started).max();
    let until = (0..weights.len()).filter_map(last).min().expect("every team was served");
    let saturated: Vec<Served> = served.iter().filter(|job| job.started < until).copied().collect();
    let dearest = |team: usize| served.iter().filter(|job| job.team == team).map(|job| job.cost).max().unwrap_or(0);
    // What two lanes were served differs by at most the dearest job of each, per weight.
    let mut turns: Vec<f64> = (0..weights.len()).map(|team| dearest(team) as f64 / weights[team]).collect();
    turns.sort_by(|a, b| b.total_cmp(a));
    let bound = (turns[0] + turns[1]) * weights.iter().sum::<f64>();
    let mut by_team: BTreeMap<usize, u64> = BTreeMap::new();
    saturated.iter().for_each(|job| *by_team.entry(job.team).or_default() += job.cost);
    let total: u64 = by_team.values().sum();
    let bounds = total as f64 / bound;
    let per_weight: Vec<f64> = (0..weights.len()).map(|team| by_team[&team] as f64 / weights[team]).collect();
    let (sum, squares) = per_weight.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    let jain = sum * sum / (weights.len() as f64 * squares);
    eprintln!(
        "{} jobs, {total} of token cost, {bounds:.1} bounds: {by_team:?}, Jain's index {jain:.4}",
        saturated.len()
    );
    assert!(bounds >= 10.0, "over {bounds:.1} bounds an index says little");
    assert!(jain >= 0.99, "{jain:.4}: {by_team:?}");
    for team in 0..weights.len() {
        let mut dry = 0;
        let worst = saturated.iter().map(|job| {
            dry = if job.team == team { 0 } else { dry + job.cost };
            dry
        });
        let worst = worst.max().unwrap_or(0);
        eprintln!("team {team}: others were served at most {worst} of token cost before its turn");
        assert!((worst as f64) < 10.0 * bound, "team {team} starved: {worst} against a bound of {bound:.0}");
    }
}
