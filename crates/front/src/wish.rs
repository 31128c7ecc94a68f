//! What a call wants of Tollgate, beside what it asks of a model: by headers, by a `tollgate` object in the body, or both.
//! The object counts where both say something, because it belongs to the one call.

use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::{Map, Value};
use tollgate_operate::Period;
use tollgate_types::{Class, UnixMillis};

use crate::refused::Refused;

/// What a call wants of Tollgate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wish {
    /// The class of the job.
    pub(crate) class: Option<Class>,
    /// How long the caller waits.
    pub(crate) wait: Option<Duration>,
    /// Whether the job is cancelled when the caller goes away.
    pub(crate) cancel_on_disconnect: bool,
    /// The job's own options, as a job line has them.
    pub(crate) options: Map<String, Value>,
}

/// How the headers begin.
const PREFIX: &str = "x-tollgate-";
/// What may be wished for by header; the same words, with `_`, are the fields of the object.
const KNOWN: [&str; 12] = [
    "class",
    "wait",
    "on-disconnect",
    "project",
    "user",
    "labels",
    "tags",
    "cache",
    "deadline",
    "not-before",
    "max-cost-usd",
    "version",
];

/// What another broker of ours says to its providers, of which we may be one.
const OF_A_BROKER: [&str; 3] = ["job", "attempt", "run"];

impl Wish {
    /// Reads the headers.
    ///
    /// # Errors
    /// Which header is wrong.
    pub(crate) fn of_headers(headers: &HeaderMap, now: UnixMillis) -> Result<Wish, Refused> {
        let mut wish = Wish { wait: prefer(headers), ..Wish::default() };
        for name in headers.keys() {
            let Some(word) = name.as_str().strip_prefix(PREFIX) else { continue };
            if OF_A_BROKER.contains(&word) {
                continue;
            }
            let mut values = headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return Err(Refused::bad("invalid_header", format!("the header {name} is there more than once")));
            };
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| wrong(name.as_str(), "is not UTF-8"))?;
            let said = match word {
                "labels" => labels(text).ok_or_else(|| wrong(name.as_str(), "is not `name=value, name=value`"))?,
                "tags" => text.split(',').map(|tag| Value::from(tag.trim())).collect(),
                known if KNOWN.contains(&known) => Value::from(text.trim()),
                _ => {
                    let known = KNOWN.map(|known| format!("{PREFIX}{known}")).join(", ");
                    let why = format!("the header {name} is not one that Tollgate knows; there are: {known}");
                    return Err(Refused::bad("unknown_header", why));
                }
            };
            wish.take(&word.replace('-', "_"), said, now).map_err(|why| wrong(name.as_str(), &why))?;
        }
        Ok(wish)
    }

    /// Lays the object of a body over it.
    ///
    /// # Errors
    /// Which field is wrong.
    pub(crate) fn and_of_body(mut self, object: &str, now: UnixMillis) -> Result<Wish, Refused> {
        let fields: Map<String, Value> =
            serde_json::from_str(object).map_err(|_| Refused::of_field("tollgate", "`tollgate` must be an object"))?;
        for (name, value) in fields {
            let at = format!("tollgate.{name}");
            if name == "reply_to" {
                let why = "`tollgate.reply_to` is for jobs that are published on NATS; here the answer is the response";
                return Err(Refused::of_field("tollgate.reply_to", why));
            }
            self.take(&name, value, now).map_err(|why| Refused::of_field(&at, format!("`{at}` {why}")))?;
        }
        Ok(self)
    }

    /// Takes one option; those of a job are judged with it, later.
    fn take(&mut self, name: &str, value: Value, now: UnixMillis) -> Result<(), String> {
        let text = value.as_str();
        match name {
            "class" => self.class = Some(text.unwrap_or_default().parse()?),
            "wait" => self.wait = Some(duration(&value).ok_or("must be a duration such as 30s, or seconds")?),
            "on_disconnect" => {
                self.cancel_on_disconnect = match text {
                    Some("cancel") => true,
                    Some("continue") => false,
                    _ => return Err("must be `continue` or `cancel`".to_owned()),
                }
            }
            // From now on, as people write it; or a point in time, as jobs have it.
            "deadline" | "not_before" => {
                let at = text.and_then(|text| Period::parse(text).ok()).map(|in_so_long| now.plus(in_so_long.0));
                let value = at.map_or(value, |at| at.to_rfc3339().into());
                self.options.insert(name.to_owned(), value);
            }
            _ => drop(self.options.insert(name.to_owned(), value)),
        }
        Ok(())
    }
}

fn wrong(name: &str, why: &str) -> Refused {
    Refused::bad("invalid_header", format!("the header {name} {why}"))
}

/// A duration in words, or as seconds.
fn duration(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => Period::parse(value.as_str()?).ok().map(|period| period.0),
    }
}

/// `name=value, name=value`.
fn labels(text: &str) -> Option<Value> {
    let pairs = text.split(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), Value::from(value.trim())))
    });
    pairs.collect::<Option<Map<String, Value>>>().map(Value::from)
}

/// How long a caller waits by the standard header, `Prefer: wait=30` or `Prefer: respond-async` (RFC 7240).
fn prefer(headers: &HeaderMap) -> Option<Duration> {
    let words =
        headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut wait = None;
    for word in words {
        let word = word.trim().to_ascii_lowercase();
        if word == "respond-async" {
            wait = wait.or(Some(Duration::ZERO));
        } else if let Some(seconds) = word.strip_prefix("wait=").and_then(|seconds| seconds.trim().parse().ok()) {
            wait = Some(Duration::from_secs(seconds));
        }
    }
    wait
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Result<Wish, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        Wish::of_headers(&headers, UnixMillis(0)).map_err(|refused| refused.message)
    }

    #[test]
    fn headers_say_what_a_job_line_would() {
        let wish = of(&[
            ("x-tollgate-class", "batch"),
            ("x-tollgate-wait", "30"),
            ("x-tollgate-on-disconnect", "cancel"),
            ("x-tollgate-project", "ranking"),
            ("x-tollgate-labels", "feature=summary, tier = b=c"),
            ("x-tollgate-tags", "eu, fast"),
            ("x-tollgate-deadline", "5s"),
            ("accept", "text/html"),
            ("x-tollgate-job", "search:1"),
        ])
        .expect("a wish");
        assert_eq!((wish.class, wish.wait), (Some(Class::Batch), Some(Duration::from_secs(30))));
        assert!(wish.cancel_on_disconnect);
        let options = json!({ "project": "ranking", "labels": {"feature": "summary", "tier": "b=c"},
            "tags": ["eu", "fast"], "deadline": "1970-01-01T00:00:05Z" });
        assert_eq!(Value::from(wish.options), options);
    }

    #[test]
    fn what_is_not_known_or_not_clear_is_refused_by_name() {
        for (pairs, expected) in [
            (&[("x-tollgate-clas", "batch")][..], "x-tollgate-clas is not one that Tollgate knows"),
            (&[("x-tollgate-class", "urgent")], "'urgent' is not a class"),
            (&[("x-tollgate-wait", "soon")], "must be a duration"),
            (&[("x-tollgate-wait", "-1")], "must be a duration"),
            (&[("x-tollgate-labels", "a")], "name=value"),
            (&[("x-tollgate-user", "a"), ("x-tollgate-user", "b")], "more than once"),
            (&[("x-tollgate-on-disconnect", "explode")], "must be `continue`"),
        ] {
            let why = of(pairs).expect_err(expected);
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn the_object_counts_where_both_say_something() {
        let wish = of(&[("x-tollgate-class", "batch"), ("x-tollgate-user", "a")]).expect("a wish");
        let wish = wish.and_of_body(r#"{"class":"standard","cache":"bypass","wait":1.5}"#, UnixMillis(0)).expect("it");
        assert_eq!((wish.class, wish.wait), (Some(Class::Standard), Some(Duration::from_millis(1500))));
        assert_eq!(Value::from(wish.options.clone()), json!({ "user": "a", "cache": "bypass" }));
        for (bad, param) in
            [("7", "tollgate"), (r#"{"reply_to":"x"}"#, "tollgate.reply_to"), (r#"{"class":7}"#, "tollgate.class")]
        {
            let refused = wish.clone().and_of_body(bad, UnixMillis(0)).expect_err(bad);
            assert_eq!(refused.param.as_deref(), Some(param), "{refused:?}");
        }
    }

    #[test]
    fn the_standard_header_says_how_long_to_wait() {
        for (text, expected) in [
            ("wait=30", Some(Duration::from_secs(30))),
            ("respond-async", Some(Duration::ZERO)),
            ("respond-async, wait=5", Some(Duration::from_secs(5))),
            ("return=minimal", None),
            ("wait=soon", None),
        ] {
            assert_eq!(of(&[("prefer", text)]).expect("a wish").wait, expected, "{text}");
        }
    }
}
