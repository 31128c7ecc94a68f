//! Budgets and limits as the operator writes them and as they are kept; what they decide is `policy`'s.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::instant::UnixMillis;
use crate::money::NanoUsd;
use crate::scope::Scope;

/// One cap on one window, for a scope within its owner: a team's record, or the organisation's.
///
/// Several budgets may hold for the same scope; a job must fit all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// What it caps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on: Target,
    /// `hour`, `day`, `week`, `month`, or `rolling` with a length: `rolling 24h`, `rolling 7d`.
    pub window: String,
    /// The zone in which calendar windows begin, by its IANA name.
    #[serde(default = "utc", skip_serializing_if = "is_utc")]
    pub time_zone: String,
    /// The most that may be spent in one window.
    pub cap_usd: Usd,
    /// What happens to a job that does not fit any more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when_spent: WhenSpent,
    /// With `downgrade`: the model that serves instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_to: Option<String>,
    /// With `downgrade`: the most that the cheaper model may spend in one window, beside the cap; no limit if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_cap_usd: Option<Usd>,
    /// With `downgrade`: what happens when the cheaper model may not serve either.
    #[serde(default, skip_serializing_if = "is_default")]
    pub then: Then,
    /// Percentages of the cap at which an alert is sent, once a window each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alert_percent: Vec<u8>,
    /// Temporary raises of the cap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raises: Vec<Raise>,
}

/// The most budgets of one owner: each is a window in the records that its jobs swap.
pub const BUDGETS_MAX: usize = 32;
/// The most raises kept with one budget; expired ones make room.
pub const RAISES_MAX: usize = 16;

fn utc() -> String {
    "UTC".to_owned()
}

fn is_utc(zone: &str) -> bool {
    zone == "UTC"
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Budget {
    /// The name of its window: it tells the budgets of one scope apart.
    pub fn window_id(&self) -> String {
        if self.time_zone == "UTC" { self.window.clone() } else { format!("{}@{}", self.window, self.time_zone) }
    }

    /// The cap at `now`, with every raise that holds then.
    pub fn cap_at(&self, now: UnixMillis) -> NanoUsd {
        let raised = self.raises.iter().filter(|raise| raise.from <= now && now < raise.until);
        self.cap_usd.0 + raised.map(|raise| raise.amount_usd.0).sum()
    }
}

/// What a budget caps, within its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The owner itself: the team, or everybody.
    #[default]
    Owner,
    /// One project of the team, or with `None` each project on its own.
    Project(Option<String>),
    /// One end user of the team, or each.
    User(Option<String>),
    /// One API key of the team, or each.
    Key(Option<String>),
}

impl Target {
    /// Whether a scope is one that this target caps. Owner and team have been compared by whoever holds the budget.
    pub fn covers(&self, scope: &Scope) -> bool {
        let named = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        match (self, scope) {
            (Target::Owner, Scope::Organisation | Scope::Team { .. }) => true,
            (Target::Project(wanted), Scope::Project { project, .. }) => named(wanted, project),
            (Target::User(wanted), Scope::User { user, .. }) => named(wanted, user),
            (Target::Key(wanted), Scope::Key { key, .. }) => named(wanted, key),
            (Target::Owner | Target::Project(_) | Target::User(_) | Target::Key(_), _) => false,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "*".to_owned());
        match self {
            Target::Owner => f.write_str("owner"),
            Target::Project(project) => write!(f, "project:{}", name(project)),
            Target::User(user) => write!(f, "user:{}", name(user)),
            Target::Key(key) => write!(f, "key:{}", name(key)),
        }
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unreadable = || format!("'{text}' is not owner, project:NAME, user:NAME or key:NAME (NAME * means each)");
        if text == "owner" {
            return Ok(Target::Owner);
        }
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(unreadable)?;
        let name = (name != "*").then(|| name.to_owned());
        match kind {
            "project" => Ok(Target::Project(name)),
            "user" => Ok(Target::User(name)),
            "key" => Ok(Target::Key(name)),
            _ => Err(unreadable()),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What happens to a job that a budget has no money for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenSpent {
    /// It waits until there is money again.
    #[default]
    Wait,
    /// A cheaper model serves it.
    Downgrade,
    /// It ends as `over_budget`.
    Reject,
}

/// What happens when the cheaper model may not serve either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It waits.
    #[default]
    Wait,
    /// It ends as `over_budget`.
    Reject,
}

/// A temporary raise of a cap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    /// By how much.
    pub amount_usd: Usd,
    /// From when on, by the server's clock.
    pub from: UnixMillis,
    /// Until when.
    pub until: UnixMillis,
    /// Who raised it.
    pub author: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Limits on speed, over all workers; what is left out is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most requests in any sliding minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// The most tokens in any sliding minute: prompt and expected answer, corrected when the answer is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// The most at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Limits::default()
    }

    /// What is limited to nothing, which no job could ever pass.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), String> {
        let zero = [
            ("requests_per_minute", self.requests_per_minute == Some(0)),
            ("tokens_per_minute", self.tokens_per_minute == Some(0)),
            ("concurrency", self.concurrency == Some(0)),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(format!("`{name}` is 0, which no job passes; use `tollgate queue pause` instead")),
            None => Ok(()),
        }
    }
}

/// An amount of dollars, written as a plain decimal text such as `"12.50"`; a whole number may stand without quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(pub NanoUsd);

impl std::fmt::Display for Usd {
    /// As short as it is exact: `12.5`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string().replace('$', "");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl std::str::FromStr for Usd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        NanoUsd::parse_usd(text.trim()).map(Usd)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dollars;
        impl serde::de::Visitor<'_> for Dollars {
            type Value = Usd;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an amount of dollars as a decimal text such as \"12.50\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Usd, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Usd, E> {
                whole.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, whole: i64) -> Result<Usd, E> {
                whole.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Usd, E> {
                Err(E::custom(format!(
                    "{number} is a floating number, which is not exact; write it as a text, \"12.50\""
                )))
            }
        }
        deserializer.deserialize_any(Dollars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact_and_floats_are_refused() {
        let read = |json: &str| serde_json::from_str::<Usd>(json);
        for (json, nanos, shown) in [
            ("\"12.50\"", 12_500_000_000, "12.5"),
            ("1000", 1_000_000_000_000, "1000"),
            ("\"0.000000001\"", 1, "0.000000001"),
        ] {
            let usd = read(json).unwrap();
            assert_eq!((usd.0.0, usd.to_string().as_str()), (nanos, shown));
        }
        for bad in ["12.5", "-5", "\"NaN\"", "\"-5\"", "1e400", "\"1e400\"", "\"99999999999\"", "null", "true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_covers_what_it_names_and_a_star_covers_each() {
        let scope = |text: &str| text.parse::<Scope>().unwrap();
        let check = |target: &str, on: &str, covers| {
            assert_eq!(target.parse::<Target>().unwrap().covers(&scope(on)), covers, "{target} on {on}");
        };
        check("owner", "team:a", true);
        check("owner", "project:a/x", false);
        check("project:x", "project:a/x", true);
        check("project:x", "project:a/y", false);
        check("user:*", "user:a/anybody", true);
        check("user:*", "key:a/anybody", false);
        for bad in ["", "project", "project:", "planet:x"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn raises_hold_between_their_times_and_add_up() {
        let raise = |from, until, usd| Raise {
            amount_usd: Usd(NanoUsd::from_usd(usd)),
            from: UnixMillis(from),
            until: UnixMillis(until),
            author: "ann".into(),
            reason: String::new(),
        };
        let mut budget: Budget = serde_json::from_str(r#"{"window":"day","cap_usd":"10"}"#).unwrap();
        budget.raises = vec![raise(10, 20, 5), raise(15, 30, 1)];
        let cap = |at| budget.cap_at(UnixMillis(at)).0 / 1_000_000_000;
        assert_eq!([cap(0), cap(10), cap(15), cap(20), cap(30)], [10, 15, 16, 11, 10]);
    }
}
