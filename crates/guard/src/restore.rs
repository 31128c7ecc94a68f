//! Puts values back in place of their placeholders, also of those that a model has spelt a little differently.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::body::edit::{Edit, edited};
use crate::body::escape::{Places, escaped, unescaped};
use crate::body::lexer::{Kind, Lexer, Token, is_json};
use crate::body::place::{Treat, Walk};
use crate::guard::TooLarge;
use crate::policy::Side;
use crate::vault::{Kept, Vault};

/// The longest spelling of a placeholder, in bytes.
pub(crate) const SPELT_BYTES_MAX: usize = 6 + 49 + 10 + 6;

/// What could be a placeholder: `<EMAIL_1>`, `<email_1>`, `&lt;EMAIL_1&gt;`, `\u003cEMAIL_1\u003e`, `<EMAIL\_1>`, `EMAIL_1`.
static SPELT: LazyLock<Regex> = LazyLock::new(|| {
    let spelt = r"(?i-u)(<|&lt;|\\u003c)?([a-z][a-z0-9_\\]{0,48}_[0-9]{1,9})(>|&gt;|\\u003e)?";
    Regex::new(spelt).expect("the expression is one")
});

/// The changes that put values back, counted before anything is built of them.
struct Growth {
    edits: Vec<Edit>,
    /// How many bytes the whole has, with the changes so far.
    bytes: usize,
    most: usize,
}

impl Growth {
    fn of(text: &str, most: usize) -> Growth {
        Growth { edits: Vec::new(), bytes: text.len(), most }
    }

    fn push(&mut self, edit: Edit) -> Result<(), TooLarge> {
        self.bytes = self.bytes.saturating_sub(edit.range.len()) + edit.text.len();
        if self.bytes > self.most {
            return Err(TooLarge);
        }
        self.edits.push(edit);
        Ok(())
    }
}

/// A body with the values put back; `None` if there is nothing to put back.
pub(crate) fn body(body: &str, vault: &Vault, most: usize) -> Result<Option<String>, TooLarge> {
    if !vault.keeps() {
        return Ok(None);
    }
    let mut growth = Growth::of(body, most);
    for standing in Walk::new(body, Side::Answer) {
        let token = &standing.token;
        let text = matches!(standing.treat(), Treat::Text | Treat::Field | Treat::PartText | Treat::Echo);
        if token.kind == Kind::String && text {
            of_string(body, token, vault, &mut growth)?;
        }
    }
    Ok((!growth.edits.is_empty()).then(|| edited(body, &growth.edits)))
}

fn of_string(body: &str, token: &Token, vault: &Vault, growth: &mut Growth) -> Result<(), TooLarge> {
    let raw = &body[token.range.clone()];
    if !raw.contains('_') && !token.escaped {
        return Ok(());
    }
    let text = unescaped(raw);
    let mut places = Places::new(raw);
    of_text(&text, vault, &mut |edit| {
        let range = places.range(&edit.range);
        let range = token.range.start + range.start..token.range.start + range.end;
        growth.push(Edit { range, text: escaped(&edit.text) })
    })
}

/// A text with the values put back: if it is JSON, as its strings need it.
pub(crate) fn text(text: &str, vault: &Vault, most: usize) -> Result<String, TooLarge> {
    let mut growth = Growth::of(text, most);
    of_text(text, vault, &mut |edit| growth.push(edit))?;
    Ok(edited(text, &growth.edits))
}

/// Takes each change by itself: all of them together may be far more than fits.
type Take<'t> = dyn FnMut(Edit) -> Result<(), TooLarge> + 't;

fn of_text(text: &str, vault: &Vault, take: &mut Take<'_>) -> Result<(), TooLarge> {
    if is_json(text) {
        let mut strings = Lexer::new(text).filter(|token| matches!(token.kind, Kind::String | Kind::Key));
        return strings.try_for_each(|token| of_nested(text, &token, vault, take));
    }
    placeholders(text, vault).try_for_each(|(range, kept)| take(Edit { range, text: kept.value.to_owned() }))
}

/// The changes to one string of a text that is JSON.
fn of_nested(whole: &str, token: &Token, vault: &Vault, take: &mut Take<'_>) -> Result<(), TooLarge> {
    let raw = &whole[token.range.clone()];
    let text = unescaped(raw);
    let mut places = Places::new(raw);
    let edit = |(range, kept): (Range<usize>, Kept<'_>)| {
        // What was a number before is one again, without the quotes.
        if kept.number && token.kind == Kind::String && range == (0..text.len()) {
            return Edit { range: token.range.start - 1..token.range.end + 1, text: kept.value.to_owned() };
        }
        let range = places.range(&range);
        Edit { range: token.range.start + range.start..token.range.start + range.end, text: escaped(kept.value) }
    };
    placeholders(&text, vault).map(edit).try_for_each(take)
}

/// The placeholders in a text that stand for something.
pub(crate) fn placeholders<'t>(text: &'t str, vault: &'t Vault) -> impl Iterator<Item = (Range<usize>, Kept<'t>)> {
    SPELT.captures_iter(text).filter_map(move |spelt| {
        let (whole, name) = (spelt.get(0)?, spelt.get(2)?);
        let plain = name.as_str().replace('\\', "");
        if spelt.get(1).is_some() && spelt.get(3).is_some() {
            return Some((whole.range(), vault.kept(&plain.to_ascii_uppercase())?));
        }
        // Without its brackets it must stand alone, in capitals, not to be taken for the name of a variable.
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let before =
            name.start().checked_sub(1).and_then(|at| text.as_bytes().get(at)).filter(|_| spelt.get(1).is_none());
        let after = text.as_bytes().get(name.end()).filter(|_| spelt.get(3).is_none());
        if before.is_some_and(word) || after.is_some_and(word) {
            return None;
        }
        Some((name.range(), vault.kept(&plain)?))
    })
}
