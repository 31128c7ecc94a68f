//! The simulated provider over real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod control;
mod faults;
mod truth;

use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};
use sim_provider::{Call, Config, Ended, SimProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far above what any of these steps takes.
const DEADLINE: Duration = Duration::from_secs(20);

async fn start(config: Config) -> SimProvider {
    static CRYPTO: Once = Once::new();
    // The client is built without a crypto provider of its own.
    CRYPTO.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    SimProvider::start(config).await.unwrap()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(DEADLINE).build().unwrap()
}

/// A request for a chat completion with a directive.
fn chat(content: &str, directive: &str) -> Value {
    json!({
        "model": "sim-small",
        "messages": [{"role": "user", "content": content}],
        "metadata": {"sim": directive},
    })
}

/// The same as a stream with usage.
fn streamed(content: &str, directive: &str) -> Value {
    let mut body = chat(content, directive);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

async fn post(sim: &SimProvider, body: &Value) -> reqwest::Response {
    let request = client().post(format!("{}/chat/completions", sim.base_url())).bearer_auth("sk-test");
    request.json(body).send().await.unwrap()
}

async fn json_of(response: reqwest::Response) -> Value {
    response.json().await.unwrap()
}

/// Waits until `condition` holds of the calls.
async fn wait_for(sim: &SimProvider, condition: impl Fn(&[Call]) -> bool) {
    let holds = async {
        while !condition(&sim.calls()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, holds).await.is_ok();
    assert!(in_time, "not in time: {:#?}", sim.calls());
}

/// The end of the only call.
async fn only_end(sim: &SimProvider) -> Ended {
    wait_for(sim, |calls| calls.len() == 1 && calls[0].ended.is_some()).await;
    sim.calls().remove(0).ended.unwrap()
}

/// Opens a connection and sends a request for a chat completion.
async fn raw_post(sim: &SimProvider, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let body = body.to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads up to the end of the connection, and says how that came.
async fn read_to_end(stream: &mut TcpStream) -> (String, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    (String::from_utf8(bytes).unwrap(), end.map(|_| ()))
}
