//! A world with two simulated providers, and a load on it.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sim_provider::{Config as SimConfig, FaultPlan, LogNormal, Profile, SimProvider};
use testkit::{Setup, World, eventually};
use tollgate_client::Producer;
use tollgate_policy::routing::Strategy;
use tollgate_types::{Class, JobId, JobResult, Status};
use tollgate_worker::{Priced, Routes, StandIns};

/// A world whose own provider is `a`, with a second one, `b`.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) b: SimProvider,
    pub(crate) search: Producer,
}

/// Whole answers after about so many milliseconds.
pub(crate) fn answers_after(ms: f64) -> Profile {
    Profile { ttft_ms: LogNormal { median: ms, sigma: 0.1 }, ..Profile::instant() }
}

impl Bench {
    pub(crate) async fn start(profile: Profile) -> Bench {
        let sim = SimConfig { profile, ..SimConfig::default() };
        let b = SimProvider::start(SimConfig { seed: 7, ..sim.clone() }).await.expect("a second provider");
        let world = World::start(Setup { sim, ..Setup::default() }).await;
        let search = world.producer("search").await;
        Bench { world, b, search }
    }

    pub(crate) fn at_a(&self) -> Priced {
        Priced::new(self.world.deployment("a", &self.world.sim.base_url()), Some(testkit::price()), 4096)
    }

    pub(crate) fn at_b(&self) -> Priced {
        Priced::new(self.world.deployment("b", &self.b.base_url()), Some(testkit::price()), 4096)
    }

    /// `a` and `b` serve `fast`.
    pub(crate) fn both(&self, strategy: Strategy) -> Routes {
        serving("fast", strategy, [self.at_a(), self.at_b()])
    }

    /// `a` alone serves `fast`.
    pub(crate) fn only_a(&self) -> Routes {
        serving("fast", Strategy::Ordered, [self.at_a()])
    }

    pub(crate) fn faults_at_a(&self, plan: &str) {
        self.world.sim.set_faults(plan.parse::<FaultPlan>().expect("a plan")).expect("a plan");
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

    /// Submits jobs of `fast`, so many a second, until `until` says so.
    pub(crate) async fn load(&self, a_second: u32, mut until: impl FnMut(Duration) -> bool) -> Vec<JobId> {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / a_second);
        let (started, mut ids) = (Instant::now(), Vec::new());
        while !until(started.elapsed()) {
            tick.tick().await;
            ids.push(self.submit(line(&format!("job {}", ids.len()))).await);
        }
        ids
    }

    /// The results of all these jobs.
    pub(crate) async fn results(&self, ids: &[JobId], within: Duration) -> Vec<JobResult> {
        futures_util::stream::iter(ids).map(|id| self.result(id, within)).buffered(64).collect().await
    }

    pub(crate) fn calls_at_a(&self) -> usize {
        self.world.sim.calls().len()
    }

    pub(crate) fn calls_at_b(&self) -> usize {
        self.b.calls().len()
    }
}

pub(crate) fn serving<const N: usize>(model: &str, strategy: Strategy, deployments: [Priced; N]) -> Routes {
    let mut routes = Routes::default();
    routes.arrange(model, strategy, StandIns::default());
    deployments.into_iter().for_each(|deployment| routes.add(model, deployment));
    routes
}

pub(crate) fn line(prompt: &str) -> String {
    line_of("fast", prompt, None, json!({}))
}

pub(crate) fn line_of(model: &str, prompt: &str, directive: Option<&str>, tollgate: Value) -> String {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": prompt }] });
    if let Some(directive) = directive {
        body["metadata"] = json!({ "sim": directive });
    }
    json!({ "body": body, "tollgate": tollgate }).to_string()
}

pub(crate) fn succeeded(results: &[JobResult]) -> usize {
    results.iter().filter(|result| result.tollgate.status == Status::Succeeded).count()
}

/// The value that so many percent are not above.
pub(crate) fn percentile(mut values: Vec<u64>, percent: usize) -> u64 {
    values.sort_unstable();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// Says what was measured.
#[expect(clippy::print_stderr, reason = "this is the place")]
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    eprintln!("{what}");
}
