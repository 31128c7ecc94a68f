//! The probes over real connections.

#![allow(clippy::unwrap_used, reason = "what tests call is a test too")]

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_http::{Http, HttpError, Probes, Readiness};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Running {
    addr: SocketAddr,
    readiness: Readiness,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), HttpError>>,
}

impl Running {
    async fn start() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        metrics::with_local_recorder(&recorder, || metrics::counter!("tollgate_tests_total").increment(3));
        let readiness = Readiness::new();
        let probes = Probes { readiness: readiness.clone(), metrics, version: "1.2.3" };
        let http = Http::bind(ANY, probes, Router::new()).await.unwrap();
        let (addr, stop) = (http.addr(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(http.run(stop.clone()));
        Running { addr, readiness, stop, tasks }
    }

    /// The status and the whole rest of one answer.
    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, answer) = self.get(path).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap())
    }
}

#[tokio::test]
async fn readiness_is_refused_with_its_reasons_while_the_process_is_alive() {
    let running = Running::start().await;
    assert_eq!(running.json("/readyz").await, (200, json!({"ready": true, "reasons": {}})));
    running.readiness.because("nats", "not connected");
    running.readiness.because("draining", "a stop was asked for");
    let reasons = json!({"nats": "not connected", "draining": "a stop was asked for"});
    assert_eq!(running.json("/readyz").await, (503, json!({"ready": false, "reasons": reasons})));
    assert_eq!(running.get("/livez").await.0, 200);
    running.readiness.clear("nats");
    running.readiness.clear("draining");
    assert_eq!(running.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let (status, answer) = Running::start().await.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\ntollgate_tests_total 3\n"), "{answer}");
}

#[tokio::test]
async fn the_version_is_told_and_nothing_else_exists() {
    let running = Running::start().await;
    assert_eq!(running.json("/version").await, (200, json!({"name": "tollgate", "version": "1.2.3"})));
    assert_eq!(running.get("/").await.0, 404);
}

#[tokio::test]
async fn a_taken_port_is_an_error_and_a_stop_frees_it() {
    let mut running = Running::start().await;
    let probes = Probes {
        readiness: Readiness::new(),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        version: "1.2.3",
    };
    let taken = Http::bind(running.addr, probes.clone(), Router::new()).await.err().unwrap();
    assert!(taken.to_string().contains(&running.addr.to_string()), "{taken}");
    running.stop.cancel();
    running.tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(Http::bind(running.addr, probes, Router::new()).await.unwrap().addr(), running.addr);
}
