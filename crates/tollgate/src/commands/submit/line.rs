//! A job line from what the command line says. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use bytes::Bytes;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::{CacheWish, Endpoint, Options, UnixMillis, Usd, job};

use crate::config::values::Period;

/// What is wanted of a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) prompt: String,
    pub(super) model: String,
    pub(super) max_tokens: Option<u64>,
    pub(super) reply_to: Option<String>,
    pub(super) deadline: Option<UnixMillis>,
    pub(super) not_before: Option<UnixMillis>,
    pub(super) max_cost_usd: Option<Usd>,
    pub(super) project: Option<String>,
    pub(super) user: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) tags: BTreeSet<String>,
    pub(super) cache: Option<CacheWish>,
    pub(super) stream: bool,
}

impl Wish {
    /// The line, without options that were not given.
    pub(super) fn line(&self) -> Bytes {
        let mut body = json!({ "model": self.model, "messages": [{ "role": "user", "content": self.prompt }] });
        if let Some(max_tokens) = self.max_tokens {
            body["max_tokens"] = max_tokens.into();
        }
        if self.stream {
            body["stream"] = true.into();
        }
        let options = Options {
            version: job::VERSION,
            reply_to: self.reply_to.clone(),
            deadline: self.deadline.map(|at| job::Deadline { at }),
            not_before: self.not_before.map(|at| job::Deadline { at }),
            max_cost_usd: self.max_cost_usd,
            project: self.project.clone(),
            user: self.user.clone(),
            labels: self.labels.clone(),
            tags: self.tags.clone(),
            cache: self.cache,
            // The client puts what does not fit beside the line.
            body: None,
        };
        json!({ "method": "POST", "url": Endpoint::ChatCompletions.as_str(), "body": body, "tollgate": options })
            .to_string()
            .into()
    }
}

/// `--deadline`: from now, or a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Deadline {
    In(Period),
    At(UnixMillis),
}

impl Deadline {
    pub(in crate::commands) fn at(self, now: UnixMillis) -> UnixMillis {
        match self {
            Deadline::In(period) => now.plus(period.0),
            Deadline::At(at) => at,
        }
    }
}

impl FromStr for Deadline {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(period) = Period::parse(text) {
            return Ok(Deadline::In(period));
        }
        let at = OffsetDateTime::parse(text, &Rfc3339);
        at.map(|at| Deadline::At(at.into()))
            .map_err(|_| format!("'{text}' is neither a duration such as 30s nor an RFC 3339 time"))
    }
}

/// `--label KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Label {
    pub(in crate::commands) key: String,
    pub(in crate::commands) value: String,
}

impl FromStr for Label {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not KEY=VALUE"))?;
        Ok(Label { key: key.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_types::JobSpec;

    #[test]
    fn a_line_with_every_option_is_a_job() {
        let wish = Wish {
            prompt: "Say \"hello\".\n".into(),
            model: "fast".into(),
            max_tokens: Some(7),
            reply_to: Some("reply.search.1".into()),
            deadline: Some(UnixMillis(1_763_000_000_000)),
            not_before: Some(UnixMillis(1_762_999_000_000)),
            max_cost_usd: Some("0.05".parse().expect("dollars")),
            project: Some("ranking".into()),
            user: Some("ada".into()),
            labels: [("feature".to_owned(), "summary".to_owned())].into(),
            tags: ["gpu".to_owned()].into(),
            cache: Some(CacheWish::Refresh),
            stream: true,
        };
        let job = JobSpec::decode(&wish.line(), 4096).expect("a job");
        assert_eq!((job.request.model.as_str(), job.request.max_tokens), ("fast", Some(7)));
        assert_eq!(job.options.deadline.map(|deadline| deadline.at), wish.deadline);
        assert_eq!(job.options.not_before.map(|at| at.at), wish.not_before);
        assert_eq!(job.options.max_cost_usd, wish.max_cost_usd);
        assert_eq!(
            (job.options.reply_to, job.options.project, job.options.user),
            (wish.reply_to, wish.project, wish.user)
        );
        assert_eq!((job.options.labels, job.options.tags), (wish.labels, wish.tags));
        assert_eq!(job.options.cache, wish.cache);
        assert!(job.request.stream_at.is_some());
    }

    #[test]
    fn a_bare_prompt_is_a_job_too() {
        let wish = Wish { prompt: "Hi".into(), model: "fast".into(), ..Wish::default() };
        assert!(JobSpec::decode(&wish.line(), 4096).is_ok());
    }

    #[test]
    fn deadlines_are_durations_or_times() {
        let now = UnixMillis(1000);
        let at = |text: &str| text.parse::<Deadline>().map(|deadline| deadline.at(now));
        assert_eq!(at("30s"), Ok(UnixMillis(31_000)));
        assert_eq!(at("1970-01-01T00:00:05Z"), Ok(UnixMillis(5000)));
        assert!(at("soon").is_err());
        assert!("novalue".parse::<Label>().is_err());
    }
}
