//! `man`: the manual pages, made from the command line itself.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::Cx;
use crate::cli::Cli;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "To read it at once: tollgate man | man -l -")]
pub struct Args {
    /// A directory, to write the page of every command to, such as ~/.local/share/man/man1
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The directory or standard output cannot be written.
pub fn run(args: &Args, cx: &Cx) -> Outcome {
    // With the global flags in every page.
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(|error| unwritten(&error))?;
        cx.output.text(String::from_utf8_lossy(&page).trim_end())?;
        return Ok(Code::Ok);
    };
    std::fs::create_dir_all(dir).map_err(|error| unwritten(&error))?;
    clap_mangen::generate_to(command, dir).map_err(|error| unwritten(&error))?;
    output::say(format_args!("written to {}", dir.display()));
    Ok(Code::Ok)
}

fn unwritten(error: &std::io::Error) -> Failure {
    Failure::new(Code::Failed, "the manual pages cannot be written").because(error)
}
