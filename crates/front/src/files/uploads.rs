//! How many uploads run at a time, in all and of one team, and what is removed of those that fail.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tollgate_queue::Files;
use tollgate_types::{FileId, Team};

use crate::refused::Refused;

/// Uploads at a time: each holds some three MiB.
const AT_ONCE: usize = 32;
/// Of one team, so that slow ones of one are not all that there are.
const OF_A_TEAM: usize = 8;

/// The uploads that run. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Uploads {
    running: Arc<Mutex<HashMap<Team, usize>>>,
}

/// A place among them, until it is dropped.
pub(crate) struct Upload {
    uploads: Uploads,
    team: Team,
}

impl Uploads {
    /// A place for one more.
    pub(crate) fn enter(&self, team: &Team) -> Result<Upload, Refused> {
        let mut running = self.running.lock().expect("no holder panics");
        let all: usize = running.values().sum();
        if all >= AT_ONCE || running.get(team).is_some_and(|&own| own >= OF_A_TEAM) {
            return Err(Refused::later("too many files are being uploaded at once; try again"));
        }
        *running.entry(team.clone()).or_default() += 1;
        Ok(Upload { uploads: self.clone(), team: team.clone() })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut running = self.uploads.running.lock().expect("no holder panics");
        if let Some(own) = running.get_mut(&self.team) {
            *own -= 1;
            if *own == 0 {
                running.remove(&self.team);
            }
        }
    }
}

/// A file that is begun: dropped before it is whole, what there is of it is removed.
pub(crate) struct Begun {
    by: mpsc::Sender<(Team, FileId)>,
    what: Option<(Team, FileId)>,
}

impl Begun {
    /// One that is removed by whoever listens at `by`.
    pub(crate) fn new(by: &mpsc::Sender<(Team, FileId)>, team: &Team, file: &FileId) -> Begun {
        Begun { by: by.clone(), what: Some((team.clone(), file.clone())) }
    }

    /// It is whole.
    pub(crate) fn whole(mut self) {
        self.what = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // Where too many fail at once, the sweep finds it.
        if let Some(what) = self.what.take() {
            let _ = self.by.try_send(what);
        }
    }
}

/// A chunk that was under way when its upload failed may be stored after the first removal; after so long it is not any more.
const AGAIN: Duration = Duration::from_secs(10);

/// Removes what there is of uploads that failed, as long as somebody says which.
pub(crate) async fn remove_failed(files: Files, failed: &mut mpsc::Receiver<(Team, FileId)>) {
    let remove = async |(team, file): &(Team, FileId)| {
        if let Err(error) = files.remove(team.as_str(), file).await {
            tracing::debug!(%error, "an upload that failed is removed later");
        }
    };
    let mut again: VecDeque<(Instant, (Team, FileId))> = VecDeque::new();
    loop {
        let due = again.front().map_or_else(Instant::now, |(at, _)| *at);
        tokio::select! {
            what = failed.recv() => {
                let Some(what) = what else { return };
                remove(&what).await;
                again.push_back((Instant::now() + AGAIN, what));
            }
            () = tokio::time::sleep_until(due), if !again.is_empty() => {
                if let Some((_, what)) = again.pop_front() {
                    remove(&what).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_team_never_takes_every_place() {
        let uploads = Uploads::default();
        let team = |name: &str| name.parse::<Team>().expect("a team");
        let mut held: Vec<Upload> = (0..OF_A_TEAM).map(|_| uploads.enter(&team("a")).expect("a place")).collect();
        assert!(uploads.enter(&team("a")).is_err());
        held.push(uploads.enter(&team("b")).expect("a place of another team"));
        held.remove(0);
        assert!(uploads.enter(&team("a")).is_ok());
        drop(held);
        assert!(uploads.running.lock().expect("no holder panics").is_empty());
    }
}
