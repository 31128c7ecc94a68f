//! Ports that stay ours while the server is down.

use std::net::{Ipv4Addr, TcpListener};

use crate::Error;
use crate::cache::io_error;

/// Below what kernels hand out for outgoing connections (Linux: 32768 and up, macOS: 49152 and up). A port of *that*
/// range, which asking for port 0 yields, may be taken by anybody's outgoing connection while a killed server is
/// about to be restarted on it.
const RANGE: std::ops::Range<u16> = 16_000..32_000;

/// With a hundred random picks of 16,000, failing means that the machine has no ports left.
const PICKS_MAX: usize = 100;

/// Picks a port of the loopback interface that nobody listens on. Somebody may still be faster: retry the start.
pub(crate) fn free() -> Result<u16, Error> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..PICKS_MAX {
        let port = rand::random_range(RANGE);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(io_error("find a free port on", std::path::Path::new("127.0.0.1"))(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_outside_the_ephemeral_range() {
        let port = free().unwrap();
        assert!(RANGE.contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
