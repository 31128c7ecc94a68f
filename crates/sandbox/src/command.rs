//! Short-lived commands: package clients, and programs asked for their version.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

/// The last lines of a failed command usually hold its reason; more would bury ours.
const SHOWN_BYTES_MAX: usize = 600;

/// From `fork` to `exec` takes well under a millisecond, unless the machine is busy.
const BUSY_POLL: Duration = Duration::from_millis(5);

/// Runs a command to its end and returns what it printed; the error says in words what happened.
///
/// Cancel safety: dropping the future kills the command.
pub(crate) async fn output(command: &mut tokio::process::Command, within: Duration) -> Result<String, String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(within, when_not_busy(command)).await {
        Err(_) => return Err(format!("`{program}` did not end within {within:?}")),
        Ok(Err(error)) => return Err(format!("`{program}` cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program}` ended with {}: {}", output.status, tail(said.trim(), SHOWN_BYTES_MAX)))
}

/// Waits while the program counts as open for writing: a fresh file does until every process that another thread
/// forked meanwhile has reached its `exec`.
async fn when_not_busy(command: &mut tokio::process::Command) -> io::Result<Output> {
    loop {
        match command.output().await {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => tokio::time::sleep(BUSY_POLL).await,
            result => return result,
        }
    }
}

/// The end of a text, at most so many bytes, cut at a character.
pub(crate) fn tail(text: &str, bytes_max: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_failed_command_says_why() {
        let error = output(&mut sh("echo no such thing >&2; exit 3"), Duration::from_secs(10)).await.unwrap_err();
        assert!(error.contains("no such thing") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_given_up() {
        let error = output(&mut sh("exec sleep 60"), Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("did not end within"), "{error}");
    }

    #[test]
    fn a_tail_never_splits_a_character() {
        assert_eq!(tail("aé", 1), "");
        assert_eq!(tail("aé", 2), "é");
        assert_eq!(tail("abc", 9), "abc");
    }
}
