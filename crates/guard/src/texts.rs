//! The texts of a body, for somebody else to look at.

use crate::body::escape::unescaped;
use crate::body::lexer::Kind;
use crate::body::place::{Place, Treat, Walk};
use crate::guard::{TEXT_BYTES_MAX, Texts};

/// All texts of a body, a line break between them.
pub(crate) fn of(body: &[u8]) -> Texts {
    let mut texts = Texts { joined: String::new(), whole: true };
    let Ok(body) = std::str::from_utf8(body) else {
        return Texts { whole: false, ..texts };
    };
    for standing in Walk::new(body) {
        let treat = standing.treat();
        if standing.token.kind == Kind::Number && treat == Treat::TokenId {
            texts.whole = false;
        }
        let text = matches!(treat, Treat::Text | Treat::Field | Treat::PartText) && standing.place != Place::Logprobs;
        if standing.token.kind != Kind::String || !text {
            continue;
        }
        let text = unescaped(&body[standing.token.range]);
        if texts.joined.len() + text.len() >= TEXT_BYTES_MAX {
            return Texts { whole: false, ..texts };
        }
        texts.joined.push_str(&text);
        texts.joined.push('\n');
    }
    texts
}
