//! Where teams are told of results and of ends of batches.

use serde::{Deserialize, Serialize};
use tollgate_queue::notices::Topic;
use tollgate_webhooks::Endpoint;

use crate::config::values::Secret;

/// What a webhook can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Events {
    /// Every result.
    Results,
    /// That a batch ended.
    Batches,
}

/// Where one team is told of its results, and of its batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address. Such addresses often carry a key, so it is shown as a secret.
    pub url: Secret,
    /// The secret that requests are signed with: at least 24 bytes, or `whsec_` and base64.
    pub secret: Secret,
    /// What it is told of: `results`, `batches`, or both.
    #[serde(default = "results")]
    pub events: Vec<Events>,
}

fn results() -> Vec<Events> {
    vec![Events::Results]
}

impl Webhook {
    /// As whoever posts takes it.
    pub fn endpoint(&self) -> Endpoint {
        let topics = self.events.iter().map(|event| match event {
            Events::Results => Topic::Results,
            Events::Batches => Topic::Batches,
        });
        Endpoint { url: self.url.share(), secret: self.secret.share(), topics: topics.collect() }
    }
}
