//! Books that disagree.

use tollgate_types::{AlertKind, Severity};

use super::queues::count;
use crate::finding::Finding;
use crate::sample::Books;

/// What reconciling found, if it found anything.
pub(super) fn disagree(books: &Books) -> Vec<Finding> {
    if books.differences == 0 {
        return Vec::new();
    }
    let first = books.first.as_deref().unwrap_or_default();
    vec![Finding {
        kind: AlertKind::Reconciliation,
        severity: Severity::Critical,
        team: None,
        about: "books".to_owned(),
        what: format!("the books disagree in {} place(s); the first: {first}", books.differences),
        value: count(books.differences),
        threshold: 0.0,
        unit: "rows".to_owned(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_are_told_of_only_when_they_disagree() {
        assert!(disagree(&Books::default()).is_empty());
        let found = disagree(&Books { differences: 3, first: Some("search gpt: 4 rows and 5".into()) });
        assert!(found[0].what.contains("3 place(s)") && found[0].what.contains("search gpt"), "{}", found[0].what);
    }
}
