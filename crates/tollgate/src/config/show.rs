//! The effective values with where they come from; secrets as asterisks.

use serde::Serialize;
use tollgate_queue::connect::redacted;
use toml::Value;

use super::{Config, Loaded, Origin};

/// One effective value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The key, such as `nats.url`.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
}

/// Every effective value, by key.
pub fn show(loaded: &Loaded) -> Vec<Shown> {
    let mut config = loaded.config.clone();
    mask_urls(&mut config);
    let tree = Value::try_from(&config).expect("sections are tables of texts, numbers and lists");
    let mut shown = Vec::new();
    walk(&tree, "", loaded, &mut shown);
    shown
}

/// URLs can carry a password.
fn mask_urls(config: &mut Config) {
    config.nats.url = redacted(&config.nats.url);
    config.clickhouse.url = redacted(&config.clickhouse.url);
    config.worker.proxy = config.worker.proxy.as_deref().map(redacted);
}

fn walk(value: &Value, path: &str, loaded: &Loaded, shown: &mut Vec<Shown>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, &path, loaded, shown);
            }
        }
        leaf => {
            let origin = loaded.origins.get(path).unwrap_or(&Origin::Default);
            shown.push(Shown { key: path.to_owned(), value: leaf.to_string(), origin: origin.to_string() });
        }
    }
}
