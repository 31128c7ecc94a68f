//! Keeps the providers' keys fresh while the broker runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_providers::{Reload, Ring};

use crate::signals::Hangups;

/// How often files are read again, and commands asked whether their time has come: a key that was replaced is used
/// within a minute.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Reloads keys until it is stopped: what is due every `look_every`, everything at a hangup.
///
/// # Errors
/// Returns that a reload panicked.
pub async fn keep_fresh(
    rings: Vec<Arc<Ring>>,
    mut hangups: Hangups,
    look_every: Duration,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let which = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = hangups.next() => Reload::All,
            () = tokio::time::sleep(look_every) => Reload::Due,
        };
        let mut changed = 0;
        for ring in &rings {
            if stop.is_cancelled() {
                return Ok(());
            }
            let ring = ring.clone();
            // Commands block.
            let reload = tokio::task::spawn_blocking(move || ring.reload(which, Instant::now()));
            changed += reload.await.context("a reload of keys panicked")?;
        }
        if which == Reload::All {
            tracing::info!(changed, "keys were reloaded at a hangup");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tollgate_providers::{Deployment, KeySource, Vendor};

    use super::*;
    use crate::supervisor::{Stopped, Supervisor};

    fn ring(file: &Path, counted: &Path) -> Arc<Ring> {
        let script = format!("echo x >> {0}; echo sk-run-$(wc -l < {0})", counted.display());
        let argv = ["sh", "-c", script.as_str()].map(str::to_owned).to_vec();
        let command = KeySource::Command { argv, every: Duration::from_secs(3600) };
        let sources = vec![("f".to_owned(), KeySource::File(file.to_owned())), ("c".to_owned(), command)];
        Ring::open("lab", sources, &|_| None, Instant::now()).expect("both are found")
    }

    /// The keys as they are sent.
    fn sent(ring: &Ring) -> Vec<String> {
        let lab = Deployment::new("lab", Vendor::OpenAi, "http://127.0.0.1:9", "m", None).expect("a deployment");
        let header = |key| lab.listing(Some(&key)).1["authorization"].to_str().expect("text").to_owned();
        ring.keys().into_iter().map(|(_, key)| header(key)).collect()
    }

    async fn until_sent(ring: &Ring, expected: [&str; 2]) {
        for _ in 0..2000 {
            if sent(ring) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} did not become {expected:?}", sent(ring));
    }

    #[tokio::test]
    async fn files_are_followed_and_a_hangup_reads_everything() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, counted) = (dir.path().join("key"), dir.path().join("runs"));
        std::fs::write(&file, "sk-old").expect("written");
        let ring = ring(&file, &counted);
        assert_eq!(sent(&ring), ["Bearer sk-old", "Bearer sk-run-1"]);
        let hangups = Hangups::listen().expect("it can be listened to");
        let mut supervisor = Supervisor::new();
        let rings = vec![ring.clone()];
        supervisor.spawn("keys", |stop| keep_fresh(rings, hangups, Duration::from_millis(20), stop));

        std::fs::write(&file, "sk-new").expect("written");
        until_sent(&ring, ["Bearer sk-new", "Bearer sk-run-1"]).await;
        let pid = std::process::id().to_string();
        let hung_up = std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("it runs");
        assert!(hung_up.success());
        until_sent(&ring, ["Bearer sk-new", "Bearer sk-run-2"]).await;
        assert_eq!(supervisor.stop("keys", Duration::from_secs(20)).await, Stopped::InTime);
    }
}
