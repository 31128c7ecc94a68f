//! `guardrails list`: the rules, and what follows when they fire.

use serde::Serialize;
use tollgate_guard::{Action, Entity, Policy};
use tollgate_types::Team;

use super::{guard, policy};
use crate::commands::Cx;
use crate::config::sections::Config;
use crate::exit::{Code, Outcome};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The team whose rules are shown; those of everybody if left out
    #[arg(long, value_name = "TEAM")]
    team: Option<Team>,
    /// Show only rules that are looked for
    #[arg(long)]
    on: bool,
}

/// One rule.
#[derive(Debug, Serialize)]
struct Row {
    rule: String,
    group: &'static str,
    finds: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    placeholder: String,
    input: &'static str,
    output: &'static str,
    weight: u8,
}

pub(super) fn run(args: &Args, cx: &Cx) -> Outcome {
    let config = cx.load()?.config;
    let policy = policy(&config, args.team.as_ref())?;
    guard(&policy, &config)?;
    let mut rows = rows(&policy, &config);
    if args.on {
        rows.retain(|row| row.input != OFF || row.output != OFF);
    }
    cx.output.records(&rows, &["rule", "group", "input", "output", "weight", "placeholder", "finds"], |row| {
        vec![
            row.rule.clone(),
            row.group.to_owned(),
            row.input.to_owned(),
            row.output.to_owned(),
            row.weight.to_string(),
            row.placeholder.clone(),
            row.finds.clone(),
        ]
    })?;
    Ok(Code::Ok)
}

const OFF: &str = "off";

fn rows(policy: &Policy, config: &Config) -> Vec<Row> {
    let mut rows: Vec<Row> = Entity::ALL.iter().map(|&entity| of_entity(entity, policy)).collect();
    for (name, list) in &policy.keywords {
        let finds = match list.at_least {
            0 | 1 => format!("one of {} words", list.words.len()),
            least => format!("{least} of {} words", list.words.len()),
        };
        rows.push(own(name, "keywords", finds, placeholder(name, None), policy));
    }
    for (name, pattern) in &policy.patterns {
        let placeholder = placeholder(name, pattern.placeholder.as_deref());
        rows.push(own(name, "patterns", pattern.regex.clone(), placeholder, policy));
    }
    for (name, checker) in &config.checkers {
        rows.push(own(name, "checkers", format!("what {} objects to", checker.url), String::new(), policy));
    }
    if let Some(most) = policy.characters_max {
        rows.push(whole("size", format!("more than {most} characters"), policy));
    }
    if let Some(languages) = &policy.languages {
        let names: Vec<&str> = languages.iter().map(String::as_str).collect();
        rows.push(whole("language", format!("a text in none of {}", names.join(", ")), policy));
    }
    rows
}

fn of_entity(entity: Entity, policy: &Policy) -> Row {
    let group = entity.group();
    let action = |table: &std::collections::BTreeMap<String, Action>| {
        let said = table.get(entity.as_str()).or_else(|| table.get(group.as_str()));
        said.map_or(OFF, |action| action.as_str())
    };
    Row {
        rule: entity.as_str().to_owned(),
        group: group.as_str(),
        finds: entity.finds().to_owned(),
        placeholder: format!("<{}_1>", entity.label()),
        input: action(&policy.input),
        output: action(&policy.output),
        weight: tollgate_guard::weight(policy, entity.as_str()),
    }
}

fn own(name: &str, group: &'static str, finds: String, placeholder: String, policy: &Policy) -> Row {
    let said = |action: Option<&Action>| action.map_or(OFF, |action| action.as_str());
    let (input, output) = (said(policy.input.get(name)), said(policy.output.get(name)));
    Row {
        rule: name.to_owned(),
        group,
        finds,
        placeholder,
        input,
        output,
        weight: tollgate_guard::weight(policy, name),
    }
}

/// A rule about a request as a whole, which blocks where nobody says otherwise.
fn whole(name: &str, finds: String, policy: &Policy) -> Row {
    let input = policy.input.get(name).map_or("block", |action| action.as_str());
    Row { input, ..own(name, "whole", finds, String::new(), policy) }
}

fn placeholder(name: &str, said: Option<&str>) -> String {
    let label = said.map_or_else(|| name.to_ascii_uppercase().replace('-', "_"), str::to_owned);
    format!("<{label}_1>")
}
