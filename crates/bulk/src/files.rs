//! Files of results that a crash neither lacks a line of nor has one twice.
//!
//! Beside the file of results lies a note: which lines are in the files, and how long the files are with them. The files are
//! written and synced first, then the note takes the place of the one before. Whoever opens them after a crash cuts off
//! what the note does not know of, and reads those lines again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tollgate_types::BatchId;

use crate::render::Rendered;
use crate::results::Read;

/// How often the note is renewed: so much is read again after a crash.
const NOTE_EVERY: (u64, Duration) = (2000, Duration::from_secs(1));

/// Why files cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is a file already that is not ours.
    #[error("{} exists; remove it, or name another file", .0.display())]
    Exists(PathBuf),
    /// The file has results of another batch, or in another way.
    #[error("{} has results of {batch}; name another file", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Whose they are.
        batch: BatchId,
    },
    /// The files were started with errors apart, or without.
    #[error("{} was begun with another --errors file; name the same one", .0.display())]
    OtherErrors(PathBuf),
    /// A file is shorter than its note says.
    #[error("{} is shorter than it was; remove it and its note {} to begin anew", .0.display(), .1.display())]
    Cut(PathBuf, PathBuf),
    /// A file or note cannot be read or written.
    #[error("{} cannot be read or written", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    version: u32,
    batch: BatchId,
    out_bytes: u64,
    errors: Option<PathBuf>,
    errors_bytes: u64,
    read: Read,
}

/// Files of results, open to go on.
pub struct Files {
    note: Note,
    note_path: PathBuf,
    out: Written,
    errors: Option<Written>,
    since: (u64, Instant),
}

struct Written {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
}

/// Where the note of a file of results lies.
pub fn note_path(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.tollgate"))
}

impl Files {
    /// Opens the files of a batch, to begin them or to go on. Without a file for errors, all lines are in one.
    ///
    /// # Errors
    /// [`FilesError`]; nothing was changed then.
    pub fn open(batch: &BatchId, out: &Path, errors: Option<&Path>) -> Result<Files, FilesError> {
        let note_path = note_path(out);
        let note = match fs::read(&note_path) {
            Ok(bytes) => {
                let note: Note =
                    serde_json::from_slice(&bytes).map_err(|e| FilesError::Io(note_path.clone(), e.into()))?;
                known(&note, batch, out, errors, &note_path)?;
                note
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(there) = [Some(out), errors].into_iter().flatten().find(|path| path.exists()) {
                    return Err(FilesError::Exists(there.to_owned()));
                }
                let errors = errors.map(Path::to_owned);
                let read = Read::default();
                let note = Note { version: 1, batch: batch.clone(), out_bytes: 0, errors, errors_bytes: 0, read };
                // Before the files: files without a note are not ours.
                write_note(&note_path, &note)?;
                note
            }
            Err(error) => return Err(FilesError::Io(note_path, error)),
        };
        let out = Written::open(out, note.out_bytes)?;
        let errors = errors.map(|path| Written::open(path, note.errors_bytes)).transpose()?;
        Ok(Files { note, note_path, out, errors, since: (0, Instant::now()) })
    }

    /// The lines that are in the files.
    pub fn read(&self) -> &Read {
        &self.note.read
    }

    /// Writes a line; `read` are the lines that are in the files with it.
    ///
    /// # Errors
    /// It cannot be written; what was noted is safe.
    pub fn write(&mut self, rendered: &Rendered, read: &Read) -> io::Result<()> {
        let into = match &mut self.errors {
            Some(errors) if !rendered.succeeded => errors,
            _ => &mut self.out,
        };
        into.file.write_all(rendered.text.as_bytes())?;
        into.file.write_all(b"\n")?;
        into.bytes += rendered.text.len() as u64 + 1;
        self.since.0 += 1;
        if self.since.0 >= NOTE_EVERY.0 || self.since.1.elapsed() >= NOTE_EVERY.1 {
            self.keep(read)?;
        }
        Ok(())
    }

    /// Makes sure of everything that was written.
    ///
    /// Killed before the note: the files are cut to the one before. Killed after it: all is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&mut self, read: &Read) -> io::Result<()> {
        for written in std::iter::once(&mut self.out).chain(&mut self.errors) {
            written.file.flush()?;
            written.file.get_ref().sync_data()?;
        }
        self.note.out_bytes = self.out.bytes;
        self.note.errors_bytes = self.errors.as_ref().map_or(0, |errors| errors.bytes);
        self.note.read = read.clone();
        write_note(&self.note_path, &self.note).map_err(io::Error::other)?;
        self.since = (0, Instant::now());
        Ok(())
    }
}

/// Whether a note is of these files.
fn known(note: &Note, batch: &BatchId, out: &Path, errors: Option<&Path>, note_path: &Path) -> Result<(), FilesError> {
    if note.batch != *batch {
        return Err(FilesError::Other { path: out.to_owned(), batch: note.batch.clone() });
    }
    if note.errors.as_deref() != errors {
        return Err(FilesError::OtherErrors(out.to_owned()));
    }
    for (path, bytes) in [(Some(out), note.out_bytes), (errors, note.errors_bytes)] {
        let Some(path) = path else { continue };
        let len = fs::metadata(path).map_or(0, |file| file.len());
        if len < bytes {
            return Err(FilesError::Cut(path.to_owned(), note_path.to_owned()));
        }
    }
    Ok(())
}

impl Written {
    /// Cuts off what no note knows of.
    fn open(path: &Path, bytes: u64) -> Result<Written, FilesError> {
        let open = || {
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok(file)
        };
        let file = open().map_err(|error| FilesError::Io(path.to_owned(), error))?;
        Ok(Written { path: path.to_owned(), file: BufWriter::new(file), bytes })
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {} bytes", self.path.display(), self.bytes)
    }
}

/// Replaces the note in one step.
fn write_note(path: &Path, note: &Note) -> Result<(), FilesError> {
    let write = || {
        let fresh = path.with_extension("tollgate-new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(note)?)?;
        file.sync_data()?;
        fs::rename(&fresh, path)?;
        // The new name is on the disk once the folder is.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| FilesError::Io(path.to_owned(), error))
}

#[cfg(test)]
mod tests;
