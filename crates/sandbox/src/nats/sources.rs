//! Reads apt's source lists, and derives one for Debian's unstable suite from them.
//!
//! Both formats of sources.list(5) are read, as
//! far as they matter here: kind, location, suites, components, whether enabled, and the key that signs.

use std::fmt::Write as _;

/// A Debian mirror that the machine trusts: a location and, where its source says so, the key that signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    /// Where packages come from; may hold a password.
    pub(super) uri: String,
    /// `Signed-By`: the path of a keyring, a fingerprint, or a whole key of many lines.
    pub(super) signed_by: Option<String>,
}

impl Mirror {
    /// The source list for the unstable suite of this mirror, in the deb822 format.
    pub(super) fn unstable(&self) -> String {
        let mut list = format!("Types: deb\nURIs: {}\nSuites: sid\nComponents: main\nTargets: Packages\n", self.uri);
        if let Some(signed_by) = &self.signed_by {
            writeln!(list, "Signed-By: {signed_by}").expect("writing to a string cannot fail");
        }
        list
    }

    /// The location as it may be shown: without a user and password.
    pub(super) fn shown(&self) -> String {
        match self.uri.split_once("://") {
            Some((scheme, rest)) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                format!("{scheme}://{host}{path}")
            }
            None => self.uri.clone(),
        }
    }
}

/// One entry of a list, of either format.
#[derive(Debug, Default)]
struct Source {
    binary: bool,
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// The Debian mirrors of a one-line list (`sources.list`, `*.list`).
pub(super) fn one_line(list: &str) -> Vec<Mirror> {
    mirrors(list.lines().filter_map(one_line_source))
}

fn one_line_source(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let (kind, mut rest) = line.split_once(char::is_whitespace)?;
    let mut source = Source { binary: kind == "deb", ..Source::default() };
    rest = rest.trim_start();
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (options, after) = bracketed.split_once(']')?;
        source.signed_by =
            options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    source.uris = vec![words.next()?];
    source.suites = vec![words.next()?];
    source.components = words.collect();
    Some(source)
}

/// The Debian mirrors of a deb822 list (`*.sources`).
pub(super) fn deb822(list: &str) -> Vec<Mirror> {
    let lines: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    mirrors(lines.split(|line| line.trim().is_empty()).filter_map(deb822_source))
}

fn deb822_source(stanza: &[&str]) -> Option<Source> {
    let words = |name| field(stanza, name).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let kinds: Vec<String> = words("Types");
    if field(stanza, "Enabled").is_some_and(|enabled| matches!(enabled.trim(), "no" | "false" | "without" | "off")) {
        return None;
    }
    Some(Source {
        binary: kinds.iter().any(|kind| kind == "deb"),
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: field(stanza, "Signed-By"),
    })
}

/// A field with its continuation lines as they stand: a key block must keep them.
fn field(stanza: &[&str], name: &str) -> Option<String> {
    let start = stanza.iter().position(|line| {
        line.split_once(':').is_some_and(|(key, _)| !key.starts_with([' ', '\t']) && key.eq_ignore_ascii_case(name))
    })?;
    let first = stanza[start].split_once(':').map_or("", |(_, value)| value).trim();
    let more = stanza[start + 1..].iter().take_while(|line| line.starts_with([' ', '\t']));
    Some(more.fold(first.to_owned(), |value, line| value + "\n" + line))
}

fn mirrors(sources: impl Iterator<Item = Source>) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for source in sources.filter(is_debian) {
        for uri in source.uris.iter().filter(|uri| names_debian(uri)) {
            let mirror = Mirror { uri: uri.clone(), signed_by: source.signed_by.clone() };
            if !mirrors.contains(&mirror) {
                mirrors.push(mirror);
            }
        }
    }
    mirrors
}

/// Suites that only the archive itself has; `bookworm-security` and the like live in other archives.
const SUITES: [&str; 11] = [
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "sid",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
];

fn is_debian(source: &Source) -> bool {
    source.binary
        && source.components.iter().any(|component| component == "main")
        && source.suites.iter().any(|suite| SUITES.contains(&suite.as_str()))
}

/// Third parties name their suites like Debian's too; what tells the archive apart is the end of its path, also
/// in the mirror lists of cloud images (`mirror+file:///etc/apt/mirrors/debian.list`).
fn names_debian(uri: &str) -> bool {
    uri.trim_end_matches('/').rsplit('/').next().is_some_and(|end| end.contains("debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(uri: &str, signed_by: Option<&str>) -> Mirror {
        Mirror { uri: uri.to_owned(), signed_by: signed_by.map(str::to_owned) }
    }

    #[test]
    fn one_line_lists_give_their_debian_mirrors_once() {
        let list = "
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib   # the archive
deb http://mirror.example/debian bookworm-updates main
deb-src http://sources.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/d.gpg] https://two.example/debian/ trixie main
deb http://mirror.example/debian-security bookworm-security main
deb https://apt.vendor.example bookworm main
deb https://download.vendor.example/linux/debian bookworm stable
";
        assert_eq!(
            one_line(list),
            [
                mirror("http://mirror.example/debian", None),
                mirror("https://two.example/debian/", Some("/usr/share/keyrings/d.gpg")),
            ]
        );
    }

    #[test]
    fn deb822_lists_give_their_debian_mirrors_with_the_key() {
        let list = "\
Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

types: deb
uris: mirror+file:///etc/apt/mirrors/debian.list
suites: trixie
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
";
        assert_eq!(
            deb822(list),
            [
                mirror("http://mirror.example/debian", Some("/usr/share/keyrings/debian-archive-keyring.gpg")),
                mirror(
                    "mirror+file:///etc/apt/mirrors/debian.list",
                    Some("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc")
                ),
            ]
        );
    }

    #[test]
    fn the_derived_list_names_unstable_and_keeps_the_key() {
        assert_eq!(
            mirror("http://mirror.example/debian", Some("/k.gpg")).unstable(),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\nTargets: Packages\n\
             Signed-By: /k.gpg\n"
        );
        let key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc";
        let derived = mirror("http://mirror.example/debian", Some(key)).unstable();
        assert!(derived.ends_with("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"), "{derived}");
    }

    #[test]
    fn a_password_in_a_location_is_not_shown() {
        let shown = mirror("https://ada:secret@mirror.example/debian", None).shown();
        assert_eq!(shown, "https://mirror.example/debian");
        assert_eq!(mirror("http://mirror.example", None).shown(), "http://mirror.example");
    }
}
