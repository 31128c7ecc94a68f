use tollgate_types::batch::LineSet;

use super::*;

fn batch(name: &str) -> BatchId {
    BatchId::of(&[name.as_bytes()])
}

fn line(text: &str, succeeded: bool) -> Rendered {
    Rendered { succeeded, text: text.to_owned() }
}

/// The first so many lines.
fn read(lines: u64) -> Read {
    let mut set = LineSet::default();
    (0..lines).for_each(|at| assert!(set.insert(at)));
    serde_json::from_value(serde_json::json!([set])).expect("sets")
}

#[test]
fn what_no_note_knows_of_is_cut_off_and_written_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (out, errors) = (dir.path().join("out.jsonl"), dir.path().join("errors.jsonl"));
    let mut files = Files::open(&batch("a"), &out, Some(&errors)).expect("fresh files");
    files.write(&line("one", true), &read(1)).expect("written");
    files.write(&line("two", false), &read(2)).expect("written");
    files.keep(&read(2)).expect("kept");
    files.write(&line("three", true), &read(3)).expect("written");
    // Killed with a part of the third line on the disk.
    drop(files);
    fs::write(&out, "one\nthr").expect("torn");
    let mut files = Files::open(&batch("a"), &out, Some(&errors)).expect("the same files");
    assert_eq!(files.read().count(), 2);
    files.write(&line("three", true), &read(3)).expect("written");
    files.keep(&read(3)).expect("kept");
    drop(files);
    assert_eq!(fs::read_to_string(&out).expect("out"), "one\nthree\n");
    assert_eq!(fs::read_to_string(&errors).expect("errors"), "two\n");
    let files = Files::open(&batch("a"), &out, Some(&errors)).expect("the same files");
    assert_eq!(files.read().count(), 3, "opened again, all is there");
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out.jsonl");
    fs::write(&out, "mine").expect("written");
    assert!(matches!(Files::open(&batch("a"), &out, None), Err(FilesError::Exists(_))));
    assert_eq!(fs::read_to_string(&out).expect("out"), "mine");
    fs::remove_file(&out).expect("removed");
    let mut files = Files::open(&batch("a"), &out, None).expect("fresh files");
    files.write(&line("one", false), &read(1)).expect("written");
    files.keep(&read(1)).expect("kept");
    drop(files);
    assert!(matches!(Files::open(&batch("b"), &out, None), Err(FilesError::Other { .. })));
    let errors = dir.path().join("errors.jsonl");
    assert!(matches!(Files::open(&batch("a"), &out, Some(&errors)), Err(FilesError::OtherErrors(_))));
    fs::write(&out, "").expect("cut");
    assert!(matches!(Files::open(&batch("a"), &out, None), Err(FilesError::Cut(..))));
}
