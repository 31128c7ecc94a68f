//! Versions, as programs print them about themselves.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::command;

/// A release number of three parts; what follows them (a build, a pre-release) is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Incompatible above all.
    pub major: u32,
    /// New features.
    pub minor: u32,
    /// Fixes.
    pub patch: u32,
}

impl Version {
    /// Makes a version of its three parts.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Finds the first `x.y.z` in a text such as "nats-server: v2.15.1".
    #[must_use]
    pub fn find_in(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
            let mut parts = word.split('.').map(str::parse);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some(Self { major, minor, patch }),
                _ => None,
            }
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Printing a version touches no network and little disk; ten seconds cover a cold, busy machine.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// Asks a program for its version and refuses one older than `minimum`; the error says why in words.
pub(crate) async fn at_least(program: &Path, args: &[&str], minimum: Version) -> Result<Version, String> {
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    let printed = command::output(tokio::process::Command::new(program).args(args), VERSION_WITHIN).await?;
    match Version::find_in(&printed) {
        None => Err("does not print a version".to_owned()),
        Some(found) if found < minimum => Err(format!("{found} is older than {minimum}")),
        Some(found) => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Version>) {
        assert_eq!(Version::find_in(text), expected, "{text}");
    }

    #[test]
    fn versions_are_found_as_the_servers_print_them() {
        check("nats-server: v2.15.1\n", Some(Version::new(2, 15, 1)));
        check("nats-server: v2.12.0-RC.1", Some(Version::new(2, 12, 0)));
        check("ClickHouse server version 24.8.4.13 (official build).", Some(Version::new(24, 8, 4)));
        check("ClickHouse client version 25.10.1.1.", Some(Version::new(25, 10, 1)));
        check("nothing here", None);
        check("v2.15", None);
        check("99999999999.1.1", None);
    }

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(Version::new(2, 9, 25) < Version::new(2, 12, 0));
        assert!(Version::new(24, 8, 0) <= Version::new(24, 8, 0));
    }
}
