//! `budget history`: the audit, as far as it is about budgets.

use serde::Serialize;
use tollgate_types::Scope;

use crate::commands::Cx;
use crate::exit::{Code, Outcome};
use crate::live::audit::Stored;
use crate::live::{Everybody, Operator, Owner as _};

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Event {
    seq: u64,
    at: String,
    author: String,
    scope: String,
    window: String,
    what: String,
    action: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl Event {
    fn row(&self) -> Vec<String> {
        let Event { at, author, scope, window, what, action, reason, .. } = self;
        [at, author, scope, window, what, action, reason].map(String::clone).to_vec()
    }
}

pub(super) async fn run(scope: Option<&Scope>, limit: usize, operator: &Operator, cx: &Cx) -> Outcome {
    let entries = match scope.map(Scope::team) {
        None => operator.history(None).await?,
        Some(None) => operator.history(Some(Everybody.subject())).await?,
        Some(Some(team)) => operator.history(Some(("team", team.to_owned()))).await?,
    };
    let mut events = events(&entries, scope);
    events.drain(..events.len().saturating_sub(limit));
    cx.output.records(&events, &["at", "author", "scope", "window", "what", "by", "reason"], Event::row)?;
    Ok(Code::Ok)
}

fn events(entries: &[Stored], scope: Option<&Scope>) -> Vec<Event> {
    let wanted = scope.map(Scope::to_string);
    let of_entry = |stored: &Stored| {
        let about = stored.entry.changes.iter().filter_map(|change| Some((change, change.budget.clone()?)));
        let about = about.filter(|(change, _)| wanted.as_ref().is_none_or(|wanted| *wanted == change.scope));
        let event = |(change, window): (&crate::live::diff::Change, String)| Event {
            seq: stored.seq,
            at: stored.at.to_rfc3339(),
            author: stored.entry.author.clone(),
            scope: change.scope.clone(),
            window,
            what: change.what.clone(),
            action: stored.entry.action.clone(),
            reason: stored.entry.reason.clone(),
        };
        about.map(event).collect::<Vec<_>>()
    };
    entries.iter().flat_map(of_entry).collect()
}

#[cfg(test)]
mod tests {
    use tollgate_types::UnixMillis;

    use super::*;

    #[test]
    fn the_audit_is_told_as_far_as_it_is_about_the_scope() {
        let entry = r#"{"kind":"team","name":"a","author":"ann","action":"config apply","changes":[
            {"scope":"team:a","what":"weight 1 -> 2"},{"scope":"team:a","budget":"day","what":"cap 1 -> 2"},
            {"scope":"user:a/*","budget":"day","what":"budget removed"}]}"#;
        let stored = Stored { seq: 7, at: UnixMillis(0), entry: serde_json::from_str(entry).expect("an entry") };
        let check = |scope: Option<&str>, expected: &[&str]| {
            let scope = scope.map(|scope| scope.parse::<Scope>().expect("a scope"));
            let found = events(std::slice::from_ref(&stored), scope.as_ref());
            assert_eq!(found.iter().map(|event| event.what.as_str()).collect::<Vec<_>>(), expected);
        };
        check(None, &["cap 1 -> 2", "budget removed"]);
        check(Some("team:a"), &["cap 1 -> 2"]);
        check(Some("user:a/*"), &["budget removed"]);
        check(Some("project:a/x"), &[]);
    }
}
