//! Pictures, recordings and files that are sent along: what of them is text is looked at.

use std::ops::Range;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Screen, is_base64, replacements};
use crate::body::edit::{Edit, edited};
use crate::body::escape::{escaped, unescaped};
use crate::body::lexer::Token;
use crate::look::{Looker, Spot};
use crate::vault::{Full, Origin, Vault};

/// Takes base64 with and without its padding, as providers do.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A text that is sent encoded, with what is to be replaced in it.
pub(super) struct Encoded {
    /// The whole string in the body.
    range: Range<usize>,
    /// What stands before the text, such as `data:text/plain;base64,`.
    head: String,
    coding: Coding,
    text: String,
    spots: Vec<Spot>,
}

/// How a text is encoded.
#[derive(Clone, Copy)]
enum Coding {
    Base64,
    /// As in addresses (RFC 2397).
    Percent,
}

impl Coding {
    fn encoded(self, text: &str) -> String {
        match self {
            Coding::Base64 => LENIENT.encode(text),
            Coding::Percent => utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        }
    }
}

impl Encoded {
    /// The change that puts the redacted text in place of the text.
    pub(super) fn edit(self, looker: &Looker<'_>, origin: Origin, vault: &mut Vault) -> Result<Option<Edit>, Full> {
        let edits = replacements(looker, self.spots, origin, vault)?;
        if edits.is_empty() {
            return Ok(None);
        }
        let text = format!("{}{}", escaped(&self.head), self.coding.encoded(&edited(&self.text, &edits)));
        Ok(Some(Edit { range: self.range, text }))
    }
}

impl Screen<'_> {
    /// Looks at an address, or at what is sent in place of one.
    pub(super) fn media(&mut self, token: &Token) {
        let raw = unescaped(&self.body[token.range.clone()]).into_owned();
        match split(&raw) {
            None if is_base64(&raw) => self.bare(token, &raw),
            None => self.text(token, false),
            Some((head, data, Coding::Percent)) => match percent_decode_str(data).decode_utf8() {
                Ok(text) => self.encoded(token, head, Coding::Percent, text.into_owned()),
                Err(_) => self.unread(token),
            },
            Some((head, data, Coding::Base64)) => {
                let pictured = ["data:image/", "data:audio/", "data:video/"].iter().any(|kind| begins_with(head, kind));
                // A drawing is a text.
                if pictured && !begins_with(head, "data:image/svg") && is_base64(data) {
                    return;
                }
                match LENIENT.decode(data).map(String::from_utf8) {
                    // With zeros in it, it is one in another coding.
                    Ok(Ok(text)) if !text.contains('\0') => self.encoded(token, head, Coding::Base64, text),
                    // A document in a format of its own cannot be looked at here, no more than a picture.
                    Ok(Err(bytes)) if is_a_format(bytes.as_bytes()) => {}
                    Ok(_) | Err(_) => self.unread(token),
                }
            }
        }
    }

    /// Base64 without a word of what it is: recordings and files are sent so, and so are names that machines gave.
    fn bare(&mut self, token: &Token, raw: &str) {
        let decoded = LENIENT.decode(raw).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let plain = |text: &String| {
            text.len() >= BARE_BYTES_MIN && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        };
        if let Some(text) = decoded.filter(plain) {
            self.encoded(token, "", Coding::Base64, text);
        }
    }

    fn encoded(&mut self, token: &Token, head: &str, coding: Coding, text: String) {
        let mut spots = Vec::new();
        self.looker.text(&text, &mut spots);
        self.encoded.push(Encoded { range: token.range.clone(), head: head.to_owned(), coding, text, spots });
    }

    /// What could hold a text in a coding that is not read here.
    fn unread(&mut self, token: &Token) {
        self.unreadable = true;
        self.text(token, false);
    }
}

/// Shorter texts in bare base64 are names, by chance.
const BARE_BYTES_MIN: usize = 12;

/// Whether bytes begin as documents, archives, pictures and recordings do.
fn is_a_format(bytes: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 14] = [
        b"%PDF",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\xd0\xcf\x11\xe0",
        b"\x1f\x8b",
        b"\x89PNG",
        b"\xff\xd8\xff",
        b"GIF8",
        b"RIFF",
        b"OggS",
        b"ID3",
        b"fLaC",
        b"\x1a\x45\xdf\xa3",
        b"BM",
    ];
    BEGINNINGS.iter().any(|begin| bytes.starts_with(begin))
        || bytes.get(4..8) == Some(b"ftyp")
        || bytes.starts_with(b"\xff\xfb")
}

/// What stands before the data of a `data:` URL, the data, and how they are encoded.
fn split(url: &str) -> Option<(&str, &str, Coding)> {
    let comma = url.find(',').filter(|_| begins_with(url, "data:"))?;
    let (head, data) = url.split_at(comma + 1);
    let coding = if head.to_ascii_lowercase().ends_with(";base64,") { Coding::Base64 } else { Coding::Percent };
    Some((head, data, coding))
}

fn begins_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}
