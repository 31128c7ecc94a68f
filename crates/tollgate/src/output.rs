//! What a command prints: data on standard output, in the form that was asked for. People and logs get standard error.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::csv;
use crate::env::Env;
use crate::exit::{Code, Failure};

/// The form of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// Comma-separated values with a header, for spreadsheets.
    Csv,
}

/// Prints data.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
    colour: bool,
}

impl Output {
    /// In that form; with colour only on a terminal, and not with `NO_COLOR` (see <https://no-color.org>).
    pub fn new(format: Format, env: &Env) -> Self {
        Output { format, colour: io::stdout().is_terminal() && env.get("NO_COLOR").is_none() }
    }

    /// The form.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether colours may be used.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Prints records: an array, a line each, or the table that `row` makes of them.
    ///
    /// # Errors
    /// Returns that standard output cannot be written.
    pub fn records<T: Serialize>(
        &self,
        records: &[T],
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.text(&pretty(&records)),
            Format::Jsonl => records.iter().try_for_each(|record| self.text(&line(record))),
            Format::Csv => self.csv(header, records.iter().map(row)),
            Format::Table => {
                let mut table = self.table(header);
                for record in records {
                    table.add_row(row(record));
                }
                self.text(&table.trim_fmt())
            }
        }
    }

    /// Prints one record: a document, a line, or the text that `text` makes of it.
    ///
    /// # Errors
    /// Returns that standard output cannot be written.
    pub fn record<T: Serialize>(&self, record: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.text(&pretty(record)),
            Format::Jsonl => self.text(&line(record)),
            Format::Table | Format::Csv => self.text(&text(record)),
        }
    }

    /// Prints rows as CSV (<https://www.rfc-editor.org/rfc/rfc4180>) below a header.
    ///
    /// # Errors
    /// Returns that standard output cannot be written.
    pub fn csv(&self, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
        written(csv::write(io::stdout().lock(), header, rows))
    }

    /// Prints a text and ends the line.
    ///
    /// # Errors
    /// Returns that standard output cannot be written.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
    }

    /// Prints a part of a text at once, without ending the line.
    ///
    /// # Errors
    /// Returns that standard output cannot be written.
    pub fn part(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        written(write!(stdout, "{text}").and_then(|()| stdout.flush()))
    }

    /// An empty table in the house style.
    pub fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if !self.colour {
            table.force_no_tty();
        }
        table.set_header(header.iter().map(|name| name.to_uppercase()));
        table
    }
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        // Whoever reads us has seen enough, as with `head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::new(Code::Failed, "cannot write to standard output").because(&error)),
    }
}

/// Tells the person at the terminal something that is not data.
#[allow(clippy::print_stderr, reason = "this is the place")]
pub fn say(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("what is printed has texts as keys")
}

fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what is printed has texts as keys")
}
