//! Reads the file: its form, with every mistake named by line and key.

use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Deserializer, Spanned};

use super::expand::expand;
use super::sections::Config;
use super::{Origin, Origins, Problem};
use crate::env::Env;

/// More mistakes than anybody corrects in one go.
const PROBLEMS_MAX: usize = 50;

/// What was read: what is well formed, where it stands, and what is not.
pub struct Read {
    /// The values; where one was not well formed, its default.
    pub config: Config,
    /// The line of every key.
    pub origins: Origins,
    /// What was not well formed.
    pub problems: Vec<Problem>,
}

/// Reads a file's text. References in it are expanded.
pub fn read(text: &str, env: &Env) -> Read {
    let mut problems = Vec::new();
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let reason = format!("this is not TOML: {}", error.message());
            problems.push(Problem { key: String::new(), origin: Origin::File(line), reason });
            return Read { config: Config::default(), origins: Origins::new(), problems };
        }
    };
    let (span, mut root) = (table.span(), table.into_inner());
    let mut origins = Origins::new();
    note_lines(&root, "", text, &mut origins);
    expand_table(&mut root, "", text, env, &mut problems);
    loop {
        let tree = Spanned::new(span.clone(), root.clone());
        let error = match Config::deserialize(Deserializer::from(tree)) {
            Ok(config) => return Read { config, origins, problems },
            Err(error) => error,
        };
        let place = error.span().and_then(|span| path_at(&root, &span));
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let path = place.unwrap_or_default();
        let origin = Origin::File(line);
        problems.push(Problem { key: path.join("."), origin, reason: first_line(error.message()) });
        // Without the mistake the rest can be read, so that every mistake is told at once.
        if problems.len() >= PROBLEMS_MAX || !remove(&mut root, &path) {
            return Read { config: Config::default(), origins, problems };
        }
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or(message).to_owned()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

fn joined(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

fn note_lines(table: &DeTable<'_>, prefix: &str, text: &str, origins: &mut Origins) {
    for (key, value) in table {
        let path = joined(prefix, key.get_ref());
        origins.insert(path.clone(), Origin::File(line_of(text, key.span().start)));
        note_inner(value.get_ref(), &path, text, origins);
    }
}

fn note_inner(value: &DeValue<'_>, path: &str, text: &str, origins: &mut Origins) {
    match value {
        DeValue::Table(inner) => note_lines(inner, path, text, origins),
        DeValue::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                let path = format!("{path}.{at}");
                origins.insert(path.clone(), Origin::File(line_of(text, value.span().start)));
                note_inner(value.get_ref(), &path, text, origins);
            }
        }
        _ => {}
    }
}

fn expand_table(table: &mut DeTable<'_>, prefix: &str, text: &str, env: &Env, problems: &mut Vec<Problem>) {
    for (key, value) in table {
        let path = joined(prefix, key.get_ref());
        expand_value(value, &path, text, env, problems);
    }
}

fn expand_value(value: &mut Spanned<DeValue<'_>>, path: &str, text: &str, env: &Env, problems: &mut Vec<Problem>) {
    let line = line_of(text, value.span().start);
    match value.get_mut() {
        DeValue::String(string) if string.contains("${") => match expand(string, env) {
            Ok(expanded) => *string = expanded.into(),
            Err(reason) => problems.push(Problem { key: path.to_owned(), origin: Origin::File(line), reason }),
        },
        DeValue::Table(inner) => expand_table(inner, path, text, env, problems),
        DeValue::Array(values) => {
            for (at, value) in values.iter_mut().enumerate() {
                expand_value(value, &format!("{path}.{at}"), text, env, problems);
            }
        }
        _ => {}
    }
}

/// The keys to the innermost entry that a mistake lies in.
fn path_at(table: &DeTable<'_>, place: &Range<usize>) -> Option<Vec<String>> {
    let within = |span: Range<usize>| span.start <= place.start && place.end <= span.end;
    // The key itself is the mistake, or the value, or something in it. The table of `[a.b]` is a value without the
    // text of its keys, so inner entries are looked at first.
    for (key, value) in table {
        if let Some(mut path) = inside(value.get_ref(), place) {
            path.insert(0, key.get_ref().to_string());
            return Some(path);
        }
    }
    let here = table.iter().find(|(key, value)| within(key.span()) || within(value.span()));
    here.map(|(key, _)| vec![key.get_ref().to_string()])
}

fn inside(value: &DeValue<'_>, place: &Range<usize>) -> Option<Vec<String>> {
    match value {
        DeValue::Table(inner) => path_at(inner, place),
        DeValue::Array(values) => values.iter().enumerate().find_map(|(at, value)| {
            let span = value.span();
            let within = span.start <= place.start && place.end <= span.end;
            let mut path = inside(value.get_ref(), place).or_else(|| within.then(Vec::new))?;
            path.insert(0, at.to_string());
            Some(path)
        }),
        _ => None,
    }
}

/// Takes an entry out. A key of a table in an array goes alone; an item itself goes as the whole array, so that no other
/// item takes its place.
fn remove(table: &mut DeTable<'_>, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    let Some(key) = table.keys().find(|key| key.get_ref() == first).cloned() else { return false };
    let value = table.get_mut(&key).map(Spanned::get_mut);
    if value.is_some_and(|value| remove_inside(value, rest)) {
        return true;
    }
    table.remove(&key).is_some()
}

fn remove_inside(value: &mut DeValue<'_>, path: &[String]) -> bool {
    match (value, path) {
        (DeValue::Table(inner), [_, ..]) => remove(inner, path),
        (DeValue::Array(values), [at, rest @ ..]) => {
            let item = at.parse::<usize>().ok().and_then(|at| values.get_mut(at));
            item.is_some_and(|item| remove_inside(item.get_mut(), rest))
        }
        _ => false,
    }
}
