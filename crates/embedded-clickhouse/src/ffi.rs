//! The C interface of `libchdb`, resolved at run time, and safe owners of what it hands out.
//!
//! Source of the contract: <https://github.com/chdb-io/chdb/blob/main/programs/local/chdb.h>. What the owners rely on:
//! a connection runs one statement at a time but on any thread; strings go in with their length; a result's buffer
//! lives until the result is destroyed; no function unwinds.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::errors::{Error, Exception};

/// `chdb_connection`.
type Handle = *mut c_void;
/// `chdb_result *`.
type RawResult = *mut c_void;
/// `chdb_insert_stream`.
type RawInsert = *mut c_void;
/// Arrays of names, lengths of names, values, lengths of values, and how many.
type Text = *const u8;

macro_rules! api {
    ($($name:ident: fn($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        /// The functions of the library that this crate calls.
        pub(crate) struct Api { $($name: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)* }

        impl Api {
            /// # Safety
            ///
            /// `library` must be a `libchdb`, whose functions have the types given here, and must never be closed.
            unsafe fn resolve(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self { $(
                    // SAFETY: the caller vouches that the library's function of this name has this type.
                    $name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }?,
                )* })
            }
        }
    };
}

api! {
    chdb_set_signal_handlers_enabled: fn(c_int);
    chdb_connect: fn(c_int, *mut *mut c_char) -> *mut Handle;
    chdb_close_conn: fn(*mut Handle);
    chdb_classify_query_n: fn(Handle, Text, usize, Text, usize, *mut Analysis) -> c_int;
    chdb_query_with_params_n: fn(Handle, Text, usize, Text, usize, *const Text, *const usize, *const Text, *const usize, usize) -> RawResult;
    chdb_destroy_query_result: fn(RawResult);
    chdb_stream_insert_with_params_n: fn(Handle, Text, usize, Text, usize, *const Text, *const usize, *const Text, *const usize, usize) -> RawInsert;
    chdb_stream_append: fn(RawInsert, *const c_void, usize) -> c_int;
    chdb_stream_done: fn(RawInsert) -> RawResult;
    chdb_stream_insert_error: fn(RawInsert) -> *const c_char;
    chdb_destroy_insert_stream: fn(RawInsert);
    chdb_result_buffer: fn(RawResult) -> *const u8;
    chdb_result_length: fn(RawResult) -> usize;
    chdb_result_rows_read: fn(RawResult) -> u64;
    chdb_result_bytes_read: fn(RawResult) -> u64;
    chdb_result_storage_rows_read: fn(RawResult) -> u64;
    chdb_result_storage_bytes_read: fn(RawResult) -> u64;
    chdb_result_rows_written: fn(RawResult) -> u64;
    chdb_result_bytes_written: fn(RawResult) -> u64;
    chdb_result_error: fn(RawResult) -> *const c_char;
}

/// `chdb_query_analysis_v1`.
#[repr(C)]
struct Analysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

/// `CHDB_QUERY_READ_ONLY`.
const CLASS_READ_ONLY: u32 = 0;
/// `CHDB_QUERY_UNKNOWN`: also what did not parse.
const CLASS_UNKNOWN: u32 = 4;

/// The library this process has loaded: one for its whole life.
static LOADED: OnceLock<(PathBuf, Api)> = OnceLock::new();

/// Opens the library, once per process, and resolves what this crate calls.
///
/// # Errors
///
/// [`Error::Library`] when it is absent or not a `libchdb` of the expected version, [`Error::OtherLibrary`] when the
/// process holds another.
pub(crate) fn load(path: &Path) -> Result<&'static Api, Error> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if LOADED.get().is_none() {
        let api = open(path).map_err(|source| Error::Library { path: path.to_owned(), source })?;
        // SAFETY: the function takes a plain number and touches process-wide state of the library alone. It has to
        // come before the first connection, which would replace Rust's own handler for stack overflows.
        unsafe { (api.chdb_set_signal_handlers_enabled)(0) };
        // The lock is held and the cell was empty.
        let _ = LOADED.set((path.to_owned(), api));
    }
    let (loaded, api) = LOADED.get().expect("it was just filled");
    if loaded == path { Ok(api) } else { Err(Error::OtherLibrary { loaded: loaded.clone() }) }
}

fn open(path: &Path) -> Result<Api, libloading::Error> {
    // SAFETY: loading runs the library's initialisers. The path is the operator's choice, as a program's would be.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }?;
    // SAFETY: the library is the operator's libchdb, and it is leaked below.
    let api = unsafe { Api::resolve(&library) }?;
    // The engine's threads live in the library's code for as long as the process does.
    std::mem::forget(library);
    Ok(api)
}

/// What a statement reports about its work.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) result_rows: u64,
    pub(crate) result_bytes: u64,
    pub(crate) read_rows: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_rows: u64,
    pub(crate) written_bytes: u64,
}

/// Owns one result of the engine and shows its bytes without a copy.
pub(crate) struct QueryResult {
    api: &'static Api,
    raw: NonNull<c_void>,
}

// SAFETY: a result is plain memory that no thread of the engine holds on to.
unsafe impl Send for QueryResult {}
// SAFETY: through a shared reference the memory is only read.
unsafe impl Sync for QueryResult {}

impl QueryResult {
    /// Takes ownership of what a statement returned.
    ///
    /// # Safety
    ///
    /// `raw` must be null or a result of `api` that nothing else destroys.
    unsafe fn own(api: &'static Api, raw: RawResult) -> Result<Self, Exception> {
        let raw = NonNull::new(raw).ok_or_else(|| Exception::logical("the engine returned no result"))?;
        let result = Self { api, raw };
        // SAFETY: `result` is alive.
        let error = unsafe { (api.chdb_result_error)(raw.as_ptr()) };
        // SAFETY: the message lives as long as `result`.
        let error = unsafe { message(error) };
        error.map_or(Ok(result), |text| Err(Exception::from_engine(text)))
    }

    pub(crate) fn stats(&self) -> Stats {
        let read = |counter: unsafe extern "C" fn(RawResult) -> u64| {
            // SAFETY: the result is alive, and every counter of `Api` reads one number from it.
            unsafe { counter(self.raw.as_ptr()) }
        };
        Stats {
            result_rows: read(self.api.chdb_result_rows_read),
            result_bytes: read(self.api.chdb_result_bytes_read),
            read_rows: read(self.api.chdb_result_storage_rows_read),
            read_bytes: read(self.api.chdb_result_storage_bytes_read),
            written_rows: read(self.api.chdb_result_rows_written),
            written_bytes: read(self.api.chdb_result_bytes_written),
        }
    }
}

impl AsRef<[u8]> for QueryResult {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the result is alive.
        let length = unsafe { (self.api.chdb_result_length)(self.raw.as_ptr()) };
        // SAFETY: the result is alive.
        let buffer = unsafe { (self.api.chdb_result_buffer)(self.raw.as_ptr()) };
        if buffer.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: the buffer holds `length` bytes and is neither moved nor written until the result is destroyed, which
        // takes this value's `drop`.
        unsafe { std::slice::from_raw_parts(buffer, length) }
    }
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        // SAFETY: this value owns the result, and it is destroyed here only.
        unsafe { (self.api.chdb_destroy_query_result)(self.raw.as_ptr()) }
    }
}

/// Copies a message of the library; `None` when there is none.
///
/// # Safety
///
/// `text` must be null or point to a string that ends in NUL and stays alive for the call.
unsafe fn message(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for a live string.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Pointers into a list of query parameters, in the shape the library takes them.
struct BoundParams {
    names: Vec<Text>,
    name_lengths: Vec<usize>,
    values: Vec<Text>,
    value_lengths: Vec<usize>,
}

impl BoundParams {
    fn new(params: &[(String, String)]) -> Self {
        Self {
            names: params.iter().map(|(name, _)| name.as_ptr()).collect(),
            name_lengths: params.iter().map(|(name, _)| name.len()).collect(),
            values: params.iter().map(|(_, value)| value.as_ptr()).collect(),
            value_lengths: params.iter().map(|(_, value)| value.len()).collect(),
        }
    }
}

/// One session of the engine: its settings, current database and temporary tables.
///
/// It runs one statement at a time, hence `&mut self`. Opening one next to another takes 0.1 ms.
pub(crate) struct Connection {
    api: &'static Api,
    raw: NonNull<Handle>,
}

// SAFETY: a connection may be used from any thread, as long as it is from one at a time.
unsafe impl Send for Connection {}

impl Connection {
    /// Opens a session; the first one of a process starts the engine on the `--path=` among `arguments`.
    ///
    /// `None` is all the library tells of a failure.
    pub(crate) fn open(api: &'static Api, arguments: &[CString]) -> Option<Self> {
        // The library does not write through these, though its type would let it.
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `count` strings that end in NUL, alive for the call; the library copies them.
        let raw = NonNull::new(unsafe { (api.chdb_connect)(count, pointers.as_mut_ptr()) })?;
        // SAFETY: what `chdb_connect` returns points to a connection or to null.
        let failed = unsafe { raw.as_ref() }.is_null();
        (!failed).then_some(Self { api, raw })
    }

    fn handle(&self) -> Handle {
        // SAFETY: the pointer stays valid until `chdb_close_conn`, which takes this value's `drop`.
        unsafe { *self.raw.as_ref() }
    }

    /// Runs one statement and returns its whole result in the format that the statement names, else in `format`.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub(crate) fn query(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[(String, String)],
    ) -> Result<QueryResult, Exception> {
        let bound = BoundParams::new(params);
        // SAFETY: the connection is alive and ours alone; every pointer comes with its length and outlives the call.
        let raw = unsafe {
            (self.api.chdb_query_with_params_n)(
                self.handle(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                bound.names.as_ptr(),
                bound.name_lengths.as_ptr(),
                bound.values.as_ptr(),
                bound.value_lengths.as_ptr(),
                params.len(),
            )
        };
        // SAFETY: the result was just made and is handed over.
        unsafe { QueryResult::own(self.api, raw) }
    }

    /// Runs `INSERT INTO …` (without `FORMAT` and data) over `data` in `format`.
    ///
    /// # Errors
    ///
    /// What the engine says. Blocks it had already written stay, as on a server.
    pub(crate) fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[(String, String)],
        data: &[Bytes],
    ) -> Result<Stats, Exception> {
        let mut stream = InsertStream::open(self, sql, format, params)?;
        for chunk in data.iter().filter(|chunk| !chunk.is_empty()) {
            stream.append(chunk)?;
        }
        stream.finish()
    }

    /// Whether the engine's own parser is sure that `sql` changes nothing that outlives it. What does not parse is not
    /// sure.
    pub(crate) fn is_read_only(&mut self, sql: &[u8]) -> bool {
        self.analyse(sql).is_some_and(|analysis| analysis.query_class == CLASS_READ_ONLY)
    }

    /// Whether the engine's own parser finds a statement in `sql`.
    pub(crate) fn is_statement(&mut self, sql: &[u8]) -> bool {
        self.analyse(sql).is_some_and(|analysis| analysis.statement_count > 0)
    }

    fn analyse(&mut self, sql: &[u8]) -> Option<Analysis> {
        let struct_size = u32::try_from(size_of::<Analysis>()).expect("it is 16 bytes");
        let mut analysis = Analysis { struct_size, statement_count: 0, flags: 0, query_class: CLASS_UNKNOWN };
        // SAFETY: the connection is alive and ours alone; `sql` comes with its length; no target database is given;
        // the struct is as large as it says.
        let state = unsafe {
            (self.api.chdb_classify_query_n)(
                self.handle(),
                sql.as_ptr(),
                sql.len(),
                std::ptr::null(),
                0,
                &raw mut analysis,
            )
        };
        (state == 0).then_some(analysis)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: this value owns the connection, no stream borrows it, and it is closed here only.
        unsafe { (self.api.chdb_close_conn)(self.raw.as_ptr()) }
    }
}

/// An `INSERT` that takes its data in chunks. Dropped before [`finish`](Self::finish), it is cancelled.
struct InsertStream<'c> {
    connection: &'c mut Connection,
    raw: RawInsert,
}

impl<'c> InsertStream<'c> {
    fn open(
        connection: &'c mut Connection,
        sql: &[u8],
        format: &str,
        params: &[(String, String)],
    ) -> Result<Self, Exception> {
        let bound = BoundParams::new(params);
        // SAFETY: the connection is alive and borrowed for as long as the stream; every pointer comes with its length
        // and outlives the call.
        let raw = unsafe {
            (connection.api.chdb_stream_insert_with_params_n)(
                connection.handle(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                bound.names.as_ptr(),
                bound.name_lengths.as_ptr(),
                bound.values.as_ptr(),
                bound.value_lengths.as_ptr(),
                params.len(),
            )
        };
        if raw.is_null() {
            return Err(Exception::logical("the engine opened no insert"));
        }
        let stream = Self { connection, raw };
        stream.error().map_or(Ok(stream), Err)
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), Exception> {
        // SAFETY: the stream is alive; the chunk comes with its length and is copied by the call.
        let state = unsafe { (self.connection.api.chdb_stream_append)(self.raw, chunk.as_ptr().cast(), chunk.len()) };
        if state == 0 {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| Exception::logical("the engine took no more data and gave no reason")))
    }

    fn finish(self) -> Result<Stats, Exception> {
        let api = self.connection.api;
        // SAFETY: the stream is alive and has not been finished: this consumes it.
        let raw = unsafe { (api.chdb_stream_done)(self.raw) };
        // SAFETY: the result was just made and is handed over.
        let result = unsafe { QueryResult::own(api, raw) };
        // The stream's own error names the cause where the result's may only say that the query was cancelled.
        result.map(|result| result.stats()).map_err(|error| self.error().unwrap_or(error))
    }

    fn error(&self) -> Option<Exception> {
        // SAFETY: the stream is alive.
        let text = unsafe { (self.connection.api.chdb_stream_insert_error)(self.raw) };
        // SAFETY: the message lives as long as the stream, and nothing runs on it meanwhile.
        let text = unsafe { message(text) };
        text.map(Exception::from_engine)
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        // SAFETY: this value owns the stream, and it is destroyed here only; an unfinished one is cancelled first.
        unsafe { (self.connection.api.chdb_destroy_insert_stream)(self.raw) }
    }
}
