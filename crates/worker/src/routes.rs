//! Which deployments serve a model, and what they cost: the operator's table, as the worker uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_policy::price::Price;
use tollgate_providers::Deployment;

/// A deployment with its price.
#[derive(Clone, Debug)]
pub struct Priced {
    /// Where the call goes.
    pub deployment: Arc<Deployment>,
    /// What it costs; `None` makes its jobs `unpriced_model`.
    pub price: Option<Arc<Price>>,
    /// The most answer tokens that the model can give, where a job names no limit.
    pub output_tokens_max: u64,
}

/// The deployments of every model name, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    models: BTreeMap<String, Vec<Priced>>,
}

impl Routes {
    /// Adds a deployment behind those that a model already has.
    pub fn add(&mut self, model: impl Into<String>, deployment: Priced) {
        self.models.entry(model.into()).or_default().push(deployment);
    }

    /// The deployments of a model; empty if nobody serves it.
    pub fn of(&self, model: &str) -> &[Priced] {
        self.models.get(model).or_else(|| self.models.get(ANY)).map_or(&[], Vec::as_slice)
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
