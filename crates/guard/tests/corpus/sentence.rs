//! The labelled sentences, as `generate.py` wrote them.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use tollgate_guard::Entity;

/// What a sentence is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Nothing in it looks like anything.
    Clean,
    /// Something in it looks like what is looked for, and is not.
    NearMiss,
    /// Something is in it.
    Entity,
}

/// One line of the corpus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sentence {
    /// The sentence.
    pub(crate) text: String,
    /// What is in it, in the order of the text: the entity's name (`a|b` if either will do) and the words themselves.
    pub(crate) found: Vec<(String, String)>,
    /// The language, as in ISO 639-1.
    pub(crate) lang: String,
    /// The kind of text: prose, json, markdown, code, chat, log, csv.
    #[serde(rename = "where")]
    pub(crate) place: String,
    /// What it is there for.
    pub(crate) kind: Kind,
}

/// What is to be found at one place.
#[derive(Debug)]
pub(crate) struct Label {
    /// What it is; the first is what it counts for.
    pub(crate) entities: Vec<Entity>,
    /// Where it is, in bytes.
    pub(crate) range: Range<usize>,
}

impl Sentence {
    /// What is in it, at its places.
    pub(crate) fn labels(&self) -> Vec<Label> {
        let mut from = 0;
        let mut labels = Vec::new();
        for (names, words) in &self.found {
            let start = from + self.text[from..].find(words.as_str()).expect("a label is in its sentence");
            from = start + words.len();
            let entities = names.split('|').map(|name| Entity::named(name).expect("a label names an entity")).collect();
            labels.push(Label { entities, range: start..from });
        }
        labels
    }
}

/// All sentences of all files.
pub(crate) fn all() -> Vec<Sentence> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the corpus is beside its test")
        .map(|entry| entry.expect("a file of the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let texts = files.iter().map(|path| std::fs::read_to_string(path).expect("a file of the corpus is text"));
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    texts.flat_map(|text| text.lines().map(read).collect::<Vec<Sentence>>()).collect()
}

/// The sentences in another order, so many to a text, with a blank line between two.
pub(crate) fn joined(sentences: &[Sentence], each: usize) -> Vec<Sentence> {
    // A prime that doesn't divide their number visits each of them once.
    const STEP: usize = 7_919;
    let shuffled: Vec<&Sentence> =
        (0..sentences.len()).map(|place| &sentences[place * STEP % sentences.len()]).collect();
    assert!(!sentences.len().is_multiple_of(STEP));
    let texts = shuffled.chunks(each).map(|chunk| Sentence {
        text: chunk.iter().map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join("\n\n"),
        found: chunk.iter().flat_map(|sentence| sentence.found.clone()).collect(),
        lang: "mul".to_owned(),
        place: "prose".to_owned(),
        kind: Kind::Entity,
    });
    texts.collect()
}
