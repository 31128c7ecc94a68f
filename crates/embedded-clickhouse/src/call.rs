//! One request, understood: the statement with its data, and the circumstances to run it in.

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use bytes::Bytes;

use crate::config::Limits;
use crate::errors::Exception;
use crate::params::{Params, SessionRequest};
use crate::statement::{self, Statement};

/// What the engine is to run.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) task: Task,
    pub(crate) placeholders: Vec<(String, String)>,
    pub(crate) database: Option<String>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) access: Access,
    pub(crate) session: Option<SessionRequest>,
}

/// A statement, its data apart.
#[derive(Debug)]
pub(crate) enum Task {
    /// `format` is the answer's.
    Query { sql: Bytes, format: String },
    /// `sql` ends before `FORMAT`; the data comes in pieces.
    Insert { sql: Bytes, format: String, data: [Bytes; 2] },
}

/// What the request allows its statement to do, after ClickHouse's setting `readonly`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    /// Neither data nor settings change (1).
    ReadOnly,
    /// Data does not change, settings may (2): what a `GET` means.
    ReadOnlyWithSettings,
}

impl Call {
    /// Puts a request's parts together; `None` when it asks for nothing.
    ///
    /// # Errors
    ///
    /// A statement that is refused unseen, or parameters out of range.
    pub(crate) fn of(head: &Parts, params: &Params, body: Bytes, limits: &Limits) -> Result<Option<Self>, Exception> {
        let format = params.text("default_format").or(header(&head.headers, "x-clickhouse-format"));
        let query = params.text("query").unwrap_or_default();
        let Some(task) = Task::of(query, body, format.unwrap_or("TabSeparated"))? else { return Ok(None) };
        let database = params.text("database").or(header(&head.headers, "x-clickhouse-database"));
        Ok(Some(Self {
            task,
            placeholders: params.placeholders(),
            database: database.filter(|database| !database.is_empty()).map(str::to_owned),
            settings: params.settings(limits)?,
            access: Access::of(&head.method, params.text("readonly"))?,
            session: params.session(limits)?,
        }))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

impl Task {
    fn of(query: &str, body: Bytes, default_format: &str) -> Result<Option<Self>, Exception> {
        if query.is_empty() {
            return if body.is_empty() { Ok(None) } else { Self::split(body, Bytes::new(), default_format).map(Some) };
        }
        let query = Bytes::copy_from_slice(query.as_bytes());
        let carries_data = matches!(statement::classify(&query), Ok(Statement::Insert { .. }));
        if carries_data || body.is_empty() {
            return Self::split(query, body, default_format).map(Some);
        }
        // Any other statement goes on in the body.
        let whole = [&query[..], b"\n", &body].concat();
        Self::split(whole.into(), Bytes::new(), default_format).map(Some)
    }

    fn split(sql: Bytes, body: Bytes, default_format: &str) -> Result<Self, Exception> {
        Ok(match statement::classify(&sql).map_err(Exception::from)? {
            Statement::Query { format } => {
                Self::Query { sql, format: format.unwrap_or_else(|| default_format.to_owned()) }
            }
            Statement::Insert { head_end, format, data_at } => {
                Self::Insert { sql: sql.slice(..head_end), format, data: [sql.slice(data_at..), body] }
            }
        })
    }
}

impl From<statement::Refusal> for Exception {
    fn from(refusal: statement::Refusal) -> Self {
        use statement::Refusal;
        match refusal {
            Refusal::Input | Refusal::Infile | Refusal::Outfile => Self::not_implemented(refusal),
            Refusal::Empty | Refusal::Several | Refusal::SemicolonBeforeData | Refusal::SettingsAfterFormat => {
                Self::syntax(refusal)
            }
        }
    }
}

impl Access {
    fn of(method: &Method, readonly: Option<&str>) -> Result<Self, Exception> {
        let reads = method == Method::GET || method == Method::HEAD;
        match readonly {
            None | Some("" | "0") if !reads => Ok(Self::Write),
            None | Some("" | "0" | "2") => Ok(Self::ReadOnlyWithSettings),
            Some("1") => Ok(Self::ReadOnly),
            Some(_) => Err(Exception::bad_arguments("readonly is 0, 1 or 2")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(query: &str, body: &'static str) -> String {
        match Task::of(query, Bytes::from_static(body.as_bytes()), "TabSeparated") {
            Ok(Some(Task::Query { sql, format })) => format!("{format}: {}", String::from_utf8_lossy(&sql)),
            Ok(Some(Task::Insert { sql, format, data })) => {
                format!("{} <{format}> {}", String::from_utf8_lossy(&sql), String::from_utf8_lossy(&data.concat()))
            }
            Ok(None) => "nothing".to_owned(),
            Err(error) => error.code().to_string(),
        }
    }

    #[test]
    fn a_statement_may_come_in_the_url_in_the_body_or_in_both() {
        assert_eq!(task("SELECT 1", ""), "TabSeparated: SELECT 1");
        assert_eq!(task("", "SELECT 1 FORMAT JSON"), "JSON: SELECT 1 FORMAT JSON");
        assert_eq!(task("SELECT 1", "FORMAT JSON"), "JSON: SELECT 1\nFORMAT JSON");
        assert_eq!(task("SELECT 1 --", "; DROP TABLE t"), "62");
        assert_eq!(task("", ""), "nothing");
    }

    #[test]
    fn an_inserts_data_may_begin_in_the_url_and_go_on_in_the_body() {
        assert_eq!(task("INSERT INTO t FORMAT TSV", "1\n2"), "INSERT INTO t  <TSV> 1\n2");
        assert_eq!(task("INSERT INTO t VALUES (1),", "(2)"), "INSERT INTO t  <Values>  (1),(2)");
        assert_eq!(task("INSERT INTO t", "FORMAT TSV\n1"), "INSERT INTO t\n <TSV> 1");
        assert_eq!(task("", "INSERT INTO t FORMAT TSV\n1"), "INSERT INTO t  <TSV> 1");
    }

    #[test]
    fn a_get_never_writes() {
        for (method, readonly, access) in [
            (Method::POST, None, Access::Write),
            (Method::POST, Some("0"), Access::Write),
            (Method::POST, Some("1"), Access::ReadOnly),
            (Method::POST, Some("2"), Access::ReadOnlyWithSettings),
            (Method::GET, None, Access::ReadOnlyWithSettings),
            (Method::GET, Some("0"), Access::ReadOnlyWithSettings),
            (Method::HEAD, Some("1"), Access::ReadOnly),
        ] {
            assert_eq!(Access::of(&method, readonly), Ok(access), "{method} {readonly:?}");
        }
        assert!(Access::of(&Method::GET, Some("no")).is_err());
    }
}
