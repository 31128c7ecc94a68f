//! Fetches `nats-server` from the project's releases on GitHub, checked against the release's own list of digests.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use sha2::{Digest, Sha256};

use crate::{Event, Progress, Tried, Version};

/// The release that is fetched: the one that the broker's numbers were measured with.
const PINNED: Version = Version::new(2, 15, 1);
/// Where the project publishes its releases: <https://github.com/nats-io/nats-server/releases>.
const RELEASES: &str = "https://github.com/nats-io/nats-server/releases/download";
/// An archive has some 7 MB; what is ten times as large is something else.
const ARCHIVE_BYTES_MAX: usize = 64 << 20;
/// The list has one line of about 110 bytes for each of some forty files.
const DIGESTS_BYTES_MAX: usize = 64 << 10;
/// The unpacked server has some 20 MB.
const BINARY_BYTES_MAX: u64 = 256 << 20;
/// Generous for 7 MB; a dead line shows sooner, through [`CONNECT_WITHIN`].
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(300);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A place with releases, and the one that is wanted of it.
pub(super) struct Release {
    base: String,
    version: Version,
    os: &'static str,
    arch: &'static str,
}

impl Release {
    pub(super) fn official() -> Self {
        Self { base: RELEASES.to_owned(), version: PINNED, os: std::env::consts::OS, arch: std::env::consts::ARCH }
    }

    /// The archive's name, such as `nats-server-v2.15.1-linux-amd64.tar.gz`; none is published for other machines.
    fn asset(&self) -> Option<String> {
        let os = match self.os {
            "linux" => "linux",
            "macos" => "darwin",
            _ => return None,
        };
        let arch = match self.arch {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            _ => return None,
        };
        Some(format!("nats-server-v{}-{os}-{arch}.tar.gz", self.version))
    }

    fn url(&self, file: &str) -> String {
        format!("{}/v{}/{file}", self.base, self.version)
    }
}

/// Fetches and checks the archive and unpacks the server into `scratch`.
pub(super) async fn fetch(release: &Release, scratch: &Path, progress: &Progress) -> Result<PathBuf, Tried> {
    let place = format!("the release at {}/v{}", release.base, release.version);
    let Some(asset) = release.asset() else {
        return Err(Tried::new(place, format!("has nothing for {} on {}", release.os, release.arch)));
    };
    fetch_asset(release, &asset, scratch, progress).await.map_err(|why| {
        Tried::new(place, why)
            .remedy(format!("fetch {} by hand, and put its `nats-server` on PATH", release.url(&asset)))
    })
}

async fn fetch_asset(release: &Release, asset: &str, scratch: &Path, progress: &Progress) -> Result<PathBuf, String> {
    let client = client(release.base.starts_with("https://"))?;
    let digests = download(&client, &release.url("SHA256SUMS"), DIGESTS_BYTES_MAX, |_, _| {}).await?;
    let expected = digest_of(&String::from_utf8_lossy(&digests), asset)
        .ok_or_else(|| format!("its SHA256SUMS does not list {asset}"))?;

    let announce = |bytes, bytes_total| {
        progress.say(match bytes {
            0 => Event::Fetching {
                what: format!("nats-server {}", release.version),
                from: release.url(asset),
                bytes_total,
            },
            bytes => Event::Progress { bytes },
        });
    };
    let archive = download(&client, &release.url(asset), ARCHIVE_BYTES_MAX, announce).await?;
    let found = hex(&Sha256::digest(&archive));
    if found != expected {
        return Err(format!("{asset} has the SHA-256 {found}, but SHA256SUMS says {expected}"));
    }
    let binary = scratch.join("nats-server");
    unpack(&archive, &binary).map_err(|error| format!("{asset} cannot be unpacked: {error}"))?;
    Ok(binary)
}

fn client(https_only: bool) -> Result<Client, String> {
    // reqwest asks for the process's provider of cryptography. An error means that somebody was faster to set it.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Client::builder()
        .https_only(https_only)
        .connect_timeout(CONNECT_WITHIN)
        .timeout(DOWNLOAD_WITHIN)
        // The digest is of the bytes as published.
        .no_gzip()
        .build()
        .map_err(|error| reasons(&error))
}

/// Reads a body of at most `bytes_max`, calling back with 0 at the start and then with the bytes so far.
async fn download(
    client: &Client,
    url: &str,
    bytes_max: usize,
    progress: impl Fn(u64, Option<u64>),
) -> Result<Vec<u8>, String> {
    let mut response =
        client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(|error| reasons(&error))?;
    progress(0, response.content_length());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| reasons(&error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("{url} is larger than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
        progress(body.len() as u64, None);
    }
    Ok(body)
}

/// An error with its causes: reqwest's own words leave out what failed underneath.
fn reasons(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        write!(text, ": {cause}").expect("writing to a string cannot fail");
        source = cause.source();
    }
    text
}

/// Finds the digest of a file in the output format of sha256sum(1).
fn digest_of(digests: &str, file: &str) -> Option<String> {
    digests.lines().find_map(|line| {
        let (digest, name) = line.split_once(char::is_whitespace)?;
        let name = name.trim_start().trim_start_matches('*');
        (name == file && digest.len() == 64).then(|| digest.to_ascii_lowercase())
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the archive's `nats-server` to `binary`, whatever directory it is in there.
fn unpack(archive: &[u8], binary: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() && entry.path()?.file_name() == Some("nats-server".as_ref()) {
            let mut file = File::create(binary)?;
            let bytes = io::copy(&mut entry.take(BINARY_BYTES_MAX), &mut file)?;
            if bytes == BINARY_BYTES_MAX {
                return Err(io::Error::other("its `nats-server` is too large"));
            }
            file.flush()?;
            return fs::set_permissions(binary, fs::Permissions::from_mode(0o755));
        }
    }
    Err(io::Error::other("it holds no `nats-server`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    const ASSET: &str = "nats-server-v2.15.1-linux-amd64.tar.gz";

    fn archive(file: &str, content: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
        for (path, content) in [("top/README.md", "read me"), (file, content)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// Serves files by path until the test process ends.
    fn serve(files: Vec<(String, Vec<u8>)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let wanted = request.split(' ').nth(1).unwrap();
                let (status, body) = match files.iter().find(|(path, _)| path == wanted) {
                    Some((_, body)) => ("200 OK", body.as_slice()),
                    None => ("404 Not Found", [].as_slice()),
                };
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").unwrap();
                // A client that has read enough may be gone.
                let _ = stream.write_all(body);
            }
        });
        base
    }

    fn release(base: String) -> Release {
        Release { base, version: PINNED, os: "linux", arch: "x86_64" }
    }

    #[test]
    fn archives_are_named_as_the_project_names_them() {
        let check = |os, arch, expected: Option<&str>| {
            let release = Release { base: RELEASES.to_owned(), version: Version::new(2, 15, 1), os, arch };
            assert_eq!(release.asset().as_deref(), expected);
        };
        check("linux", "x86_64", Some(ASSET));
        check("linux", "aarch64", Some("nats-server-v2.15.1-linux-arm64.tar.gz"));
        check("macos", "x86_64", Some("nats-server-v2.15.1-darwin-amd64.tar.gz"));
        check("macos", "aarch64", Some("nats-server-v2.15.1-darwin-arm64.tar.gz"));
        check("linux", "riscv64", None);
        check("windows", "x86_64", None);
        let url = Release::official().url(ASSET);
        assert_eq!(url, format!("https://github.com/nats-io/nats-server/releases/download/v2.15.1/{ASSET}"));
        assert!(PINNED >= super::super::find::MINIMUM);
    }

    #[test]
    fn digests_are_found_by_the_whole_name() {
        let digest = "AB".repeat(32);
        let list = format!("{digest}  other-{ASSET}\n{} *{ASSET}\nshort  x\n", "cd".repeat(32));
        assert_eq!(digest_of(&list, ASSET), Some("cd".repeat(32)));
        assert_eq!(digest_of(&list, &format!("other-{ASSET}")), Some("ab".repeat(32)));
        assert_eq!(digest_of(&list, "x"), None);
        assert_eq!(digest_of(&list, "missing"), None);
    }

    #[tokio::test]
    async fn a_checked_archive_becomes_a_runnable_server() {
        let archive = archive("top/nats-server", "#!/bin/sh\necho 'nats-server: v2.15.1'\n");
        let digests = format!("{}  {ASSET}\n", hex(&Sha256::digest(&archive)));
        let base = serve(vec![
            ("/v2.15.1/SHA256SUMS".to_owned(), digests.into_bytes()),
            (format!("/v2.15.1/{ASSET}"), archive.clone()),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let progress = Progress::new(move |event| seen.lock().unwrap().push(event));
        let binary = fetch(&release(base), dir.path(), &progress).await.unwrap();
        assert_eq!(crate::version::at_least(&binary, &["--version"], PINNED).await, Ok(PINNED));
        let events = events.lock().unwrap();
        let total = archive.len() as u64;
        assert!(matches!(&events[0], Event::Fetching { bytes_total: Some(bytes), .. } if *bytes == total));
        assert_eq!(events.last(), Some(&Event::Progress { bytes: total }));
    }

    async fn check_refused(files: Vec<(String, Vec<u8>)>, reason: &str) {
        let dir = tempfile::tempdir().unwrap();
        let tried = fetch(&release(serve(files)), dir.path(), &Progress::silent()).await.unwrap_err();
        assert!(tried.why.contains(reason), "{tried}");
        assert!(!dir.path().join("nats-server").exists());
    }

    #[tokio::test]
    async fn what_is_not_as_published_is_refused() {
        let sums = "/v2.15.1/SHA256SUMS".to_owned();
        let asset = format!("/v2.15.1/{ASSET}");
        let listed = |archive: &[u8]| format!("{}  {ASSET}\n", hex(&Sha256::digest(archive))).into_bytes();
        let good = archive("top/nats-server", "x");

        check_refused(vec![], "404").await;
        check_refused(vec![(sums.clone(), b"nothing".to_vec()), (asset.clone(), good.clone())], "does not list").await;
        check_refused(vec![(sums.clone(), listed(&good)), (asset.clone(), b"tampered".to_vec())], "SHA256SUMS says")
            .await;
        let empty = archive("top/other", "x");
        check_refused(vec![(sums.clone(), listed(&empty)), (asset.clone(), empty)], "holds no `nats-server`").await;
        check_refused(vec![(sums, vec![b'x'; DIGESTS_BYTES_MAX + 1])], "larger than").await;
    }

    #[tokio::test]
    async fn a_machine_without_an_archive_is_told_so() {
        let release = Release { base: "http://127.0.0.1:1".to_owned(), version: PINNED, os: "linux", arch: "mips" };
        let dir = tempfile::tempdir().unwrap();
        let tried = fetch(&release, dir.path(), &Progress::silent()).await.unwrap_err();
        assert!(tried.why.contains("nothing for linux on mips"), "{tried}");
    }
}
