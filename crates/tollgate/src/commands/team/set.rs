//! `team set`: weight and limits.

use std::str::FromStr;

use serde::Serialize;
use tollgate_queue::directory::TeamRecord;
use tollgate_types::{Limits, Team};

use super::unknown;
use crate::commands::Cx;
use crate::commands::apply::in_seconds;
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};

/// The flags; what is left out stays as it is.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
pub(super) struct Args {
    /// The team
    #[arg(value_name = "NAME")]
    name: Team,
    /// Its share against other teams of the same class
    #[arg(long, group = "what", value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: Option<u32>,
    /// The most requests in any sliding minute, over all workers
    #[arg(long, group = "what", value_name = "N|none")]
    requests_per_minute: Option<Limit<u32>>,
    /// The most tokens in any sliding minute, over all workers
    #[arg(long, group = "what", value_name = "N|none")]
    tokens_per_minute: Option<Limit<u64>>,
    /// The most jobs at once, over all workers
    #[arg(long, group = "what", value_name = "N|none")]
    concurrency: Option<Limit<u32>>,
    /// How long its results keep their texts, such as 7d; none is what holds for everybody
    #[arg(long, group = "what", value_name = "DURATION|none", conflicts_with = "key")]
    results_keep: Option<Limit<Period>>,
    /// Whether its prompts and answers are captured
    #[arg(long, group = "what", value_name = "true|false", conflicts_with = "key")]
    capture: Option<bool>,
    /// The limits are of this API key; * is each that is not named
    #[arg(long, value_name = "ID", conflicts_with = "weight")]
    key: Option<String>,
    #[command(flatten)]
    pub(super) by: By,
}

/// A limit, or that there is to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit<T> {
    At(T),
    None,
}

impl<T: FromStr + Written> FromStr for Limit<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Limit::None);
        }
        text.parse().map(Limit::At).map_err(|_| format!("'{text}' is not {}, or none", T::WHAT))
    }
}

/// What a limit is written as.
trait Written {
    const WHAT: &str;
}

impl Written for u32 {
    const WHAT: &str = "a whole number";
}

impl Written for u64 {
    const WHAT: &str = "a whole number";
}

impl Written for Period {
    const WHAT: &str = "a duration such as 12h or 7d";
}

impl<T: Copy> Limit<T> {
    fn over(limit: Option<Self>, known: Option<T>) -> Option<T> {
        match limit {
            None => known,
            Some(Limit::None) => None,
            Some(Limit::At(limit)) => Some(limit),
        }
    }
}

#[derive(Debug, Serialize)]
struct Done {
    team: Team,
    change: &'static str,
    changes: Vec<String>,
}

pub(super) async fn run(args: &Args, operator: &Operator, cx: &Cx) -> Outcome {
    let edit = |known: Option<&TeamRecord>| {
        let mut record = known.cloned().ok_or_else(|| unknown(&args.name))?;
        args.lay_over(&mut record)?;
        Ok(record)
    };
    let done = operator.change(&args.name, "team set", edit).await?;
    let changes: Vec<String> = done.changes.into_iter().map(|change| change.what).collect();
    let change = if changes.is_empty() { "unchanged" } else { "updated" };
    cx.output.record(&Done { team: args.name.clone(), change, changes }, |done| {
        let first = format!("{}: {}", done.team, done.change);
        std::iter::once(first).chain(done.changes.iter().map(|c| format!("  {c}"))).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Code::Ok)
}

impl Args {
    fn lay_over(&self, record: &mut TeamRecord) -> Result<(), Failure> {
        record.weight = self.weight.unwrap_or(record.weight);
        record.capture = self.capture.unwrap_or(record.capture);
        let known = record.results_keep_secs.map(Period::secs);
        record.results_keep_secs = Limit::over(self.results_keep, known).map(in_seconds);
        match self.key.as_deref() {
            None => record.limits = self.limits(&record.limits),
            Some("") => return Err(Failure::new(Code::Usage, "nothing was changed: a key's id is empty")),
            Some(key) => {
                let limits = self.limits(&record.key_limits.get(key).copied().unwrap_or_default());
                if limits.is_none() {
                    record.key_limits.remove(key);
                } else {
                    record.key_limits.insert(key.to_owned(), limits);
                }
            }
        }
        Ok(())
    }

    fn limits(&self, known: &Limits) -> Limits {
        Limits {
            requests_per_minute: Limit::over(self.requests_per_minute, known.requests_per_minute),
            tokens_per_minute: Limit::over(self.tokens_per_minute, known.tokens_per_minute),
            concurrency: Limit::over(self.concurrency, known.concurrency),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn set(before: &str, flags: &str) -> Result<String, String> {
        let line = Line::try_parse_from(std::iter::once("set").chain(flags.split(' '))).map_err(|e| e.to_string())?;
        let mut record: TeamRecord = serde_json::from_str(before).expect("a record");
        line.args.lay_over(&mut record).map_err(|failure| failure.reason())?;
        Ok(serde_json::to_string(&record).expect("texts and numbers"))
    }

    #[test]
    fn what_is_said_changes_and_the_rest_stays() {
        let before = r#"{"weight":2,"limits":{"concurrency":3}}"#;
        let check = |flags: &str, after: &str| assert_eq!(set(before, flags).as_deref(), Ok(after), "{flags}");
        check("a --weight 5", r#"{"weight":5,"limits":{"concurrency":3}}"#);
        check("a --concurrency none", r#"{"weight":2}"#);
        check("a --results-keep 2h", r#"{"weight":2,"limits":{"concurrency":3},"results_keep_secs":7200}"#);
        check("a --capture true", r#"{"weight":2,"limits":{"concurrency":3},"capture":true}"#);
        assert_eq!(
            set(r#"{"results_keep_secs":60,"capture":true}"#, "a --results-keep none --capture false").as_deref(),
            Ok(r#"{"weight":1}"#)
        );
        check("a --requests-per-minute 60", r#"{"weight":2,"limits":{"requests_per_minute":60,"concurrency":3}}"#);
        check(
            "a --key * --tokens-per-minute 7",
            r#"{"weight":2,"limits":{"concurrency":3},"key_limits":{"*":{"tokens_per_minute":7}}}"#,
        );
        assert_eq!(
            set(r#"{"key_limits":{"k":{"concurrency":1}}}"#, "a --key k --concurrency none").as_deref(),
            Ok(r#"{"weight":1}"#)
        );
    }

    #[test]
    fn nothing_and_nonsense_are_refused() {
        for (flags, expected) in [
            ("a", "required"),
            ("a --weight 0", "1..=1000"),
            ("a --concurrency many", "'many' is not a whole number"),
            ("a --results-keep 7", "'7' is not a duration"),
            ("a --concurrency 1e400", "is not a whole number"),
            ("a --key k --weight 2", "cannot be used with"),
        ] {
            let said = set("{}", flags).expect_err(flags);
            assert!(said.contains(expected), "{flags}: {said}");
        }
    }
}
