//! Fetches `nats-server` from Debian's unstable suite, through the mirror and keys that the machine's apt uses.
//!
//! Stable releases carry servers that are too old. apt is run on a private list, private indices and a private
//! cache, so that the machine's own state is not touched and no root is needed; it checks the suite's signature and
//! the package's digest as always. The package is unpacked, not installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::sources::{self, Mirror};
use crate::command::output;
use crate::{Event, Locations, Progress, Tried};

/// The suite's index has some 11 MB; five minutes allow for a line of 40 kB/s.
const UPDATE_WITHIN: Duration = Duration::from_secs(300);
/// The package has some 5 MB.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(300);
/// Unpacking 20 MB is a matter of a second, even on a busy disk.
const UNPACK_WITHIN: Duration = Duration::from_secs(60);

/// Fetches the server into `scratch`, from the first mirror that works, and returns the file.
pub(super) async fn fetch(
    locations: &Locations,
    apt_dir: &Path,
    scratch: &Path,
    progress: &Progress,
) -> Result<PathBuf, Tried> {
    const PLACE: &str = "Debian's unstable suite";
    let (Some(apt), Some(dpkg)) = (locations.program("apt-get"), locations.program("dpkg-deb")) else {
        return Err(Tried::new(PLACE, "PATH has no `apt-get` and `dpkg-deb`"));
    };
    let mirrors = mirrors(apt_dir);
    if mirrors.is_empty() {
        return Err(Tried::new(PLACE, format!("the lists in {} name no mirror of Debian", apt_dir.display())));
    }
    let mut failures = Vec::new();
    let package = Package { apt: &apt, dpkg: &dpkg, locations, scratch };
    for mirror in mirrors {
        let from = format!("{PLACE} at {}", mirror.shown());
        progress.say(Event::Fetching { what: "nats-server".to_owned(), from: from.clone(), bytes_total: None });
        match package.fetch(&mirror).await {
            Ok(binary) => return Ok(binary),
            Err(why) => failures.push(explain(from, &why, &mirror)),
        }
    }
    let last = failures.pop().expect("there was a mirror, and it failed");
    Err(failures.into_iter().rev().fold(last, |last, earlier| Tried {
        why: format!("{}; before that, {}: {}", last.why, earlier.place, earlier.why),
        ..last
    }))
}

fn explain(from: String, why: &str, mirror: &Mirror) -> Tried {
    let tried = Tried::new(from, why);
    if why.contains("NO_PUBKEY") || why.contains("not signed") || why.contains("EXPKEYSIG") {
        let keyring = mirror.signed_by.as_deref().filter(|key| key.starts_with('/')).unwrap_or("apt's keyring");
        return tried.remedy(format!(
            "{keyring} lacks the key that signs unstable: install a newer package `debian-archive-keyring`"
        ));
    }
    tried
}

/// The Debian mirrors of the machine's lists, in the order in which apt reads them.
fn mirrors(apt_dir: &Path) -> Vec<Mirror> {
    let mut files = vec![apt_dir.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(apt_dir.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    parts.sort_unstable();
    files.append(&mut parts);

    let mut mirrors: Vec<Mirror> = Vec::new();
    for file in files {
        let Ok(list) = fs::read_to_string(&file) else { continue };
        let found = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources::one_line(&list),
            Some("sources") => sources::deb822(&list),
            _ => continue,
        };
        for mirror in found {
            if !mirrors.contains(&mirror) {
                mirrors.push(mirror);
            }
        }
    }
    mirrors
}

struct Package<'a> {
    apt: &'a Path,
    dpkg: &'a Path,
    locations: &'a Locations,
    scratch: &'a Path,
}

impl Package<'_> {
    async fn fetch(&self, mirror: &Mirror) -> Result<PathBuf, String> {
        // Not in the scratch directory: apt as root downloads as a user who may not enter root's home.
        let dir = tempfile::Builder::new().prefix("tollgate-apt-").tempdir().map_err(words)?;
        let dir = dir.path();
        configure(dir, mirror).map_err(words)?;

        output(self.apt(dir).arg("update"), UPDATE_WITHIN).await?;
        output(self.apt(dir).args(["download", "nats-server"]), DOWNLOAD_WITHIN).await?;
        let package = file_in(dir, |name| name.starts_with("nats-server_") && name.ends_with(".deb"))
            .ok_or("`apt-get download` left no package")?;
        let unpacked = dir.join("unpacked");
        let mut unpack = Command::new(self.dpkg);
        unpack.arg("-x").arg(&package).arg(&unpacked).env("PATH", &self.locations.path);
        output(&mut unpack, UNPACK_WITHIN).await?;
        let binary = ["usr/sbin/nats-server", "usr/bin/nats-server"]
            .map(|place| unpacked.join(place))
            .into_iter()
            .find(|binary| binary.is_file())
            .ok_or("the package holds no `nats-server`")?;
        // A copy, for the temporary directory may be on another file system than the cache.
        let copy = self.scratch.join("nats-server");
        fs::copy(&binary, &copy).map_err(words)?;
        Ok(copy)
    }

    fn apt(&self, dir: &Path) -> Command {
        let mut command = Command::new(self.apt);
        command.arg("--config-file").arg(dir.join("apt.conf")).current_dir(dir);
        command.env("PATH", &self.locations.path).env("LC_ALL", "C");
        command
    }
}

/// Writes the private list and the configuration that confines apt to `dir`.
///
/// The machine's preferences are left out, since pinning unstable away is common and right for installing; so are
/// its hooks, which would run on behalf of an update that is not the machine's.
fn configure(dir: &Path, mirror: &Mirror) -> std::io::Result<()> {
    let at = dir.display();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))?;
    fs::create_dir_all(dir.join("lists/partial"))?;
    fs::create_dir_all(dir.join("cache/archives/partial"))?;
    let list = dir.join("unstable.sources");
    fs::write(&list, mirror.unstable())?;
    // The location may hold a password.
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600))?;
    fs::write(
        dir.join("apt.conf"),
        format!(
            r#"Dir::Etc::SourceList "{at}/unstable.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "{at}/lists";
Dir::Cache "{at}/cache";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
        ),
    )
}

fn file_in(dir: &Path, wanted: impl Fn(&str) -> bool) -> Option<PathBuf> {
    fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted))
}

fn words(error: std::io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose `apt-get` does what the script says.
    fn with_apt(dir: &Path, script: &str) -> Locations {
        for program in ["apt-get", "dpkg-deb"] {
            let file = dir.join(program);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Locations { cache_dir: dir.into(), path: dir.into(), clickhouse_url: None, nats_server: None }
    }

    #[test]
    fn all_lists_of_the_machine_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let parts = dir.path().join("sources.list.d");
        fs::create_dir_all(&parts).unwrap();
        fs::write(dir.path().join("sources.list"), "deb http://one.example/debian stable main\n").unwrap();
        fs::write(parts.join("b.list"), "deb http://two.example/debian stable main\n").unwrap();
        let deb822 = "Types: deb\nURIs: http://three.example/debian\nSuites: stable\nComponents: main\n";
        fs::write(parts.join("a.sources"), deb822).unwrap();
        fs::write(parts.join("c.list.save"), "deb http://four.example/debian stable main\n").unwrap();
        let uris: Vec<String> = mirrors(dir.path()).into_iter().map(|mirror| mirror.uri).collect();
        assert_eq!(uris, ["http://one.example/debian", "http://three.example/debian", "http://two.example/debian"]);
    }

    #[tokio::test]
    async fn a_machine_without_debian_mirrors_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let locations = with_apt(dir.path(), "exit 1");
        let tried = fetch(&locations, dir.path(), dir.path(), &Progress::silent()).await.unwrap_err();
        assert!(tried.why.contains("name no mirror of Debian"), "{tried}");
    }

    #[tokio::test]
    async fn a_missing_key_is_named_with_its_remedy_and_earlier_mirrors_are_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let locations = with_apt(dir.path(), "echo 'W: NO_PUBKEY 0E98404D386FA1D9' >&2; exit 100");
        let list = "deb http://one.example/debian stable main\n\
                    deb [signed-by=/keys/debian.gpg] http://two.example/debian stable main\n";
        fs::write(dir.path().join("sources.list"), list).unwrap();
        let tried = fetch(&locations, dir.path(), dir.path(), &Progress::silent()).await.unwrap_err().to_string();
        for part in ["/keys/debian.gpg", "debian-archive-keyring", "NO_PUBKEY", "http://one.example/debian"] {
            assert!(tried.contains(part), "{part} is missing in: {tried}");
        }
    }
}
