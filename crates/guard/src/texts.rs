//! The texts of a body, for somebody else to look at.

use crate::body::escape::unescaped;
use crate::body::lexer::Kind;
use crate::body::place::{Place, Treat, Walk, is_known};
use crate::guard::{TEXT_BYTES_MAX, Texts};
use crate::policy::Side;
use crate::screen::{is_base64, is_name};

/// All texts of a body, a line break between them.
pub(crate) fn of(side: Side, body: &[u8]) -> Texts {
    let mut texts = Texts { joined: String::new(), whole: true };
    let Ok(body) = std::str::from_utf8(body) else {
        return Texts { whole: false, ..texts };
    };
    for standing in Walk::new(body, side) {
        let treat = standing.treat();
        let raw = &body[standing.token.range.clone()];
        let shown = match (standing.token.kind, treat) {
            (Kind::Key, _) => !is_known(raw),
            (Kind::Number, Treat::TokenId) => {
                texts.whole = false;
                false
            }
            (Kind::String, _) if standing.place == Place::Logprobs => false,
            (Kind::String, Treat::Text | Treat::Field | Treat::PartText) => true,
            (Kind::String, Treat::Name) => !is_name(raw),
            (Kind::String, Treat::Opaque) => !is_base64(raw),
            // What of it is a text is not decoded here; a picture is none.
            (Kind::String, Treat::Media) => {
                let pictured = ["data:image/", "data:audio/", "data:video/"].iter().any(|kind| raw.starts_with(kind));
                texts.whole &= pictured || is_base64(raw) || !raw.starts_with("data:");
                !pictured && !is_base64(raw) && !raw.starts_with("data:")
            }
            _ => false,
        };
        if !shown {
            continue;
        }
        let text = unescaped(raw);
        if texts.joined.len() + text.len() >= TEXT_BYTES_MAX {
            return Texts { whole: false, ..texts };
        }
        texts.joined.push_str(&text);
        texts.joined.push('\n');
    }
    texts
}
