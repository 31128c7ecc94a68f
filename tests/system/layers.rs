//! The layers hold: a crate depends only on crates below its own, and what one crate alone may know, no other knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layer of each of our crates; `None` for those that only tests, demos and the binary use.
const LAYERS: &[(&str, Option<u32>)] = &[
    ("tollgate-types", Some(0)),
    ("tollgate-policy", Some(1)),
    ("tollgate-guard", Some(1)),
    ("tollgate-queue", Some(1)),
    ("tollgate-providers", Some(1)),
    ("tollgate-usage", Some(1)),
    ("tollgate-client", Some(1)),
    ("tollgate-messages", Some(1)),
    ("tollgate-operate", Some(2)),
    ("tollgate-batches", Some(2)),
    ("tollgate-bulk", Some(2)),
    ("tollgate-settler", Some(2)),
    ("tollgate-sink", Some(2)),
    ("tollgate-traces", Some(2)),
    ("tollgate-webhooks", Some(2)),
    ("tollgate-worker", Some(2)),
    ("tollgate-http", Some(2)),
    ("tollgate-orders", Some(3)),
    ("tollgate-retention", Some(3)),
    ("tollgate-watch", Some(3)),
    ("tollgate-dashboard", Some(3)),
    ("tollgate-front", Some(3)),
    ("tollgate", Some(4)),
    ("embedded-clickhouse", None),
    ("sandbox", None),
    ("sim-provider", None),
    ("testkit", None),
    ("benches", None),
];

/// Who may know a package. Test dependencies are free.
const KNOWN_BY: &[(&str, &[&str])] = &[
    (
        "async-nats",
        &[
            "tollgate-queue",
            "tollgate-client",
            "tollgate-bulk",
            "tollgate-operate",
            "tollgate-watch",
            "tollgate-webhooks",
            "tollgate",
            "testkit",
            "benches",
        ],
    ),
    ("reqwest", &["tollgate-providers", "tollgate-traces", "tollgate-webhooks", "tollgate", "sandbox", "benches"]),
    ("clickhouse", &["tollgate-usage"]),
    ("tiktoken-rs", &["tollgate-providers"]),
    ("backoff", &["tollgate-worker"]),
    (
        "axum",
        &["tollgate-http", "tollgate-dashboard", "tollgate-front", "embedded-clickhouse", "sim-provider", "benches"],
    ),
    ("opentelemetry-proto", &["tollgate-traces"]),
    ("anyhow", &["tollgate", "benches"]),
    ("libloading", &["embedded-clickhouse"]),
];

/// What pure crates may not know.
const PURE: &[&str] = &["tollgate-types", "tollgate-policy", "tollgate-guard", "tollgate-messages"];
const IMPURE: &[&str] = &["tokio", "rand", "tracing", "metrics", "tempfile"];

struct Manifest {
    path: PathBuf,
    dependencies: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn manifests() -> BTreeMap<String, Manifest> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join("crates"))
        .expect("the crates")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.push(root().join("benches"));
    folders.into_iter().map(|folder| read(&folder.join("Cargo.toml"))).collect()
}

fn read(path: &Path) -> (String, Manifest) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = table["package"]["name"].as_str().expect("a name").to_owned();
    let dependencies = table.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    (name, Manifest { path: path.to_owned(), dependencies: dependencies.keys().cloned().collect() })
}

#[test]
fn every_crate_depends_only_on_layers_below_its_own() {
    let layer_of: BTreeMap<&str, Option<u32>> = LAYERS.iter().copied().collect();
    for (name, manifest) in manifests() {
        let Some(layer) = layer_of.get(name.as_str()) else { panic!("{name} has no layer; give it one here") };
        for dependency in &manifest.dependencies {
            let Some(below) = layer_of.get(dependency.as_str()) else { continue };
            match (layer, below) {
                (Some(layer), Some(below)) => assert!(
                    below < layer,
                    "{} (layer {layer}) depends on {dependency} (layer {below})",
                    manifest.path.display()
                ),
                // The binary runs demos; no other part of the broker may lean on what exists for them.
                (Some(layer), None) => {
                    assert_eq!(*layer, 4, "{name} depends on {dependency}, which is for demos and tests")
                }
                (None, _) => {}
            }
        }
    }
}

#[test]
fn what_one_crate_alone_may_know_no_other_knows() {
    for (name, manifest) in manifests() {
        for (package, allowed) in KNOWN_BY {
            let knows = manifest.dependencies.contains(*package);
            assert!(!knows || allowed.contains(&name.as_str()), "{name} knows {package}; only {allowed:?} may");
        }
        if PURE.contains(&name.as_str()) {
            for impure in IMPURE {
                assert!(!manifest.dependencies.contains(*impure), "{name} is pure and knows {impure}");
            }
        }
    }
}

#[test]
fn backoff_is_used_in_one_file() {
    let mut users = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                if text.lines().any(|line| line.trim_start().starts_with("use backoff::")) {
                    users.push(path);
                }
            }
        }
    }
    assert!(matches!(&users[..], [only] if only.ends_with("crates/worker/src/delays.rs")), "{users:?}");
}
