//! What is printed: progress on standard error, tables on standard output.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's output is for its reader")]

use std::fmt::Display;

use comfy_table::{Cell, CellAlignment, Table, presets};

/// One line on standard output.
pub fn say(line: impl Display) {
    println!("{line}");
}

/// What is going on, for whoever waits.
pub fn progress(line: impl Display) {
    eprintln!("  {line}");
}

/// Prints a table under its title; all columns but the first are numbers.
pub fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(columns);
    for row in rows {
        let cell = |(at, text): (usize, String)| {
            let side = if at == 0 { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(text).set_alignment(side)
        };
        table.add_row(row.into_iter().enumerate().map(cell));
    }
    println!("\n{title}\n\n{table}");
}

/// The middle of some numbers, and how far they lie apart.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Spread { least: sorted[0], median, most: sorted[sorted.len() - 1] }
    }

    /// The median, and in brackets the least and the most, where there is more than one number.
    pub fn ratio(self) -> String {
        if self.least == self.most {
            return format!("{:.2}", self.median);
        }
        format!("{:.2} ({:.2}–{:.2})", self.median, self.least, self.most)
    }
}

/// A whole number with its thousands apart.
pub fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
