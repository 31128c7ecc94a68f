//! One world with a settler, and what the tests here ask of it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::Context;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::json;
use testkit::{SettlerHandle, Setup, WorkerHandle, World, eventually};
use tokio::task::JoinHandle;
use tollgate_client::Producer;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::directory::{Expected, Organisation, TeamRecord};
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::state::State;
use tollgate_queue::tombs::{Removal, Tombs};
use tollgate_queue::{CrashPlan, Directory, ServerClock};
use tollgate_retention::{Forget, ForgetError, Forgotten, Request, Sweeper, SweeperConfig, Whom};
use tollgate_types::{Class, ErrorCode, JobId, JobResult, UnixMillis};

/// How long anything may take before a test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
/// What no stream may hold after it was forgotten.
pub(crate) const CANARY: &str = "CANARY-7f3a";

pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) search: Producer,
    pub(crate) directory: Directory,
    pub(crate) context: Context,
    pub(crate) state: State,
    pub(crate) settler: SettlerHandle,
}

/// A sweeper that runs; it ends where it stands when this is dropped.
pub(crate) struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bench {
    pub(crate) async fn start() -> Bench {
        Bench::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Bench {
        let world = World::start(setup).await;
        let (search, directory) = (world.producer("search").await, world.directory().await);
        let context = world.jetstream().await;
        let state = State::open(&context).await.expect("the bucket exists");
        let settler = world.settler("settler").await;
        Bench { world, search, directory, context, state, settler }
    }

    pub(crate) async fn worker(&self) -> WorkerHandle {
        self.world.worker("w1", |_| {}).await
    }

    pub(crate) async fn log(&self) -> CommitLog {
        CommitLog::open(&self.context).await.expect("the stream exists")
    }

    /// What forgets, over a connection of its own.
    pub(crate) async fn forget(&self) -> Forget {
        let connection = self.world.broker("forget").await;
        let clock = ServerClock::new();
        ask_the_time(&connection.client, &clock).await.expect("the server tells its time");
        Forget::new(connection, self.state.clone(), self.log().await, clock, CrashPlan::default())
    }

    /// Forgets until nothing is left to wait for.
    pub(crate) async fn forgotten(&self, whom: Whom) -> Forgotten {
        let (forget, request) = (self.forget().await, self.request(whom));
        eventually("nothing is left to wait for", LIMIT, || async {
            match forget.once(&request).await {
                Ok(done) => (done.pending == 0).then_some(done),
                // One that just started answers a moment later.
                Err(ForgetError::NoWorker) => None,
                Err(error) => panic!("it can be forgotten: {error:?}"),
            }
        })
        .await
    }

    /// A request of now.
    pub(crate) fn request(&self, whom: Whom) -> Request {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_millis();
        Request::new("search".parse().expect("a team"), whom, UnixMillis(now.try_into().expect("it fits")))
    }

    /// A sweeper that looks often.
    pub(crate) async fn sweeper(&self, name: &str) -> Running {
        let connection = self.world.broker(name).await;
        let clock = ServerClock::new();
        ask_the_time(&connection.client, &clock).await.expect("the server tells its time");
        let (directory, log) = (self.world.directory().await, self.log().await);
        let lease = Duration::from_millis(500);
        let config = SweeperConfig { lease, look: Duration::from_millis(100), ..SweeperConfig::new(name) };
        let sweeper = Sweeper::new(config, &connection, log, self.state.clone(), (directory.clone(), clock.clone()));
        Running(tokio::spawn(async move {
            let keep_time = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let _ = ask_the_time(&connection.client, &clock).await;
                }
            };
            tokio::select! {
                () = sweeper.run(Default::default()) => {}
                () = directory.follow() => {}
                () = keep_time => {}
            }
        }))
    }

    pub(crate) async fn tombs(&self) -> Tombs {
        Tombs::new(&self.world.broker("tombs").await, Removal::Delete, CrashPlan::default())
    }

    /// Sets how long results of a team keep their texts.
    pub(crate) async fn keep(&self, team: &str, seconds: Option<u64>) {
        let record = TeamRecord { results_keep_secs: seconds, ..TeamRecord::default() };
        let put = self.directory.put_team(&team.parse().expect("a team"), &record, Expected::Any).await;
        put.expect("the record is written");
    }

    /// The same for everybody who says nothing.
    pub(crate) async fn keep_of_all(&self, seconds: Option<u64>) {
        let record = Organisation { results_keep_secs: seconds, ..Organisation::default() };
        self.directory.put_organisation(&record, Expected::Any).await.expect("the record is written");
    }

    /// Turns the captures of the team `search` on or off, and waits until a worker that starts then knows.
    pub(crate) async fn capture(&self, capture: bool) {
        let record = TeamRecord { capture, ..TeamRecord::default() };
        let put = self.directory.put_team(&"search".parse().expect("a team"), &record, Expected::Any).await;
        put.expect("the record is written");
    }

    pub(crate) async fn submit(&self, line: Bytes, id: Option<&JobId>) -> JobId {
        self.search.submit(Class::Standard, line, id.cloned()).await.expect("accepted").id
    }

    pub(crate) async fn result(&self, id: &JobId) -> JobResult {
        self.world.result(&self.search, id).await
    }

    /// Waits until the result says that its texts are gone, for that reason.
    pub(crate) async fn gone(&self, producer: &Producer, id: &JobId, code: ErrorCode) -> JobResult {
        eventually(&format!("{id} is {code}"), LIMIT, || async {
            let line = producer.result(id).await.ok().flatten()?;
            let result: JobResult = serde_json::from_slice(&line).expect("a result");
            let is_gone = result.error.as_ref().is_some_and(|error| error.code == code);
            (is_gone && result.response.is_none()).then_some(result)
        })
        .await
    }

    /// How often the provider was called for a job.
    pub(crate) fn calls_of(&self, id: &JobId) -> usize {
        self.world.sim.calls().iter().filter(|call| call.received.job.as_deref() == Some(id.as_str())).count()
    }

    /// Where a text is, among all messages of all streams; each is named by its stream and its subject.
    pub(crate) async fn places_of(&self, text: &str) -> Vec<String> {
        let names: Vec<String> = self.context.stream_names().try_collect().await.expect("the streams");
        let mut places = Vec::new();
        for name in names {
            let stream = self.context.get_stream(&name).await.expect("the stream");
            let state = &stream.cached_info().state;
            for sequence in state.first_sequence..=state.last_sequence {
                let Ok(message) = stream.get_raw_message(sequence).await else { continue };
                let headers = format!("{:?}", message.headers);
                if String::from_utf8_lossy(&message.payload).contains(text) || headers.contains(text) {
                    places.push(format!("{name} {}", message.subject));
                }
            }
        }
        places
    }

    /// In which streams' files on the server's disk a text is.
    pub(crate) fn streams_on_disk(&self, text: &str) -> BTreeSet<String> {
        let (mut folders, mut found) = (vec![self.world.nats.store_dir().to_owned()], BTreeSet::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder of the server") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(&path).is_ok_and(|bytes| holds(&bytes, text.as_bytes())) {
                    let of_stream = path.iter().skip_while(|part| *part != "streams").nth(1);
                    found.insert(of_stream.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
                }
            }
        }
        found
    }

    /// Waits until no job waits, runs or is parked.
    pub(crate) async fn until_empty(&self) {
        eventually("no job is left", LIMIT, || async {
            for name in ["TOLLGATE_JOBS", "TOLLGATE_WAIT"] {
                let stream = self.context.get_stream(name).await.expect("the stream");
                if stream.cached_info().state.messages > 0 {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
}

/// A job line that is answered at once, of an end user.
pub(crate) fn of_user(prompt: &str, user: &str) -> Bytes {
    World::line(prompt, Some("tokens=10"), json!({ "user": user }))
}

/// A job line that is answered at once.
pub(crate) fn quick(prompt: &str) -> Bytes {
    World::line(prompt, Some("tokens=10"), json!({}))
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
