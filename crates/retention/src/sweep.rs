//! Which results are old enough: a walk through each team's results, the oldest first, that ends at the first young one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tollgate_queue::Directory;
use tollgate_queue::tombs::{Lying, Part, Tombs};
use tollgate_types::{ErrorCode, UnixMillis};

use crate::entomb::{Entomb, EntombError, Entombed};
use crate::passed::Passed;

/// Results that are removed at a time.
const AT_ONCE: usize = 8;
/// The most results that are read at once. A walk that stands reads one, because they come with their texts.
const PART_MAX: usize = 200;

/// Whose results one walk goes through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Walk {
    /// Those of a team that says how long they are kept.
    Team(String),
    /// Those of everybody else, also of teams that nobody knows.
    Rest,
}

/// Where a walk is. Results are stored in the order of their time, so what lies before it is done.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The sequence to go on from.
    next: u64,
    /// When the result was stored at which it stands because that is young.
    young: Option<UnixMillis>,
    /// How many results are read next.
    most: usize,
}

impl Place {
    const START: Place = Place { next: 1, young: None, most: 1 };
}

/// Where the walks are.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    places: BTreeMap<Walk, Place>,
    /// The teams that said how long their results are kept, in the last round.
    apart: BTreeSet<String>,
}

/// What one round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Results whose texts are gone since now.
    pub(crate) swept: u64,
    /// Whether there is more to do at once.
    pub(crate) more: bool,
}

impl Sweep {
    /// One part of each walk.
    ///
    /// Cancel safe, and killed anywhere: a place moves on only behind what is done, and another process begins each walk
    /// anew, which finds tombstones for what was done and finishes what was not.
    pub(crate) async fn round(
        &mut self,
        (tombs, entomb): (&Tombs, &Entomb<'_>),
        directory: &Directory,
        passed: &Passed,
        now: UnixMillis,
    ) -> Result<Round, EntombError> {
        let mut round = Round::default();
        self.heed(directory);
        for (walk, keep) in walks(directory) {
            let place = self.places.get(&walk).copied().unwrap_or(Place::START);
            let due = UnixMillis(now.0.saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX)));
            if place.young.is_some_and(|young| young > due) {
                continue;
            }
            let team = match &walk {
                Walk::Team(team) => Some(team.as_str()),
                Walk::Rest => None,
            };
            let Part { lying, next, more } = tombs.part(team, place.next, place.most).await?;
            let (old, stopped_at) = old(lying, due, passed);
            let theirs = old.into_iter().filter(|lying| is_of(&walk, &lying.event.team, directory));
            let swept: Vec<(u64, Entombed)> =
                stream::iter(theirs.map(|lying| one(entomb, lying))).buffer_unordered(AT_ONCE).try_collect().await?;
            round.swept += swept.iter().filter(|(_, entombed)| *entombed == Entombed::Now).count() as u64;
            let left = swept.into_iter().filter(|(_, entombed)| *entombed == Entombed::NotPassed);
            let left = left.map(|(sequence, _)| sequence).min();
            round.more |= more && stopped_at.is_none() && left.is_none();
            let place = match (left, stopped_at) {
                // A sink came meanwhile, and has not.
                (Some(next), _) => Place { next, ..Place::START },
                (None, Some((next, at))) => Place { next, young: Some(at), ..Place::START },
                (None, None) => Place { next, young: None, most: (place.most * 4).min(PART_MAX) },
            };
            self.places.insert(walk, place);
        }
        Ok(round)
    }

    /// Begins the walk through everybody else's results anew when a team joins them: it passed over that team's. A walk
    /// that is no more leaves no place behind, which a later one of the same team would go on from.
    fn heed(&mut self, directory: &Directory) {
        let teams = directory.teams().into_iter().filter(|(_, team)| team.results_keep_secs.is_some());
        let apart: BTreeSet<String> = teams.map(|(name, _)| name).collect();
        if !self.apart.is_subset(&apart) {
            self.places.remove(&Walk::Rest);
        }
        self.apart = apart;
        self.places.retain(|walk, _| match walk {
            Walk::Team(team) => self.apart.contains(team),
            Walk::Rest => true,
        });
    }

    /// Begins anew: in another log, sequences mean something else.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
    }
}

async fn one(entomb: &Entomb<'_>, lying: Lying) -> Result<(u64, Entombed), EntombError> {
    let entombed = match entomb.lying(&lying, ErrorCode::NotKept).await? {
        Some(entombed) => entombed,
        // Its tombstone is there, and whoever put it there may have been killed before he came to this.
        None => entomb.job(&lying.event.team, &lying.event.job, ErrorCode::NotKept).await?,
    };
    Ok((lying.sequence, entombed))
}

fn walks(directory: &Directory) -> Vec<(Walk, Duration)> {
    let keeps = directory.teams().into_iter().filter_map(|(name, team)| Some((name, team.results_keep_secs?)));
    let mut walks: Vec<(Walk, Duration)> =
        keeps.map(|(name, seconds)| (Walk::Team(name), Duration::from_secs(seconds))).collect();
    if let Some(seconds) = directory.organisation().results_keep_secs {
        walks.push((Walk::Rest, Duration::from_secs(seconds)));
    }
    walks
}

fn is_of(walk: &Walk, team: &str, directory: &Directory) -> bool {
    match walk {
        Walk::Team(name) => name == team,
        Walk::Rest => directory.team(team).is_none_or(|record| record.results_keep_secs.is_none()),
    }
}

/// Those of a part that were stored before `due` and may be removed, and where and when the first other one was stored,
/// if there is one. Tombstones are passed over: what they stand for is done, or will be met.
fn old(lying: Vec<Lying>, due: UnixMillis, passed: &Passed) -> (Vec<Lying>, Option<(u64, UnixMillis)>) {
    let stays = |lying: &&Lying| !lying.is_empty() && (lying.at > due || !passed.allows(lying.sequence));
    let stopped_at = lying.iter().find(stays).map(|lying| (lying.sequence, lying.at));
    let before = |lying: &Lying| !lying.is_empty() && stopped_at.is_none_or(|(at, _)| lying.sequence < at);
    (lying.into_iter().filter(before).collect(), stopped_at)
}
