//! What is in `deploy/` for others' tools names metrics that exist and asks ClickHouse what it answers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::System;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Words that begin with `tollgate_`, as metrics do.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tollgate_")).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboards_name_metrics_that_exist() {
    let sources: String = files(&root().join("crates"), "rs")
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a source"))
        .collect();
    let known: BTreeSet<String> = metrics(&sources);
    let asked = [root().join("deploy/prometheus/rules.yaml"), root().join("deploy/grafana/dashboards/operations.json")];
    for path in asked {
        let text = std::fs::read_to_string(&path).expect("a file");
        let named = metrics(&text);
        assert!(named.len() > 5, "{} names hardly any metric", path.display());
        for name in named {
            let base = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(known.contains(base), "{} names {name}, which nothing measures", path.display());
        }
    }
}

#[test]
fn every_alert_names_a_section_of_the_runbook() {
    let runbook = std::fs::read_to_string(root().join("docs/runbook.md")).expect("the runbook");
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rules = std::fs::read_to_string(root().join("deploy/prometheus/rules.yaml")).expect("the rules");
    let of_rules = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: docs/runbook.md#"));
    let own = tollgate_types::AlertKind::ALL.map(|kind| kind.runbook());
    let own = own.iter().filter_map(|runbook| runbook.strip_prefix("docs/runbook.md#"));
    for section in of_rules.chain(own) {
        assert!(sections.contains(section), "the runbook has no section {section}");
    }
}

/// Grafana's macros and variables, as the plugin writes them for a time and a choice of all.
fn expanded(sql: &str) -> String {
    let mut text =
        sql.replace("${team:singlequote}", "'search', 'marketing'").replace("${model:singlequote}", "'gpt-4o-mini'");
    for (name, from, to) in [
        ("$__timeFilter(", "toDateTime(1)", "toDateTime(4000000000)"),
        ("$__dateFilter(", "toDate('1970-01-02')", "toDate('2100-01-01')"),
    ] {
        while let Some(begins) = text.find(name) {
            let ends = begins + text[begins..].find(')').expect("a macro ends");
            let column = text[begins + name.len()..ends].to_owned();
            text.replace_range(begins..=ends, &format!("{column} >= {from} AND {column} <= {to}"));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_of_grafana_is_answered() {
    let system = System::start("", "").await;
    let clickhouse = system.stack.endpoints().clickhouse;
    tollgate_providers::install_crypto();
    let http = reqwest::Client::new();
    let ask = async |sql: String| {
        let asked = http
            .post(&clickhouse.url)
            .header("X-ClickHouse-User", &clickhouse.user)
            .header("X-ClickHouse-Key", &clickhouse.password)
            .header("X-ClickHouse-Database", &clickhouse.database)
            .body(sql.clone());
        let answer = asked.send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a text"));
        assert!(status.is_success(), "{sql}\n{text}");
    };
    let mut panels = 0;
    for path in files(&root().join("deploy/grafana/dashboards"), "json") {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
        for variable in board["templating"]["list"].as_array().expect("variables") {
            ask(variable["query"].as_str().expect("a question").to_owned()).await;
        }
        for panel in board["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let Some(sql) = target["rawSql"].as_str() else { continue };
                ask(expanded(sql)).await;
                panels += 1;
            }
        }
    }
    assert!(panels >= 15, "only {panels} panels ask ClickHouse");
    system.stop().await;
}
