//! `usage export`: a file for chargeback.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use tollgate_types::NanoUsd;
use tollgate_usage::questions::{Dimension, Usage};

use super::{AskedFor, name, table};
use crate::commands::Cx;
use crate::commands::span;
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::{connect, csv, output};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asked: AskedFor,
    /// The file; standard output if left out. One that is there is replaced, as a whole
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Bills are monthly.
const DEFAULT_SPAN: Period = Period(std::time::Duration::from_secs(31 * 24 * 3600));
/// What bills are made by.
const BY: [Dimension; 5] = [Dimension::Day, Dimension::Team, Dimension::Project, Dimension::Model, Dimension::Provider];

pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let filter = args.asked.filter(DEFAULT_SPAN)?;
    let by = args.asked.by_or(&BY);
    let loaded = cx.load()?;
    let store = connect::clickhouse(&loaded.config)?;
    let failed = |error| connect::clickhouse_failure(&loaded.config, &error);
    let mut rows = store.ask().usage(&filter, &by).await.map_err(failed)?.rows;
    rows.sort_by(|a, b| a.keys.cmp(&b.keys));
    if rows.len() >= tollgate_usage::questions::ANSWER_ROWS_MAX {
        let failure = Failure::new(Code::Failed, format!("it would have {} rows or more", rows.len()));
        return Err(failure.try_this("export a shorter time, or by fewer keys"));
    }
    let names: Vec<String> = by.iter().map(name).collect();
    match &args.out {
        None => cx.output.csv(&table::header(&names), rows.iter().map(table::exact))?,
        Some(path) => write(path, &names, &rows).map_err(|error| {
            Failure::new(Code::Failed, format!("{} cannot be written", path.display())).because(&error)
        })?,
    }
    let sum: i64 = rows.iter().map(|row| row.cost_nanousd).sum();
    let place = args.out.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default();
    output::say(format_args!(
        "{}: {} rows, {}{place}; `tollgate reconcile` proves the sum against the results",
        span::in_words(filter.range),
        rows.len(),
        NanoUsd(sum)
    ));
    Ok(Code::Ok)
}

/// Writes beside the file and swaps, so that no half a bill is ever read.
fn write(path: &Path, names: &[String], rows: &[Usage]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut file = BufWriter::new(fs::File::create(&beside)?);
        csv::write(&mut file, &table::header(names), rows.iter().map(table::exact))?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // Nobody misses it.
        let _ = fs::remove_file(&beside);
    }
    written
}
