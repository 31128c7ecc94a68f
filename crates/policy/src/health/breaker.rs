//! The circuit breaker: a deployment that fails is left alone, then tried with one call at a time.

use std::time::Duration;

/// What the breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Everything.
    Open,
    /// The one call that tries it.
    Probe,
    /// Nothing before then.
    Shut {
        /// When it is worth another look.
        until: Duration,
    },
}

/// Closed while calls succeed; open after many failures; half open when its time is up.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: State,
    /// Failures in a row, and when the first of them was.
    row: u32,
    row_since: Duration,
    window: Window,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Calls flow; results of calls that began earlier than this say nothing.
    #[default]
    Closed,
    /// No call before `until`; after it one at a time.
    Open { since: Duration, until: Duration, spell: Duration, probing: Option<Duration> },
}

/// So many failures in a row, over at least so long, open it: few enough for a job that is alone with a provider that is
/// down, and too long for a busy deployment that fails one call in five.
const ROW: u32 = 3;
const ROW_OVER: Duration = Duration::from_secs(1);
/// So many failures in a row, or lately and at least as many as successes, open it at once.
const FAILURES: u32 = 10;
/// The first time that it stays open, and the longest: well under the 30 s in which traffic must be back.
const SPELL: Duration = Duration::from_secs(1);
const SPELL_MAX: Duration = Duration::from_secs(8);
/// A probe that never ends does not hold up the next for ever.
const PROBE_MAX: Duration = Duration::from_secs(120);

impl Breaker {
    /// What it lets through.
    pub fn gate(&self, now: Duration) -> Gate {
        match self.state {
            State::Closed => Gate::Open,
            State::Open { until, .. } if now < until => Gate::Shut { until },
            State::Open { probing: Some(began), .. } if now < began + PROBE_MAX => {
                Gate::Shut { until: began + PROBE_MAX }
            }
            State::Open { .. } => Gate::Probe,
        }
    }

    /// A call begins; says whether it is the probe.
    pub fn begin(&mut self, now: Duration) -> bool {
        let is_probe = self.gate(now) == Gate::Probe;
        if let State::Open { probing, .. } = &mut self.state
            && is_probe
        {
            *probing = Some(now);
        }
        is_probe
    }

    /// A call that began then succeeded.
    pub fn succeeded(&mut self, began: Duration, probe: bool, now: Duration) {
        match self.state {
            State::Closed => {
                self.row = 0;
                self.window.add(now, true);
            }
            // One that was under way when it opened says nothing about now.
            State::Open { since, .. } if probe || began > since => *self = Breaker::default(),
            State::Open { .. } => {}
        }
    }

    /// A call that began then failed.
    pub fn failed(&mut self, began: Duration, probe: bool, now: Duration) {
        match self.state {
            State::Closed => {
                if self.row == 0 {
                    self.row_since = began;
                }
                self.row += 1;
                self.window.add(now, false);
                let for_long = self.row >= ROW && now.saturating_sub(self.row_since) >= ROW_OVER;
                let (ok, failed) = self.window.counts(now);
                if for_long || self.row >= FAILURES || (failed >= FAILURES && failed >= ok) {
                    self.open(SPELL, now);
                }
            }
            State::Open { spell, .. } if probe => self.open((spell * 2).min(SPELL_MAX), now),
            State::Open { .. } => {}
        }
    }

    /// A call ended that says nothing of the deployment: if it was the probe, another may be.
    pub(super) fn gave_no_sign(&mut self, probe: bool) {
        if let State::Open { probing, .. } = &mut self.state
            && probe
        {
            *probing = None;
        }
    }

    fn open(&mut self, spell: Duration, now: Duration) {
        self.state = State::Open { since: now, until: now + spell, spell, probing: None };
        self.row = 0;
        self.window = Window::default();
    }
}

/// Successes and failures of the last ten seconds, by the second.
#[derive(Clone, Debug, Default)]
struct Window {
    seconds: [(u64, u32, u32); SECONDS],
}

const SECONDS: usize = 10;

impl Window {
    fn add(&mut self, now: Duration, ok: bool) {
        let second = now.as_secs();
        let slot = &mut self.seconds[(second % SECONDS as u64) as usize];
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        if ok { slot.1 += 1 } else { slot.2 += 1 }
    }

    fn counts(&self, now: Duration) -> (u32, u32) {
        let oldest = now.as_secs().saturating_sub(SECONDS as u64 - 1);
        let recent = self.seconds.iter().filter(|slot| slot.0 >= oldest);
        recent.fold((0, 0), |(ok, failed), slot| (ok + slot.1, failed + slot.2))
    }
}
