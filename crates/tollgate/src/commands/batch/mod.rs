//! `batch`: a file of requests as jobs: submit it, see how it stands, get what came of it.

mod estimate;
mod follow;
mod input;
mod list;
mod submit;

use std::path::PathBuf;

use tollgate_bulk::{Bulk, RecordError, Standing};
use tollgate_types::{BatchId, Team};

use super::Cx;
use super::submit::Access;
use crate::exit::{Code, Failure, Outcome};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every request has its answer, 1 some have none, 6 not all have ended yet, 2 the file or the flags are wrong, 130 interrupted"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a file of requests and submit it; the same file, options and key are the same batch, and go on where it stood
    Submit(Box<submit::Args>),
    /// Say how a batch stands
    Status(Which),
    /// Show how a batch goes on until it has ended; Ctrl-C leaves it running
    Watch(Which),
    /// Write what is there of the results; run it again to add what came since
    Results(follow::Args),
    /// Go on with a submission that was interrupted, and with its results
    Resume(submit::ResumeArgs),
    /// Submit the requests of an ended batch that did not succeed, as a batch of their own
    RetryErrors(submit::AgainArgs),
    /// Cancel what waits or runs of a batch; what has ended stays
    Cancel(Which),
    /// List the team's batches of the last 30 days
    List(Whose),
}

/// One batch.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    /// The batch, as `submit` printed it
    #[arg(value_name = "BATCH")]
    id: BatchId,
    #[command(flatten)]
    whose: Whose,
}

/// Whose batches.
#[derive(Clone, Debug, clap::Args)]
struct Whose {
    /// The team; the connection's user if left out
    #[arg(long, value_name = "TEAM")]
    team: Option<Team>,
}

/// Where results go.
#[derive(Clone, Debug, Default, clap::Args)]
struct Where {
    /// The file for results; a note beside it lets it go on after any interruption
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A file of its own for requests without an answer
    #[arg(long, value_name = "FILE", requires = "out")]
    errors: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the file, or why NATS did not do it.
pub async fn run(args: Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    match args.command {
        Command::Submit(args) => submit::run(&args, cx).await,
        Command::Resume(args) => submit::resume(&args, cx).await,
        Command::RetryErrors(args) => submit::again(&args, cx).await,
        Command::Status(which) => list::status(&which, cx).await,
        Command::Watch(which) => follow::watch(&which, cx).await,
        Command::Results(args) => follow::run(&args, cx).await,
        Command::Cancel(which) => list::cancel(&which, cx).await,
        Command::List(whose) => list::list(&whose, cx).await,
    }
}

/// A team's batches over a connection of its own.
struct Desk {
    access: Access,
    bulk: Bulk,
}

impl Desk {
    async fn open(team: Option<&Team>, cx: &Cx) -> Result<Desk, Failure> {
        let access = Access::open(team, cx, "tollgate batch").await?;
        let bulk = Bulk::new(access.producer.clone());
        Ok(Desk { access, bulk })
    }

    /// Does `what`, unless the server says that we may not.
    async fn unless_refused<T>(&self, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.access.unless_refused(what).await
    }

    async fn standing(&self, id: &BatchId) -> Result<Standing, Failure> {
        let found = self.bulk.standing(id).await.map_err(|error| records(&error))?;
        found.ok_or_else(|| {
            let message = format!("team {} has no batch {id}, or not any more", self.access.producer.team());
            Failure::new(Code::Usage, message).try_this("`tollgate batch list` shows those of the last 30 days")
        })
    }

    /// How somebody comes back to a batch: the flag for the team, if it was needed.
    fn team_flag(&self) -> String {
        format!("--team {}", self.access.producer.team())
    }
}

fn records(error: &RecordError) -> Failure {
    Failure::new(Code::Nats, "the records of batches cannot be used").because(error)
}

/// What the end of a batch means for whoever waits for it.
fn code_of(standing: &Standing) -> Code {
    match &standing.done {
        None => Code::Timeout,
        Some(done) if done.not_submitted == 0 && standing.tally().ends.not_succeeded() == 0 => Code::Ok,
        Some(_) => Code::Failed,
    }
}
