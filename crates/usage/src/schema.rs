//! Brings a database to the schema that this code needs, and refuses one that is newer.

use clickhouse::Row;
use serde::Deserialize;
use tollgate_types::Digest;

use crate::error::StoreError;
use crate::store::Store;

/// What stands for the database's name in the files.
const PLACEHOLDER: &str = "{{database}}";

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

/// In order; a file that was released is never edited, the next one changes what it made.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "usage", sql: include_str!("../../../schemas/clickhouse/0001_usage.sql") },
    Migration { version: 2, name: "views", sql: include_str!("../../../schemas/clickhouse/0002_views.sql") },
    Migration { version: 3, name: "risk", sql: include_str!("../../../schemas/clickhouse/0003_risk.sql") },
    Migration { version: 4, name: "rollups", sql: include_str!("../../../schemas/clickhouse/0004_rollups.sql") },
    Migration { version: 5, name: "samples", sql: include_str!("../../../schemas/clickhouse/0005_samples.sql") },
    Migration { version: 6, name: "views", sql: include_str!("../../../schemas/clickhouse/0006_views.sql") },
];

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS {{database}}.schema_migrations
(
    version    UInt32 COMMENT 'Number of the applied file',
    name       String COMMENT 'Name of the applied file',
    checksum   String COMMENT 'Digest of its text, with the placeholder for the name of the database',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied'
)
ENGINE = MergeTree ORDER BY version
COMMENT 'Which files of the schema were applied; a file may be listed twice'";

/// Says why the schema could not be brought to what this code needs.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Newer code has been here: this code would not know what it writes into.
    #[error("the database has schema version {found} and this code knows {known}; it is not lowered")]
    Newer {
        /// The database's version.
        found: u32,
        /// This code's version.
        known: u32,
    },
    /// A file was applied that differs from this code's file of the same number.
    #[error("schema version {version} was applied from another text")]
    Changed {
        /// The file's number.
        version: u32,
    },
    /// A statement failed.
    #[error("schema version {version} was not applied")]
    Statement {
        /// The file's number; 0 for the table of versions itself.
        version: u32,
        /// Why it failed.
        source: StoreError,
    },
}

/// The tables and views in `schemas/clickhouse`, by version.
#[derive(Clone, Copy, Debug)]
pub struct Schema;

#[derive(Row, Deserialize)]
struct Applied {
    version: u32,
    checksum: String,
}

impl Schema {
    /// The version that this code needs.
    pub const VERSION: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

    /// Creates the database if it is absent and applies the missing files in order; returns how many.
    ///
    /// Every statement may run twice, so two processes may apply at once, and one that died half-way is made up for.
    ///
    /// # Errors
    /// [`SchemaError::Newer`] and [`SchemaError::Changed`] before anything is touched; [`SchemaError::Statement`].
    pub async fn apply(store: &Store) -> Result<usize, SchemaError> {
        let at = |version: u32| move |source: StoreError| SchemaError::Statement { version, source };
        store.execute(&format!("CREATE DATABASE IF NOT EXISTS {}", store.database())).await.map_err(at(0))?;
        store.execute(&named(HISTORY, store)).await.map_err(at(0))?;
        let sql = "SELECT version, min(checksum) AS checksum FROM schema_migrations GROUP BY version ORDER BY version";
        let applied: Vec<Applied> = store.fetch(sql, &[]).await.map_err(at(0))?;
        let missing = missing(&applied)?;
        for migration in &missing {
            for statement in statements(migration.sql) {
                store.execute(&named(&statement, store)).await.map_err(at(migration.version))?;
            }
            let (version, name, checksum) = (migration.version, migration.name, checksum(migration));
            let sql = format!(
                "INSERT INTO {{{{database}}}}.schema_migrations (version, name, checksum) \
                 VALUES ({version}, '{name}', '{checksum}')"
            );
            store.execute(&named(&sql, store)).await.map_err(at(version))?;
            tracing::info!(version, name, database = store.database(), "schema applied");
        }
        Ok(missing.len())
    }
}

fn missing(applied: &[Applied]) -> Result<Vec<&'static Migration>, SchemaError> {
    if let Some(newest) = applied.iter().map(|a| a.version).max().filter(|&v| v > Schema::VERSION) {
        return Err(SchemaError::Newer { found: newest, known: Schema::VERSION });
    }
    let mut missing = Vec::new();
    for migration in MIGRATIONS {
        match applied.iter().find(|a| a.version == migration.version) {
            Some(there) if there.checksum != checksum(migration) => {
                return Err(SchemaError::Changed { version: migration.version });
            }
            Some(_) => {}
            None => missing.push(migration),
        }
    }
    Ok(missing)
}

fn checksum(migration: &Migration) -> String {
    Digest::of(&[migration.sql.as_bytes()]).short()
}

fn named(sql: &str, store: &Store) -> String {
    sql.replace(PLACEHOLDER, store.database())
}

/// The statements of a file: each ends with `;` at the end of a line. Lines that are comments go.
fn statements(file: &str) -> Vec<String> {
    let lines = file.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(version: u32, checksum: &str) -> Applied {
        Applied { version, checksum: checksum.to_owned() }
    }

    #[test]
    fn only_missing_files_are_applied_and_nothing_newer_is_lowered() {
        let all: Vec<Applied> = MIGRATIONS.iter().map(|m| applied(m.version, &checksum(m))).collect();
        assert_eq!(missing(&[]).expect("all are missing").len(), MIGRATIONS.len());
        assert_eq!(missing(&all[..1]).expect("one is there").len(), MIGRATIONS.len() - 1);
        assert!(missing(&all).expect("all are there").is_empty());
        assert!(matches!(missing(&[applied(1, "x")]), Err(SchemaError::Changed { version: 1 })));
        let newer = Schema::VERSION + 1;
        assert!(matches!(missing(&[applied(newer, "x")]), Err(SchemaError::Newer { found, .. }) if found == newer));
    }

    #[test]
    fn files_are_numbered_in_order_and_every_statement_may_run_twice() {
        for (migration, number) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.version, number);
            for statement in statements(migration.sql) {
                let makes = ["CREATE ", "ALTER TABLE "].iter().any(|begin| statement.starts_with(begin));
                let repeatable = statement.contains(" IF NOT EXISTS ") || statement.contains("_mv MODIFY QUERY\n");
                assert!(makes && repeatable, "{statement}");
                assert!(statement.contains(PLACEHOLDER), "{statement}");
            }
        }
    }

    #[test]
    fn every_column_of_every_table_has_a_comment() {
        for migration in MIGRATIONS {
            for statement in statements(migration.sql).iter().filter(|s| s.starts_with("CREATE TABLE")) {
                let columns = statement.lines().skip_while(|l| *l != "(").skip(1).take_while(|l| *l != ")");
                let columns = columns.map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("INDEX"));
                for column in columns {
                    assert!(column.contains(" COMMENT '"), "{column}");
                }
            }
        }
    }
}
