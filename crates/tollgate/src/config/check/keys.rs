//! What may be said about a provider's keys, and about where they are sent.

use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_providers::outbound::Place;

use super::{Checker, DAY};
use crate::config::build;
use crate::config::sections::{Key, Provider};

/// More keys of one provider than anybody has; each is searched for its turn.
const KEYS_MAX: usize = 64;
/// As often as keys are looked at; see `keys::LOOK_EVERY`.
const EVERY_MIN: Duration = crate::keys::LOOK_EVERY;

impl Checker<'_> {
    /// A metadata service is no provider however it is meant; `build::deployment_of` refuses it.
    pub(super) fn link_local(&mut self, name: &str, provider: &Provider) {
        if Place::of(provider.address()) == Place::LinkLocal && !provider.allow_link_local {
            let reason = "this is a link-local address, which is rarely meant; if it is, set allow_link_local = true";
            self.problem(format!("providers.{name}.base_url"), reason);
        }
    }

    pub(super) fn keys(&mut self, name: &str, provider: &Provider) {
        if provider.key.is_some() && !provider.keys.is_empty() {
            self.problem(format!("providers.{name}.keys"), "give `key` or `keys`, not both");
            return;
        }
        if provider.keys.len() > KEYS_MAX {
            self.problem(format!("providers.{name}.keys"), format!("more than {KEYS_MAX} keys"));
            return;
        }
        if let Some(key) = &provider.key {
            self.key(&format!("providers.{name}.key"), key);
        }
        for (at, key) in provider.keys.iter().enumerate() {
            self.key(&format!("providers.{name}.keys.{at}"), key);
        }
        let mut ids = BTreeSet::new();
        let twice = build::key_sources(provider).into_iter().map(|(id, _)| id).find(|id| !ids.insert(id.clone()));
        if let Some(id) = twice {
            self.problem(format!("providers.{name}.keys"), format!("two keys are called '{id}'"));
        }
    }

    pub(super) fn key(&mut self, at: &str, key: &Key) {
        let ways = [key.env.is_some(), key.file.is_some(), key.command.is_some()];
        if ways.into_iter().filter(|given| *given).count() != 1 {
            let reason = "a key comes from one place: { env = \"NAME\" }, { file = \"/path\" } or \
                          { command = [\"program\", \"argument\"] }";
            self.problem(at, reason);
        }
        let is_program = |argv: &Vec<String>| argv.first().is_some_and(|program| !program.is_empty());
        if key.command.as_ref().is_some_and(|argv| !is_program(argv)) {
            self.problem(format!("{at}.command"), "it names no program");
        }
        match key.every {
            Some(_) if key.command.is_none() => {
                self.problem(format!("{at}.every"), "it is for a command; files are looked at every 30s");
            }
            Some(every) => self.period(&format!("{at}.every"), every, EVERY_MIN, DAY),
            None => {}
        }
        let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if key.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64 || !is_plain(name)) {
            let reason = "a key's name has 1 to 64 letters, digits, '-', '_' and '.'; it is shown in logs and metrics";
            self.problem(format!("{at}.name"), reason);
        }
    }
}
