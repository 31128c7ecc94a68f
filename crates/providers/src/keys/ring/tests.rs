use std::time::Duration;

use tollgate_types::Billed;

use super::*;

const MODEL: &str = "m";

fn env(name: &str) -> Option<String> {
    (name == "KEY").then(|| "sk-env".to_owned())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn failure(kind: FailureKind, http_status: u16) -> Failure {
    Failure { kind, http_status: Some(http_status), retry_after: None, billed: Billed::No, message: String::new() }
}

fn of(values: &[&str]) -> Ring {
    let keys =
        values.iter().enumerate().map(|(at, value)| (format!("key-{}", at + 1), ApiKey::new(value).expect("a key")));
    Ring::over("lab".into(), keys.collect(), Vec::new(), Instant::now())
}

fn exposed(ring: &Ring) -> Vec<String> {
    ring.keys().into_iter().map(|(_, key)| key.expose().to_owned()).collect()
}

#[test]
fn only_what_is_about_the_key_takes_it_out_of_use() {
    for (kind, status, usable_here, usable_elsewhere) in [
        (FailureKind::Auth, 401, false, false),
        (FailureKind::Auth, 400, false, false),
        (FailureKind::Auth, 403, false, true),
        (FailureKind::QuotaExhausted, 429, false, false),
        (FailureKind::RateLimited, 429, true, true),
        (FailureKind::ServerError, 500, true, true),
        (FailureKind::NotFound, 404, true, true),
        (FailureKind::InvalidRequest, 400, true, true),
    ] {
        let (ring, now) = (of(&["sk-1"]), Instant::now());
        let picked = ring.pick(MODEL, now).ok().flatten().expect("a key");
        assert!(!ring.learn(&picked, MODEL, Some(&failure(kind, status)), now), "there is no other key");
        let usable = |model| ring.pick(model, now).is_ok();
        assert_eq!((usable(MODEL), usable("other")), (usable_here, usable_elsewhere), "{kind:?} {status}");
    }
}

#[test]
fn another_key_is_offered_while_there_is_one_and_the_key_is_to_blame() {
    let (ring, now) = (of(&["sk-1", "sk-2"]), Instant::now());
    let [one, two] = [(); 2].map(|()| ring.pick(MODEL, now).ok().flatten().expect("a key"));
    assert!(!ring.learn(&one, MODEL, Some(&failure(FailureKind::ServerError, 500)), now));
    assert!(!ring.learn(&one, MODEL, None, now));
    assert!(ring.learn(&one, MODEL, Some(&failure(FailureKind::Auth, 401)), now));
    assert!(!ring.learn(&two, MODEL, Some(&failure(FailureKind::QuotaExhausted, 429)), now + seconds(1)));
    let unusable = ring.pick(MODEL, now + seconds(31)).err().expect("both are out");
    let refusal = ring.refusal(&unusable, now + seconds(31));
    assert_eq!((refusal.kind, refusal.billed), (FailureKind::QuotaExhausted, Billed::No));
    assert_eq!((refusal.http_status, refusal.retry_after), (None, Some(seconds(30))));
    let said = "no key of lab is usable: the last one was out of quota 30 s ago, and none is tried again for 30 s";
    assert_eq!(refusal.message, said);
}

#[test]
fn files_and_commands_are_read_again_and_the_environment_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, counted) = (dir.path().join("key"), dir.path().join("runs"));
    std::fs::write(&file, "sk-old\n").expect("written");
    let script = format!("echo x >> {0}; echo sk-run-$(wc -l < {0})", counted.display());
    let argv = ["sh", "-c", script.as_str()].map(str::to_owned).to_vec();
    let command = KeySource::Command { argv, every: seconds(600) };
    let sources = [KeySource::Env("KEY".into()), KeySource::File(file.clone()), command];
    let sources = sources.into_iter().enumerate().map(|(at, source)| (format!("k{at}"), source)).collect();
    let now = Instant::now();
    let ring = Ring::open("lab", sources, &env, now).expect("all are found");
    assert_eq!(exposed(&ring), ["sk-env", "sk-old", "sk-run-1"]);

    assert_eq!(ring.reload(Reload::Due, now + seconds(30)), 0, "nothing changed");
    std::fs::write(&file, "sk-new\n").expect("written");
    assert_eq!(ring.reload(Reload::Due, now + seconds(60)), 1);
    assert_eq!(exposed(&ring), ["sk-env", "sk-new", "sk-run-1"]);
    assert_eq!(ring.reload(Reload::Due, now + seconds(600)), 1, "the command's time has come");
    assert_eq!(exposed(&ring), ["sk-env", "sk-new", "sk-run-2"]);
    assert_eq!(ring.reload(Reload::All, now + seconds(601)), 1, "whatever its time");
    assert_eq!(exposed(&ring), ["sk-env", "sk-new", "sk-run-3"]);
}

#[test]
fn a_key_that_cannot_be_reloaded_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, "sk-old").expect("written");
    let now = Instant::now();
    let sources = vec![("k".to_owned(), KeySource::File(file.clone()))];
    let ring = Ring::open("lab", sources, &env, now).expect("it is found");
    for broken in ["", "two words"] {
        std::fs::write(&file, broken).expect("written");
        assert_eq!((ring.reload(Reload::All, now), exposed(&ring)), (0, vec!["sk-old".to_owned()]));
    }
    std::fs::remove_file(&file).expect("removed");
    assert_eq!((ring.reload(Reload::All, now), exposed(&ring)), (0, vec!["sk-old".to_owned()]));
}

#[test]
fn a_key_that_is_mended_is_usable_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, "sk-bad").expect("written");
    let now = Instant::now();
    let sources = vec![("k".to_owned(), KeySource::File(file.clone()))];
    let ring = Ring::open("lab", sources, &env, now).expect("it is found");
    let picked = ring.pick(MODEL, now).ok().flatten().expect("a key");
    ring.learn(&picked, MODEL, Some(&failure(FailureKind::Auth, 401)), now);
    ring.reload(Reload::Due, now);
    assert!(ring.pick(MODEL, now).is_err(), "the same value is still bad");
    std::fs::write(&file, "sk-good").expect("written");
    ring.reload(Reload::Due, now);
    assert!(ring.pick(MODEL, now).is_ok());
}

#[test]
fn a_missing_key_is_named() {
    let sources = vec![("a".to_owned(), KeySource::Env("KEY".into())), ("b".to_owned(), KeySource::Env("NO".into()))];
    let (id, error) = Ring::open("lab", sources, &env, Instant::now()).expect_err("one is missing");
    assert_eq!((id.as_str(), error.to_string().as_str()), ("b", "the environment variable `NO` is not set"));
}

#[test]
fn secrets_are_all_keys_and_the_one_that_was_sent_the_longest_first() {
    let sent = ApiKey::new("sk-1-of-before").expect("a key");
    let secrets: Vec<String> = of(&["sk-1", "sk-1-2"]).secrets(Some(&sent)).iter().map(|k| k.expose().into()).collect();
    assert_eq!(secrets, ["sk-1-of-before", "sk-1-2", "sk-1"]);
    assert_eq!(format!("{:?}", of(&["sk-1"])), r#"Ring { provider: "lab", keys: ["key-1"] }"#);
}
