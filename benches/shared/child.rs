//! A part in a process of its own: this same program in another role.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a part may take to get ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running part. It is killed when dropped, and ends by itself when its standard input closes.
pub struct Child {
    role: &'static str,
    process: tokio::process::Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Child {
    /// Starts a part and waits for its first line, which it prints when it is ready.
    pub async fn start(role: &'static str, args: &[String], log: PathBuf) -> anyhow::Result<(Child, String)> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--role", role])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = process.stdin.take().context("a pipe was asked for")?;
        let stdout = BufReader::new(process.stdout.take().context("a pipe was asked for")?).lines();
        let mut child = Child { role, process, stdin, stdout, log };
        let greeting = child.line(READY_WITHIN).await?;
        Ok((child, greeting))
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().with_context(|| format!("the {} has ended: {}", self.role, self.said()))
    }

    /// Its next line. Cancel safe.
    pub async fn line(&mut self, within: Duration) -> anyhow::Result<String> {
        match timeout(within, self.stdout.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(_) => bail!("the {} ended: {}", self.role, self.said()),
            Err(_) => bail!("the {} said nothing within {within:?}: {}", self.role, self.said()),
        }
    }

    /// Asks it something that is answered with one line.
    pub async fn ask(&mut self, question: &str, within: Duration) -> anyhow::Result<String> {
        self.stdin.write_all(format!("{question}\n").as_bytes()).await?;
        self.line(within).await
    }

    /// Kills it and waits for its end.
    pub async fn end(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// The end of what it logged.
    pub fn said(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
