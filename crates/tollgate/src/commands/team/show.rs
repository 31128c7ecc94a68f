//! `team list` and `team show`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tollgate_queue::Directory;
use tollgate_queue::directory::{Pause, Paused, TeamRecord};
use tollgate_types::{Budget, CacheMode, CacheRules, Limits, SharedBy, Team};

use super::unknown;
use crate::commands::Cx;
use crate::exit::{Code, Outcome};
use crate::live::diff::{keep, scope_of, terms};
use crate::live::{Operator, Owner, unread};
use crate::waiting::{self, Everywhere};

#[derive(Debug, Serialize)]
struct Line {
    team: String,
    weight: u32,
    budgets: usize,
    #[serde(skip_serializing_if = "Limits::is_none")]
    limits: Limits,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    key_limits: BTreeMap<String, Limits>,
}

impl Line {
    fn new(team: String, record: &TeamRecord) -> Self {
        let (limits, key_limits) = (record.limits, record.key_limits.clone());
        Line { team, weight: record.weight, budgets: record.budgets.len(), limits, key_limits }
    }

    fn row(&self) -> Vec<String> {
        let keys = if self.key_limits.is_empty() { String::new() } else { self.key_limits.len().to_string() };
        vec![self.team.clone(), self.weight.to_string(), self.budgets.to_string(), in_words(&self.limits), keys]
    }
}

/// Limits on one line; empty where nothing is limited.
pub(super) fn in_words(limits: &Limits) -> String {
    let words = [
        limits.requests_per_minute.map(|requests| format!("{requests} requests/min")),
        limits.tokens_per_minute.map(|tokens| format!("{tokens} tokens/min")),
        limits.concurrency.map(|jobs| format!("{jobs} at once")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn list(directory: &Directory, cx: &Cx) -> Outcome {
    let line = |(team, record): (String, Arc<TeamRecord>)| Line::new(team, &record);
    let lines: Vec<Line> = directory.teams().into_iter().map(line).collect();
    cx.output.records(&lines, &["team", "weight", "budgets", "limits", "keys"], Line::row)?;
    Ok(Code::Ok)
}

/// A team whole.
#[derive(Debug, Serialize)]
struct Shown {
    team: Team,
    weight: u32,
    limits: Limits,
    key_limits: BTreeMap<String, Limits>,
    budgets: Vec<Budget>,
    /// What its jobs get of the cache of answers, with what holds for everybody.
    cache: CacheRules,
    /// How long its results keep their texts; what holds for everybody if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    results_keep_secs: Option<u64>,
    /// Whether its prompts and answers are captured.
    capture: bool,
    /// Jobs in its lanes, by class, with those that run.
    waiting: BTreeMap<String, u64>,
    /// Jobs behind gates, and for their time.
    parked: u64,
    paused: Vec<Pause>,
}

pub(super) async fn run(name: &Team, operator: &Operator, cx: &Cx) -> Outcome {
    let (record, _) = name.read(&operator.directory).await.map_err(|error| unread(&error))?;
    let record = record.ok_or_else(|| unknown(name))?;
    let everywhere = Everywhere::count(&operator.connection, &operator.context).await?;
    let lanes = everywhere.of_team(name.as_str()).filter(|(_, waiting)| waiting.in_lane > 0);
    let is_ours = |(paused, pause): (Paused, Arc<Pause>)| match paused {
        Paused::Lane { team, .. } if team == *name => Some((*pause).clone()),
        Paused::Lane { .. } | Paused::Model { .. } => None,
    };
    let shown = Shown {
        team: name.clone(),
        weight: record.weight,
        limits: record.limits,
        key_limits: record.key_limits,
        budgets: record.budgets,
        cache: record.cache.over(&operator.directory.organisation().cache),
        results_keep_secs: record.results_keep_secs,
        capture: record.capture,
        waiting: lanes.map(|(lane, waiting)| (lane.plain().class, waiting.in_lane)).collect(),
        parked: waiting::parked_of(&operator.connection.client, name).await?,
        paused: operator.directory.pauses().into_iter().filter_map(is_ours).collect(),
    };
    cx.output.record(&shown, text)?;
    Ok(Code::Ok)
}

fn text(shown: &Shown) -> String {
    let no_limit = |limits: &Limits| if limits.is_none() { "no limit".to_owned() } else { in_words(limits) };
    let mut lines = vec![
        format!("team     {}", shown.team),
        format!("weight   {}", shown.weight),
        format!("limits   {}", no_limit(&shown.limits)),
    ];
    lines.extend(shown.key_limits.iter().map(|(key, limits)| format!("  key {key}  {}", no_limit(limits))));
    lines.push(format!("cache    {}", cache_in_words(&shown.cache)));
    let captured = if shown.capture { "; prompts and answers are captured" } else { "" };
    lines.push(format!("results  keep their texts {}{captured}", keep(shown.results_keep_secs)));
    let waiting: Vec<String> = shown.waiting.iter().map(|(class, jobs)| format!("{jobs} {class}")).collect();
    let waiting = if waiting.is_empty() { "nothing".to_owned() } else { waiting.join(", ") };
    lines.push(format!("waiting  {waiting}; {} parked", shown.parked));
    let pause = |pause: &Pause| {
        let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
        format!("paused   {} by {} since {}{reason}", pause.what, pause.author, pause.at.to_rfc3339())
    };
    lines.extend(shown.paused.iter().map(pause));
    let budget = |budget: &Budget| {
        format!("budget   {} for {}: {}", scope_of(Some(&shown.team), &budget.on), budget.window_id(), terms(budget))
    };
    lines.extend(shown.budgets.iter().map(budget));
    lines.join("\n")
}

fn cache_in_words(rules: &CacheRules) -> String {
    let who = match rules.mode() {
        CacheMode::Off => return "off".to_owned(),
        CacheMode::Bypass => "for jobs that ask",
        CacheMode::Use => "for all jobs that do not ask otherwise",
    };
    let shared = match rules.shared_by() {
        SharedBy::Team => "team",
        SharedBy::Project => "project",
        SharedBy::User => "user",
    };
    format!("{who}, answers kept for {} s and shared by {shared}", rules.ttl().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_is_listed_with_its_limits() {
        let json = r#"{"weight":3,"limits":{"requests_per_minute":60,"concurrency":2},"key_limits":{"k":{"concurrency":1}},
            "budgets":[{"window":"day","cap_usd":1}]}"#;
        let record: TeamRecord = serde_json::from_str(json).expect("a record");
        assert_eq!(Line::new("a".into(), &record).row(), ["a", "3", "1", "60 requests/min, 2 at once", "1"]);
        assert_eq!(Line::new("b".into(), &TeamRecord::default()).row(), ["b", "1", "0", "", ""]);
    }
}
