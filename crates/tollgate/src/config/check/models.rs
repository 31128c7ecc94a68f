//! What models and their deployments may not be told.

use tollgate_policy::catalogue::ModelFacts;
use tollgate_policy::price::PriceBook;
use tollgate_policy::routing::Strategy;
use tollgate_types::job::{TAGS_MAX, is_a_tag};

use super::{Checker, Served, build};
use crate::config::sections::{Deployment, Model};

/// The longest name of a region, in bytes: it travels in every usage record.
const REGION_BYTES_MAX: usize = 64;

impl Checker<'_> {
    pub(super) fn models(&mut self) {
        let config = self.config;
        let book = build::price_book();
        for (alias, model) in &config.models {
            if alias.is_empty() || alias.len() > 128 {
                self.problem(format!("models.{alias}"), "a model's name has 1 to 128 characters");
            }
            self.model(&format!("models.{alias}"), model);
            self.stand_ins(alias, model);
            for (at, deployment) in model.deployments.iter().enumerate() {
                self.deployment(&format!("models.{alias}.deployments.{at}"), deployment, model, &book);
            }
        }
        if config.models.is_empty() {
            self.unlisted_providers();
        }
    }

    fn model(&mut self, at: &str, model: &Model) {
        if model.deployments.is_empty() {
            let reason = "nothing serves this model; add { provider = \"…\", model = \"…\" }";
            self.problem(format!("{at}.deployments"), reason);
        } else if model.routing == Strategy::Weighted && model.deployments.iter().all(|d| d.weight == Some(0)) {
            self.problem(format!("{at}.routing"), "every weight is 0; give one of its deployments a weight from 1 up");
        } else if model.routing != Strategy::Weighted && model.deployments.iter().any(|d| d.weight.is_some()) {
            self.warning(format!("{at}.routing"), "its deployments have weights, which count only when it is weighted");
        }
        let facts = ModelFacts { context_tokens: model.context_tokens, output_tokens_max: model.output_tokens_max };
        self.facts(at, facts);
        self.price(at, model.price.as_ref());
    }

    fn facts(&mut self, at: &str, facts: ModelFacts) {
        for (field, count) in [("output_tokens_max", facts.output_tokens_max), ("context_tokens", facts.context_tokens)]
        {
            if count == Some(0) {
                self.problem(format!("{at}.{field}"), "0 is not from 1 up");
            }
        }
    }

    fn price(&mut self, at: &str, price: Option<&crate::config::sections::Price>) {
        if let Some(Err((field, error))) = price.map(build::price) {
            self.problem(format!("{at}.price.{field}"), error);
        }
    }

    fn stand_ins(&mut self, alias: &str, model: &Model) {
        let served = Served::by(self.config);
        let lists = [
            ("fallbacks", &model.fallbacks),
            ("on_context_length", &model.on_context_length),
            ("on_content_policy", &model.on_content_policy),
        ];
        for (field, names) in lists {
            for name in names {
                if name == alias {
                    self.problem(format!("models.{alias}.{field}"), "a model cannot stand in for itself");
                } else if let Some(reason) = served.refuses(name) {
                    self.problem(format!("models.{alias}.{field}"), reason);
                }
            }
        }
    }

    fn deployment(&mut self, at: &str, deployment: &Deployment, model: &Model, book: &PriceBook) {
        self.limits(at, &deployment.limits());
        let Deployment { context_tokens, output_tokens_max, .. } = *deployment;
        self.facts(at, ModelFacts { context_tokens, output_tokens_max });
        self.price(at, deployment.price.as_ref());
        self.region(&format!("{at}.region"), deployment.region.as_deref());
        if deployment.tags.len() > TAGS_MAX || !deployment.tags.iter().all(|tag| is_a_tag(tag)) {
            let reason = format!("it has at most {TAGS_MAX} tags of 1 to 64 characters of A-Z a-z 0-9 _ - .");
            self.problem(format!("{at}.tags"), reason);
        }
        if deployment.model.is_empty() {
            self.problem(format!("{at}.model"), "the provider's own name of the model is missing");
        }
        let Some(provider) = self.config.providers.get(&deployment.provider) else {
            let list: Vec<&str> = self.config.providers.keys().map(String::as_str).collect();
            let known = if list.is_empty() { "none is configured".into() } else { list.join(", ") };
            self.problem(format!("{at}.provider"), format!("there is no provider '{}' ({known})", deployment.provider));
            return;
        };
        let own = deployment.price.as_ref().or(model.price.as_ref());
        let listed = build::list_price(book, &deployment.provider, provider, &deployment.model);
        if own.is_none() && !provider.free && listed.is_none() {
            let reason = "it has no price, so jobs of this model skip it; add models.….price, \
                          or prices_as or free = true to its provider";
            self.warning(format!("{at}.model"), reason);
        }
    }

    pub(super) fn region(&mut self, key: &str, region: Option<&str>) {
        let is_one = |region: &str| (1..=REGION_BYTES_MAX).contains(&region.len()) && region.is_ascii();
        if region.is_some_and(|region| !is_one(region)) {
            self.problem(key, format!("a region has 1 to {REGION_BYTES_MAX} characters of ASCII"));
        }
    }

    /// Without `[models]` a provider serves what the price table names, which may be nothing.
    fn unlisted_providers(&mut self) {
        for (name, provider) in &self.config.providers {
            if build::served_as(provider).is_none() {
                let reason =
                    "it serves nothing: there is no [models], and prices_as names no vendor whose models it has";
                self.warning(format!("providers.{name}"), reason);
            }
        }
    }
}
