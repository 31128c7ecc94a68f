//! What is said and not kept: cancellations and alerts.

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;
use tollgate_queue::control::{Cancelled, alert, announce_cancelled, cancellations};
use tollgate_types::subjects;

use crate::jobs::job;
use crate::world::{DEADLINE, World};

#[tokio::test]
async fn a_cancellation_is_heard_by_every_worker_and_nonsense_by_none() {
    let world = World::start().await;
    let (one, other) = (world.connection.clone(), world.connection.another("other").await.expect("a connection"));
    let mut hears = [cancellations(&one).await.expect("heard"), cancellations(&other).await.expect("heard")];
    // The server knows of a subscription once it answers what was asked after it.
    for connection in [&one, &other] {
        connection.client.flush().await.expect("it is sent");
        let _nobody = connection.client.request("nobody", "".into()).await;
    }
    one.client.publish(subjects::CANCELLED, "nonsense".into()).await.expect("it is sent");
    announce_cancelled(&one, "search", &job("search:1")).await.expect("it is sent");
    for heard in &mut hears {
        let cancelled = timeout(DEADLINE, heard.next()).await.expect("in time");
        assert_eq!(cancelled, Some(Cancelled { team: "search".into(), job: job("search:1") }));
    }
}

#[tokio::test]
async fn an_alert_is_heard_where_it_is_listened_for() {
    let world = World::start().await;
    let client = &world.connection.client;
    let mut alerts = client.subscribe(subjects::ALERT).await.expect("heard");
    let _nobody = client.request("nobody", "".into()).await;
    alert(&world.connection, "search", "budget", &json!({ "percent": 80 })).await.expect("it is sent");
    let heard = timeout(DEADLINE, alerts.next()).await.expect("in time").expect("an alert");
    assert_eq!(
        (heard.subject.as_str(), &*heard.payload),
        ("tollgate.alert.search.budget", br#"{"percent":80}"#.as_slice())
    );
}
