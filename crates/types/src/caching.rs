//! What a team's jobs get of the cache of answers, as it is configured: for everybody, and for each team over that.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest that an answer is kept.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is configured; what is left out holds as it is for everybody, and else as the accessors say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheRules {
    /// What a job gets that says nothing, and whether those that ask get anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<CacheMode>,
    /// How long an answer is kept, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// The highest `temperature` at which a job that says nothing of the cache uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_max: Option<Temperature>,
    /// Whose jobs share answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_by: Option<SharedBy>,
    /// The largest answer that is kept, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_bytes_max: Option<u64>,
    /// Whether answers with calls of tools are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<bool>,
}

/// What a job gets that says nothing, and whether those that ask get anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Nobody gets anything, whatever a job asks.
    Off,
    /// Only jobs that ask.
    Bypass,
    /// Every job that does not ask otherwise.
    Use,
}

/// Whose jobs share answers. Jobs of different teams never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SharedBy {
    /// All jobs of the team.
    Team,
    /// Those of one project; a job without a project shares with nobody.
    Project,
    /// Those of one user; a job without a user shares with nobody.
    User,
}

/// A sampling temperature, to a thousandth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Temperature {
    thousandths: u32,
}

impl Temperature {
    /// A temperature from a number; `None` for one that no provider takes.
    pub fn new(number: f64) -> Option<Temperature> {
        (0.0..=10.0).contains(&number).then(|| Temperature { thousandths: (number * 1e3).round() as u32 })
    }

    /// Whether a job's own temperature is above it.
    pub fn is_below(self, asked: f64) -> bool {
        asked * 1e3 > f64::from(self.thousandths) + 1e-6
    }

    fn number(self) -> f64 {
        f64::from(self.thousandths) / 1e3
    }
}

impl Serialize for Temperature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.number())
    }
}

impl<'de> Deserialize<'de> for Temperature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Temperature::new(number)
            .ok_or_else(|| serde::de::Error::custom(format!("{number} is not a temperature from 0 to 10")))
    }
}

impl std::fmt::Display for Temperature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number())
    }
}

impl CacheRules {
    /// Whether nothing is configured.
    pub fn is_none(&self) -> bool {
        *self == CacheRules::default()
    }

    /// These rules, and where they say nothing, those of `everybody`.
    pub fn over(&self, everybody: &CacheRules) -> CacheRules {
        CacheRules {
            mode: self.mode.or(everybody.mode),
            ttl_seconds: self.ttl_seconds.or(everybody.ttl_seconds),
            temperature_max: self.temperature_max.or(everybody.temperature_max),
            shared_by: self.shared_by.or(everybody.shared_by),
            answer_bytes_max: self.answer_bytes_max.or(everybody.answer_bytes_max),
            tool_calls: self.tool_calls.or(everybody.tool_calls),
        }
    }

    /// Who gets what: only jobs that ask.
    pub fn mode(&self) -> CacheMode {
        self.mode.unwrap_or(CacheMode::Bypass)
    }

    /// How long an answer is kept: an hour.
    pub fn ttl(&self) -> Duration {
        self.ttl_seconds.map_or(Duration::from_secs(3600), Duration::from_secs).min(TTL_MAX)
    }

    /// The highest temperature of a job that says nothing of the cache: 0. Who sets one above it wants answers that
    /// differ; who leaves it out leaves it to the provider, and to the cache.
    pub fn temperature_max(&self) -> Temperature {
        self.temperature_max.unwrap_or_default()
    }

    /// Whose jobs share answers: the team's.
    pub fn shared_by(&self) -> SharedBy {
        self.shared_by.unwrap_or(SharedBy::Team)
    }

    /// The largest answer that is kept: 256 KiB, some sixty thousand tokens.
    pub fn answer_bytes_max(&self) -> u64 {
        self.answer_bytes_max.unwrap_or(256 << 10)
    }

    /// Whether answers with calls of tools are kept: no, because a call that is played again has its effect again.
    pub fn tool_calls(&self) -> bool {
        self.tool_calls.unwrap_or(false)
    }

    /// Judges the numbers.
    ///
    /// # Errors
    /// What is wrong, with the field.
    pub fn check(&self) -> Result<(), String> {
        let max = TTL_MAX.as_secs();
        if self.ttl_seconds.is_some_and(|ttl| !(1..=max).contains(&ttl)) {
            return Err(format!("`ttl` is not from a second to {} days", max / 86_400));
        }
        if self.answer_bytes_max == Some(0) {
            return Err("`answer_bytes_max` is 0; `mode = \"off\"` keeps nothing".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teams_rules_hold_over_everybodys_and_those_over_the_defaults() {
        let read = |json: &str| serde_json::from_str::<CacheRules>(json).unwrap();
        let everybody = read(r#"{"mode":"use","ttl_seconds":60,"temperature_max":0.3}"#);
        let rules = read(r#"{"ttl_seconds":5,"shared_by":"user"}"#).over(&everybody);
        assert_eq!(
            (rules.mode(), rules.ttl(), rules.shared_by()),
            (CacheMode::Use, Duration::from_secs(5), SharedBy::User)
        );
        assert!(!rules.temperature_max().is_below(0.3) && rules.temperature_max().is_below(0.31));
        let none = CacheRules::default();
        assert_eq!((none.mode(), none.shared_by(), none.tool_calls()), (CacheMode::Bypass, SharedBy::Team, false));
        assert_eq!(serde_json::to_string(&none).unwrap(), "{}");
        assert_eq!(read(&serde_json::to_string(&rules).unwrap()), rules);
    }

    #[test]
    fn rules_that_keep_nothing_or_for_ever_are_refused() {
        let check = |json: &str, word: &str| {
            let refused = serde_json::from_str::<CacheRules>(json).map_err(|e| e.to_string()).and_then(|r| r.check());
            assert!(refused.as_ref().is_err_and(|why| why.contains(word)), "{json}: {refused:?}");
        };
        check(r#"{"ttl_seconds":0}"#, "`ttl`");
        check(r#"{"ttl_seconds":99999999}"#, "`ttl`");
        check(r#"{"answer_bytes_max":0}"#, "`answer_bytes_max`");
        check(r#"{"temperature_max":-1}"#, "temperature");
        check(r#"{"mode":"on"}"#, "unknown variant");
        check(r#"{"ttl":5}"#, "unknown field");
    }
}
