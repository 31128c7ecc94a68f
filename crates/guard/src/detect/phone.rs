//! Phone numbers, as the numbering plans of `libphonenumber` know them.
//!
//! Taken: international ones with their `+` or `00`, national ones of one country grouped as phone numbers are, and bare
//! digits only near a word that says so. Not taken: ranges of years, dates, prices, decimals, parts of longer numbers.

use std::ops::Range;

use phonenumber::country;

use super::scan::{Rank, Scan};
use crate::Entity;

/// The most digits of a number with its country (E.164), and the fewest that are taken.
const DIGITS_MAX: usize = 15;
const DIGITS_MIN: usize = 7;

/// The most bytes of a written number, signs between its groups counted.
const BYTES_MAX: usize = 34;

/// How near a word must be for a number without any form of its own.
const CLOSE_MAX: usize = 10;

/// What is written like a phone number.
struct Written {
    range: Range<usize>,
    digits: usize,
    groups: usize,
    international: bool,
    /// Whether a dot is the only sign between its groups.
    dotted: bool,
    /// Whether other digits stand before it, a space apart.
    behind_digits: bool,
}

/// Looks at the digit that begins a word here, and answers where it read to if it was one.
pub(crate) fn at(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    if !scan.wanted.has(Entity::Phone) {
        return None;
    }
    if !is_begun(scan.bytes(), start) {
        return None;
    }
    let written = read(scan.bytes(), start)?;
    let range = written.range.clone();
    let plus = scan.bytes()[range.start] == b'+';
    let grouped = written.groups > 1 && scan.phone_country.is_some();
    // Nearly all numbers of a text end here, before a word is sought.
    if !plus && !is_plausible(scan.bytes(), &written) {
        return None;
    }
    let said = scan.distance(Entity::Phone, &range);
    let taken = match said {
        Some(distance) => plus || distance <= CLOSE_MAX || is_valid(scan, &written) || is_dialled(scan, &written),
        None if plus => is_valid(scan, &written),
        None if scan.is_other(Entity::Phone, &range) || written.behind_digits => false,
        // Without a separator 00 begins any number padded with zeros.
        None if written.international => written.groups > 1 && is_valid(scan, &written),
        None => grouped && is_grouped(scan, &written) && is_valid(scan, &written),
    };
    taken.then(|| note(scan, range, said))
}

/// Whether as many bytes as the fewest digits follow that are digits or stand between them: nearly all numbers of a text
/// are shorter.
fn is_begun(bytes: &[u8], start: usize) -> bool {
    let belongs = |&byte: &u8| matches!(byte, b'0'..=b'9' | b' ' | b'-' | b'.' | b'/' | b'(' | b')');
    bytes.get(start..start + DIGITS_MIN).is_some_and(|head| head.iter().all(belongs))
}

/// Whether it is written as one that is dialled within a country, whichever: a zero or a bracket first, or many groups.
fn is_dialled(scan: &Scan<'_>, written: &Written) -> bool {
    let text = &scan.text[written.range.clone()];
    let lens = lens(text);
    text.starts_with(['0', '(']) || (lens.len() > 2 && lens.iter().skip(1).all(|&len| len > 1))
}

fn note(scan: &mut Scan<'_>, range: Range<usize>, said: Option<usize>) -> usize {
    let end = range.end;
    let rank = if said.is_some() { Rank::Said } else { Rank::Formed };
    scan.saw_at(Entity::Phone, range, rank, said.unwrap_or(0));
    end
}

/// Reads what begins with the digit here: digits, single signs between their groups, one area code in brackets.
fn read(bytes: &[u8], digit: usize) -> Option<Written> {
    let start = opening(bytes, digit)?;
    let plus = bytes[start] == b'+';
    let (mut at, mut end, mut digits, mut groups, mut dots, mut signs) = (digit, digit, 0, 0, 0, 0);
    while at < bytes.len() && at - start < BYTES_MAX {
        let group = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if group == 0 || digits + group > DIGITS_MAX + 2 {
            break;
        }
        digits += group;
        groups += 1;
        end = at + group;
        let sign = bytes[end..].iter().take(3).take_while(|byte| b" -./()".contains(byte)).count();
        let signs_here = &bytes[end..end + sign];
        let known =
            matches!(signs_here, b" " | b"-" | b"." | b"/" | b") " | b" (" | b")" | b"(" | b" - " | b")-" | b" / ");
        if !known || !bytes.get(end + sign).is_some_and(u8::is_ascii_digit) {
            break;
        }
        dots += usize::from(signs_here == b".");
        signs += 1;
        at = end + sign;
    }
    let next = bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    let longer = match bytes.get(end) {
        // An extension.
        Some(b'x' | b'X') => !next,
        Some(b'.' | b'-' | b'/' | b':') => next,
        Some(b',') => next && !plus,
        Some(byte) => byte.is_ascii_alphanumeric() || b"%$_".contains(byte),
        None => false,
    };
    let behind_digits = !plus && start > 1 && bytes[start - 1] == b' ' && bytes[start - 2].is_ascii_digit();
    let zeros = !plus && bytes[digit..].starts_with(b"00") && !bytes[digit..].starts_with(b"000");
    let enough = (DIGITS_MIN..=DIGITS_MAX + if zeros { 2 } else { 0 }).contains(&digits);
    let end = end + extension(&bytes[end..]);
    let written = Written {
        range: start..end,
        digits,
        groups,
        international: plus || zeros,
        dotted: signs > 0 && dots == signs,
        behind_digits,
    };
    // A list of single digits is none.
    let grouped = digits + if plus { 3 } else { 1 } >= 2 * groups;
    (enough && grouped && !longer).then_some(written)
}

/// How long the extension is that follows: `x482`.
fn extension(bytes: &[u8]) -> usize {
    let digits = bytes.iter().skip(1).take(6).take_while(|byte| byte.is_ascii_digit()).count();
    if matches!(bytes.first(), Some(b'x' | b'X')) && (1..6).contains(&digits) { 1 + digits } else { 0 }
}

/// Where the number begins whose first digit is here: at its `+` or bracket; none if it is part of another.
fn opening(bytes: &[u8], digit: usize) -> Option<usize> {
    let mut start = digit;
    if start > 0 && bytes[start - 1] == b'(' {
        start -= 1;
    }
    if start > 0 && bytes[start - 1] == b'+' {
        start -= 1;
    }
    let before = start.checked_sub(1).map(|at| bytes[at]);
    let two_before = start.checked_sub(2).map(|at| bytes[at]);
    let joined = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"$#%_".contains(&byte))
        || (matches!(before, Some(b'.' | b'-' | b'/')) && two_before.is_some_and(|byte| byte.is_ascii_alphanumeric()))
        || (before == Some(b',') && bytes[start] != b'+' && two_before.is_some_and(|byte| byte.is_ascii_digit()))
        || matches!(before, Some(b'-' | b'+' | b'^' | b'~'));
    (!joined).then_some(start)
}

/// Whether the numbering plan has room for it, or it is grouped as nothing else is: `+1 (555) 123-4567` is nobody's number
/// and still written as one.
///
/// Of a text with more than can be looked up, the others are taken to be valid: too much is found rather than too little.
fn is_valid(scan: &Scan<'_>, written: &Written) -> bool {
    if !scan.may_plan() {
        return true;
    }
    let text = &scan.text[written.range.clone()];
    let text = text.split(['x', 'X']).next().unwrap_or(text);
    let mut plain: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
    if written.international
        && let Some(rest) = plain.strip_prefix("00")
    {
        plain = format!("+{rest}");
    }
    let country = if written.international { None } else { scan.phone_country };
    let parse = |text: &str| phonenumber::parse(country, text).ok();
    let valid = |text: &str| parse(text).is_some_and(|number| number.is_valid());
    // People write the national zero behind the country too: +44 (0)20.
    valid(&plain)
        || without_zero(text).is_some_and(|text| valid(&text))
        || (text.starts_with('+') && written.groups > 2 && parse(&plain).is_some())
        || is_north_american(scan.phone_country, text)
}

/// Reads the plans, which takes a while the first time.
pub(crate) fn warm_up(country: Option<country::Id>) {
    for (country, number) in [(None, "+12125550123"), (country, "2125550123")] {
        let _valid = phonenumber::parse(country, number).is_ok_and(|number| number.is_valid());
    }
}

/// Whether it is grouped as in North America, for a country there.
fn is_north_american(country: Option<country::Id>, text: &str) -> bool {
    let lens = lens(text);
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
    let from = digits.len().saturating_sub(10);
    let area = digits.get(from).is_some_and(|digit| *digit > b'1');
    let exchange = digits.get(from + 3).is_some_and(|digit| *digit > b'1' || digits[from..].starts_with(b"555"));
    is_of_north_america(country) && matches!(lens[..], [3, 3, 4] | [1, 3, 3, 4]) && area && exchange
}

fn is_of_north_america(country: Option<country::Id>) -> bool {
    matches!(country, Some(country::US | country::CA))
}

/// Whether its groups are those of its country, without a word that says what it is.
fn is_grouped(scan: &Scan<'_>, written: &Written) -> bool {
    let text = &scan.text[written.range.clone()];
    let lens = lens(text);
    if is_of_north_america(scan.phone_country) {
        return matches!(lens[..], [3, 3, 4] | [1, 3, 3, 4] | [3, 7] | [1, 3, 7]);
    }
    let even = lens.iter().skip(1).all(|&len| len > 1);
    even && (!written.dotted || lens.len() > 3 && text.starts_with('0'))
}

/// The lengths of its groups of digits.
fn lens(text: &str) -> Vec<usize> {
    text.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|&len| len > 0).collect()
}

fn without_zero(text: &str) -> Option<String> {
    let (before, after) = text.split_once("(0)")?;
    Some(before.chars().chain(after.chars()).filter(|c| c.is_ascii_digit() || *c == '+').collect())
}

/// Whether it could be a phone number of some country: no years, no date, not one digit alone.
fn is_plausible(bytes: &[u8], written: &Written) -> bool {
    let text = &bytes[written.range.clone()];
    let years = written.digits == 8 && written.groups == 2 && (text.starts_with(b"19") || text.starts_with(b"20"));
    let first = text.iter().find(|byte| byte.is_ascii_digit());
    let uniform = text.iter().filter(|byte| byte.is_ascii_digit()).all(|byte| Some(byte) == first);
    !years && !uniform && !is_numeric_date(text)
}

/// Whether it is written as a date: 2024-05-17, 17.05.2024.
fn is_numeric_date(text: &[u8]) -> bool {
    let mut lens = text.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).filter(|&len| len > 0);
    matches!(
        [lens.next(), lens.next(), lens.next(), lens.next()],
        [Some(4), Some(2), Some(2), None] | [Some(2), Some(2), Some(4), None]
    )
}

#[cfg(test)]
mod tests {
    use crate::detect::testing::{check, check_in};
    use crate::{Detector, Entity, Rule};

    #[test]
    fn international_numbers_are_found_everywhere() {
        for number in [
            "+1 (212) 555-0123",
            "+1-212-555-0123",
            "+12125550123",
            "+44 20 7946 0958",
            "+44 (0)20 7946 0958",
            "+49 30 901820",
            "+49 (0) 30 901820",
            "+33 1 42 68 53 00",
            "+81 3-3224-5000",
            "+86 138 0013 8000",
            "+91 98765 43210",
            "+7 (495) 123-45-67",
            "+55 11 91234-5678",
            "0049 30 901820",
            "+1 (555) 123-4567",
        ] {
            check(Entity::Phone, &format!("Here {number}."), &[number]);
            check(Entity::Phone, &format!("{{\"x\":\"{number}\"}}"), &[number]);
            check(Entity::Phone, &format!("请打{number}吧"), &[number]);
        }
    }

    #[test]
    fn national_ones_are_found_for_their_country() {
        for (country, number) in [
            ("US", "(212) 555-0123"),
            ("US", "212-555-0123"),
            ("US", "1-800-555-0199"),
            ("DE", "030 901820"),
            ("DE", "0151 12345678"),
            ("GB", "020 7946 0958"),
            ("GB", "07911 123456"),
            ("FR", "01 42 68 53 00"),
            ("CN", "138 0013 8000"),
        ] {
            check_in(Some(country), Entity::Phone, &format!("Here {number}."), &[number]);
            check(Entity::Phone, &format!("Here {number}."), &[]);
            check(Entity::Phone, &format!("call {number} now"), &[number]);
        }
        check_in(Some("US"), Entity::Phone, "call 2125550123", &["2125550123"]);
        check_in(Some("US"), Entity::Phone, "take 2125550123", &[]);
        check(Entity::Phone, "手机号13800138000", &["13800138000"]);
    }

    #[test]
    fn of_a_table_of_numbers_all_are_found_that_are_written_like_one() {
        let table: String = (0..3_000).map(|n| format!("+1 212 555 {n:04}, ")).collect();
        let detector = Detector::new(&[Rule::Entity(Entity::Phone)], None).unwrap();
        let mut found = Vec::new();
        detector.find(&format!("{table} +1 001 000 0000"), &mut found);
        assert_eq!(found.len(), 3_001, "the last would be none in a short text");
        check(Entity::Phone, "+10010000000", &[]);
    }

    #[test]
    fn other_numbers_are_not() {
        for text in [
            "2010-2020",
            "2024-05-17",
            "17.05.2024",
            "1,234,567.89",
            "192.168.1.10",
            "52.520008, 13.404954",
            "1234567890",
            "+5 points",
            "+100 000 000 %",
            "1700000000",
            "978-3-16-148410-0",
            "550e8400-e29b-41d4-a716-446655440000",
            "1 2 3 4 5 6 7 8",
            "$1 234 567",
            "12:30:45",
            "3.14159265358979",
            "1/2/3/4/5/6/7",
        ] {
            check(Entity::Phone, text, &[]);
            check_in(Some("DE"), Entity::Phone, text, &[]);
            check_in(Some("US"), Entity::Phone, text, &[]);
        }
    }
}
