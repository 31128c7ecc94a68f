//! Addresses of cryptocurrencies: Bitcoin, Litecoin, Dogecoin, Tron, Ripple, Ethereum and its kin.
//!
//! Each has a checksum but those of Ethereum in one case, which are 40 hexadecimal digits after `0x` and taken as such.

use std::ops::Range;

use sha2::Sha256;
use sha3::{Digest as _, Keccak256};

use super::scan::{Rank, Scan};
use crate::Entity;

/// The longest: bech32 of a script.
pub(crate) const CHARACTERS_MAX: usize = 90;

/// The human-readable parts of bech32 addresses.
const BECH32: [&str; 5] = ["bc", "tb", "ltc", "bcrt", "cosmos"];

/// Looks at the word that stands here.
pub(crate) fn at(scan: &mut Scan<'_>, word: &Range<usize>) {
    let text = &scan.text[word.clone()];
    let confirmed = match text.len() {
        42 if text.starts_with("0x") => is_ethereum(&text[2..]),
        25..=35 if matches!(text.as_bytes()[0], b'1' | b'3' | b'L' | b'M' | b'D' | b'T' | b'r') => is_base58(text),
        38..=CHARACTERS_MAX => is_bech32(text),
        _ => false,
    };
    if confirmed {
        scan.saw(Entity::CryptoAddress, word.clone(), Rank::Confirmed);
    }
}

/// Whether it is 40 hexadecimal digits, whose case, if mixed, is the checksum of EIP-55.
fn is_ethereum(digits: &str) -> bool {
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mixed =
        digits.bytes().any(|byte| byte.is_ascii_lowercase()) && digits.bytes().any(|byte| byte.is_ascii_uppercase());
    let uniform = digits.bytes().all(|byte| byte == digits.as_bytes()[0]);
    hexadecimal && !uniform && (!mixed || is_eip55(digits))
}

fn is_eip55(digits: &str) -> bool {
    let hash = Keccak256::digest(digits.to_ascii_lowercase());
    digits.bytes().enumerate().all(|(at, byte)| {
        let nibble = hash[at / 2] >> (4 * (1 - at % 2)) & 0xF;
        !byte.is_ascii_alphabetic() || byte.is_ascii_uppercase() == (nibble >= 8)
    })
}

/// Whether it is a version and a hash of 20 bytes, closed by four bytes of its double hash.
fn is_base58(text: &str) -> bool {
    let alphabet = if text.starts_with('r') { bs58::Alphabet::RIPPLE } else { bs58::Alphabet::BITCOIN };
    let mut bytes = [0_u8; 32];
    let Ok(25) = bs58::decode(text).with_alphabet(alphabet).onto(&mut bytes) else { return false };
    let hash = Sha256::digest(Sha256::digest(&bytes[..21]));
    let known = matches!(bytes[0], 0x00 | 0x05 | 0x30 | 0x32 | 0x1E | 0x16 | 0x41);
    known && hash[..4] == bytes[21..25]
}

/// Whether it is bech32 or bech32m of a known kind.
fn is_bech32(text: &str) -> bool {
    let Some((kind, _)) = text.split_once('1') else { return false };
    BECH32.iter().any(|known| kind.eq_ignore_ascii_case(known)) && bech32::decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn addresses_of_every_form_are_found() {
        for address in [
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xde709f2102306220921060314715629080e2fb77",
        ] {
            check(Entity::CryptoAddress, &format!("pay {address}."), &[address]);
            check(Entity::CryptoAddress, &format!("付{address}吧"), &[address]);
        }
    }

    #[test]
    fn one_character_changed_is_seen() {
        for address in [
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdr",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
            "0x0000000000000000000000000000000000000000",
            "0xde709f2102306220921060314715629080e2fb7",
        ] {
            check(Entity::CryptoAddress, address, &[]);
        }
    }
}
