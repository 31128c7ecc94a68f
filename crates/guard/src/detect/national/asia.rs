//! India, Korea and China.

use super::is_date;
use crate::detect::checksum::{number, uniform, verhoeff, weighted};

/// An Indian identity number: Verhoeff, and none begins with 0 or 1 or reads the same backwards.
pub(crate) fn aadhaar(digits: &[u8]) -> bool {
    let palindrome = digits.iter().eq(digits.iter().rev());
    digits[0] > 1 && !palindrome && !uniform(digits) && verhoeff(digits)
}

/// A Korean resident registration number: the date of birth, the century and the check digit, which numbers given out
/// since October 2020 do not have.
pub(crate) fn rrn(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    rrn_unchecked(digits) && (11 - sum % 11) % 10 == u32::from(digits[12])
}

/// The same without its check digit.
pub(crate) fn rrn_unchecked(digits: &[u8]) -> bool {
    let (year, month, day) = (number(&digits[..2]), number(&digits[2..4]), number(&digits[4..6]));
    is_date(year, month, day) && matches!(digits[6], 1..=8)
}

/// A Chinese resident identity number whose check character is a digit.
pub(crate) fn resident_id(digits: &[u8]) -> bool {
    resident_check(digits).is_some_and(|check| check == u32::from(digits[17]))
}

/// What the check character of a Chinese number counts, 10 for `X`, if it begins with a province and a date.
pub(crate) fn resident_check(digits: &[u8]) -> Option<u32> {
    let (year, month, day) = (number(&digits[6..10]), number(&digits[10..12]), number(&digits[12..14]));
    let province =
        matches!(number(&digits[..2]), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91);
    let born = (1900..2100).contains(&year) && is_date(year, month, day);
    let sum = weighted(&digits[..17], &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    (province && born).then_some((12 - sum % 11) % 11)
}
