//! Requests as a mock provider reads them: one after the other from each connection, as cheaply as can be.

use anyhow::{Context as _, bail};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The head of a request: its first line and its headers.
#[derive(Debug)]
pub struct Head {
    text: String,
    body_bytes: usize,
}

impl Head {
    /// Waits for the next request of a connection; `None` at the connection's end. The buffer is empty at the start of
    /// each request, and holds the head afterwards, and what came of the body.
    ///
    /// # Errors
    /// Fails if the connection breaks, or on a request without a length.
    pub async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Option<Head>> {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        };
        let mut head = Head { text: String::from_utf8(buffer[..end].to_vec())?, body_bytes: 0 };
        head.body_bytes = head.value("content-length").context("a request without a length")?.parse()?;
        Ok(Some(head))
    }

    /// Reads the body and drops it; the buffer is empty then. Callers send one request after the other, so nothing of
    /// the next one is there yet.
    ///
    /// # Errors
    /// Fails if the connection ends before the body does.
    pub async fn skip_body(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
        while buffer.len() < self.text.len() + self.body_bytes {
            if stream.read_buf(buffer).await? == 0 {
                bail!("the request broke off");
            }
        }
        buffer.clear();
        Ok(())
    }

    /// The value of a header.
    pub fn value(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.text.split("\r\n").filter_map(|line| line.split_once(':'));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    }

    /// The first segment of the path.
    pub fn first_segment(&self) -> Option<&str> {
        self.text.split(' ').nth(1)?.split('/').nth(1)
    }
}
