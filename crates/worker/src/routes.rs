//! Which deployments serve a model, and what they cost: the operator's table, as the worker uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_policy::price::Price;
use tollgate_providers::Deployment;
use tollgate_types::{Gate, Limits};

/// A deployment with its price.
#[derive(Clone, Debug)]
pub struct Priced {
    /// Where the call goes.
    pub deployment: Arc<Deployment>,
    /// What it costs; `None` makes its jobs `unpriced_model`.
    pub price: Option<Arc<Price>>,
    /// The most answer tokens that the model can give, where a job names no limit.
    pub output_tokens_max: u64,
    /// How fast it may be called, by all workers together.
    pub limits: Limits,
}

/// The deployments of every model name, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    models: BTreeMap<String, Vec<Priced>>,
    /// The names by the digests that stand in gates.
    digests: BTreeMap<String, String>,
}

impl Routes {
    /// Adds a deployment behind those that a model already has.
    pub fn add(&mut self, model: impl Into<String>, deployment: Priced) {
        let model = model.into();
        if let Gate::Model(digest) = Gate::of_model(&model) {
            self.digests.insert(digest, model.clone());
        }
        self.models.entry(model).or_default().push(deployment);
    }

    /// The deployments of a model; empty if nobody serves it.
    pub fn of(&self, model: &str) -> &[Priced] {
        self.models.get(model).or_else(|| self.models.get(ANY)).map_or(&[], Vec::as_slice)
    }

    /// The deployments behind the gate of a model, by the digest of its name; empty if nobody serves such a model.
    pub fn of_digest(&self, digest: &str) -> &[Priced] {
        self.of(self.digests.get(digest).map_or(ANY, String::as_str))
    }

    /// The operator's names of all providers that are called.
    pub fn providers(&self) -> BTreeSet<&str> {
        self.models.values().flatten().map(|priced| priced.deployment.provider.as_str()).collect()
    }

    /// The names that are served, for the message of an unknown one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }
}

/// The name under which a deployment serves every model that has no entry of its own.
pub const ANY: &str = "*";
