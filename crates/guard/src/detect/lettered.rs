//! Numbers of persons that hold letters: Spain, Italy, the United Kingdom, Finland, Singapore, India, and those whose check
//! character can be a letter (France, China).

use std::ops::Range;

use super::checksum::{number, weighted};
use super::national::{asia, europe};
use super::scan::{Rank, Scan};
use crate::Entity;

/// The longest of them in letters and digits.
const CHARACTERS_MAX: usize = 18;

/// Looks at the word that stands here, which holds a digit.
pub(crate) fn at(scan: &mut Scan<'_>, word: &Range<usize>) {
    let bytes = scan.bytes();
    let text = &bytes[word.clone()];
    match text.len() {
        9 => nine(scan, word),
        10 if is_pan(text) => sure_if_capital(scan, Entity::InPan, word.clone()),
        11 => hetu_word(scan, word),
        15 if text[5..7] == *b"2A" || text[5..7] == *b"2B" => corsican(scan, word),
        16 if is_codice_fiscale(text) => scan.saw(Entity::ItCodiceFiscale, word.clone(), Rank::Confirmed),
        18 if is_resident_id(text) => scan.saw(Entity::CnResidentId, word.clone(), Rank::Certain),
        _ => {}
    }
    grouped(scan, word);
}

fn nine(scan: &mut Scan<'_>, word: &Range<usize>) {
    let text = &scan.bytes()[word.clone()];
    if is_dni(text) && scan.bytes().get(word.end) != Some(&b'/') {
        sure_if_capital(scan, Entity::EsDni, word.clone());
    } else if is_nie(text) {
        sure_if_capital(scan, Entity::EsNie, word.clone());
    } else if is_nino(text) {
        sure_if_capital(scan, Entity::UkNino, word.clone());
    } else if is_nric(text) {
        sure_if_capital(scan, Entity::SgNric, word.clone());
    }
}

/// In capitals the form is enough; else a word nearby must say it.
fn sure_if_capital(scan: &mut Scan<'_>, entity: Entity, range: Range<usize>) {
    let bytes = scan.bytes();
    if !bytes[range.clone()].iter().any(u8::is_ascii_lowercase) {
        scan.saw(entity, range, Rank::Confirmed);
    } else if let Some(distance) = scan.distance(entity, &range) {
        scan.saw_at(entity, range, Rank::Confirmed, distance + 1);
    }
}

/// What is written in groups, of which this word is the first that holds a digit.
fn grouped(scan: &mut Scan<'_>, word: &Range<usize>) {
    let bytes = scan.bytes();
    let first = bytes[word.start];
    let before = &bytes[..word.start];
    if first.is_ascii_digit() {
        if word.len() == 6 {
            hetu(scan, word);
        }
        nino_apart(scan, word);
        let forms: &[&str] = match (word.len(), bytes.get(word.end)) {
            (2, Some(b'.')) => &["99.999.999-A", "99.999.999 A", "99.999.999A"],
            (2, Some(b' ')) => &["99 999 999 A"],
            (8, Some(b'-')) => &["99999999-A"],
            (8, Some(b' ')) => &["99999999 A"],
            _ => &[],
        };
        forms.iter().for_each(|form| joined(scan, Entity::EsDni, word.start, form, is_dni));
        if word.len() == 1 {
            corsican_grouped(scan, word.start);
        }
    } else {
        if word.len() == 4 {
            joined(scan, Entity::UkNino, word.start, "AA99 99 99A", is_nino);
        }
        if word.len() == 8 {
            joined(scan, Entity::UkNino, word.start, "AA999999 A", is_nino);
            joined(scan, Entity::SgNric, word.start, "A9999999 A", is_nric);
        }
    }
    let nie =
        if first.is_ascii_digit() && before.ends_with(b"-") { word.start.checked_sub(2) } else { Some(word.start) };
    if let Some(start) = nie.filter(|&start| matches!(bytes[start].to_ascii_uppercase(), b'X' | b'Y' | b'Z')) {
        for form in ["A-9999999-A", "A-9999999A", "A9999999-A", "A 9999999 A", "A9999999 A"] {
            joined(scan, Entity::EsNie, start, form, is_nie);
        }
    }
    if matches!(word.len(), 3 | 5) {
        fiscale_grouped(scan, word);
    }
}

/// A British number whose letters stand before its digits, a space apart, as a word of two letters does before any number.
fn nino_apart(scan: &mut Scan<'_>, word: &Range<usize>) {
    let form = match word.len() {
        2 => "AA 99 99 99 A",
        6 => "AA 999999 A",
        _ => return,
    };
    if let Some(start) = word.start.checked_sub(3)
        && scan.bytes()[start + 2] == b' '
    {
        joined(scan, Entity::UkNino, start, form, is_nino);
    }
}

/// Takes what stands here in this form (`A` a letter, `9` a digit) if its letters and digits pass the check.
fn joined(scan: &mut Scan<'_>, entity: Entity, start: usize, form: &str, check: fn(&[u8]) -> bool) {
    if let Some((joined, len, range)) = read(scan.bytes(), start, form)
        && check(&joined[..len])
    {
        sure_if_capital(scan, entity, range);
    }
}

/// The letters and digits of what stands here in this form, whole.
fn read(bytes: &[u8], start: usize, form: &str) -> Option<([u8; CHARACTERS_MAX], usize, Range<usize>)> {
    let range = start..start + form.len();
    let text = bytes.get(range.clone())?;
    let bordered = start.checked_sub(1).is_none_or(|at| !bytes[at].is_ascii_alphanumeric())
        && bytes.get(range.end).is_none_or(|after| !after.is_ascii_alphanumeric());
    let fits = |(&byte, form): (&u8, u8)| match form {
        b'A' => byte.is_ascii_alphabetic(),
        b'9' => byte.is_ascii_digit(),
        b'#' => byte.is_ascii_alphanumeric(),
        other => byte == other,
    };
    if !bordered || !text.iter().zip(form.bytes()).all(fits) {
        return None;
    }
    let (mut joined, mut len) = ([0; CHARACTERS_MAX], 0);
    for &byte in text.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        joined[len] = byte;
        len += 1;
    }
    Some((joined, len, range))
}

/// The digits of a text as numbers; none if another byte is among them.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut digits = [0; N];
    (text.len() == N && text.iter().all(u8::is_ascii_digit)).then(|| {
        digits.iter_mut().zip(text).for_each(|(digit, byte)| *digit = byte - b'0');
        digits
    })
}

/// A Spanish identity card: the letter is the number modulo 23.
fn is_dni(text: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let [body @ .., letter] = text else { return false };
    digits::<8>(body)
        .is_some_and(|body| number(&body) > 0 && LETTERS[(number(&body) % 23) as usize] == letter.to_ascii_uppercase())
}

/// A Spanish foreigner's number: the same, its first letter being a digit.
fn is_nie(text: &[u8]) -> bool {
    let [first, rest @ ..] = text else { return false };
    let first = match first.to_ascii_uppercase() {
        b'X' => b'0',
        b'Y' => b'1',
        b'Z' => b'2',
        _ => return false,
    };
    let mut dni = [first; 9];
    dni[1..].copy_from_slice(rest);
    is_dni(&dni)
}

/// A British national insurance number: the letters that are given out.
///
/// <https://www.gov.uk/hmrc-internal-manuals/national-insurance-manual/nim39110>
fn is_nino(text: &[u8]) -> bool {
    let [first, second, body @ .., suffix] = text else { return false };
    let (first, second, suffix) =
        (first.to_ascii_uppercase(), second.to_ascii_uppercase(), suffix.to_ascii_uppercase());
    let letters = first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && !b"DFIQUV".contains(&first)
        && !b"DFIQUVO".contains(&second)
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[first, second]);
    letters && body.len() == 6 && body.iter().all(u8::is_ascii_digit) && (b'A'..=b'D').contains(&suffix)
}

/// A number of the registration of Singapore: a check letter by series.
fn is_nric(text: &[u8]) -> bool {
    let [series, body @ .., letter] = text else { return false };
    let Some(body) = digits::<7>(body) else { return false };
    let (offset, letters): (u32, &[u8; 11]) = match series.to_ascii_uppercase() {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"KLJNPQRTUWX"),
        _ => return false,
    };
    let sum = weighted(&body, &[2, 7, 6, 5, 4, 3, 2]) + offset;
    let place = if series.eq_ignore_ascii_case(&b'M') { 10 - sum % 11 } else { sum % 11 };
    letters[place as usize] == letter.to_ascii_uppercase()
}

/// An Indian permanent account number: its fourth letter says what kind of taxpayer.
fn is_pan(text: &[u8]) -> bool {
    text[..5].iter().all(u8::is_ascii_alphabetic)
        && text[5..9].iter().all(u8::is_ascii_digit)
        && text[9].is_ascii_alphabetic()
        && b"PCHABGJLFTK".contains(&text[3].to_ascii_uppercase())
        && text[5..9] != *b"0000"
}

/// An Italian fiscal code: letters and digits at their places, which clashes replace by letters, and the check letter.
fn is_codice_fiscale(text: &[u8]) -> bool {
    /// What characters at odd places count, by digit or letter.
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let digit = |byte: u8| byte.is_ascii_digit() || b"LMNPQRSTUV".contains(&byte.to_ascii_uppercase());
    let formed = text.iter().zip(b"AAAAAA99M99A999A").all(|(&byte, form)| match form {
        b'9' => digit(byte),
        b'M' => b"ABCDEHLMPRST".contains(&byte.to_ascii_uppercase()),
        _ => byte.is_ascii_alphabetic(),
    });
    let value =
        |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.to_ascii_uppercase() - b'A' });
    if !formed {
        return false;
    }
    let sum: u32 = text[..15]
        .iter()
        .enumerate()
        .map(|(place, &byte)| if place % 2 == 0 { ODD[value(byte) as usize] } else { value(byte) })
        .sum();
    u32::from(text[15].to_ascii_uppercase() - b'A') == sum % 26
}

fn fiscale_grouped(scan: &mut Scan<'_>, word: &Range<usize>) {
    let Some(start) = word.start.checked_sub(8) else { return };
    joined(scan, Entity::ItCodiceFiscale, start, "AAA AAA ##### ####A", is_codice_fiscale);
    joined(scan, Entity::ItCodiceFiscale, start, "AAA AAA ### ### ###A", is_codice_fiscale);
}

/// A Finnish personal identity code with a letter, or with the sign of a century that is no dash.
fn hetu(scan: &mut Scan<'_>, word: &Range<usize>) {
    const CHECK: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let bytes = scan.bytes();
    let Some(text) = bytes.get(word.start..word.start + 11) else { return };
    let mut body = [0; 9];
    body[..6].copy_from_slice(&text[..6]);
    body[6..].copy_from_slice(&text[7..10]);
    let Some(body) = digits::<9>(&body) else { return };
    let century = matches!(text[6], b'+' | b'-');
    let ends = bytes.get(word.start + 11).is_none_or(|after| !after.is_ascii_alphanumeric());
    let check = CHECK[(number(&body) % 31) as usize] == text[10].to_ascii_uppercase();
    if century && ends && check && europe::is_born(&body) {
        scan.saw(Entity::FiHetu, word.start..word.start + 11, Rank::Confirmed);
    }
}

/// The same where the sign of the century is a letter, and so the whole is one word.
fn hetu_word(scan: &mut Scan<'_>, word: &Range<usize>) {
    const CHECK: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let text = &scan.bytes()[word.clone()];
    let mut body = [0; 9];
    body[..6].copy_from_slice(&text[..6]);
    body[6..].copy_from_slice(&text[7..10]);
    let Some(body) = digits::<9>(&body) else { return };
    let century = b"ABCDEFUVWXY".contains(&text[6].to_ascii_uppercase());
    if century && CHECK[(number(&body) % 31) as usize] == text[10].to_ascii_uppercase() && europe::is_born(&body) {
        scan.saw(Entity::FiHetu, word.clone(), Rank::Confirmed);
    }
}

/// A Chinese number whose check character is an `X`.
fn is_resident_id(text: &[u8]) -> bool {
    let [body @ .., b'X' | b'x'] = text else { return false };
    digits::<17>(body).is_some_and(|body| asia::resident_check(&body) == Some(10))
}

/// A French social security number of Corsica, whose department is no number.
fn corsican(scan: &mut Scan<'_>, word: &Range<usize>) {
    if is_corsican(&scan.bytes()[word.clone()]) {
        scan.saw(Entity::FrNir, word.clone(), Rank::Confirmed);
    }
}

fn corsican_grouped(scan: &mut Scan<'_>, start: usize) {
    joined(scan, Entity::FrNir, start, "9 99 99 9A 999 999 99", is_corsican);
}

fn is_corsican(text: &[u8]) -> bool {
    let mut plain = [b'0'; 15];
    plain.copy_from_slice(text);
    plain[5..7].copy_from_slice(if text[6] == b'A' { b"19" } else { b"18" });
    text[5] == b'2' && matches!(text[6], b'A' | b'B') && digits::<15>(&plain).is_some_and(|plain| europe::nir(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    fn bare(entity: Entity, numbers: &[&str]) {
        for number in numbers {
            check(entity, &format!("Here: {number}."), &[number]);
            check(entity, &format!("{{\"x\":\"{number}\"}}"), &[number]);
            check(entity, &format!("x{number}"), &[]);
            check(entity, &format!("{number}1"), &[]);
        }
    }

    #[test]
    fn numbers_with_letters_are_found() {
        bare(Entity::EsDni, &["12345678Z", "12345678-Z", "12.345.678-Z"]);
        bare(Entity::EsNie, &["X1234567L", "X-1234567-L", "Y0613585M"]);
        bare(Entity::UkNino, &["AB123456C", "AB 12 34 56 C", "AB 123456 C"]);
        bare(Entity::SgNric, &["S0000001I", "G1122144R", "F2346401L"]);
        bare(Entity::InPan, &["ABCPE1234F"]);
        bare(Entity::ItCodiceFiscale, &["RSSMRA85T10A562S"]);
        bare(Entity::FiHetu, &["131052-308T", "131052A308T"]);
        bare(Entity::CnResidentId, &["11010519491231002X"]);
        check(Entity::EsDni, "mi dni es 12345678z", &["12345678z"]);
    }

    #[test]
    fn those_with_a_wrong_letter_are_not() {
        for (entity, number) in [
            (Entity::EsDni, "12345678A"),
            (Entity::EsNie, "X1234567A"),
            (Entity::UkNino, "QQ123456C"),
            (Entity::UkNino, "AB123456E"),
            (Entity::SgNric, "S0000001A"),
            (Entity::InPan, "ABCXE1234F"),
            (Entity::ItCodiceFiscale, "RSSMRA85T10A562T"),
            (Entity::FiHetu, "131052-308U"),
            (Entity::CnResidentId, "11010519491231012X"),
            (Entity::EsDni, "12345678z"),
        ] {
            check(entity, number, &[]);
        }
    }
}
