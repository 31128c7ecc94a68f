//! What others found: values that an external checker named, to be replaced like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clauses::{Clause, Clauses, label};
use crate::detect::{Detector, Rule};
use crate::guard::Guard;
use crate::look::{Looker, Tally};
use crate::policy::{Action, Side};
use crate::screen::Screen;
use crate::vault::Vault;

/// Why not everything that was named is replaced; then the body must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReplaced {
    /// A value does not stand in any text, or cannot be looked for.
    #[error("a value that it named does not stand in the text")]
    NotThere,
    /// There are more values than can be kept apart.
    #[error("it named more than can be kept apart")]
    TooMany,
}

impl Guard {
    /// Replaces values wherever they stand in a body's texts, each named by its kind such as `PERSON`: what stood in a
    /// request is put back into its answer.
    ///
    /// # Errors
    /// [`NotReplaced`], and nothing of the body may leave.
    pub fn replace(
        &self,
        side: Side,
        body: &[u8],
        values: &[(String, String)],
        vault: &mut Vault,
    ) -> Result<Option<Vec<u8>>, NotReplaced> {
        let body = std::str::from_utf8(body).map_err(|_| NotReplaced::NotThere)?;
        // Each value once, so that it is seen whether each was found.
        let values: BTreeMap<&str, &str> = values.iter().map(|(kind, value)| (value.trim(), kind.as_str())).collect();
        let words: Vec<[String; 1]> = values.keys().map(|&value| [value.to_owned()]).collect();
        let rules: Vec<Rule<'_>> = words.iter().map(|words| Rule::Keywords { name: "a checker", words }).collect();
        let detector = Detector::new(&rules, None).map_err(|_| NotReplaced::NotThere)?;
        let clause = |kind: &&str| {
            // What a checker calls it may be anything, and stands in JSON.
            let name: Arc<str> = label(kind).into();
            Clause { label: name.clone(), name, action: Action::Redact, at_least: 1 }
        };
        let clauses = Clauses {
            side,
            detector,
            clauses: values.values().map(clause).collect(),
            size: None,
            language: None,
            checkers: BTreeMap::new(),
            longest: None,
            private_keys: false,
        };
        let screen = Screen::of(body, Looker::new(&clauses, Tally::default()));
        let missing: BTreeSet<usize> = (0..values.len()).filter(|&rule| !screen.looker.fires(rule)).collect();
        // What stands within a longer value that was named too is replaced with it.
        let names: Vec<&str> = values.keys().copied().collect();
        let within = |rule: &usize| names.iter().any(|name| *name != names[*rule] && name.contains(names[*rule]));
        if !missing.iter().all(within) {
            return Err(NotReplaced::NotThere);
        }
        if screen.looker.overflowed {
            return Err(NotReplaced::TooMany);
        }
        let replaced = screen.redacted(vault).map_err(|_| NotReplaced::TooMany)?;
        Ok(replaced.map(String::into_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn replaced(body: &str, values: &[(&str, &str)]) -> Result<(String, String), NotReplaced> {
        let guard = Guard::new(&Policy::default(), &BTreeSet::new()).expect("a policy");
        let values: Vec<_> = values.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect();
        let mut vault = Vault::default();
        let changed = guard.replace(Side::Request, body.as_bytes(), &values, &mut vault)?.expect("it changed");
        let restored = guard.restore(&changed, &vault).expect("it is put back");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ok((text(changed), text(restored)))
    }

    #[test]
    fn what_was_named_is_replaced_everywhere_and_comes_back() {
        let body = r#"{"choices":[{"message":{"content":"Ann Smith met J\u00f6rg \"J\" Gro\u00df; Ann Smith, Anna Smithers"}}]}"#;
        let (changed, restored) = replaced(body, &[("PERSON", "Ann Smith"), ("PERSON", "Jörg \"J\" Groß")]).unwrap();
        assert!(!changed.contains("Ann Smith") && !changed.contains("Gro"), "{changed}");
        assert!(changed.contains("Anna Smithers"), "{changed}");
        assert_eq!(changed.matches("<PERSON_").count(), 3, "{changed}");
        let value: serde_json::Value = serde_json::from_str(&restored).expect("JSON");
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(body).expect("JSON"));
    }

    #[test]
    fn what_cannot_be_found_does_not_pass_as_replaced() {
        let body = r#"{"messages":[{"role":"user","content":"Ann Smith"}]}"#;
        assert_eq!(replaced(body, &[("PERSON", "Bob")]).unwrap_err(), NotReplaced::NotThere);
        assert_eq!(replaced(body, &[("PERSON", "...")]).unwrap_err(), NotReplaced::NotThere);
        assert!(replaced(body, &[("PERSON", "Ann Smith"), ("PERSON", "Ann")]).is_ok());
    }
}
