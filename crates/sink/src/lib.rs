//! Moves the commit log into ClickHouse, each record counted once.
