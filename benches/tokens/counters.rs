//! The contenders: two ways to count the tokens of a text, the same for every caller.

use std::collections::HashSet;
use std::panic::catch_unwind;

/// OpenAI's two tables that are in use; the first is the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    O200k,
    Cl100k,
}

/// Both of them.
pub(crate) const ENCODINGS: [Encoding; 2] = [Encoding::O200k, Encoding::Cl100k];

impl Encoding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::O200k => "o200k",
            Encoding::Cl100k => "cl100k",
        }
    }

    /// A model that the product counts with it.
    pub(crate) fn model(self) -> &'static str {
        match self {
            Encoding::O200k => "gpt-4o",
            Encoding::Cl100k => "gpt-4",
        }
    }

    fn tiktoken(self) -> &'static tiktoken_rs::CoreBPE {
        match self {
            Encoding::O200k => tiktoken_rs::o200k_base_singleton(),
            Encoding::Cl100k => tiktoken_rs::cl100k_base_singleton(),
        }
    }

    fn bpe(self) -> &'static bpe_openai::Tokenizer {
        match self {
            Encoding::O200k => bpe_openai::o200k_base(),
            Encoding::Cl100k => bpe_openai::cl100k_base(),
        }
    }
}

/// How a contender fails to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Error,
    Panic,
}

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// `count` with no special tokens allowed: the one call that the product makes.
    Tiktoken,
    Bpe,
}

impl Counter {
    pub(crate) fn count(self, encoding: Encoding, text: &str) -> Result<u64, Refused> {
        let counted = match self {
            Counter::Tiktoken => {
                catch_unwind(|| encoding.tiktoken().count(text, &HashSet::new()).map_err(|_| Refused::Error))
            }
            Counter::Bpe => catch_unwind(|| Ok(encoding.bpe().count(text))),
        };
        counted.unwrap_or(Err(Refused::Panic)).map(|tokens| tokens as u64)
    }
}

/// What tiktoken-rs' plainest call does with a text.
pub(crate) fn ordinary(encoding: Encoding, text: &str) -> &'static str {
    match catch_unwind(|| encoding.tiktoken().count_ordinary(text)) {
        Ok(_) => "counts",
        Err(_) => "panics",
    }
}
