//! All that the broker logs while the corpus runs, so that it can be searched for what must not be there.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use crate::bench::{KEY, PROMPT};

/// Everything of our own crates, and what the HTTP client says.
const FILTER: &str = "info,tollgate_worker=trace,tollgate_providers=trace,tollgate_queue=trace,tollgate_policy=trace,\
                      reqwest=trace,hyper_util=trace";

/// The lines so far.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic under the lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// The log of the whole process. It must be asked for before a world is started, which else takes the log.
    pub(crate) fn kept() -> &'static Logs {
        static LOGS: LazyLock<Logs> = LazyLock::new(|| {
            let (logs, filter) = (Logs::default(), tracing_subscriber::EnvFilter::new(FILTER));
            let writer = logs.clone();
            let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
            lines.with_writer(move || writer.clone()).try_init().expect("nobody else took the log");
            logs
        });
        &LOGS
    }

    /// Calls are logged, and neither a key nor a word of a prompt is.
    pub(crate) fn are_clean(&self) {
        let text = String::from_utf8(self.0.lock().expect("no panic under the lock").clone()).expect("UTF-8");
        assert!(text.contains("called a provider"), "the log was not kept");
        let said = text.lines().find(|line| line.contains(KEY) || line.contains(PROMPT));
        assert_eq!(said, None, "a secret is in the log");
    }
}
