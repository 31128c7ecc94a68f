//! The body of a 2xx before anybody knows what it is: text, JSON, and not an error in disguise.

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::adapter::{Reported, Unusable};
use crate::refusal;

/// A body that is no answer and says nothing of what was used.
pub(crate) fn unusable(message: impl Into<String>) -> Unusable {
    Unusable::bad(message, Reported::default())
}

/// The body as text.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, Unusable> {
    String::from_utf8(bytes).map_err(|_| unusable("a body that is not UTF-8"))
}

/// Reads the text as what is `wanted`.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str, wanted: &str) -> Result<T, Unusable> {
    serde_json::from_str(text).map_err(|error| unusable(describe(text, &error, wanted)))
}

/// Refuses an error that came with the status of an answer.
pub(crate) fn refuse_error(error: Option<&RawValue>) -> Result<(), Unusable> {
    let Some(error) = error else { return Ok(()) };
    let (kind, words) = refusal::error_in_an_answer(error.get().as_bytes());
    Err(Unusable { kind, ..unusable(format!("an error in place of an answer: {words}")) })
}

/// What a body is that is no `wanted`, without a word of it: serde's own messages quote values.
fn describe(text: &str, error: &serde_json::Error, wanted: &str) -> String {
    match text.trim_start().as_bytes().first() {
        None => "an empty body".to_owned(),
        Some(b'<') => "an HTML page".to_owned(),
        Some(_) => match error.classify() {
            Category::Eof => format!("JSON that breaks off after {} bytes", text.len()),
            Category::Syntax | Category::Io => {
                format!("no JSON at line {}, column {}", error.line(), error.column())
            }
            Category::Data => format!("JSON that is no {wanted}"),
        },
    }
}
