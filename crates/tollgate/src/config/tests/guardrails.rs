//! What guardrails and checkers may not say.

use super::*;

const CHECKER: &str =
    "[checkers.moderation]\nkind = \"openai-moderation\"\nurl = \"http://127.0.0.1:9/v1/moderations\"\n";

#[test]
fn what_a_guardrail_may_not_say_is_named() {
    for (text, says) in [
        ("[guardrails]\ninput = { paymentcard = \"block\" }", "guardrails.input.paymentcard"),
        ("[guardrails]\ninput = { pii = \"mask\" }", "guardrails.input.pii"),
        ("[guardrails]\ninputs = {}", "guardrails.inputs"),
        ("[guardrails]\npatterns = { p = { regex = \"(\" } }\ninput = { p = \"flag\" }", "guardrails.patterns.p"),
        ("[guardrails]\npatterns = { p = { regex = \"(?=a)b\" } }\ninput = { p = \"flag\" }", "guardrails.patterns.p"),
        ("[guardrails]\nkeywords = { k = { words = [\"\"] } }\ninput = { k = \"flag\" }", "guardrails.keywords.k"),
        ("[guardrails]\nkeywords = { k = { words = [\"x\"] } }", "guardrails.keywords.k"),
        ("[guardrails]\nrisk = { block_from = 101 }", "guardrails.risk.block_from"),
        ("[guardrails]\nphone_country = \"XX\"", "guardrails.phone_country"),
        ("[teams.t.guardrails]\noutput = { nothing = \"flag\" }", "teams.t.guardrails.output.nothing"),
        ("[guardrails]\ninput = { moderation = \"redact\" }", "guardrails.input.moderation: moderations do not say"),
        ("[checkers.pii]\nurl = \"http://127.0.0.1:9\"", "checkers.pii: 'pii' is a rule of Tollgate's own"),
        ("[checkers.own]\nurl = \"127.0.0.1:9\"", "checkers.own.url"),
        ("[checkers.own]\nurl = \"http://127.0.0.1:9\"\nmodel = \"m\"", "checkers.own.model"),
        ("[checkers.own]\nurl = \"http://127.0.0.1:9\"\ntimeout = \"5m\"", "checkers.own.timeout"),
    ] {
        let problems = refused(&format!("{CHECKER}{text}"));
        assert!(problems.iter().any(|problem| problem.contains(says)), "{text}: {problems:?}");
    }
}

#[test]
fn a_team_says_over_everybody_and_may_name_their_lists() {
    let text = format!(
        "{CHECKER}[guardrails]\ninput = {{ pii = \"redact\", moderation = \"block\", words = \"flag\" }}\n\
         keywords = {{ words = {{ words = [\"x\"] }} }}\n[teams.t.guardrails]\ninput = {{ words = \"block\" }}"
    );
    let config = loaded(&text).config;
    let own = config.teams["t"].guardrails.clone().expect("it says something");
    let policy = own.over(&config.guardrails.clone().expect("so do all"));
    assert_eq!(policy.input.len(), 3);
    let (checkers, rings) = build::checkers(&config, &env()).expect("it takes no key");
    assert_eq!((checkers.len(), rings.len()), (1, 1));
}

#[test]
fn a_checker_without_its_key_is_named() {
    let text = format!("{CHECKER}key = {{ env = \"NOT_SET\" }}");
    let problems = build::checkers(&loaded(&text).config, &env()).expect_err("there is no key");
    assert!(problems[0].to_string().contains("checkers.moderation.key"), "{}", problems[0]);
}
