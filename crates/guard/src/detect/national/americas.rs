//! The United States, Canada and Brazil.

use crate::detect::checksum::{luhn, number, uniform, weighted};

/// Numbers that were printed on advertisements and forms.
const SSN_SPECIMENS: [u64; 3] = [78_051_120, 219_099_999, 123_456_789];

/// A social security number: no check digit, but rules of what was never given out.
///
/// <https://www.ssa.gov/employer/randomization.html>
pub(crate) fn ssn(digits: &[u8]) -> bool {
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    let whole = number(digits);
    let given = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    given && !SSN_SPECIMENS.contains(&whole) && !(987_654_320..=987_654_329).contains(&whole) && !uniform(digits)
}

/// An individual taxpayer identification number: its ranges.
pub(crate) fn itin(digits: &[u8]) -> bool {
    let group = number(&digits[3..5]);
    digits[0] == 9 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// A routing number of the American Bankers Association: the range of the Federal Reserve and the check digit.
pub(crate) fn routing(digits: &[u8]) -> bool {
    let district = number(&digits[..2]);
    let known = matches!(district, 0..=12 | 21..=32 | 61..=72 | 80);
    known && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10) && !uniform(digits)
}

/// A social insurance number of Canada; none begins with 8.
pub(crate) fn sin(digits: &[u8]) -> bool {
    digits[0] != 8 && luhn(digits) && !uniform(digits)
}

/// A taxpayer number of a person in Brazil: two check digits.
pub(crate) fn cpf(digits: &[u8]) -> bool {
    let first = digit_of(weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]));
    let second = digit_of(weighted(digits, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]));
    first == digits[9] && second == digits[10] && !uniform(digits)
}

/// A taxpayer number of a company in Brazil: two check digits.
pub(crate) fn cnpj(digits: &[u8]) -> bool {
    let first = digit_of(weighted(digits, &[5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]));
    let second = digit_of(weighted(digits, &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]));
    first == digits[12] && second == digits[13] && !uniform(digits)
}

fn digit_of(sum: u32) -> u8 {
    match sum % 11 {
        0 | 1 => 0,
        rest => (11 - rest) as u8,
    }
}
