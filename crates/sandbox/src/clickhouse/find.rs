//! Which ClickHouse is used: the user's, the machine's own, or the embedded engine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::npm;
use crate::{Error, Event, Locations, Progress, Tried, Version, cache, version};

/// The oldest server with all that the schema needs.
const MINIMUM: Version = Version::new(24, 8, 0);

/// Where the engine of this version is kept in the cache.
const ENGINE_DIR: &str = "chdb-26.7.3";
const ENGINE_FILE: &str = "libchdb.so";

/// A ClickHouse that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClickHouseSource {
    /// One that already runs; the URL may hold a user and password.
    Url(String),
    /// A server's program: `clickhouse`, which needs the subcommand `server`, or `clickhouse-server`.
    Binary(PathBuf),
    /// The engine as a library, to be run in a process of its own.
    Embedded {
        /// The shared library `libchdb`.
        library: PathBuf,
    },
}

/// Finds a ClickHouse, or fetches the embedded engine.
///
/// In this order: the URL that the user gave, a server on `PATH` that is new enough, the embedded engine from the
/// cache, the embedded engine from npm (some 180 MB, through the machine's npm client and its registry, checked
/// against the registry's digest).
///
/// Cancel safety: a fetch that is dropped leaves nothing but a scratch directory that it removes itself.
///
/// # Errors
///
/// [`Error::NoClickHouse`] with everything that was tried; [`Error::Locked`] when another process fetches for too
/// long; [`Error::Io`] when the cache cannot be written.
pub async fn clickhouse(locations: &Locations, progress: &Progress) -> Result<ClickHouseSource, Error> {
    if let Some(url) = &locations.clickhouse_url {
        return Ok(ClickHouseSource::Url(url.clone()));
    }
    let mut tried = Vec::new();
    if let Some(binary) = on_path(locations, &mut tried).await {
        return Ok(ClickHouseSource::Binary(binary));
    }
    engine(locations, progress, tried).await.map(|library| ClickHouseSource::Embedded { library })
}

/// Finds or fetches the embedded engine's library, whatever else the machine has: for who runs the engine itself.
///
/// Cancel safety and errors are those of [`clickhouse`].
///
/// # Errors
///
/// As [`clickhouse`].
pub async fn clickhouse_engine(locations: &Locations, progress: &Progress) -> Result<PathBuf, Error> {
    engine(locations, progress, Vec::new()).await
}

async fn engine(locations: &Locations, progress: &Progress, mut tried: Vec<Tried>) -> Result<PathBuf, Error> {
    let started = Instant::now();
    let library = locations.cache_dir.join(ENGINE_DIR).join(ENGINE_FILE);
    if is_there(&library) {
        return Ok(library);
    }
    let _lock = cache::lock(&locations.cache_dir, "chdb", progress).await?;
    // Whoever held the lock may have fetched it.
    if is_there(&library) {
        return Ok(library);
    }
    tried.push(Tried::new(format!("the cache {}", locations.cache_dir.display()), "does not hold the engine"));
    let scratch = cache::scratch(&locations.cache_dir)?;
    match npm::fetch(locations, scratch, progress).await {
        Ok((fetched, _scratch)) => {
            cache::publish(&fetched, &library)?;
            progress.say(Event::Done { path: library.clone(), took: started.elapsed() });
            Ok(library)
        }
        Err(failed) => {
            tried.push(failed);
            Err(Error::NoClickHouse { minimum: MINIMUM, tried })
        }
    }
}

/// Files appear in the cache whole, so being there is enough.
fn is_there(library: &Path) -> bool {
    library.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0)
}

/// What a program is told to run as a server: `clickhouse` is many programs in one.
pub(super) fn server_args(binary: &Path) -> &'static [&'static str] {
    if binary.file_name() == Some("clickhouse-server".as_ref()) { &[] } else { &["server"] }
}

async fn on_path(locations: &Locations, tried: &mut Vec<Tried>) -> Option<PathBuf> {
    let mut found = locations.programs("clickhouse");
    found.append(&mut locations.programs("clickhouse-server"));
    if found.is_empty() {
        tried.push(Tried::new("PATH", "has neither `clickhouse` nor `clickhouse-server`"));
    }
    for binary in found {
        let args = [server_args(&binary), &["--version"]].concat();
        match version::at_least(&binary, &args, MINIMUM).await {
            Ok(_) => return Some(binary),
            Err(why) => tried.push(Tried::new(binary.display().to_string(), why)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn locations(dir: &Path) -> Locations {
        Locations {
            cache_dir: dir.join("cache"),
            path: dir.join("bin").into(),
            clickhouse_url: None,
            nats_server: None,
        }
    }

    fn program(place: &Path, script: &str) {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    }

    async fn find(locations: &Locations) -> Result<ClickHouseSource, Error> {
        clickhouse(locations, &Progress::silent()).await
    }

    #[tokio::test]
    async fn a_url_wins_over_everything() {
        let dir = tempfile::tempdir().unwrap();
        let mut locations = locations(dir.path());
        locations.clickhouse_url = Some("http://ch.example:8123".to_owned());
        assert_eq!(find(&locations).await.unwrap(), ClickHouseSource::Url("http://ch.example:8123".to_owned()));
    }

    #[tokio::test]
    async fn a_new_enough_server_on_the_path_wins_over_the_engine() {
        let dir = tempfile::tempdir().unwrap();
        let locations = locations(dir.path());
        let library = locations.cache_dir.join(ENGINE_DIR).join(ENGINE_FILE);
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        fs::write(&library, "engine").unwrap();
        assert_eq!(find(&locations).await.unwrap(), ClickHouseSource::Embedded { library: library.clone() });

        let old = dir.path().join("bin/clickhouse");
        program(&old, r#"[ "$1" = server ] && echo "ClickHouse server version 23.8.1.1.""#);
        assert_eq!(find(&locations).await.unwrap(), ClickHouseSource::Embedded { library });

        let new = dir.path().join("bin/clickhouse-server");
        program(&new, r#"[ "$1" = --version ] && echo "ClickHouse server version 25.3.2.39.""#);
        assert_eq!(find(&locations).await.unwrap(), ClickHouseSource::Binary(new));
    }

    #[tokio::test]
    async fn without_npm_the_error_says_what_would_help() {
        let dir = tempfile::tempdir().unwrap();
        let error = find(&locations(dir.path())).await.unwrap_err().to_string();
        for part in ["npm", "CLICKHOUSE_URL", "`clickhouse` on PATH", "neither"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }
}
