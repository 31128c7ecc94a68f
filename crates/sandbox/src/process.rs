//! A child process that can be killed, paused and looked after, and that does not outlive us.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::Error;
use crate::cache::io_error;

/// How often the end of a process is looked for: short against the time any server needs to stop.
const WAIT_POLL: Duration = Duration::from_millis(5);

/// As much of a log as an error message can bear.
const LOG_TAIL_BYTES: u64 = 4096;

/// What ends a process when we die without being able to (`kill -9` of a test run, a crash).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifeline {
    /// The process itself ends when its standard input, a pipe that we hold, is closed.
    Stdin,
    /// A small shell holds such a pipe, and kills the process when it closes.
    Watchdog,
}

/// How to start a [`Process`]; kept, so that it can be started again.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The server's name in error messages.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to the environment that it inherits.
    pub envs: Vec<(OsString, OsString)>,
    /// Its working directory, which must exist.
    pub work_dir: PathBuf,
    /// The file to which both its outputs are appended.
    pub log: PathBuf,
    /// What ends it when we die hard.
    pub lifeline: Lifeline,
}

/// A running child, or what is left of one.
///
/// It runs in a process group of its own: a Ctrl-C at the terminal reaches us, and we end our children in our order.
/// Dropping it kills it (SIGKILL, by its own process id) and waits for its end.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Child,
    watchdog: Option<Watchdog>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts the program; whether it is ready is the caller's question.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the log cannot be opened, [`Error::Spawn`] when the program cannot be run.
    pub fn spawn(spec: ProcessSpec) -> Result<Self, Error> {
        let log = OpenOptions::new().create(true).append(true).open(&spec.log).map_err(io_error("open", &spec.log))?;
        let log_too = log.try_clone().map_err(io_error("open", &spec.log))?;
        let stdin = match spec.lifeline {
            Lifeline::Stdin => Stdio::piped(),
            Lifeline::Watchdog => Stdio::null(),
        };
        let spawn_error = |source| Error::Spawn { what: spec.name, program: spec.program.clone(), source };
        let mut child = Command::new(&spec.program)
            .args(&spec.args)
            .envs(spec.envs.iter().cloned())
            .current_dir(&spec.work_dir)
            .stdin(stdin)
            .stdout(log)
            .stderr(log_too)
            .process_group(0)
            .spawn()
            .map_err(spawn_error)?;
        let watchdog = match spec.lifeline {
            Lifeline::Stdin => None,
            Lifeline::Watchdog => match Watchdog::over(child.id()) {
                Ok(watchdog) => Some(watchdog),
                Err(source) => {
                    // Its end is the wish; that it had ended already is as good.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(spawn_error(source));
                }
            },
        };
        Ok(Self { spec, child, watchdog, ended: None })
    }

    /// Starts the same program again, killing it first where it still runs.
    ///
    /// # Errors
    ///
    /// As [`Process::kill9`] and [`Process::spawn`].
    pub fn respawn(&mut self) -> Result<(), Error> {
        self.kill9()?;
        *self = Self::spawn(self.spec.clone())?;
        Ok(())
    }

    /// The process id; of an ended process, the id that it had.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The server's name in error messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// How the process ended, or `None` while it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses the question.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(self.failed("await"))?;
            if self.ended.is_some() {
                self.watchdog = None;
            }
        }
        Ok(self.ended)
    }

    /// Kills the process (SIGKILL) and waits for its end, which such a signal makes a matter of milliseconds. Does
    /// nothing to a process that has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses.
    pub fn kill9(&mut self) -> Result<(), Error> {
        if self.ended()?.is_none() {
            // The watchdog first: once the child is reaped, its id may belong to a stranger.
            self.watchdog = None;
            self.child.kill().map_err(self.failed("kill"))?;
            self.ended = Some(self.child.wait().map_err(self.failed("await"))?);
        }
        Ok(())
    }

    /// Asks the process to end: by closing its standard input where that is its lifeline, else by SIGTERM.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended, [`Error::Signal`] when the system refuses.
    pub fn terminate(&mut self) -> Result<(), Error> {
        if self.ended()?.is_some() {
            return Err(Error::NotRunning { what: self.spec.name });
        }
        match self.spec.lifeline {
            Lifeline::Stdin => drop(self.child.stdin.take()),
            Lifeline::Watchdog => self.signal(Signal::TERM, "terminate")?,
        }
        Ok(())
    }

    /// Stops the process in its tracks (SIGSTOP): its sockets stay open and answer nothing. It stands still when this
    /// returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended, [`Error::Signal`] when the system refuses.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.signal(Signal::STOP, "pause")?;
        // The signal is only on its way. Its end counts too, and nothing is reaped: that is for `ended`.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.id()), stopped) {
            Ok(_) => Ok(()),
            Err(errno) => Err(self.failed("pause")(errno.into())),
        }
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended, [`Error::Signal`] when the system refuses.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.signal(Signal::CONT, "resume")
    }

    pub(crate) fn signal(&mut self, signal: Signal, doing: &'static str) -> Result<(), Error> {
        // Not reaped, so the id is still this child's.
        if self.ended()?.is_some() {
            return Err(Error::NotRunning { what: self.spec.name });
        }
        kill_process(self.id(), signal).map_err(|errno| self.failed(doing)(errno.into()))
    }

    fn id(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a positive process id")
    }

    /// Waits for the process to end; `None` when it still runs after `within`.
    ///
    /// Cancel safety: dropping the future leaves the process as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses the question.
    pub async fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>, Error> {
        let started = Instant::now();
        loop {
            match self.ended()? {
                Some(status) => return Ok(Some(status)),
                None if started.elapsed() >= within => return Ok(None),
                None => tokio::time::sleep(WAIT_POLL).await,
            }
        }
    }

    /// Asks the process to end, waits for `grace`, then kills it. A paused process is resumed first.
    ///
    /// Cancel safety: dropping the future leaves the process asked, but not killed.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses.
    pub async fn stop(&mut self, grace: Duration) -> Result<(), Error> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        for step in [Self::resume, Self::terminate] {
            match step(self) {
                // It ended between the two lines; that was the wish.
                Ok(()) | Err(Error::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if self.wait(grace).await?.is_none() {
            self.kill9()?;
        }
        Ok(())
    }

    /// The file to which both outputs of the process go.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// The last lines of the log, or a word on why it cannot be read.
    #[must_use]
    pub fn log_tail(&self) -> String {
        read_tail(&self.spec.log).unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        let what = self.spec.name;
        move |source| Error::Signal { doing, what, source }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell, and the child dies with us in any case.
        let _ = self.kill9();
    }
}

fn read_tail(log: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if length <= LOG_TAIL_BYTES {
        return Ok(text.into_owned());
    }
    // The first line is cut somewhere.
    Ok(text.split_once('\n').map_or("", |(_, rest)| rest).to_owned())
}

/// A shell that kills a process once we are gone: the kernel closes our end of its standard input then.
#[derive(Debug)]
struct Watchdog(Child);

impl Watchdog {
    fn over(pid: u32) -> io::Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", r#"read -r _; kill -KILL "$1""#, "watchdog", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before its pipe closes: it must not kill what we did not want killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use tempfile::TempDir;

    const SOON: Duration = Duration::from_secs(10);

    fn sh(script: &str, lifeline: Lifeline) -> (Process, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let spec = ProcessSpec {
            name: "sh",
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            envs: vec![("GREETING".into(), "hello".into())],
            work_dir: dir.path().into(),
            log: dir.path().join("log"),
            lifeline,
        };
        (Process::spawn(spec).unwrap(), dir)
    }

    /// Waits until the system says that nobody (not even a zombie) has this id, or it is a zombie.
    fn wait_until_gone(pid: u32) {
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        let started = Instant::now();
        while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(pid) {
            assert!(started.elapsed() < SOON, "process {pid:?} still runs");
            std::thread::yield_now();
        }
    }

    fn is_zombie(pid: Pid) -> bool {
        state(pid.as_raw_nonzero().get() as u32) == Some('Z')
    }

    /// The state letter of ps(1), which both Linux and macOS have.
    fn state(pid: u32) -> Option<char> {
        let ps = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
        String::from_utf8(ps.stdout).unwrap().trim().chars().next()
    }

    fn wait_for_state(pid: u32, wanted: impl Fn(char) -> bool) {
        let started = Instant::now();
        while !state(pid).is_some_and(&wanted) {
            assert!(started.elapsed() < SOON, "process {pid} is in state {:?}", state(pid));
        }
    }

    async fn wait_for_log(process: &Process, wanted: &str) {
        let started = Instant::now();
        while !process.log_tail().contains(wanted) {
            assert!(started.elapsed() < SOON, "the log is {:?}", process.log_tail());
            tokio::time::sleep(WAIT_POLL).await;
        }
    }

    #[tokio::test]
    async fn both_outputs_and_the_environment_reach_the_log() {
        let (mut process, _dir) = sh("echo out $GREETING; echo err >&2", Lifeline::Watchdog);
        assert!(process.wait(SOON).await.unwrap().unwrap().success());
        assert_eq!(process.log_tail(), "out hello\nerr\n");
    }

    #[tokio::test]
    async fn a_long_log_shows_whole_last_lines() {
        let (mut process, _dir) = sh("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done", Lifeline::Stdin);
        process.wait(SOON).await.unwrap().unwrap();
        let tail = process.log_tail();
        assert!(tail.len() as u64 <= LOG_TAIL_BYTES && tail.ends_with("line 1999\n"), "{tail}");
        assert!(tail.lines().all(|line| line.starts_with("line ")), "{tail}");
    }

    #[tokio::test]
    async fn kill9_ends_what_ignores_everything_else() {
        let (mut process, _dir) = sh("trap '' TERM; echo ready; while :; do sleep 1; done", Lifeline::Watchdog);
        wait_for_log(&process, "ready").await;
        process.kill9().unwrap();
        assert_eq!(process.ended().unwrap().unwrap().signal(), Some(9));
        assert!(matches!(process.pause(), Err(Error::NotRunning { .. })));
        process.kill9().unwrap();
    }

    #[tokio::test]
    async fn stop_asks_first_and_kills_after_the_grace() {
        let (mut polite, _dir) = sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done", Lifeline::Watchdog);
        wait_for_log(&polite, "ready").await;
        polite.stop(SOON).await.unwrap();
        assert_eq!(polite.ended().unwrap().unwrap().code(), Some(7));

        let (mut deaf, _dir) = sh("trap '' TERM; echo ready; while :; do sleep 0.01; done", Lifeline::Watchdog);
        wait_for_log(&deaf, "ready").await;
        deaf.stop(Duration::from_millis(50)).await.unwrap();
        assert_eq!(deaf.ended().unwrap().unwrap().signal(), Some(9));
    }

    #[tokio::test]
    async fn a_process_on_a_stdin_lifeline_ends_when_that_closes_even_if_paused() {
        let (mut process, _dir) = sh("echo ready; read -r _; exit 5", Lifeline::Stdin);
        wait_for_log(&process, "ready").await;
        process.pause().unwrap();
        assert_eq!(state(process.pid()), Some('T'));
        process.stop(SOON).await.unwrap();
        assert_eq!(process.ended().unwrap().unwrap().code(), Some(5));
    }

    #[tokio::test]
    async fn a_paused_process_stands_still_until_resumed() {
        let (mut process, _dir) = sh("while :; do sleep 0.01; done", Lifeline::Watchdog);
        process.pause().unwrap();
        assert_eq!(state(process.pid()), Some('T'));
        process.resume().unwrap();
        wait_for_state(process.pid(), |state| state != 'T');
    }

    #[tokio::test]
    async fn respawn_runs_the_same_program_in_a_new_process() {
        let (mut process, _dir) = sh("echo started; while :; do sleep 1; done", Lifeline::Watchdog);
        let first = process.pid();
        wait_for_log(&process, "started").await;
        process.respawn().unwrap();
        assert_ne!(process.pid(), first);
        wait_for_log(&process, "started\nstarted").await;
    }

    #[test]
    fn dropping_kills() {
        let (process, _dir) = sh("while :; do sleep 1; done", Lifeline::Watchdog);
        let pid = process.pid();
        drop(process);
        wait_until_gone(pid);
    }

    #[test]
    fn the_watchdog_kills_when_its_owner_is_gone_without_a_word() {
        let mut orphan = Command::new("sleep").arg("60").spawn().unwrap();
        let mut watchdog = Watchdog::over(orphan.id()).unwrap();
        // What the kernel does to the pipe of a dead owner.
        drop(watchdog.0.stdin.take());
        assert_eq!(orphan.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_missing_program_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let spec = ProcessSpec {
            name: "ghost",
            program: "/nonexistent/ghost".into(),
            args: vec![],
            envs: vec![],
            work_dir: dir.path().into(),
            log: dir.path().join("log"),
            lifeline: Lifeline::Stdin,
        };
        let error = Process::spawn(spec).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ghost"), "{error}");
    }
}
