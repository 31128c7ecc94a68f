//! Brings the live configuration to what the file says: teams, and what holds for everybody. `init` and `config apply`.
//!
//! What the file does not mention stays as it is on the running system, and so do raises that were made there.

use serde::Serialize;
use tollgate_queue::Directory;
use tollgate_queue::directory::{Access, Organisation, Record, TeamRecord};
use tollgate_types::{Budget, Limits, Team};

use super::Cx;
use crate::config::values::Period;
use crate::config::{Config, sections};
use crate::connect;
use crate::exit::{Code, Failure};
use crate::live::diff::Change;
use crate::live::{Changed, Everybody, Operator, Owner, unread};

/// What was done to one thing.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) change: &'static str,
    pub(super) detail: String,
}

impl Step {
    pub(super) fn new(
        kind: &'static str,
        name: impl Into<String>,
        change: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Step { kind, name: name.into(), change, detail: detail.into() }
    }

    fn of<R>(kind: &'static str, name: &str, changed: &Changed<R>, [created, updated]: [&'static str; 2]) -> Self {
        let change = match (&changed.before, changed.changes.is_empty()) {
            (_, true) => "unchanged",
            (None, false) => created,
            (Some(_), false) => updated,
        };
        let detail: Vec<String> = changed.changes.iter().map(Change::to_string).collect();
        Step::new(kind, name, change, detail.join("; "))
    }
}

/// Prints what was done.
pub(super) fn print(steps: &[Step], cx: &Cx) -> Result<(), Failure> {
    let row = |s: &Step| vec![s.kind.to_owned(), s.name.clone(), s.change.to_owned(), s.detail.clone()];
    cx.output.records(steps, &["kind", "name", "change", "detail"], row)
}

/// Says what [`apply`] would do. Without a directory nothing is there yet.
///
/// # Errors
/// What cannot be read, and every record that would not be valid.
pub(super) async fn would_apply(directory: Option<&Directory>, config: &Config) -> Result<Vec<Step>, Failure> {
    const WOULD: [&str; 2] = ["would be created", "would be updated"];
    let mut steps = Vec::new();
    let mut refused = Vec::new();
    if says_anything(config) {
        let changed = would(&Everybody, directory, |known| organisation(config, known)).await?;
        refused.extend(changed.after.check_write(connect::CHECKS).err().map(|why| format!("organisation: {why}")));
        steps.push(Step::of("organisation", "", &changed, WOULD));
    }
    for (name, settings) in &config.teams {
        let name = name_of(name);
        let changed = would(&name, directory, |known| team(settings, known)).await?;
        refused.extend(changed.after.check_write(connect::CHECKS).err().map(|why| format!("teams.{name}: {why}")));
        steps.push(Step::of("team", name.as_str(), &changed, WOULD));
    }
    if refused.is_empty() {
        return Ok(steps);
    }
    let what = format!("nothing was changed: with the raises on the running system, {}", refused.join("; "));
    Err(Failure::new(Code::Usage, what).try_this("lower the cap, or end raises with `tollgate budget raise --end`"))
}

/// Brings the live configuration to what the file says.
///
/// Everything is checked before the first record is written; each record is swapped for itself, so that after a crash
/// the same command goes on where it was.
///
/// # Errors
/// What is not valid, with nothing changed; what cannot be written.
pub(super) async fn apply(operator: &Operator, config: &Config, command: &str) -> Result<Vec<Step>, Failure> {
    would_apply(Some(&operator.directory), config).await?;
    const DONE: [&str; 2] = ["created", "updated"];
    let mut steps = Vec::new();
    if says_anything(config) {
        let over = |known: Option<&Organisation>| Ok(organisation(config, known));
        let changed = operator.change(&Everybody, command, over).await?;
        steps.push(Step::of("organisation", "", &changed, DONE));
    }
    for (name, settings) in &config.teams {
        let changed = operator.change(&name_of(name), command, |known| Ok(team(settings, known))).await?;
        steps.push(Step::of("team", name, &changed, DONE));
    }
    Ok(steps)
}

async fn would<O: Owner>(
    owner: &O,
    directory: Option<&Directory>,
    over: impl Fn(Option<&O::Record>) -> O::Record,
) -> Result<Changed<O::Record>, Failure> {
    let before = match directory {
        Some(directory) => owner.read(directory).await.map_err(|error| unread(&error))?.0,
        None => None,
    };
    let after = over(before.as_ref());
    let changes = owner.diff(before.as_ref(), Some(&after));
    Ok(Changed { before, after, changes })
}

fn name_of(team: &str) -> Team {
    team.parse().expect("checked when it was loaded")
}

fn says_anything(config: &Config) -> bool {
    let organisation = &config.organisation;
    organisation.budgets.is_some()
        || organisation.class_weights.is_some()
        || organisation.results_keep.is_some()
        || config.guardrails.is_some()
        || !config.cache.rules().is_none()
}

/// What the file says about a team, over what is known of it.
fn team(settings: &sections::Team, known: Option<&TeamRecord>) -> TeamRecord {
    let known = known.cloned().unwrap_or_default();
    let said = settings.limits();
    TeamRecord {
        weight: settings.weight.unwrap_or(known.weight),
        limits: Limits {
            requests_per_minute: said.requests_per_minute.or(known.limits.requests_per_minute),
            tokens_per_minute: said.tokens_per_minute.or(known.limits.tokens_per_minute),
            concurrency: said.concurrency.or(known.limits.concurrency),
        },
        key_limits: settings.keys.clone().unwrap_or(known.key_limits),
        budgets: budgets(settings.budgets.as_deref(), known.budgets),
        access: Access {
            models: settings.models.clone().unwrap_or(known.access.models),
            providers: settings.providers.clone().unwrap_or(known.access.providers),
            regions: settings.regions.clone().unwrap_or(known.access.regions),
        },
        guardrails: settings.guardrails.clone().unwrap_or(known.guardrails),
        cache: settings.cache.rules().over(&known.cache),
        results_keep_secs: settings.results_keep.map(in_seconds).or(known.results_keep_secs),
        capture: settings.capture.unwrap_or(known.capture),
    }
}

/// What the file says about everybody, over what is known.
fn organisation(config: &Config, known: Option<&Organisation>) -> Organisation {
    let known = known.cloned().unwrap_or_default();
    let settings = &config.organisation;
    Organisation {
        guardrails: config.guardrails.clone().unwrap_or(known.guardrails),
        class_weights: settings.class_weights.unwrap_or(known.class_weights),
        budgets: budgets(settings.budgets.as_deref(), known.budgets),
        cache: config.cache.rules().over(&known.cache),
        results_keep_secs: settings.results_keep.map(in_seconds).or(known.results_keep_secs),
    }
}

/// A part of a second is a second more.
pub(super) fn in_seconds(keep: Period) -> u64 {
    u64::try_from(keep.0.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// The budgets of the file, each with the raises of the one that it replaces.
fn budgets(said: Option<&[sections::Budget]>, known: Vec<Budget>) -> Vec<Budget> {
    let Some(said) = said else { return known };
    let with_raises = |said: &sections::Budget| {
        let mut budget = said.kept();
        let replaced = known.iter().find(|known| known.on == budget.on && known.window_id() == budget.window_id());
        budget.raises = replaced.map(|known| known.raises.clone()).unwrap_or_default();
        budget
    };
    said.iter().map(with_raises).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> sections::Team {
        toml::from_str(toml).expect("a section")
    }

    fn live() -> TeamRecord {
        let raise = r#"{"amount_usd":"50","from":0,"until":1000,"author":"ann"}"#;
        let json = format!(
            r#"{{"weight":7,"limits":{{"concurrency":3,"requests_per_minute":10}},"key_limits":{{"k":{{"concurrency":1}}}},"access":{{"models":["fast"]}},"cache":{{"mode":"use"}},
            "budgets":[{{"window":"day","cap_usd":"10","raises":[{raise}]}},{{"window":"week","cap_usd":"60"}}]}}"#
        );
        serde_json::from_str(&json).expect("a record")
    }

    #[test]
    fn what_a_file_does_not_mention_stays_and_what_it_says_holds() {
        assert_eq!(team(&settings(""), Some(&live())), live());
        assert_eq!(team(&settings(""), None), TeamRecord::default());
        let some = team(&settings("weight = 2\nconcurrency = 9"), Some(&live()));
        let limits = Limits { concurrency: Some(9), ..live().limits };
        assert_eq!(some, TeamRecord { weight: 2, limits, ..live() });
        let narrowed = team(&settings("regions = [\"eu\"]"), Some(&live()));
        assert_eq!((narrowed.access.regions, narrowed.access.models), (vec!["eu".to_owned()], vec!["fast".to_owned()]));
        assert!(team(&settings("models = []"), Some(&live())).access.is_everything());
        let kept = team(&settings("results_keep = \"1500ms\"\ncapture = true"), Some(&live()));
        assert_eq!((kept.results_keep_secs, kept.capture, kept.weight), (Some(2), true, 7));
        assert_eq!(team(&settings("capture = false"), Some(&kept)).results_keep_secs, Some(2));
        let none = team(&settings("budgets = []\nkeys = {}"), Some(&live()));
        assert_eq!((none.budgets.len(), none.key_limits.len()), (0, 0));
        let cached = team(&settings("[cache]\nttl = \"2h\""), Some(&live())).cache;
        assert_eq!((cached.ttl_seconds, cached.mode), (Some(7200), live().cache.mode));
    }

    #[test]
    fn a_budget_of_the_file_keeps_the_raises_that_were_made_live() {
        let file = settings("[[budgets]]\nwindow = \"day\"\ncap_usd = 20\n[[budgets]]\nwindow = \"hour\"\ncap_usd = 1");
        let [day, hour] = &team(&file, Some(&live())).budgets[..] else { panic!("two budgets") };
        assert_eq!((day.cap_usd.to_string().as_str(), &day.raises), ("20", &live().budgets[0].raises));
        assert_eq!((hour.window.as_str(), hour.raises.len()), ("hour", 0));
    }

    #[test]
    fn everybody_is_left_alone_by_a_file_that_says_nothing() {
        assert!(!says_anything(&Config::default()));
        let text = "[organisation]\nclass_weights = { batch = 2 }\n[guardrails]\ninput = { pii = \"redact\" }";
        let said: Config = toml::from_str(text).expect("a file");
        let cached: Config = toml::from_str("[cache]\nmode = \"use\"").expect("a file");
        assert!(says_anything(&said) && says_anything(&cached));
        let before: Organisation =
            serde_json::from_str(r#"{"budgets":[{"window":"month","cap_usd":"9"}]}"#).expect("a record");
        let after = organisation(&said, Some(&before));
        assert_eq!((after.class_weights.batch, after.class_weights.interactive), (2, 16));
        assert_eq!(after.budgets, before.budgets);
        assert_eq!(organisation(&Config::default(), Some(&after)).guardrails, after.guardrails);
        let nothing: Config = toml::from_str("[guardrails]").expect("a file");
        assert!(organisation(&nothing, Some(&after)).guardrails.is_empty(), "what is said to be nothing is taken away");
    }
}
