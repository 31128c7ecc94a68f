//! References in texts: `${VAR}`, `${VAR:-default}`, `${file:/path}`. `$${` stands for `${`.

use crate::env::Env;

/// The largest file that a reference may name, in bytes; it holds a password or a URL.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Replaces every reference in a text. A final line break of a file does not count.
///
/// A variable that is empty counts as unset, so that `${VAR:-default}` gives the default.
///
/// # Errors
/// Returns which reference cannot be resolved, and why.
pub fn expand(text: &str, env: &Env) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        expanded.push_str(&rest[..at]);
        let Some(length) = rest[at..].find('}') else {
            return Err("a reference begins with ${ and does not end with }; write $${ for the characters".to_owned());
        };
        expanded.push_str(&resolve(&rest[at + 2..at + length], env)?);
        rest = &rest[at + length + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn resolve(reference: &str, env: &Env) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read(path);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("${{{reference}}} is not ${{VAR}}, ${{VAR:-default}} or ${{file:/path}}"));
    }
    match (env.get(name), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the environment variable {name} is not set; ${{{name}:-…}} would give a default")),
    }
}

fn read(path: &str) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("the file {path} cannot be read: {error}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("the file {path} is larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Env {
        Env::of([("HOST", "nats.example"), ("EMPTY", "")])
    }

    #[test]
    fn references_are_replaced_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cret\r\n").expect("it can be written");
        let file = format!("${{file:{}}}", path.display());
        for (text, expected) in [
            ("nats://${HOST}:4222", "nats://nats.example:4222"),
            ("${HOST}${HOST}", "nats.examplenats.example"),
            ("${UNSET:-a b}", "a b"),
            ("${EMPTY:-d}", "d"),
            ("${UNSET:-}", ""),
            ("$${HOST}", "${HOST}"),
            ("$5 }{ $", "$5 }{ $"),
            (&file, "s3cret"),
        ] {
            assert_eq!(expand(text, &env()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        for (text, expected) in [
            ("${UNSET}", "the environment variable UNSET is not set"),
            ("${EMPTY}", "the environment variable EMPTY is not set"),
            ("${HOST", "does not end with }"),
            ("${}", "is not ${VAR}"),
            ("${A B}", "${A B} is not ${VAR}"),
            ("${file:/nonexistent/x}", "the file /nonexistent/x cannot be read"),
        ] {
            let error = expand(text, &env()).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
