//! Which placeholder stands for which value, within one job.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// The most values that one job may have redacted. A prompt of a million tokens that is one list of addresses has about
/// that many; more is a table that should not be sent.
pub(crate) const VALUES_MAX: usize = 10_000;

/// The values that placeholders stand for in one job. Never stored, and never shown: its `Debug` counts only.
#[derive(Clone, Default)]
pub struct Vault {
    entries: Vec<Entry>,
    by_value: HashMap<(Origin, Arc<str>, Arc<str>), usize>,
    by_name: HashMap<Arc<str>, usize>,
    last: HashMap<(Origin, Arc<str>), u32>,
    /// Numbers that placeholders may not have, because the request has something that looks like one with it.
    avoided: HashSet<u32>,
}

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// In the request: its sender gets it back.
    Request,
    /// In the answer: nobody gets it back.
    Answer,
}

#[derive(Clone)]
struct Entry {
    /// Such as `EMAIL_1`, or `EMAIL_A1` in an answer.
    name: Arc<str>,
    value: Arc<str>,
    origin: Origin,
    /// Whether it stood as a bare number wherever it was found.
    number: bool,
}

/// A value to be put back.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    pub(crate) value: &'a str,
    pub(crate) number: bool,
}

/// There are too many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Vault {
    /// The placeholder for a value: the same one for the same value.
    pub(crate) fn placeholder(
        &mut self,
        origin: Origin,
        label: &Arc<str>,
        value: &str,
        number: bool,
    ) -> Result<String, Full> {
        let key = (origin, label.clone(), Arc::from(value));
        if let Some(&known) = self.by_value.get(&key) {
            let entry = &mut self.entries[known];
            entry.number &= number;
            return Ok(format!("<{}>", entry.name));
        }
        if self.entries.len() >= VALUES_MAX {
            return Err(Full);
        }
        // Spelt apart: an answer that is kept for others must not have what stands for a value of their requests.
        let mark = if origin == Origin::Answer { "A" } else { "" };
        let name: Arc<str> = format!("{label}_{mark}{}", self.next(origin, label)).into();
        let place = self.entries.len();
        let placeholder = format!("<{name}>");
        self.entries.push(Entry { name: name.clone(), value: key.2.clone(), origin, number });
        self.by_value.insert(key, place);
        self.by_name.insert(name, place);
        Ok(placeholder)
    }

    fn next(&mut self, origin: Origin, label: &Arc<str>) -> u32 {
        let last = self.last.entry((origin, label.clone())).or_default();
        *last += 1;
        while self.avoided.contains(last) {
            *last += 1;
        }
        *last
    }

    /// Keeps new placeholders apart from what stands in a body already: a request that has `<EMAIL_1>` in it must not get
    /// somebody's address for it in the answer.
    pub(crate) fn avoid(&mut self, body: &str) {
        for (at, _) in body.match_indices(['_', 'f', 'F']) {
            // An underscore, or one that is written as the escape `\u005f`; then the mark of an answer's.
            let from = at + 1 + usize::from(body.as_bytes().get(at + 1) == Some(&b'A'));
            let digits = body.as_bytes()[from..].iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
            if let Ok(number) = body[from..from + digits].parse() {
                self.avoided.insert(number);
            }
        }
    }

    /// What a placeholder of this name stands for, if it is to be put back.
    pub(crate) fn kept(&self, name: &str) -> Option<Kept<'_>> {
        let entry = &self.entries[*self.by_name.get(name)?];
        (entry.origin == Origin::Request).then_some(Kept { value: &entry.value, number: entry.number })
    }

    /// Whether nothing was replaced so far.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is anything to put back.
    pub(crate) fn keeps(&self) -> bool {
        self.entries.iter().any(|entry| entry.origin == Origin::Request)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("values", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_has_the_same_placeholder_and_no_other_has() {
        let mut vault = Vault::default();
        vault.avoid(r#"{"a":"see <EMAIL_1>, EMAIL\_2, EMAIL\u005f3, <EMAIL_A7> and x_99999999999"}"#);
        let (email, iban): (Arc<str>, Arc<str>) = ("EMAIL".into(), "IBAN".into());
        let mut place = |origin, label, value| vault.placeholder(origin, label, value, false).unwrap();
        assert_eq!(place(Origin::Request, &email, "a@x.com"), "<EMAIL_4>");
        assert_eq!(place(Origin::Request, &email, "b@x.com"), "<EMAIL_5>");
        assert_eq!(place(Origin::Request, &iban, "a@x.com"), "<IBAN_4>");
        assert_eq!(place(Origin::Request, &email, "a@x.com"), "<EMAIL_4>");
        assert_eq!(place(Origin::Answer, &email, "a@x.com"), "<EMAIL_A4>");
        assert_eq!(place(Origin::Answer, &email, "c@x.com"), "<EMAIL_A5>");
        assert_eq!(place(Origin::Request, &email, "d@x.com"), "<EMAIL_6>");
        assert_eq!(place(Origin::Request, &email, "e@x.com"), "<EMAIL_8>");
        assert_eq!(vault.kept("EMAIL_4").map(|kept| kept.value), Some("a@x.com"));
        for nobodys in ["EMAIL_A4", "EMAIL_A5", "EMAIL_1", "EMAIL_7"] {
            assert!(vault.kept(nobodys).is_none(), "{nobodys}");
        }
    }

    #[test]
    fn a_vault_tells_nothing_when_it_is_shown() {
        let mut vault = Vault::default();
        vault.placeholder(Origin::Request, &"EMAIL".into(), "hidden@x.com", false).unwrap();
        assert_eq!(format!("{vault:?}"), "Vault { values: 1, .. }");
    }

    #[test]
    fn a_vault_is_full_at_its_bound() {
        let mut vault = Vault::default();
        let label = "N".into();
        for value in 0..VALUES_MAX {
            vault.placeholder(Origin::Request, &label, &value.to_string(), true).unwrap();
        }
        assert_eq!(vault.placeholder(Origin::Request, &label, "more", true), Err(Full));
        assert!(vault.placeholder(Origin::Request, &label, "7", true).is_ok());
    }
}
