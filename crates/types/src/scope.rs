//! Whose money it is: the five scopes that can have a budget, and the gates that jobs wait behind.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{Digest, Team};

/// Something that spends and can be capped.
///
/// Written `organisation`, `team:search`, `project:search/ranking`, `user:search/ann@example.com`, `key:search/k1`. A
/// team's name holds neither `:` nor `/`, so that is read back without doubt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everybody together.
    Organisation,
    /// One team.
    Team {
        /// The team's token.
        team: String,
    },
    /// One project of a team, as its jobs name it.
    Project {
        /// The team's token.
        team: String,
        /// The project.
        project: String,
    },
    /// One end user of a team, as its jobs name them.
    User {
        /// The team's token.
        team: String,
        /// The user.
        user: String,
    },
    /// One API key of a team.
    Key {
        /// The team's token.
        team: String,
        /// The key's id.
        key: String,
    },
}

impl Scope {
    /// The word for what it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Scope::Organisation => "organisation",
            Scope::Team { .. } => "team",
            Scope::Project { .. } => "project",
            Scope::User { .. } => "user",
            Scope::Key { .. } => "key",
        }
    }

    /// The team that it belongs to; `None` for everybody.
    pub fn team(&self) -> Option<&str> {
        match self {
            Scope::Organisation => None,
            Scope::Team { team } | Scope::Project { team, .. } | Scope::User { team, .. } | Scope::Key { team, .. } => {
                Some(team)
            }
        }
    }

    /// Its own name within the team; empty for a team and for everybody.
    pub fn name(&self) -> &str {
        match self {
            Scope::Organisation | Scope::Team { .. } => "",
            Scope::Project { project: name, .. } | Scope::User { user: name, .. } | Scope::Key { key: name, .. } => {
                name
            }
        }
    }

    /// Whether all jobs of a lane share it, so that a spent budget closes the lane instead of parking its jobs.
    pub fn is_lane_wide(&self) -> bool {
        match self {
            Scope::Organisation | Scope::Team { .. } => true,
            Scope::Project { .. } | Scope::User { .. } | Scope::Key { .. } => false,
        }
    }

    /// The name of its account record.
    pub fn account(&self) -> AccountId {
        let parts = [self.kind().as_bytes(), self.team().unwrap_or("").as_bytes(), self.name().as_bytes()];
        AccountId(Digest::of(&parts).short())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.team(), self.name()) {
            (None, _) => f.write_str(self.kind()),
            (Some(team), "") => write!(f, "{}:{team}", self.kind()),
            (Some(team), name) => write!(f, "{}:{team}/{name}", self.kind()),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unreadable = || {
            format!("'{text}' is not a scope; write organisation, team:T, project:T/NAME, user:T/NAME or key:T/NAME")
        };
        if text == "organisation" {
            return Ok(Scope::Organisation);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(unreadable)?;
        let team = |name: &str| name.parse::<Team>().map(|team| team.to_string()).map_err(|_| unreadable());
        if kind == "team" {
            return Ok(Scope::Team { team: team(rest)? });
        }
        let (of, name) = rest.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or_else(unreadable)?;
        let (team, name) = (team(of)?, name.to_owned());
        match kind {
            "project" => Ok(Scope::Project { team, project: name }),
            "user" => Ok(Scope::User { team, user: name }),
            "key" => Ok(Scope::Key { team, key: name }),
            _ => Err(unreadable()),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of an account record: 16 hexadecimal digits, made from its scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AccountId(String);

impl AccountId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccountId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex { Ok(AccountId(text.to_owned())) } else { Err(format!("'{text}' is not 16 hexadecimal digits")) }
    }
}

/// What a parked job waits for; its token stands in the subject of the parked copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// Nothing any more: its time came (`due`).
    Due,
    /// The budget or limit of a scope narrower than a lane (`a-…`).
    Account(AccountId),
    /// A deployment that serves its model, by the digest of the model's name (`m-…`).
    Model(String),
    /// The answer to the same request, which another job is fetching, by the short digest of its cache key (`c-…`).
    Answer(String),
}

impl Gate {
    /// The gate of a model name.
    pub fn of_model(model: &str) -> Gate {
        Gate::Model(Gate::digest_of_model(model))
    }

    /// The digest of a model's name, as gates and kept answers carry it.
    pub fn digest_of_model(model: &str) -> String {
        Digest::of(&[b"model", model.as_bytes()]).short()
    }

    /// The token in subjects and consumer names.
    pub fn token(&self) -> String {
        match self {
            Gate::Due => "due".to_owned(),
            Gate::Account(id) => format!("a-{id}"),
            Gate::Model(digest) => format!("m-{digest}"),
            Gate::Answer(digest) => format!("c-{digest}"),
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.token())
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('-') {
            None if text == "due" => Ok(Gate::Due),
            Some(("a", id)) => Ok(Gate::Account(id.parse()?)),
            Some(("m", digest)) => digest.parse::<AccountId>().map(|id| Gate::Model(id.0)),
            Some(("c", digest)) => digest.parse::<AccountId>().map(|id| Gate::Answer(id.0)),
            _ => Err(format!("'{text}' is not a gate")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_back_from_what_they_print() {
        for text in
            ["organisation", "team:search", "project:search/a/b:c", "user:search/ann@example.com", "key:search/k-1"]
        {
            assert_eq!(text.parse::<Scope>().map(|scope| scope.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "team:", "team:a.b", "project:search", "project:search/", "user:/x", "planet:earth/x", "Team:a"]
        {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn accounts_of_different_scopes_differ() {
        let scopes = ["organisation", "team:a", "team:b", "project:a/x", "user:a/x", "key:a/x", "project:a/y"];
        let ids: std::collections::BTreeSet<_> =
            scopes.iter().map(|text| text.parse::<Scope>().unwrap().account()).collect();
        assert_eq!(ids.len(), scopes.len());
        assert!(ids.iter().all(|id| id.as_str().parse::<AccountId>().is_ok()));
    }

    #[test]
    fn gates_are_read_back_from_their_tokens() {
        let account = "team:a".parse::<Scope>().unwrap().account();
        let answer = Gate::Answer(Digest::of(&[b"x"]).short());
        for gate in [Gate::Due, Gate::Account(account), Gate::of_model("gpt-4o"), answer] {
            assert_eq!(gate.token().parse(), Ok(gate));
        }
        for bad in ["", "later", "a-xyz", "m-", "c-xyz", "x-0123456789abcdef"] {
            assert!(bad.parse::<Gate>().is_err(), "{bad:?}");
        }
    }
}
