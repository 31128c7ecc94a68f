//! The parameters of a request, from its URL and from a multipart body: options of the interface, values for
//! placeholders (`param_…`), and everything else, which is a setting.

use std::time::Duration;

use crate::config::Limits;
use crate::errors::Exception;

/// A request with more parameters than this is a mistake or an attack; clients send a dozen.
const PARAMS_MAX: usize = 1000;

/// Parameters that mean something to the interface, or nothing to an embedded engine. None of them is a setting.
const OPTIONS: &[&str] = &[
    "add_http_cors_header",
    "buffer_size",
    "cancel_http_readonly_queries_on_client_close",
    "client_protocol_version",
    "close_session",
    "compress",
    "database",
    "decompress",
    "default_format",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "http_zlib_compression_level",
    "password",
    "query",
    "query_id",
    "quota_key",
    "readonly",
    "role",
    "send_progress_in_http_headers",
    "session_check",
    "session_id",
    "session_timeout",
    "stacktrace",
    "user",
    "wait_end_of_query",
];

/// Names and values, in the order given.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

/// A client's session, as one request asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionRequest {
    pub(crate) id: String,
    /// How long it is kept after this request.
    pub(crate) idle: Duration,
    /// Whether it has to be there already.
    pub(crate) must_exist: bool,
    /// Whether this is its last request.
    pub(crate) closes: bool,
}

impl Params {
    /// Reads a URL's query.
    ///
    /// # Errors
    ///
    /// Too many parameters.
    pub(crate) fn parse(query: &str) -> Result<Self, Exception> {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            params.push(name.into_owned(), value.into_owned())?;
        }
        Ok(params)
    }

    /// Adds one parameter.
    ///
    /// # Errors
    ///
    /// Too many parameters.
    pub(crate) fn push(&mut self, name: String, value: String) -> Result<(), Exception> {
        if self.pairs.len() == PARAMS_MAX {
            return Err(Exception::bad_arguments("too many parameters"));
        }
        self.pairs.push((name, value));
        Ok(())
    }

    /// The value of `name`; the last one wins.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is switched on.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// Values for the statement's placeholders.
    pub(crate) fn placeholders(&self) -> Vec<(String, String)> {
        let named = |(key, value): &(String, String)| Some((key.strip_prefix("param_")?.to_owned(), value.clone()));
        self.pairs.iter().filter_map(named).collect()
    }

    /// Settings of the statement, those with a limit cut down to it.
    ///
    /// # Errors
    ///
    /// A name that cannot be one of a setting. Whether it is one is for the engine to say.
    pub(crate) fn settings(&self, limits: &Limits) -> Result<Vec<(String, String)>, Exception> {
        let is_setting = |key: &str| !OPTIONS.contains(&key) && !key.starts_with("param_");
        let mut settings = Vec::new();
        for (key, value) in self.pairs.iter().filter(|(key, _)| is_setting(key)) {
            let named = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !named || key.is_empty() {
                return Err(Exception::new(115, "UNKNOWN_SETTING", format_args!("unknown setting {key:?}")));
            }
            settings.push((key.clone(), bounded(key, value, limits)));
        }
        Ok(settings)
    }

    /// The session asked for, if any.
    ///
    /// # Errors
    ///
    /// A `session_timeout` that is not a number of seconds, or is beyond the limit.
    pub(crate) fn session(&self, limits: &Limits) -> Result<Option<SessionRequest>, Exception> {
        let Some(id) = self.text("session_id").filter(|id| !id.is_empty()) else { return Ok(None) };
        let idle = match self.text("session_timeout").map(str::parse) {
            None => limits.session_idle,
            Some(Ok(seconds)) => Duration::from_secs(seconds),
            Some(Err(_)) => {
                let message = "session_timeout is not a number of seconds";
                return Err(Exception::new(374, "INVALID_SESSION_TIMEOUT", message));
            }
        };
        if idle > limits.session_idle_max {
            let message = format_args!("session_timeout is beyond {} seconds", limits.session_idle_max.as_secs());
            return Err(Exception::new(374, "INVALID_SESSION_TIMEOUT", message));
        }
        let (must_exist, closes) = (self.flag("session_check"), self.flag("close_session"));
        Ok(Some(SessionRequest { id: id.to_owned(), idle, must_exist, closes }))
    }
}

/// The settings every connection starts with, and that a request may only lower.
pub(crate) fn limit_settings(limits: &Limits) -> [(&'static str, u64); 3] {
    [
        ("max_memory_usage", limits.statement_memory_bytes_max),
        ("max_result_bytes", limits.result_bytes_max),
        ("max_execution_time", limits.statement_time_max.as_secs()),
    ]
}

/// `value`, or the limit where `value` is more than it; to ClickHouse 0 means no limit.
fn bounded(key: &str, value: &str, limits: &Limits) -> String {
    let limit = limit_settings(limits).into_iter().find(|(name, _)| *name == key).map(|(_, limit)| limit);
    match (limit, value.trim().parse::<u64>()) {
        (Some(limit), Ok(asked)) if asked == 0 || asked > limit => limit.to_string(),
        // Not a whole number: only times may be fractions, and those within the limit.
        (Some(limit), Err(_)) => match value.trim().parse::<f64>() {
            Ok(asked) if asked > 0.0 && asked <= limit as f64 => value.to_owned(),
            _ => limit.to_string(),
        },
        _ => value.to_owned(),
    }
}

/// `'text'` for a statement.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `` `name` `` for a statement.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Params {
        Params::parse(query).unwrap()
    }

    #[test]
    fn options_placeholders_and_settings_are_told_apart() {
        let params = parse("query=SELECT+1&param_a=%27x&max_threads=2&database=d&query=SELECT+2&session_id=");
        assert_eq!(params.text("query"), Some("SELECT 2"));
        assert_eq!(params.placeholders(), [("a".to_owned(), "'x".to_owned())]);
        assert_eq!(params.settings(&Limits::default()).unwrap(), [("max_threads".to_owned(), "2".to_owned())]);
        assert_eq!(params.session(&Limits::default()).unwrap(), None);
    }

    #[test]
    fn a_name_that_could_end_the_statement_is_not_a_setting() {
        for query in ["a%3D1%2C+b=1", "a%27=1", "=1", "%C3%A9=1"] {
            let refused = parse(query).settings(&Limits::default());
            assert_eq!(refused.map_err(|error| error.code()), Err(115), "{query}");
        }
    }

    #[test]
    fn a_limit_can_be_lowered_but_not_lifted() {
        let limits = Limits {
            statement_memory_bytes_max: 1000,
            statement_time_max: Duration::from_secs(60),
            ..Limits::default()
        };
        for (asked, set) in [
            ("max_memory_usage=999", "999"),
            ("max_memory_usage=1001", "1000"),
            ("max_memory_usage=0", "1000"),
            ("max_memory_usage=1e9", "1000"),
            ("max_memory_usage=x", "1000"),
            ("max_memory_usage=99999999999999999999999", "1000"),
            ("max_execution_time=0.5", "0.5"),
            ("max_execution_time=NaN", "60"),
            ("max_rows_to_read=0", "0"),
        ] {
            assert_eq!(parse(asked).settings(&limits).unwrap()[0].1, set, "{asked}");
        }
    }

    #[test]
    fn a_session_lives_as_long_as_asked_within_the_limit() {
        let limits = Limits::default();
        let session = |query: &str| parse(query).session(&limits).map_err(|error| error.code());
        let asked = session("session_id=s&session_timeout=7&session_check=1").unwrap().unwrap();
        assert_eq!((asked.idle, asked.must_exist, asked.closes), (Duration::from_secs(7), true, false));
        assert_eq!(session("session_id=s").unwrap().unwrap().idle, limits.session_idle);
        for timeout in ["-1", "x", "3601", "99999999999999999999"] {
            assert_eq!(session(&format!("session_id=s&session_timeout={timeout}")), Err(374), "{timeout}");
        }
    }

    #[test]
    fn too_many_parameters_are_refused() {
        assert!(Params::parse(&"a=1&".repeat(PARAMS_MAX)).is_ok());
        assert!(Params::parse(&"a=1&".repeat(PARAMS_MAX + 1)).is_err());
    }

    #[test]
    fn quotes_cannot_be_escaped_from() {
        assert_eq!(quoted(r"a'b\"), r"'a\'b\\'");
        assert_eq!(quoted_name(r"a`b\"), r"`a\`b\\`");
    }
}
