//! The files that are generated from these types, or written beside them, say what the types say.
//!
//! `TOLLGATE_BLESS=1 cargo test -p tollgate-types --test generated` writes the generated ones anew.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate_types::{ErrorCode, headers, schema, subjects};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a file with what it should hold, or writes it.
fn check(path: &str, wanted: &str) {
    let file = root().join(path);
    #[allow(clippy::disallowed_methods, reason = "tests have no binary that would read the environment for them")]
    let bless = std::env::var("TOLLGATE_BLESS").is_ok_and(|value| value == "1");
    if bless {
        fs::create_dir_all(file.parent().expect("it has one")).expect("the directory can be made");
        fs::write(&file, wanted).expect("the file can be written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == wanted, "{path} is not what the types say; run this test again with TOLLGATE_BLESS=1");
}

fn errors_page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         The stable codes in `error.code` of a result, with the end (`tollgate.status`) that each leads to. The message\n\
         beside a code says more about the case at hand; programs should look at the code alone.\n\n\
         This page is generated from `crates/types/src/code.rs`.\n\n\
         | code | status | cause | remedy |\n| --- | --- | --- | --- |\n",
    );
    for &code in ErrorCode::ALL {
        let cell = |text: &str| text.replace('|', "\\|");
        page.push_str(&format!(
            "| `{code}` | {} | {} | {} |\n",
            code.status(),
            cell(code.cause()),
            cell(code.remedy())
        ));
    }
    page
}

#[test]
fn the_errors_page_lists_every_code() {
    check("docs/errors.md", &errors_page());
}

#[test]
fn the_schema_files_are_those_of_the_types() {
    for (name, schema) in schema::all() {
        check(&format!("schemas/{name}"), &schema::text(&schema));
    }
    let known: Vec<String> = schema::all().into_iter().map(|(name, _)| name.to_owned()).collect();
    let files = fs::read_dir(root().join("schemas")).expect("the directory exists");
    let names = files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned());
    let strangers: Vec<String> = names.filter(|name| name.ends_with(".schema.json") && !known.contains(name)).collect();
    assert!(strangers.is_empty(), "no type has these schemas: {strangers:?}");
}

#[test]
fn the_asyncapi_document_speaks_of_our_subjects_headers_and_schemas() {
    let text = fs::read_to_string(root().join("schemas/asyncapi.yaml")).expect("it is there");
    let value = |line: &str, key: &str| {
        let rest = line.trim().trim_start_matches("- ").strip_prefix(key)?.trim();
        Some(rest.trim_matches(['\'', '"']).to_owned())
    };
    let all = |key: &str| text.lines().filter_map(|line| value(line, key)).collect::<Vec<String>>();

    let files: Vec<String> = all("$ref:").into_iter().filter(|reference| !reference.starts_with('#')).collect();
    for (name, _) in schema::all() {
        assert!(files.iter().any(|file| file == &format!("./{name}")), "{name} is not referred to");
    }
    for file in &files {
        assert!(root().join("schemas").join(file).is_file(), "{file} does not exist");
    }
    for inner in all("$ref:").into_iter().filter(|reference| reference.starts_with('#')) {
        let name = inner.rsplit('/').next().expect("it has a last part").to_owned();
        assert!(text.lines().any(|line| line.trim() == format!("{name}:")), "{inner} is nowhere");
    }

    let mut addresses: Vec<String> = all("address:").iter().map(|address| pattern(address)).collect();
    addresses.sort();
    let replies = ["_INBOX_*.*", "reply.*.*"].map(str::to_owned);
    let mut ours: Vec<String> = [
        subjects::JOBS,
        subjects::RESULTS,
        subjects::EXTRA,
        subjects::DEAD,
        subjects::WAIT,
        subjects::CACHE,
        subjects::FLIGHTS,
        subjects::API,
        subjects::ALERT,
        subjects::CAPTURE,
        subjects::BLOBS,
        subjects::DELTAS,
        subjects::BULK,
        subjects::BATCHES,
        subjects::FILES,
    ]
    .map(str::to_owned)
    .into();
    ours.extend(replies);
    ours.sort();
    assert_eq!(addresses, ours);

    let names = [
        headers::JOB_ID,
        headers::TRACEPARENT,
        headers::TRACESTATE,
        headers::USAGE,
        headers::DIGEST,
        headers::CACHED,
        headers::TTL,
    ];
    let dead =
        [headers::DEAD_REASON, headers::DEAD_SUBJECT, headers::DEAD_JOB, headers::DEAD_MSG_ID, headers::DEAD_HEADERS];
    for header in names.iter().chain(&dead).chain(&[headers::TOMBSTONE]) {
        assert!(text.lines().any(|line| line.trim() == format!("{header}:")), "{header} is not described");
    }
    for stream in [
        subjects::JOBS_STREAM,
        subjects::RESULTS_STREAM,
        subjects::DEAD_STREAM,
        subjects::WAIT_STREAM,
        subjects::CACHE_STREAM,
        subjects::FLIGHTS_STREAM,
        subjects::CAPTURE_STREAM,
        subjects::BLOBS_STREAM,
        subjects::BATCHES_STREAM,
        subjects::FILES_STREAM,
    ] {
        assert!(text.contains(stream), "{stream} is not named");
    }
}

/// An address with its parameters as wildcards.
fn pattern(address: &str) -> String {
    let mut pattern = String::new();
    let mut inside = false;
    for c in address.chars() {
        match c {
            '{' => (inside, pattern) = (true, pattern + "*"),
            '}' => inside = false,
            c if !inside => pattern.push(c),
            _ => {}
        }
    }
    pattern
}
