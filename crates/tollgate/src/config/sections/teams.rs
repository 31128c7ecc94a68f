//! Who may spend what, and how fast: the sections that go into the live configuration.
//!
//! What a file does not mention stays as it is on the running system, so that no cap goes away because a file is short;
//! `budgets = []` takes them away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_queue::directory::ClassWeights;
use tollgate_types::budget::Then;
use tollgate_types::guardrails::Policy;
use tollgate_types::{Limits, Target, Usd, WhenSpent};

use super::TeamCache;
use crate::config::values::Period;

/// One team.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Team {
    /// Its share against other teams of the same class; 1 for a new team.
    pub weight: Option<u32>,
    /// The most requests in any sliding minute.
    pub requests_per_minute: Option<u32>,
    /// The most tokens in any sliding minute.
    pub tokens_per_minute: Option<u64>,
    /// The most jobs at once.
    pub concurrency: Option<u32>,
    /// What it and its projects, users and keys may spend.
    pub budgets: Option<Vec<Budget>>,
    /// How fast its API keys may go, by the key's id; `*` holds for each that is not named.
    pub keys: Option<BTreeMap<String, Limits>>,
    /// The models that it may use; one that ends in `*` stands for all that begin like it. All if empty.
    pub models: Option<Vec<String>>,
    /// The providers that it may be served by; all if empty.
    pub providers: Option<Vec<String>>,
    /// The regions that it may be served in, such as `eu`, which holds `eu-central-1` too; all if empty.
    pub regions: Option<Vec<String>>,
    /// What its guardrails say over everybody's, as of `[guardrails]`; `{}` for nothing.
    pub guardrails: Option<Policy>,
    /// What its jobs get of the cache of answers, over what holds for everybody.
    pub cache: TeamCache,
    /// How long its results keep their texts; `[organisation] results_keep` for a new team.
    pub results_keep: Option<Period>,
    /// Whether its prompts and answers are captured.
    pub capture: Option<bool>,
}

impl Team {
    /// How fast it may go, as far as the file says.
    pub fn limits(&self) -> Limits {
        let Team { requests_per_minute, tokens_per_minute, concurrency, .. } = *self;
        Limits { requests_per_minute, tokens_per_minute, concurrency }
    }
}

/// Everybody together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Organisation {
    /// What all teams together may spend.
    pub budgets: Option<Vec<Budget>>,
    /// The classes' shares against each other.
    pub class_weights: Option<ClassWeights>,
    /// How long results keep their texts, of teams that say nothing; as long as the stream keeps them if left out.
    pub results_keep: Option<Period>,
}

/// One cap on one window. Raises are made live, never in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// What it caps: `owner`, `project:NAME`, `user:NAME` or `key:NAME`; the name `*` means each.
    pub on: Target,
    /// `hour`, `day`, `week`, `month`, or `rolling` with a length.
    pub window: String,
    /// The zone in which calendar windows begin.
    pub time_zone: String,
    /// The most that may be spent in one window.
    pub cap_usd: Option<Usd>,
    /// What happens to a job that does not fit any more.
    pub when_spent: WhenSpent,
    /// With `downgrade`: the model that serves instead.
    pub downgrade_to: Option<String>,
    /// With `downgrade`: the most that the cheaper model may spend in one window.
    pub downgrade_cap_usd: Option<Usd>,
    /// With `downgrade`: what happens when the cheaper model may not serve either.
    pub then: Then,
    /// Percentages of the cap at which an alert is sent.
    pub alert_percent: Vec<u8>,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            on: Target::Owner,
            window: String::new(),
            time_zone: "UTC".into(),
            cap_usd: None,
            when_spent: WhenSpent::default(),
            downgrade_to: None,
            downgrade_cap_usd: None,
            then: Then::default(),
            alert_percent: Vec::new(),
        }
    }
}

impl Budget {
    /// The budget as it is kept; a cap that is missing, which the check refuses, is nothing.
    pub fn kept(&self) -> tollgate_types::Budget {
        tollgate_types::Budget {
            on: self.on.clone(),
            window: self.window.clone(),
            time_zone: self.time_zone.clone(),
            cap_usd: self.cap_usd.unwrap_or_default(),
            when_spent: self.when_spent,
            downgrade_to: self.downgrade_to.clone(),
            downgrade_cap_usd: self.downgrade_cap_usd,
            then: self.then,
            alert_percent: self.alert_percent.clone(),
            raises: Vec::new(),
        }
    }
}
