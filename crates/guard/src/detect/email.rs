//! E-mail addresses.
//!
//! The local part may be Unicode and the domain internationalised. Not taken: addresses without a top-level domain, names
//! of files (`user@2x.png`), packages with a version (`react@18.2.0`), the `git@host:` of a repository, which says nobody's
//! name, and the password before the host of a URL.

use std::ops::Range;

use super::scan::{Rank, Scan};
use super::view::is_unspaced;
use crate::Entity;

/// The most bytes of an address (RFC 5321) and of its parts.
const ADDRESS_MAX: usize = 254;
const LOCAL_MAX: usize = 64;
const LABEL_MAX: usize = 63;

/// How far before an address the `://` of a URL is sought.
const SCHEME_MAX: usize = 64;

/// Endings of file names that stand where a top-level domain would.
const FILES: [&str; 28] = [
    "png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "ico", "avif", "js", "mjs", "cjs", "ts", "tsx", "jsx", "css",
    "scss", "less", "json", "xml", "yaml", "yml", "toml", "html", "htm", "pdf", "txt", "lock",
];

/// Looks at the `@` at this place.
pub(crate) fn at(scan: &mut Scan<'_>, place: usize) {
    if !scan.wanted.has(Entity::Email) {
        return;
    }
    if let Some(range) = address(scan.text, place) {
        scan.saw(Entity::Email, range, Rank::Formed);
    }
}

fn address(text: &str, at: usize) -> Option<Range<usize>> {
    let start = local_start(text, at)?;
    let end = domain_end(text, at + 1)?;
    let fits = end - start <= ADDRESS_MAX;
    (fits && !is_repository(text, start, at, end) && !is_userinfo(text, start)).then_some(start..end)
}

fn local_start(text: &str, at: usize) -> Option<usize> {
    let unspaced = text[..at].chars().next_back().is_some_and(is_unspaced);
    let mut start = at;
    for (place, character) in text[..at].char_indices().rev() {
        if at - place > LOCAL_MAX || !is_local(character) || (!unspaced && is_unspaced(character)) {
            break;
        }
        start = place;
    }
    let local = &text[start..at];
    let trimmed = local
        .trim_start_matches(['.', '\'', '*', '`', '{', '}', '|', '=', '/', '?', '&', '~', '^', '#', '!', '$', '%']);
    // What stands before `=` or `/` is the name of a field or a path.
    let trimmed = trimmed.rsplit(['=', '/', '?', '&', '|', '`']).next().unwrap_or(trimmed);
    let plausible = trimmed.chars().any(char::is_alphanumeric) && !trimmed.ends_with('.') && !trimmed.contains("..");
    plausible.then(|| at - trimmed.len())
}

fn is_local(character: char) -> bool {
    character.is_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(character)
}

/// Where the domain ends that begins at this place, if it is one.
fn domain_end(text: &str, start: usize) -> Option<usize> {
    let bounded = &text[start..];
    let unspaced = bounded.chars().next().is_some_and(is_unspaced);
    let end = bounded
        .char_indices()
        .take_while(|&(at, character)| {
            at <= ADDRESS_MAX
                && (character == '.' || character == '-' || character.is_alphanumeric())
                && (unspaced || !is_unspaced(character))
        })
        .map(|(at, character)| at + character.len_utf8())
        .last()?;
    let domain = bounded[..end].trim_end_matches(['.', '-']);
    let mut labels = 0;
    for label in domain.split('.') {
        if label.is_empty() || label.len() > LABEL_MAX || label.starts_with('-') || label.ends_with('-') {
            return None;
        }
        labels += 1;
    }
    let top = domain.rsplit('.').next()?;
    (labels > 1 && is_top_level(top)).then(|| start + domain.len())
}

fn is_top_level(label: &str) -> bool {
    let lower = label.to_ascii_lowercase();
    if let Some(encoded) = lower.strip_prefix("xn--") {
        return encoded.len() > 1;
    }
    let letters = label.chars().count();
    let sized = if label.is_ascii() { (2..=18).contains(&letters) } else { (1..=18).contains(&letters) };
    sized && label.chars().all(char::is_alphabetic) && !FILES.contains(&lower.as_str())
}

/// Whether it is the `git@host:owner/name` of a repository, or a call of what only looks like a domain.
fn is_repository(text: &str, start: usize, at: usize, end: usize) -> bool {
    let next = text.as_bytes().get(end);
    let repository = matches!(&text[start..at], "git" | "hg" | "svn") && matches!(next, Some(b':' | b'/'));
    repository || next == Some(&b'(')
}

/// Whether it stands between the `://` and the host of a URL.
fn is_userinfo(text: &str, start: usize) -> bool {
    let bytes = &text.as_bytes()[start.saturating_sub(SCHEME_MAX)..start];
    let word =
        bytes.iter().rposition(|byte| byte.is_ascii_whitespace() || b"\"'<>()".contains(byte)).map_or(0, |at| at + 1);
    let word = &bytes[word..];
    memchr::memmem::rfind(word, b"://")
        .is_some_and(|scheme| !word[scheme + 3..].iter().any(|byte| b"/?#".contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let at = text.find('@').unwrap();
        assert_eq!(address(text, at).map(|range| &text[range]), expected, "{text}");
    }

    #[test]
    fn addresses_are_found_whole() {
        check("write to joe.bloggs+x@mail.example.com.", Some("joe.bloggs+x@mail.example.com"));
        check("<o'neil@example.org>", Some("o'neil@example.org"));
        check("{\"email\":\"a@b.io\"}", Some("a@b.io"));
        check("mailto:joe@example.com?subject=x", Some("joe@example.com"));
        check("?email=joe@example.com&x=1", Some("joe@example.com"));
        check("josé@müller.de", Some("josé@müller.de"));
        check("用户@例子.广告", Some("用户@例子.广告"));
        check("请写信给joe@example.com谢谢", Some("joe@example.com"));
        check("joe@xn--mller-kva.xn--p1ai", Some("joe@xn--mller-kva.xn--p1ai"));
    }

    #[test]
    fn what_only_has_an_at_is_not() {
        for text in [
            "foo@bar",
            "icon@2x.png",
            "user@2x.png",
            "react@18.2.0",
            "@scope/pkg.name",
            "@app.route",
            "a@b.c",
            "git@github.com:org/repo.git",
            "https://joe:secret@example.com/",
            "x@.com",
            "x@a..com",
            "name@ example.com",
            "foo.@example.com",
            "w@x.sum()",
        ] {
            check(text, None);
        }
    }
}
