//! The engine, started once, and what one statement goes through in it. Everything here blocks.
//!
//! A connection is a session: its settings, current database and temporary tables. Opening one takes 0.1 ms, so each
//! request gets its own and nothing of it can leak into the next. A request with a `session_id` gets its client's, and
//! leaves the settings and the database there as they were.

use std::ffi::CString;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crate::call::{Access, Call, Task};
use crate::config::{Config, Limits};
use crate::errors::{Error, Exception};
use crate::ffi::{self, Api, Connection, QueryResult, Stats};
use crate::params::{SessionRequest, limit_settings, quoted, quoted_name};
use crate::sessions::Sessions;

/// A running engine; dropped, it closes its data directory.
pub(crate) struct Engine {
    api: &'static Api,
    arguments: Vec<CString>,
    identity: Identity,
    sessions: Sessions<Connection>,
    /// The engine stops with its last connection; this one stays. Declared last, because it must close last.
    _anchor: Mutex<Connection>,
}

/// What the engine says of itself, once.
pub(crate) struct Identity {
    pub(crate) version: String,
    pub(crate) timezone: String,
}

/// What a statement brought.
pub(crate) struct Answer {
    /// None of an insert.
    pub(crate) result: Option<QueryResult>,
    pub(crate) stats: Stats,
    pub(crate) format: String,
}

impl Engine {
    /// Loads the library and opens the data directory.
    ///
    /// # Errors
    ///
    /// All of [`Error`] that precede listening.
    pub(crate) fn start(config: &Config) -> Result<Self, Error> {
        let api = ffi::load(&config.library)?;
        let arguments = arguments(&config.data, &config.limits)
            .map_err(|source| Error::DataDirectory { path: config.data.clone(), source })?;
        let mut anchor = Connection::open(api, &arguments).ok_or_else(|| Error::Open { path: config.data.clone() })?;
        let mut ask = |sql: &str| text(&mut anchor, sql).map_err(Error::FirstStatement);
        let identity = Identity { version: ask("SELECT version()")?, timezone: ask("SELECT timezone()")? };
        let sessions = Sessions::new(config.limits.sessions_max);
        Ok(Self { api, arguments, identity, sessions, _anchor: Mutex::new(anchor) })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Runs one call to its end.
    ///
    /// # Errors
    ///
    /// What the engine says, or a session that cannot be had.
    pub(crate) fn run(&self, call: &Call) -> Result<Answer, Exception> {
        match &call.session {
            None => run_once(&mut self.connect()?, call),
            Some(session) => self.run_in_session(session, call),
        }
    }

    /// Closes the sessions that have been idle for too long.
    pub(crate) fn evict_idle_sessions(&self, now: Instant) {
        let expired = self.sessions.take_expired(now);
        if !expired.is_empty() {
            tracing::debug!(sessions = expired.len(), "idle sessions closed");
        }
    }

    fn connect(&self) -> Result<Connection, Exception> {
        Connection::open(self.api, &self.arguments)
            .ok_or_else(|| Exception::logical("the engine opened no further connection"))
    }

    fn run_in_session(&self, session: &SessionRequest, call: &Call) -> Result<Answer, Exception> {
        let mut lease = self.sessions.borrow(&session.id, session.must_exist, Instant::now())?;
        let mut connection = match lease.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let undo = Undo::of(&mut connection, call)?;
        let outcome = run_kept(&mut connection, call);
        // A session that cannot be put back as it was is ended rather than kept in an unknown state.
        undo.apply(&mut connection)?;
        if session.closes {
            drop(connection);
        } else {
            lease.keep(connection, session.idle, Instant::now());
        }
        outcome
    }
}

/// What the library is opened with: the data directory for the first connection, the limits for each.
fn arguments(data: &Path, limits: &Limits) -> io::Result<Vec<CString>> {
    std::fs::create_dir_all(data)?;
    // The engine compares paths as strings: give it the one spelling that does not depend on how it was asked for.
    let data = std::fs::canonicalize(data)?;
    let data = data.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not valid UTF-8"))?;
    let limits = limit_settings(limits).map(|(name, limit)| format!("--{name}={limit}"));
    // The library, unlike a server, reads a lone `x` as `SELECT x`.
    let own = ["chdb".to_owned(), format!("--path={data}"), "--implicit_select=0".to_owned()];
    let arguments = own.into_iter().chain(limits);
    arguments.map(|argument| CString::new(argument).map_err(io::Error::from)).collect()
}

/// Runs a call on a connection of its own, which the engine itself holds to reading where the call only reads.
fn run_once(connection: &mut Connection, call: &Call) -> Result<Answer, Exception> {
    let readonly = match call.access {
        Access::Write => None,
        Access::ReadOnly => Some("1"),
        Access::ReadOnlyWithSettings => Some("2"),
    };
    enter(connection, call, readonly)?;
    run_task(connection, call)
}

/// Runs a call on a connection that outlives it. `readonly` cannot be taken back there, so the parser decides.
fn run_kept(connection: &mut Connection, call: &Call) -> Result<Answer, Exception> {
    let reads = match (&call.task, call.access) {
        (_, Access::Write) => true,
        (Task::Query { sql, .. }, _) => connection.is_read_only(sql),
        (Task::Insert { .. }, _) => false,
    };
    if !reads {
        let message = "cannot execute query in readonly mode: a GET or readonly=1 with a session_id takes only \
                       statements that the parser knows to change nothing";
        return Err(Exception::new(164, "READONLY", message));
    }
    enter(connection, call, None)?;
    run_task(connection, call)
}

/// Moves the connection to the call's database and settings.
fn enter(connection: &mut Connection, call: &Call, readonly: Option<&str>) -> Result<(), Exception> {
    if let Some(database) = &call.database {
        text(connection, &format!("USE {}", quoted_name(database)))?;
    }
    let settings = call.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // Last, because nothing can be set after it.
    let settings = settings.chain(readonly.map(|readonly| ("readonly", readonly)));
    let changes: Vec<String> = settings.map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
    if !changes.is_empty() {
        text(connection, &format!("SET {}", changes.join(", ")))?;
    }
    Ok(())
}

fn run_task(connection: &mut Connection, call: &Call) -> Result<Answer, Exception> {
    match &call.task {
        Task::Query { sql, format } => {
            let result = connection.query(sql, format, &call.placeholders)?;
            // The library, like the command-line client, takes `exit` and text that begins with an unknown character for
            // nothing to do, and succeeds.
            if result.as_ref().is_empty() && !connection.is_statement(sql) {
                return Err(Exception::syntax("the engine finds no statement in this text"));
            }
            Ok(Answer { stats: result.stats(), result: Some(result), format: format.clone() })
        }
        Task::Insert { sql, format, data } => {
            let stats = connection.insert(sql, format, &call.placeholders, data)?;
            Ok(Answer { stats, result: None, format: format.clone() })
        }
    }
}

/// Runs a statement of our own and returns its answer as it is.
fn text(connection: &mut Connection, sql: &str) -> Result<String, Exception> {
    let result = connection.query(sql.as_bytes(), "RawBLOB", &[])?;
    Ok(String::from_utf8_lossy(result.as_ref()).into_owned())
}

/// The statements that put a session back to where it was before a call's `USE` and `SET`.
struct Undo {
    statements: Vec<String>,
}

impl Undo {
    /// Reads from the engine what `call` is about to change.
    fn of(connection: &mut Connection, call: &Call) -> Result<Self, Exception> {
        let mut statements = Vec::new();
        if call.database.is_some() {
            statements.push(format!("USE {}", quoted_name(&text(connection, "SELECT currentDatabase()")?)));
        }
        if !call.settings.is_empty() {
            let names: Vec<String> = call.settings.iter().map(|(name, _)| quoted(name)).collect();
            // The engine writes the assignments itself, because only it knows what is set to what.
            let assignments = text(
                connection,
                &format!(
                    r"SELECT arrayStringConcat(groupArray(if(changed,
                          concat(name, ' = \'', replaceAll(replaceAll(value, '\\', '\\\\'), '\'', '\\\''), '\''),
                          concat(name, ' = DEFAULT'))), ', ')
                      FROM system.settings WHERE name IN ({})",
                    names.join(", ")
                ),
            )?;
            if !assignments.is_empty() {
                statements.push(format!("SET {assignments}"));
            }
        }
        Ok(Self { statements })
    }

    fn apply(self, connection: &mut Connection) -> Result<(), Exception> {
        self.statements.iter().try_for_each(|statement| text(connection, statement).map(drop))
    }
}
