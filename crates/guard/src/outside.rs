//! What others found: values that an external checker named, to be replaced like any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clauses::{Clause, Clauses, label};
use crate::detect::{Detector, Rule};
use crate::guard::Guard;
use crate::look::{Looker, Tally};
use crate::policy::{Action, Side};
use crate::screen::Screen;
use crate::vault::{VALUES_MAX, Vault};

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
    /// Replaces values wherever they stand in a body's texts, within words too and in this case, each named by its kind
    /// such as `PERSON`; those that overlap become one, named by the longest. What stood in a request is put back into
    /// its answer. The values of all checkers come at once: a text that one of them changed is not what another one saw.
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
        if values.len() > VALUES_MAX {
            return Err(NotReplaced::TooMany);
        }
        // Expressions and not words: a checker names what it saw, which need not be a word by itself.
        let literals: Vec<String> = values.keys().map(|value| regex::escape(value)).collect();
        let rules: Vec<Rule<'_>> = literals.iter().map(|regex| Rule::Pattern { name: "a checker", regex }).collect();
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
        if !(0..values.len()).all(|rule| screen.looker.fires(rule)) {
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::Policy;

    fn replaced(body: &str, values: &[(&str, &str)]) -> Result<(String, String), NotReplaced> {
        let guard = Guard::new(&Policy::default(), &BTreeSet::new()).expect("a policy");
        let values: Vec<_> = values.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect();
        let mut vault = Vault::default();
        let changed = guard.replace(Side::Request, body.as_bytes(), &values, &mut vault)?.expect("it changed");
        let restored = guard.restore(&changed, &vault, usize::MAX).expect("it fits").expect("it is put back");
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

    #[track_caller]
    fn check(text: &str, values: &[(&str, &str)], expected: &str) {
        let body = |text: &str| format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let (changed, restored) = replaced(&body(text), values).expect("all values are there");
        assert_eq!((changed, restored), (body(expected), body(text)));
    }

    #[test]
    fn values_of_several_checkers_that_overlap_become_one_named_by_the_longest() {
        let nested = [("PERSON", "Ann Smith"), ("ADDRESS", "Ann Smith, 5 Main St")];
        check("to Ann Smith, 5 Main St", &nested, "to <ADDRESS_1>");
        check("Ann Smith: Ann Smith, 5 Main St", &nested, "<PERSON_1>: <ADDRESS_1>");
        let crossing = [("A", "alpha beta"), ("B", "beta gamma2")];
        check("alpha beta gamma2. alpha beta. beta gamma2", &crossing, "<B_1>. <A_1>. <B_2>");
        check("Ann Smithson", &[("PERSON", "Ann Smith"), ("PLACE", "Smithson")], "<PERSON_1>");
    }

    #[test]
    fn a_value_is_replaced_within_words_and_in_its_case_alone() {
        check("Ann AnnSmith Ann_2 ann", &[("PERSON", "Ann")], "<PERSON_1> <PERSON_1>Smith <PERSON_1>_2 ann");
        check("a.b axb", &[("X", "a.b")], "<X_1> axb");
    }
}
