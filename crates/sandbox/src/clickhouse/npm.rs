//! Fetches the embedded engine, which its makers publish as a package for Node, through the machine's npm client.
//!
//! The client knows the registry, the proxy and the credentials that the user has set up; we know none of them.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::output;
use crate::{Event, Locations, Progress, Tried};

/// The engine's version as npm names it.
const VERSION: &str = "26.7.3-stable.1";
/// A question about one package.
const VIEW_WITHIN: Duration = Duration::from_secs(60);
/// Some 180 MB: half an hour allows for a line of 100 kB/s.
const PACK_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How much is read at a time, and how often progress is told: about 130 times for the whole library.
const STEP_BYTES: usize = 4 << 20;
/// The library has 570 MB unpacked; a package several times as large is something else.
const LIBRARY_BYTES_MAX: u64 = 3 << 30;

const PLACE: &str = "the embedded engine from npm";

/// The engine's package for a machine; none is published for others.
fn package(os: &str, arch: &str) -> Option<&'static str> {
    match (os, arch) {
        ("linux", "x86_64") => Some("@chdb/lib-linux-x64-gnu"),
        ("linux", "aarch64") => Some("@chdb/lib-linux-arm64-gnu"),
        ("macos", "x86_64") => Some("@chdb/lib-darwin-x64"),
        ("macos", "aarch64") => Some("@chdb/lib-darwin-arm64"),
        _ => None,
    }
}

/// What the registry says about the package.
struct Published {
    /// The archive's SHA-512.
    sha512: Vec<u8>,
    /// The size of its files.
    unpacked_bytes: Option<u64>,
}

/// Fetches and checks the package and unpacks the library into `scratch`, which comes back with it.
pub(super) async fn fetch(
    locations: &Locations,
    scratch: TempDir,
    progress: &Progress,
) -> Result<(PathBuf, TempDir), Tried> {
    let Some(package) = package(std::env::consts::OS, std::env::consts::ARCH) else {
        let machine = format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH);
        return Err(Tried::new(PLACE, format!("is not published for {machine}")));
    };
    let Some(npm) = locations.program("npm") else {
        return Err(Tried::new(PLACE, "PATH has no `npm`").remedy("install Node.js, which brings npm"));
    };
    fetch_package(locations, &npm, package, scratch, progress)
        .await
        .map_err(|why| Tried::new(format!("{PLACE} ({package}@{VERSION})"), why))
}

async fn fetch_package(
    locations: &Locations,
    npm: &Path,
    package: &str,
    scratch: TempDir,
    progress: &Progress,
) -> Result<(PathBuf, TempDir), String> {
    let wanted = format!("{package}@{VERSION}");
    let command = || {
        let mut command = Command::new(npm);
        // In a directory without a package.json: a project's settings are not ours. npm itself needs `node`.
        command.current_dir(scratch.path()).env("PATH", &locations.path);
        command
    };
    let viewed = output(command().args(["view", &wanted, "dist", "--json"]), VIEW_WITHIN).await?;
    let published = published(&viewed)?;
    let what = format!("the embedded ClickHouse engine {VERSION}");
    progress.say(Event::Fetching { what: what.clone(), from: format!("npm, package {package}"), bytes_total: None });
    output(command().args(["pack", &wanted, "--silent", "--ignore-scripts", "--pack-destination", "."]), PACK_WITHIN)
        .await?;
    let archive = only_archive(scratch.path())?;

    progress.say(Event::Unpacking { what, bytes_total: published.unpacked_bytes });
    let progress = progress.clone();
    // Seconds of hashing and inflating. The scratch directory goes along, so that it outlives a dropped future.
    let unpacking = tokio::task::spawn_blocking(move || {
        check(&archive, &published.sha512)?;
        let library = scratch.path().join("libchdb.so");
        unpack(&archive, &library, &progress).map_err(|error| format!("the package cannot be unpacked: {error}"))?;
        Ok((library, scratch))
    });
    unpacking.await.map_err(|error| format!("unpacking was cut off: {error}"))?
}

/// Reads the answer of `npm view … dist --json`: the object `dist` of the registry's metadata.
fn published(viewed: &str) -> Result<Published, String> {
    let view: serde_json::Value =
        serde_json::from_str(viewed).map_err(|error| format!("`npm view` answers in no JSON: {error}"))?;
    let integrity = view.get("integrity").and_then(|integrity| integrity.as_str());
    // The field may list several digests, separated by spaces: https://www.w3.org/TR/SRI/
    let sha512 = integrity
        .and_then(|list| list.split(' ').find_map(|digest| digest.strip_prefix("sha512-")))
        .and_then(|digest| STANDARD.decode(digest).ok())
        .filter(|digest| digest.len() == 64)
        .ok_or("the registry gives no SHA-512 of it")?;
    Ok(Published { sha512, unpacked_bytes: view.get("unpackedSize").and_then(serde_json::Value::as_u64) })
}

fn only_archive(dir: &Path) -> Result<PathBuf, String> {
    let archives: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some("tgz".as_ref()))
        .collect();
    match <[PathBuf; 1]>::try_from(archives) {
        Ok([archive]) => Ok(archive),
        Err(archives) => Err(format!("`npm pack` left {} archives instead of one", archives.len())),
    }
}

/// Compares the archive's digest before anything of it is unpacked.
fn check(archive: &Path, sha512: &[u8]) -> Result<(), String> {
    let digest = || -> io::Result<_> {
        let mut file = File::open(archive)?;
        let mut hasher = Sha512::new();
        let mut step = vec![0; STEP_BYTES];
        loop {
            match file.read(&mut step)? {
                0 => return Ok(hasher.finalize()),
                bytes => hasher.update(&step[..bytes]),
            }
        }
    };
    let found = digest().map_err(|error| error.to_string())?;
    if found.as_slice() == sha512 {
        Ok(())
    } else {
        let (found, expected) = (STANDARD.encode(found), STANDARD.encode(sha512));
        Err(format!("its SHA-512 is {found}, but the registry says {expected}"))
    }
}

/// Writes the archive's library to `library`.
fn unpack(archive: &Path, library: &Path, progress: &Progress) -> io::Result<()> {
    let archive = BufReader::with_capacity(STEP_BYTES, File::open(archive)?);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in archive.entries()? {
        let entry = entry?;
        let named = |name: &str| entry.path().is_ok_and(|path| path.file_name() == Some(name.as_ref()));
        if entry.header().entry_type().is_file() && (named("libchdb.so") || named("libchdb.dylib")) {
            if entry.size() > LIBRARY_BYTES_MAX {
                return Err(io::Error::other("its library is too large"));
            }
            return copy(entry, &mut File::create(library)?, progress);
        }
    }
    Err(io::Error::other("it holds no `libchdb.so`"))
}

fn copy(mut from: impl Read, to: &mut File, progress: &Progress) -> io::Result<()> {
    let mut step = vec![0; STEP_BYTES];
    let (mut bytes, mut told) = (0, 0);
    loop {
        match from.read(&mut step)? {
            0 => break,
            read => {
                to.write_all(&step[..read])?;
                bytes += read as u64;
            }
        }
        if bytes - told >= STEP_BYTES as u64 {
            told = bytes;
            progress.say(Event::Progress { bytes });
        }
    }
    progress.say(Event::Progress { bytes });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    fn archive(file: &str, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, content) in [("package/package.json", b"{}".as_slice()), (file, content)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// A machine whose npm knows one package, with that archive and the digest of that other one.
    fn with_npm(dir: &Path, archive: &[u8], digest_of: &[u8]) -> Locations {
        let integrity = STANDARD.encode(Sha512::digest(digest_of));
        fs::write(dir.join("archive"), archive).unwrap();
        let npm = dir.join("npm");
        let script = format!(
            r#"#!/bin/sh
case "$1" in
  view) echo '{{"integrity": "sha512-{integrity}", "unpackedSize": 7}}' ;;
  pack) /bin/cp '{}' ./chdb.tgz ;;
esac
"#,
            dir.join("archive").display()
        );
        fs::write(&npm, script).unwrap();
        fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
        Locations { cache_dir: dir.into(), path: dir.into(), clickhouse_url: None, nats_server: None }
    }

    #[test]
    fn packages_are_named_as_their_makers_name_them() {
        assert_eq!(package("linux", "x86_64"), Some("@chdb/lib-linux-x64-gnu"));
        assert_eq!(package("linux", "aarch64"), Some("@chdb/lib-linux-arm64-gnu"));
        assert_eq!(package("macos", "x86_64"), Some("@chdb/lib-darwin-x64"));
        assert_eq!(package("macos", "aarch64"), Some("@chdb/lib-darwin-arm64"));
        assert_eq!(package("linux", "riscv64"), None);
    }

    #[tokio::test]
    async fn a_checked_package_becomes_the_library() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; STEP_BYTES + 1];
        let archive = archive("package/libchdb.so", &content);
        let locations = with_npm(dir.path(), &archive, &archive);
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let progress = Progress::new(move |event| seen.lock().unwrap().push(event));
        let (library, _scratch) = fetch(&locations, tempfile::tempdir().unwrap(), &progress).await.unwrap();
        assert!(fs::read(library).unwrap() == content);
        let events = events.lock().unwrap();
        assert!(matches!(events[0], Event::Fetching { .. }));
        assert!(matches!(events[1], Event::Unpacking { bytes_total: Some(7), .. }));
        assert_eq!(events.last(), Some(&Event::Progress { bytes: content.len() as u64 }));
    }

    async fn check_refused(archive: &[u8], digest_of: &[u8], reason: &str) {
        let dir = tempfile::tempdir().unwrap();
        let locations = with_npm(dir.path(), archive, digest_of);
        let scratch = tempfile::tempdir().unwrap();
        let tried = fetch(&locations, scratch, &Progress::silent()).await.unwrap_err();
        assert!(tried.why.contains(reason), "{tried}");
    }

    #[tokio::test]
    async fn what_is_not_as_published_is_refused() {
        let good = archive("package/libchdb.so", b"library");
        let other = archive("package/other.so", b"library");
        check_refused(&good, b"something else", "but the registry says").await;
        check_refused(&other, &other, "holds no `libchdb.so`").await;
    }

    #[test]
    fn an_answer_without_a_strong_digest_is_refused() {
        for answer in ["", "{}", r#"{"integrity": "sha1-abcd"}"#, r#"{"integrity": "sha512-abcd"}"#] {
            assert!(published(answer).is_err(), "{answer}");
        }
        let digest = STANDARD.encode([1; 64]);
        let answer = format!(r#"{{"integrity": "sha1-abcd sha512-{digest}"}}"#);
        assert_eq!(published(&answer).unwrap_or_else(|error| panic!("{error}")).sha512, [1; 64]);
    }
}
