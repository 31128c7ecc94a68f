//! `reconcile`: do the results, the raw table and the rollup agree, to the token and the nano-dollar?

use serde::Serialize;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_types::UnixMillis;
use tollgate_usage::reconcile::{Difference, Totals, sum};
use tollgate_usage::{HourRange, RollupDifference, Store};

use super::Cx;
use super::span::{self, Span};
use crate::books::{self, Books};
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    span: Span,
    /// Wait first until ClickHouse has every result that is there now
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    timeout: Period,
}

/// How often the comparison is repeated when results arrive meanwhile; then whole past hours must do.
const TRIES: u32 = 3;

/// Runs the command: 0 if the books agree, 1 if not.
///
/// # Errors
/// When one of the books cannot be read.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate reconcile").await?;
    let context = connect::jetstream(&connection);
    let log = CommitLog::open(&context).await.map_err(books::unread)?;
    let store = connect::clickhouse(&loaded.config)?;
    if args.wait {
        let state = State::open(&context).await;
        let state =
            state.map_err(|error| Failure::new(Code::Nats, "the sink's progress cannot be read").because(&error))?;
        let last = log.bounds().await.map_err(books::unread)?.last;
        books::catch_up(&state, &log, last, args.timeout.0).await?;
    }
    let asked = match args.span.is_open() {
        true => None,
        false => Some(args.span.hours(Period::default(), span::now())?),
    };
    let reader = Reader { log: &log, store: &store };
    let unread = |error| match error {
        Unread::Log(failure) => failure,
        Unread::Store(error) => connect::clickhouse_failure(&loaded.config, &error),
    };
    let (books, range) = reader.read(asked).await.map_err(unread)?;
    output::say(format_args!("compared {} records: {}", books.log.records, span::in_words(range)));
    if books.log.strays > 0 {
        output::say(format_args!("{} message(s) in the stream are no records and count nowhere", books.log.strays));
    }
    // Of the hour that goes on, a rollup may be read before a row and the raw table after it.
    let now = span::now();
    let closed = covering(range.from_seconds(), range.to_seconds().min(hour_of(now)));
    let others = store.rollup_differences(closed).await;
    let others = others.map_err(|error| connect::clickhouse_failure(&loaded.config, &error))?;
    print(&books, &others, cx)?;
    Ok(if books.differences.is_empty() && others.is_empty() { Code::Ok } else { Code::Failed })
}

fn covering(from: i64, to: i64) -> HourRange {
    HourRange::covering(UnixMillis(from.saturating_mul(1000)), UnixMillis(to.saturating_mul(1000)))
}

/// The beginning of the hour of a time, in seconds.
fn hour_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(3_600_000) * 3600
}

enum Unread {
    Log(Failure),
    Store(tollgate_usage::StoreError),
}

struct Reader<'a> {
    log: &'a CommitLog,
    store: &'a Store,
}

impl Reader<'_> {
    async fn read(&self, asked: Option<HourRange>) -> Result<(Books, HourRange), Unread> {
        let whole = match asked {
            Some(range) => range,
            None => self.whole().await.map_err(Unread::Log)?,
        };
        for _ in 0..TRIES {
            let (books, moved) = self.once(whole).await?;
            if books.differences.is_empty() || !moved {
                return Ok((books, whole));
            }
        }
        output::say("results keep arriving; comparing the hours before this one (stop the traffic to compare it too)");
        let now = span::now();
        let past = HourRange::covering(
            UnixMillis(whole.from_seconds() * 1000),
            UnixMillis(now.0 - now.0.rem_euclid(3_600_000)),
        );
        Ok((self.once(past).await?.0, past))
    }

    /// Everything of this log that both sides can still have: a log that dropped its oldest records begins with the
    /// first hour that is whole. Records whose tombstones are there were not dropped.
    async fn whole(&self) -> Result<HourRange, Failure> {
        let all = UnixMillis(HourRange::ALL.to_seconds() * 1000);
        let mut log = self.log.whole().await.map_err(books::unread)?;
        if !log.begins_with_the_first() {
            while log.next().await.map_err(books::unread)?.is_some() {}
        }
        Ok(match log.complete_since() {
            None => HourRange::covering(books::created_at(self.log.identity()), all),
            Some(oldest) => HourRange::covering(UnixMillis(oldest.0 + 3_600_000 - 1), all),
        })
    }

    /// The books, and whether results arrived while they were read.
    async fn once(&self, range: HourRange) -> Result<(Books, bool), Unread> {
        let last = async || Ok(self.log.bounds().await.map_err(books::unread).map_err(Unread::Log)?.last);
        let before: u64 = last().await?;
        let folded = books::fold(self.log, before, range).await.map_err(Unread::Log)?;
        let books = books::compare(folded, self.store, range).await.map_err(Unread::Store)?;
        Ok((books, before != last().await?))
    }
}

/// What one of the three says altogether.
#[derive(Debug, Serialize)]
struct Sum {
    jobs: u64,
    attempts: u64,
    tokens: tollgate_types::Tokens,
    cost_nanousd: i64,
    unknown_attempts: i64,
    unknown_nanousd: i64,
}

impl From<Totals> for Sum {
    fn from(totals: Totals) -> Self {
        Sum {
            jobs: totals.jobs,
            attempts: totals.attempts,
            tokens: totals.tokens,
            cost_nanousd: totals.cost.0,
            unknown_attempts: totals.unknown_attempts,
            unknown_nanousd: totals.unknown.0,
        }
    }
}

/// One number on which they do not agree.
#[derive(Debug, Serialize)]
struct Disagreement {
    team: String,
    model: String,
    status: &'static str,
    quantity: &'static str,
    results: i128,
    raw: i128,
    rollup: i128,
}

impl From<&Difference> for Disagreement {
    fn from(found: &Difference) -> Self {
        Disagreement {
            team: found.key.team.clone(),
            model: found.key.model.clone(),
            status: found.key.status.as_str(),
            quantity: found.quantity.as_str(),
            results: found.log,
            raw: found.raw,
            rollup: found.rollup,
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    agree: bool,
    results: Sum,
    raw: Sum,
    rollup: Sum,
    differences: Vec<Disagreement>,
    /// Where the rollups of past hours are not what the raw table makes them.
    rollups: Vec<String>,
}

fn print(books: &Books, others: &[RollupDifference], cx: &Cx) -> Result<(), Failure> {
    let report = Report {
        agree: books.differences.is_empty() && others.is_empty(),
        rollups: others.iter().map(ToString::to_string).collect(),
        results: sum(&books.log.ledger).into(),
        raw: sum(&books.raw).into(),
        rollup: sum(&books.rollup).into(),
        differences: books.differences.iter().map(Disagreement::from).collect(),
    };
    cx.output.record(&report, |report| {
        let mut table = cx.output.table(&["book", "jobs", "calls", "tokens", "cost"]);
        for (name, sum) in
            [("results", &report.results), ("ClickHouse raw", &report.raw), ("ClickHouse rollup", &report.rollup)]
        {
            let cost = tollgate_types::NanoUsd(sum.cost_nanousd).to_string();
            table.add_row([
                name.to_owned(),
                sum.jobs.to_string(),
                sum.attempts.to_string(),
                sum.tokens.total().to_string(),
                cost,
            ]);
        }
        let rollups = report.rollups.join("\n  ");
        let rollups = if rollups.is_empty() {
            String::new()
        } else {
            format!(
                "\n\nrollups that differ from the raw table; `tollgate usage rebuild` makes them anew:\n  {rollups}"
            )
        };
        format!("{}\n\n{}{rollups}", table.trim_fmt(), verdict(&books.differences))
    })
}

/// The last word: that the books agree, or every number on which they do not.
pub(crate) fn verdict(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "the books agree: results = raw = rollup, per team, model and status".to_owned();
    }
    let lines: Vec<String> = differences.iter().map(|found| format!("  {found}")).collect();
    format!("the books do not agree on {} number(s):\n{}", differences.len(), lines.join("\n"))
}
