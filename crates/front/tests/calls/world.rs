//! One test's front door.

use std::net::{Ipv4Addr, SocketAddr};

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use testkit::{Setup, WorkerHandle, World};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_front::{Config, Front, Parts};
use tollgate_http::{Http, Probes, Readiness};
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::{Calls, KeyRecord, Keys, ServerClock, Switchboard};
use tollgate_types::api_key::{self, SECRET_CHARS};
use tollgate_types::{KeyId, UnixMillis};

/// A front door with its world behind it.
pub(crate) struct Doors {
    pub(crate) world: World,
    pub(crate) keys: Keys,
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) http: reqwest::Client,
    process: Process,
}

/// What a process of the front door consists of.
struct Process {
    keys: Keys,
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    async fn open(world: &World, config: Config) -> Process {
        let connection = world.broker("front").await;
        let context = world.jetstream().await;
        let clock = ServerClock::new();
        ask_the_time(&connection.client, &clock).await.unwrap();
        let keys = Keys::open(&context).await.unwrap();
        let parts = Parts {
            switchboard: Switchboard::open(&connection).await.unwrap(),
            keys: keys.clone(),
            calls: Calls::open(&context).await.unwrap(),
            directory: world.directory().await,
            clock,
            records: world.records().await,
        };
        let front = Front::new(config);
        let recorder = PrometheusBuilder::new().build_recorder();
        let probes = Probes { readiness: Readiness::new(), metrics: recorder.handle(), version: "test" };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let http = Http::bind(any, probes, front.router()).await.unwrap();
        let (addr, stop) = (http.addr(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let stopping = stop.clone();
        tasks.spawn(async move { front.run(parts, stopping).await });
        tasks.spawn(async move { http.run(CancellationToken::new()).await.unwrap() });
        Process { keys, addr, stop, tasks }
    }
}

/// A key with its secret.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) text: String,
}

/// The models that the world's worker serves.
const MODELS: [&str; 3] = ["sim-small", "sim-free", "sim-unpriced"];

/// A record of a key of team `search` that opens everything.
pub(crate) fn record(digest: String) -> KeyRecord {
    KeyRecord {
        team: "search".parse().unwrap(),
        name: "test".to_owned(),
        digest,
        before: None,
        created_at: UnixMillis(0),
        created_by: "test".to_owned(),
        expires_at: None,
        revoked_at: None,
        models: Vec::new(),
        classes: Vec::new(),
        endpoints: Vec::new(),
    }
}

impl Doors {
    pub(crate) async fn open() -> Doors {
        Doors::with(Setup::default(), |_| {}).await
    }

    pub(crate) async fn with(setup: Setup, change: impl FnOnce(&mut Config)) -> Doors {
        let world = World::start(setup).await;
        let mut config = Config { models: MODELS.map(str::to_owned).to_vec(), ..Config::default() };
        change(&mut config);
        Doors::over(world, config).await
    }

    /// Another front door over the same broker.
    pub(crate) async fn over(world: World, config: Config) -> Doors {
        tollgate_providers::install_crypto();
        let opened = Process::open(&world, config).await;
        Doors {
            keys: opened.keys.clone(),
            addr: opened.addr,
            stop: opened.stop.clone(),
            process: opened,
            world,
            http: reqwest::Client::new(),
        }
    }

    /// Ends the process of the front door where it stands, as a crash would, and opens it in another.
    pub(crate) async fn crash_and_open_again(&mut self) {
        self.process.tasks.abort_all();
        while self.process.tasks.join_next().await.is_some() {}
        let config = Config { models: MODELS.map(str::to_owned).to_vec(), ..Config::default() };
        self.process = Process::open(&self.world, config).await;
        (self.addr, self.stop, self.keys) = (self.process.addr, self.process.stop.clone(), self.process.keys.clone());
    }

    pub(crate) async fn worker(&self) -> WorkerHandle {
        self.world.worker("worker", |_| {}).await
    }

    /// Makes a key of team `search`.
    pub(crate) async fn key(&self, change: impl FnOnce(&mut KeyRecord)) -> Key {
        let (id, secret) = (fresh(12), fresh(SECRET_CHARS));
        let id: KeyId = id.parse().unwrap();
        let mut record = record(api_key::digest_of(&secret).to_string());
        change(&mut record);
        self.keys.create(&id, &record).await.unwrap();
        let text = api_key::written(&id, &secret);
        Key { id, text }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn post(&self, path: &str, key: &Key, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(self.url(path)).bearer_auth(&key.text).json(body)
    }

    pub(crate) fn get(&self, path: &str, key: &Key) -> reqwest::RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(&key.text)
    }
}

/// Letters and digits by chance.
fn fresh(chars: usize) -> String {
    const CHARS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..chars).map(|_| char::from(CHARS[rand::random_range(0..CHARS.len())])).collect()
}

/// A chat request, and how the simulated provider is to behave.
pub(crate) fn chat(prompt: &str, directive: Option<&str>) -> Value {
    let mut body = serde_json::json!({ "model": "sim-small", "messages": [{ "role": "user", "content": prompt }] });
    if let Some(directive) = directive {
        body["metadata"] = serde_json::json!({ "sim": directive });
    }
    body
}

/// Status and body of an answer.
pub(crate) async fn told(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}
