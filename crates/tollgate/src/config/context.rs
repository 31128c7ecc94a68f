//! Contexts of the `nats` command: who already has one does not say it again.
//!
//! They are JSON files in `~/.config/nats/context`; the selected one's name is in `~/.config/nats/context.txt`. See
//! <https://docs.nats.io/using-nats/nats-tools/nats_cli#nats-contexts>.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::sections::Nats;
use super::values::Secret;
use crate::env::Env;

/// What we read of a context. It is another program's file, so unknown keys are left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    url: String,
    token: Secret,
    user: String,
    password: Secret,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    nsc: String,
    user_jwt: String,
    jetstream_domain: String,
    jetstream_api_prefix: String,
    socks_proxy: String,
    inbox_prefix: String,
}

/// Where the `nats` command keeps its contexts.
pub fn directory(env: &Env) -> Option<PathBuf> {
    let base = env.get("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| env.get("HOME").map(|home| Path::new(&home).join(".config")))?;
    Some(base.join("nats"))
}

/// The name of the context that `nats context select` chose.
pub fn selected(env: &Env) -> Option<String> {
    let name = std::fs::read_to_string(directory(env)?.join("context.txt")).ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Reads a context as a whole section: what it does not say has its default.
///
/// # Errors
/// Returns why there is no such context, or what in it Tollgate does not do.
pub fn read(name: &str, env: &Env) -> Result<Nats, String> {
    let directory = directory(env).ok_or("neither XDG_CONFIG_HOME nor HOME says where nats contexts are")?;
    if name.is_empty() || name.contains(['/', '\\']) || name.contains("..") {
        return Err(format!("'{name}' is not the name of a nats context"));
    }
    let path = directory.join("context").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("the nats context {} cannot be read: {error}", path.display()))?;
    let context: Context = serde_json::from_str(&text)
        .map_err(|error| format!("the nats context {} is not understood: {error}", path.display()))?;
    let unsupported = [
        ("nsc", &context.nsc),
        ("user_jwt", &context.user_jwt),
        ("jetstream_domain", &context.jetstream_domain),
        ("jetstream_api_prefix", &context.jetstream_api_prefix),
        ("socks_proxy", &context.socks_proxy),
    ];
    if let Some((key, _)) = unsupported.iter().find(|(_, value)| !value.is_empty()) {
        return Err(format!("the nats context {} uses {key}, which Tollgate does not support", path.display()));
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    let secret = |secret: Secret| (!secret.expose().is_empty()).then_some(secret);
    let file = |path: String| some(path).map(|path| in_home(&path, env));
    let default = Nats::default();
    Ok(Nats {
        url: some(context.url).unwrap_or(default.url),
        context: None,
        user: some(context.user),
        password: secret(context.password),
        token: secret(context.token),
        creds: file(context.creds),
        nkey: file(context.nkey),
        tls_ca: file(context.ca),
        tls_cert: file(context.cert),
        tls_key: file(context.key),
        tls_required: false,
        inbox_prefix: some(context.inbox_prefix),
    })
}

fn in_home(path: &str, env: &Env) -> PathBuf {
    match (path.strip_prefix("~/"), env.get("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(contexts: &[(&str, &str)], selected: Option<&str>) -> (tempfile::TempDir, Env) {
        let home = tempfile::tempdir().expect("a directory");
        let nats = home.path().join(".config/nats");
        std::fs::create_dir_all(nats.join("context")).expect("it can be made");
        for (name, json) in contexts {
            std::fs::write(nats.join("context").join(format!("{name}.json")), json).expect("it can be written");
        }
        if let Some(name) = selected {
            std::fs::write(nats.join("context.txt"), name).expect("it can be written");
        }
        let env = Env::of([("HOME", home.path().to_str().expect("a plain path"))]);
        (home, env)
    }

    #[test]
    fn a_context_is_read_whole() {
        let json = r#"{"description": "prod", "url": "tls://n:4222", "user": "u", "password": "p",
            "creds": "~/c.creds", "ca": "/ca.pem", "inbox_prefix": "_INBOX_search", "nsc": "", "color_scheme": "x"}"#;
        let (home, env) = home(&[("prod", json)], Some("prod\n"));
        assert_eq!(selected(&env).as_deref(), Some("prod"));
        let nats = read("prod", &env).expect("a context");
        assert_eq!((nats.url.as_str(), nats.user.as_deref()), ("tls://n:4222", Some("u")));
        assert_eq!(nats.password.expect("it is there").expose(), "p");
        assert_eq!(nats.creds, Some(home.path().join("c.creds")));
        assert_eq!(nats.tls_ca, Some("/ca.pem".into()));
        assert_eq!(nats.inbox_prefix.as_deref(), Some("_INBOX_search"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        let (_home, env) = home(&[("odd", r#"{"user_jwt": "x"}"#), ("bad", "{")], None);
        assert_eq!(selected(&env), None);
        for (name, expected) in [
            ("odd", "uses user_jwt, which Tollgate does not support"),
            ("bad", "is not understood"),
            ("none", "none.json cannot be read"),
            ("../x", "is not the name"),
        ] {
            let error = read(name, &env).expect_err(name);
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
