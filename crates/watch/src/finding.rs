//! What a rule finds: one line that is crossed now.

use serde::{Deserialize, Serialize};
use tollgate_types::{AlertKind, Severity};

/// One line that is crossed now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of line.
    pub kind: AlertKind,
    /// How soon somebody should look.
    pub severity: Severity,
    /// The team that it is about, if it is about one.
    pub team: Option<String>,
    /// What it is about. With the kind it names the finding, from one look to the next.
    pub about: String,
    /// What happened, in one sentence for people.
    pub what: String,
    /// What was measured.
    pub value: f64,
    /// The line.
    pub threshold: f64,
    /// The unit of both.
    pub unit: String,
}

/// What a look at the broker came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The kinds that could be judged. What is known of the others stays as it is: an unreachable server resolves nothing.
    pub known: Vec<AlertKind>,
    /// Every line that is crossed.
    pub findings: Vec<Finding>,
}

impl Judged {
    /// Adds what a rule found; `None` means that it could not be judged.
    pub(crate) fn add(&mut self, kind: AlertKind, found: Option<Vec<Finding>>) {
        if let Some(found) = found {
            self.known.push(kind);
            self.findings.extend(found);
        }
    }
}
