//! Live configuration: changes reach every process, and what is not valid changes nothing.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv::Store;
use tokio::task::JoinSet;
use tollgate_queue::directory::{Checks, Directory, DirectoryError, Expected, Organisation, Pause, Paused, TeamRecord};
use tollgate_types::{Budget, Class, Gate, LaneKey, Limits, Team, UnixMillis, subjects};

use crate::world::{World, eventually};

async fn open(world: &World) -> Directory {
    let budgets = |budgets: &[Budget]| match budgets.iter().find(|budget| budget.window == "fortnight") {
        Some(_) => Err("`fortnight` is not a window".to_owned()),
        None => Ok(()),
    };
    Directory::open(&world.context, Checks { budgets, guardrails: |_| Ok(()), results_keep_secs_min: 600 })
        .await
        .expect("it opens")
}

/// A directory that follows, as long as the set lives.
async fn following(world: &World) -> (Directory, JoinSet<()>) {
    let (directory, mut task) = (open(world).await, JoinSet::new());
    let follower = directory.clone();
    task.spawn(async move { follower.follow().await });
    (directory, task)
}

async fn bucket(world: &World) -> Store {
    world.context.get_key_value(subjects::CONFIG_BUCKET).await.expect("the bucket")
}

fn team(name: &str) -> Team {
    name.parse().expect("a team")
}

fn weight(weight: u32) -> TeamRecord {
    TeamRecord { weight, ..TeamRecord::default() }
}

fn weight_of(directory: &Directory, team: &str) -> Option<u32> {
    directory.team(team).map(|record| record.weight)
}

#[tokio::test]
async fn a_change_reaches_another_process_within_a_second_and_a_deletion_too() {
    let world = World::start().await;
    let (far, _task) = following(&world).await;
    let near = open(&world).await;
    let mut changes = far.changes();
    let seen = *changes.borrow_and_update();
    let since = Instant::now();
    near.put_team(&team("search"), &weight(7), Expected::Absent).await.expect("it is put");
    assert_eq!(weight_of(&near, "search"), Some(7), "the writer knows at once");
    let class = Some(Class::Batch);
    let paused = Paused::Lane { class, team: team("search") };
    let pause = Pause { what: "batch".into(), author: "ann".into(), at: UnixMillis(5), reason: "too dear".into() };
    assert_eq!(near.pause(&paused, &pause).await.expect("it is paused"), None);
    eventually("the pause", async || (far.pauses().len() == 1).then_some(())).await;
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(weight_of(&far, "search"), Some(7));
    assert!(*changes.borrow_and_update() > seen);
    let lane = |class: &str| LaneKey { class: class.into(), team: "search".into() };
    assert_eq!(far.lane_pause(&lane("batch")).map(|pause| pause.author.clone()).as_deref(), Some("ann"));
    assert_eq!(far.lane_pause(&lane("standard")), None);

    assert_eq!(near.resume(&paused).await.expect("it goes on"), Some(pause.clone()));
    assert_eq!(near.resume(&paused).await.expect("an answer"), None);
    near.pause(&Paused::Lane { class: None, team: team("search") }, &pause).await.expect("all are paused");
    eventually("the other pause", async || far.lane_pause(&lane("standard"))).await;
    assert!(near.remove_team(&team("search")).await.expect("it is removed"));
    assert!(!near.remove_team(&team("search")).await.expect("an answer"));
    eventually("the team's end", async || far.team("search").is_none().then_some(())).await;
    near.put_team(&team("search"), &weight(2), Expected::Absent).await.expect("it comes back");
    eventually("its return", async || weight_of(&far, "search").filter(|&weight| weight == 2)).await;
}

#[tokio::test]
async fn a_model_is_paused_by_its_name_and_its_gate_knows() {
    let world = World::start().await;
    let directory = open(&world).await;
    let pause = Pause { what: "gpt-4o".into(), author: "ann".into(), at: UnixMillis(5), reason: String::new() };
    directory.pause(&Paused::model("gpt-4o"), &pause).await.expect("it is paused");
    let again = Pause { author: "bob".into(), ..pause.clone() };
    assert_eq!(directory.pause(&Paused::model("gpt-4o"), &again).await.expect("once more"), Some(pause));
    assert_eq!(directory.model_pause("gpt-4o").as_deref(), Some(&again));
    assert_eq!(directory.gate_pause(&Gate::of_model("gpt-4o")).as_deref(), Some(&again));
    assert_eq!((directory.model_pause("gpt-4"), directory.gate_pause(&Gate::Due)), (None, None));
    // Read by somebody who comes later.
    assert_eq!(open(&world).await.pauses(), [(Paused::model("gpt-4o"), std::sync::Arc::new(again))]);
}

#[tokio::test]
async fn two_who_change_the_same_record_do_not_overwrite_each_other() {
    let world = World::start().await;
    let directory = open(&world).await;
    let search = team("search");
    let (none, absent) = directory.team_entry(&search).await.expect("an answer");
    assert_eq!((none, absent), (None, Expected::Absent));
    directory.put_team(&search, &weight(2), absent).await.expect("the first");
    let late = directory.put_team(&search, &weight(3), absent).await;
    assert!(matches!(late, Err(DirectoryError::Conflict { .. })), "{late:?}");
    let (record, revision) = directory.team_entry(&search).await.expect("an answer");
    assert_eq!(record, Some(weight(2)));
    directory.put_team(&search, &weight(4), revision).await.expect("the second");
    let late = directory.put_team(&search, &weight(5), revision).await;
    assert!(matches!(late, Err(DirectoryError::Conflict { .. })), "{late:?}");
    assert_eq!(weight_of(&directory, "search"), Some(4));
    directory.put_organisation(&Organisation::default(), Expected::Absent).await.expect("the organisation");
    let (organisation, _) = directory.organisation_entry().await.expect("an answer");
    assert_eq!(organisation, Some(Organisation::default()));
}

#[tokio::test]
async fn an_invalid_record_is_refused_whole_and_the_old_one_stays() {
    let mut world = World::start().await;
    let (directory, _task) = following(&world).await;
    let store = bucket(&world).await;
    let good = TeamRecord { limits: Limits { concurrency: Some(3), ..Limits::default() }, ..weight(7) };
    directory.put_team(&team("search"), &good, Expected::Any).await.expect("it is put");

    let fortnight = r#"{"weight":9,"budgets":[{"window":"fortnight","cap_usd":"10"}]}"#;
    let record: TeamRecord = serde_json::from_str(fortnight).expect("it looks like one");
    let refused = directory.put_team(&team("search"), &record, Expected::Any).await;
    assert!(
        matches!(&refused, Err(DirectoryError::Invalid { key, reason }) if key == "team.search" && reason.contains("fortnight")),
        "{refused:?}"
    );
    // Written past us, it changes nothing either: not when it comes, and not when all is read again.
    for (key, bad) in [("team.search", fortnight), ("organisation", "{"), ("team.a.b", "{}"), ("pause.lane.x.y", "{}")]
    {
        store.put(key, bad.into()).await.expect("it is stored");
    }
    directory.put_team(&team("marketing"), &weight(1), Expected::Any).await.expect("a marker");
    eventually("the marker", async || directory.team("marketing")).await;
    assert_eq!(directory.team("search").as_deref(), Some(&good));
    let entry = directory.team_entry(&team("search")).await;
    assert!(matches!(&entry, Err(DirectoryError::Invalid { .. })), "{entry:?}");

    let mut changes = directory.changes();
    changes.mark_unchanged();
    world.kill_and_restart().await;
    changes.changed().await.expect("it is read again");
    assert_eq!(directory.team("search").as_deref(), Some(&good));
    assert_eq!(*directory.organisation(), Organisation::default());
    assert_eq!(open(&world).await.team("search"), None, "who never knew the old one has none");
}

#[tokio::test]
async fn what_changed_while_the_connection_was_lost_is_known_soon_after_it_is_back() {
    let mut world = World::start().await;
    let (directory, _task) = following(&world).await;
    let near = open(&world).await;
    for name in ["a", "b"] {
        near.put_team(&team(name), &weight(1), Expected::Any).await.expect("it is put");
    }
    eventually("both", async || directory.team("b")).await;
    world.kill_and_restart().await;
    let store = bucket(&world).await;
    let since = Instant::now();
    eventually("a write", async || store.put("team.a", r#"{"weight":9}"#.into()).await.ok()).await;
    store.purge("team.b").await.expect("it is purged");
    eventually("the change", async || weight_of(&directory, "a").filter(|&weight| weight == 9)).await;
    eventually("the removal", async || directory.team("b").is_none().then_some(())).await;
    // The client's own watch would have slept through its missed heartbeats: eleven seconds.
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());

    // A bucket that was made anew holds what is in it, and nothing else.
    world.context.delete_key_value(subjects::CONFIG_BUCKET).await.expect("it is deleted");
    tollgate_queue::streams::ensure(&world.context, &crate::world::small()).await.expect("it is made anew");
    bucket(&world).await.put("team.c", "{}".into()).await.expect("it is put");
    world.connection.renew().await.expect("it connects anew");
    eventually("the new team", async || directory.team("c")).await;
    assert_eq!(directory.teams().len(), 1);
}
