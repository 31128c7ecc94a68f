//! Takes a file apart into requests, a piece at a time, and hashes it on the way.

mod document;
mod kind;

use bytes::{Buf as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tollgate_types::batch::BatchFormat;

use document::Document;
pub use kind::Unreadable;
use kind::{Kind, kind};

/// The most bytes of one request: more than any NATS server takes in a message (64 MiB is its own highest limit, and a
/// megabyte its default).
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// One request as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Which request it is, from 1.
    pub number: u64,
    /// The line it stands on, from 1; of a document, which request it is.
    pub line: u64,
    /// Its text; `None` if it is longer than [`REQUEST_BYTES_MAX`].
    pub text: Option<Bytes>,
}

/// A file of requests, read from the beginning.
pub struct Source<R> {
    reader: R,
    buffer: BytesMut,
    hasher: Sha256,
    bytes: u64,
    at_end: bool,
    kind: Kind,
    number: u64,
    line: u64,
    document: Document,
}

/// What a whole file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

impl<R: AsyncRead + Unpin> Source<R> {
    /// Begins to read, and finds out what it is.
    ///
    /// # Errors
    /// It cannot be read, is empty, or is in no format that we know.
    pub async fn open(reader: R) -> Result<Source<R>, Unreadable> {
        let mut source = Source {
            reader,
            buffer: BytesMut::new(),
            hasher: Sha256::new(),
            bytes: 0,
            at_end: false,
            kind: Kind::OpenAiLines,
            number: 0,
            line: 0,
            document: Document::default(),
        };
        while source.buffer.len() < READ_BYTES && source.fill().await? {}
        if source.buffer.starts_with(b"\xef\xbb\xbf") {
            source.buffer.advance(3);
        }
        source.kind = kind(&source.buffer)?;
        Ok(source)
    }

    /// Whose format it is.
    pub fn format(&self) -> BatchFormat {
        match self.kind {
            Kind::OpenAiLines => BatchFormat::OpenAi,
            Kind::AnthropicLines | Kind::AnthropicDocument => BatchFormat::Anthropic,
        }
    }

    /// The next request; `None` at the end. Not cancel safe.
    ///
    /// # Errors
    /// The file cannot be read, or ends in the middle of a document.
    pub async fn next(&mut self) -> Result<Option<Raw>, Unreadable> {
        let text = match self.kind {
            Kind::AnthropicDocument => self.next_of_document().await?,
            Kind::OpenAiLines | Kind::AnthropicLines => self.next_line().await?,
        };
        Ok(text.map(|text| {
            self.number += 1;
            let line = if self.kind == Kind::AnthropicDocument { self.number } else { self.line };
            Raw { number: self.number, line, text }
        }))
    }

    /// Reads what is left, and tells what the whole file is.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn whole(mut self) -> Result<Whole, Unreadable> {
        loop {
            self.buffer.clear();
            if !self.fill().await? {
                break;
            }
        }
        let sha256 = self.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Whole { sha256, bytes: self.bytes })
    }

    /// The next line that is not blank; `Some(None)` for one that is too long.
    async fn next_line(&mut self) -> Result<Option<Option<Bytes>>, Unreadable> {
        let (mut searched, mut too_long) = (0, false);
        loop {
            let found = self.buffer[searched..].iter().position(|&byte| byte == b'\n').map(|at| searched + at);
            let end = match found {
                Some(end) => end,
                None if self.at_end && self.buffer.is_empty() && !too_long => return Ok(None),
                None if self.at_end => self.buffer.len(),
                None => {
                    searched = self.buffer.len();
                    if searched > REQUEST_BYTES_MAX {
                        self.buffer.clear();
                        (searched, too_long) = (0, true);
                    }
                    self.fill().await?;
                    continue;
                }
            };
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(usize::from(found.is_some()));
            self.line += 1;
            searched = 0;
            if too_long || line.len() > REQUEST_BYTES_MAX {
                return Ok(Some(None));
            }
            let text = line.trim_ascii();
            if !text.is_empty() {
                return Ok(Some(Some(line.slice_ref(text))));
            }
        }
    }

    async fn next_of_document(&mut self) -> Result<Option<Option<Bytes>>, Unreadable> {
        loop {
            if let Some(found) = self.document.take(&mut self.buffer)? {
                return Ok(found);
            }
            if !self.fill().await? {
                return Err(Unreadable::Document("it ends in the middle".to_owned()));
            }
        }
    }

    /// Reads more; whether there was more.
    async fn fill(&mut self) -> Result<bool, Unreadable> {
        self.buffer.reserve(READ_BYTES);
        let from = self.buffer.len();
        let read = self.reader.read_buf(&mut self.buffer).await.map_err(Unreadable::Io)?;
        self.hasher.update(&self.buffer[from..]);
        self.bytes += read as u64;
        self.at_end = read == 0;
        Ok(!self.at_end)
    }
}

#[cfg(test)]
mod tests;
