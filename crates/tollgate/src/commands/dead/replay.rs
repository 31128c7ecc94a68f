//! `dead replay`: dead letters go back to where they were published. The letters stay.

use tollgate_operate::dead::{self, BEFORE, How, Letter, SKIPPED, Step};
use tollgate_types::JobId;

use crate::commands::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{self, By};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)))]
pub(super) struct Args {
    /// These, by their sequences in the list
    #[arg(value_name = "SEQ", group = "which")]
    seqs: Vec<u64>,
    /// Those of this team
    #[arg(long, value_name = "TEAM", group = "which")]
    team: Option<String>,
    /// Those with this reason, such as `poison`
    #[arg(long, value_name = "CODE", group = "which")]
    reason: Option<String>,
    /// Under which id: a fresh one, or the one that it was answered under
    #[arg(long, value_enum, default_value_t)]
    id: Id,
    /// Also those that were replayed before
    #[arg(long)]
    again: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Who does it, for the audit; user@host if left out
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

/// Under which id a job comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Id {
    /// It is another job to everybody
    #[default]
    Fresh,
    /// For as long as that one's result is kept, it would only get that again, so it is refused
    Original,
}

fn row(step: &Step) -> Vec<String> {
    let id = step.id.as_ref().map(JobId::to_string).unwrap_or_default();
    vec![step.seq.to_string(), step.job.clone(), id, step.subject.clone(), step.change.into(), step.detail.clone()]
}

pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let by = By::named(args.author.clone());
    let (operator, _) = live::open(cx, &by, "tollgate dead").await?;
    let stream = dead::opened(&operator.context).await?;
    let letters = chosen(args, dead::all(&stream).await?)?;
    let how = How { original_id: args.id == Id::Original, again: args.again, dry_run: args.dry_run };
    let (steps, failed) = dead::replay(&operator, &stream, &letters, how).await?;
    // What was done is told, whatever came after it.
    cx.output.records(&steps, &["seq", "job", "new id", "subject", "change", "detail"], row)?;
    if steps.iter().any(|step| step.change == BEFORE) {
        output::say("some were replayed before; --again replays them once more");
    }
    match failed {
        Some(failure) => Err(failure.try_this("run the same command again: it goes on where it was")),
        None if steps.iter().any(|step| step.change == SKIPPED) => Ok(Code::Failed),
        None => Ok(Code::Ok),
    }
}

/// The letters that were meant, the oldest first.
fn chosen(args: &Args, mut letters: Vec<Letter>) -> Result<Vec<Letter>, Failure> {
    if let Some(missing) = args.seqs.iter().find(|seq| !letters.iter().any(|letter| letter.seq == **seq)) {
        let failure = Failure::new(Code::Failed, format!("nothing was replayed: there is no dead letter {missing}"));
        return Err(failure.try_this("look at `tollgate dead list`"));
    }
    let wanted = |filter: &Option<String>, value: &str| filter.as_ref().is_none_or(|wanted| wanted == value);
    letters.retain(|letter| {
        let named = args.seqs.is_empty() || args.seqs.contains(&letter.seq);
        named && wanted(&args.team, &letter.team) && wanted(&args.reason, &letter.reason)
    });
    Ok(letters)
}
