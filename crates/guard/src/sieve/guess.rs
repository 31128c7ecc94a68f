//! Whether a text that is being written may still become a JSON object or array.

/// What is known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Guess {
    depth: usize,
    begun: bool,
    in_string: bool,
    after_backslash: bool,
    refuted: bool,
}

impl Guess {
    /// Takes more of the text; whether the whole may still be JSON. What is said to be none surely is none.
    pub(super) fn may_be_json(&mut self, more: &str) -> bool {
        for byte in more.bytes() {
            if self.refuted {
                break;
            }
            self.step(byte);
        }
        !self.refuted
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.after_backslash => self.after_backslash = false,
                b'\\' => self.after_backslash = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' if self.depth > 0 || !self.begun => {
                self.begun = true;
                self.depth += 1;
            }
            _ if self.depth == 0 => self.refuted = true,
            b'}' | b']' => self.depth -= 1,
            b'"' => self.in_string = true,
            b',' | b':' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'E' => {}
            byte if b"truefalsn".contains(&byte) => {}
            _ => self.refuted = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::lexer::is_json;
    use proptest::prelude::*;

    #[test]
    fn prose_in_brackets_is_soon_known_for_what_it_is() {
        for text in ["Hello", "[1] says", "[link](x)", "{name}", "{} {}"] {
            assert!(!Guess::default().may_be_json(text), "{text}");
        }
        for text in ["", " \n", "{", r#"{"a": "any } text, [x](y)"#, "[1, 2", "[true, null]"] {
            assert!(Guess::default().may_be_json(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_json_is_taken_for_something_else(text in r#"[ \[\]{}"\\,:a1e.tnul-]{0,16}"#) {
            let guessed = Guess::default().may_be_json(&text);
            prop_assert!(guessed || !is_json(&text));
        }
    }
}
