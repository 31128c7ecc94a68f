//! Comma-separated values that a spreadsheet may open without harm.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes a header and rows.
///
/// A text that a spreadsheet would take for a formula gets an apostrophe in front: names of users and values of labels
/// are the producers' own (<https://owasp.org/www-community/attacks/CSV_Injection>). Numbers stay numbers.
///
/// # Errors
/// What the writer says.
pub fn write(out: impl Write, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    writer.write_record(header).map_err(failed)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| harmless(cell).into_owned())).map_err(failed)?;
    }
    writer.flush()
}

fn harmless(cell: &str) -> Cow<'_, str> {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    if formula { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_formulas_defused() {
        let mut out = Vec::new();
        let rows = [vec!["a,b".to_owned(), "say \"x\"".to_owned()], vec!["=1+1".to_owned(), "-5.5".to_owned()]];
        write(&mut out, &["one", "two"], rows.into_iter()).expect("it is written");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "one,two\n\"a,b\",\"say \"\"x\"\"\"\n'=1+1,-5.5\n");
        assert_eq!(harmless("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(harmless("plain"), "plain");
    }
}
