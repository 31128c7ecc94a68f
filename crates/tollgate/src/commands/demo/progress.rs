//! What the demo says while it works, on standard error: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sandbox::Event;

use crate::output;

/// How often a plain line is said: often enough to see that it lives.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Speaks to whoever watches.
#[derive(Clone)]
pub(super) struct Show {
    bars: Option<MultiProgress>,
}

impl Show {
    pub(super) fn new() -> Self {
        Show { bars: std::io::stderr().is_terminal().then(MultiProgress::new) }
    }

    /// Says a line, above the bars if there are some.
    pub(super) fn say(&self, text: impl std::fmt::Display) {
        match &self.bars {
            Some(bars) => bars.suspend(|| output::say(text)),
            None => output::say(text),
        }
    }

    /// Shows what is fetched, how much of it, and when it is there.
    pub(super) fn fetches(&self) -> sandbox::Progress {
        let fetch = Arc::new(Mutex::new(Fetch {
            show: self.clone(),
            what: String::new(),
            total: None,
            said: Instant::now(),
            bar: None,
        }));
        sandbox::Progress::new(move |event| fetch.lock().expect("no holder panics").step(event))
    }

    /// A bar, or nothing but lines, for each team's results.
    pub(super) fn results(&self, teams: &[(String, u64)]) -> Results {
        let style = ProgressStyle::with_template("  {prefix:<12} {bar:32} {pos:>5}/{len}  {msg}").expect("a template");
        let bar = |(team, jobs): &(String, u64)| {
            let bar = self
                .bars
                .as_ref()
                .map(|bars| bars.add(ProgressBar::new(*jobs).with_style(style.clone()).with_prefix(team.clone())));
            Line { team: team.clone(), jobs: *jobs, done: 0, bar }
        };
        Results { show: self.clone(), lines: teams.iter().map(bar).collect(), said: Instant::now() }
    }
}

struct Fetch {
    show: Show,
    what: String,
    total: Option<u64>,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Fetch {
    fn step(&mut self, event: Event) {
        match event {
            Event::Waiting { what } => self.show.say(format_args!("waiting for another process that fetches {what} …")),
            Event::Fetching { what, from, bytes_total } => {
                let size = bytes_total.map(|bytes| format!(" ({} MB)", bytes / 1_000_000)).unwrap_or_default();
                self.show.say(format_args!("fetching {what}{size} from {from} …"));
                self.begin(what, bytes_total);
            }
            Event::Unpacking { what, bytes_total } => {
                self.show.say(format_args!("unpacking {what} …"));
                self.begin(what, bytes_total);
            }
            Event::Progress { bytes } => self.moved(bytes),
            Event::Done { path, took } => {
                self.end();
                self.show.say(format_args!("{} is there after {:.1} s", path.display(), took.as_secs_f64()));
            }
            // A step that is new to us needs no words.
            _ => {}
        }
    }

    fn begin(&mut self, what: String, total: Option<u64>) {
        self.end();
        (self.what, self.total, self.said) = (what, total, Instant::now());
        let template =
            if total.is_some() { "  {bar:32} {bytes}/{total_bytes} {bytes_per_sec}" } else { "  {spinner} {bytes}" };
        let style = ProgressStyle::with_template(template).expect("a template");
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style);
        self.bar = self.show.bars.as_ref().map(|bars| bars.add(bar));
    }

    fn moved(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        } else if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            let of = self.total.map(|total| format!(" of {}", total / 1_000_000)).unwrap_or_default();
            self.show.say(format_args!("  {}: {}{of} MB", self.what, bytes / 1_000_000));
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The results so far, by team.
pub(super) struct Results {
    show: Show,
    lines: Vec<Line>,
    said: Instant,
}

struct Line {
    team: String,
    jobs: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Results {
    /// One more result of a team, or of a run with another id, which is passed over.
    pub(super) fn one(&mut self, team: &str) {
        let Some(line) = self.lines.iter_mut().find(|line| line.team == team) else { return };
        line.done += 1;
        if let Some(bar) = &line.bar {
            bar.set_position(line.done);
        }
    }

    /// Says how far it is, now and then.
    pub(super) fn tick(&mut self) {
        if self.show.bars.is_none() && self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            self.show.say(self.in_words());
        }
    }

    fn in_words(&self) -> String {
        let (done, jobs) = self.lines.iter().fold((0, 0), |(done, jobs), line| (done + line.done, jobs + line.jobs));
        let teams: Vec<String> =
            self.lines.iter().map(|line| format!("{} {}/{}", line.team, line.done, line.jobs)).collect();
        format!("  results {done}/{jobs}: {}", teams.join(", "))
    }

    /// Clears the bars.
    pub(super) fn end(&mut self) {
        self.lines.iter_mut().filter_map(|line| line.bar.take()).for_each(|bar| bar.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_by_team() {
        let mut results = Show { bars: None }.results(&[("a".into(), 2), ("b".into(), 1)]);
        ["a", "b", "a", "stranger"].iter().for_each(|team| results.one(team));
        assert_eq!(results.in_words(), "  results 3/3: a 2/2, b 1/1");
    }
}
