//! A world with a simulated provider that serves `fast`, and a team whose rules a test chooses.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sim_provider::{Config as SimConfig, LogNormal, Profile};
use testkit::{Setup, WorkerHandle, World, eventually};
use tollgate_client::Producer;
use tollgate_policy::routing::Strategy;
use tollgate_queue::Answers;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::event::CacheUse;
use tollgate_types::{CacheRules, Class, JobId, JobResult, NanoUsd, Status};
use tollgate_worker::{Priced, Routes, StandIns};

pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) search: Producer,
    answers: Answers,
}

/// Whole answers after about so many milliseconds.
pub(crate) fn answers_after(ms: f64) -> Profile {
    Profile { ttft_ms: LogNormal { median: ms, sigma: 0.1 }, ..Profile::instant() }
}

impl Bench {
    pub(crate) async fn start(profile: Profile) -> Bench {
        let sim = SimConfig { profile, ..SimConfig::default() };
        let world = World::start(Setup { sim, ..Setup::default() }).await;
        let search = world.producer("search").await;
        let answers = Answers::new(&world.broker("onlooker").await.client);
        Bench { world, search, answers }
    }

    pub(crate) async fn rules(&self, team: &str, rules: Value) {
        let cache: CacheRules = serde_json::from_value(rules).expect("rules");
        let record = TeamRecord { cache, ..TeamRecord::default() };
        let directory = self.world.directory().await;
        let put = directory.put_team(&team.parse().expect("a team"), &record, Expected::Any).await;
        put.expect("stored");
    }

    pub(crate) fn routes(&self) -> Routes {
        routes_to(&self.at_a())
    }

    pub(crate) fn at_a(&self) -> Priced {
        Priced::new(self.world.deployment("a", &self.world.sim.base_url()), Some(testkit::price()), 4096)
    }

    pub(crate) async fn worker(&self, name: &str) -> WorkerHandle {
        self.world.worker_on(self.routes(), name, |_| {}).await
    }

    pub(crate) async fn submit(&self, line: String) -> JobId {
        self.search.submit(Class::Standard, line.into(), None).await.expect("accepted").id
    }

    pub(crate) async fn result(&self, id: &JobId, within: Duration) -> JobResult {
        let look = || async {
            let line = self.search.result(id).await.expect("results can be read")?;
            Some(serde_json::from_slice(&line).expect("a result"))
        };
        eventually(&format!("a result of {id}"), within, look).await
    }

    pub(crate) async fn run(&self, line: String) -> JobResult {
        let id = self.submit(line).await;
        self.result(&id, Duration::from_secs(30)).await
    }

    /// Runs a job whose answer is kept, and waits until it is.
    pub(crate) async fn run_kept(&self, line: String) -> JobResult {
        let before = self.answers().contents().await.expect("counted").answers;
        let result = self.run(line).await;
        eventually("the answer is kept", Duration::from_secs(10), || async {
            (self.answers().contents().await.expect("counted").answers > before).then_some(())
        })
        .await;
        result
    }

    pub(crate) async fn results(&self, ids: &[JobId], within: Duration) -> Vec<JobResult> {
        let until = Instant::now() + within;
        let look = |id| self.result(id, until.saturating_duration_since(Instant::now()));
        futures_util::stream::iter(ids).map(look).buffered(64).collect().await
    }

    /// Submits so many jobs at once.
    pub(crate) async fn submit_all(&self, lines: impl Iterator<Item = String>) -> Vec<JobId> {
        futures_util::stream::iter(lines).map(|line| self.submit(line)).buffered(64).collect().await
    }

    pub(crate) fn calls(&self) -> usize {
        self.world.sim.calls().len()
    }

    pub(crate) async fn until_called(&self, calls: usize) {
        let reached = || async { (self.calls() >= calls).then_some(()) };
        eventually(&format!("{calls} calls"), Duration::from_secs(20), reached).await;
    }

    /// How many jobs are parked.
    pub(crate) async fn parked(&self) -> usize {
        let mut stream = self.world.jetstream().await.get_stream("TOLLGATE_WAIT").await.expect("it exists");
        stream.info().await.expect("it answers").state.messages as usize
    }

    /// How many gates have a consumer.
    pub(crate) async fn consumers(&self) -> usize {
        let mut stream = self.world.jetstream().await.get_stream("TOLLGATE_WAIT").await.expect("it exists");
        stream.info().await.expect("it answers").state.consumer_count
    }

    pub(crate) fn answers(&self) -> &Answers {
        &self.answers
    }
}

/// A deployment that serves `fast` and `other`.
pub(crate) fn routes_to(deployment: &Priced) -> Routes {
    let mut routes = Routes::default();
    for model in ["fast", "other"] {
        routes.arrange(model, Strategy::Ordered, StandIns::default());
        routes.add(model, deployment.clone());
    }
    routes
}

/// A job of `fast` that says this of the cache.
pub(crate) fn asking(cache: &str, prompt: &str) -> String {
    line(json!({}), prompt, json!({ "cache": cache }))
}

/// What makes the provider cut its answer.
pub(crate) fn cut_short() -> Value {
    json!({ "max_tokens": 5, "metadata": { "sim": "tokens=50" } })
}

/// A job of `fast` with more in its body.
pub(crate) fn line(more: Value, prompt: &str, tollgate: Value) -> String {
    let mut body = json!({ "model": "fast", "messages": [{ "role": "user", "content": prompt }] });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    json!({ "body": body, "tollgate": tollgate }).to_string()
}

pub(crate) fn answer(result: &JobResult) -> String {
    let response = result.response.as_ref().unwrap_or_else(|| panic!("it was answered: {result:?}"));
    response.body.get().to_owned()
}

/// Checks that a job got an answer that was given before: for nothing, with what it saved.
pub(crate) fn check_hit(result: &JobResult, of: &JobResult) {
    let (facts, first) = (&result.tollgate, &of.tollgate);
    assert_eq!((facts.status, facts.cache), (Status::Succeeded, CacheUse::Hit), "{result:?}");
    assert_eq!((facts.cost_nanousd, facts.tokens.total(), facts.attempts.len()), (NanoUsd::ZERO, 0, 0));
    assert!(first.cost_nanousd > NanoUsd::ZERO);
    assert_eq!(facts.saved_nanousd, first.cost_nanousd);
    assert_eq!((&facts.model, &facts.provider), (&first.model, &first.provider));
    assert_eq!(answer(result), answer(of));
}

/// Says what was measured.
#[expect(clippy::print_stderr, reason = "this is the place")]
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    eprintln!("{what}");
}
