//! What serves a model: its deployments, what they cost, how they share its calls, and which models stand in for it. The
//! operator's table, as the worker uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_policy::price::Price;
use tollgate_policy::routing::Strategy;
use tollgate_providers::Deployment;
use tollgate_types::{Gate, Limits};

/// A deployment with its price and its place among others.
#[derive(Clone, Debug)]
pub struct Priced {
    /// Where the call goes.
    pub deployment: Arc<Deployment>,
    /// What it costs; `None` makes its jobs `unpriced_model`.
    pub price: Option<Arc<Price>>,
    /// The most answer tokens that the model can give, where a job names no limit.
    pub output_tokens_max: u64,
    /// The most prompt tokens that the model can read, if that is known.
    pub context_tokens: Option<u64>,
    /// How fast it may be called, by all workers together.
    pub limits: Limits,
    /// Its part of the model's calls with [`Strategy::Weighted`].
    pub weight: u32,
    /// What jobs can ask for by `tollgate.tags`.
    pub tags: BTreeSet<String>,
}

impl Priced {
    /// A deployment without limits or tags, whose context is not known, with a weight of 1.
    pub fn new(deployment: Deployment, price: Option<Price>, output_tokens_max: u64) -> Priced {
        Priced {
            deployment: Arc::new(deployment),
            price: price.map(Arc::new),
            output_tokens_max,
            context_tokens: None,
            limits: Limits::default(),
            weight: 1,
            tags: BTreeSet::new(),
        }
    }
}

/// Which models stand in for another, in order. Those of a stand-in do not count: a chain is written where it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandIns {
    /// When no deployment of it answers.
    pub fallbacks: Vec<String>,
    /// When the prompt is longer than its context.
    pub on_context_length: Vec<String>,
    /// When its content policy refuses the prompt.
    pub on_content_policy: Vec<String>,
}

/// What serves one model name.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    /// Its deployments, in the operator's order.
    pub deployments: Vec<Priced>,
    /// How they share its calls.
    pub strategy: Strategy,
    /// Which models stand in for it.
    pub stand_ins: StandIns,
}

/// The deployments of every model name.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    models: BTreeMap<String, Serving>,
    /// The names by the digests that stand in gates.
    digests: BTreeMap<String, String>,
}

impl Routes {
    /// Adds a deployment behind those that a model already has.
    pub fn add(&mut self, model: impl Into<String>, deployment: Priced) {
        self.model(model.into()).deployments.push(deployment);
    }

    /// Says how the deployments of a model share its calls, and which models stand in for it.
    pub fn arrange(&mut self, model: impl Into<String>, strategy: Strategy, stand_ins: StandIns) {
        let serving = self.model(model.into());
        (serving.strategy, serving.stand_ins) = (strategy, stand_ins);
    }

    fn model(&mut self, model: String) -> &mut Serving {
        if let Gate::Model(digest) = Gate::of_model(&model) {
            self.digests.insert(digest, model.clone());
        }
        self.models.entry(model).or_default()
    }

    /// What serves a model, if anything does.
    pub fn serving(&self, model: &str) -> Option<&Serving> {
        let serving = self.models.get(model).or_else(|| self.models.get(ANY));
        serving.filter(|serving| !serving.deployments.is_empty())
    }

    /// The deployments of a model; empty if nobody serves it.
    pub fn of(&self, model: &str) -> &[Priced] {
        self.serving(model).map_or(&[], |serving| &serving.deployments)
    }

    /// What serves the model behind a gate, by the digest of its name, if anything does.
    pub fn behind(&self, digest: &str) -> Option<&Serving> {
        self.serving(self.digests.get(digest).map_or(ANY, String::as_str))
    }

    /// Every deployment, once for each model that it serves.
    pub fn deployments(&self) -> impl Iterator<Item = &Priced> {
        self.models.values().flat_map(|serving| &serving.deployments)
    }

    /// The operator's names of all providers that are called.
    pub fn providers(&self) -> BTreeSet<&str> {
        self.deployments().map(|priced| priced.deployment.provider.as_str()).collect()
    }

    /// The names that are served, for the message of an unknown one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }
}

/// The name under which a deployment serves every model that has no entry of its own.
pub const ANY: &str = "*";
