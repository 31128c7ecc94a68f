//! How the streams that exist differ from those that are wanted.

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, ErrorCode};
use tollgate_queue::streams::{Limits, wanted};
use tollgate_types::subjects;

use crate::exit::{Code, Failure};

/// How one stream differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It does not exist.
    Missing,
    /// It exists with other settings, in words.
    Differs(Vec<String>),
    /// It is as wanted.
    None,
}

/// Compares every stream and bucket.
///
/// # Errors
/// Returns that the server does not answer.
pub async fn find(context: &jetstream::Context, limits: &Limits) -> Result<Vec<(String, Drift)>, Failure> {
    let mut found = Vec::new();
    for wanted in wanted(limits) {
        let name = wanted.name.clone();
        let drift = current(context, &name).await?.map_or(Drift::Missing, |current| compare(&current, &wanted));
        found.push((name, drift));
    }
    for bucket in [subjects::CONFIG_BUCKET, subjects::STATE_BUCKET] {
        let there = current(context, &format!("KV_{bucket}")).await?.is_some();
        found.push((bucket.to_owned(), if there { Drift::None } else { Drift::Missing }));
    }
    Ok(found)
}

async fn current(context: &jetstream::Context, name: &str) -> Result<Option<Config>, Failure> {
    use jetstream::context::GetStreamErrorKind as Kind;
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            Kind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(Failure::new(Code::Nats, "JetStream does not answer")
                .because(&error)
                .try_this("enable JetStream on the server and in our account, and allow us its API")),
        },
    }
}

/// The settings that `init` looks after, and how they differ.
pub fn compare(current: &Config, wanted: &Config) -> Drift {
    let pairs = [
        ("max_msgs", current.max_messages.to_string(), wanted.max_messages.to_string()),
        ("max_bytes", current.max_bytes.to_string(), wanted.max_bytes.to_string()),
        ("max_age", format!("{:?}", current.max_age), format!("{:?}", wanted.max_age)),
        ("duplicate_window", format!("{:?}", current.duplicate_window), format!("{:?}", wanted.duplicate_window)),
        ("max_consumers", current.max_consumers.to_string(), wanted.max_consumers.to_string()),
        ("replicas", current.num_replicas.to_string(), wanted.num_replicas.to_string()),
        ("subjects", current.subjects.join(" "), wanted.subjects.join(" ")),
        ("retention", format!("{:?}", current.retention), format!("{:?}", wanted.retention)),
        ("discard", format!("{:?}", current.discard), format!("{:?}", wanted.discard)),
        ("storage", format!("{:?}", current.storage), format!("{:?}", wanted.storage)),
    ];
    let differs = pairs.into_iter().filter(|(_, is, wants)| is != wants);
    let words: Vec<String> = differs.map(|(name, is, wants)| format!("{name} {is} -> {wants}")).collect();
    if words.is_empty() { Drift::None } else { Drift::Differs(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_with_both_values() {
        let wanted = &wanted(&Limits::default())[0];
        assert_eq!(compare(wanted, wanted), Drift::None);
        let smaller = Config { max_messages: 5, ..wanted.clone() };
        assert_eq!(compare(&smaller, wanted), Drift::Differs(vec!["max_msgs 5 -> 10000000".into()]));
    }
}
