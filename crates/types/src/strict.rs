//! One strict pass over JSON that came from outside: depth, number of values, duplicate fields, well-formed strings.
//!
//! serde alone would take the last of two equal fields, and nest until the stack ends. What passes here can be read
//! again without surprises.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// The deepest nesting that is accepted. Real chat bodies with tool schemas stay below 20.
pub const DEPTH_MAX: usize = 64;
/// The most JSON values in one document: an embedding request of 300,000 token ids fits, a bomb does not.
pub const VALUES_MAX: usize = 350_000;

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    /// It nests deeper than [`DEPTH_MAX`].
    #[error("nested more than {DEPTH_MAX} levels deep at `{path}`")]
    TooDeep {
        /// Where, as a dotted path.
        path: String,
    },
    /// It has more than [`VALUES_MAX`] values.
    #[error("more than {VALUES_MAX} values")]
    TooManyValues,
    /// An object names a field twice.
    #[error("`{path}` appears twice in its object")]
    Duplicate {
        /// The field, as a dotted path.
        path: String,
    },
    /// It is not JSON.
    #[error("{0}")]
    Syntax(String),
}

/// Checks one whole document.
///
/// # Errors
/// Returns the first thing that is wrong. Syntax errors carry line and column, never the text.
pub fn check(text: &str) -> Result<(), StrictError> {
    let mut state = State { path: Vec::new(), keys: Vec::new(), values: 0, violation: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // serde_json stops at 128 levels; our own limit comes first and names the path.
    let outcome = Value { state: &mut state }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (state.violation.take(), outcome) {
        (Some(violation), _) => Err(violation),
        (None, Err(error)) => Err(StrictError::Syntax(error.to_string())),
        (None, Ok(())) => Ok(()),
    }
}

struct State<'de> {
    path: Vec<Cow<'de, str>>,
    /// Hashes of the keys of the objects that are open, innermost last.
    keys: Vec<u64>,
    values: usize,
    violation: Option<StrictError>,
}

impl<'de> State<'de> {
    fn violate<E: serde::de::Error>(&mut self, violation: StrictError) -> E {
        self.violation.get_or_insert(violation);
        E::custom("stopped")
    }

    fn dotted(&self) -> String {
        const SHOWN: usize = 6;
        let shown = self.path.iter().take(SHOWN).map(|part| part.chars().take(64).collect::<String>());
        let mut path = shown.collect::<Vec<_>>().join(".");
        if self.path.len() > SHOWN {
            path.push_str(".…");
        }
        path
    }
}

struct Value<'s, 'de> {
    state: &'s mut State<'de>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.state.values += 1;
        if self.state.values > VALUES_MAX {
            return Err(self.state.violate(StrictError::TooManyValues));
        }
        deserializer.deserialize_any(self)
    }
}

/// Objects with more fields than this are checked with a set instead of by comparing all pairs.
const PAIRWISE_MAX: usize = 32;

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let state = self.state;
        enter(state, Cow::Borrowed("[]"))?;
        while seq.next_element_seed(Value { state: &mut *state })?.is_some() {}
        state.path.pop();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let state = self.state;
        let first = state.keys.len();
        let mut large: Option<HashSet<u64>> = None;
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        while let Some(Key(key)) = map.next_key()? {
            let hash = hasher.hash_one(&key);
            let seen = match &mut large {
                Some(set) => !set.insert(hash),
                None => state.keys[first..].contains(&hash),
            };
            enter(state, key)?;
            if seen {
                let path = state.dotted();
                return Err(state.violate(StrictError::Duplicate { path }));
            }
            if large.is_none() {
                state.keys.push(hash);
                if state.keys.len() - first > PAIRWISE_MAX {
                    large = Some(state.keys.drain(first..).collect());
                }
            }
            map.next_value_seed(Value { state: &mut *state })?;
            state.path.pop();
        }
        state.keys.truncate(first);
        Ok(())
    }
}

fn enter<'de, E: serde::de::Error>(state: &mut State<'de>, part: Cow<'de, str>) -> Result<(), E> {
    if state.path.len() >= DEPTH_MAX {
        let path = state.dotted();
        return Err(state.violate(StrictError::TooDeep { path }));
    }
    state.path.push(part);
    Ok(())
}

/// An object's key, borrowed where the text has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_documents_pass() {
        for text in [r#"{"a":[1,2.5,-3,"x",null,true,{"b":{}}],"c":"\u00e9\n"}"#, "[]", "3", r#"{"a":1,"b":{"a":1}}"#] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_field_named_twice_is_found_at_any_depth_and_in_large_objects() {
        let twice = |text: &str, path: &str| {
            assert_eq!(check(text), Err(StrictError::Duplicate { path: path.into() }), "{text}");
        };
        twice(r#"{"a":1,"a":2}"#, "a");
        twice(r#"{"body":{"messages":[{"role":1,"ro\u006ce":2}]}}"#, "body.messages.[].role");
        let many: String = (0..100).map(|i| format!("\"k{i}\":1,")).collect();
        twice(&format!("{{{many}\"k7\":2}}"), "k7");
        assert_eq!(check(&format!("{{{many}\"z\":2}}")), Ok(()));
    }

    #[test]
    fn depth_and_size_are_bounded_without_overflowing_the_stack() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(check(&deep), Err(StrictError::TooDeep { .. })));
        let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert!(matches!(check(&objects), Err(StrictError::TooDeep { .. })));
        let wide = format!("[{}1]", "1,".repeat(500_000));
        assert_eq!(check(&wide), Err(StrictError::TooManyValues));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for text in ["", "{", r#"{"a":NaN}"#, r#""\ud800""#, "1e400", "{} x", r#"{"a":1"#] {
            assert!(matches!(check(text), Err(StrictError::Syntax(_))), "{text}");
        }
    }
}
