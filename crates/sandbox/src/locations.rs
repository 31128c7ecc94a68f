//! Where to look, and where to keep.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where servers are looked for, and where fetched ones are kept.
#[derive(Debug, Clone)]
pub struct Locations {
    /// The cache; created when something is fetched. Whoever can write to it chooses what runs.
    pub cache_dir: PathBuf,
    /// The `PATH` on which servers and package clients are looked for.
    pub path: OsString,
    /// The URL of a ClickHouse that already runs, credentials included. Nothing else is considered then.
    pub clickhouse_url: Option<String>,
    /// The `nats-server` to use. Nothing else is considered then.
    pub nats_server: Option<PathBuf>,
}

/// Neither `XDG_CACHE_HOME` nor `HOME` says where a cache could be.
#[derive(Debug, thiserror::Error)]
#[error("no directory for the cache: neither XDG_CACHE_HOME nor HOME is set")]
pub struct NoCacheDir;

impl Locations {
    /// Reads the environment: `PATH`, `CLICKHOUSE_URL`, `TOLLGATE_NATS_SERVER`, and for the cache `XDG_CACHE_HOME`
    /// (else `~/.cache`, on macOS `~/Library/Caches`), in which it uses the directory `tollgate`.
    ///
    /// Empty variables count as unset. It exists so that the binary and the testkit, its two callers, agree.
    ///
    /// # Errors
    ///
    /// [`NoCacheDir`] when neither `XDG_CACHE_HOME` nor `HOME` is set: a cache in a directory that everybody can
    /// write to would let others choose what we execute.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one reading that the binary and the testkit share; the rest of the crate takes the value"
    )]
    pub fn from_env() -> Result<Self, NoCacheDir> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    fn from_lookup(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoCacheDir> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home_cache = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        let caches = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(home_cache)))
            .ok_or(NoCacheDir)?;
        Ok(Self {
            cache_dir: caches.join("tollgate"),
            path: set("PATH").unwrap_or_default(),
            clickhouse_url: set("CLICKHOUSE_URL").map(|url| url.to_string_lossy().into_owned()),
            nats_server: set("TOLLGATE_NATS_SERVER").map(PathBuf::from),
        })
    }

    /// All programs of that name on the `PATH`, first come first.
    pub(crate) fn programs(&self, name: &str) -> Vec<PathBuf> {
        std::env::split_paths(&self.path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .filter(|file| is_executable(file))
            .collect()
    }

    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs(name).into_iter().next()
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Locations, NoCacheDir> {
        Locations::from_lookup(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_cache_is_below_xdg_cache_home_when_that_is_set() {
        let locations = read(&[("XDG_CACHE_HOME", "/caches"), ("HOME", "/home/ada")]).unwrap();
        assert_eq!(locations.cache_dir, Path::new("/caches/tollgate"));
    }

    #[test]
    fn the_cache_is_below_home_otherwise_and_empty_counts_as_unset() {
        let locations = read(&[("XDG_CACHE_HOME", ""), ("HOME", "/home/ada"), ("CLICKHOUSE_URL", "")]).unwrap();
        assert!(locations.cache_dir.starts_with("/home/ada"));
        assert!(locations.cache_dir.ends_with("tollgate"));
        assert_eq!(locations.clickhouse_url, None);
    }

    #[test]
    fn without_a_home_there_is_no_cache() {
        assert!(read(&[("PATH", "/bin")]).is_err());
    }

    #[test]
    fn only_executable_files_on_the_path_are_programs() {
        let dir = tempfile::tempdir().unwrap();
        let mut locations = read(&[("HOME", "/home/ada")]).unwrap();
        locations.path = dir.path().into();
        let file = dir.path().join("nats-server");
        std::fs::write(&file, "").unwrap();
        assert_eq!(locations.program("nats-server"), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(locations.program("nats-server"), Some(file));
    }
}
