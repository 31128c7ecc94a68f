//! Who is let in, and what comes from our own pages.

use axum::http::{HeaderName, HeaderValue};

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().expect("a name"), HeaderValue::from_str(value).expect("a value"))
    };
    pairs.iter().map(pair).collect()
}

fn with_users() -> Config {
    let user = |password: &str, token: Option<&str>, role| User {
        password: Some(SecretString::from(password)),
        token: token.map(SecretString::from),
        role,
    };
    let users = [
        ("ann".to_owned(), user("correct horse", Some("token-of-ann"), Role::Operator)),
        ("bob".to_owned(), user("battery staple", None, Role::Viewer)),
        ("eve".to_owned(), user("", None, Role::Operator)),
    ];
    Config { users: users.into(), ..Config::default() }
}

fn cookie(door: &Door, name: &str, password: &str, now: i64) -> Option<String> {
    let set = door.sign_in(name, password, now).expect("few were tried")?;
    Some(set.split(';').next().expect("a pair").to_owned())
}

#[test]
fn without_users_this_machine_alone_may_look() {
    let door = Door::new(Config::default(), true);
    let check = |host: &str, expected: Result<Role, Refused>| {
        assert_eq!(door.who(&headers(&[("host", host)]), 0).map(|who| who.role), expected, "{host}");
    };
    for here in ["localhost", "localhost:9464", "127.0.0.1:9464", "[::1]:9464", "[::1]", "LOCALHOST:1"] {
        check(here, Ok(Role::Viewer));
    }
    for elsewhere in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "[::1].evil", "10.0.0.1"] {
        check(elsewhere, Err(Refused::ForeignHost));
    }
    assert_eq!(door.who(&HeaderMap::new(), 0), Err(Refused::ForeignHost));
    let open = Door::new(Config { loopback_operator: true, ..Config::default() }, true);
    assert_eq!(open.who(&headers(&[("host", "localhost")]), 0).map(|who| who.role), Ok(Role::Operator));
}

#[test]
fn without_users_nobody_elsewhere_sees_anything() {
    let door = Door::new(Config { loopback_operator: true, ..Config::default() }, false);
    assert_eq!(door.who(&headers(&[("host", "localhost")]), 0), Err(Refused::Off));
}

#[test]
fn a_session_holds_until_it_ends_or_the_password_changes() {
    let door = Door::new(Config { session_key: Some("k".into()), ..with_users() }, false);
    let cookie = cookie(&door, "bob", "battery staple", 1000).expect("a session");
    let asked = headers(&[("cookie", &format!("other=1; {cookie}"))]);
    let who = door.who(&asked, 1001).expect("known");
    assert_eq!((who.name.as_str(), who.role), ("bob", Role::Viewer));
    assert_eq!(door.who(&asked, 1000 + 12 * 3600), Err(Refused::SignIn));
    // The same key in another process.
    let mut changed = Config { session_key: Some("k".into()), ..with_users() };
    assert!(Door::new(changed.clone(), false).who(&asked, 1001).is_ok());
    changed.users.get_mut("bob").expect("bob").password = Some("another".into());
    assert_eq!(Door::new(changed.clone(), false).who(&asked, 1001), Err(Refused::SignIn));
    changed.users.remove("bob");
    assert_eq!(Door::new(changed, false).who(&asked, 1001), Err(Refused::SignIn));
    assert_eq!(Door::new(with_users(), false).who(&asked, 1001), Err(Refused::SignIn));
}

#[test]
fn wrong_passwords_and_empty_ones_are_refused() {
    let door = Door::new(with_users(), false);
    for (name, password) in [("ann", "wrong"), ("nobody", "correct horse"), ("eve", ""), ("", ""), ("bob", "")] {
        assert_eq!(door.sign_in(name, password, 0), Ok(None), "{name}");
    }
    for _ in 0..4 {
        assert_eq!(door.sign_in("ann", "wrong", 0), Ok(None));
    }
    assert_eq!(door.sign_in("ann", "correct horse", 0), Err(()), "too many were tried");
}

#[test]
fn tokens_are_for_scripts() {
    let door = Door::new(with_users(), false);
    let who = |value: &str| door.who(&headers(&[("authorization", value)]), 0).map(|who| who.name);
    assert_eq!(who("Bearer token-of-ann"), Ok("ann".to_owned()));
    for wrong in ["Bearer token-of-bob", "Bearer ", "Basic token-of-ann", "token-of-ann"] {
        assert_eq!(who(wrong), Err(Refused::SignIn), "{wrong}");
    }
}

#[test]
fn cookies_are_out_of_reach_of_scripts_and_other_sites() {
    let set = Door::new(with_users(), false).sign_in("bob", "battery staple", 0).expect("few").expect("a session");
    assert!(
        set.starts_with("__Host-tollgate=")
            && set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure")
    );
    let plain = Config { plain_http: true, ..with_users() };
    let set = Door::new(plain, false).sign_in("bob", "battery staple", 0).expect("few").expect("a session");
    assert!(set.starts_with("tollgate=") && !set.contains("Secure"));
}

#[test]
fn forms_come_from_our_own_pages_and_the_same_session() {
    let door = Door::new(with_users(), false);
    let session = |at| {
        let cookie = cookie(&door, "ann", "correct horse", at).expect("a session");
        door.who(&headers(&[("cookie", &cookie)]), at).expect("known")
    };
    let (who, other) = (session(0), session(0));
    let token = door.form_token(&who);
    let ours = headers(&[("host", "tollgate.example"), ("origin", "https://tollgate.example")]);
    assert!(door.is_our_form(&who, &ours, Some(&token)));
    assert!(!door.is_our_form(&other, &ours, Some(&token)), "another session's token");
    assert!(!door.is_our_form(&who, &ours, None) && !door.is_our_form(&who, &ours, Some("")));
    for foreign in [
        vec![("host", "tollgate.example"), ("origin", "https://evil.example")],
        vec![("host", "tollgate.example"), ("origin", "null")],
        vec![("host", "tollgate.example"), ("origin", "https://tollgate.example"), ("sec-fetch-site", "cross-site")],
        vec![("host", "tollgate.example"), ("sec-fetch-site", "same-site")],
        vec![("host", "tollgate.example")],
        vec![],
    ] {
        assert!(!door.is_our_form(&who, &headers(&foreign), Some(&token)), "{foreign:?}");
    }
    let by_token = Who { by: By::Token, ..who };
    assert!(door.is_our_form(&by_token, &HeaderMap::new(), None));
}
