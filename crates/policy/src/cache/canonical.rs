//! The canonical form of a body: the same bytes for the same request, however it was written.
//!
//! Object keys are sorted, white space is gone, texts are compared by what they say and numbers by what they are, exactly:
//! `1`, `1.0` and `10e-1` are one number, and no two different ones ever meet. Each value begins with its kind and each
//! container and text with its length, so that no two bodies have one form.

use std::borrow::Cow;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The fields of a body that do not change the answer, each because of what it is for.
pub const UNKEYED: &[&str] = &[
    // How the answer travels; what it says is the same.
    "stream",
    "stream_options",
    // Who asks, for the provider's own watch against abuse.
    "user",
    "safety_identifier",
    // Notes for whoever looks at the provider's logs.
    "metadata",
    // Whether the provider keeps the exchange.
    "store",
    // Hints for the provider's own cache of prompts: what a prompt costs there, not what it means.
    "prompt_cache_key",
    "prompt_cache_retention",
    // How fast and how dear; the model is the same.
    "service_tier",
];

/// Deeper than any body that a job may have.
const DEPTH_MAX: usize = 256;

/// The canonical form of a body; `None` if it is no JSON object.
pub(super) fn canonical(body: &[u8]) -> Option<Vec<u8>> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    let mut members = members(raw.get())?;
    members.retain(|(name, _)| !UNKEYED.contains(&name.as_ref()));
    let mut out = Vec::with_capacity(body.len());
    object(members, 0, &mut out)?;
    Some(out)
}

fn value(text: &str, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match text.as_bytes().first()? {
        b'{' => object(members(text)?, depth, out),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            head(b'[', items.len(), out);
            items.into_iter().try_for_each(|item| value(item.get(), depth + 1, out))
        }
        b'"' => {
            let said: Text<'_> = serde_json::from_str(text).ok()?;
            written(b'"', &said.0, out);
            Some(())
        }
        b't' | b'f' | b'n' => {
            out.push(text.as_bytes()[0]);
            Some(())
        }
        _ => {
            written(b'#', &number(text), out);
            Some(())
        }
    }
}

fn object(mut members: Vec<(Cow<'_, str>, &RawValue)>, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    head(b'{', members.len(), out);
    members.into_iter().try_for_each(|(name, member)| {
        written(b'"', &name, out);
        value(member.get(), depth + 1, out)
    })
}

fn head(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend((len as u64).to_be_bytes());
}

fn written(kind: u8, text: &str, out: &mut Vec<u8>) {
    head(kind, text.len(), out);
    out.extend(text.as_bytes());
}

/// A number as its sign, its digits without zeros around them, and the power of ten of the last; `0` for every zero.
fn number(text: &str) -> Cow<'_, str> {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return "0".into();
    }
    let shift = (digits.len() - significant.len()) as i64 - fraction.len() as i64;
    match exponent.parse::<i64>().ok().and_then(|exponent| exponent.checked_add(shift)) {
        Some(power) => format!("{sign}{significant}e{power}").into(),
        // A power of ten that has twenty digits itself stands for itself.
        None => text.into(),
    }
}

fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(text).ok().map(|members| members.0)
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some((name, member)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    all.push((name.0, member));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}
