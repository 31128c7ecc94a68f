//! Addresses of machines: IPv4, IPv6 and hardware.
//!
//! Left out: what names no machine of its own (0.0.0.0/8, 127.0.0.0/8, `::`, `::1`, masks and broadcasts that begin with
//! 255), versions of four parts after a word that says so, and hardware addresses of one byte repeated.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::numbers::Cluster;
use super::scan::{Rank, Scan};
use super::view::ceil;
use crate::Entity;

/// The longest text of an IPv6 address, with an IPv4 one at its end.
const IPV6_MAX: usize = 45;

/// What says that four numbers are a version or a place in a document, in small letters.
const VERSIONS: [&str; 21] = [
    "version",
    "ver",
    "v",
    "release",
    "firmware",
    "build",
    "section",
    "paragraph",
    "chapter",
    "clause",
    "article",
    "oid",
    "rv",
    "kapitel",
    "abschnitt",
    "revision",
    "版本",
    "バージョン",
    "버전",
    "версия",
    "§",
];

/// What says that they are an address all the same.
const ADDRESSES: [&str; 12] =
    ["ip", "host", "addr", "server", "from", "client", "peer", "gateway", "dns", "http", "ssh", "ping"];

/// How far before the numbers these words are sought.
const VERSION_BEFORE: usize = 40;

/// Looks at the four numbers that begin here.
pub(crate) fn v4(scan: &mut Scan<'_>, cluster: &Cluster<'_>) {
    let groups = cluster.groups();
    let dotted = groups.len() >= 4 && groups[..3].iter().all(|group| group.separator == b'.' && group.len <= 3);
    if !dotted || groups[3].len > 3 || groups[3].separator == b'.' {
        return;
    }
    let range = cluster.range(4);
    let Ok(address) = scan.text[range.clone()].parse::<Ipv4Addr>() else { return };
    let [first, ..] = address.octets();
    if !matches!(first, 0 | 127 | 255) && !is_version(scan.text, &range) {
        scan.saw(Entity::Ipv4, range, Rank::Confirmed);
    }
}

fn is_version(text: &str, range: &Range<usize>) -> bool {
    let before = text[ceil(text, range.start.saturating_sub(VERSION_BEFORE))..range.start].to_lowercase();
    let after = text.as_bytes().get(range.end);
    // A product and its version, as browsers send them: `Chrome/120.0.6099.71`; a requirement: `lib==1.2.3.4`.
    let product = before.ends_with('/')
        && before.chars().rev().nth(1).is_some_and(char::is_alphanumeric)
        && !before.contains("://");
    let required = ["==", ">=", "<=", "~=", "^", "~>", "=>"].iter().any(|sign| before.trim_end().ends_with(sign));
    let packaged = before.ends_with(':')
        && before.split_whitespace().last().is_some_and(|word| word.matches(':').count() > 1 && word.contains('.'));
    if product || required || packaged || matches!(after, Some(b'+' | b'_')) {
        return true;
    }
    let line = before.rsplit("\n\n").next().unwrap_or(&before);
    let mut words: Vec<&str> =
        line.split(|c: char| !c.is_alphanumeric() && c != '§').filter(|word| !word.is_empty()).collect();
    words.reverse();
    let version = words.iter().position(|word| {
        VERSIONS.iter().any(|version| word == version || (!version.is_ascii() && word.contains(version)))
            || is_numbered(word)
    });
    version.is_some_and(|version| {
        !words[..version].iter().any(|word| ADDRESSES.iter().any(|address| word.starts_with(address)))
    })
}

/// Whether it is a `v` and a number.
fn is_numbered(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Looks at the run of hexadecimal digits and colons around this word, and answers where it ends.
pub(crate) fn colons(scan: &mut Scan<'_>, word: &Range<usize>) -> usize {
    let bytes = scan.bytes();
    let belongs = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
    let before = bytes[..word.start].iter().rev().take(IPV6_MAX).take_while(|byte| belongs(byte)).count();
    let behind = bytes[word.end..].iter().take(IPV6_MAX).take_while(|byte| belongs(byte)).count();
    let (start, end) = (word.start - before, word.end + behind);
    let run = &bytes[start..end];
    // What stands before may end in a colon of its own: `addr:2001:db8::1` is not told from an address.
    let start = start + usize::from(run.starts_with(b":") && !run.starts_with(b"::"));
    let joined =
        start.checked_sub(1).is_some_and(|at| bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'.' | b'_'));
    if !joined && run.iter().filter(|&&byte| byte == b':').count() > 1 {
        mac(scan, start, b':');
        v6(scan, start);
    }
    end
}

/// Looks at the pairs by dashes, or groups of four by dots, that this word is one of.
pub(crate) fn hardware(scan: &mut Scan<'_>, word: &Range<usize>) {
    let bytes = scan.bytes();
    let (separator, pairs) = match word.len() {
        2 => (b'-', 5),
        4 => (b'.', 2),
        _ => return,
    };
    if bytes.get(word.end) != Some(&separator) && (word.start == 0 || bytes[word.start - 1] != separator) {
        return;
    }
    let stride = word.len() + 1;
    let is_group =
        |at: usize| bytes[at..at + word.len()].iter().all(u8::is_ascii_hexdigit) && bytes[at + word.len()] == separator;
    let start = (1..=pairs)
        .map_while(|back| word.start.checked_sub(back * stride).filter(|&at| is_group(at)))
        .last()
        .unwrap_or(word.start);
    if separator == b'-' { mac(scan, start, b'-') } else { mac_dotted(scan, start) }
}

fn v6(scan: &mut Scan<'_>, start: usize) {
    if !scan.wanted.has(Entity::Ipv6) {
        return;
    }
    let bytes = scan.bytes();
    let bounded = &bytes[start..bytes.len().min(start + IPV6_MAX + 1)];
    let len = bounded.iter().take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')).count();
    let text = scan.text[start..start + len].trim_end_matches('.');
    // A colon may end the sentence's part.
    let text = if text.ends_with("::") { text } else { text.trim_end_matches(':') };
    let ends = bytes.get(start + text.len()).is_none_or(|after| !after.is_ascii_alphanumeric() && *after != b'_');
    let Ok(address) = text.parse::<Ipv6Addr>() else { return };
    // `a::b` may be a path in code; an address has more to it.
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    if ends && digits && groups >= 2 && !address.is_loopback() && !address.is_unspecified() {
        scan.saw(Entity::Ipv6, start..start + text.len(), Rank::Confirmed);
    }
}

/// Looks at the hardware address that begins here, its bytes separated so.
pub(crate) fn mac(scan: &mut Scan<'_>, start: usize, separator: u8) {
    let bytes = scan.bytes();
    let Some(text) = bytes.get(start..start + 17) else { return };
    let formed = text
        .iter()
        .enumerate()
        .all(|(at, byte)| if at % 3 == 2 { *byte == separator } else { byte.is_ascii_hexdigit() });
    let ends = bytes.get(start + 17).is_none_or(|after| !after.is_ascii_alphanumeric() && *after != separator);
    let starts = start.checked_sub(1).is_none_or(|at| !bytes[at].is_ascii_alphanumeric() && bytes[at] != separator);
    let uniform = text.chunks(3).all(|byte| byte[..2].eq_ignore_ascii_case(&text[..2]));
    if formed && ends && starts && !uniform {
        scan.saw(Entity::MacAddress, start..start + 17, Rank::Confirmed);
    }
}

/// Looks at a hardware address of three groups by dots.
pub(crate) fn mac_dotted(scan: &mut Scan<'_>, start: usize) {
    let bytes = scan.bytes();
    let Some(text) = bytes.get(start..start + 14) else { return };
    let formed =
        text.iter().enumerate().all(|(at, byte)| if at % 5 == 4 { *byte == b'.' } else { byte.is_ascii_hexdigit() });
    let goes_on = bytes.get(start + 14) == Some(&b'.') && bytes.get(start + 15).is_some_and(u8::is_ascii_alphanumeric);
    let ends = !goes_on && bytes.get(start + 14).is_none_or(|after| !after.is_ascii_alphanumeric());
    let letters = text.iter().any(u8::is_ascii_alphabetic);
    if formed && ends && letters {
        scan.saw(Entity::MacAddress, start..start + 14, Rank::Confirmed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn addresses_of_machines_are_found() {
        for address in ["8.8.8.8", "192.168.1.10", "203.0.113.42"] {
            check(Entity::Ipv4, &format!("from {address}."), &[address]);
            check(Entity::Ipv4, &format!("http://{address}:8080/x"), &[address]);
            check(Entity::Ipv4, &format!("{address}/24"), &[address]);
            check(Entity::Ipv4, &format!("{{\"ip\":\"{address}\"}}"), &[address]);
        }
        for address in [
            "2001:db8::8a2e:370:7334",
            "fe80::1ff:fe23:4567:890a",
            "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
            "::ffff:192.0.2.1",
        ] {
            check(Entity::Ipv6, &format!("from {address}."), &[address]);
            check(Entity::Ipv6, &format!("http://[{address}]:80/"), &[address]);
            check(Entity::Ipv6, &format!("addr: {address}: down"), &[address]);
        }
        for address in ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001a.2b3c.4d5e"] {
            check(Entity::MacAddress, &format!("mac {address}."), &[address]);
        }
    }

    #[test]
    fn versions_times_paths_and_places_of_nobody_are_not() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "255.255.255.0",
            "version 1.2.3.4",
            "v1.2.3.4",
            "Chrome/120.0.6099.71",
            "1.2.3",
            "1.2.3.4.5",
            "300.1.1.1",
            "\"version\": \"1.2.3.4\"",
        ] {
            check(Entity::Ipv4, text, &[]);
        }
        for text in ["::1", "::", "std::net", "a::b", "12:30:45", "10:20", "x:y:z", "12:30:45:99"] {
            check(Entity::Ipv6, text, &[]);
            check(Entity::MacAddress, text, &[]);
        }
        for text in ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "00:1A:2B:3C:4D:5E:6F", "00:1A:2B:3C:4D"] {
            check(Entity::MacAddress, text, &[]);
        }
    }
}
