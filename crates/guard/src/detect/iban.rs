//! International bank account numbers.

use super::scan::{Rank, Scan};
use crate::Entity;

/// The longest, of Malta, Saint Lucia and others, with room for a country to come.
const CHARACTERS_MAX: usize = 34;

/// The countries with what follows their check digits: `n` digits, `a` letters, `c` either.
///
/// SWIFT's registry, <https://www.swift.com/standards/data-standards/iban-international-bank-account-number>.
const COUNTRIES: [(&[u8; 2], &str); 89] = [
    (b"AD", "8n12c"),
    (b"AE", "19n"),
    (b"AL", "8n16c"),
    (b"AT", "16n"),
    (b"AZ", "4a20c"),
    (b"BA", "16n"),
    (b"BE", "12n"),
    (b"BG", "4a6n8c"),
    (b"BH", "4a14c"),
    (b"BI", "23n"),
    (b"BR", "23n1a1c"),
    (b"BY", "4c4n16c"),
    (b"CH", "5n12c"),
    (b"CR", "18n"),
    (b"CY", "8n16c"),
    (b"CZ", "20n"),
    (b"DE", "18n"),
    (b"DJ", "23n"),
    (b"DK", "14n"),
    (b"DO", "4c20n"),
    (b"EE", "16n"),
    (b"EG", "25n"),
    (b"ES", "20n"),
    (b"FI", "14n"),
    (b"FK", "2a12n"),
    (b"FO", "14n"),
    (b"FR", "10n11c2n"),
    (b"GB", "4a14n"),
    (b"GE", "2a16n"),
    (b"GI", "4a15c"),
    (b"GL", "14n"),
    (b"GR", "7n16c"),
    (b"GT", "24c"),
    (b"HN", "4a20n"),
    (b"HR", "17n"),
    (b"HU", "24n"),
    (b"IE", "4a14n"),
    (b"IL", "19n"),
    (b"IQ", "4a15n"),
    (b"IS", "22n"),
    (b"IT", "1a10n12c"),
    (b"JO", "4a4n18c"),
    (b"KW", "4a22c"),
    (b"KZ", "3n13c"),
    (b"LB", "4n20c"),
    (b"LC", "4a24c"),
    (b"LI", "5n12c"),
    (b"LT", "16n"),
    (b"LU", "3n13c"),
    (b"LV", "4a13c"),
    (b"LY", "21n"),
    (b"MC", "10n11c2n"),
    (b"MD", "2c18c"),
    (b"ME", "18n"),
    (b"MK", "3n10c2n"),
    (b"MN", "16n"),
    (b"MR", "23n"),
    (b"MT", "4a5n18c"),
    (b"MU", "4a19n3a"),
    (b"NI", "4a20n"),
    (b"NL", "4a10n"),
    (b"NO", "11n"),
    (b"OM", "3n16c"),
    (b"PK", "4a16c"),
    (b"PL", "24n"),
    (b"PS", "4a21c"),
    (b"PT", "21n"),
    (b"QA", "4a21c"),
    (b"RO", "4a16c"),
    (b"RS", "18n"),
    (b"RU", "14n15c"),
    (b"SA", "2n18c"),
    (b"SC", "4a20n3a"),
    (b"SD", "14n"),
    (b"SE", "20n"),
    (b"SI", "15n"),
    (b"SK", "20n"),
    (b"SM", "1a10n12c"),
    (b"SO", "19n"),
    (b"ST", "21n"),
    (b"SV", "4a20n"),
    (b"TL", "19n"),
    (b"TN", "20n"),
    (b"TR", "5n1n16c"),
    (b"UA", "6n19c"),
    (b"VA", "18n"),
    (b"VG", "4a16n"),
    (b"XK", "16n"),
    (b"YE", "4a4n18c"),
];

/// Looks at the word that begins here.
pub(crate) fn at(scan: &mut Scan<'_>, start: usize) {
    let bytes = scan.bytes();
    let Some(&[first, second, third, fourth]) = bytes.get(start..start + 4) else { return };
    if !(first.is_ascii_alphabetic()
        && second.is_ascii_alphabetic()
        && third.is_ascii_digit()
        && fourth.is_ascii_digit())
    {
        return;
    }
    let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let Ok(place) = COUNTRIES.binary_search_by(|(code, _)| (*code).cmp(&country)) else { return };
    if let Some(end) = end(bytes, start, COUNTRIES[place].1) {
        scan.saw(Entity::Iban, start..end, Rank::Confirmed);
    }
}

/// Where the number ends that begins here, if its form and its check digits are right.
fn end(bytes: &[u8], start: usize, form: &str) -> Option<usize> {
    let mut remainder = Remainder::default();
    let mut at = start + 4;
    let (mut count, mut digits) = (0, 0);
    for kind in form.bytes() {
        if kind.is_ascii_digit() {
            digits = digits * 10 + usize::from(kind - b'0');
            continue;
        }
        for _ in 0..std::mem::take(&mut digits) {
            // Groups of whatever length, as long as one sign stands between them.
            if matches!(bytes.get(at), Some(b' ' | b'-' | b'.')) {
                at += 1;
            }
            let byte = *bytes.get(at)?;
            let fits = match kind {
                b'n' => byte.is_ascii_digit(),
                b'a' => byte.is_ascii_alphabetic(),
                _ => byte.is_ascii_alphanumeric(),
            };
            if !fits {
                return None;
            }
            remainder.push(byte);
            at += 1;
            count += 1;
        }
    }
    bytes[start..start + 4].iter().for_each(|&byte| remainder.push(byte));
    let ends = count + 4 <= CHARACTERS_MAX && bytes.get(at).is_none_or(|after| !after.is_ascii_alphanumeric());
    (ends && remainder.0 == 1).then_some(at)
}

/// The remainder by 97 of a number whose letters count from 10 on.
#[derive(Default)]
struct Remainder(u32);

impl Remainder {
    fn push(&mut self, byte: u8) {
        self.0 = match byte {
            b'0'..=b'9' => self.0 * 10 + u32::from(byte - b'0'),
            _ => self.0 * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10,
        } % 97;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn the_registrys_examples_are_found() {
        assert!(COUNTRIES.is_sorted_by_key(|(code, _)| code));
        for iban in [
            "AD1200012030200359100100",
            "AE070331234567890123456",
            "AT611904300234573201",
            "BE68539007547034",
            "BR9700360305000010009795493P1",
            "CH9300762011623852957",
            "DE89370400440532013000",
            "DK5000400440116243",
            "ES9121000418450200051332",
            "FI2112345600000785",
            "FR1420041010050500013M02606",
            "GB29NWBK60161331926819",
            "GR1601101250000000012300695",
            "HU42117730161111101800000000",
            "IE29AIBK93115212345678",
            "IL620108000000099999999",
            "IT60X0542811101000000123456",
            "KZ86125KZT5004100100",
            "LU280019400644750000",
            "MT84MALT011000012345MTLCAST001S",
            "NL91ABNA0417164300",
            "NO9386011117947",
            "PL61109010140000071219812874",
            "PT50000201231234567890154",
            "RO49AAAA1B31007593840000",
            "SA0380000000608010167519",
            "SE4550000000058398257466",
            "TR330006100519786457841326",
            "UA213223130000026007233566001",
            "de89 3704 0044 0532 0130 00",
            "GB29 NWBK 6016 1331 9268 19",
            "DE89-3704-0044-0532-0130-00",
        ] {
            check(Entity::Iban, &format!("to {iban} please"), &[iban]);
            check(Entity::Iban, &format!("账号{iban}。"), &[iban]);
            check(Entity::Iban, &format!("{{\"iban\":\"{iban}\"}}"), &[iban]);
        }
    }

    #[test]
    fn a_wrong_digit_length_or_country_is_seen() {
        for text in [
            "DE88370400440532013000",
            "DE8937040044053201300",
            "DE893704004405320130000",
            "XX89370400440532013000",
            "xDE89370400440532013000",
        ] {
            check(Entity::Iban, text, &[]);
        }
    }
}
