//! A world whose team has guardrails, and a provider that repeats what it is told.

use std::time::Duration;

use serde_json::{Value, json};
use sim_provider::{CheckerPlan, Config as SimConfig, Profile};
use testkit::{Setup, WorkerHandle, World, eventually};
use tollgate_client::Producer;
use tollgate_policy::routing::Strategy;
use tollgate_providers::{Checker, Ring, Speaks};
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::guardrails::Policy;
use tollgate_types::{Class, JobId, JobResult, subjects};
use tollgate_worker::{Priced, Routes, StandIns};

/// A card number that passes its checksum.
pub(crate) const CARD: &str = "4111 1111 1111 1111";
/// An address of nobody.
pub(crate) const MAIL: &str = "ann.smith@example.org";

pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) search: Producer,
    worker: WorkerHandle,
}

impl Bench {
    /// A world with one worker, which asks the simulated provider's checker as `own` and as `moderation`.
    pub(crate) async fn start(policy: Value) -> Bench {
        let sim = SimConfig { profile: Profile::instant(), ..SimConfig::default() };
        let world = World::start(Setup { sim, ..Setup::default() }).await;
        let search = world.producer("search").await;
        let mut routes = Routes::default();
        routes.arrange("fast", Strategy::Ordered, StandIns::default());
        let deployment = world.deployment("a", &world.sim.base_url());
        routes.add("fast", Priced::new(deployment, Some(testkit::price()), 4096));
        let checkers = [("own", "/check", Speaks::Tollgate), ("moderation", "/v1/moderations", moderations())];
        let checker = |(name, path, speaks): (&str, &str, Speaks)| {
            let url = format!("{}{path}", world.sim.root_url());
            let checker = Checker::new(&url, speaks, Ring::of_none(name), Duration::from_secs(2)).expect("an address");
            (name.to_owned(), checker)
        };
        let checkers = checkers.into_iter().map(checker).collect();
        let worker = world.worker_checking(routes, checkers, "w0", |_| {}).await;
        let bench = Bench { world, search, worker };
        bench.set(policy).await;
        bench
    }

    /// Gives the team other guardrails.
    pub(crate) async fn set(&self, policy: Value) {
        let guardrails: Policy = serde_json::from_value(policy).expect("a policy");
        let record = TeamRecord { guardrails, ..TeamRecord::default() };
        let team = "search".parse().expect("a team");
        self.world.directory().await.put_team(&team, &record, Expected::Any).await.expect("it is put");
        let knows = || async { (*self.worker.directory.team("search")? == record).then_some(()) };
        eventually("the worker knows the guardrails", Duration::from_secs(10), knows).await;
    }

    pub(crate) fn checker(&self, plan: CheckerPlan) {
        self.world.sim.set_checker(plan);
    }

    pub(crate) async fn submit(&self, body: Value) -> JobId {
        self.submit_line(json!({ "body": body })).await
    }

    pub(crate) async fn submit_line(&self, line: Value) -> JobId {
        self.search.submit(Class::Standard, line.to_string().into(), None).await.expect("accepted").id
    }

    /// Waits until so many answers are kept: that happens after the result is out.
    pub(crate) async fn kept_answers(&self, count: u64) {
        let kept = || async {
            let stream = self.world.jetstream().await.get_stream(subjects::CACHE_STREAM).await.ok()?;
            (stream.cached_info().state.messages == count).then_some(())
        };
        eventually("the answer is kept", Duration::from_secs(10), kept).await;
    }

    /// Every payload that a stream holds.
    pub(crate) async fn all_of(&self, stream: &str) -> String {
        let stream = self.world.jetstream().await.get_stream(stream).await.expect("the stream");
        let state = stream.cached_info().state.clone();
        let mut all = String::new();
        for seq in state.first_sequence..=state.last_sequence {
            if let Ok(message) = stream.get_raw_message(seq).await {
                all.push_str(&String::from_utf8_lossy(&message.payload));
            }
        }
        all
    }

    pub(crate) async fn result(&self, id: &JobId) -> JobResult {
        let look = || async {
            let line = self.search.result(id).await.expect("results can be read")?;
            Some(serde_json::from_slice(&line).expect("a result"))
        };
        eventually(&format!("a result of {id}"), Duration::from_secs(30), look).await
    }

    pub(crate) async fn run(&self, body: Value) -> JobResult {
        let id = self.submit(body).await;
        self.result(&id).await
    }

    /// What the provider was sent, all calls together.
    pub(crate) fn sent(&self) -> usize {
        self.world.sim.calls().len()
    }
}

fn moderations() -> Speaks {
    Speaks::OpenAiModeration { model: None, categories: Default::default() }
}

/// A request whose answer repeats the prompt.
pub(crate) fn echo(prompt: &str) -> Value {
    json!({"model": "fast", "messages": [{"role": "user", "content": prompt}], "metadata": {"sim": "echo"}})
}

pub(crate) fn streamed(prompt: &str) -> Value {
    let mut body = echo(prompt);
    body["stream"] = json!(true);
    body
}

/// The text of the answer.
pub(crate) fn answer(result: &JobResult) -> String {
    let response = result.response.as_ref().unwrap_or_else(|| panic!("no answer: {result:?}"));
    let body: Value = serde_json::from_str(response.body.get()).expect("JSON");
    body["choices"][0]["message"]["content"].as_str().expect("text").to_owned()
}

/// Each hit as `rule on action count`.
pub(crate) fn hits(result: &JobResult) -> Vec<String> {
    let hits = result.tollgate.guardrails.iter();
    hits.map(|hit| format!("{} {} {} {}", hit.rule, hit.on.as_str(), hit.action.as_str(), hit.count)).collect()
}
