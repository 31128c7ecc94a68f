//! `batch watch` and `results`: how it goes on, and what came of it.

use std::io::IsTerminal as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tollgate_bulk::files::{Files, FilesError};
use tollgate_bulk::results::{Order, Read, ReadError};
use tollgate_bulk::{Standing, render};
use tollgate_types::batch::Tally;
use tollgate_types::{BatchSpec, Usd};

use super::{Desk, Where, Which, code_of};
use crate::commands::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::signals::Signals;

/// How often is asked how it stands: the broker counts several times a second.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often that is said where there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// A rate over less time says nothing.
const RATE_OVER_MIN: Duration = Duration::from_secs(2);

/// The flags of `results`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    into: Where,
    /// In which order: as they come, or as they stand in the file, up to the first that has not ended
    #[arg(long, value_enum, default_value = "completion", value_name = "ORDER")]
    order: Ordered,
    /// Wait until every request has ended
    #[arg(short, long)]
    wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Ordered {
    Completion,
    Input,
}

pub(super) async fn watch(which: &Which, cx: &Cx) -> Outcome {
    let desk = Desk::open(which.whose.team.as_ref(), cx).await?;
    let spec = desk.unless_refused(desk.standing(&which.id)).await?.spec;
    to_the_end(&spec, &desk, &Where::default(), cx).await
}

pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let desk = Desk::open(args.which.whose.team.as_ref(), cx).await?;
    let standing = desk.unless_refused(desk.standing(&args.which.id)).await?;
    let order = match args.order {
        Ordered::Completion => Order::Completion,
        Ordered::Input => Order::Input,
    };
    let mut sink = Sink::open(&standing.spec, &args.into)?;
    follow(&standing.spec, &desk, (Some(&mut sink), order, args.wait), cx).await
}

/// Waits until every request has ended, and writes results if there is somewhere to write them to.
pub(super) async fn to_the_end(spec: &BatchSpec, desk: &Desk, into: &Where, cx: &Cx) -> Outcome {
    let mut sink = into.out.is_some().then(|| Sink::open(spec, into)).transpose()?;
    follow(spec, desk, (sink.as_mut(), Order::Completion, true), cx).await
}

async fn follow(
    spec: &BatchSpec,
    desk: &Desk,
    (mut sink, order, wait): (Option<&mut Sink>, Order, bool),
    cx: &Cx,
) -> Outcome {
    let mut signals = Signals::listen()?;
    let bar = Bar::new("ended", spec.jobs);
    let mut pace = Pace::default();
    loop {
        let step = async {
            let standing = desk.standing(&spec.id).await?;
            if let Some(sink) = sink.as_deref_mut() {
                sink.add(spec, desk, (order, &standing)).await?;
            }
            Ok(standing)
        };
        let standing = tokio::select! {
            standing = desk.unless_refused(step) => standing?,
            _ = signals.next() => return interrupted(spec, desk, sink, &bar),
        };
        pace.saw(standing.ended());
        bar.to(standing.ended(), &pace.words(&standing));
        if standing.done.is_some() || !wait {
            bar.end();
            let written = sink.as_ref().map(|sink| sink.read.count());
            say_end(&standing, written);
            if sink.is_none() {
                super::list::print(&standing, cx)?;
            }
            return Ok(code_of(&standing));
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            _ = signals.next() => return interrupted(spec, desk, sink, &bar),
        }
    }
}

fn interrupted(spec: &BatchSpec, desk: &Desk, sink: Option<&mut Sink>, bar: &Bar) -> Outcome {
    bar.end();
    if let Some(sink) = sink {
        sink.keep()?;
    }
    output::say(format_args!(
        "interrupted; the batch goes on. Come back with: tollgate batch watch {0} {1}; end it with: tollgate batch cancel {0} {1}",
        spec.id,
        desk.team_flag()
    ));
    Ok(Code::Interrupted)
}

fn say_end(standing: &Standing, written: Option<u64>) {
    let (ended, jobs, tally) = (standing.ended(), standing.spec.jobs, standing.tally());
    let written = written.map_or_else(String::new, |written| format!(", {written} written"));
    output::say(format_args!(
        "{}: {ended} of {jobs} ended, {} without an answer, ${}{written}",
        standing.state(),
        tally.ends.not_succeeded(),
        Usd(tally.cost_nanousd),
    ));
    if let Some(done) = standing.done.as_ref().filter(|done| done.not_submitted > 0) {
        output::say(format_args!("{} requests were never submitted", done.not_submitted));
    }
}

/// Where results go.
struct Sink {
    files: Option<Files>,
    read: Read,
}

impl Sink {
    fn open(spec: &BatchSpec, into: &Where) -> Result<Sink, Failure> {
        let Some(out) = &into.out else { return Ok(Sink { files: None, read: Read::default() }) };
        let errors: Option<&PathBuf> = into.errors.as_ref();
        let files = Files::open(&spec.id, out, errors.map(PathBuf::as_path)).map_err(|error| {
            let code = match error {
                FilesError::Io(..) => Code::Failed,
                _ => Code::Usage,
            };
            Failure::new(code, "the results cannot be written").because(&error)
        })?;
        Ok(Sink { read: files.read().clone(), files: Some(files) })
    }

    /// Writes what is new.
    async fn add(
        &mut self,
        spec: &BatchSpec,
        desk: &Desk,
        (order, standing): (Order, &Standing),
    ) -> Result<(), Failure> {
        // Once it has ended, what was never submitted has a line too.
        let lines = if standing.done.is_some() { spec.jobs } else { standing.ended() };
        if self.read.count() >= lines {
            return Ok(());
        }
        let files = &mut self.files;
        let write = |rendered: &render::Rendered, read: &Read| match files {
            Some(files) => files.write(rendered, read),
            None => writeln!(std::io::stdout().lock(), "{}", rendered.text),
        };
        let how = (&mut self.read, order, standing.done.as_ref());
        let read = desk.bulk.read_results(spec, how, write).await;
        read.map_err(|error| match error {
            ReadError::Records(_) | ReadError::Result(_) => {
                Failure::new(Code::Nats, "the results cannot be read; what was written stays").because(&error)
            }
            ReadError::Write(_) => Failure::new(Code::Failed, "the results cannot be written").because(&error),
        })?;
        self.keep()
    }

    fn keep(&mut self) -> Result<(), Failure> {
        let Some(files) = &mut self.files else { return Ok(()) };
        files
            .keep(&self.read)
            .map_err(|error| Failure::new(Code::Failed, "the results cannot be written").because(&error))
    }
}

/// How fast it goes.
#[derive(Default)]
struct Pace {
    first: Option<(Instant, u64)>,
    ended: u64,
}

impl Pace {
    fn saw(&mut self, ended: u64) {
        self.first.get_or_insert((Instant::now(), ended));
        self.ended = ended;
    }

    /// Rate, cost so far, and when it will have ended if it goes on like this.
    fn words(&self, standing: &Standing) -> String {
        let Tally { ends, cost_nanousd, .. } = standing.tally();
        let mut words = format!("${}", Usd(cost_nanousd));
        if ends.not_succeeded() > 0 {
            words.push_str(&format!(", {} without an answer", ends.not_succeeded()));
        }
        let Some((since, before)) = self.first else { return words };
        if since.elapsed() < RATE_OVER_MIN || self.ended <= before {
            return words;
        }
        let rate = (self.ended - before) as f64 / since.elapsed().as_secs_f64();
        let left = Duration::from_secs_f64(standing.spec.jobs.saturating_sub(self.ended) as f64 / rate);
        words.push_str(&format!(", {rate:.1}/s, {} left", indicatif::HumanDuration(left)));
        words
    }
}

/// A bar on a terminal, a line now and then elsewhere.
pub(super) struct Bar {
    what: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    said: std::cell::Cell<Instant>,
}

impl Bar {
    pub(super) fn new(what: &'static str, total: u64) -> Bar {
        let style = ProgressStyle::with_template("{prefix} {bar:32} {pos}/{len}  {msg}").expect("a template");
        let bar = || ProgressBar::new(total).with_style(style).with_prefix(what);
        let bar = std::io::stderr().is_terminal().then(bar);
        Bar { what, total, bar, said: std::cell::Cell::new(Instant::now()) }
    }

    pub(super) fn to(&self, position: u64, words: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(position);
                bar.set_message(words.to_owned());
            }
            None if self.said.get().elapsed() >= SAY_EVERY => {
                output::say(format_args!("{} {position} of {}  {words}", self.what, self.total));
                self.said.set(Instant::now());
            }
            None => {}
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
