//! JSON web tokens: two or three parts of base64url, the first of which is JSON that names an algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::scan::{Rank, Scan};
use crate::Entity;

/// The longest header that is read.
const HEADER_MAX: usize = 2048;

/// Looks at the `eyJ` at this place, and answers where the token ends.
pub(crate) fn at(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let bytes = scan.bytes();
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if start.checked_sub(1).is_some_and(|at| belongs(&bytes[at]) || bytes[at] == b'.') {
        return None;
    }
    let part = |from: usize| bytes[from..].iter().take_while(|byte| belongs(byte)).count();
    let header = bytes[start..].iter().take(HEADER_MAX).take_while(|byte| belongs(byte)).count();
    if bytes.get(start + header) != Some(&b'.') || !names_algorithm(&bytes[start..start + header]) {
        return None;
    }
    let mut end = start + header;
    // A signature can be absent, and encrypted tokens have five parts.
    for _ in 0..4 {
        if bytes.get(end) != Some(&b'.') || part(end + 1) == 0 {
            break;
        }
        end += 1 + part(end + 1);
    }
    (end > start + header).then(|| {
        scan.saw(Entity::Jwt, start..end, Rank::Confirmed);
        end
    })
}

fn names_algorithm(header: &[u8]) -> bool {
    URL_SAFE_NO_PAD
        .decode(header)
        .ok()
        .and_then(|json| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&json).ok())
        .is_some_and(|header| header.contains_key("alg"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn tokens_are_found_by_their_header() {
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
        check(Entity::Jwt, &format!("Authorization: Bearer {token}"), &[token]);
        check(Entity::Jwt, &format!("\"{token}\","), &[token]);
        check(Entity::Jwt, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", &[]);
        check(Entity::Jwt, "eyJmb28iOiJiYXIifQ.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x", &[]);
        check(Entity::Jwt, "eyJ.eyJ.eyJ", &[]);
    }
}
