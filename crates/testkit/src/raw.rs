//! A NATS client that sends whatever bytes it is given and reads whatever comes: for messages that no proper client
//! would send, and for watching all that is published.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// A connection of one user.
pub struct Raw {
    writer: Arc<Mutex<OwnedWriteHalf>>,
    incoming: mpsc::Receiver<Incoming>,
    inbox: String,
    asked: u64,
    _reader: JoinSet<()>,
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message {
        /// The subject's bytes, made text.
        subject: String,
        /// The header block as it came; empty if there is none.
        headers: Vec<u8>,
        /// The payload.
        payload: Vec<u8>,
    },
    /// An `-ERR` line.
    Error(String),
}

/// More than a test leaves unread.
const UNREAD_MAX: usize = 1 << 20;
/// A local server answers at once; this is for a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl Raw {
    /// Connects as `user`, whose inbox is `_INBOX_<user>`.
    ///
    /// # Panics
    /// If the server does not take it.
    pub async fn connect(port: u16, user: &str, password: &str) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
        let (reader, writer) = stream.into_split();
        let writer = Arc::new(Mutex::new(writer));
        let (sender, incoming) = mpsc::channel(UNREAD_MAX);
        let mut tasks = JoinSet::new();
        let answers = writer.clone();
        tasks.spawn(async move {
            let _closed = read(BufReader::new(reader), answers, sender).await;
        });
        let inbox = format!("_INBOX_{user}.raw");
        let raw = Raw { writer, incoming, inbox: inbox.clone(), asked: 0, _reader: tasks };
        let hello = serde_json::json!({ "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "user": user, "pass": password, "name": "raw" });
        raw.send(format!("CONNECT {hello}\r\nSUB {inbox}.> 1\r\n").as_bytes()).await;
        raw
    }

    /// Sends bytes as they are.
    pub async fn send(&self, bytes: &[u8]) {
        // A server that hung up is what some tests are about.
        let _hung_up = self.writer.lock().await.write_all(bytes).await;
    }

    /// Subscribes.
    pub async fn subscribe(&self, subject: &str) {
        self.send(format!("SUB {subject} 2\r\nPING\r\n").as_bytes()).await;
    }

    /// Publishes `payload` behind `headers` (a whole block, or nothing) and returns the answer's payload, or the
    /// server's `-ERR`. Other messages that came meanwhile are lost.
    ///
    /// # Panics
    /// If nothing comes.
    pub async fn request(&mut self, subject: &[u8], headers: &[u8], payload: &[u8]) -> Result<Vec<u8>, String> {
        self.asked += 1;
        let reply = format!("{}.{}", self.inbox, self.asked);
        let all = headers.len() + payload.len();
        let line = match headers.len() {
            0 => format!(" {reply} {all}\r\n"),
            block => format!(" {reply} {block} {all}\r\n"),
        };
        let verb: &[u8] = if headers.is_empty() { b"PUB " } else { b"HPUB " };
        self.send(&[verb, subject, line.as_bytes(), headers, payload, b"\r\n"].concat()).await;
        loop {
            match self.next(ANSWER_WITHIN).await.expect("an answer") {
                Incoming::Message { subject, payload, .. } if subject == reply => return Ok(payload),
                Incoming::Message { .. } => {}
                Incoming::Error(error) => return Err(error),
            }
        }
    }

    /// The next thing that comes in; `None` if nothing does within the time, or the server hung up.
    pub async fn next(&mut self, within: Duration) -> Option<Incoming> {
        tokio::time::timeout(within, self.incoming.recv()).await.ok().flatten()
    }

    /// Everything that has come in so far.
    pub fn drain(&mut self) -> Vec<Incoming> {
        std::iter::from_fn(|| self.incoming.try_recv().ok()).collect()
    }
}

async fn read(
    mut from: BufReader<OwnedReadHalf>,
    answers: Arc<Mutex<OwnedWriteHalf>>,
    to: mpsc::Sender<Incoming>,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        // Not by white space of any kind: a subject may hold a no-break space.
        let words: Vec<&[u8]> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
        let number = |at: usize| -> usize { String::from_utf8_lossy(words[at]).parse().unwrap_or(0) };
        let incoming = match words[0] {
            b"PING" => {
                answers.lock().await.write_all(b"PONG\r\n").await?;
                continue;
            }
            b"-ERR" => Incoming::Error(String::from_utf8_lossy(&line).trim().to_owned()),
            verb @ (b"MSG" | b"HMSG") => {
                let all = number(words.len() - 1);
                let block = if verb == b"HMSG" { number(words.len() - 2) } else { 0 };
                let mut bytes = vec![0; all + 2];
                from.read_exact(&mut bytes).await?;
                bytes.truncate(all);
                let payload = bytes.split_off(block);
                let subject = String::from_utf8_lossy(words[1]).into_owned();
                Incoming::Message { subject, headers: bytes, payload }
            }
            _ => continue,
        };
        if to.send(incoming).await.is_err() {
            return Ok(());
        }
    }
}
