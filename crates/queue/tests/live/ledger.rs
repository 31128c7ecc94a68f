//! The records of money: swaps by many, and a watch that misses nothing that still holds.

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tollgate_queue::Records;
use tollgate_queue::bucket::{BucketError, Seen, Version, Watch};
use tollgate_queue::ledger::{ACCOUNTS, account_key, account_of, limit_key};
use tollgate_types::Scope;

use crate::world::{DEADLINE, World, eventually};

async fn next(watch: &mut Watch) -> Seen {
    timeout(DEADLINE, watch.next()).await.expect("something is seen in time")
}

fn put(seen: Seen) -> Version {
    match seen {
        Seen::Put(version) => version,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_version_is_seen_in_order_and_all_is_read_again_after_a_lost_connection() {
    let mut world = World::start().await;
    let records = Records::open(&world.context).await.expect("the bucket");
    let key = account_key(&Scope::Team { team: "search".into() }.account());
    assert_eq!(account_of(&key), Some(Scope::Team { team: "search".into() }.account()));
    let first = records.create(&key, "1".into()).await.expect("it is created");
    records.create(&limit_key("0123"), "x".into()).await.expect("another kind");
    let mut watch = records.watch(ACCOUNTS);
    assert_eq!(next(&mut watch).await, Seen::Anew);
    let seen = put(next(&mut watch).await);
    assert_eq!((seen.key.as_str(), &*seen.value, seen.revision), (key.as_str(), b"1".as_slice(), first));
    let age = time::OffsetDateTime::now_utc().unix_timestamp() - seen.at.0 / 1000;
    assert!((0..60).contains(&age), "{age} s old");
    assert_eq!(next(&mut watch).await, Seen::Complete);

    let mut revision = first;
    for n in 2..50 {
        revision = records.update(&key, n.to_string().into(), revision).await.expect("it is swapped");
        records.put(&limit_key("0123"), "x".into()).await.expect("another kind");
    }
    for n in 2..50 {
        let seen = put(next(&mut watch).await);
        assert_eq!(seen.value, n.to_string(), "each version once");
    }
    records.delete(&key, revision).await.expect("it is deleted");
    assert!(matches!(next(&mut watch).await, Seen::Gone { key: gone, .. } if gone == key));
    let last = records.create(&key, "again".into()).await.expect("it is created again");
    assert_eq!(put(next(&mut watch).await).revision, last);

    world.kill_and_restart().await;
    let swap = async || records.update(&key, "later".into(), last).await;
    eventually("a swap", async || matches!(swap().await, Ok(_) | Err(BucketError::Conflict)).then_some(())).await;
    // What changed before the watch is back may be seen twice, and is never missed.
    let mut read = Vec::new();
    loop {
        match next(&mut watch).await {
            Seen::Anew => read.clear(),
            Seen::Put(version) => read.push(version.value),
            Seen::Gone { .. } => {}
            Seen::Complete => break,
        }
    }
    assert_eq!(read, ["later"]);
    let all = records.read_all("").await.expect("all");
    assert_eq!(all.len(), 2);
}

#[tokio::test]
async fn many_who_swap_one_record_lose_no_change() {
    let world = World::start().await;
    let records = Records::open(&world.context).await.expect("the bucket");
    records.create("account.x", "0".into()).await.expect("it is created");
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let records = records.clone();
        tasks.spawn(async move {
            let mut done = 0;
            while done < 25 {
                let (value, revision) = records.get("account.x").await.expect("an answer").expect("a record");
                let number: u32 = String::from_utf8_lossy(&value).parse().expect("a number");
                match records.update("account.x", (number + 1).to_string().into(), revision).await {
                    Ok(_) => done += 1,
                    Err(BucketError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("it ends well");
    }
    let (value, _) = records.get("account.x").await.expect("an answer").expect("a record");
    assert_eq!(value, "200");
}

#[tokio::test]
async fn a_value_that_is_too_large_is_an_error_of_its_own() {
    let world = World::start().await;
    let records = Records::open(&world.context).await.expect("the bucket");
    let large = |bytes| Bytes::from(vec![b'x'; bytes]);
    let refused = records.put("account.x", large(300 << 10)).await;
    assert!(matches!(refused, Err(BucketError::TooLarge { max, .. }) if max < 256 << 10), "{refused:?}");
    assert!(!refused.expect_err("refused").is_transient());
    let revision = records.create("account.x", large((256 << 10) - 128)).await.expect("the largest");
    records.update("account.x", large((256 << 10) - 128), revision).await.expect("the largest once more");
}

#[tokio::test]
async fn a_watch_of_nothing_is_complete_at_once_and_sees_what_comes() {
    let world = World::start().await;
    let records = Records::open(&world.context).await.expect("the bucket");
    let mut watch = records.watch(ACCOUNTS);
    assert_eq!((next(&mut watch).await, next(&mut watch).await), (Seen::Anew, Seen::Complete));
    records.put("account.x", "1".into()).await.expect("it is put");
    assert_eq!(put(next(&mut watch).await).value, "1");
}
