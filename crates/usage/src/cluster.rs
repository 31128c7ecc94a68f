//! The statements of the schema for servers that replicate. Pure.

/// For how long a replicated table remembers the tokens of batches: longer than any outage that results survive.
const DEDUPLICATION_SECONDS: u64 = 30 * 24 * 3600;

/// Makes a statement of the schema run on every server of a cluster, and its tables replicas of each other.
///
/// The cluster is one shard: every server holds everything. Statements on rows are left as they are; tables replicate them.
pub(crate) fn on_cluster(statement: &str, cluster: &str) -> String {
    let Some((name_from, name_to)) = place_of_name(statement) else { return statement.to_owned() };
    let name = &statement[name_from..name_to];
    let rest = replicated(&statement[name_to..], name);
    format!("{} ON CLUSTER '{cluster}'{rest}", &statement[..name_to])
}

/// Where the name stands of what a statement makes or changes.
fn place_of_name(statement: &str) -> Option<(usize, usize)> {
    const BEGINS: [&str; 5] = [
        "CREATE DATABASE IF NOT EXISTS ",
        "CREATE TABLE IF NOT EXISTS ",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS ",
        "CREATE VIEW IF NOT EXISTS ",
        "ALTER TABLE ",
    ];
    let begin = BEGINS.iter().find(|begin| statement.starts_with(**begin))?;
    let name = statement[begin.len()..].split(char::is_whitespace).next()?;
    Some((begin.len(), begin.len() + name.len()))
}

/// The engine with its place in Keeper, and the window of tokens in the words of replicated tables.
fn replicated(definition: &str, name: &str) -> String {
    const ENGINE: &str = "\nENGINE = ";
    let Some((before, after)) = definition.split_once(ENGINE) else { return definition.to_owned() };
    let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    let (engine, tail) = after.split_at(end);
    // What stood in the engine's brackets stays, behind where and which replica.
    let (arguments, tail) = match tail.strip_prefix('(').and_then(|tail| tail.split_once(')')) {
        Some((arguments, tail)) => (format!(", {arguments}"), tail),
        None => (String::new(), tail),
    };
    let place = name.replace('.', "/");
    let tail = tail.replace(
        "non_replicated_deduplication_window = 10000",
        &format!(
            "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = {DEDUPLICATION_SECONDS}"
        ),
    );
    format!(
        "{before}{ENGINE}Replicated{engine}('/clickhouse/tables/{{shard}}/{place}', '{{replica}}'{arguments}){tail}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statement: &str, expected: &str) {
        assert_eq!(on_cluster(statement, "c1"), expected);
    }

    #[test]
    fn what_makes_something_runs_on_every_server() {
        check("CREATE DATABASE IF NOT EXISTS t", "CREATE DATABASE IF NOT EXISTS t ON CLUSTER 'c1'");
        check(
            "CREATE VIEW IF NOT EXISTS t.v SQL SECURITY INVOKER AS SELECT 1",
            "CREATE VIEW IF NOT EXISTS t.v ON CLUSTER 'c1' SQL SECURITY INVOKER AS SELECT 1",
        );
        check(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS t.m TO t.a AS SELECT 1",
            "CREATE MATERIALIZED VIEW IF NOT EXISTS t.m ON CLUSTER 'c1' TO t.a AS SELECT 1",
        );
        check("ALTER TABLE t.a\n    ADD COLUMN b Int8", "ALTER TABLE t.a ON CLUSTER 'c1'\n    ADD COLUMN b Int8");
        check("INSERT INTO t.a VALUES (1)", "INSERT INTO t.a VALUES (1)");
    }

    #[test]
    fn tables_become_replicas_that_remember_tokens() {
        check(
            "CREATE TABLE IF NOT EXISTS t.a\n(\n    b Int8\n)\nENGINE = MergeTree\nORDER BY b\n\
             SETTINGS non_replicated_deduplication_window = 10000\nCOMMENT 'c'",
            "CREATE TABLE IF NOT EXISTS t.a ON CLUSTER 'c1'\n(\n    b Int8\n)\n\
             ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/t/a', '{replica}')\nORDER BY b\n\
             SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 2592000\n\
             COMMENT 'c'",
        );
        check(
            "CREATE TABLE IF NOT EXISTS t.a\n(\n    b Int8\n)\nENGINE = ReplacingMergeTree(b) ORDER BY b",
            "CREATE TABLE IF NOT EXISTS t.a ON CLUSTER 'c1'\n(\n    b Int8\n)\n\
             ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/t/a', '{replica}', b) ORDER BY b",
        );
    }
}
