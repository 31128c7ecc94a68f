//! The fields of a JSON object, read one by one, so that every complaint names the field and the fix.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{NAME_BYTES_MAX, Rejection};
use crate::code::ErrorCode;
use crate::spelling::distance;

/// What a payload must never set: LiteLLM's CVE-2024-6587 was a client-chosen `api_base` that received the key.
const FORBIDDEN: &[&str] = &[
    "api_key",
    "api_base",
    "base_url",
    "api_version",
    "organization",
    "extra_headers",
    "headers",
    "authorization",
    "priority",
    "weight",
    "team",
    "class",
    "cost_nanousd",
];
/// The fields of one object in order, their values unread.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|&(_, value)| value)
    }

    /// Refuses fields outside `known`, by name and with the nearest known one.
    pub(super) fn only(&self, at: &str, known: &[&str]) -> Result<(), Rejection> {
        let Some((name, _)) = self.0.iter().find(|(key, _)| !known.contains(&key.as_ref())) else { return Ok(()) };
        if FORBIDDEN.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(forbidden(at, name));
        }
        let shown: String = name.chars().take(64).collect();
        let near = known.iter().chain(["messages", "model"].iter()).map(|k| (distance(k, name), *k)).min();
        let hint = match near {
            Some((d, k)) if d <= 2 && known.contains(&k) => format!("; did you mean `{}`?", dotted(at, k)),
            Some((d, k)) if d <= 2 => format!("; did you mean `body.{k}`?"),
            _ => format!("; known here: {}", known.join(", ")),
        };
        let message = format!("`{}` is not a field that Tollgate knows{hint}", dotted(at, &shown));
        Err(Rejection::new(ErrorCode::UnknownField, message))
    }

    pub(super) fn optional_text(&self, at: &str, name: &str) -> Result<Option<String>, Rejection> {
        let Some(raw) = self.get(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        let text: String = serde_json::from_str(raw.get()).map_err(|_| wrong_type(at, name, "a text", raw))?;
        if text.len() > NAME_BYTES_MAX {
            let message = format!("`{}` has {} bytes and may have {NAME_BYTES_MAX}", dotted(at, name), text.len());
            return Err(Rejection::new(ErrorCode::InvalidField, message));
        }
        if !is_a_name(&text) {
            let message = format!("`{}` holds a control character", dotted(at, name));
            return Err(Rejection::new(ErrorCode::InvalidField, message));
        }
        Ok(Some(text))
    }

    pub(super) fn optional_count(&self, at: &str, name: &str, max: u64) -> Result<Option<u64>, Rejection> {
        let Some(raw) = self.get(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        match raw.get().parse::<u64>() {
            Ok(count) if (1..=max).contains(&count) => Ok(Some(count)),
            _ => Err(wrong_type(at, name, &format!("a whole number from 1 to {max}"), raw)),
        }
    }

    pub(super) fn optional_number(&self, at: &str, name: &str) -> Result<(), Rejection> {
        let Some(raw) = self.get(name).filter(|raw| raw.get() != "null") else { return Ok(()) };
        match raw.get().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(()),
            _ => Err(wrong_type(at, name, "a number", raw)),
        }
    }
}

/// Whether a text is short and plain enough for a record.
pub(super) fn is_a_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((entry.0.0, entry.1));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) fn object<'a>(raw: &'a RawValue, name: &str) -> Result<Fields<'a>, Rejection> {
    Fields::read(raw.get()).ok_or_else(|| wrong_type("", name, "an object", raw))
}

fn dotted(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

pub(super) fn forbidden(at: &str, name: &str) -> Rejection {
    let message = format!(
        "`{}` may not be set by a job; class and team come from the subject, the rest from the operator",
        dotted(at, name)
    );
    Rejection::new(ErrorCode::ForbiddenField, message)
}

pub(super) fn wrong_type(at: &str, name: &str, wanted: &str, raw: &RawValue) -> Rejection {
    let message = format!("`{}` must be {wanted}, not {}", dotted(at, name), kind_of(raw.get()));
    Rejection::new(ErrorCode::InvalidField, message)
}

/// Names the type of a JSON value without repeating it, short numbers excepted.
pub(super) fn kind_of(text: &str) -> String {
    let text = text.trim_start();
    match text.as_bytes().first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b'"') => "a text".into(),
        Some(b't' | b'f') => "a boolean".into(),
        Some(b'n') => "null".into(),
        _ => format!("the number {}", text.chars().take(24).collect::<String>()),
    }
}
