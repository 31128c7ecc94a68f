//! Whether what stands where a value would is one: not what code says, not what stands for a value.

use super::{ENTROPY_MIN, Sign, Value};
use crate::detect::tokens::{entropy, is_random};

/// Words that stand where a value would and are none.
const NONE: &[&str] = &[
    "auth",
    "creds",
    "credentials",
    "options",
    "password",
    "passwd",
    "passwort",
    "pass",
    "pwd",
    "secret",
    "string",
    "str",
    "text",
    "none",
    "null",
    "nil",
    "undefined",
    "true",
    "false",
    "required",
    "optional",
    "hidden",
    "redacted",
    "masked",
    "removed",
    "value",
    "varchar",
    "bytes",
    "bool",
    "object",
    "any",
    "input",
    "hash",
    "hashed",
    "token",
    "key",
    "username",
    "user",
    "admin_password",
    "not",
    "the",
    "a",
    "an",
    "and",
    "or",
    "in",
    "for",
    "to",
    "must",
    "your",
    "enter",
    "field",
    "empty",
    "example",
    "changeme",
    "mot",
    "contraseña",
    "senha",
    "пароль",
    "self",
    "this",
    "int",
];

/// Whether the value can be a password.
pub(crate) fn is_password(value: &Value<'_>) -> bool {
    let text = value.text;
    let ascii = text.is_ascii();
    let short = text.chars().nth(if ascii { 3 } else { 5 }).is_none();
    // Each of these reads the value, and a text can have one behind every few bytes.
    let digits = || if ascii { has_digit(text) } else { text.chars().any(char::is_numeric) };
    let marked = || digits() || text.bytes().any(|byte| MARKS[usize::from(byte)]);
    let mixed = || text.chars().skip(1).any(char::is_uppercase) && text.chars().any(char::is_lowercase);
    let letters = || text.chars().any(char::is_alphabetic);
    let spaced = || text.contains(char::is_whitespace);
    let given = || match value.sign {
        Sign::Equals if value.quoted => !spaced() || marked(),
        Sign::Equals => true,
        Sign::Colon if value.quoted => !spaced() && (ascii || marked()),
        Sign::Colon => marked(),
        Sign::Is => marked() || (ascii && (mixed() || (value.quoted && !spaced() && text.len() >= 6))),
        Sign::Flag => marked() || mixed(),
        Sign::Nothing => {
            let named = text.starts_with("sha") || text.starts_with("base");
            !named && text.len() >= 6 && digits() && letters() && !spaced()
        }
    };
    // These read the value again and again.
    let other = || is_placeholder(text) || is_code(text) || NONE.contains(&text.to_lowercase().as_str());
    !short && given() && !other()
}

/// Punctuation that words do not have.
static MARKS: [bool; 256] = {
    let mut marks = [false; 256];
    let mut at = 0_u8;
    while at < 0x80 {
        marks[at as usize] = at.is_ascii_punctuation() && !matches!(at, b'-' | b'\'' | b'.' | b'_' | b'/' | b':');
        at += 1;
    }
    marks
};

/// Whether a digit is in it, sought many bytes at a time.
pub(crate) fn has_digit(text: &str) -> bool {
    text.as_bytes().chunks(32).any(|chunk| chunk.iter().fold(false, |any, byte| any | byte.is_ascii_digit()))
}

/// Whether the value looks random and is not the name of something.
pub(crate) fn is_secret(text: &str, len_min: usize) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-.~:!@#$%^&*".contains(&byte));
    text.len() >= len_min
        && plain
        && !is_code(text)
        && is_random(text.as_bytes())
        && entropy(text.as_bytes()) >= ENTROPY_MIN
        && !is_placeholder(text)
        && !is_id(text)
}

/// Whether it is what code says, not a value: a call, a path, a variable of a template.
fn is_code(text: &str) -> bool {
    let path = text.contains("://") || text.starts_with(['/', '.']) || text.starts_with("~/");
    let call = text.contains('(')
        || text.contains("[\"")
        || text.contains("['")
        || text.split_once('[').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.'))
        })
        || text.starts_with('[');
    let member = [
        "process.env",
        "os.environ",
        "os.getenv",
        "self.",
        "this.",
        "config.",
        "settings.",
        "env.",
        "args.",
        "req.",
        "request.",
        "user.",
        "secrets.",
        "vault:",
        "data.",
        "form.",
    ];
    path || call || member.iter().any(|start| text.starts_with(start))
}

/// Whether it is a UUID or a time, which names rather than opens.
fn is_id(text: &str) -> bool {
    is_uuid(text) || text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.+TZ".contains(&byte))
}

/// Whether it is a UUID.
pub(crate) fn is_uuid(text: &str) -> bool {
    let formed =
        |(at, byte): (usize, u8)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(formed)
}

/// Whether it says itself that it stands for a value.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let wrapped = text.starts_with(['<', '$', '{', '%', '[']) && text.ends_with(['>', '}', '%', ']', ')'])
        || text.starts_with("${")
        || text.starts_with("{{")
        || text.starts_with("$(")
        || text.starts_with('<')
        || (text.starts_with('$')
            && text[1..].bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            && text.len() > 1);
    let first = text.chars().next();
    let repeated = text.chars().all(|character| Some(character) == first);
    let masked = text.contains("***")
        || text.contains("•")
        || text.contains("...")
        || lower.contains("xxxx")
        || text.contains('…');
    let says = [
        "your_",
        "your-",
        "yourpass",
        "my_password",
        "my-password",
        "_here",
        "-here",
        "placeholder",
        "redacted",
        "change_me",
        "change-me",
        "insert_",
        "replace_",
    ];
    wrapped
        || repeated
        || masked
        || says.iter().any(|word| lower.contains(word))
        || matches!(lower.as_str(), "password" | "pass" | "secret" | "token" | "changeme")
}
