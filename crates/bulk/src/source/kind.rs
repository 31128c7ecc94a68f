//! What a file is, by the names of the fields that it begins with.

/// Why a file is no batch.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[source] std::io::Error),
    /// There is nothing in it.
    #[error("it is empty; a batch has at least one request")]
    Empty,
    /// It is in a format of somebody whose requests we do not take.
    #[error("it looks like {0}, which is not taken; bring it into OpenAI's batch format")]
    Foreign(&'static str),
    /// It is in no format that we know.
    #[error(
        "it is neither OpenAI's batch format (lines with `custom_id`, `method`, `url` and `body`) nor Anthropic's (a \
         document with `requests`, or lines with `custom_id` and `params`)"
    )]
    Unknown,
    /// It is compressed or encoded in another way.
    #[error("it looks like {0}; give it as plain UTF-8")]
    Encoded(&'static str),
    /// It is a document that cannot be taken apart.
    #[error("the document cannot be read: {0}")]
    Document(String),
}

/// How requests stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    OpenAiLines,
    AnthropicLines,
    AnthropicDocument,
}

/// What a file is that begins with `head`.
pub(super) fn kind(head: &[u8]) -> Result<Kind, Unreadable> {
    let head = head.trim_ascii_start();
    match head {
        [] => return Err(Unreadable::Empty),
        [0x1f, 0x8b, ..] => return Err(Unreadable::Encoded("gzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(Unreadable::Encoded("zstd")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] => return Err(Unreadable::Encoded("UTF-16")),
        _ => {}
    }
    let names = names(head);
    let has = |name: &str| names.iter().any(|found| found == name);
    if has("requests") {
        Ok(Kind::AnthropicDocument)
    } else if has("params") {
        Ok(Kind::AnthropicLines)
    } else if has("body") || has("url") || has("method") {
        Ok(Kind::OpenAiLines)
    } else if has("recordId") || has("modelInput") {
        Err(Unreadable::Foreign("Bedrock's batch format"))
    } else if has("request") {
        Err(Unreadable::Foreign("Gemini's batch format"))
    } else if head.starts_with(b"{") && has("custom_id") {
        // Each line will be told what it lacks.
        Ok(Kind::OpenAiLines)
    } else {
        Err(Unreadable::Unknown)
    }
}

/// The names of the fields of the first object, as far as they can be seen.
fn names(head: &[u8]) -> Vec<String> {
    let (mut names, mut depth, mut text, mut escaped) = (Vec::new(), 0_usize, None::<Vec<u8>>, false);
    let mut last = None;
    for &byte in head {
        match &mut text {
            Some(so_far) if escaped => {
                so_far.push(byte);
                escaped = false;
            }
            Some(_) if byte == b'\\' => escaped = true,
            Some(_) if byte == b'"' => last = text.take(),
            Some(so_far) => so_far.push(byte),
            None => match byte {
                b'"' => text = Some(Vec::new()),
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth <= 1 => break,
                b'}' | b']' => depth -= 1,
                b':' if depth == 1 => names.extend(last.take().and_then(|name| String::from_utf8(name).ok())),
                _ => {}
            },
        }
    }
    names
}
