//! An alert: that something crossed a line, and later that it came back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::instant::UnixMillis;

/// The version of the object.
pub const VERSION: u32 = 1;
/// Whose alert it is where it is no team's.
pub const NO_TEAM: &str = "organisation";

/// What is announced on `tollgate.alert.<team>.<kind>` and posted to the webhook.
///
/// It may come twice, after a crash; `id` and `state` name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// The version of this object; 1.
    pub version: u32,
    /// Names what crossed a line since when: the same while it lasts, and when it is over.
    pub id: String,
    /// What kind of line it is.
    pub kind: AlertKind,
    /// Whether it is crossed or was.
    pub state: AlertState,
    /// How soon somebody should look.
    pub severity: Severity,
    /// The team that it is about; none if it is about everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// What it is about, such as `batch.search`, `openai/gpt-4o` or `team:search day`.
    pub about: String,
    /// What happened, in one sentence for people.
    pub what: String,
    /// What was measured.
    pub value: f64,
    /// The line.
    pub threshold: f64,
    /// The unit of both: `seconds`, `percent`, `jobs`, `records`, `times`, `rows`.
    pub unit: String,
    /// Since when it is crossed, by the server's clock.
    pub since: UnixMillis,
    /// When this was said, by the server's clock.
    pub at: UnixMillis,
    /// The section of the runbook, such as `docs/runbook.md#lane-age`.
    pub runbook: String,
}

/// What kind of line was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A budget passed one of its thresholds.
    Budget,
    /// A budget will be spent before its window ends, if spending goes on as it did.
    BudgetProjection,
    /// A provider fails most calls, or is left alone by the breaker.
    ProviderDown,
    /// The oldest job of a lane is too old.
    LaneAge,
    /// There are dead letters.
    DeadLetters,
    /// Jobs of one kind use far more tokens than in the week before.
    Drift,
    /// The books do not agree.
    Reconciliation,
    /// The sink is behind the log.
    SinkLag,
    /// The room for bodies that do not fit a message is nearly full.
    BlobsFull,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [AlertKind; 9] = [
        AlertKind::Budget,
        AlertKind::BudgetProjection,
        AlertKind::ProviderDown,
        AlertKind::LaneAge,
        AlertKind::DeadLetters,
        AlertKind::Drift,
        AlertKind::Reconciliation,
        AlertKind::SinkLag,
        AlertKind::BlobsFull,
    ];

    /// The word in the subject and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::Budget => "budget",
            AlertKind::BudgetProjection => "budget_projection",
            AlertKind::ProviderDown => "provider_down",
            AlertKind::LaneAge => "lane_age",
            AlertKind::DeadLetters => "dead_letters",
            AlertKind::Drift => "drift",
            AlertKind::Reconciliation => "reconciliation",
            AlertKind::SinkLag => "sink_lag",
            AlertKind::BlobsFull => "blobs_full",
        }
    }

    /// The section of the runbook.
    pub fn runbook(self) -> String {
        format!("docs/runbook.md#{}", self.as_str().replace('_', "-"))
    }
}

/// Whether the line is crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It is.
    Firing,
    /// It is not any more.
    Resolved,
}

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Today.
    Warning,
    /// Now.
    Critical,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_kind_is_the_one_on_the_wire() {
        for kind in AlertKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a word"), kind.as_str());
        }
        assert_eq!(AlertKind::LaneAge.runbook(), "docs/runbook.md#lane-age");
    }
}
