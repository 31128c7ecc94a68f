//! What is said to be a password, key or token: a word for it, a sign, and a value.

mod judge;

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::context::is_word;
use super::scan::{Rank, Scan};
use super::view::{ceil, floor};
use crate::Entity;
use judge::{is_password, is_secret, is_uuid};

pub(crate) use judge::{has_digit, is_placeholder};

/// The longest value that is read.
const VALUE_MAX: usize = 256;

/// The fewest bytes of a value that only its randomness speaks for, and the bits a byte that it needs.
const RANDOM_MIN: usize = 16;
const ENTROPY_MIN: f64 = 3.5;

/// What a word says that its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Password,
    /// A key or token of any service.
    Secret,
    /// A key of a service that is named beside it.
    Key,
    /// A user's name and password, as `curl` takes them.
    User,
    /// Both, in base64, as a header of HTTP.
    Basic,
}

/// What stands before a user's name and password.
pub(crate) const USERS: [&str; 4] = [" -u ", " --user ", " -u", " --user="];

/// What stands before both in base64.
pub(crate) const BASIC: [&str; 1] = ["basic "];

/// Looks behind the word that stands here.
pub(crate) fn at(scan: &mut Scan<'_>, word: Range<usize>, kind: Kind) {
    let entity = match kind {
        Kind::Password | Kind::User => Entity::Password,
        Kind::Secret | Kind::Basic => Entity::GenericSecret,
        Kind::Key => Entity::ApiKey,
    };
    if !scan.wanted.has(entity) {
        return;
    }
    let found = match kind {
        Kind::User => user(scan.text, word.end),
        Kind::Basic => basic(scan.text, word.end),
        Kind::Password | Kind::Secret | Kind::Key => named(scan.text, &word, kind),
    };
    if let Some(range) = found {
        scan.saw(entity, range, Rank::Formed);
    }
}

/// What the word here names, if it is a value of its kind.
fn named(text: &str, word: &Range<usize>, kind: Kind) -> Option<Range<usize>> {
    if !begins(text.as_bytes(), word) {
        return None;
    }
    let value = value(text, word, kind).or_else(|| column(text, word))?;
    let taken = match kind {
        // Tests pass, too.
        Kind::Password if is_verb(text, word, value.sign) => false,
        Kind::Password => is_password(&value),
        // What is a key by its name can be a UUID.
        Kind::Secret if names_key(&text[word.clone()]) && is_uuid(value.text) => true,
        _ => is_secret(value.text, if kind == Kind::Key { 20 } else { RANDOM_MIN }),
    };
    taken.then_some(value.range)
}

/// Whether it is the word `pass`, and no name: `PASS: suite`.
fn is_verb(text: &str, word: &Range<usize>, sign: Sign) -> bool {
    let bytes = text.as_bytes();
    let named = word.start > 0 && b"_\"'-.".contains(&bytes[word.start - 1]);
    &text[word.clone()] == "PASS" && sign != Sign::Equals && !named
}

fn names_key(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.starts_with("api") || word.contains("access")
}

/// The password of `user:password` that begins here.
fn user(text: &str, from: usize) -> Option<Range<usize>> {
    let from = spaces(text.as_bytes(), from);
    let from = from + usize::from(text.as_bytes().get(from).is_some_and(|byte| b"'\"".contains(byte)));
    let bounded = &text.as_bytes()[from..text.len().min(from + VALUE_MAX)];
    let len =
        bounded.iter().position(|byte| byte.is_ascii_whitespace() || b"'\"\\".contains(byte)).unwrap_or(bounded.len());
    let (user, password) = text.get(from..from + len)?.split_once(':')?;
    let named = !user.is_empty() && user.len() <= 64 && !user.contains(['/', '=', '$', '<']);
    let plain = password.len() > 3
        && !is_placeholder(password)
        && password != user
        && !password.bytes().all(|byte| byte.is_ascii_digit());
    (named && plain).then(|| from + len - password.len()..from + len)
}

/// The base64 of `user:password` that begins here.
fn basic(text: &str, from: usize) -> Option<Range<usize>> {
    let bounded = &text.as_bytes()[from..text.len().min(from + VALUE_MAX)];
    let len = bounded.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).count();
    let decoded = STANDARD.decode(&bounded[..len]).ok()?;
    let printable = decoded.iter().all(|byte| byte.is_ascii_graphic());
    (len >= 8 && printable && decoded.contains(&b':')).then(|| from..from + len)
}

/// The value in the row below, if the word is in a header of columns.
fn column<'t>(text: &'t str, word: &Range<usize>) -> Option<Value<'t>> {
    let bytes = text.as_bytes();
    if !matches!(bytes.get(word.end), Some(b',' | b'\n' | b'\r')) {
        return None;
    }
    let before = &text[ceil(text, word.start.saturating_sub(VALUE_MAX))..word.start];
    let header = before.rsplit('\n').next()?;
    let line_end = word.end + bytes[word.end..].iter().take(VALUE_MAX).position(|&byte| byte == b'\n')?;
    let row = &text[line_end + 1..floor(text, line_end + 1 + VALUE_MAX)];
    let row = row.lines().next()?;
    let columns = text[..line_end].len() - word.end;
    if !header.contains(',') && columns == 0 {
        return None;
    }
    let mut at = line_end + 1;
    let cell = row.split(',').nth(header.matches(',').count())?;
    at += row.split(',').take(header.matches(',').count()).map(|cell| cell.len() + 1).sum::<usize>();
    let plain = !cell.is_empty() && !cell.contains([' ', '"']);
    plain.then(|| Value { text: cell, range: at..at + cell.len(), quoted: false, sign: Sign::Colon })
}

/// Whether the word begins here; what goes before it in a name (`db_password`, `myPassword`) is part of the name.
fn begins(bytes: &[u8], word: &Range<usize>) -> bool {
    let joined = word.start > 0 && bytes[word.start - 1].is_ascii_alphanumeric();
    is_word(bytes, word) || (joined && word.len() > 5)
}

/// What stands behind a sign of assignment.
struct Value<'t> {
    text: &'t str,
    range: Range<usize>,
    quoted: bool,
    /// What gives it: `=`, `:`, or a word such as `is`.
    sign: Sign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Equals,
    Colon,
    Is,
    /// A space behind a flag of a command.
    Flag,
    /// A space.
    Nothing,
}

/// Ways to say that a word has a value.
const IS: [&str; 26] = [
    "is now",
    "is set to",
    "was changed to",
    "has been reset to",
    "is",
    "was",
    "to",
    "lautet",
    "ist",
    "est",
    "es",
    "é",
    "è",
    "jest",
    "är",
    "er",
    "on",
    "это",
    "是",
    "为",
    "は",
    "は「",
    "는",
    "은",
    "هي",
    "है",
];

fn value<'t>(text: &'t str, word: &Range<usize>, kind: Kind) -> Option<Value<'t>> {
    let bytes = text.as_bytes();
    let mut at = rest_of_name(bytes, word.end, kind)?;
    let quoted = bytes.get(at).is_some_and(|byte| b"\"'".contains(byte));
    at += bytes[at..].iter().take(3).take_while(|byte| b"\"'`*]\\".contains(byte)).count();
    at = spaces(bytes, at);
    // A default behind the name: `get("api_token", "…")`.
    let argument = kind != Kind::Password
        && quoted
        && bytes.get(at) == Some(&b',')
        && bytes.get(at + 1..at + 3).is_some_and(|next| b" \"'".contains(&next[0]));
    let (sign, mut at) = sign(text, at)
        .or_else(|| element(text, word, at))
        .or_else(|| argument.then_some((Sign::Equals, at + 1)))
        .or_else(|| (bytes.get(word.end) == Some(&b' ')).then(|| (follows(text, word), at)))?;
    at = spaces(bytes, at);
    let opening = bytes[at..].iter().take(3).take_while(|byte| b"\"'`*\\".contains(byte)).count();
    at += opening;
    let bounded = &bytes[at..bytes.len().min(at + VALUE_MAX)];
    let quote = (opening > 0).then(|| bytes[at - 1]).filter(|quote| *quote != b'*');
    let ends = |byte: &u8| match quote {
        Some(quote) => *byte == quote || *byte == b'\\' || *byte == b'\n',
        None => ENDS[usize::from(*byte)] || (*byte == b'&' && sign == Sign::Equals),
    };
    let mut len = bounded.iter().position(ends).unwrap_or(bounded.len());
    while !text.is_char_boundary(at + len) {
        len -= 1;
    }
    let mut value = &text[at..at + len];
    if quote.is_none() {
        value = value.trim_end_matches(['.', ':', '*', ']', '}', '?']);
        if !value.is_ascii() {
            value = value.split(['，', '。', '、', '；', '」', '）']).next().unwrap_or(value);
        }
    }
    (!value.is_empty()).then(|| Value { text: value, range: at..at + value.len(), quoted: quote.is_some(), sign })
}

/// What ends a value without quotes.
static ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let bytes = b" \t\n\x0C\r\"'`,;<>|)\\";
    let mut at = 0;
    while at < bytes.len() {
        ends[bytes[at] as usize] = true;
        at += 1;
    }
    ends
};

/// The content of the element that the word names: `<password>x</password>`.
fn element(text: &str, word: &Range<usize>, at: usize) -> Option<(Sign, usize)> {
    let bytes = text.as_bytes();
    let opened = bytes.get(at) == Some(&b'>') && bytes[..word.start].ends_with(b"<");
    let content = bytes.get(at + 1..bytes.len().min(at + 1 + VALUE_MAX))?;
    let closed = content.iter().position(|&byte| byte == b'<').is_some_and(|end| content[end..].starts_with(b"</"));
    (opened && closed).then_some((Sign::Equals, at + 1))
}

/// What a value without a sign is taken for: `--password x` gives it, `password x` only says so.
fn follows(text: &str, word: &Range<usize>) -> Sign {
    if text.as_bytes()[..word.start].ends_with(b"--") { Sign::Flag } else { Sign::Nothing }
}

/// Where the name ends that the word is part of: `password2` and `api_token_123` name the same, `password_hash` another.
fn rest_of_name(bytes: &[u8], from: usize, kind: Kind) -> Option<usize> {
    const OTHERS: [&[u8]; 14] = [
        b"hash", b"id", b"count", b"type", b"name", b"url", b"len", b"expir", b"path", b"file", b"uri", b"arn",
        b"version", b"ref",
    ];
    let len = bytes[from..].iter().take(28).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let rest = bytes[from..from + len].to_ascii_lowercase();
    let plain = rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b's');
    let other = OTHERS.iter().any(|other| memchr::memmem::find(&rest, other).is_some());
    (plain || (kind != Kind::Password && !other)).then_some(from + len)
}

fn spaces(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take(4).take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

fn sign(text: &str, at: usize) -> Option<(Sign, usize)> {
    let rest = text.get(at..)?;
    let signs = [
        (":=", Sign::Equals),
        ("=>", Sign::Equals),
        ("->", Sign::Equals),
        ("==", Sign::Equals),
        ("=", Sign::Equals),
        (":", Sign::Colon),
        ("：", Sign::Colon),
    ];
    if let Some((sign, kind)) = signs.iter().find(|(sign, _)| rest.starts_with(sign)) {
        return Some((*kind, at + sign.len()));
    }
    let said = IS.iter().find(|is| {
        rest.get(..is.len()).is_some_and(|start| start.eq_ignore_ascii_case(is))
            && (!is.is_ascii() || rest.as_bytes().get(is.len()).is_some_and(|byte| b" :".contains(byte)))
    })?;
    let end = at + said.len();
    Some((Sign::Is, end + usize::from(rest.as_bytes().get(said.len()) == Some(&b':'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn passwords_are_found_behind_their_word() {
        check(Entity::Password, "password = hunter2", &["hunter2"]);
        check(Entity::Password, "password: \"Tr0ub4dor&3\"", &["Tr0ub4dor&3"]);
        check(Entity::Password, "{\"password\":\"letmein\"}", &["letmein"]);
        check(Entity::Password, "DB_PASSWORD=s3cr3t!", &["s3cr3t!"]);
        check(Entity::Password, "my password is hunter2.", &["hunter2"]);
        check(Entity::Password, "pwd: Qwerty123", &["Qwerty123"]);
        check(Entity::Password, "Das Passwort lautet Sommer2024!", &["Sommer2024!"]);
        check(Entity::Password, "密码是abc12345", &["abc12345"]);
        check(Entity::Password, "пароль: Zima2024", &["Zima2024"]);
        check(Entity::Password, "ma contraseña es Gato1234", &["Gato1234"]);
        check(Entity::Password, "Server=x;Uid=sa;Pwd=Passw0rd1;", &["Passw0rd1"]);
    }

    #[test]
    fn what_stands_for_a_password_is_not() {
        for text in [
            "password = ****",
            "password: <password>",
            "password=${PASSWORD}",
            "password = your_password",
            "password = process.env.DB",
            "password = get_password()",
            "password: string",
            "password: Optional[str]",
            "the password is required",
            "password: str = None",
            "Password: must be at least eight characters",
            "password_hash",
            "forgot your password?",
            "{\"type\": \"password\", \"x\": 1}",
            "<input type=\"password\" name=\"x\">",
            "passwords are hard to remember",
            "compass: north",
        ] {
            check(Entity::Password, text, &[]);
        }
    }

    #[test]
    fn secrets_are_found_if_they_look_random() {
        check(
            Entity::GenericSecret,
            "api_key = 'a8f5f167f44f4964e6c998dee827110c'",
            &["a8f5f167f44f4964e6c998dee827110c"],
        );
        check(Entity::GenericSecret, "CLIENT_SECRET=Zx9-kQ2_pLm84TtRsVwY", &["Zx9-kQ2_pLm84TtRsVwY"]);
        check(
            Entity::ApiKey,
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzz1234567",
            &["wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzz1234567"],
        );
        for text in [
            "token: the_next_token_is",
            "api_key = os.environ['KEY_1234567890']",
            "secret: 550e8400-e29b-41d4-a716-446655440000",
            "token = 1700000000000000000",
        ] {
            check(Entity::GenericSecret, text, &[]);
        }
    }
}
