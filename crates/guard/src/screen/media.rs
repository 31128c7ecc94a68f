//! Pictures, recordings and files that are sent along: what of them is text is looked at.

use std::ops::Range;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

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

/// A text in base64 with what is to be replaced in it.
pub(super) struct Encoded {
    /// The whole string in the body.
    range: Range<usize>,
    /// What stands before the base64, such as `data:text/plain;base64,`.
    head: String,
    text: String,
    spots: Vec<Spot>,
}

impl Encoded {
    /// The change that puts the redacted text in place of the text.
    pub(super) fn edit(self, looker: &Looker<'_>, origin: Origin, vault: &mut Vault) -> Result<Option<Edit>, Full> {
        let edits = replacements(looker, self.spots, origin, vault)?;
        if edits.is_empty() {
            return Ok(None);
        }
        let text = format!("{}{}", escaped(&self.head), LENIENT.encode(edited(&self.text, &edits)));
        Ok(Some(Edit { range: self.range, text }))
    }
}

impl Screen<'_> {
    /// Looks at an address, or at what is sent in place of one.
    pub(super) fn media(&mut self, token: &Token) {
        let raw = unescaped(&self.body[token.range.clone()]).into_owned();
        let Some((head, data)) = split(&raw) else {
            // Recordings are sent as bare base64.
            if !is_base64(&raw) {
                self.text(token, false);
            }
            return;
        };
        let pictured = ["data:image/", "data:audio/", "data:video/"].iter().any(|kind| begins_with(head, kind));
        if pictured && is_base64(data) {
            return;
        }
        let decoded = LENIENT.decode(data).ok();
        match decoded.map(String::from_utf8) {
            Some(Ok(text)) => {
                let mut spots = Vec::new();
                self.looker.text(&text, &mut spots);
                let range = token.range.clone();
                self.encoded.push(Encoded { range, head: head.to_owned(), text, spots });
            }
            // A document in a format of its own cannot be looked at here, no more than a picture.
            Some(Err(_)) if !begins_with(head, "data:text/") => {}
            Some(Err(_)) | None => {
                self.unreadable = true;
                self.text(token, false);
            }
        }
    }
}

/// What stands before the base64 of a `data:` URL, and the base64.
fn split(url: &str) -> Option<(&str, &str)> {
    let comma = url.find(',').filter(|_| begins_with(url, "data:"))?;
    let (head, data) = url.split_at(comma + 1);
    head.to_ascii_lowercase().ends_with(";base64,").then_some((head, data))
}

fn begins_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}
