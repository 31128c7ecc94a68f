//! The configuration of a ClickHouse server for one user on one port.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Renders the main configuration: HTTP on the loopback interface, no other port, everything below `dir`.
///
/// The logs that a server keeps about itself in tables are not configured, so it keeps none.
/// See <https://clickhouse.com/docs/operations/server-configuration-parameters/settings>.
pub(super) fn server(dir: &Path, http_port: u16) -> String {
    let dir = escaped(&dir.to_string_lossy());
    format!(
        r"<clickhouse>
  <logger><level>warning</level><console>1</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http_port}</http_port>
  <path>{dir}/data/</path>
  <tmp_path>{dir}/tmp/</tmp_path>
  <user_files_path>{dir}/user_files/</user_files_path>
  <format_schema_path>{dir}/format_schemas/</format_schema_path>
  <user_directories><users_xml><path>{dir}/users.xml</path></users_xml></user_directories>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
</clickhouse>
"
    )
}

/// Renders the list of users: one, from the loopback interface, with the right to make others.
pub(super) fn users(user: &str, password: &str) -> String {
    let mut digest = String::new();
    for byte in Sha256::digest(password) {
        write!(digest, "{byte:02x}").expect("writing to a string cannot fail");
    }
    format!(
        r"<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <{user}>
      <password_sha256_hex>{digest}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <access_management>1</access_management>
    </{user}>
  </users>
</clickhouse>
"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_and_the_only_port_is_http() {
        let config = server(Path::new("/a&b"), 8123);
        assert!(config.contains("<path>/a&amp;b/data/</path>"), "{config}");
        assert!(config.contains("<http_port>8123</http_port>"), "{config}");
        assert_eq!(config.matches("_port>").count(), 2, "{config}");
    }

    #[test]
    fn the_password_is_stored_as_its_digest() {
        let users = users("tollgate", "secret");
        assert!(!users.contains("secret<"), "{users}");
        // printf secret | sha256sum
        assert!(users.contains("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"), "{users}");
    }
}
