//! Addresses that calls do not go to, although an operator wrote them.
//!
//! Base URLs come from operators alone, so a private address is as good as any: models run there. Two kinds are not.
//! A cloud's metadata service hands out the machine's credentials and is never a model. A link-local address is nearly
//! always a mistake, or somebody else's template; where it is meant, the operator says so.
//!
//! Names are not looked up here: what a name resolves to is for whoever names it, and it can change at any time.

mod references;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

pub use references::{Reach, forbidden_reference};

/// Where a base URL points, as far as it can be told without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A cloud's metadata service.
    Metadata,
    /// An address that only neighbours on the same wire have: `169.254.0.0/16` or `fe80::/10`.
    LinkLocal,
    /// Anywhere else, or no URL at all.
    Elsewhere,
}

/// The metadata services of the large clouds: AWS, Google, Azure, Oracle and others share the first; then AWS over
/// IPv6, Google over IPv6, Alibaba, and Azure's host.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];
const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata"];

impl Place {
    /// Reads a base URL, in every notation that its address can have.
    pub fn of(base_url: &str) -> Place {
        Url::parse(base_url).map_or(Place::Elsewhere, |url| Place::of_url(&url))
    }

    pub(crate) fn of_url(url: &Url) -> Place {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
        let Ok(ip) = host.parse::<IpAddr>() else {
            return if METADATA_NAMES.contains(&host) { Place::Metadata } else { Place::Elsewhere };
        };
        let ip = ip.to_canonical();
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        match ip {
            ip if METADATA.contains(&ip) => Place::Metadata,
            _ if link_local => Place::LinkLocal,
            _ => Place::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_and_link_local_addresses_are_known_in_every_notation() {
        for (url, place) in [
            ("http://169.254.169.254/v1", Place::Metadata),
            ("http://169.254.169.254./v1", Place::Metadata),
            ("http://2852039166", Place::Metadata),
            ("http://0xa9fea9fe/latest", Place::Metadata),
            ("http://0251.0376.0251.0376", Place::Metadata),
            ("http://[::ffff:169.254.169.254]", Place::Metadata),
            ("http://[fd00:ec2::254]", Place::Metadata),
            ("http://[fd20:ce::254]", Place::Metadata),
            ("http://100.100.100.200", Place::Metadata),
            ("http://168.63.129.16", Place::Metadata),
            ("http://metadata.google.internal", Place::Metadata),
            ("http://METADATA.google.internal./x", Place::Metadata),
            ("http://169.254.7.7:8000/v1", Place::LinkLocal),
            ("http://[fe80::1]:8000/v1", Place::LinkLocal),
            ("http://[febf::1]", Place::LinkLocal),
            ("http://[::ffff:169.254.7.7]", Place::LinkLocal),
            ("http://127.0.0.1:8000", Place::Elsewhere),
            ("http://10.0.0.1", Place::Elsewhere),
            ("http://[fd00::1]", Place::Elsewhere),
            ("https://api.openai.com/v1", Place::Elsewhere),
            ("https://metadata.example.com", Place::Elsewhere),
            ("169.254.169.254", Place::Elsewhere),
            ("", Place::Elsewhere),
        ] {
            assert_eq!(Place::of(url), place, "{url}");
        }
    }
}
