//! Traces of LLM inference in the form of Azure's public data sets, read line by line; what is none is refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The first line of every trace.
const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
/// No model reads a longer prompt than this and a little more: a larger number is a broken file.
const PROMPT_TOKENS_MAX: u32 = 200_000;
/// The longest answer that the simulated provider can be asked for.
const ANSWER_TOKENS_MAX: u32 = 131_072;
/// The three columns take half of this; a file without line ends must not be read into memory whole.
const LINE_BYTES_MAX: usize = 256;

/// A request of a trace: when it came, how much it asked, and how much it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Since the first row.
    pub(super) after: Duration,
    /// Tokens of the prompt.
    pub(super) prompt: u32,
    /// Tokens of the answer.
    pub(super) answer: u32,
}

/// Why a trace is not replayed.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {fault}", path.display(), at(*line))]
pub(super) struct TraceError {
    path: PathBuf,
    /// From 1; `None` where the file as a whole is meant.
    line: Option<u64>,
    #[source]
    fault: Fault,
}

fn at(line: Option<u64>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

/// What is wrong with a line, or with the whole file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("it is empty")]
    Empty,
    #[error("it has a header and no rows")]
    NoRows,
    #[error("it has more than {0} rows")]
    TooManyRows(usize),
    #[error("the header is {0:?}")]
    Header(String),
    #[error("it has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not UTF-8")]
    NotText,
    #[error("it has {0} column(s), not three")]
    Columns(usize),
    #[error("TIMESTAMP is {0:?}, which is no time")]
    Time(String),
    #[error("TIMESTAMP is {0:?}, which is before the row above")]
    Order(String),
    #[error("{column} is {text:?}, which is no whole number")]
    Number { column: &'static str, text: String },
    #[error("{column} is {text}, which is negative")]
    Negative { column: &'static str, text: String },
    #[error("{column} is 0, and a job needs a prompt and an answer")]
    Zero { column: &'static str },
    #[error("{column} is {text}, which is more than {max}")]
    TooMany { column: &'static str, text: String, max: u32 },
}

impl TraceError {
    /// What to change.
    pub(super) fn fix(&self) -> String {
        match &self.fault {
            Fault::Unreadable(_) => "name a file that exists and may be read".to_owned(),
            Fault::Empty | Fault::NoRows | Fault::Header(_) | Fault::TooLong | Fault::NotText => {
                format!("name a trace: a line '{HEADER}', then rows such as '2023-11-16 18:15:46.6805900,374,44'")
            }
            Fault::TooManyRows(max) => format!("replay its beginning with --limit, at most {max}"),
            Fault::Columns(_) => format!("give the row the three columns {HEADER}"),
            Fault::Time(_) => "write it as 2023-11-16 18:15:46.6805900, or with a zone as in RFC 3339".to_owned(),
            Fault::Order(_) => "sort the rows by their first column".to_owned(),
            Fault::Number { .. } | Fault::Negative { .. } => {
                "write how many tokens it were, in digits alone".to_owned()
            }
            Fault::Zero { .. } => "write at least 1, or remove the row".to_owned(),
            Fault::TooMany { max, .. } => format!("write at most {max}, or remove the row"),
        }
    }
}

/// Reads the first rows of a trace, at most `limit`. A file without a limit that has more than `rows_max` is refused.
///
/// # Errors
/// What is wrong, in which line.
pub(super) fn read(path: &Path, limit: Option<usize>, rows_max: usize) -> Result<Vec<Row>, TraceError> {
    let failed = |(line, fault)| TraceError { path: path.to_owned(), line, fault };
    let file = File::open(path).map_err(|error| failed((None, Fault::Unreadable(error))))?;
    rows(BufReader::new(file), limit, rows_max).map_err(failed)
}

fn rows(mut input: impl BufRead, limit: Option<usize>, rows_max: usize) -> Result<Vec<Row>, (Option<u64>, Fault)> {
    let mut line = Vec::new();
    let header = next(&mut input, &mut line).map_err(|fault| (Some(1), fault))?.ok_or((None, Fault::Empty))?;
    // Spreadsheets put a byte order mark in front.
    let header = header.trim_start_matches('\u{feff}').trim();
    if header != HEADER {
        return Err((Some(1), Fault::Header(header.to_owned())));
    }
    let (mut rows, mut first, mut before) = (Vec::new(), None, None);
    for number in 2.. {
        if limit.is_some_and(|limit| rows.len() >= limit) {
            break;
        }
        let wrong = |fault| (Some(number), fault);
        let Some(text) = next(&mut input, &mut line).map_err(wrong)? else { break };
        if text.trim().is_empty() {
            continue;
        }
        if rows.len() >= rows_max {
            return Err((None, Fault::TooManyRows(rows_max)));
        }
        let (at, prompt, answer) = row(text).map_err(wrong)?;
        if before.is_some_and(|before| at < before) {
            return Err(wrong(Fault::Order(text.split(',').next().unwrap_or_default().to_owned())));
        }
        before = Some(at);
        let after = (at - *first.get_or_insert(at)).unsigned_abs();
        rows.push(Row { after, prompt, answer });
    }
    if rows.is_empty() { Err((None, Fault::NoRows)) } else { Ok(rows) }
}

/// The next line without its end; `None` after the last.
fn next<'a>(input: &mut impl BufRead, line: &'a mut Vec<u8>) -> Result<Option<&'a str>, Fault> {
    line.clear();
    let most = LINE_BYTES_MAX as u64 + 1;
    let read = input.by_ref().take(most).read_until(b'\n', line).map_err(Fault::Unreadable)?;
    if read == 0 {
        return Ok(None);
    }
    if read > LINE_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    std::str::from_utf8(line).map(|text| Some(text.trim_end_matches(['\n', '\r']))).map_err(|_| Fault::NotText)
}

fn row(text: &str) -> Result<(OffsetDateTime, u32, u32), Fault> {
    let columns: Vec<&str> = text.split(',').map(str::trim).collect();
    let [at, prompt, answer] = columns[..] else { return Err(Fault::Columns(columns.len())) };
    let at = instant(at).ok_or_else(|| Fault::Time(at.to_owned()))?;
    let prompt = tokens("ContextTokens", prompt, PROMPT_TOKENS_MAX)?;
    Ok((at, prompt, tokens("GeneratedTokens", answer, ANSWER_TOKENS_MAX)?))
}

/// Azure's form, `2023-11-16 18:15:46.6805900`, with a zone or without: then all rows are in the same one.
fn instant(text: &str) -> Option<OffsetDateTime> {
    let (date, clock) = text.split_once([' ', 'T'])?;
    let zoned = clock.ends_with('Z') || clock.contains(['+', '-']);
    OffsetDateTime::parse(&format!("{date}T{clock}{}", if zoned { "" } else { "Z" }), &Rfc3339).ok()
}

fn tokens(column: &'static str, text: &str, max: u32) -> Result<u32, Fault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Number { column, text: text.to_owned() });
    }
    if digits.len() < text.len() {
        return Err(Fault::Negative { column, text: text.to_owned() });
    }
    // Digits that do not fit are too many all the same.
    match text.parse().unwrap_or(u32::MAX) {
        0 => Err(Fault::Zero { column }),
        count if count > max => Err(Fault::TooMany { column, text: text.to_owned(), max }),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 100;

    fn read(text: &str) -> Result<Vec<Row>, String> {
        rows(text.as_bytes(), None, MANY).map_err(|(line, fault)| {
            let error = TraceError { path: "t.csv".into(), line, fault };
            assert!(!error.fix().is_empty());
            error.to_string()
        })
    }

    fn body(rows: &str) -> String {
        format!("{HEADER}\n{rows}")
    }

    #[test]
    fn azures_own_lines_are_read_with_their_line_ends_fractions_and_zones() {
        let expected = |ms: u64, prompt, answer| Row { after: Duration::from_millis(ms), prompt, answer };
        let old = format!(
            "\u{feff}{HEADER}\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9955900,396,109\r\n\r\n"
        );
        assert_eq!(read(&old), Ok(vec![expected(0, 374, 44), expected(4315, 396, 109)]));
        let new = body("2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10T02:00:01.00993+02:00,1,131072");
        assert_eq!(read(&new), Ok(vec![expected(0, 2162, 5), expected(1000, 1, 131_072)]));
        assert_eq!(read(&body("2023-11-16 18:15:46,200000,1")), Ok(vec![expected(0, 200_000, 1)]));
    }

    #[test]
    fn what_is_no_trace_is_refused_by_file_line_and_reason() {
        let check = |text: &str, expected: &str| assert_eq!(read(text), Err(format!("t.csv{expected}")), "{text:?}");
        let row = |columns: &str| body(&format!("2023-11-16 18:15:46,1,1\n{columns}"));
        check("", ": it is empty");
        check(HEADER, ": it has a header and no rows");
        check(&body("\n\n"), ": it has a header and no rows");
        check("a,b,c\n1,2,3", ", line 1: the header is \"a,b,c\"");
        check(&row("2023-11-16 18:15:47,1"), ", line 3: it has 2 column(s), not three");
        check(&row("2023-11-16 18:15:47,1,1,"), ", line 3: it has 4 column(s), not three");
        check(&row("2023-13-16 18:15:47,1,1"), ", line 3: TIMESTAMP is \"2023-13-16 18:15:47\", which is no time");
        check(&row("18:15:47,1,1"), ", line 3: TIMESTAMP is \"18:15:47\", which is no time");
        check(
            &row("2023-11-16 18:15:45.999,1,1"),
            ", line 3: TIMESTAMP is \"2023-11-16 18:15:45.999\", which is before the row above",
        );
        check(&row("2023-11-16 18:15:47,x,1"), ", line 3: ContextTokens is \"x\", which is no whole number");
        check(&row("2023-11-16 18:15:47,1,"), ", line 3: GeneratedTokens is \"\", which is no whole number");
        check(&row("2023-11-16 18:15:47,1.5,1"), ", line 3: ContextTokens is \"1.5\", which is no whole number");
        check(&row("2023-11-16 18:15:47,-5,1"), ", line 3: ContextTokens is -5, which is negative");
        check(
            &row("2023-11-16 18:15:47,1,0"),
            ", line 3: GeneratedTokens is 0, and a job needs a prompt and an answer",
        );
        check(&row("2023-11-16 18:15:47,200001,1"), ", line 3: ContextTokens is 200001, which is more than 200000");
        check(
            &row("2023-11-16 18:15:47,1,99999999999999999999999"),
            ", line 3: GeneratedTokens is 99999999999999999999999, which is more than 131072",
        );
        check(&row(&"1".repeat(300)), ", line 3: it has more than 256 bytes");
    }

    #[test]
    fn bytes_that_are_no_text_and_files_that_are_none_are_refused() {
        let (line, fault) = rows(&b"\xff\xfe\n"[..], None, MANY).expect_err("it is no text");
        assert_eq!((line, fault.to_string()), (Some(1), "it is not UTF-8".into()));
        let missing = super::read(Path::new("/no/such/trace.csv"), None, MANY).expect_err("there is none");
        assert_eq!(missing.to_string(), "/no/such/trace.csv: it cannot be read");
        let directory = super::read(&std::env::temp_dir(), None, MANY).expect_err("it is a directory");
        assert!(matches!(directory.fault, Fault::Unreadable(_)), "{directory}");
    }

    #[test]
    fn a_limit_ends_the_reading_and_without_one_too_many_rows_are_refused() {
        let text = body(&format!("{}nonsense", "2023-11-16 18:15:46,1,1\n".repeat(MANY)));
        assert_eq!(rows(text.as_bytes(), Some(3), MANY).expect("the beginning is well").len(), 3);
        assert_eq!(rows(text.as_bytes(), Some(MANY), MANY).expect("the limit ends it").len(), MANY);
        assert_eq!(read(&text), Err("t.csv: it has more than 100 rows".into()));
    }
}
