//! Where teams' results are posted to.

use serde::{Deserialize, Serialize};
use tollgate_webhooks::Endpoint;

use crate::config::values::Secret;

/// Where the results of one team are posted to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address. Such addresses often carry a key, so it is shown as a secret.
    pub url: Secret,
    /// The secret that requests are signed with: at least 24 bytes, or `whsec_` and base64.
    pub secret: Secret,
}

impl Webhook {
    /// As whoever posts takes it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { url: self.url.share(), secret: self.secret.share() }
    }
}
