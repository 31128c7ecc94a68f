//! What `submit` reads: a prompt from standard input, or the lines of a file.

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use tollgate_types::JobSpec;

use crate::exit::{Code, Failure};

/// More than any batch file (OpenAI takes 200 MB), and less than memory.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// More wrong lines than anybody mends in one go.
const PROBLEMS_MAX: usize = 10;

/// The prompt on standard input, without the end of its last line.
pub(super) fn prompt() -> Result<String, Failure> {
    let text = String::from_utf8(all(Path::new("-"))?);
    let text = text.map_err(|error| Failure::new(Code::Usage, "the prompt is not UTF-8").because(&error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The lines of a file, or of standard input for `-`. Nothing is submitted if one of them is no job.
pub(super) fn lines(path: &Path) -> Result<Vec<Bytes>, Failure> {
    checked(&Bytes::from(all(path)?)).map_err(|problems| {
        let what = format!(
            "{} line(s) of {} are no jobs; nothing was submitted\n{}",
            problems.len(),
            path.display(),
            shown(&problems)
        );
        Failure::new(Code::Usage, what)
    })
}

fn shown(problems: &[String]) -> String {
    let mut lines: Vec<String> = problems.iter().take(PROBLEMS_MAX).map(|problem| format!("  {problem}")).collect();
    if problems.len() > PROBLEMS_MAX {
        lines.push(format!("  … and {} more", problems.len() - PROBLEMS_MAX));
    }
    lines.join("\n")
}

/// The lines that are not blank, or what is wrong with which.
fn checked(text: &Bytes) -> Result<Vec<Bytes>, Vec<String>> {
    let mut problems = Vec::new();
    let mut jobs = Vec::new();
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let line = text.slice_ref(line);
        match JobSpec::decode(&line, usize::MAX) {
            Ok(_) => jobs.push(line),
            Err(rejection) => problems.push(format!("line {}: {rejection} ({})", at + 1, rejection.code)),
        }
    }
    if problems.is_empty() { Ok(jobs) } else { Err(problems) }
}

fn all(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Code::Usage, format!("cannot read {}", path.display())).because(&error);
    let mut bytes = Vec::new();
    let mut reader: Box<dyn std::io::Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    reader.by_ref().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(
            Code::Usage,
            format!("{} has more than {FILE_BYTES_MAX} bytes; split it", path.display()),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_as_they_are_and_wrong_ones_are_named() {
        let good = r#"{"body": {"model":"m","messages":[{"role":"user","content":"x"}]}}"#;
        let lines = checked(&Bytes::from(format!("{good}\r\n\n{good}"))).expect("two jobs");
        assert_eq!(lines, [good, good]);
        let problems = checked(&Bytes::from(format!("{good}\n{{\"body\":1}}\nnonsense\n"))).expect_err("two are wrong");
        assert!(problems[0].starts_with("line 2: ") && problems[1].starts_with("line 3: "), "{problems:?}");
    }
}
