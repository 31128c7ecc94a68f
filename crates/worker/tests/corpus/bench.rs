//! One world and one worker for a whole table, and the one check.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use testkit::{Setup, WorkerHandle, World, eventually};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_client::Producer;
use tollgate_policy::routing::Strategy;
use tollgate_providers::{Deployment, KeySource, Ring};
use tollgate_queue::directory::{Access, Expected, TeamRecord};
use tollgate_types::{Class, JobId, JobResult, NanoUsd, Status, UsageSource};
use tollgate_worker::{Priced, Routes, StandIns};

use crate::logs::Logs;
use crate::row::{At, Paid, Row};
use crate::server::{Came, Raw, Reply};

/// The beginning of every key; no rule for the looks of keys knows it.
pub(crate) const KEY: &str = "k3y-of-ours";
/// A word of every prompt.
pub(crate) const PROMPT: &str = "xylotomous";
/// A model that is always well, and what a job of it asks for.
const GOOD: &str = "good";
/// Rows that run at once: enough that waits overlap, few enough that a small machine keeps its times.
const AT_ONCE: usize = 8;
/// Longer than any wait in a table.
const WITHIN: Duration = Duration::from_secs(60);
/// The longest that a provider which asks to be left alone is.
pub(crate) const LEFT_ALONE_MAX: Duration = Duration::from_secs(3);

/// Everything that a table runs against.
pub(crate) struct Bench {
    pub(crate) world: World,
    worker: WorkerHandle,
    /// A second provider, which is well whatever is asked of it.
    backup: Raw,
    /// The servers of the rows, by their place in the table.
    servers: Vec<Option<Arc<Raw>>>,
    search: Producer,
    marketing: Producer,
}

/// The calls that a server got for a job.
fn calls_of(server: &Raw, id: &JobId) -> Vec<Came> {
    server.requests().into_iter().filter(|came| came.text.contains(id.as_str())).collect()
}

/// The model that only one row asks for.
fn model_of(at: usize) -> String {
    format!("row-{at}")
}

impl Bench {
    /// Starts a world in which every row has its own model, provider and health.
    pub(crate) async fn start(table: &[Row]) -> Bench {
        let world = World::start(Setup::default()).await;
        let backup = Raw::replying(vec![Reply::good()]).await;
        let at_backup = || priced(world.deployment("b", &backup.base_url()));
        only_good(&world, "marketing").await;
        let mut routes = Routes::default();
        routes.add(GOOD, priced(world.deployment("well", &world.sim.base_url())));
        routes.add("larger", at_backup());
        let mut servers = Vec::new();
        for (at, row) in table.iter().enumerate() {
            let server = match &row.at {
                At::Raw(replies) => Some(Arc::new(Raw::replying(replies.clone()).await)),
                At::Mute => Some(Arc::new(Raw::replying(Vec::new()).await)),
                At::Sim(_) | At::Address(_) => None,
            };
            let larger = row.larger.then(|| "larger".to_owned()).into_iter().collect();
            let stand_ins = StandIns { on_context_length: larger, ..StandIns::default() };
            routes.arrange(model_of(at), Strategy::Ordered, stand_ins);
            routes.add(model_of(at), priced(deployment(at, row, server.as_deref(), &world)));
            if row.backup {
                routes.add(model_of(at), at_backup());
            }
            servers.push(server);
        }
        let worker = world.worker_on(routes, "w0", |config| config.limits.retry_after_max = LEFT_ALONE_MAX).await;
        let (search, marketing) = (world.producer("search").await, world.producer("marketing").await);
        Bench { world, worker, backup, servers, search, marketing }
    }

    async fn submit(&self, producer: &Producer, line: Value) -> JobId {
        producer.submit(Class::Standard, line.to_string().into(), None).await.expect("accepted").id
    }

    async fn result(&self, producer: &Producer, id: &JobId) -> JobResult {
        let look = || async { producer.result(id).await.ok().flatten() };
        let line = eventually(&format!("a result of {id}"), WITHIN, look).await;
        serde_json::from_slice(&line).expect("a result")
    }

    /// When calls of the job, or all calls where only one job is there, arrived at the row's own provider.
    fn arrivals(&self, at: usize, id: &JobId) -> Vec<u128> {
        let Some(server) = &self.servers[at] else {
            let calls = self.world.sim.calls();
            let own = calls.iter().filter(|call| call.received.job.as_deref() == Some(id.as_str()));
            return own.map(|call| u128::from(call.received.arrived_ns) / 1_000_000).collect();
        };
        let own = calls_of(server, id);
        own.iter().map(|came| came.at.duration_since(own[0].at).as_millis()).collect()
    }

    /// A good job of this team and one of another are not disturbed.
    async fn others_are_well(&self, about: &str) {
        let line = || json!({ "body": { "model": GOOD, "messages": [{ "role": "user", "content": about }] } });
        let good = async |producer: &Producer| {
            let id = self.submit(producer, line()).await;
            let result = self.result(producer, &id).await;
            assert_eq!(result.tollgate.status, Status::Succeeded, "beside {about}: {result:?}");
        };
        tokio::join!(good(&self.search), good(&self.marketing));
    }

    /// No job is left anywhere, the worker neither ended nor stopped taking work, and no secret was logged.
    async fn quiet(mut self) {
        for stream in ["TOLLGATE_JOBS", tollgate_types::subjects::WAIT_STREAM] {
            let context = self.world.jetstream().await;
            eventually(&format!("{stream} is empty"), Duration::from_secs(20), || async {
                let stream = context.get_stream(stream).await.expect("it exists");
                (stream.cached_info().state.messages == 0).then_some(())
            })
            .await;
        }
        assert!(self.worker.is_alive());
        assert_eq!(self.worker.status.borrow().holding, None);
        Logs::kept().are_clean();
    }
}

/// A team that may ask for the one model that is always well, and hear of no other.
async fn only_good(world: &World, team: &str) {
    let access = Access { models: vec![GOOD.to_owned()], ..Access::default() };
    let record = TeamRecord { access, ..TeamRecord::default() };
    let put = world.directory().await.put_team(&team.parse().expect("a team"), &record, Expected::Any).await;
    put.expect("stored");
}

pub(crate) fn priced(deployment: Deployment) -> Priced {
    Priced::new(deployment, Some(testkit::price()), 4096)
}

/// The row's own provider, with keys of its own.
fn deployment(at: usize, row: &Row, server: Option<&Raw>, world: &World) -> Deployment {
    let base_url = match (&row.at, server) {
        (At::Address(address), _) => address.clone(),
        (At::Mute, Some(server)) => server.base_url().replace("http:", "https:"),
        (_, Some(server)) => server.base_url(),
        (_, None) => world.sim.base_url(),
    };
    let provider = model_of(at);
    let mut to = Deployment::new(&provider, row.vendor, &base_url, "sim-small", None).expect("a deployment");
    let sources = (1..=row.keys).map(|n| (format!("key-{n}"), KeySource::Env(format!("{KEY}-{n}")))).collect();
    let itself = |key: &str| Some(key.to_owned());
    to.keys = Ring::open(provider, sources, &itself, tokio::time::Instant::now()).expect("all are found");
    (to.timeouts, to.response_bytes_max, to.correlation_headers) = (row.timeouts, row.response_bytes_max, true);
    to
}

/// The row's job. The prompt differs from row to row, so that a directive counts the calls of one job alone.
fn job(at: usize, row: &Row, warm: bool) -> Value {
    let model = row.model.map_or_else(|| model_of(at), str::to_owned);
    let prompt = format!("{PROMPT} {} {}", row.number, row.name);
    let content = row.content.clone().unwrap_or_else(|| prompt.into());
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": content }] });
    body.as_object_mut().expect("an object").extend(row.more.as_object().cloned().unwrap_or_default());
    if let At::Sim(directive) = &row.at
        && !warm
    {
        body["metadata"] = json!({ "sim": directive });
    }
    let mut options = json!({});
    if let Some(after) = row.deadline_in {
        options["deadline"] = (OffsetDateTime::now_utc() + after).format(&Rfc3339).expect("a time").into();
    }
    json!({ "body": body, "tollgate": options })
}

/// Runs every row beside healthy jobs, and sees that nothing is left over.
pub(crate) async fn check(table: Vec<Row>) {
    Logs::kept();
    let bench = Bench::start(&table).await;
    bench.others_are_well("nothing").await;
    // Every row is run, and every one that fails has said so, before the table fails.
    let checks = table.iter().enumerate().map(|(at, row)| AssertUnwindSafe(check_row(at, row, &bench)).catch_unwind());
    let done: Vec<_> = stream::iter(checks).buffer_unordered(AT_ONCE).collect().await;
    let failed = done.iter().filter(|done| done.is_err()).count();
    assert_eq!((done.len(), failed), (table.len(), 0), "rows and failures");
    bench.others_are_well("everything").await;
    bench.quiet().await;
}

async fn check_row(at: usize, row: &Row, bench: &Bench) {
    let about = format!("{} {}", row.number, row.name);
    let producer = if row.team == "search" { &bench.search } else { &bench.marketing };
    if row.warm {
        let id = bench.submit(producer, job(at, row, true)).await;
        let first = bench.result(producer, &id).await;
        assert_eq!(first.tollgate.status, Status::Succeeded, "{about}: {first:?}");
    }
    let id = bench.submit(producer, job(at, row, false)).await;
    let (result, ()) = tokio::join!(bench.result(producer, &id), bench.others_are_well(&about));
    judge(&about, row, &result);
    judge_attempts(&about, at, row, &result);
    let arrived = bench.arrivals(at, &id);
    match (&row.at, &bench.servers[at]) {
        // Whoever is there keeps its own log, if anybody is.
        (At::Address(_), _) => {}
        // Nobody gets as far as a request there.
        (At::Mute, Some(server)) => assert_eq!(server.connections(), row.tries_there(), "{about}"),
        _ => assert_eq!(arrived.len(), row.tries_there(), "{about}: calls in its own log: {result:?}"),
    }
    if let Some(apart) = &row.apart {
        check_apart(&about, &arrived, apart);
    }
    if row.keys > 1 {
        bench.keys_differ(&about, &id);
    }
    let elsewhere = calls_of(&bench.backup, &id).len();
    assert_eq!(elsewhere, row.tries.len() - row.tries_there(), "{about}: calls at the other provider");
}

impl Bench {
    /// The simulated provider was called once with each key.
    fn keys_differ(&self, about: &str, id: &JobId) {
        let calls = self.world.sim.calls();
        let own = calls.iter().filter(|call| call.received.job.as_deref() == Some(id.as_str()));
        let keys: Vec<_> = own.map(|call| call.received.key_hash.clone()).collect();
        let [one, other] = &keys[..] else { panic!("{about}: {keys:?}") };
        assert_ne!(one, other, "{about}");
    }
}

fn check_apart(about: &str, arrived: &[u128], apart: &Range<u128>) {
    let [first, second, ..] = arrived else { panic!("{about}: {arrived:?}") };
    assert!(apart.contains(&(second - first)), "{about}: {} ms between the calls", second - first);
}

/// The end, and that neither a key nor a word of the prompt is in its reason.
fn judge(about: &str, row: &Row, result: &JobResult) {
    let facts = &result.tollgate;
    let ended = (facts.status, result.error.as_ref().map(|error| error.code));
    assert_eq!(ended, (row.status(), row.code), "{about}: {result:?}");
    match (&result.error, &result.response) {
        (Some(error), None) => {
            assert!(error.message.contains(row.says), "{about}: {}", error.message);
            for secret in [KEY, PROMPT] {
                assert!(!error.message.contains(secret), "{about}: {}", error.message);
            }
        }
        (None, Some(response)) => {
            let body: Value = serde_json::from_str(response.body.get()).expect("JSON");
            let choice = &body["choices"][0];
            assert!(choice["message"].is_object(), "{about}: {body}");
            assert_eq!(choice["finish_reason"], row.says, "{about}");
        }
        both => panic!("{about}: {both:?}"),
    }
    assert_eq!(facts.unknown_attempts, 0, "{about}: it ran once, nothing panicked");
}

/// Each attempt: where it was, and how it is booked.
fn judge_attempts(about: &str, at: usize, row: &Row, result: &JobResult) {
    let attempts = &result.tollgate.attempts;
    let booked: Vec<Paid> = attempts.iter().map(|attempt| paid(attempt.usage_source, attempt.cost_nanousd)).collect();
    assert_eq!(booked, row.tries, "{about}: {attempts:?}");
    for (n, attempt) in attempts.iter().enumerate() {
        let there = if n < row.tries_there() { model_of(at) } else { "b".to_owned() };
        assert_eq!(attempt.provider, there, "{about}: attempt {n}");
    }
    let sum: NanoUsd = attempts.iter().map(|attempt| attempt.cost_nanousd).sum();
    assert_eq!(result.tollgate.cost_nanousd, sum, "{about}");
}

fn paid(source: UsageSource, cost: NanoUsd) -> Paid {
    match (source, cost == NanoUsd::ZERO) {
        (UsageSource::None, true) => Paid::Nothing,
        (UsageSource::Estimated, false) => Paid::Estimated,
        (UsageSource::Provider, false) => Paid::Told,
        odd => panic!("neither booked nor free: {odd:?}"),
    }
}
