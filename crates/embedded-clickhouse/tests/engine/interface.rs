//! The HTTP interface itself, byte by byte.

use std::io::{Read, Write};

use base64::Engine as _;
use tokio::io::AsyncReadExt;

use crate::http::{Http, encoded};
use crate::{Case, PASSWORD, USER};

pub(crate) async fn a_ping_needs_no_password(case: Case) {
    let http = Http::new(case.addr);
    for (target, status) in [("/ping", 200), ("/replicas_status", 200), ("/", 200), ("/nothing", 404), ("/?", 403)] {
        let mut stream = http.open("GET", target, 0, b"").await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        assert_eq!(answer.ends_with("\r\n\r\nOk.\n"), status == 200, "{target}: {answer}");
    }
    assert_eq!(http.send("DELETE", "query=SELECT+1", "").await.status, 405);
}

pub(crate) async fn every_way_to_give_the_password_works_and_none_is_refused(case: Case) {
    let http = Http::new(case.addr);
    let basic = |password: &str| {
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
        http.clone().header("Authorization", &format!("Basic {token}"))
    };
    let url = |password: &str| format!("user={USER}&password={}", encoded(password));
    assert_eq!(http.clone().with_password().ok("", "SELECT 1").await, "1\n");
    assert_eq!(basic(PASSWORD).ok("", "SELECT 1").await, "1\n");
    assert_eq!(http.ok(&url(PASSWORD), "SELECT 1").await, "1\n");

    let refused = http.post("", "SELECT 1").await;
    assert_eq!((refused.status, refused.code()), (403, 516));
    assert_eq!(basic("wrong").code("", "SELECT 1").await, 516);
    assert_eq!(http.code(&url("wrong"), "SELECT 1").await, 516);
    assert_eq!(http.clone().header("X-ClickHouse-User", USER).code("", "SELECT 1").await, 516);
}

pub(crate) async fn formats_parameters_and_settings_work_over_plain_http(case: Case) {
    let http = case.http();
    assert_eq!(http.ok("", "SELECT 1 AS a, 'x' AS b FORMAT JSONEachRow").await, "{\"a\":1,\"b\":\"x\"}\n");
    assert_eq!(http.ok("default_format=CSVWithNames", "SELECT 1 AS a").await, "\"a\"\n1\n");
    let named = http.clone().header("X-ClickHouse-Format", "Vertical");
    assert!(named.ok("", "SELECT 1 AS a").await.contains("a: 1"));
    assert_eq!(http.ok("query=SELECT+{x:String}&param_x=it%27s", "").await, "it\\'s\n");
    assert_eq!(http.ok("max_threads=3", "SELECT getSetting('max_threads')").await, "3\n");
    assert_eq!(http.code("no_such_setting=3", "SELECT 1").await, 115);
    assert_eq!(http.ok("database=system", "SELECT currentDatabase()").await, "system\n");
    assert_eq!(http.code("database=a%60b", "SELECT 1").await, 81);
    assert_eq!(http.ok("client_protocol_version=54468&role=x&quota_key=y&stacktrace=0", "SELECT 1").await, "1\n");

    let form = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {n:UInt8} + 1\r\n\
                --b\r\nContent-Disposition: form-data; name=\"param_n\"\r\n\r\n41\r\n--b--\r\n";
    let multipart = http.clone().header("Content-Type", "multipart/form-data; boundary=b");
    assert_eq!(multipart.ok("", form).await, "42\n");
}

pub(crate) async fn an_insert_takes_its_data_from_anywhere(case: Case) {
    let http = case.http();
    http.ok("", "CREATE TABLE values (format UInt32, input String) ENGINE = MergeTree ORDER BY format").await;
    http.ok("", "INSERT INTO values (format, input) VALUES (1, 'a;b'), (1 + 1, concat('c', 'd'));").await;
    http.ok("", "INSERT INTO values FORMAT TSV\n3\te\n").await;
    let query = |sql: &str| format!("query={}", encoded(sql));
    http.ok(&query("INSERT INTO values FORMAT JSONEachRow"), "{\"format\":4,\"input\":\"f\"}").await;
    http.ok(&query("INSERT INTO values VALUES"), "(5, 'g')").await;
    http.ok(&query("INSERT INTO values"), "SELECT 6, 'h'").await;
    http.ok(&query("INSERT INTO values (format, input) FORMAT RowBinary"), b"\x07\0\0\0\x01\xff").await;
    http.ok("", "\u{feff}INSERT INTO values FORMAT CSV\n9,j\n").await;
    http.ok(&(query("INSERT INTO {t:Identifier} FORMAT CSV") + "&param_t=values"), "8,i").await;
    let answer = http.ok("", "SELECT format, hex(input) FROM values ORDER BY format FORMAT CSV").await;
    assert_eq!(
        answer,
        "1,\"613B62\"\n2,\"6364\"\n3,\"65\"\n4,\"66\"\n5,\"67\"\n6,\"68\"\n7,\"FF\"\n8,\"69\"\n9,\"6A\"\n"
    );

    assert_eq!(http.code(&query("INSERT INTO values FORMAT TSV"), "not a number\tx\n").await, 27);
    assert_eq!(http.code(&query("INSERT INTO nowhere FORMAT TSV"), "1\n").await, 60);
    assert_eq!(http.code(&query("INSERT INTO values FORMAT NoSuchFormat"), "1\n").await, 73);
    assert_eq!(http.ok("", "SELECT count() FROM values").await, "9\n");
}

pub(crate) async fn statements_without_an_answer_succeed(case: Case) {
    let http = case.http();
    for sql in [
        "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a",
        "SET max_threads = 2",
        "USE system",
        "INSERT INTO t SELECT number FROM numbers(3);",
        "SELECT a FROM t WHERE a > 9",
        "ALTER TABLE t ADD COLUMN b String",
        "OPTIMIZE TABLE t FINAL",
        "SYSTEM FLUSH LOGS",
        "DELETE FROM t WHERE a = 1",
        "TRUNCATE TABLE t",
        "DETACH TABLE t",
        "ATTACH TABLE t",
        "RENAME TABLE t TO u",
        "CREATE FUNCTION embedded_test AS x -> x + 1",
        "DROP FUNCTION embedded_test",
        "KILL QUERY WHERE query_id = 'none'",
        "-- a comment\nDROP TABLE u /* and another */ ;",
    ] {
        assert_eq!(http.ok("", sql).await, "", "{sql}");
    }
}

pub(crate) async fn bodies_and_answers_are_compressed_in_every_way(case: Case) {
    let http = case.http();
    let sql = "SELECT toString(number) FROM numbers(1000) FORMAT TSV";
    let plain = http.ok("", sql).await;

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(sql.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(http.clone().header("Content-Encoding", "gzip").ok("", gzip).await, plain);
    let zstd = zstd::bulk::compress(sql.as_bytes(), 1).unwrap();
    assert_eq!(http.clone().header("Content-Encoding", "zstd").ok("", zstd).await, plain);

    for encoding in ["gzip", "zstd", "lz4"] {
        let answer = http.clone().header("Accept-Encoding", encoding).post("", sql).await;
        assert_eq!(answer.header("Content-Encoding"), Some(encoding));
        let mut raw = String::new();
        let body = &answer.body[..];
        let read = match encoding {
            "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut raw),
            "zstd" => zstd::stream::read::Decoder::new(body).unwrap().read_to_string(&mut raw),
            _ => lz4_flex::frame::FrameDecoder::new(body).read_to_string(&mut raw),
        };
        read.unwrap();
        assert_eq!(raw, plain, "{encoding}");
        let off = http.clone().header("Accept-Encoding", encoding).post("enable_http_compression=0", sql).await;
        assert_eq!((off.header("Content-Encoding"), off.text()), (None, plain.clone()));
    }

    // The blocks of an answer are the blocks of a request.
    let framed = http.post("compress=1", format!("SELECT {sql:?} FORMAT RawBLOB").replace('"', "'")).await.body;
    assert_eq!(http.ok("decompress=1", framed).await, plain);
}

pub(crate) async fn an_answers_headers_say_what_was_done(case: Case) {
    let http = case.http();
    http.ok("", "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a").await;
    let insert = http.post("query_id=q-1", "INSERT INTO t VALUES (1), (2), (3)").await;
    assert_eq!(insert.header("X-ClickHouse-Query-Id"), Some("q-1"));
    assert!(insert.header("X-ClickHouse-Summary").unwrap().contains(r#""written_rows":"3""#), "{insert:?}");

    let select = http.post("", "SELECT a FROM t FORMAT JSON").await;
    assert_eq!(select.header("X-ClickHouse-Format"), Some("JSON"));
    assert_eq!(select.header("Content-Type"), Some("application/json; charset=UTF-8"));
    assert_eq!(select.header("X-ClickHouse-Query-Id").unwrap().len(), 36);
    assert!(!select.header("X-ClickHouse-Timezone").unwrap().is_empty());
    let summary = select.header("X-ClickHouse-Summary").unwrap();
    assert!(summary.contains(r#""read_rows":"3""#) && summary.contains(r#""result_rows":"3""#), "{summary}");

    let failure = http.post("", "SELECT * FROM nowhere").await;
    assert_eq!((failure.status, failure.code()), (404, 60));
    assert!(failure.text().contains("UNKNOWN_TABLE) (version "), "{}", failure.text());
}

pub(crate) async fn a_get_does_not_write(case: Case) {
    let http = case.http();
    let get = async |sql: &str| http.send("GET", &format!("max_threads=1&query={}", encoded(sql)), "").await;
    assert_eq!(get("SELECT 1").await.text(), "1\n");
    assert_eq!(get("CREATE TABLE t (a UInt8) ENGINE = Memory").await.code(), 164);
    assert_eq!(http.code("readonly=1", "CREATE TABLE t (a UInt8) ENGINE = Memory").await, 164);
    http.ok("", "CREATE TABLE t (a UInt8) ENGINE = Memory").await;
    assert_eq!(get("INSERT INTO t VALUES (1)").await.code(), 164);
    assert_eq!(get("DROP TABLE t").await.code(), 164);
    assert_eq!(http.ok("", "SELECT count() FROM t").await, "0\n");
}

pub(crate) async fn what_would_silently_go_wrong_is_refused(case: Case) {
    let http = case.http();
    http.ok("", "CREATE TABLE t (a UInt8) ENGINE = Memory").await;
    assert_eq!(http.code("", "INSERT INTO t SELECT a FROM input('a UInt8') FORMAT TSV\n1\n").await, 48);
    assert_eq!(http.code("", "INSERT INTO t FROM INFILE '/etc/hostname' FORMAT TSV").await, 48);
    assert_eq!(http.code("", "SELECT 1 INTO OUTFILE '/tmp/never-written'").await, 48);
    assert_eq!(http.code("", "SELECT 1; INSERT INTO t VALUES (1)").await, 62);
    assert_eq!(http.code("", "INSERT INTO t").await, 62);
    assert_ne!(http.code("", b"\xff INSERT INTO t FORMAT TSV\n1\n").await, 0);
    assert_eq!(http.ok("", "SELECT count() FROM t").await, "0\n");
}

pub(crate) async fn hostile_bodies_are_refused_and_the_server_goes_on(case: Case) {
    let http = case.http();
    let huge_block = [&[0; 16][..], &[0x82], &u32::MAX.to_le_bytes(), &u32::MAX.to_le_bytes(), b"x"].concat();
    for framed in [&b"x"[..], &[0; 25], &[0xff; 100], &huge_block] {
        assert!([40, 271].contains(&http.code("decompress=1&query=SELECT+1", framed).await), "{framed:?}");
    }
    for encoding in ["gzip", "deflate", "zstd", "lz4"] {
        let damaged = http.clone().header("Content-Encoding", encoding);
        for body in
            [&b"x"[..], &[0; 64], &[0x1f, 0x8b, 8, 0, 0], &[0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff], &[4, 0x22, 0x4d, 0x18]]
        {
            assert!([36, 271].contains(&damaged.code("query=SELECT+1", body).await), "{encoding} {body:?}");
        }
    }
    assert_eq!(http.clone().header("Content-Encoding", "br").code("query=SELECT+1", "x").await, 89);
    let multipart = http.clone().header("Content-Type", "multipart/form-data; boundary=b");
    for form in ["", "--", "--b\r\n", "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT 1"] {
        assert_eq!(multipart.code("", form).await, 36, "{form:?}");
    }
    let no_statements: [&[u8]; 12] = [
        b"\0",
        b"\xff\xfe SELECT 1",
        b"!",
        b"\x01",
        b"exit",
        b":q",
        b";",
        b"--",
        b"/*",
        b"SELECT '",
        b"SELECT `",
        b"SELECT \0 1",
    ];
    for sql in no_statements {
        assert_eq!(http.code("", sql).await, 62, "{sql:?}");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert_ne!(http.code("", deep).await, 0);
    assert_eq!(http.ok("", "SELECT 1").await, "1\n");
}

pub(crate) async fn limits_hold(case: Case) {
    let http = case.http();
    let too_large = http.post("query=SELECT+1", vec![b' '; (8 << 20) + 1]).await;
    assert_eq!((too_large.status, too_large.code()), (413, 307));
    let bomb = zstd::bulk::compress(&vec![b' '; (8 << 20) + 1], 1).unwrap();
    assert_eq!(http.clone().header("Content-Encoding", "zstd").post("query=SELECT+1", bomb).await.status, 413);

    let settings = "SELECT getSetting('max_result_bytes'), getSetting('max_memory_usage')";
    let limits = format!("{}\t{}\n", 32 << 20, 2048_u64 << 20);
    assert_eq!(http.ok("", settings).await, limits);
    assert_eq!(http.ok("max_result_bytes=0&max_memory_usage=0", settings).await, limits);
    assert_eq!(http.code("", "SELECT number FROM numbers(10000000)").await, 396);
    assert_eq!(http.code("max_memory_usage=10000000", "SELECT groupArray(number) FROM numbers(10000000)").await, 241);
    assert_eq!(
        http.code("max_execution_time=1", "SELECT count() FROM numbers(1000000000000) WHERE sleep(0.1) = 0").await,
        159
    );
}

pub(crate) async fn an_upload_that_breaks_off_inserts_nothing(case: Case) {
    let http = case.http();
    http.ok("", "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    let rows: String = (0..50_000).map(|row| format!("{row}\n")).collect();
    let target = format!("/?query={}", encoded("INSERT INTO t FORMAT TSV"));
    let mut stream = http.open("POST", &target, rows.len() + 1, rows.as_bytes()).await;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    // Whatever the server says to half a request, it has then dealt with it.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(http.ok("", "SELECT count() FROM t").await, "0\n");
}
