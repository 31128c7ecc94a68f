//! What teams and everybody together may not be told: weights, limits, budgets.

use std::time::Duration;

use tollgate_policy::budget::{BudgetError, Rule, check_budgets};
use tollgate_queue::directory::{Access, RESULTS_KEEP_SECS_MAX, RESULTS_KEEP_SECS_MIN, WEIGHT_MAX};
use tollgate_types::{Class, Limits, Target, UnixMillis, Usd, WhenSpent};

use super::{Checker, build, listed};
use crate::config::sections::{Budget, Config, Team};
use crate::config::values::Period;

/// How many names of models a message lists.
const NAMES_SHOWN: usize = 12;

/// The models that a configuration serves.
pub struct Served(Vec<String>);

impl Served {
    /// As far as the file says; empty if it names no provider at all.
    pub fn by(config: &Config) -> Served {
        let listed = |provider| build::served_as(provider).into_iter().flat_map(listed::of_vendor).map(str::to_owned);
        Served(match config.models.is_empty() {
            true => config.providers.values().flat_map(listed).collect(),
            false => config.models.keys().cloned().collect(),
        })
    }

    /// Whether it is known what is served.
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// Says that nothing serves a model, and what does serve; `None` if something serves it, or nothing is known.
    pub fn refuses(&self, model: &str) -> Option<String> {
        if !self.is_known() || self.0.iter().any(|name| name == model || name == tollgate_worker::ANY) {
            return None;
        }
        let mut names: Vec<&str> = self.0.iter().take(NAMES_SHOWN).map(String::as_str).collect();
        if self.0.len() > names.len() {
            names.push("…");
        }
        let model: String = model.chars().take(128).collect();
        Some(format!("nothing serves the model '{model}'; there are: {}", names.join(", ")))
    }
}

impl Checker<'_> {
    pub(super) fn organisation(&mut self) {
        let organisation = &self.config.organisation;
        if let Some(weights) = &organisation.class_weights {
            for class in Class::ALL {
                self.number(&format!("organisation.class_weights.{class}"), weights.of(class), 1, WEIGHT_MAX);
            }
        }
        self.keep("organisation.results_keep", organisation.results_keep);
        let budgets = organisation.budgets.as_deref().unwrap_or_default();
        for (at, budget) in budgets.iter().enumerate() {
            if budget.on != Target::Owner {
                let reason = format!("'{}' is of a team; everybody together has only `owner`", budget.on);
                self.problem(format!("organisation.budgets.{at}.on"), reason);
            }
        }
        self.budgets("organisation.budgets", budgets);
    }

    pub(super) fn teams(&mut self) {
        for (name, team) in &self.config.teams {
            if let Err(error) = name.parse::<tollgate_types::Team>() {
                self.problem(format!("teams.{name}"), format!("this is not the name of a team: {error}"));
            }
            if let Some(weight) = team.weight {
                self.number(&format!("teams.{name}.weight"), weight, 1, WEIGHT_MAX);
            }
            self.limits(&format!("teams.{name}"), &team.limits());
            for (key, limits) in team.keys.iter().flatten() {
                if key.is_empty() {
                    self.problem(format!("teams.{name}.keys"), "a key's id is empty");
                }
                self.limits(&format!("teams.{name}.keys.{key}"), limits);
            }
            self.access(&format!("teams.{name}"), team);
            self.cache_rules(&format!("teams.{name}.cache"), &team.cache.rules());
            self.keep(&format!("teams.{name}.results_keep"), team.results_keep);
            self.budgets(&format!("teams.{name}.budgets"), team.budgets.as_deref().unwrap_or_default());
        }
    }

    fn keep(&mut self, key: &str, keep: Option<Period>) {
        let Some(keep) = keep else { return };
        let [least, most] = [RESULTS_KEEP_SECS_MIN, RESULTS_KEEP_SECS_MAX].map(Duration::from_secs);
        self.period(key, keep, least, most);
        let most = self.config.streams.results_age_max;
        if keep >= most {
            let reason = format!("[streams] results_age_max removes results after {most}, before this does");
            self.warning(key, reason);
        }
    }

    /// A name that nothing has would lock a team out unseen.
    fn access(&mut self, at: &str, team: &Team) {
        let served = Served::by(self.config);
        for model in team.models.iter().flatten().filter(|model| !model.ends_with('*')) {
            if let Some(reason) = served.refuses(model) {
                self.warning(format!("{at}.models"), reason);
            }
        }
        let providers = &self.config.providers;
        for provider in team.providers.iter().flatten() {
            if !providers.is_empty() && !providers.contains_key(provider) {
                let known: Vec<&str> = providers.keys().map(String::as_str).collect();
                let reason = format!("there is no provider '{provider}'; there are: {}", known.join(", "));
                self.warning(format!("{at}.providers"), reason);
            }
        }
        let regions = Access { regions: team.regions.clone().unwrap_or_default(), ..Access::default() };
        let named = self.config.models.values().flat_map(|model| &model.deployments);
        let of_deployments = named.filter_map(|deployment| deployment.region.as_deref());
        let of_providers = providers.values().filter_map(|provider| provider.region.as_deref());
        if !providers.is_empty() && !regions.is_everything() {
            let mut all = of_deployments.chain(of_providers);
            if !all.any(|region| regions.region(region)) {
                let reason = format!("no deployment of this file is in {}", regions.regions.join(" or "));
                self.warning(format!("{at}.regions"), reason);
            }
        }
    }

    /// Each limit for itself, so that all mistakes are told at once.
    pub(super) fn limits(&mut self, at: &str, limits: &Limits) {
        let Limits { requests_per_minute, tokens_per_minute, concurrency } = *limits;
        let each = [
            ("requests_per_minute", Limits { requests_per_minute, ..Limits::default() }),
            ("tokens_per_minute", Limits { tokens_per_minute, ..Limits::default() }),
            ("concurrency", Limits { concurrency, ..Limits::default() }),
        ];
        for (field, limit) in each {
            if let Err(reason) = limit.check() {
                self.problem(format!("{at}.{field}"), reason);
            }
        }
    }

    fn budgets(&mut self, key: &str, budgets: &[Budget]) {
        let before = self.found.problems.len();
        for (at, budget) in budgets.iter().enumerate() {
            self.budget(&format!("{key}.{at}"), budget);
        }
        if self.found.problems.len() > before {
            return;
        }
        let kept: Vec<_> = budgets.iter().map(Budget::kept).collect();
        if let Err(error) = check_budgets(&kept) {
            self.problem(key, error.to_string());
        }
    }

    fn budget(&mut self, at: &str, budget: &Budget) {
        if budget.cap_usd.is_none() {
            self.problem(format!("{at}.cap_usd"), "it is missing; write the most that one window may cost");
        }
        // The policy names the first field that is wrong. With that one mended it names the next.
        let mut mended = budget.kept();
        while let Err(BudgetError::Field { field, problem, .. }) = Rule::new(&mended, UnixMillis::default()) {
            self.problem(format!("{at}.{field}"), format!("it {problem}"));
            if !mend(&mut mended, field) {
                break;
            }
        }
        let served = Served::by(self.config);
        let Some(model) = budget.downgrade_to.as_deref().filter(|_| budget.when_spent == WhenSpent::Downgrade) else {
            return;
        };
        match served.refuses(model) {
            Some(reason) => self.problem(format!("{at}.downgrade_to"), reason),
            None if !served.is_known() => {
                let reason = "this file serves no model, so it is not known whether anything serves this one";
                self.warning(format!("{at}.downgrade_to"), reason);
            }
            None => {}
        }
    }
}

/// Puts something right where a field was wrong; `false` for a field that is not known here.
fn mend(budget: &mut tollgate_types::Budget, field: &str) -> bool {
    match field {
        "window" => budget.window = "day".into(),
        "time_zone" => budget.time_zone = "UTC".into(),
        "cap_usd" => budget.cap_usd = Usd::default(),
        "downgrade_cap_usd" => budget.downgrade_cap_usd = None,
        "downgrade_to" if budget.when_spent == WhenSpent::Downgrade => budget.downgrade_to = Some("a model".into()),
        "downgrade_to" => budget.downgrade_to = None,
        "then" => budget.then = Default::default(),
        "alert_percent" => budget.alert_percent.clear(),
        _ => return false,
    }
    true
}
