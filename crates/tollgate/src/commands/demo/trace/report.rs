//! The last words of a replay, for people and programs.

use std::time::Duration;

use serde::Serialize;

use super::fairness::SEEN_AFTER_MS;
use super::replay::{Facts, Replay};
use super::shares::{Evenness, Got, Samples, Shares, rounded};
use super::slots::SlotTime;
use crate::output::Output;

/// A submission that is less late than this is a timer's grain.
const LATE_MS_WORTH_SAYING: u64 = 250;

/// What was measured beside the results.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::demo) struct Measured {
    /// How many workers ran.
    pub(in crate::commands::demo) workers: usize,
    /// How late the latest submission was.
    pub(in crate::commands::demo) late: Duration,
    /// The workers' slot-time during the run, if they count it.
    pub(in crate::commands::demo) slots: Option<SlotTime>,
    /// From the first submission to the last result.
    pub(in crate::commands::demo) took: Duration,
}

/// Slot-time, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Slots {
    idle_seconds: f64,
    all_seconds: f64,
    idle_share: f64,
}

/// Everything that a replay found.
#[derive(Clone, Debug, Serialize)]
pub(in crate::commands::demo) struct Replayed {
    #[serde(flatten)]
    facts: Facts,
    jobs_per_second: f64,
    /// How late the latest submission was; nothing if everything was due at once.
    late_ms_max: Option<u64>,
    lanes: Vec<Got>,
    classes: Vec<Got>,
    evenness: Vec<Evenness>,
    longest_wait_ms: u64,
    longest_wait_lane: Option<String>,
    starved: Vec<String>,
    slots: Option<Slots>,
}

impl Replayed {
    /// From what was replayed and what came of it.
    pub(in crate::commands::demo) fn new(replay: &Replay, samples: &Samples, measured: Measured) -> Self {
        let Shares { lanes, classes, evenness } = Shares::new(&replay.lanes, samples, measured.workers);
        let longest = lanes.iter().max_by_key(|lane| lane.queued_ms.max);
        let starved = lanes.iter().filter(|lane| lane.drought.is_some_and(|drought| drought.starved));
        let jobs: usize = lanes.iter().map(|lane| lane.jobs).sum();
        let seconds = measured.took.as_secs_f64();
        Replayed {
            facts: replay.facts.clone(),
            jobs_per_second: if seconds > 0.0 { rounded(jobs as f64 / seconds, 10.0) } else { 0.0 },
            late_ms_max: replay.facts.speed.map(|_| u64::try_from(measured.late.as_millis()).unwrap_or(u64::MAX)),
            longest_wait_ms: longest.map_or(0, |lane| lane.queued_ms.max),
            longest_wait_lane: longest.map(Got::name),
            starved: starved.map(Got::name).collect(),
            slots: measured.slots.map(|SlotTime { idle, all }| Slots {
                idle_seconds: rounded(idle, 1e3),
                all_seconds: rounded(all, 1e3),
                idle_share: if all > 0.0 { rounded(idle / all, 1e5) } else { 0.0 },
            }),
            lanes,
            classes,
            evenness,
        }
    }

    /// A line for each team, and one for each class if there are several.
    pub(in crate::commands::demo) fn table(&self, output: &Output) -> String {
        let mut table = output.table(&HEADER);
        let classes = if self.classes.len() > 1 { &self.classes[..] } else { &[] };
        for got in self.lanes.iter().chain(classes) {
            table.add_row(row(got));
        }
        table.trim_fmt()
    }

    /// What the table does not say.
    pub(in crate::commands::demo) fn summary(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "token cost is 1 × prompt + 4 × answer tokens; share is a team's part of its class, or a class' of all, while it and another had jobs that waited for over {SEEN_AFTER_MS} ms"
        )];
        lines.extend(self.evenness.iter().map(even));
        let starved = match &self.starved[..] {
            [] => "no lane starved".to_owned(),
            some => format!("starved, while others got ten times what a fair order bounds: {}", some.join(", ")),
        };
        let lane = self.longest_wait_lane.as_deref().unwrap_or("none");
        lines.push(format!("longest wait {} ms ({lane}); {starved}", self.longest_wait_ms));
        lines.push(match self.slots {
            Some(Slots { idle_seconds, all_seconds, idle_share }) => format!(
                "slots idle while open lanes had work: {idle_seconds:.1} of {all_seconds:.1} slot-seconds ({:.2} %)",
                idle_share * 100.0
            ),
            None => "slots idle while open lanes had work: n/a, the workers do not count them".to_owned(),
        });
        if let Some(late_ms) = self.late_ms_max.filter(|late_ms| *late_ms >= LATE_MS_WORTH_SAYING) {
            lines.push(format!(
                "submitting fell behind the trace by up to {:.1} s: this machine takes no more jobs a second",
                late_ms as f64 / 1e3
            ));
        }
        lines
    }
}

const HEADER: [&str; 10] = [
    "team",
    "class",
    "weight",
    "jobs",
    "token cost",
    "share",
    "by weight",
    "p50 wait ms",
    "p95 wait ms",
    "max wait ms",
];

fn row(got: &Got) -> [String; HEADER.len()] {
    let part = |part: Option<f64>| part.map_or_else(|| "–".to_owned(), |part| format!("{:.1} %", part * 100.0));
    [
        got.team.clone().unwrap_or_else(|| "all".to_owned()),
        got.class.to_string(),
        got.weight.to_string(),
        got.jobs.to_string(),
        got.token_cost.to_string(),
        part(got.share),
        part(got.weight_share),
        got.queued_ms.p50.to_string(),
        got.queued_ms.p95.to_string(),
        got.queued_ms.max.to_string(),
    ]
}

fn even(evenness: &Evenness) -> String {
    let what =
        evenness.teams_of.map_or_else(|| "between classes".to_owned(), |class| format!("between teams of {class}"));
    let (windows, size) = (evenness.windows, evenness.window_token_cost);
    match (evenness.jain_mean, evenness.jain_min) {
        (Some(mean), Some(min)) => format!(
            "{what}: Jain's index {mean:.4} on average, {min:.4} at least, over {windows} window(s) of {size} token cost (ten times the bound)"
        ),
        _ => format!(
            "{what}: Jain's index n/a, because no two had jobs waiting through {size} token cost (ten times the bound); replay more rows, or faster"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::env::Env;
    use crate::output::Format;
    use tollgate_types::Class;

    fn replayed(slots: Option<SlotTime>, late_ms: u64) -> Replayed {
        let replay = Replay::of_nothing();
        let took = Duration::from_secs(1);
        Replayed::new(
            &replay,
            &Samples::default(),
            Measured { workers: 1, late: Duration::from_millis(late_ms), slots, took },
        )
    }

    #[test]
    fn slots_are_said_if_they_are_counted_and_lateness_if_it_is_worth_it() {
        let words = replayed(None, 10).summary().join("\n");
        assert!(words.contains("n/a, the workers do not count them") && !words.contains("fell behind"), "{words}");
        let words = replayed(Some(SlotTime { idle: 0.5, all: 200.0 }), 1500).summary().join("\n");
        assert!(words.contains("0.5 of 200.0 slot-seconds (0.25 %)") && words.contains("by up to 1.5 s"), "{words}");
        assert!(words.contains("no lane starved"), "{words}");
    }

    #[test]
    fn teams_have_a_line_each_and_classes_too_where_there_are_several() {
        let output = Output::new(Format::Table, &Env::default());
        let table = |classes: &[Class]| {
            let mut replayed = replayed(None, 0);
            let got = |class: &Class| Got::of_nothing("a", *class);
            replayed.lanes = classes.iter().map(got).collect();
            replayed.classes = classes.iter().map(|class| Got { team: None, ..got(class) }).collect();
            replayed.table(&output).lines().count()
        };
        assert_eq!((table(&[Class::Batch]), table(&[Class::Batch, Class::Standard])), (2, 5), "with the header");
    }

    #[test]
    fn evenness_is_said_with_its_window_or_why_there_is_none() {
        let some = Evenness {
            teams_of: None,
            window_token_cost: 500,
            windows: 3,
            jain_min: Some(0.99),
            jain_mean: Some(0.995),
        };
        assert_eq!(
            even(&some),
            "between classes: Jain's index 0.9950 on average, 0.9900 at least, over 3 window(s) of 500 token cost (ten times the bound)"
        );
        let none = Evenness { teams_of: Some(Class::Batch), windows: 0, jain_min: None, jain_mean: None, ..some };
        assert!(even(&none).starts_with("between teams of batch: Jain's index n/a, because no two had jobs waiting"));
    }
}
