//! Australia and South Africa.

use super::is_date;
use crate::detect::checksum::{luhn, number, uniform, weighted};

/// An Australian tax file number: modulus 11.
pub(crate) fn tfn(digits: &[u8]) -> bool {
    let weights: &[u32] = if digits.len() == 8 { &[10, 7, 8, 4, 6, 3, 5, 1] } else { &[1, 4, 3, 7, 5, 8, 6, 9, 10] };
    weighted(digits, weights).is_multiple_of(11) && !uniform(digits)
}

/// An Australian business number: modulus 89.
pub(crate) fn abn(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    digits[0] != 0 && (sum - 10).is_multiple_of(89)
}

/// The number of an Australian Medicare card, with or without the number of the person on it.
pub(crate) fn medicare(digits: &[u8]) -> bool {
    let check = weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10;
    matches!(digits[0], 2..=6) && check == u32::from(digits[8]) && digits[9] != 0
}

/// A South African identity number: the date of birth, citizenship and Luhn.
pub(crate) fn za_id(digits: &[u8]) -> bool {
    let (year, month, day) = (number(&digits[..2]), number(&digits[2..4]), number(&digits[4..6]));
    is_date(year, month, day) && matches!(digits[10], 0..=2) && luhn(digits) && !uniform(digits)
}

/// The same where nothing says what it is: not what could be milliseconds since 1970, and the last but one digit as it is
/// given out.
pub(crate) fn za_id_bare(digits: &[u8]) -> bool {
    digits[0] != 1 && matches!(digits[11], 8 | 9) && za_id(digits)
}
