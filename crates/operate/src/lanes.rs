//! Which lanes have work, what stands still and why.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tollgate_queue::directory::{Pause, Paused};
use tollgate_types::{Class, Gate, LaneKey, Scope, Team};

use crate::waiting::Waiting;

/// A lane, all lanes of a team, or a model.
#[derive(Debug, PartialEq, Serialize)]
pub struct Row {
    /// `lane`, `team` or `model`.
    pub kind: &'static str,
    /// Which of a team's lanes; none for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The team; none for a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The model, of every team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The team's share against others of its class; none if it is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Jobs in the lane, with those that run.
    pub waiting: u64,
    /// Jobs behind gates that are narrower than the lane.
    pub parked: u64,
    /// Which gates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Behind>,
    /// Why it stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
}

/// Jobs behind one gate.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// The gate, as subjects spell it.
    pub gate: String,
    /// What the gate is, in words, where that is known.
    pub what: String,
    /// How many.
    pub jobs: u64,
}

/// Who paused something, since when and why.
pub fn in_words(pause: &Pause) -> String {
    let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
    format!("paused by {} since {}{reason}", pause.author, pause.at.to_rfc3339())
}

impl Row {
    /// Where it stands, in words.
    pub fn state(&self) -> String {
        match &self.paused {
            Some(pause) => in_words(pause),
            None if self.kind == "lane" && self.weight.is_none() => "unknown; its jobs are answered".to_owned(),
            None => "open".to_owned(),
        }
    }

    /// A row of a table for people.
    pub fn row(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let behind: Vec<String> =
            self.behind.iter().map(|behind| format!("{} behind {}", behind.jobs, behind.what)).collect();
        let weight = self.weight.map(|weight| weight.to_string()).unwrap_or_default();
        let state = self.state();
        let name = self.model.as_ref().map_or_else(|| text(&self.team), |model| format!("model {model}"));
        let class = self.class.clone().unwrap_or_else(|| "all".to_owned());
        let (waiting, parked) = (self.waiting.to_string(), self.parked.to_string());
        vec![name, class, weight, waiting, parked, behind.join(", "), state]
    }
}

/// Every lane in which something waits or that is paused, then the teams and models that are.
pub fn rows(
    waiting: &BTreeMap<LaneKey, Waiting>,
    pauses: &[(Paused, std::sync::Arc<Pause>)],
    weight: &dyn Fn(&LaneKey) -> Option<u32>,
    names: &Names,
) -> Vec<Row> {
    let pause_of =
        |wanted: &Paused| pauses.iter().find(|(paused, _)| paused == wanted).map(|(_, pause)| (**pause).clone());
    let paused_lanes = pauses.iter().filter_map(|(paused, _)| match paused {
        Paused::Lane { class: Some(class), team } => Some(LaneKey::new(*class, team)),
        Paused::Lane { class: None, .. } | Paused::Model { .. } => None,
    });
    let lanes: BTreeSet<LaneKey> = waiting.keys().cloned().chain(paused_lanes).collect();
    let nothing = Waiting::default();
    let lane = |lane: &LaneKey| {
        let waiting = waiting.get(lane).unwrap_or(&nothing);
        let known: Option<(Class, Team)> = lane.known_class().zip(lane.team.parse().ok());
        let pause = known.as_ref().and_then(|(class, team)| {
            let whole = Paused::Lane { class: None, team: team.clone() };
            pause_of(&Paused::Lane { class: Some(*class), team: team.clone() }).or_else(|| pause_of(&whole))
        });
        // Whoever may publish jobs chooses the class token freely.
        let shown = lane.plain();
        Row {
            kind: "lane",
            class: Some(shown.class),
            team: Some(shown.team),
            model: None,
            weight: known.and_then(|_| weight(lane)),
            waiting: waiting.in_lane,
            parked: waiting.parked(),
            behind: waiting.behind.iter().map(|(gate, jobs)| names.behind(gate, *jobs)).collect(),
            paused: pause,
        }
    };
    let whole = |(paused, pause): &(Paused, std::sync::Arc<Pause>)| {
        let (kind, team, model) = match paused {
            Paused::Lane { class: Some(_), .. } => return None,
            Paused::Lane { class: None, team } => ("team", Some(team.to_string()), None),
            Paused::Model { digest } => ("model", None, Some(names.model(digest))),
        };
        let paused = Some((**pause).clone());
        Some(Row { kind, class: None, team, model, weight: None, waiting: 0, parked: 0, behind: Vec::new(), paused })
    };
    let lanes = lanes.iter().map(lane).collect::<Vec<_>>();
    lanes.into_iter().chain(pauses.iter().filter_map(whole)).collect()
}

/// What the digests in gates stand for, as far as that is known.
#[derive(Default)]
pub struct Names(BTreeMap<Gate, String>);

impl Names {
    /// Of accounts and of models; of what is paused by [`Names::note`].
    pub fn new<'a>(accounts: impl Iterator<Item = &'a Scope>, models: impl Iterator<Item = &'a str>) -> Names {
        let mut names = Names::default();
        names.0.insert(Gate::Due, "nothing: its time has come".to_owned());
        names.0.extend(accounts.map(|scope| (Gate::Account(scope.account()), scope.to_string())));
        names.0.extend(models.map(|model| (Gate::of_model(model), format!("model {model}"))));
        names
    }

    /// Pauses name their models.
    pub fn note(&mut self, pauses: &[(Paused, std::sync::Arc<Pause>)]) {
        for (paused, pause) in pauses {
            if let Paused::Model { digest } = paused {
                self.0.insert(Gate::Model(digest.clone()), pause.what.clone());
            }
        }
    }

    fn behind(&self, gate: &Gate, jobs: u64) -> Behind {
        let unnamed = || match gate {
            Gate::Answer(_) => "an identical job that is being answered".to_owned(),
            Gate::Due | Gate::Account(_) | Gate::Model(_) => gate.token(),
        };
        let what = self.0.get(gate).cloned().unwrap_or_else(unnamed);
        Behind { gate: gate.token(), what, jobs }
    }

    fn model(&self, digest: &str) -> String {
        let gate = Gate::Model(digest.to_owned());
        let name = self.0.get(&gate).cloned().unwrap_or_else(|| gate.token());
        name.strip_prefix("model ").unwrap_or(&name).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tollgate_types::UnixMillis;

    use super::*;

    #[test]
    fn lanes_are_listed_with_what_waits_and_why_they_stand() {
        let lane = |class: &str, team: &str| LaneKey { class: class.into(), team: team.into() };
        let of_model = Gate::of_model("m");
        let waiting = [
            (lane("batch", "a"), Waiting { in_lane: 7, behind: [(of_model.clone(), 2), (Gate::Due, 1)].into() }),
            (lane("standard", "b"), Waiting { in_lane: 1, ..Waiting::default() }),
            (lane("x*y", "c"), Waiting { in_lane: 3, ..Waiting::default() }),
        ];
        let pause = |what: &str| {
            let (what, author, reason) = (what.to_owned(), "ann".to_owned(), "why".to_owned());
            Arc::new(Pause { what, author, at: UnixMillis(0), reason })
        };
        let b: Team = "b".parse().expect("a team");
        let pauses = [
            (Paused::Lane { class: None, team: b.clone() }, pause("b")),
            (Paused::Lane { class: Some(Class::Batch), team: b }, pause("b/batch")),
            (Paused::model("m"), pause("model m")),
        ];
        let mut names = Names::default();
        names.note(&pauses);
        let weight = |lane: &LaneKey| (lane.team != "c").then_some(5);
        let rows: Vec<String> =
            rows(&waiting.into(), &pauses, &weight, &names).iter().map(|row| row.row().join("|")).collect();
        let paused = "paused by ann since 1970-01-01T00:00:00Z: why";
        assert_eq!(
            rows,
            [
                "a|batch|5|7|3|1 behind due, 2 behind model m|open".to_owned(),
                format!("b|batch|5|0|0||{paused}"),
                format!("b|standard|5|1|0||{paused}"),
                "c|x_y||3|0||unknown; its jobs are answered".to_owned(),
                format!("b|all||0|0||{paused}"),
                format!("model m|all||0|0||{paused}"),
            ]
        );
    }
}
