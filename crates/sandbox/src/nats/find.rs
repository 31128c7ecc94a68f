//! Which `nats-server` runs: the machine's own, one fetched before, or one fetched now.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{debian, release};
use crate::{Error, Event, Locations, Progress, Tried, Version, cache, version};

/// The oldest server that has what the streams of the broker need (counters, schedules, priority groups).
pub(super) const MINIMUM: Version = Version::new(2, 12, 0);

/// Finds a `nats-server` that is new enough, or fetches one.
///
/// In this order: the one the user named, `PATH`, the cache, the package of Debian's unstable suite through the
/// machine's own apt mirror and its signatures, the project's release on GitHub with its checksums.
///
/// Cancel safety: a fetch that is dropped leaves nothing but a scratch directory that it removes itself.
///
/// # Errors
///
/// [`Error::NoNatsServer`] with everything that was tried; [`Error::Locked`] when another process fetches for too
/// long; [`Error::Io`] when the cache cannot be written.
pub async fn nats_server(locations: &Locations, progress: &Progress) -> Result<PathBuf, Error> {
    let started = Instant::now();
    let mut tried = Vec::new();
    if let Some(named) = &locations.nats_server {
        return match usable(named).await {
            Ok(_) => Ok(named.clone()),
            Err(why) => Err(none(vec![Tried::new(format!("the given {}", named.display()), why)])),
        };
    }
    if let Some(found) = on_path(locations, &mut tried).await {
        return Ok(found);
    }
    if let Some(found) = cached(&locations.cache_dir).await {
        return Ok(found);
    }
    let _lock = cache::lock(&locations.cache_dir, "nats-server", progress).await?;
    // Whoever held the lock may have fetched it.
    if let Some(found) = cached(&locations.cache_dir).await {
        return Ok(found);
    }
    tried.push(Tried::new(format!("the cache {}", locations.cache_dir.display()), "holds no usable one"));
    let scratch = cache::scratch(&locations.cache_dir)?;
    let fetched = match debian::fetch(locations, Path::new("/etc/apt"), scratch.path(), progress).await {
        Ok(fetched) => fetched,
        Err(failed) => {
            tried.push(failed);
            match release::fetch(&release::Release::official(), scratch.path(), progress).await {
                Ok(fetched) => fetched,
                Err(failed) => {
                    tried.push(failed);
                    return Err(none(tried));
                }
            }
        }
    };
    match usable(&fetched).await {
        Ok(version) => {
            let path = place(&locations.cache_dir, version);
            cache::publish(&fetched, &path)?;
            progress.say(Event::Done { path: path.clone(), took: started.elapsed() });
            Ok(path)
        }
        Err(why) => {
            tried.push(Tried::new("the nats-server just fetched", why));
            Err(none(tried))
        }
    }
}

fn none(tried: Vec<Tried>) -> Error {
    Error::NoNatsServer { minimum: MINIMUM, tried }
}

/// Runs it: a binary for another processor, or against a newer C library, shows only then.
async fn usable(binary: &Path) -> Result<Version, String> {
    version::at_least(binary, &["--version"], MINIMUM).await
}

async fn on_path(locations: &Locations, tried: &mut Vec<Tried>) -> Option<PathBuf> {
    let found = locations.programs("nats-server");
    if found.is_empty() {
        tried.push(Tried::new("PATH", "has no `nats-server`"));
    }
    for binary in found {
        match usable(&binary).await {
            Ok(_) => return Some(binary),
            Err(why) => tried.push(Tried::new(binary.display().to_string(), why)),
        }
    }
    None
}

fn place(cache_dir: &Path, version: Version) -> PathBuf {
    cache_dir.join(format!("nats-server-{version}")).join("nats-server")
}

/// The newest usable one of the cache.
async fn cached(cache_dir: &Path) -> Option<PathBuf> {
    let mut versions: Vec<Version> = fs::read_dir(cache_dir)
        .ok()?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Version::find_in(name.strip_prefix("nats-server-")?)
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    for version in versions {
        let binary = place(cache_dir, version);
        if usable(&binary).await.is_ok() {
            return Some(binary);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that claims to be a server of that version.
    fn claim(place: &Path, version: &str) {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, format!("#!/bin/sh\necho 'nats-server: v{version}'\n")).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn locations(dir: &Path) -> Locations {
        Locations {
            cache_dir: dir.join("cache"),
            path: dir.join("bin").into(),
            clickhouse_url: None,
            nats_server: None,
        }
    }

    #[tokio::test]
    async fn a_new_enough_server_on_the_path_wins_over_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let locations = locations(dir.path());
        claim(&dir.path().join("bin/nats-server"), "2.12.0");
        claim(&place(&locations.cache_dir, Version::new(2, 15, 1)), "2.15.1");
        let found = nats_server(&locations, &Progress::silent()).await.unwrap();
        assert_eq!(found, dir.path().join("bin/nats-server"));
    }

    #[tokio::test]
    async fn an_old_one_on_the_path_is_passed_over_for_the_newest_usable_of_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let locations = locations(dir.path());
        claim(&dir.path().join("bin/nats-server"), "2.9.25");
        claim(&place(&locations.cache_dir, Version::new(2, 12, 3)), "2.12.3");
        let newest = place(&locations.cache_dir, Version::new(2, 15, 1));
        claim(&newest, "2.15.1");
        assert_eq!(nats_server(&locations, &Progress::silent()).await.unwrap(), newest);

        fs::write(&newest, "#!/bin/sh\nexit 1\n").unwrap();
        let found = nats_server(&locations, &Progress::silent()).await.unwrap();
        assert_eq!(found, place(&locations.cache_dir, Version::new(2, 12, 3)));
    }

    #[tokio::test]
    async fn a_named_server_is_used_or_refused_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut locations = locations(dir.path());
        claim(&dir.path().join("bin/nats-server"), "2.15.1");
        let named = dir.path().join("mine");
        claim(&named, "2.10.27");
        locations.nats_server = Some(named.clone());
        let error = nats_server(&locations, &Progress::silent()).await.unwrap_err().to_string();
        assert!(error.contains("2.10.27 is older than 2.12.0"), "{error}");

        claim(&named, "2.14.0");
        assert_eq!(nats_server(&locations, &Progress::silent()).await.unwrap(), named);
    }
}
