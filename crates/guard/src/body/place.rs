//! What a value of a body is, by where it stands: only what cannot hold a prompt, at places that are known, is left alone.

use crate::body::lexer::{Kind, Lexer, Token};
use crate::policy::Side;

/// An object or array of a body, as far as its place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The body itself.
    Top,
    /// `messages`, or the `input` and `output` of responses and embeddings.
    Items,
    /// One message, or another item of such a list.
    Item,
    /// The parts of a message's content.
    Parts,
    Part,
    /// A picture, a recording, a file.
    Media,
    Calls,
    Call,
    Function,
    Choices,
    Choice,
    /// The list of an answer with embeddings.
    Vectors,
    Vector,
    /// What was used, in numbers.
    Usage,
    /// The tokens of a text that stands elsewhere, with how likely they were.
    Logprobs,
    /// What a response repeats of its request.
    Echo,
    /// Anything else.
    Free,
}

/// What is done with a string or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treat {
    /// It is looked at by itself.
    Text,
    /// It is looked at together with what stands before it, because its field's name is somebody's own.
    Field,
    /// It is the text of one part among others, which are looked at together too.
    PartText,
    /// It is left alone as long as it looks like a name that a machine gave.
    Name,
    /// It is left alone as long as it is base64, or numbers.
    Opaque,
    /// It is an address, or what is sent in place of one.
    Media,
    /// It is the number of a token, which nobody can look at here.
    TokenId,
    /// It was screened with the request: what was redacted there is put back, and nothing is looked for.
    Echo,
    /// It is left alone.
    Fact,
}

/// What stands at a place of a body.
pub(crate) struct Standing<'a> {
    pub(crate) token: Token,
    /// The innermost object or array around it.
    pub(crate) place: Place,
    /// The field's name, as written; of what stands in a list, the list's.
    pub(crate) key: Option<&'a str>,
    /// Whether it is a field of an object, not a member of a list.
    pub(crate) field: bool,
    /// How many objects and arrays are around it, itself not counted.
    pub(crate) depth: usize,
}

struct Frame<'a> {
    place: Place,
    object: bool,
    key: Option<&'a str>,
}

/// Reads a body's tokens with their places.
pub(crate) struct Walk<'a> {
    text: &'a str,
    /// Some places are those of answers only: a request that has them says there what it likes.
    side: Side,
    /// Whether it is a response, which repeats parts of its request.
    echoes: bool,
    lexer: Lexer<'a>,
    around: Vec<Frame<'a>>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(text: &'a str, side: Side) -> Walk<'a> {
        let plain = Walk { text, side, echoes: false, lexer: Lexer::new(text), around: Vec::new() };
        Walk { echoes: side == Side::Answer && is_response(text), ..plain }
    }

    fn open(&mut self, object: bool) {
        let (place, key) = match self.around.last() {
            None => (Place::Top, None),
            Some(frame) if self.echoes && echoed(frame.place, frame.key) => (Place::Echo, frame.key),
            Some(frame) => (inside(self.side, frame.place, frame.key, object), frame.key),
        };
        self.around.push(Frame { place, object, key: if object { None } else { key } });
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Standing<'a>;

    fn next(&mut self) -> Option<Standing<'a>> {
        let token = self.lexer.next()?;
        match token.kind {
            Kind::Close => {
                self.around.pop();
            }
            Kind::Key => {
                if let Some(frame) = self.around.last_mut() {
                    frame.key = self.text.get(token.range.clone());
                }
            }
            Kind::Open { .. } | Kind::String | Kind::Number | Kind::Word => {}
        }
        let (place, key, field) = match self.around.last() {
            None => (Place::Free, None, false),
            Some(frame) if self.echoes && echoed(frame.place, frame.key) => (Place::Echo, frame.key, frame.object),
            Some(frame) => (frame.place, frame.key, frame.object),
        };
        let standing = Standing { place, key, field, depth: self.around.len(), token };
        if let Kind::Open { object } = standing.token.kind {
            self.open(object);
        }
        Some(standing)
    }
}

/// Whether a body says of itself that it is a response and not a completion.
fn is_response(text: &str) -> bool {
    // Most answers do not have the word at all, and are not read twice.
    let mut walk = Walk { text, side: Side::Request, echoes: false, lexer: Lexer::new(text), around: Vec::new() };
    text.contains("\"response\"")
        && walk.any(|standing| {
            let is_object = standing.place == Place::Top && standing.key == Some("object");
            is_object && standing.token.kind == Kind::String && &text[standing.token.range] == "response"
        })
}

/// Whether a response has a part of its request there:
/// <https://platform.openai.com/docs/api-reference/responses/object>.
fn echoed(place: Place, key: Option<&str>) -> bool {
    let of_request =
        place == Place::Top && matches!(key, Some("instructions" | "tools" | "metadata" | "user" | "text" | "prompt"));
    of_request || place == Place::Echo
}

fn inside(side: Side, place: Place, key: Option<&str>, object: bool) -> Place {
    if let Some(of_answer) = of_answer(place, key, object).filter(|_| side == Side::Answer) {
        return of_answer;
    }
    match (place, key, object) {
        (Place::Top, Some("messages" | "input" | "output" | "prompt"), false) => Place::Items,
        (Place::Items, _, true) => Place::Item,
        // Embeddings of several texts, each as a list of token ids.
        (Place::Items, _, false) => Place::Items,
        (Place::Item, Some("content" | "summary" | "output"), false) => Place::Parts,
        (Place::Item, Some("tool_calls"), false) => Place::Calls,
        (Place::Item, Some("function_call"), true) | (Place::Call, Some("function"), true) => Place::Function,
        (Place::Calls, _, true) => Place::Call,
        (Place::Parts, _, true) => Place::Part,
        (Place::Part, Some("image_url" | "input_audio" | "file"), true) => Place::Media,
        _ => Place::Free,
    }
}

/// The places that only answers have.
fn of_answer(place: Place, key: Option<&str>, object: bool) -> Option<Place> {
    Some(match (place, key, object) {
        (Place::Top, Some("choices"), false) => Place::Choices,
        (Place::Top, Some("data"), false) => Place::Vectors,
        (Place::Top, Some("usage"), true) | (Place::Usage, _, _) => Place::Usage,
        (Place::Choices, _, true) => Place::Choice,
        (Place::Choice, Some("message" | "delta"), true) => Place::Item,
        (Place::Choice | Place::Part, Some("logprobs"), _) | (Place::Logprobs, _, _) => Place::Logprobs,
        (Place::Vectors, _, true) => Place::Vector,
        (Place::Vector, Some("embedding"), _) => Place::Usage,
        _ => return None,
    })
}

impl Standing<'_> {
    /// What is done with it, if it is a string or number.
    pub(crate) fn treat(&self) -> Treat {
        if self.token.kind == Kind::Number {
            return self.treat_number();
        }
        let key = self.key.unwrap_or_default();
        match (self.place, key) {
            (Place::Echo, _) => Treat::Echo,
            (Place::Top, "model" | "object" | "id" | "system_fingerprint" | "service_tier" | "status")
            | (Place::Top, "previous_response_id" | "encoding_format" | "reasoning_effort")
            | (Place::Item, "role" | "type" | "id" | "tool_call_id" | "call_id" | "status" | "object")
            | (Place::Part, "type" | "detail" | "id")
            | (Place::Media, "detail" | "format" | "file_id")
            | (Place::Call, "id" | "type")
            | (Place::Choice, "finish_reason" | "native_finish_reason" | "stop_reason")
            | (Place::Vector, "object" | "id")
            | (Place::Usage, _) => Treat::Name,
            (Place::Item, "encrypted_content") | (Place::Part | Place::Item, "signature") => Treat::Opaque,
            (Place::Vector, "embedding") => Treat::Opaque,
            (Place::Media, "url" | "data" | "file_data") | (Place::Part, "image_url" | "file_data") => Treat::Media,
            (Place::Part, "text" | "refusal") => Treat::PartText,
            (Place::Logprobs, "token" | "tokens") => Treat::Fact,
            _ if self.field && !is_known(key) => Treat::Field,
            _ if !self.field && self.place == Place::Free && !is_known(key) => Treat::Field,
            _ => Treat::Text,
        }
    }

    fn treat_number(&self) -> Treat {
        match self.place {
            Place::Items => Treat::TokenId,
            // Of the body itself, the choices and what was used, numbers are settings and counts.
            Place::Top | Place::Echo | Place::Choice | Place::Usage | Place::Logprobs | Place::Vector => Treat::Fact,
            _ => Treat::Field,
        }
    }
}

/// The names of the protocol's own fields, sorted.
#[rustfmt::skip]
const KNOWN: [&str; 72] = [
    "additionalProperties", "annotations", "anyOf", "arguments", "audio", "cache_control", "call_id", "choices",
    "content", "data", "default", "delta", "description", "detail", "encrypted_content", "enum", "file", "file_data",
    "filename", "finish_reason", "format", "function", "function_call", "functions", "id", "image_url", "include",
    "index", "input", "input_audio", "instructions", "items", "json_schema", "logprobs", "max_tokens", "message",
    "messages", "metadata", "model", "name", "object", "output", "parallel_tool_calls", "parameters", "parts",
    "prediction", "prompt", "properties", "reasoning", "reasoning_content", "reasoning_details", "refusal",
    "required", "response_format", "role", "safety_identifier", "schema", "status", "stop", "strict", "summary",
    "text", "thinking", "title", "tool_call_id", "tool_calls", "tool_choice", "tools", "type", "url", "usage", "user",
];

/// Whether a field's name is one of the protocol's own, which says nothing about its value.
pub(crate) fn is_known(key: &str) -> bool {
    KNOWN.binary_search(&key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_fields_are_sorted_to_be_searched() {
        assert!(KNOWN.is_sorted() && KNOWN.iter().all(|name| is_known(name)));
    }

    #[test]
    fn what_is_done_with_a_value_depends_on_where_it_stands() {
        let body = r#"{"model":"gpt-x","user":"u","max_tokens":1234,"metadata":{"role":"a","card":4111},
            "messages":[{"role":"user","content":[{"type":"text","text":"p"},{"type":"image_url","image_url":{"url":"d"}}]},
                {"role":"tool","tool_call_id":"c","content":"r"}],"input":[[1,2],"e"]}"#;
        let treated: Vec<(&str, Treat)> = Walk::new(body, Side::Request)
            .filter(|standing| matches!(standing.token.kind, Kind::String | Kind::Number))
            .map(|standing| (&body[standing.token.range.clone()], standing.treat()))
            .collect();
        let expected = [
            ("gpt-x", Treat::Name),
            ("u", Treat::Text),
            ("1234", Treat::Fact),
            ("a", Treat::Text),
            ("4111", Treat::Field),
            ("user", Treat::Name),
            ("text", Treat::Name),
            ("p", Treat::PartText),
            ("image_url", Treat::Name),
            ("d", Treat::Media),
            ("tool", Treat::Name),
            ("c", Treat::Name),
            ("r", Treat::Text),
            ("1", Treat::TokenId),
            ("2", Treat::TokenId),
            ("e", Treat::Text),
        ];
        assert_eq!(treated, expected);
    }
}
