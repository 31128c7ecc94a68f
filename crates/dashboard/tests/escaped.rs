//! Every text is escaped: nothing in this crate tells `maud` that a text is safe.

use std::path::{Path, PathBuf};

#[test]
fn no_text_is_marked_as_safe() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 20, "the sources were found");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        // `PreEscaped` by name, or a `Render` of our own that could do the same.
        for word in ["PreEscaped", "impl Render", "impl maud::Render"] {
            assert!(!text.contains(word), "{} holds {word}", file.display());
        }
    }
}
