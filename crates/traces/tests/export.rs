//! Spans of a real log reach a collector on a socket, through the collector's absence and a change of exporters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use testkit::{Setup, World, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_queue::Results;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_traces::{ExporterConfig, Traces, TracesConfig};
use tollgate_types::UsageEvent;

const WITHIN: Duration = Duration::from_secs(30);

/// A collector: what it took, by span id, and what it answers.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<BTreeMap<Vec<u8>, String>>>,
    refusing: Arc<Mutex<Option<StatusCode>>>,
    asked: Arc<Mutex<usize>>,
}

impl Collector {
    async fn start(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        url
    }

    fn answer(&self, status: Option<StatusCode>) {
        *self.refusing.lock().expect("no holder panics") = status;
    }

    async fn asked_again(&self) {
        let before = *self.asked.lock().expect("no holder panics");
        let more = async || (*self.asked.lock().expect("no holder panics") > before).then_some(());
        eventually("the collector is asked", WITHIN, more).await;
    }

    /// Waits until it has spans of so many jobs, and returns the names of all its spans.
    async fn jobs(&self, count: usize) -> Vec<String> {
        eventually("the spans are there", WITHIN, async || {
            let names: Vec<String> = self.spans.lock().expect("no holder panics").values().cloned().collect();
            let jobs: BTreeSet<&String> = names.iter().filter(|name| name.starts_with("job ")).collect();
            (jobs.len() == count).then_some(names)
        })
        .await
    }
}

async fn take(Shared(collector): Shared<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    *collector.asked.lock().expect("no holder panics") += 1;
    if let Some(status) = *collector.refusing.lock().expect("no holder panics") {
        return status;
    }
    assert_eq!(headers["authorization"], "Bearer secret");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("it is protobuf");
    let spans = request.resource_spans.into_iter().flat_map(|all| all.scope_spans).flat_map(|scope| scope.spans);
    collector.spans.lock().expect("no holder panics").extend(spans.map(|span| (span.span_id, span.name)));
    StatusCode::OK
}

async fn record(results: &Results, job: &str) {
    let event: UsageEvent = serde_json::from_value(serde_json::json!({
        "version": 1, "kind": "extra", "job": job, "team": "search", "class": "standard", "run": format!("r-{job}"),
        "worker": "w", "delivery": 1, "status": "failed", "cache": "miss", "accepted_at": 0, "queued_ms": 0,
        "run_ms": 0, "model_requested": job,
        "attempts": [{
            "provider": "p", "model": "m", "outcome": "ok", "http_status": 200, "started_at": 0, "latency_ms": 1,
            "first_byte_ms": 0, "tokens": {"input": 7, "output": 3}, "usage_source": "provider", "cost_nanousd": 5,
            "price_version": "1",
        }],
    }))
    .expect("an event");
    results.record(&event).await;
}

struct Exporting {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Exporting {
    async fn start(world: &World, name: &str, endpoint: &str) -> Exporting {
        let context = world.jetstream().await;
        let exporter = ExporterConfig {
            endpoint: endpoint.to_owned(),
            headers: [("authorization".to_owned(), "Bearer secret".into())].into(),
            service: "tollgate".to_owned(),
            version: "0",
            proxy: None,
        };
        let (lease, age_max) = (Duration::from_secs(1), Duration::from_secs(3600));
        let config = TracesConfig { name: name.to_owned(), lease, age_max, exporter };
        let log = CommitLog::open(&context).await.expect("the log");
        let state = State::open(&context).await.expect("the state");
        let traces = Traces::new(config, log, state).expect("it is usable");
        let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
        task.spawn(traces.run(stop.clone()));
        Exporting { stop, task }
    }

    /// Waits until it is noted from where on records are exported.
    async fn in_office(&self, world: &World) {
        let state = State::open(&world.jetstream().await).await.expect("the state");
        let there = async || {
            let noted = tollgate_queue::office::value(&state, tollgate_traces::KEY).await.ok()?;
            (!noted.is_null()).then_some(())
        };
        eventually("it is in office", WITHIN, there).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_a_collector_that_was_away_and_none_is_lost_when_another_exports() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let world = World::start(Setup::default()).await;
    let connection = world.broker("worker").await;
    let results = Results::open(&connection.client).await.expect("an inbox");
    let (collector, mut tasks) = (Collector::default(), JoinSet::new());
    let url = collector.start(&mut tasks).await;

    let first = Exporting::start(&world, "first", &url).await;
    first.in_office(&world).await;
    record(&results, "a").await;
    let names = collector.jobs(1).await;
    assert!(names.contains(&"job a".to_owned()) && names.contains(&"chat m".to_owned()), "{names:?}");

    collector.answer(Some(StatusCode::SERVICE_UNAVAILABLE));
    record(&results, "b").await;
    collector.asked_again().await;
    // As by kill -9: it neither releases its office nor notes anything.
    drop(first.task);
    let second = Exporting::start(&world, "second", &url).await;
    record(&results, "c").await;
    collector.answer(None);
    let names = collector.jobs(3).await;
    assert_eq!(names.len(), 6, "each job has one span and one of its call: {names:?}");

    // What it will never take is left out, and does not hold up what comes after.
    collector.answer(Some(StatusCode::BAD_REQUEST));
    record(&results, "d").await;
    collector.asked_again().await;
    collector.answer(None);
    record(&results, "e").await;
    let names = collector.jobs(4).await;
    assert!(names.contains(&"job e".to_owned()), "{names:?}");
    second.stop.cancel();
}
