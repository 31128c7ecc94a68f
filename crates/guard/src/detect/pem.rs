//! Private keys in blocks: PEM, OpenSSH, PGP and PuTTY.

use super::scan::{Rank, Scan};
use super::view::ceil;
use crate::Entity;

/// The longest first line.
const LINE_MAX: usize = 80;

/// What a block of PuTTY begins with.
pub(crate) const PUTTY: &str = "PuTTY-User-Key-File-";

/// The fewest characters of base64 in a row that make a body.
const RUN_MIN: usize = 16;

/// The most bytes of a file of PuTTY's.
const PUTTY_MAX: usize = 16 << 10;

/// Where the next last line is, so that many first lines do not look for it again and again.
#[derive(Default)]
pub(crate) struct Ends {
    next: Option<Option<usize>>,
}

impl Ends {
    /// The next last line from this place on.
    fn from(&mut self, bytes: &[u8], place: usize) -> Option<usize> {
        match self.next {
            Some(next) if next.is_none_or(|next| next >= place) => next,
            _ => {
                let next = memchr::memmem::find(&bytes[place..], b"-----END ").map(|at| place + at);
                self.next = Some(next);
                next
            }
        }
    }
}

/// Looks at the `-----BEGIN ` at this place, and answers where the key ends.
///
/// A key without its last line goes on to the end of the text: rather too much than half a key.
pub(crate) fn block(scan: &mut Scan<'_>, start: usize, ends: &mut Ends) -> Option<usize> {
    let bytes = scan.bytes();
    let from = start + "-----BEGIN ".len();
    let len = memchr::memmem::find(&bytes[from..bytes.len().min(from + LINE_MAX)], b"-----")?;
    let kind = scan.text.get(from..from + len)?;
    let body = from + len + 5;
    if !kind.to_ascii_uppercase().contains("PRIVATE KEY") || !has_body(&bytes[body..]) {
        return None;
    }
    let end = ends.from(bytes, body).map_or(bytes.len(), |last| {
        let line = last + "-----END ".len();
        let closing = memchr::memmem::find(&bytes[line..bytes.len().min(line + LINE_MAX)], b"-----");
        closing.map_or(line, |closing| line + closing + 5)
    });
    scan.saw(Entity::PrivateKey, start..end, Rank::Confirmed);
    Some(end)
}

/// Whether a run of base64 follows within the first lines, which may be headers.
fn has_body(bytes: &[u8]) -> bool {
    let bounded = &bytes[..bytes.len().min(400)];
    bounded
        .split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')))
        .any(|run| run.len() >= RUN_MIN)
}

/// Looks at the start of a file of PuTTY's, and answers where the key ends.
pub(crate) fn putty(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let bytes = &scan.bytes()[start..];
    let bytes = &bytes[..bytes.len().min(PUTTY_MAX)];
    memchr::memmem::find(bytes, b"Private-Lines:")?;
    let mac = memchr::memmem::find(bytes, b"Private-MAC:");
    let end =
        mac.map_or(bytes.len(), |mac| memchr::memchr(b'\n', &bytes[mac..]).map_or(bytes.len(), |line| mac + line));
    let end = ceil(scan.text, start + end);
    scan.saw(Entity::PrivateKey, start..end, Rank::Confirmed);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn a_key_is_found_from_its_first_line_to_its_last() {
        for kind in
            ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
        {
            let key = format!("-----BEGIN {kind}-----\nMIIEow0aBcDeFgHiJkLm\n-----END {kind}-----");
            check(Entity::PrivateKey, &format!("a\n{key}\nb"), &[&key]);
            let escaped = key.replace('\n', "\\n");
            check(Entity::PrivateKey, &format!("{{\"key\":\"{escaped}\\n\"}}"), &[&escaped]);
            let headers = "Version: 1.2\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B2C3D\n\n";
            let headed = key.replace("-----\nMII", &format!("-----\n{headers}MII"));
            check(Entity::PrivateKey, &format!("a\n{headed}\nb"), &[&headed]);
            let half = format!("-----BEGIN {kind}-----\nMIIEow0aBcDeFgHiJkLm and on");
            check(Entity::PrivateKey, &half, &[&half]);
        }
        let putty = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAA\nPrivate-MAC: 0a1b";
        check(Entity::PrivateKey, &format!("{putty}\nx"), &[putty]);
    }

    #[test]
    fn public_ones_and_mentions_are_not() {
        for text in [
            "-----BEGIN CERTIFICATE-----\nMIIEow0aBcDeFgHiJkLm\n-----END CERTIFICATE-----",
            "begins with -----BEGIN PRIVATE KEY----- and goes on with base64 text",
            "-----BEGIN ",
        ] {
            check(Entity::PrivateKey, text, &[]);
        }
    }
}
