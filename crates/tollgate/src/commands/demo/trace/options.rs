//! The flags of a replay, and what each may be.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tollgate_types::Team;

/// The flags.
#[derive(Debug, clap::Args)]
pub(in crate::commands::demo) struct Options {
    /// Replay a trace of an LLM service (TIMESTAMP,ContextTokens,GeneratedTokens), a job for each row; TEAM=FILE is one
    /// team's, other rows are dealt in turn; may be repeated
    #[arg(long = "trace", value_name = "[TEAM=]FILE", group = "lines", conflicts_with_all = ["count", "faults"])]
    pub(super) traces: Vec<Source>,
    /// How many times faster than recorded; `max` submits everything at once
    #[arg(long, default_value = "1", value_name = "N", requires = "traces", allow_negative_numbers = true)]
    pub(super) speed: Speed,
    /// Only so many rows of each trace
    #[arg(long, value_name = "N", requires = "traces", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub(super) limit: Option<usize>,
    /// The teams that rows are dealt to in turn; otherwise the demo's three
    #[arg(long, value_name = "TEAM,…", value_delimiter = ',', requires = "traces")]
    pub(super) teams: Vec<Team>,
    /// A team that submits each of its rows so many times; may be repeated
    #[arg(long, value_name = "TEAM=FACTOR", value_delimiter = ',', requires = "traces", value_parser = |text: &str| number(text, 10_000))]
    pub(super) flood: Vec<(Team, u32)>,
    /// The teams' shares against others of the same class; 1 where none is given
    #[arg(long, value_name = "TEAM=WEIGHT,…", value_delimiter = ',', requires = "traces", value_parser = |text: &str| number(text, 1000))]
    pub(super) weights: Vec<(Team, u32)>,
}

impl Options {
    /// Whether there is something to replay.
    pub(in crate::commands::demo) fn given(&self) -> bool {
        !self.traces.is_empty()
    }
}

/// A trace, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The team of all its rows; without one they are dealt.
    pub(super) team: Option<Team>,
    /// The file.
    pub(super) path: PathBuf,
}

impl FromStr for Source {
    type Err = String;

    /// A path with a slash before its first `=` is a path alone: `./a=b.csv`.
    fn from_str(text: &str) -> Result<Self, String> {
        let team = text.split_once('=').and_then(|(team, path)| Some((team.parse().ok()?, path)));
        let (team, path) = team.map_or((None, text), |(team, path)| (Some(team), path));
        if path.is_empty() { Err("there is no file name".to_owned()) } else { Ok(Source { team, path: path.into() }) }
    }
}

/// How fast a trace is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// So many times faster than it was recorded.
    Times(f64),
    /// Everything is due at the beginning.
    Max,
}

/// From a hundredth of the recorded speed to a million times: beyond it nothing changes any more.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1e6;

impl Speed {
    /// When a row is due that was recorded so long after the first.
    pub(super) fn due(self, after: Duration) -> Duration {
        match self {
            Speed::Max => Duration::ZERO,
            // Also the longest span of dates, a hundred times as long, is far from the most that a duration holds.
            Speed::Times(times) => after.div_f64(times),
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.parse::<f64>() {
            Ok(0.0) => Ok(Speed::Max),
            Ok(times) if SPEEDS.contains(&times) => Ok(Speed::Times(times)),
            Ok(_) | Err(_) => Err("it is 'max', or a number from 0.01 to 1000000".to_owned()),
        }
    }
}

/// `TEAM=N`, with N from 1 to `max`.
fn number(text: &str, max: u32) -> Result<(Team, u32), String> {
    let wrong = || format!("it is TEAM=N, with N from 1 to {max}");
    let (team, number) = text.split_once('=').ok_or_else(wrong)?;
    let team = team.parse().map_err(|error| format!("'{team}' is no team: {error}"))?;
    let number = number.parse().ok().filter(|number| (1..=max).contains(number)).ok_or_else(wrong)?;
    Ok((team, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_a_file_or_a_teams_file() {
        let check = |text: &str, team: Option<&str>, path: &str| {
            let source: Source = text.parse().expect("a source");
            assert_eq!((source.team.as_ref().map(Team::as_str), source.path), (team, path.into()), "{text}");
        };
        check("trace.csv", None, "trace.csv");
        check("search=a/trace.csv", Some("search"), "a/trace.csv");
        check("search=a=b.csv", Some("search"), "a=b.csv");
        check("./a=b.csv", None, "./a=b.csv");
        assert!("search=".parse::<Source>().is_err() && "".parse::<Source>().is_err());
    }

    #[test]
    fn a_speed_is_a_number_or_max_and_divides_the_recorded_times() {
        let check = |text: &str, expected: Speed| assert_eq!(text.parse::<Speed>(), Ok(expected), "{text}");
        check("max", Speed::Max);
        check("0", Speed::Max);
        check("2.5", Speed::Times(2.5));
        for wrong in ["-1", "fast", "", "inf", "NaN", "1e7", "0.001"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
        assert_eq!(Speed::Times(50.0).due(Duration::from_secs(100)), Duration::from_secs(2));
        assert_eq!(Speed::Max.due(Duration::from_secs(100)), Duration::ZERO);
        Speed::Times(0.01).due(Duration::from_secs(3600 * 24 * 366 * 10_000));
    }

    #[test]
    fn factors_and_weights_are_bounded() {
        assert_eq!(number("search=100", 1000), Ok(("search".parse().expect("a team"), 100)));
        for wrong in ["search", "search=", "search=0", "search=-1", "search=1001", "se.arch=1", "=1", "search=1.5"] {
            assert!(number(wrong, 1000).is_err(), "{wrong}");
        }
    }
}
