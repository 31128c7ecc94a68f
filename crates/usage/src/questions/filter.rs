//! What is asked about: a time, and who and what.

use super::facts::Facts;
use super::literal;
use crate::range::HourRange;

/// What is asked about; everything by itself.
///
/// The rollups know team, model, provider, project and class; those of users know team, user, project and model; those of
/// labels know team and one label. Any other mixture is answered from the raw table, which is slower. A provider and a
/// model are those of the call; of a job, those of its last call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// When, by the server's clock.
    pub range: HourRange,
    /// This team alone.
    pub team: Option<String>,
    /// This model alone, by the provider's own name.
    pub model: Option<String>,
    /// This provider alone.
    pub provider: Option<String>,
    /// This project alone; empty for jobs that named none.
    pub project: Option<String>,
    /// This class alone.
    pub class: Option<String>,
    /// Jobs that carry this label with this value alone.
    pub label: Option<(String, String)>,
    /// This end user alone; empty for jobs that named none.
    pub user: Option<String>,
}

impl Default for Filter {
    fn default() -> Self {
        Filter {
            range: HourRange::ALL,
            team: None,
            model: None,
            provider: None,
            project: None,
            class: None,
            label: None,
            user: None,
        }
    }
}

/// What an answer is broken down by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The team.
    Team,
    /// The project; empty if the job named none.
    Project,
    /// The end user; empty if the job named none.
    User,
    /// The model called.
    Model,
    /// The provider called.
    Provider,
    /// The class.
    Class,
    /// The day of UTC, such as `2026-11-26`.
    Day,
    /// The hour of UTC, such as `2026-11-26T12:00:00Z`.
    Hour,
    /// The value of this label; jobs that do not carry it are left out.
    Label(String),
}

/// How far the points of a series lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day of UTC.
    Day,
}

impl Filter {
    /// What the filter names beside the time.
    pub(super) fn names(&self) -> Vec<Dimension> {
        let mut names = Vec::new();
        let mut note = |named: bool, dimension| names.extend(named.then_some(dimension));
        note(self.team.is_some(), Dimension::Team);
        note(self.model.is_some(), Dimension::Model);
        note(self.provider.is_some(), Dimension::Provider);
        note(self.project.is_some(), Dimension::Project);
        note(self.class.is_some(), Dimension::Class);
        note(self.user.is_some(), Dimension::User);
        names.extend(self.label.as_ref().map(|(name, _)| Dimension::Label(name.clone())));
        names
    }

    /// The conditions on a table, without those that always hold.
    pub(super) fn conditions(&self, facts: Facts) -> Vec<String> {
        let mut conditions = during(self.range, facts.is_raw(), facts.at());
        let columns = [
            ("team", &self.team),
            ("model", &self.model),
            ("provider", &self.provider),
            ("project", &self.project),
            ("class", &self.class),
            ("end_user", &self.user),
        ];
        for (column, wanted) in columns {
            conditions.extend(wanted.as_ref().map(|value| format!("u.{column} = {}", literal::text(value))));
        }
        if let Some((name, value)) = &self.label {
            let (name, value) = (literal::text(name), literal::text(value));
            conditions.push(match facts {
                Facts::Labels => format!("u.label = {name} AND u.value = {value}"),
                Facts::Raw | Facts::Hourly | Facts::Users => {
                    format!("mapContains(u.labels, {name}) AND u.labels[{name}] = {value}")
                }
            });
        }
        conditions
    }
}

/// The bounds of a time on a column; none for all time.
pub(super) fn during(range: HourRange, to_the_millisecond: bool, column: &str) -> Vec<String> {
    let at = |seconds: i64| {
        if to_the_millisecond { literal::millisecond(seconds.saturating_mul(1000)) } else { literal::second(seconds) }
    };
    let (from, to) = (range.from_seconds(), range.to_seconds());
    let begins = (from > HourRange::ALL.from_seconds()).then(|| format!("{column} >= {}", at(from)));
    let ends = (to < HourRange::ALL.to_seconds()).then(|| format!("{column} < {}", at(to)));
    begins.into_iter().chain(ends).collect()
}

impl Step {
    /// The beginning of the step that a time column falls in.
    pub(super) fn of(self, column: &str) -> String {
        match self {
            Step::Hour => format!("toStartOfHour({column})"),
            Step::Day => format!("toStartOfDay({column})"),
        }
    }

    /// The same as whole seconds since the epoch.
    pub(super) fn seconds_of(self, column: &str) -> String {
        format!("toInt64(toUnixTimestamp({}))", self.of(column))
    }
}
