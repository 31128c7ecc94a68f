//! The signals that ask a process to stop, or to read its keys again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Code, Failure};

/// SIGTERM and SIGINT, from the moment it is made: they no longer kill the process by themselves.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// Returns that the system refuses.
    pub fn listen() -> Result<Self, Failure> {
        Ok(Signals { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// Waits for the next one and returns its name. Cancel safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP, from the moment it is made: it no longer kills the process.
pub struct Hangups(Signal);

impl Hangups {
    /// Listens from now on.
    ///
    /// # Errors
    /// Returns that the system refuses.
    pub fn listen() -> Result<Self, Failure> {
        on(SignalKind::hangup()).map(Hangups)
    }

    /// Waits for the next one; several that come meanwhile are one. Cancel safe.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Code::Failed, "cannot listen to signals").because(&error))
}
