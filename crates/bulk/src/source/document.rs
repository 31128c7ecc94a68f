//! Anthropic's document, `{"requests": [{…}, {…}]}`, taken apart without ever being whole in memory.

use bytes::{Buf as _, Bytes, BytesMut};

use super::REQUEST_BYTES_MAX;
use super::kind::Unreadable;

/// Where in the document we are. Only its frame is understood here; each request is read by whoever checks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the object, or in it and outside of `requests`.
    #[default]
    Frame,
    /// In the list, between requests.
    Between,
    /// In a request.
    Inside,
    /// Behind the list.
    Behind,
}

/// How far a document is read.
#[derive(Debug, Default)]
pub(super) struct Document {
    place: Place,
    /// How many bytes of the buffer are looked at.
    seen: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Where the text that is being read, or was read last, begins and ends in the buffer.
    text: (usize, usize),
    /// Whether the last text is the name `requests`, and its colon was seen.
    named: bool,
    too_long: bool,
}

impl Document {
    /// Takes the next request off the buffer: `None` if more must be read, `Some(None)` at the end, and a request without
    /// text if it is too long.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Option<Option<Bytes>>>, Unreadable> {
        while let Some(&byte) = buffer.get(self.seen) {
            self.seen += 1;
            if self.in_text {
                self.text_goes_on(byte);
                continue;
            }
            match (self.place, byte) {
                (Place::Behind, _) => return Ok(Some(None)),
                (_, b'"') => (self.in_text, self.text.0) = (true, self.seen),
                (Place::Frame, b':') => {
                    self.named = self.depth == 1 && buffer.get(self.text.0..self.text.1) == Some(b"requests");
                }
                (Place::Frame, b'[') if self.named => self.begin(Place::Between, buffer),
                (Place::Frame, b',') => self.named = false,
                (Place::Between, b'{') => {
                    buffer.advance(self.seen - 1);
                    (self.place, self.seen, self.depth, self.too_long) = (Place::Inside, 1, 1, false);
                }
                (Place::Between, b']') => self.place = Place::Behind,
                (Place::Between, b',' | b' ' | b'\n' | b'\r' | b'\t') => {}
                (Place::Between, _) => {
                    return Err(Unreadable::Document("`requests` holds something that is no object".to_owned()));
                }
                (_, b'{' | b'[') => self.depth += 1,
                (Place::Inside, b'}' | b']') if self.depth == 1 => {
                    let text = buffer.split_to(self.seen).freeze();
                    (self.place, self.seen) = (Place::Between, 0);
                    let fits = !self.too_long && text.len() <= REQUEST_BYTES_MAX;
                    return Ok(Some(Some(fits.then_some(text))));
                }
                (_, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.make_room(buffer)?;
        // At the end of `requests` nothing more need be there.
        Ok((self.place == Place::Behind).then_some(None))
    }

    fn text_goes_on(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => (self.in_text, self.text.1) = (false, self.seen - 1),
            _ => {}
        }
    }

    fn begin(&mut self, place: Place, buffer: &mut BytesMut) {
        buffer.advance(self.seen);
        (self.place, self.seen) = (place, 0);
    }

    /// Drops what nobody needs any more, so that the buffer stays small.
    fn make_room(&mut self, buffer: &mut BytesMut) -> Result<(), Unreadable> {
        match self.place {
            Place::Frame if self.seen > REQUEST_BYTES_MAX => {
                return Err(Unreadable::Document("`requests` does not come soon enough".to_owned()));
            }
            Place::Inside if self.seen > REQUEST_BYTES_MAX => self.too_long = true,
            Place::Between => {}
            Place::Frame | Place::Inside | Place::Behind => return Ok(()),
        }
        buffer.advance(self.seen);
        self.seen = 0;
        Ok(())
    }
}
