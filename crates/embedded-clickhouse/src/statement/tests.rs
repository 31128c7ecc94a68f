//! The scanner, by tables of statements.

use proptest::prelude::*;

use super::*;

/// Checks that `sql` is an insert, and what its three parts are.
fn check_insert(sql: &str, head: &str, format: &str, data: &str) {
    match classify(sql.as_bytes()) {
        Ok(Statement::Insert { head_end, format: found, data_at }) => {
            assert_eq!((sql[..head_end].trim(), found.as_str(), &sql[data_at..]), (head, format, data), "{sql}");
        }
        other => panic!("{sql}: {other:?}"),
    }
}

/// Checks that `sql` goes to the engine as it is, and which format it names.
fn check_query(sql: &str, format: Option<&str>) {
    assert_eq!(classify(sql.as_bytes()), Ok(Statement::Query { format: format.map(str::to_owned) }), "{sql}");
}

fn check_refused(sql: &str, refusal: Refusal) {
    assert_eq!(classify(sql.as_bytes()), Err(refusal), "{sql}");
}

#[test]
fn an_inserts_head_format_and_data_are_told_apart() {
    check_insert("INSERT INTO t FORMAT TSV\n1\t2\n", "INSERT INTO t", "TSV", "1\t2\n");
    check_insert(
        "insert into db.t (a, b) format JSONEachRow {\"a\":1}",
        "insert into db.t (a, b)",
        "JSONEachRow",
        "{\"a\":1}",
    );
    check_insert("INSERT INTO t VALUES (1), (2)", "INSERT INTO t", "Values", " (1), (2)");
    check_insert("INSERT t(a)VALUES(1)", "INSERT t(a)", "Values", "(1)");
    check_insert("INSERT INTO TABLE t FORMAT RowBinary", "INSERT INTO TABLE t", "RowBinary", "");
    check_insert(
        "INSERT INTO t SETTINGS async_insert=0 FORMAT CSV\r\n1,2",
        "INSERT INTO t SETTINGS async_insert=0",
        "CSV",
        "1,2",
    );
    check_insert(
        "INSERT INTO FUNCTION remote('h', db.t) (a) VALUES (1)",
        "INSERT INTO FUNCTION remote('h', db.t) (a)",
        "Values",
        " (1)",
    );
    check_insert("INSERT INTO {t:Identifier} FORMAT TSV\n1", "INSERT INTO {t:Identifier}", "TSV", "1");
}

#[test]
fn only_blanks_and_one_line_break_before_the_data_belong_to_the_statement() {
    check_insert("INSERT INTO t FORMAT TSV \t\n\n1", "INSERT INTO t", "TSV", "\n1");
    check_insert("INSERT INTO t FORMAT TSV\n 1", "INSERT INTO t", "TSV", " 1");
}

#[test]
fn tables_and_columns_named_like_keywords_are_names() {
    check_insert(
        "INSERT INTO values (format, values) VALUES (1, 2)",
        "INSERT INTO values (format, values)",
        "Values",
        " (1, 2)",
    );
    check_insert("INSERT INTO format FORMAT TSV\n1", "INSERT INTO format", "TSV", "1");
    check_insert("INSERT INTO db.values FORMAT TSV\n1", "INSERT INTO db.values", "TSV", "1");
    check_insert("INSERT INTO `db` . `format` FORMAT TSV\n1", "INSERT INTO `db` . `format`", "TSV", "1");
    check_insert("INSERT INTO \"select\" (`values`) VALUES (1)", "INSERT INTO \"select\" (`values`)", "Values", " (1)");
    check_query("SELECT format FROM t", None);
    check_query("SELECT values, format FROM t ORDER BY format DESC", None);
    check_query("SELECT format, input FROM t AS format FORMAT JSON", Some("JSON"));
    check_query("SELECT t.format CSV FROM t", None);
}

#[test]
fn strings_and_comments_hide_what_is_in_them() {
    check_query("SELECT 'FORMAT JSON; INTO OUTFILE' -- FORMAT CSV", None);
    check_query("/* INSERT INTO t VALUES */ SELECT 1 /* ; /* nested */ ; */ FORMAT TSV # ; x", Some("TSV"));
    check_query("SELECT 'it''s; a \\' quote;', `a;\\`b`, \"c;\" FORMAT JSON", Some("JSON"));
    check_query("SELECT $doc$ it's; FORMAT X $doc$ FORMAT JSON", Some("JSON"));
    check_query("#!/usr/bin/env clickhouse\nSELECT 1", None);
    check_insert(
        "-- VALUES\nINSERT /* FORMAT x */ INTO t -- FORMAT y\nFORMAT TSV\n--1",
        "-- VALUES\nINSERT /* FORMAT x */ INTO t -- FORMAT y",
        "TSV",
        "--1",
    );
    check_insert("INSERT INTO t (`a)` ) VALUES ('x')", "INSERT INTO t (`a)` )", "Values", " ('x')");
}

#[test]
fn a_querys_format_is_the_one_that_ends_it() {
    check_query("SELECT 1", None);
    check_query("SELECT 1 FORMAT JSONEachRow;", Some("JSONEachRow"));
    check_query("SELECT 1 format JSON SETTINGS max_threads = 1", Some("JSON"));
    check_query("SELECT 1 SETTINGS max_threads = 1 FORMAT CSV ;; -- end", Some("CSV"));
    check_query("WITH x AS (SELECT 1 AS n) SELECT n FROM x FORMAT Native", Some("Native"));
    check_query("(SELECT 1) UNION ALL (SELECT 2) FORMAT TSV", Some("TSV"));
    check_query("SELECT (SELECT 1 FORMAT)", None);
}

#[test]
fn an_insert_without_data_goes_to_the_engine_whole() {
    check_query("INSERT INTO t SELECT 1, 'VALUES'", None);
    check_query("INSERT INTO t (a) WITH 1 AS x SELECT x FROM values('a UInt8', 1)", None);
    check_query("WITH 1 AS x INSERT INTO t SELECT x", None);
    check_query("INSERT INTO t", None);
    check_query("INSERT", None);
    check_query("INSERT INTO t FORMAT", None);
    check_query("INSERT INTO input (input) SELECT input FROM t", None);
}

#[test]
fn what_the_engine_would_do_silently_wrong_is_refused() {
    check_refused("INSERT INTO t SELECT a FROM input('a UInt8') FORMAT TSV\n1", Refusal::Input);
    check_refused("INSERT INTO t SELECT a FROM (SELECT * FROM/**/INPUT ('a UInt8')) FORMAT TSV", Refusal::Input);
    check_refused("INSERT INTO t WITH 1 AS x SELECT x FROM u JOIN `input`('a UInt8') FORMAT TSV", Refusal::Input);
    check_refused("WITH 1 AS x INSERT INTO t SELECT x FROM u, input('a UInt8')", Refusal::Input);
    check_refused("INSERT INTO t (SELECT a FROM input('a UInt8'))", Refusal::Input);
    check_refused("INSERT INTO t FROM INFILE 'x' FORMAT TSV", Refusal::Infile);
    check_refused("SELECT 1 INTO OUTFILE '/tmp/x'", Refusal::Outfile);
    check_refused("SELECT 1; DROP TABLE t", Refusal::Several);
    check_refused("INSERT INTO t SELECT 1; SELECT 2", Refusal::Several);
    check_refused("INSERT INTO t; SELECT 2", Refusal::Several);
    for empty in ["", " \n", "-- SELECT 1", "/* SELECT 1", ";", "\0SELECT 1"] {
        check_refused(empty, Refusal::Empty);
    }
    check_refused("INSERT INTO t FORMAT TSV ;\n1", Refusal::SemicolonBeforeData);
    check_refused("INSERT INTO t FORMAT TSV SETTINGS async_insert = 0\n1", Refusal::SettingsAfterFormat);
}

#[test]
fn a_statement_alone_may_end_in_semicolons() {
    check_query("SELECT 1;", None);
    check_query("SELECT 1 ; ; -- done\n", None);
    check_query("SELECT ';'", None);
}

#[test]
fn exotic_blanks_are_blanks() {
    check_insert(
        "\u{feff}INSERT\u{a0}INTO\u{2003}`é`\u{3000}FORMAT TSV\n1",
        "\u{feff}INSERT\u{a0}INTO\u{2003}`é`",
        "TSV",
        "1",
    );
}

#[test]
fn data_may_hold_any_bytes() {
    let mut sql = b"INSERT INTO t FORMAT RowBinary\n".to_vec();
    let data_at = sql.len();
    sql.extend([0, 0xff, b'\'', b'"', b'/', b'*', b';']);
    assert_eq!(
        classify(&sql),
        Ok(Statement::Insert { head_end: "INSERT INTO t ".len(), format: "RowBinary".to_owned(), data_at }),
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_scanner_panic_or_point_outside(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("INSERT "), Just("INTO "), Just("FORMAT "), Just("VALUES"), Just("'"), Just("`"), Just("\""),
                Just("/*"), Just("*/"), Just("--"), Just("\n"), Just("\\"), Just("$a$"), Just("$"), Just("("),
                Just(")"), Just("{"), Just("}"), Just("."), Just(";"), Just("input"), Just("é"), Just("t "), Just("\0"),
            ],
            0..24,
        ),
    ) {
        let sql = pieces.concat();
        if let Ok(Statement::Insert { head_end, data_at, .. }) = classify(sql.as_bytes()) {
            prop_assert!(head_end <= data_at && data_at <= sql.len());
        }
    }
}
