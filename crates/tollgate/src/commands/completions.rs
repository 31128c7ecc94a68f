//! `completions`: what a shell needs to complete commands and flags.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cx;
use crate::cli::Cli;
use crate::exit::{Code, Outcome};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "For bash: tollgate completions bash > ~/.local/share/bash-completion/completions/tollgate")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, cx: &Cx) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tollgate", &mut script);
    cx.output.text(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Code::Ok)
}
