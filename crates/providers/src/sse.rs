//! Server-sent events, as bytes come: a pure parser that remembers the line and the event that are not whole yet.
//!
//! Source: the HTML standard, "Interpreting an event stream"
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). Lines end with LF, CR or both; comments, `id` and
//! `retry` mean nothing here.

use bytes::Bytes;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its `event` field; empty without one.
    pub(crate) name: String,
    /// Its `data` lines, joined by line feeds. Whether they are UTF-8 is for the reader to find out.
    pub(crate) data: Bytes,
}

/// An event is longer than its bound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What is left of the bytes so far.
pub(crate) struct Parser {
    /// The most bytes that a line, or the data of an event, may have.
    bytes_max: usize,
    line: Vec<u8>,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    /// A line ended with a CR: an LF right after it belongs to it.
    after_cr: bool,
    first_line: bool,
}

impl Parser {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Parser {
            bytes_max,
            line: Vec::new(),
            name: String::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            first_line: true,
        }
    }

    /// Takes the next bytes, and appends the events that they complete. After an error there is nothing left to feed.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + self.data.len() + piece.len() > self.bytes_max {
                return Err(TooLong);
            }
            let Some(end) = rest.first() else {
                self.line.extend_from_slice(piece);
                return Ok(());
            };
            self.after_cr = *end == b'\r';
            bytes = &rest[1..];
            if self.line.is_empty() {
                events.extend(self.take(piece));
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                events.extend(self.take(&line));
                line.clear();
                // The next line that comes in pieces finds its room.
                self.line = line;
            }
        }
        Ok(())
    }

    /// The event at the end that lacks its empty line. The standard drops it, because it may be cut: the reader finds
    /// out whether it is whole.
    pub(crate) fn finish(mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        self.take(&line).or_else(|| self.take(b""))
    }

    /// One line, without its end; the event that it ends.
    fn take(&mut self, line: &[u8]) -> Option<Event> {
        let bom = if std::mem::take(&mut self.first_line) { line.strip_prefix(b"\xef\xbb\xbf") } else { None };
        let line = bom.unwrap_or(line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then(|| Event { name, data: data.into() });
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let mut parser = Parser::new(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut events).expect("it is short");
        }
        let text = |event: Event| (event.name, String::from_utf8(event.data.to_vec()).expect("UTF-8"));
        events.into_iter().map(text).collect()
    }

    fn check(stream: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
        assert_eq!(events_of([stream.as_bytes()]), expected, "{stream:?}");
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        check("data: a\n\n", &[("", "a")]);
        check("data:a\r\n\r\ndata: b\r\rdata:  c\n\n", &[("", "a"), ("", "b"), ("", " c")]);
        check("event: x\ndata: 1\ndata: 2\n\ndata: 3\n\n", &[("x", "1\n2"), ("", "3")]);
        check("data: 1\nevent: late\n\n", &[("late", "1")]);
        check("\u{feff}data: a\n\n", &[("", "a")]);
        check("\u{feff}\u{feff}data: a\n\n", &[]);
        check(": ping\n\n\n:\n\nevent: only a name\n\ndata: a\n\n", &[("", "a")]);
        check("data\n\ndata:\ndata\n\n", &[("", ""), ("", "\n")]);
        check("id: 7\nretry: 9\nDATA: x\ndatum: y\n{\"no\": \"field\"}\n\n", &[]);
        check("data: {\"a\":\"b: c\"}\n\n", &[("", "{\"a\":\"b: c\"}")]);
        check("data: not ended\n", &[]);
        check("data: not ended", &[]);
    }

    #[test]
    fn the_last_event_is_there_without_its_empty_line() {
        for (stream, last) in [
            ("data: a\n\ndata: b\n", Some("b")),
            ("data: b", Some("b")),
            ("data: b\n\n", None),
            ("", None),
            (":", None),
        ] {
            let mut parser = Parser::new(100);
            parser.feed(stream.as_bytes(), &mut Vec::new()).expect("it is short");
            let data = parser.finish().map(|event| String::from_utf8(event.data.to_vec()).expect("UTF-8"));
            assert_eq!(data.as_deref(), last, "{stream:?}");
        }
    }

    #[test]
    fn an_event_has_a_bound_however_it_comes() {
        let endless_line = "x".repeat(101);
        let endless_event = "data: 12345\n".repeat(30);
        for stream in [endless_line.as_str(), endless_event.as_str()] {
            for size in [1, 7, 1000] {
                let mut parser = Parser::new(100);
                let fed = stream.as_bytes().chunks(size).try_for_each(|piece| parser.feed(piece, &mut Vec::new()));
                assert_eq!(fed, Err(TooLong));
            }
        }
        let mut parser = Parser::new(20);
        let many = "data: 12345\n\n".repeat(1000);
        let mut events = Vec::new();
        parser.feed(many.as_bytes(), &mut events).expect("each is short");
        assert_eq!(events.len(), 1000);
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_events(
            lines in proptest::collection::vec(
                prop_oneof![
                    Just(String::new()), "data: ?[a-zé\u{1f642}]{0,9}", "event: ?[a-z]{0,4}", ":[a-z]{0,4}", "[a-z:]{0,6}",
                ],
                0..24,
            ),
            ends in proptest::collection::vec(prop_oneof![Just("\n"), Just("\r"), Just("\r\n")], 24),
            bom in any::<bool>(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let start = if bom { "\u{feff}" } else { "" };
            let stream: String =
                std::iter::once(start.to_owned()).chain(lines.iter().zip(&ends).map(|(line, end)| format!("{line}{end}"))).collect();
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let in_pieces = events_of(cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]));
            prop_assert_eq!(&in_pieces, &events_of([bytes]));
            prop_assert_eq!(&in_pieces, &events_of(bytes.chunks(1)));
        }
    }
}
