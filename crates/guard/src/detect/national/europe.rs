//! Europe and Turkey.

use super::is_date;
use crate::detect::checksum::{luhn, mod_11_10, number, uniform, weighted};

/// A number of the National Health Service: modulus 11.
pub(crate) fn nhs(digits: &[u8]) -> bool {
    let check = 11 - weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if check == 11 { 0 } else { check };
    check == u32::from(digits[9]) && !uniform(digits)
}

/// A German tax identification number: the check digit, and of the ten digits before it one occurs twice or three times
/// and the others at most once.
pub(crate) fn steuer_id(digits: &[u8]) -> bool {
    let mut counts = [0; 10];
    digits[..10].iter().for_each(|&digit| counts[usize::from(digit)] += 1);
    let repeated = counts.iter().filter(|&&count| count > 1).count();
    let most = counts.iter().max().copied().unwrap_or(0);
    digits[0] != 0 && repeated == 1 && most <= 3 && mod_11_10(digits)
}

/// A French social security number: sex, month, department and the key.
pub(crate) fn nir(digits: &[u8]) -> bool {
    let (month, department) = (number(&digits[3..5]), number(&digits[5..7]));
    let plausible = matches!(digits[0], 1..=4 | 7 | 8)
        && matches!(month, 1..=12 | 20 | 30..=42 | 50..=99)
        && matches!(department, 1..=99);
    plausible && 97 - number(&digits[..13]) % 97 == number(&digits[13..])
}

/// A Polish personal number: the date of birth, whose month tells the century, and the check digit.
pub(crate) fn pesel(digits: &[u8]) -> bool {
    let (year, month, day) = (number(&digits[..2]), number(&digits[2..4]), number(&digits[4..6]));
    let check = (10 - weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10;
    is_date(year, month % 20, day) && check == u32::from(digits[10])
}

/// A Dutch citizen service number: the test by eleven.
pub(crate) fn bsn(digits: &[u8]) -> bool {
    let padded: Vec<u8> = std::iter::repeat_n(0, 9 - digits.len()).chain(digits.iter().copied()).collect();
    let sum = weighted(&padded, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum % 11 == u32::from(padded[8]) && sum > 0 && !uniform(digits)
}

/// A Swedish personal identity number: the date of birth, with 60 more days for a coordination number, and Luhn.
pub(crate) fn personnummer(digits: &[u8]) -> bool {
    let short = &digits[digits.len() - 10..];
    let century = if digits.len() == 12 { number(&digits[..2]) } else { 0 };
    let (year, month, day) = (number(&short[..2]), number(&short[2..4]), number(&short[4..6]));
    let day = if day > 60 { day - 60 } else { day };
    let known = digits.len() == 10 || matches!(century, 18..=20);
    known && is_date(century * 100 + year, month, day) && luhn(short)
}

/// A Finnish personal identity code whose check character is a digit.
pub(crate) fn hetu(digits: &[u8]) -> bool {
    is_born(digits) && number(&digits[..9]) % 31 == u64::from(digits[9])
}

/// Whether a Finnish code begins with a date and a number that is given out.
pub(crate) fn is_born(digits: &[u8]) -> bool {
    let (day, month, year) = (number(&digits[..2]), number(&digits[2..4]), number(&digits[4..6]));
    is_date(year, month, day) && matches!(number(&digits[6..9]), 2..=999)
}

/// A Swiss social insurance number: the country's prefix and the check digit of articles.
pub(crate) fn ahv(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]);
    digits[..3] == [7, 5, 6] && (10 - sum % 10) % 10 == u32::from(digits[12])
}

/// A Turkish identification number: two check digits.
pub(crate) fn tckn(digits: &[u8]) -> bool {
    let odd = u32::from(digits[0])
        + u32::from(digits[2])
        + u32::from(digits[4])
        + u32::from(digits[6])
        + u32::from(digits[8]);
    let even = u32::from(digits[1]) + u32::from(digits[3]) + u32::from(digits[5]) + u32::from(digits[7]);
    let tenth = (odd * 7 + 90 - even) % 10;
    let eleventh = (odd + even + u32::from(digits[9])) % 10;
    digits[0] != 0 && tenth == u32::from(digits[9]) && eleventh == u32::from(digits[10]) && !uniform(digits)
}
