//! Check digits. Digits are numbers from 0 to 9, not characters.

/// Whether the last digit is that of Luhn.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| u32::from(if place % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { digit }))
        .sum();
    sum.is_multiple_of(10)
}

/// The sum of the digits, each times the weight at its place.
pub(crate) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(&digit, weight)| u32::from(digit) * weight).sum()
}

/// The number that the digits write.
pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number: u64, &digit| number.wrapping_mul(10).wrapping_add(u64::from(digit)))
}

/// Whether the last digit is that of ISO 7064 MOD 11,10.
pub(crate) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((&check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10, |product, &digit| {
        let sum = (u32::from(digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(check)
}

/// Whether the last digit is that of Verhoeff.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    /// One step of the permutation.
    const STEP: [usize; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let mut check = 0;
    for (place, &digit) in digits.iter().rev().enumerate() {
        let permuted = (0..place % 8).fold(usize::from(digit), |digit, _| STEP[digit]);
        check = dihedral(check, permuted);
    }
    check == 0
}

/// The product of two members of the dihedral group of order 10.
fn dihedral(left: usize, right: usize) -> usize {
    match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => 5 + (left + right - 5) % 5,
        (false, true) => 5 + (left - right) % 5,
        (false, false) => (left + 5 - right) % 5,
    }
}

/// Whether all digits are the same.
pub(crate) fn uniform(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    #[test]
    fn published_examples_pass_and_each_change_of_a_digit_is_seen() {
        type Check = fn(&[u8]) -> bool;
        let examples: [(Check, &str); 4] =
            [(luhn, "4111111111111111"), (luhn, "79927398713"), (mod_11_10, "86095742719"), (verhoeff, "2363")];
        for (check, text) in examples {
            let right = digits(text);
            assert!(check(&right), "{text}");
            for at in 0..right.len() {
                let mut wrong = right.clone();
                wrong[at] = (wrong[at] + 1) % 10;
                assert!(!check(&wrong), "{wrong:?}");
            }
        }
    }
}
