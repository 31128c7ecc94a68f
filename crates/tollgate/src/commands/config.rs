//! `config`: check it, show what holds and why, print a sample, apply what belongs to the running system.

use super::{Cx, apply};
use crate::config::{SAMPLE, build, load, show};
use crate::exit::{Code, Failure, Outcome};
use crate::live::{self, By};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say everything that is wrong, and exit with 2 if anything is
    Check,
    /// Show the effective values and where each comes from; secrets are masked
    Show,
    /// Print a file with every key
    Example,
    /// Bring teams, budgets, limits and class weights to what the file says, on the running system
    Apply {
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        by: By,
    },
}

/// Runs the command.
///
/// # Errors
/// Everything that is wrong with the configuration; for `apply` also that NATS cannot be reached.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    match &args.command {
        Command::Check => check(cx),
        Command::Show => {
            let shown = show::show(&cx.load()?);
            cx.output.records(&shown, &["key", "value", "from"], |s| {
                vec![s.key.clone(), s.value.clone(), s.origin.clone()]
            })?;
            Ok(Code::Ok)
        }
        Command::Example => {
            cx.output.text(SAMPLE.trim_end())?;
            Ok(Code::Ok)
        }
        Command::Apply { dry_run, by } => {
            crate::telemetry::init_quiet(&cx.env);
            let (operator, loaded) = live::open(cx, by, "tollgate config apply").await?;
            let steps = match dry_run {
                true => apply::would_apply(Some(&operator.directory), &loaded.config).await?,
                false => apply::apply(&operator, &loaded.config, "config apply").await?,
            };
            if steps.is_empty() {
                output::say("the file names no team and nothing about the organisation");
            }
            apply::print(&steps, cx)?;
            Ok(Code::Ok)
        }
    }
}

fn check(cx: &Cx) -> Outcome {
    let loaded = load(&cx.overrides, &cx.env)?;
    for warning in &loaded.warnings {
        output::say(format_args!("warning: {warning}"));
    }
    let keys = loaded.config.providers.iter().filter_map(|(name, provider)| build::ring(name, provider, &cx.env).err());
    let missing: Vec<String> = keys.map(|problem| format!("  {problem}")).collect();
    if !missing.is_empty() {
        return Err(Failure::new(Code::Usage, format!("{} key(s) are missing\n{}", missing.len(), missing.join("\n"))));
    }
    let place = loaded.path.map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
    output::say(format_args!("{place}: ok, {} warning(s)", loaded.warnings.len()));
    Ok(Code::Ok)
}
