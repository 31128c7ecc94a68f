//! One process of this program in a stack, with a port that stays its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use sandbox::{Process, ProcessSpec};

use crate::exit::{Code, Failure};

/// Below what kernels hand out for outgoing connections, so that nobody takes the port while its owner is restarted.
const PORTS: std::ops::Range<u16> = 16_000..32_000;
/// With a hundred random picks, failing means that the machine has no ports left.
const PICKS_MAX: usize = 100;
/// How often a start is looked after: short against the time that any start takes.
const LOOK: Duration = Duration::from_millis(20);
/// A process that does not answer one probe is asked again.
const PROBE: Duration = Duration::from_secs(2);

/// A process of this program. Dropped, it is killed.
pub struct Child {
    name: String,
    process: Process,
    port: u16,
    grace: Duration,
    asked: bool,
    http: reqwest::Client,
}

impl Child {
    pub(super) fn spawn(name: String, spec: ProcessSpec, port: u16, grace: Duration) -> Result<Self, Failure> {
        tollgate_providers::install_crypto();
        let http = reqwest::Client::builder().no_proxy().timeout(PROBE).build();
        let http = http.map_err(|error| Failure::new(Code::Failed, "no HTTP client").because(&error))?;
        Ok(Child { name, process: Process::spawn(spec).map_err(super::server)?, port, grace, asked: false, http })
    }

    /// Its name, such as `worker-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it answers: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Waits until `path` answers with 200.
    ///
    /// # Errors
    /// The end of its log, if it ended or took too long.
    pub async fn ready(&self, path: &str, within: Duration) -> Result<(), Failure> {
        let (url, started) = (format!("{}{path}", self.url()), Instant::now());
        let mut last = "it does not answer".to_owned();
        while started.elapsed() < within {
            match self.http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => last = answer.text().await.unwrap_or(last),
                // Not listening yet, or gone; the time tells.
                Err(_) if !self.is_there() => break,
                Err(_) => {}
            }
            tokio::time::sleep(LOOK).await;
        }
        let what = format!("{} did not get ready: {last}; the end of its log:\n{}", self.name, self.log_tail());
        Err(Failure::new(Code::Failed, what))
    }

    /// Whether the process runs, without reaping it.
    fn is_there(&self) -> bool {
        // A dead child that nobody reaped is a zombie. Its command line would not tell: that of a living one is empty
        // too, from when it left its parent's memory to when the loader has written the new one.
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .map_or(!cfg!(target_os = "linux"), |stat| !is_dead(&stat))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.process.ended().ok().flatten()?;
        Some(format!("{status}; the end of its log:\n{}", self.log_tail()))
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill9(&mut self) -> Result<(), Failure> {
        self.process.kill9().map_err(super::server)
    }

    /// Stops it in its tracks (SIGSTOP).
    ///
    /// # Errors
    /// It has ended, or the system refuses.
    pub fn pause(&mut self) -> Result<(), Failure> {
        self.process.pause().map_err(super::server)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// It has ended, or the system refuses.
    pub fn resume(&mut self) -> Result<(), Failure> {
        self.process.resume().map_err(super::server)
    }

    /// Starts it again on its port, killing it first where it still runs; whether it is ready is the caller's question.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.asked = false;
        self.process.respawn().map_err(super::server)
    }

    /// Asks it to stop (SIGTERM), once: a second signal would mean "at once". One that has ended is left alone.
    pub fn terminate(&mut self) {
        if !std::mem::replace(&mut self.asked, true) {
            // It may have ended by itself, which the next look finds; a paused one would not hear the signal.
            let _ = self.process.resume();
            let _ = self.process.terminate();
        }
    }

    /// Asks it to stop unless it was asked before, waits for its grace, then kills it.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        self.terminate();
        let ended = self.process.wait(self.grace).await.map_err(super::server)?;
        if ended.is_none() { self.kill9() } else { Ok(()) }
    }
}

/// Whether a line of `/proc/<pid>/stat` is that of a process that ended. The name before the state may hold anything.
fn is_dead(stat: &str) -> bool {
    let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
    state.starts_with(['Z', 'X'])
}

/// A port of the loopback interface that nobody listens on.
pub(super) fn free_port() -> Result<u16, Failure> {
    let pick = || rand::random_range(PORTS);
    let free = |port: &u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).is_ok();
    let port = std::iter::repeat_with(pick).take(PICKS_MAX).find(free);
    port.ok_or_else(|| Failure::new(Code::Failed, "no free port on 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_dead_whatever_its_name_says() {
        for (stat, dead) in
            [("7 (a) Z 1 7", true), ("7 (a) S 1 7", false), ("7 (odd) Z) R 1 7", false), ("7 (a b) X 0", true)]
        {
            assert_eq!(is_dead(stat), dead, "{stat}");
        }
    }
}
