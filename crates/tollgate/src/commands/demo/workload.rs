//! What the demo asks: jobs of three teams in three classes. Pure: the same seed makes the same prompts.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tollgate_types::{Class, Endpoint, JobId, Team, job};

/// A job that the demo will submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) id: JobId,
    pub(super) team: Team,
    pub(super) class: Class,
    pub(super) line: Bytes,
}

/// A job, and when it is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// How long after the first.
    pub(super) after: Duration,
    /// The job.
    pub(super) planned: Planned,
}

/// Jobs in the order in which they are submitted. They are made one by one: a long trace of long prompts is never in
/// memory whole.
pub(super) struct Workload {
    by_team: BTreeMap<Team, usize>,
    given: usize,
    jobs: std::iter::Peekable<Box<dyn Iterator<Item = Due> + Send>>,
}

impl Workload {
    /// Jobs that are made as they are asked for, with how many each team has.
    pub(super) fn new(by_team: BTreeMap<Team, usize>, jobs: impl Iterator<Item = Due> + Send + 'static) -> Self {
        let jobs: Box<dyn Iterator<Item = Due> + Send> = Box::new(jobs);
        Workload { by_team, given: 0, jobs: jobs.peekable() }
    }

    /// Jobs that are all due at once.
    pub(super) fn at_once(jobs: Vec<Planned>) -> Self {
        let mut by_team = BTreeMap::new();
        for job in &jobs {
            *by_team.entry(job.team.clone()).or_default() += 1;
        }
        Workload::new(by_team, jobs.into_iter().map(|planned| Due { after: Duration::ZERO, planned }))
    }

    /// How many jobs each team has, from the first to the last.
    pub(super) fn by_team(&self) -> &BTreeMap<Team, usize> {
        &self.by_team
    }

    /// How many jobs are still to come.
    pub(super) fn len(&self) -> usize {
        self.by_team.values().sum::<usize>() - self.given
    }

    /// The next job, which stays the next.
    pub(super) fn peek(&mut self) -> Option<&Planned> {
        self.jobs.peek().map(|due| &due.planned)
    }
}

impl Iterator for Workload {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let due = self.jobs.next()?;
        self.given += 1;
        Some(due)
    }
}

/// The demo's teams, the class that each uses, its share of the jobs in percent, and the longest answer that it asks
/// for.
const TEAMS: [(&str, Class, u64, u64); 3] = [
    ("search", Class::Interactive, 40, 64),
    ("marketing", Class::Standard, 30, 160),
    ("batchers", Class::Batch, 30, 240),
];

/// The teams by name and class, in the order in which lines of a file are dealt.
pub(super) fn teams() -> [(Team, Class); 3] {
    TEAMS.map(|(team, class, _, _)| (team.parse().expect("the demo's teams have names"), class))
}

/// Ids of one run: nobody else has them.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    /// Distinguishes this run from every other.
    pub(super) run: String,
}

impl Ids {
    /// Ids of a new run.
    pub(super) fn fresh() -> Self {
        Ids { run: format!("{:08x}", rand::random::<u32>()) }
    }

    /// The id of the `n`th job.
    pub(super) fn of(&self, team: &Team, n: usize) -> JobId {
        format!("{team}:demo-{}-{n:06}", self.run).parse().expect("a team, hexadecimal digits and a number make an id")
    }
}

/// So many jobs from `seed`; a model is drawn from `models`, the first three times as often as the others together.
pub(super) fn generate(seed: u64, count: usize, models: &[String], ids: &Ids) -> Vec<Planned> {
    let mut chance = Chance(seed);
    (0..count).map(|n| planned(n, &mut chance, models, ids)).collect()
}

fn planned(n: usize, chance: &mut Chance, models: &[String], ids: &Ids) -> Planned {
    let mut share = chance.below(100);
    let (name, class, _, tokens_max) = TEAMS
        .into_iter()
        .find(|(_, _, percent, _)| {
            let here = share < *percent;
            share = share.saturating_sub(*percent);
            here
        })
        .expect("the shares are the whole");
    let team: Team = name.parse().expect("the demo's teams have names");
    let rare = models.len() > 1 && chance.below(4) == 0;
    let model = if rare { &models[1 + chance.index(models.len() - 1)] } else { &models[0] };
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": prompt(name, n, chance) }],
        "max_tokens": tokens_max,
    });
    let line = json!({
        "custom_id": format!("{name}-{n}"),
        "method": "POST",
        "url": Endpoint::ChatCompletions.as_str(),
        "body": body,
        "tollgate": { "version": job::VERSION, "project": "demo", "labels": { "use": USES[index_of(name)] } },
    });
    Planned { id: ids.of(&team, n), team, class, line: line.to_string().into() }
}

const USES: [&str; 3] = ["query-rewrite", "product-copy", "ticket-summary"];
const THINGS: [&str; 12] = [
    "running shoes",
    "a garden hose",
    "noise-cancelling headphones",
    "a cast-iron pan",
    "a child's bicycle",
    "desk lamps",
    "a rain jacket",
    "espresso beans",
    "a tent for two",
    "a standing desk",
    "hiking socks",
    "a bread knife",
];
const TRAITS: [&str; 8] = ["light", "durable", "quiet", "repairable", "cheap", "waterproof", "compact", "second-hand"];

fn index_of(team: &str) -> usize {
    TEAMS.iter().position(|(name, ..)| *name == team).unwrap_or(0)
}

/// A prompt of the kind that the team has. The number makes each different, so that nothing could be answered twice
/// from one answer.
fn prompt(team: &str, n: usize, chance: &mut Chance) -> String {
    let (thing, quality) = (THINGS[chance.index(THINGS.len())], TRAITS[chance.index(TRAITS.len())]);
    match index_of(team) {
        0 => format!(
            "Rewrite as a search query, without explanation: I need {thing}, {quality}, under {} euros. (#{n})",
            20 + chance.below(400)
        ),
        1 => format!("Write two sentences of product copy for {thing}. The buyer cares that it is {quality}. (#{n})"),
        _ => {
            let days = 1 + chance.below(30);
            format!(
                "Summarise ticket #{n} in one sentence: the customer ordered {thing} {days} days ago, wanted it {quality}, and has not got it."
            )
        }
    }
}

/// SplitMix64: its numbers are the same on every machine and in every version.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; for bounds this small the unevenness is far below what anybody could see.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use tollgate_types::JobSpec;

    fn models() -> Vec<String> {
        ["small", "large"].map(str::to_owned).to_vec()
    }

    fn ids() -> Ids {
        Ids { run: "0a".into() }
    }

    #[test]
    fn the_same_seed_makes_the_same_jobs_and_another_makes_others() {
        assert_eq!(generate(7, 50, &models(), &ids()), generate(7, 50, &models(), &ids()));
        assert_ne!(generate(7, 50, &models(), &ids()), generate(8, 50, &models(), &ids()));
        let [long, short] = [50, 20].map(|count| generate(7, count, &models(), &ids()));
        assert_eq!(long[..20], short, "a longer run begins like a shorter one");
    }

    #[test]
    fn every_job_is_valid_bounded_and_different() {
        let jobs = generate(1, 600, &models(), &ids());
        let prompts: BTreeSet<Bytes> = jobs.iter().map(|job| job.line.clone()).collect();
        let ids: BTreeSet<&JobId> = jobs.iter().map(|job| &job.id).collect();
        assert_eq!((prompts.len(), ids.len()), (600, 600));
        for planned in &jobs {
            let job = JobSpec::decode(&planned.line, 4096).expect("a job");
            assert!(job.request.max_tokens.is_some_and(|max| max <= 240));
        }
    }

    #[test]
    fn a_workload_knows_what_is_left_of_it() {
        let mut workload = Workload::at_once(generate(1, 20, &models(), &ids()));
        let (of_teams, first) = (workload.by_team().values().sum::<usize>(), workload.peek().cloned());
        assert_eq!((of_teams, workload.len()), (20, 20));
        assert_eq!(workload.next().map(|due| due.planned), first);
        assert_eq!((workload.by_team().values().sum::<usize>(), workload.len(), workload.count()), (20, 19, 19));
    }

    #[test]
    fn teams_classes_and_models_have_about_their_shares() {
        let mut teams: BTreeMap<(String, Class), usize> = BTreeMap::new();
        let mut large = 0;
        for planned in generate(1, 2000, &models(), &ids()) {
            *teams.entry((planned.team.to_string(), planned.class)).or_default() += 1;
            large += usize::from(JobSpec::decode(&planned.line, 4096).expect("a job").request.model == "large");
        }
        let near = |count: usize, expected: usize| count.abs_diff(expected) < 100;
        assert!(near(teams[&("search".to_owned(), Class::Interactive)], 800), "{teams:?}");
        assert!(near(teams[&("marketing".to_owned(), Class::Standard)], 600), "{teams:?}");
        assert!(near(teams[&("batchers".to_owned(), Class::Batch)], 600), "{teams:?}");
        assert!(teams.len() == 3 && near(large, 500), "{large}");
    }
}
