//! Runs the program that prints a key.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretString;

use super::KeyError;
use super::source::READ_BYTES_MAX;

/// The longest time that the program may take: a vault over the network answers in a fraction of it.
pub(super) const TIME_MAX: Duration = Duration::from_secs(10);

/// What the program wrote, at most one byte more than a key may have. What it writes on standard error is thrown away,
/// as it may quote the key. Blocks for `limit` and a moment.
pub(super) fn output(argv: &[String], limit: Duration) -> Result<SecretString, KeyError> {
    let program = argv.first().cloned().unwrap_or_default();
    let broken = |source| KeyError::Command { program: program.clone(), source };
    let mut command = Command::new(&program);
    command.args(argv.get(1..).unwrap_or_default());
    // In a group of its own, so that what it starts can be killed with it.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(broken)?;
    match read_and_wait(&mut child, limit) {
        Ok(Some((text, status))) if status.success() => Ok(text),
        Ok(Some((_, status))) => Err(KeyError::Failed { program, status }),
        Ok(None) => {
            kill_with_children(&mut child);
            Err(KeyError::TooSlow { program, limit })
        }
        Err(source) => {
            kill_with_children(&mut child);
            Err(broken(source))
        }
    }
}

/// `None` if it did not end in time.
fn read_and_wait(child: &mut Child, limit: Duration) -> io::Result<Option<(SecretString, ExitStatus)>> {
    let deadline = Instant::now() + limit;
    let stdout = child.stdout.take().expect("it is piped");
    let (sender, receiver) = mpsc::sync_channel(1);
    // A pipe has no time limit of its own. The thread ends when the pipe does, at the latest when the group is killed.
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.take(READ_BYTES_MAX).read_to_string(&mut text).map(|_| SecretString::from(text));
        // Nobody listens any more when the time is over.
        let _ = sender.send(read);
    });
    let text = match receiver.recv_timeout(limit) {
        Ok(read) => read?,
        Err(RecvTimeoutError::Timeout) => return Ok(None),
        Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its output was lost")),
    };
    // Its output is closed, so it is about to end; the standard library has no wait with a limit.
    const LOOK_EVERY: Duration = Duration::from_millis(5);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some((text, status)));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Only for a child that was not waited for: until then nobody else can have its group's number.
fn kill_with_children(child: &mut Child) {
    // Errors say that there is nobody left.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn run(argv: &[&str], limit: Duration) -> Result<String, KeyError> {
        let argv: Vec<String> = argv.iter().map(|&arg| arg.to_owned()).collect();
        output(&argv, limit).map(|text| text.expose_secret().to_owned())
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_the_program_prints_is_read_and_its_complaints_are_not() {
        assert_eq!(run(&["sh", "-c", "echo sk-1; echo sk-secret >&2"], LONG).expect("it runs"), "sk-1\n");
    }

    #[test]
    fn a_program_that_fails_is_named_without_its_arguments() {
        let failed = run(&["sh", "-c", "echo sk-secret; exit 3"], LONG).expect_err("it fails");
        assert_eq!(failed.to_string(), "the key command `sh` ended with exit status: 3");
        let absent = run(&["/nonexistent/vault", "sk-secret"], LONG).expect_err("it is not there");
        assert_eq!(absent.to_string(), "the key command `/nonexistent/vault` cannot be run");
        assert!(matches!(run(&[], LONG), Err(KeyError::Command { .. })));
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_what_it_started() {
        for script in ["sleep 60", "sleep 60 & wait", "exec >&-; sleep 60"] {
            let started = Instant::now();
            let slow = run(&["sh", "-c", script], Duration::from_millis(300)).expect_err("it hangs");
            assert!(matches!(slow, KeyError::TooSlow { .. }), "{script}: {slow}");
            assert!(started.elapsed() < Duration::from_secs(20), "{script}");
        }
    }

    #[test]
    fn a_program_that_prints_without_end_is_stopped() {
        let started = Instant::now();
        let endless = run(&["sh", "-c", "while :; do echo kkkkkkkkkkkkkkkk; done"], LONG);
        assert!(endless.is_err(), "the broken pipe ends it");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
