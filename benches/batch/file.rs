//! A file of requests that is made while it is read.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// So many lines of so many bytes.
pub(crate) struct Generated {
    next: u64,
    lines: u64,
    line_bytes: usize,
    ready: Vec<u8>,
    taken: usize,
}

impl Generated {
    pub(crate) fn new(lines: u64, line_bytes: usize) -> Generated {
        Generated { next: 0, lines, line_bytes, ready: Vec::new(), taken: 0 }
    }
}

impl AsyncRead for Generated {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        while into.remaining() > 0 {
            if self.taken == self.ready.len() {
                if self.next == self.lines {
                    break;
                }
                self.ready = line(self.next, self.line_bytes);
                self.ready.push(b'\n');
                (self.next, self.taken) = (self.next + 1, 0);
            }
            let much = into.remaining().min(self.ready.len() - self.taken);
            into.put_slice(&self.ready[self.taken..self.taken + much]);
            self.taken += much;
        }
        Poll::Ready(Ok(()))
    }
}

/// The nth line, without its end.
pub(crate) fn line(n: u64, bytes: usize) -> Vec<u8> {
    let head = format!(
        r#"{{"custom_id":"request-{n}","method":"POST","url":"/v1/chat/completions","body":{{"model":"gpt-4o-mini","max_tokens":100,"messages":[{{"role":"user","content":""#
    );
    let tail = r#""}]}}"#;
    let mut line = head.into_bytes();
    while line.len() + tail.len() < bytes {
        line.push(if line.len() % 6 == 0 { b' ' } else { b'a' });
    }
    line.extend_from_slice(tail.as_bytes());
    line
}
