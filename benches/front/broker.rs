//! The broker as `serve` runs it: a worker, and the front door beside it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use benches::report::say;
use metrics_exporter_prometheus::PrometheusBuilder;
use sandbox::BROKER_USER;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;
use tollgate_front::{Config, Front, Parts};
use tollgate_http::{Http, Probes, Readiness};
use tollgate_policy::price::{Price, Tier};
use tollgate_providers::{Deployment, Vendor};
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::{Calls, Connection, KeyRecord, Keys, LaneConfig, NatsConfig, Records, ServerClock, Switchboard};
use tollgate_types::api_key;
use tollgate_types::{KeyId, UnixMillis};
use tollgate_worker::{Priced, Routes, Worker};

/// The team that calls.
pub(crate) const TEAM: &str = "bench";
/// The password of every user of the benchmark's own server.
pub(crate) const PASSWORD: &str = "not-a-secret";
/// The model that calls ask for.
pub(crate) const MODEL: &str = "bench-small";

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server
    #[arg(long)]
    nats: String,
    /// The provider
    #[arg(long)]
    provider: String,
}

/// A key that opens everything, for a server that ends with the benchmark.
pub(crate) fn key() -> anyhow::Result<(KeyId, KeyRecord, String)> {
    let (id, secret): (KeyId, String) = ("bench0000000".parse()?, "b".repeat(api_key::SECRET_CHARS));
    let record = KeyRecord {
        team: TEAM.parse()?,
        name: "bench".to_owned(),
        digest: api_key::digest_of(&secret).to_string(),
        before: None,
        created_at: UnixMillis(0),
        created_by: "bench".to_owned(),
        expires_at: None,
        revoked_at: None,
        models: Vec::new(),
        classes: Vec::new(),
        endpoints: Vec::new(),
    };
    let text = api_key::written(&id, &secret);
    Ok((id, record, text))
}

/// A connection of the broker.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Connection> {
    let config = NatsConfig {
        url: url.to_owned(),
        user: Some(BROKER_USER.to_owned()),
        password: Some(PASSWORD.into()),
        ..NatsConfig::default()
    };
    Ok(Connection::open(&config, "bench").await?)
}

/// Says its address, and runs until its standard input ends.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let config = tollgate_worker::Config { concurrency: 512, ..tollgate_worker::Config::default() };
    let parts = testkit::parts(connect(&args.nats).await?, LaneConfig::default(), routes(&args.provider)?).await;
    let directory = parts.directory.clone();
    let worker = Worker::new(config, parts);
    tokio::spawn(worker.run(CancellationToken::new()));

    let connection = connect(&args.nats).await?;
    let clock = ServerClock::new();
    ask_the_time(&connection.client, &clock).await?;
    let context = async_nats::jetstream::new(connection.client.clone());
    let (keys, calls) = (Keys::open(&context).await?, Calls::open(&context).await?);
    let (switchboard, records) = (Switchboard::open(&connection).await?, Records::open(&context).await?);
    let parts = Parts { switchboard, keys, calls, directory, clock, records };
    let front = Front::new(Config { models: vec![MODEL.to_owned()], ..Config::default() });
    let probes = Probes { readiness: Readiness::new(), metrics, version: "bench" };
    let http = Http::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), probes, front.router()).await?;
    let addr = http.addr();
    tokio::spawn(front.run(parts, CancellationToken::new()));
    tokio::spawn(http.run(CancellationToken::new()));
    say(addr);
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.map(drop).context("standard input broke")
}

fn routes(provider: &str) -> anyhow::Result<Routes> {
    let tier =
        Tier { above_prompt_tokens: 0, input: 150_000, cache_read: 75_000, cache_write: 150_000, output: 600_000 };
    let price = Price::new("bench-1", vec![tier], 0)?;
    let deployment = Deployment::new("mock", Vendor::OpenAi, &format!("http://{provider}/v1"), MODEL, None)?;
    let mut routes = Routes::default();
    routes.add(MODEL, Priced::new(deployment, Some(price), 4096));
    Ok(routes)
}
