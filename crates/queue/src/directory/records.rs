//! The records of the directory: what is in them, under which keys, and what makes one invalid.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tollgate_types::guardrails::Policy;
use tollgate_types::{Budget, CacheRules, Class, Gate, LaneKey, Limits, Target, Team, UnixMillis};

use super::Access;

/// What says why parts of records are not valid; it belongs to `policy` and `guard`, which this crate does not know.
#[derive(Clone, Copy)]
pub struct Checks {
    /// Judges budgets.
    pub budgets: fn(&[Budget]) -> Result<(), String>,
    /// Judges what a record says about guardrails by itself.
    pub guardrails: fn(&Policy) -> Result<(), String>,
    /// The least `results_keep_secs` that is written; outside of tests [`RESULTS_KEEP_SECS_MIN`].
    pub results_keep_secs_min: u64,
}

/// The largest weight of a team or a class.
pub const WEIGHT_MAX: u32 = 1000;

/// What is configured about one team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeamRecord {
    /// Its share against other teams of the same class; 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// What it and its projects, users and keys may spend.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How fast it may go.
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// How fast its API keys may go, by the key's id; `*` holds for each that is not named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub key_limits: BTreeMap<String, Limits>,
    /// Which models, providers and regions it may use.
    #[serde(skip_serializing_if = "Access::is_everything")]
    pub access: Access,
    /// What its guardrails say over everybody's.
    #[serde(skip_serializing_if = "Policy::is_empty")]
    pub guardrails: Policy,
    /// What its jobs get of the cache of answers, over what holds for everybody.
    #[serde(skip_serializing_if = "CacheRules::is_none")]
    pub cache: CacheRules,
    /// For how many seconds its results keep their texts; what everybody's record says if it is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results_keep_secs: Option<u64>,
    /// Whether its prompts and answers are captured.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub capture: bool,
}

impl Default for TeamRecord {
    fn default() -> Self {
        TeamRecord {
            weight: 1,
            budgets: Vec::new(),
            limits: Limits::default(),
            key_limits: BTreeMap::new(),
            access: Access::default(),
            guardrails: Policy::default(),
            cache: CacheRules::default(),
            results_keep_secs: None,
            capture: false,
        }
    }
}

/// What is configured about everybody together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Organisation {
    /// What all teams together may spend; only on the owner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// The classes' shares against each other.
    pub class_weights: ClassWeights,
    /// The guardrails of every team, as far as its own do not say otherwise.
    #[serde(skip_serializing_if = "Policy::is_empty")]
    pub guardrails: Policy,
    /// What jobs get of the cache of answers.
    #[serde(skip_serializing_if = "CacheRules::is_none")]
    pub cache: CacheRules,
    /// For how many seconds results keep their texts, of teams that say nothing and of those that nobody knows; for as
    /// long as the stream keeps them if it is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results_keep_secs: Option<u64>,
}

/// The classes' shares against each other; each is 1 to [`WEIGHT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassWeights {
    /// Of [`Class::Interactive`].
    pub interactive: u32,
    /// Of [`Class::Standard`].
    pub standard: u32,
    /// Of [`Class::Batch`].
    pub batch: u32,
}

impl Default for ClassWeights {
    fn default() -> Self {
        ClassWeights { interactive: 16, standard: 4, batch: 1 }
    }
}

impl ClassWeights {
    /// The share of a class.
    pub fn of(&self, class: Class) -> u32 {
        match class {
            Class::Interactive => self.interactive,
            Class::Standard => self.standard,
            Class::Batch => self.batch,
        }
    }
}

/// Why something stands still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// What is paused, for people: a lane, or a model's name.
    pub what: String,
    /// Who paused it.
    pub author: String,
    /// When, by the server's clock.
    pub at: UnixMillis,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Paused {
    /// A lane, or all lanes of a team.
    Lane {
        /// Which of the team's lanes; `None` for all.
        class: Option<Class>,
        /// The team.
        team: Team,
    },
    /// A model, by the digest that its gate has.
    Model {
        /// The digest.
        digest: String,
    },
}

impl Paused {
    /// A model by its name.
    pub fn model(name: &str) -> Paused {
        match Gate::of_model(name) {
            Gate::Model(digest) => Paused::Model { digest },
            Gate::Due | Gate::Account(_) | Gate::Answer(_) => unreachable!("the gate of a model is a model's"),
        }
    }
}

impl std::fmt::Display for Paused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Paused::Lane { class: Some(class), team } => write!(f, "lane.{class}.{team}"),
            Paused::Lane { class: None, team } => write!(f, "lane.{ALL}.{team}"),
            Paused::Model { digest } => write!(f, "model.{digest}"),
        }
    }
}

impl std::str::FromStr for Paused {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tokens: Vec<&str> = text.split('.').collect();
        match tokens[..] {
            ["lane", class, team] => {
                let class = if class == ALL { None } else { Some(class.parse()?) };
                let team = team.parse().map_err(|error| format!("'{team}' is not a team: {error}"))?;
                Ok(Paused::Lane { class, team })
            }
            ["model", digest] => match format!("m-{digest}").parse()? {
                Gate::Model(digest) => Ok(Paused::Model { digest }),
                Gate::Due | Gate::Account(_) | Gate::Answer(_) => Err(format!("'{digest}' is not a model's digest")),
            },
            _ => Err(format!("'{text}' is nothing that can be paused")),
        }
    }
}

/// The token that stands for every class in a pause.
const ALL: &str = "all";
const TEAM: &str = "team.";
const PAUSE: &str = "pause.";
/// The key of the one record about everybody.
pub(super) const ORGANISATION: &str = "organisation";

/// The key of a team's record.
pub(super) fn team_key(team: &Team) -> String {
    format!("{TEAM}{team}")
}

/// The key of a pause.
pub(super) fn pause_key(paused: &Paused) -> String {
    format!("{PAUSE}{paused}")
}

/// What a key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    Team(Team),
    Organisation,
    Pause(Paused),
}

/// What a key is about; `None` if it is not the directory's.
///
/// # Errors
/// Says what is wrong with a key that looks like one.
pub(super) fn about(key: &str) -> Result<Option<About>, String> {
    if key == ORGANISATION {
        Ok(Some(About::Organisation))
    } else if let Some(name) = key.strip_prefix(TEAM) {
        let team = name.parse().map_err(|error| format!("'{name}' is not a team: {error}"))?;
        Ok(Some(About::Team(team)))
    } else if let Some(paused) = key.strip_prefix(PAUSE) {
        Ok(Some(About::Pause(paused.parse()?)))
    } else {
        Ok(None)
    }
}

/// A record that is kept under a key of its own.
pub trait Record: DeserializeOwned + Serialize {
    /// Judges it, as every read does.
    ///
    /// # Errors
    /// What is wrong with it, with the field.
    fn check(&self, checks: Checks) -> Result<(), String>;

    /// Judges it as a write does: it is refused for more than [`Record::check`], but what is stored all the same holds.
    ///
    /// # Errors
    /// As [`Record::check`].
    fn check_write(&self, checks: Checks) -> Result<(), String> {
        self.check(checks)
    }
}

/// Reads a record, whole or not at all.
///
/// # Errors
/// Says why it is not valid.
pub(super) fn decode<R: Record>(value: &[u8], checks: Checks) -> Result<R, String> {
    // A list would be read as the fields in order.
    if value.trim_ascii_start().first() != Some(&b'{') {
        return Err("it is not a JSON object".to_owned());
    }
    let record: R = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    record.check(checks)?;
    Ok(record)
}

/// The shortest time that results keep their texts, in the file and in live configuration: a job that is delivered again
/// must still find its answer, and its producer must have fetched it.
pub const RESULTS_KEEP_SECS_MIN: u64 = 600;
/// The longest time that can be said; the stream's own limit ends before it.
pub const RESULTS_KEEP_SECS_MAX: u64 = 3650 * 24 * 3600;

fn check_keep(keep: Option<u64>, least: u64) -> Result<(), String> {
    match keep {
        Some(seconds) if !(least..=RESULTS_KEEP_SECS_MAX).contains(&seconds) => {
            Err(format!("`results_keep_secs` is {seconds}, which is not from {least} to {RESULTS_KEEP_SECS_MAX}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_weight(name: &str, weight: u32) -> Result<(), String> {
    if (1..=WEIGHT_MAX).contains(&weight) {
        Ok(())
    } else {
        Err(format!("`{name}` is {weight}, which is not from 1 to {WEIGHT_MAX}"))
    }
}

impl Record for TeamRecord {
    fn check(&self, checks: Checks) -> Result<(), String> {
        check_weight("weight", self.weight)?;
        (checks.budgets)(&self.budgets)?;
        (checks.guardrails)(&self.guardrails).map_err(|why| format!("guardrails.{why}"))?;
        self.limits.check().map_err(|why| format!("limits: {why}"))?;
        for (key, limits) in &self.key_limits {
            limits.check().map_err(|why| format!("key_limits.{key}: {why}"))?;
        }
        self.access.check()?;
        self.cache.check().map_err(|why| format!("cache: {why}"))?;
        check_keep(self.results_keep_secs, 1)?;
        match self.key_limits.keys().find(|key| key.is_empty()) {
            Some(_) => Err("key_limits: a key's id is empty".to_owned()),
            None => Ok(()),
        }
    }

    fn check_write(&self, checks: Checks) -> Result<(), String> {
        self.check(checks)?;
        check_keep(self.results_keep_secs, checks.results_keep_secs_min)
    }
}

impl Record for Organisation {
    fn check(&self, checks: Checks) -> Result<(), String> {
        for class in Class::ALL {
            check_weight(&format!("class_weights.{class}"), self.class_weights.of(class))?;
        }
        check_keep(self.results_keep_secs, 1)?;
        // A project, user or key belongs to a team.
        if let Some(budget) = self.budgets.iter().find(|budget| budget.on != Target::Owner) {
            return Err(format!("budgets: '{}' is of a team; everybody together has only `owner`", budget.on));
        }
        self.cache.check().map_err(|why| format!("cache: {why}"))?;
        (checks.guardrails)(&self.guardrails).map_err(|why| format!("guardrails.{why}"))?;
        (checks.budgets)(&self.budgets)
    }

    fn check_write(&self, checks: Checks) -> Result<(), String> {
        self.check(checks)?;
        check_keep(self.results_keep_secs, checks.results_keep_secs_min)
    }
}

impl Record for Pause {
    fn check(&self, _checks: Checks) -> Result<(), String> {
        Ok(())
    }
}

/// The pauses that hold for a lane: its own first, then that of all its team's lanes. None for a stray lane, which is
/// never served.
pub(super) fn pauses_of(lane: &LaneKey) -> Option<[Paused; 2]> {
    let (class, team) = (lane.known_class()?, lane.team.parse::<Team>().ok()?);
    Some([Paused::Lane { class: Some(class), team: team.clone() }, Paused::Lane { class: None, team }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(json: &str) -> Result<TeamRecord, String> {
        let budgets = |budgets: &[Budget]| if budgets.len() > 1 { Err("too many".into()) } else { Ok(()) };
        let guardrails = |policy: &Policy| if policy.input.len() > 1 { Err("input".into()) } else { Ok(()) };
        decode(json.as_bytes(), Checks { budgets, guardrails, results_keep_secs_min: 600 })
    }

    #[test]
    fn results_are_kept_for_ten_minutes_at_least_unless_it_is_stored_already() {
        const CHECKS: Checks =
            Checks { budgets: |_| Ok(()), guardrails: |_| Ok(()), results_keep_secs_min: RESULTS_KEEP_SECS_MIN };
        let team = |keep| TeamRecord { results_keep_secs: keep, ..TeamRecord::default() };
        let all = |keep| Organisation { results_keep_secs: keep, ..Organisation::default() };
        for keep in [None, Some(600), Some(RESULTS_KEEP_SECS_MAX)] {
            assert_eq!((team(keep).check_write(CHECKS), all(keep).check_write(CHECKS)), (Ok(()), Ok(())), "{keep:?}");
        }
        for keep in [0, 1, 599, RESULTS_KEEP_SECS_MAX + 1] {
            for refused in [team(Some(keep)).check_write(CHECKS), all(Some(keep)).check_write(CHECKS)] {
                assert!(refused.as_ref().is_err_and(|why| why.contains("`results_keep_secs`")), "{keep}: {refused:?}");
            }
        }
        assert_eq!((team(Some(1)).check(CHECKS), all(Some(1)).check(CHECKS)), (Ok(()), Ok(())));
    }

    #[test]
    fn records_of_before_are_read_and_a_default_record_is_written_like_one() {
        for old in [r#"{"weight":1}"#, "{}"] {
            assert_eq!(team(old), Ok(TeamRecord::default()), "{old}");
        }
        assert_eq!(serde_json::to_string(&TeamRecord::default()).unwrap(), r#"{"weight":1}"#);
        let weights = Organisation::default().class_weights;
        assert_eq!(Class::ALL.map(|class| weights.of(class)), [16, 4, 1]);
    }

    #[test]
    fn a_record_with_one_fault_is_refused_whole() {
        let budget = r#"{"window":"day","cap_usd":"10"}"#;
        assert!(team(&format!(r#"{{"weight":7,"budgets":[{budget}],"limits":{{"concurrency":3}}}}"#)).is_ok());
        for (bad, part) in [
            (r#"{"weight":0}"#.to_owned(), "`weight` is 0"),
            (r#"{"weight":1001}"#.to_owned(), "1000"),
            (r#"{"wait":1}"#.to_owned(), "unknown field"),
            (format!(r#"{{"budgets":[{budget},{budget}]}}"#), "too many"),
            (r#"{"budgets":[{"window":"day","cap_usd":-1}]}"#.to_owned(), ""),
            (r#"{"limits":{"concurrency":0}}"#.to_owned(), "limits: `concurrency` is 0"),
            (r#"{"cache":{"ttl_seconds":0}}"#.to_owned(), "cache: `ttl`"),
            (r#"{"key_limits":{"k1":{"requests_per_minute":0}}}"#.to_owned(), "key_limits.k1"),
            (r#"{"guardrails":{"input":{"pii":"hide"}}}"#.to_owned(), "unknown variant"),
            (r#"{"guardrails":{"input":{"pii":"flag","secrets":"flag"}}}"#.to_owned(), "guardrails.input"),
            ("[7]".to_owned(), "not a JSON object"),
            ("{\"weight\":1}x".to_owned(), ""),
        ] {
            let refused = team(&bad).expect_err(&bad);
            assert!(refused.contains(part), "{bad}: {refused}");
        }
        let any = Checks { budgets: |_| Ok(()), guardrails: |_| Ok(()), results_keep_secs_min: 600 };
        let on_a_project = r#"{"budgets":[{"on":"project:x","window":"day","cap_usd":1}]}"#;
        assert!(decode::<Organisation>(on_a_project.as_bytes(), any).is_err());
        let weightless = r#"{"class_weights":{"batch":0}}"#;
        assert!(decode::<Organisation>(weightless.as_bytes(), any).is_err());
    }

    #[test]
    fn keys_are_read_back_and_wrong_ones_are_named() {
        let team: Team = "search".parse().unwrap();
        let lane = |class| Paused::Lane { class, team: team.clone() };
        for paused in [lane(None), lane(Some(Class::Batch)), Paused::model("gpt-4o")] {
            assert_eq!(about(&pause_key(&paused)), Ok(Some(About::Pause(paused))));
        }
        assert_eq!(about("team.search"), Ok(Some(About::Team(team))));
        assert_eq!(about("organisation"), Ok(Some(About::Organisation)));
        assert_eq!(about("route.gpt-4o"), Ok(None));
        for bad in ["team.a.b", "team.", "pause.x", "pause.lane.urgent.search", "pause.model.gpt-4o"] {
            assert!(about(bad).is_err(), "{bad}");
        }
    }
}
