//! `batch submit`, `resume` and `retry-errors`: check, make or find the batch, submit what is missing.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tollgate_bulk::check::{check, duplicates};
use tollgate_bulk::{BeginError, Begun, Checked, Chosen, LineError, Plan, Shape, Standing, Submission, SubmitFailure};
use tollgate_types::batch::BatchFormat;
use tollgate_types::{BatchId, BatchSpec, CacheWish, Class, Usd};

use super::estimate::Estimate;
use super::follow::{self, Bar};
use super::input::Input;
use super::{Desk, Where, Which, Whose, records};
use crate::commands::Cx;
use crate::commands::span::now;
use crate::commands::submit::line::{Deadline, Label};
use crate::commands::submit::wish;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Format};
use crate::signals::Signals;

/// What the server takes in a message unless it says otherwise, for a check without a connection.
const LINE_BYTES_MAX: usize = (1 << 20) - 512;
/// Mistakes that people see; all that were found are in `--output json`.
const SHOWN: usize = 20;

/// The flags of `submit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// OpenAI's batch lines, or Anthropic's requests as a document or as lines; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    wanted: Wanted,
    /// Your own name for this batch: with another key the same file is another batch
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Check the file and say what it may cost, with the prices of the configuration at hand; submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until every request has ended
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    results: Where,
}

/// What is wanted of every request.
#[derive(Clone, Debug, clap::Args)]
struct Wanted {
    /// interactive, standard or batch
    #[arg(long, default_value = "batch", value_name = "CLASS")]
    class: Class,
    /// The model in place of that of each request
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// When it is too late: a duration from the first submission such as 24h, or an RFC 3339 time
    #[arg(long, value_name = "24h|TIME")]
    deadline: Option<Deadline>,
    /// A project, for budgets and reports
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The end user, for reports
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A label for reports; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Only deployments with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Whether kept answers may be used: use, bypass or refresh
    #[arg(long, value_name = "WISH", value_parser = wish)]
    cache: Option<CacheWish>,
    /// The most that one request may cost, in dollars; one that could cost more is rejected
    #[arg(long, value_name = "DOLLARS")]
    request_max_cost_usd: Option<Usd>,
    /// Once the results cost as much, in dollars, what still waits or runs is cancelled; what runs by then may add to it
    #[arg(long, value_name = "DOLLARS")]
    max_cost: Option<Usd>,
}

/// The flags of `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
    /// The file, if not all of it was submitted
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait until every request has ended
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    results: Where,
}

/// The flags of `retry-errors`.
#[derive(Debug, clap::Args)]
pub(super) struct AgainArgs {
    #[command(flatten)]
    which: Which,
    /// The file that the batch was made of
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// Wait until every request has ended
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    results: Where,
}

impl Wanted {
    /// What each line's `tollgate` object says where the line itself says nothing.
    fn options(&self) -> Map<String, Value> {
        let deadline = self.deadline.map(|deadline| deadline.at(now()).to_rfc3339());
        self.object(deadline.map(Value::from))
    }

    fn object(&self, deadline: Option<Value>) -> Map<String, Value> {
        let labels: Map<String, Value> =
            self.labels.iter().map(|label| (label.key.clone(), label.value.clone().into())).collect();
        let all = [
            ("deadline", deadline),
            ("project", self.project.clone().map(Value::from)),
            ("user", self.user.clone().map(Value::from)),
            ("labels", (!labels.is_empty()).then(|| labels.into())),
            ("tags", (!self.tags.is_empty()).then(|| self.tags.clone().into())),
            ("cache", self.cache.map(|cache| cache.as_str().into())),
            ("max_cost_usd", self.request_max_cost_usd.map(|usd| usd.to_string().into())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// The same in the submitter's words: asked for again later, it is the same.
    fn words(&self) -> String {
        let deadline = self.deadline.map(|deadline| match deadline {
            Deadline::In(period) => json!({ "in_ms": u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX) }),
            Deadline::At(at) => json!({ "at": at.to_rfc3339() }),
        });
        json!([self.object(deadline), self.model, self.max_cost.map(|usd| usd.to_string())]).to_string()
    }
}

pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let input = Input::open(&args.file).await?;
    if args.dry_run {
        let mut estimate = Estimate::new(cx)?;
        let (_, checked) = checked(&input, &args.wanted, LINE_BYTES_MAX, Some(&mut estimate), cx).await?;
        return estimate.print(&checked, cx);
    }
    let desk = Desk::open(args.whose.team.as_ref(), cx).await?;
    let (format, checked) = checked(&input, &args.wanted, desk.bulk.line_bytes_max(), None, cx).await?;
    let jobs = checked.requests;
    let plan = plan((&input, format, &checked), &args.wanted, args.key.clone(), (None, jobs));
    let begun = desk.unless_refused(begin(&desk, &plan)).await?;
    go_on(begun, (&input, Chosen::All), &desk, (args.wait, &args.results), cx).await
}

pub(super) async fn resume(args: &ResumeArgs, cx: &Cx) -> Outcome {
    let desk = Desk::open(args.which.whose.team.as_ref(), cx).await?;
    let standing = desk.unless_refused(desk.standing(&args.which.id)).await?;
    let how = (args.wait, &args.results);
    if standing.is_submitted() || standing.stop.is_some() || standing.done.is_some() {
        return finish(&standing.spec, &desk, how, cx).await;
    }
    let Some(file) = &args.file else {
        let through = standing.submitted.as_ref().map_or(0, |submitted| submitted.through);
        let message = format!("only {through} of {} requests are submitted", standing.spec.jobs);
        let hint = format!("name the file too: tollgate batch resume {} {}", args.which.id, standing.spec.file);
        return Err(Failure::new(Code::Usage, message).try_this(hint));
    };
    let input = Input::open(file).await?;
    same_file(&input, &standing.spec).await?;
    let chosen = match &standing.spec.again {
        Some(first) => chosen(&desk, first).await?.1,
        None => Chosen::All,
    };
    go_on(Begun::Known(Box::new(standing)), (&input, chosen), &desk, how, cx).await
}

pub(super) async fn again(args: &AgainArgs, cx: &Cx) -> Outcome {
    let desk = Desk::open(args.which.whose.team.as_ref(), cx).await?;
    let (first, chosen) = desk.unless_refused(chosen(&desk, &args.which.id)).await?;
    let input = Input::open(&args.file).await?;
    same_file(&input, &first.spec).await?;
    let jobs = chosen.count(first.spec.jobs);
    if jobs == 0 {
        output::say("every request has its answer; there is nothing to try again");
        return Ok(Code::Ok);
    }
    let (format, checked) = checked(&input, &args.wanted, desk.bulk.line_bytes_max(), None, cx).await?;
    let plan = plan((&input, format, &checked), &args.wanted, None, (Some(first.spec.id), jobs));
    let begun = begin(&desk, &plan).await?;
    go_on(begun, (&input, chosen), &desk, (args.wait, &args.results), cx).await
}

/// The requests of an ended batch that did not succeed. Before its end they could still change.
async fn chosen(desk: &Desk, id: &BatchId) -> Result<(Standing, Chosen), Failure> {
    let standing = desk.standing(id).await?;
    let Some(done) = &standing.done else {
        let message = format!("{id} has not ended yet");
        return Err(Failure::new(Code::Timeout, message).try_this(format!("tollgate batch watch {id}")));
    };
    if done.not_submitted > 0 {
        output::say(format_args!("{} of its requests were never submitted and are left out", done.not_submitted));
    }
    let failed = desk.bulk.failed(&standing.spec).await.map_err(|error| records(&error))?;
    Ok((standing, Chosen::These(failed)))
}

async fn same_file(input: &Input, spec: &BatchSpec) -> Result<(), Failure> {
    let source = input.source().await?;
    let whole = source.whole().await.map_err(|error| input.unreadable(&error))?;
    if whole.sha256 == spec.sha256 {
        return Ok(());
    }
    Err(Failure::new(
        Code::Usage,
        format!("{} is not the file that {} was made of, {}", input.name, spec.id, spec.file),
    ))
}

/// Reads the file to its end; what is wrong with it is printed as OpenAI lists it.
async fn checked(
    input: &Input,
    wanted: &Wanted,
    line_bytes_max: usize,
    mut estimate: Option<&mut Estimate>,
    cx: &Cx,
) -> Result<(BatchFormat, Checked), Failure> {
    let source = input.source().await?;
    let format = source.format();
    let shape = Shape { format, options: wanted.options(), model: wanted.model.clone() };
    let look = |job: &_| {
        if let Some(estimate) = estimate.as_deref_mut() {
            estimate.add(job);
        }
        Ok(())
    };
    let mut checked = check(source, &shape, line_bytes_max, look).await.map_err(|error| input.unreadable(&error))?;
    if checked.errors_total > checked.errors.len() as u64 {
        let source = input.source().await?;
        let twice = duplicates(source, &shape).await.map_err(|error| input.unreadable(&error))?;
        // What only seemed to stand twice is nothing.
        if checked.errors.is_empty() && twice.is_empty() {
            checked.errors_total = 0;
        }
        checked.errors.extend(twice);
        checked.errors.sort_by_key(|error| error.line);
    }
    if checked.errors_total == 0 { Ok((format, checked)) } else { Err(refused(input, &checked, cx)?) }
}

fn refused(input: &Input, checked: &Checked, cx: &Cx) -> Result<Failure, Failure> {
    let line = |error: &LineError| error.line.map_or_else(|| "–".to_owned(), |line| line.to_string());
    match cx.output.format() {
        Format::Json | Format::Jsonl => {
            let list = json!({ "object": "list", "data": checked.errors });
            cx.output.text(&list.to_string())?;
        }
        Format::Table | Format::Csv => {
            for error in checked.errors.iter().take(SHOWN) {
                output::say(format_args!("  line {}: {} ({})", line(error), error.message, error.code));
            }
            if checked.errors.len() > SHOWN {
                output::say("  … (all with --output json)");
            }
        }
    }
    let message = format!("{} thing(s) are wrong with {}; nothing was submitted", checked.errors_total, input.name);
    Ok(Failure::new(Code::Usage, message))
}

fn plan(
    (input, format, checked): (&Input, BatchFormat, &Checked),
    wanted: &Wanted,
    key: Option<String>,
    (again, jobs): (Option<BatchId>, u64),
) -> Plan {
    Plan {
        id: None,
        format,
        file: input.name.clone(),
        whole: checked.whole.clone(),
        jobs,
        class: wanted.class,
        options: wanted.options(),
        model: wanted.model.clone(),
        key,
        max_cost_usd: wanted.max_cost,
        again,
        asked: wanted.words(),
        created_at: now(),
    }
}

async fn begin(desk: &Desk, plan: &Plan) -> Result<Begun, Failure> {
    desk.bulk.begin(plan).await.map_err(|error| match &error {
        BeginError::KeyTaken(_) => Failure::new(Code::Usage, error.to_string()),
        BeginError::Records(error) => records(error),
    })
}

/// Submits what is missing, then waits and writes results as far as that is wanted.
async fn go_on(begun: Begun, (input, chosen): (&Input, Chosen), desk: &Desk, how: (bool, &Where), cx: &Cx) -> Outcome {
    let (spec, from) = match begun {
        Begun::New(spec) => (*spec, 0),
        Begun::Known(standing) => {
            let Standing { spec, submitted, stop, done, .. } = *standing;
            if stop.is_some() {
                let message = format!("{} was stopped", spec.id);
                return Err(Failure::new(Code::Failed, message).try_this("submit it anew with another --key"));
            }
            let through = submitted.map_or(0, |submitted| submitted.through);
            if through >= spec.jobs || done.is_some() {
                output::say("this file was submitted before; it is the same batch");
                return finish(&spec, desk, how, cx).await;
            }
            output::say(format_args!("{through} of {} requests were submitted before; going on", spec.jobs));
            (spec, through)
        }
    };
    let mut signals = Signals::listen()?;
    let bar = Bar::new("submitted", spec.jobs);
    let source = input.source().await?;
    let submitting = async {
        let submitted =
            desk.bulk.submit(&spec, (source, &chosen, from), now, |so_far| bar.to(so_far.through, "")).await;
        submitted.map_err(|error| interrupted(&error, &spec, input))
    };
    let Submission { duplicates, stopped, .. } = tokio::select! {
        done = desk.unless_refused(submitting) => done?,
        _ = signals.next() => {
            bar.end();
            output::say(format_args!(
                "interrupted; what was submitted goes on. To submit the rest: tollgate batch resume {} {} {}",
                spec.id, input.name, desk.team_flag()
            ));
            return Ok(Code::Interrupted);
        }
    };
    bar.end();
    if stopped {
        output::say("the batch was stopped meanwhile; the rest is not submitted");
    }
    if duplicates > 0 {
        output::say(format_args!("{duplicates} requests were there already"));
    }
    finish(&spec, desk, how, cx).await
}

fn interrupted(error: &SubmitFailure, spec: &BatchSpec, input: &Input) -> Failure {
    let code = match error {
        SubmitFailure::Unreadable(_) | SubmitFailure::Changed => Code::Usage,
        SubmitFailure::NotAccepted { .. } | SubmitFailure::Records(_) => Code::Nats,
    };
    let failure = Failure::new(code, "not all of it was submitted").because(error);
    match error {
        SubmitFailure::Changed => failure.try_this(format!("tollgate batch cancel {}", spec.id)),
        _ => failure.try_this(format!("tollgate batch resume {} {}", spec.id, input.name)),
    }
}

/// Prints the id, or waits and writes results.
async fn finish(spec: &BatchSpec, desk: &Desk, (wait, results): (bool, &Where), cx: &Cx) -> Outcome {
    if wait || results.out.is_some() {
        output::say(format_args!("batch {}", spec.id));
        return follow::to_the_end(spec, desk, results, cx).await;
    }
    match cx.output.format() {
        Format::Table | Format::Csv => cx.output.text(spec.id.as_str())?,
        Format::Json | Format::Jsonl => {
            cx.output.text(&json!({ "id": spec.id, "jobs": spec.jobs, "format": spec.format }).to_string())?;
        }
    }
    output::say(format_args!("watch it with: tollgate batch watch {} {}", spec.id, desk.team_flag()));
    Ok(Code::Ok)
}
