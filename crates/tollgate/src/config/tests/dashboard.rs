//! Who may be let in to the dashboards, and what may not be said about it.

use super::*;

#[test]
fn users_have_a_secret_that_is_not_guessed() {
    for (text, says) in [
        ("[dashboard.users.ann]", "dashboard.users.ann: must have a password or a token"),
        ("[dashboard.users.ann]\npassword = \"short\"", "dashboard.users.ann.password"),
        ("[dashboard.users.ann]\ntoken = \"too-short\"", "dashboard.users.ann.token"),
        ("[dashboard.users.\"a@b\"]\npassword = \"long enough\"", "dashboard.users.a@b"),
        ("[dashboard.users.ann]\npassword = \"long enough\"\nrole = \"root\"", "dashboard.users.ann.role"),
        ("[dashboard]\nsession = \"5s\"", "dashboard.session"),
        ("[dashboard]\nsession_key = \"short\"", "dashboard.session_key"),
        ("[dashboard]\nuser = {}", "dashboard.user"),
    ] {
        let problems = refused(text);
        assert!(problems.iter().any(|problem| problem.contains(says)), "{text}: {problems:?}");
    }
}

#[test]
fn what_is_said_reaches_the_screens_and_is_shown_to_nobody() {
    let text = "[dashboard]\nloopback_operator = true\nsession = \"1h\"\nsession_key = \"a key of many bytes\"\n\
        [dashboard.users.ann]\npassword = \"long enough\"\nrole = \"operator\"";
    let config = loaded(text).config;
    let dashboard = build::dashboard(&config);
    assert_eq!(dashboard.users["ann"].role, tollgate_dashboard::Role::Operator);
    assert!(dashboard.loopback_operator && dashboard.session_key.is_some());
    assert_eq!(dashboard.session_max, std::time::Duration::from_secs(3600));
    let shown = format!("{dashboard:?} {:?}", config.dashboard);
    assert!(!shown.contains("long enough") && !shown.contains("many bytes"), "{shown}");
}

#[test]
fn dashboards_that_nobody_can_see_are_told_of() {
    let warned =
        |text: &str| loaded(text).warnings.iter().any(|warning| warning.to_string().contains("dashboard.users"));
    assert!(warned("[http]\nlisten = \"0.0.0.0:9464\""));
    assert!(!warned("[http]\nlisten = \"0.0.0.0:9464\"\n[dashboard]\nenabled = false"));
    assert!(!warned("[http]\nlisten = \"0.0.0.0:9464\"\n[dashboard.users.a]\npassword = \"long enough\""));
    assert!(!warned("[http]\nlisten = \"[::1]:9464\""));
}
