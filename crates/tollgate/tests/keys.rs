//! `tollgate key`, by the program itself against a real nats-server.

#![allow(clippy::unwrap_used, reason = "what tests call is a test too")]

use std::process::Stdio;

use serde_json::Value;
use testkit::{PASSWORD, Setup, World};
use tollgate_queue::Keys;
use tollgate_queue::keys::Shut;
use tollgate_types::UnixMillis;
use tollgate_types::api_key::Presented;

struct Operator {
    world: World,
    dir: tempfile::TempDir,
}

impl Operator {
    async fn new() -> Operator {
        let (world, dir) = (World::start(Setup::default()).await, tempfile::tempdir().unwrap());
        let url = world.nats.url();
        let text = format!("[nats]\nurl = \"{url}\"\nuser = \"broker\"\npassword = \"{PASSWORD}\"\n");
        std::fs::write(dir.path().join("tollgate.toml"), text).unwrap();
        Operator { world, dir }
    }

    async fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(args).current_dir(self.dir.path()).env_clear().env("USER", "ann").env("HOSTNAME", "desk");
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    async fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(&[args, &["--output", "json"]].concat()).await;
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str(&out).unwrap()
    }

    async fn opens(&self, key: &str) -> Result<(), Shut> {
        let keys = Keys::open(&self.world.jetstream().await).await.unwrap();
        let now = UnixMillis::from(time::OffsetDateTime::now_utc());
        keys.find(&Presented::read(key).unwrap(), now).map(drop)
    }
}

#[tokio::test]
async fn a_key_is_shown_once_kept_as_a_digest_rotated_and_revoked() {
    let operator = Operator::new().await;
    let create =
        ["key", "create", "--team", "search", "--name", "ci", "--models", "gpt-4o*,fast", "--classes", "batch"];
    let made = operator.json(&create).await;
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(operator.opens(key).await, Ok(()));

    let list = operator.json(&["key", "list", "--team", "search"]).await;
    assert_eq!(
        (&list[0]["id"], &list[0]["models"][1], &list[0]["state"]),
        (&id.into(), &"fast".into(), &"open".into())
    );
    let secret = key.rsplit('_').next().unwrap();
    let bucket = operator.world.jetstream().await.get_key_value("TOLLGATE_KEYS").await.unwrap();
    let stored = String::from_utf8(bucket.get(id).await.unwrap().unwrap().to_vec()).unwrap();
    assert!(!stored.contains(secret) && !list.to_string().contains(secret), "only a digest is kept");

    let rotated = operator.json(&["key", "rotate", id, "--grace", "1h"]).await;
    let new = rotated["key"].as_str().unwrap();
    assert_eq!((operator.opens(new).await, operator.opens(key).await), (Ok(()), Ok(())));
    let rotated = operator.json(&["key", "rotate", id, "--grace", "0s"]).await;
    assert_eq!(operator.opens(new).await, Err(Shut::Unknown), "no grace is left");

    let newest = rotated["key"].as_str().unwrap();
    assert_eq!(operator.json(&["key", "revoke", id]).await["change"], "revoked");
    assert_eq!(operator.json(&["key", "revoke", id]).await["change"], "unchanged");
    assert_eq!(operator.opens(newest).await, Err(Shut::Revoked));
    assert_eq!(operator.json(&["key", "list"]).await, serde_json::json!([]));
    assert_eq!(operator.json(&["key", "list", "--all"]).await[0]["state"], "revoked");
    let (code, _, err) = operator.run(&["key", "rotate", id]).await;
    assert!(code == Some(2) && err.contains("is revoked"), "{err}");
}

#[tokio::test]
async fn what_makes_no_key_is_refused_and_standard_output_holds_the_key_alone() {
    let operator = Operator::new().await;
    for (args, expected) in [
        (&["--team", "nobody", "--name", "x"][..], "the team nobody is not registered"),
        (&["--team", "search", "--name", " "], "a name has 1 to"),
        (&["--team", "search", "--name", "x", "--classes", "urgent"], "'urgent' is not a class"),
        (&["--team", "search", "--name", "x", "--endpoints", "files"], "is not an endpoint"),
    ] {
        let (code, out, err) = operator.run(&[&["key", "create"][..], args].concat()).await;
        assert!(code == Some(2) && err.contains(expected) && out.is_empty(), "{err}");
    }
    let (code, out, _) = operator.run(&["key", "create", "--team", "search", "--name", "x", "--expires", "1h"]).await;
    assert_eq!(code, Some(0));
    assert!(Presented::read(out.trim_end()).is_some(), "{out}");
    let (code, _, err) = operator.run(&["key", "revoke", "aaaaaaaaaaaa"]).await;
    assert!(code == Some(2) && err.contains("there is no key"), "{err}");
}
