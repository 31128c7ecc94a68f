//! What a page shows of: a stretch of time, a team, a model. All of it stands in the address, so that it can be shared.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;
use tollgate_types::UnixMillis;

use crate::num;

/// Stretches of time that have a name, with their hours.
pub(crate) const RANGES: [(&str, i64); 4] = [("1h", 1), ("24h", 24), ("7d", 168), ("30d", 720)];
const HOUR_MS: i64 = 3_600_000;
/// The longest stretch that is asked for: what the tables keep.
const LONGEST_MS: i64 = 400 * 24 * HOUR_MS;
/// Values longer than this are no names.
const VALUE_BYTES_MAX: usize = 512;
/// More than the pages know.
const VALUES_MAX: usize = 32;

/// The part of an address behind the question mark, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    values: BTreeMap<String, String>,
}

impl View {
    /// Reads an address. Of a name that comes twice the last one holds; what is empty or far too long is left out.
    pub(crate) fn read(query: &str) -> View {
        let pairs = form_urlencoded::parse(query.as_bytes()).take(VALUES_MAX);
        let kept = pairs.filter(|(name, value)| {
            !value.is_empty() && value.len() <= VALUE_BYTES_MAX && name.len() <= 32 && !value.contains('\0')
        });
        View { values: kept.map(|(name, value)| (name.into_owned(), value.into_owned())).collect() }
    }

    /// What the address says under a name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The same with another value under a name, or without it.
    pub(crate) fn with(&self, name: &str, value: Option<&str>) -> View {
        let mut values = self.values.clone();
        match value {
            Some(value) => values.insert(name.to_owned(), value.to_owned()),
            None => values.remove(name),
        };
        View { values }
    }

    /// As it stands in an address, in one order for all who mean the same.
    pub(crate) fn query(&self) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.values);
        query.finish()
    }

    /// The address of a page that shows the same.
    pub(crate) fn link(&self, path: &str) -> String {
        let query = self.query();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// What is kept on the way to another page: time, team and model, not what one page alone knows.
    pub(crate) fn shared(&self) -> View {
        let shared = ["range", "from", "to", "team", "model"];
        let values = self.values.iter().filter(|(name, _)| shared.contains(&name.as_str()));
        View { values: values.map(|(name, value)| (name.clone(), value.clone())).collect() }
    }

    /// The name of the stretch of time; none where from and to are given.
    pub(crate) fn range(&self) -> Option<&'static str> {
        if self.moments().is_some() {
            return None;
        }
        let named = self.value("range").and_then(|name| RANGES.iter().find(|(known, _)| *known == name));
        Some(named.map_or("24h", |(name, _)| name))
    }

    /// From when to when, in whole hours, by which the sums are kept.
    pub(crate) fn span(&self, now: UnixMillis) -> (UnixMillis, UnixMillis) {
        let name = self.range().unwrap_or("24h");
        let hours = RANGES.iter().find(|(known, _)| *known == name).map_or(24, |(_, hours)| *hours);
        let (from, to) = self.moments().unwrap_or((UnixMillis(now.0 - hours * HOUR_MS), now));
        let floor = |at: i64| at.div_euclid(HOUR_MS) * HOUR_MS;
        (UnixMillis(floor(from.0)), UnixMillis(floor(to.0 + HOUR_MS - 1)))
    }

    /// From and to, if both are given and make sense.
    fn moments(&self) -> Option<(UnixMillis, UnixMillis)> {
        let moment = |name| self.value(name).and_then(moment);
        let (from, to) = (moment("from")?, moment("to")?);
        (from < to && to - from <= LONGEST_MS).then_some((UnixMillis(from), UnixMillis(to)))
    }

    /// In words, with its zone.
    pub(crate) fn in_words(&self, now: UnixMillis) -> String {
        let (from, to) = self.span(now);
        let about = |name: &str| self.value(name).map(|value| format!(", {name} {value}")).unwrap_or_default();
        format!("{} to {} UTC{}{}", num::moment(from.0), num::moment(to.0), about("team"), about("model"))
    }
}

/// Reads `2026-11-26T12:00`, as `datetime-local` fields send it, as UTC.
fn moment(text: &str) -> Option<i64> {
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let text = text.get(..16)?;
    let at = time::PrimitiveDateTime::parse(text, &format).ok()?;
    Some(at.assume_utc().unix_timestamp() * 1000).filter(|at| *at >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_764_158_400_000);

    #[test]
    fn the_address_says_what_is_shown() {
        let view = View::read("range=7d&team=a%26b&model=&team=c%3Cd&x=1");
        assert_eq!((view.range(), view.value("team"), view.value("model")), (Some("7d"), Some("c<d"), None));
        assert_eq!(view.span(NOW), (UnixMillis(NOW.0 - 168 * HOUR_MS), NOW));
        assert_eq!(view.shared().link("/p"), "/p?range=7d&team=c%3Cd");
        assert_eq!(View::read("").link("/p"), "/p");
        assert_eq!(View::read(&view.query()), view);
    }

    #[test]
    fn times_that_make_no_sense_are_the_default() {
        let check = |query: &str, named: Option<&str>| assert_eq!(View::read(query).range(), named, "{query}");
        check("", Some("24h"));
        check("range=99y", Some("24h"));
        check("from=2026-01-01T00:00&to=2026-01-02T00:00", None);
        check("from=2026-01-02T00:00&to=2026-01-01T00:00", Some("24h"));
        check("from=2026-01-02T00:00", Some("24h"));
        check("from=1226-01-02T00:00&to=2026-01-01T00:00&range=1h", Some("1h"));
        check("from=x&to=2026-13-01T00:00", Some("24h"));
        let view = View::read("from=2025-11-26T12:00&to=2025-11-26T13:00");
        assert_eq!(view.span(NOW), (NOW, UnixMillis(NOW.0 + HOUR_MS)));
    }

    #[test]
    fn values_without_end_are_left_out() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert_eq!(View::read(&format!("team={long}&model=m%00")), View::default());
        let many: Vec<String> = (0..1000).map(|n| format!("v{n}=1")).collect();
        assert_eq!(View::read(&many.join("&")).values.len(), VALUES_MAX);
    }
}
