//! A file that is read several times: to check it, then to submit it. Standard input is spooled for that.

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::fs::File;
use tollgate_bulk::source::{Source, Unreadable};

use crate::exit::{Code, Failure};

/// The file.
pub(super) struct Input {
    path: PathBuf,
    /// Its name, without folders.
    pub(super) name: String,
    /// Removed at the end.
    _spooled: Option<NamedTempFile>,
}

impl Input {
    /// The file at `path`; `-` is standard input, which is copied to a temporary file, whatever its size.
    pub(super) async fn open(path: &Path) -> Result<Input, Failure> {
        if path.to_str() != Some("-") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Input { path: path.to_owned(), name, _spooled: None });
        }
        let failed = |error: std::io::Error| Failure::new(Code::Usage, "standard input cannot be kept").because(&error);
        let spooled = NamedTempFile::new().map_err(failed)?;
        let mut into = File::from_std(spooled.reopen().map_err(failed)?);
        tokio::io::copy(&mut tokio::io::stdin(), &mut into).await.map_err(failed)?;
        tokio::io::AsyncWriteExt::flush(&mut into).await.map_err(failed)?;
        Ok(Input { path: spooled.path().to_owned(), name: "-".to_owned(), _spooled: Some(spooled) })
    }

    /// Reads it from the beginning.
    pub(super) async fn source(&self) -> Result<Source<File>, Failure> {
        let file = File::open(&self.path).await.map_err(|error| self.unreadable(&Unreadable::Io(error)))?;
        Source::open(file).await.map_err(|error| self.unreadable(&error))
    }

    pub(super) fn unreadable(&self, error: &Unreadable) -> Failure {
        let name = if self.name == "-" { "standard input" } else { &self.name };
        Failure::new(Code::Usage, format!("{name} is no batch")).because(error)
    }
}
