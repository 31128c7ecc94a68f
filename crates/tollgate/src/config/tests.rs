//! Broken configurations with the message that they must give, and who wins over whom.

use std::time::Duration;

use tollgate_providers::KeySource;
use tollgate_types::CacheRules;

use super::*;
use crate::config::sections::LogFormat;

mod dashboard;
mod guardrails;
mod models_and_access;
mod vendors;

fn env() -> Env {
    Env::of([("OPENAI_API_KEY", "sk-test")])
}

fn load_file(text: &str) -> Result<Loaded, Vec<String>> {
    let loaded = load_text(text, None, &Overrides::default(), &env());
    loaded.map_err(|refused| refused.problems.iter().map(Problem::to_string).collect())
}

fn refused(text: &str) -> Vec<String> {
    load_file(text).expect_err(text)
}

fn loaded(text: &str) -> Loaded {
    load_file(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

#[test]
fn the_sample_that_ships_loads_and_says_the_defaults() {
    let sample = loaded(SAMPLE);
    assert!(sample.warnings.is_empty(), "{:?}", sample.warnings);
    let routes = build::routes(&sample.config, &env()).expect("it can be served");
    assert_eq!(routes.names().collect::<Vec<_>>(), ["fast", "house-model"]);
    assert!(routes.of("fast").iter().all(|priced| priced.price.is_some()));
    // What is live is told by what holds where nobody said anything.
    let held = |rules: CacheRules| {
        let numbers = (rules.ttl(), rules.temperature_max(), rules.answer_bytes_max());
        (rules.mode(), numbers, rules.shared_by(), rules.tool_calls())
    };
    assert_eq!(held(sample.config.cache.rules()), held(CacheRules::default()));
    let shown = |config: &Config| serde_json::to_value(config).expect("it serialises");
    let (mut sample, mut default) = (shown(&sample.config), shown(&Config::default()));
    for section in ["providers", "models", "teams", "organisation", "guardrails", "checkers"] {
        default[section] = sample[section].take();
        sample[section] = default[section].clone();
    }
    for key in ["mode", "ttl", "temperature_max", "shared_by", "answer_bytes_max", "tool_calls"] {
        assert!(!sample["cache"][key].take().is_null(), "the sample says {key}");
    }
    assert_eq!(sample, default);
}

#[test]
fn each_mistake_is_named_by_line_key_and_reason() {
    for (text, expected) in [
        (
            "[worker]\nconcurrency = \"many\"",
            "line 2: worker.concurrency: invalid type: string \"many\", expected usize",
        ),
        ("[worker]\nconcurency = 5", "line 2: worker.concurency: unknown field `concurency`"),
        ("[wroker]", "line 1: wroker: unknown field `wroker`"),
        (
            "[worker]\nack_wait = 15",
            "line 2: worker.ack_wait: invalid type: integer `15`, expected a duration in quotes",
        ),
        ("[worker]\nack_wait = \"15\"", "line 2: worker.ack_wait: '15' is not a duration such as 500ms"),
        ("[worker]\ndrain = \"9h\"", "line 2: worker.drain: 9h is not from 0s to 1h"),
        ("[worker]\nconcurrency = 0", "line 2: worker.concurrency: 0 is not from 1 to 100000"),
        ("[worker]\nconcurrency = -4", "line 2: worker.concurrency: invalid value: integer `-4`, expected usize"),
        ("[worker]\nattempts_total = 2", "worker.attempts_per_deployment: 3 is not from 1 to 2"),
        ("[streams]\njobs_bytes_max = \"10 gibi\"", "line 2: streams.jobs_bytes_max: '10 gibi' is not a size"),
        ("[streams]\njobs_bytes_max = -1", "line 2: streams.jobs_bytes_max: -1 is negative"),
        ("[streams]\njobs_bytes_max = 5", "line 2: streams.jobs_bytes_max: 5B is not from 1MiB"),
        ("[streams]\nreplicas = 2", "line 2: streams.replicas: 2 is not 1, 3 or 5"),
        ("[nats]\nurl = \"http://x\"", "line 2: nats.url: 'http://x' is not a server such as"),
        ("[nats]\nuser = \"u\"", "line 2: nats.user: there is no password"),
        ("[nats]\npassword = 12345", "line 2: nats.password: not a text in quotes"),
        ("[nats]\ntls_cert = \"c\"", "line 2: nats.tls_cert: tls_cert and tls_key must be given together"),
        ("[nats]\nurl = \"${NOPE}\"", "line 2: nats.url: the environment variable NOPE is not set"),
        ("[clickhouse]\nurl = \"localhost\"", "line 2: clickhouse.url: 'localhost' does not start with http://"),
        ("[clickhouse]\ndatabase = \"a b\"", "line 2: clickhouse.database: 'a b' is not a database name"),
        ("[http]\nlisten = \"9464\"", "line 2: http.listen: invalid socket address syntax"),
        (
            "[telemetry]\nlog_format = \"xml\"",
            "line 2: telemetry.log_format: unknown variant `xml`, expected `text` or `json`",
        ),
        ("[telemetry]\nlog = \"info=info=info\"", "line 2: telemetry.log: this is no log filter"),
        ("[providers.p]\nvendor = \"cohere\"", "line 2: providers.p.vendor: 'cohere' is not a vendor"),
        ("[providers.p]\nbase_url = \"ftp://x\"", "line 2: providers.p.base_url: `base_url` starts with `ftp:`"),
        (
            "[providers.p]\nprices_as = \"acme\"",
            "line 2: providers.p.prices_as: there are no prices of 'acme'; there are: anthropic",
        ),
        ("[providers.p]\nkey = { env = \"A\", file = \"b\" }", "line 2: providers.p.key: a key comes from one place"),
        ("[providers.p]\nkey = {}", "line 2: providers.p.key: a key comes from one place"),
        ("[providers.p]\nkey = { value = \"sk\" }", "line 2: providers.p.key.value: unknown field `value`"),
        ("[models.m]\ndeployments = []", "line 2: models.m.deployments: nothing serves this model"),
        (
            "[models.m]\ndeployments = [{ provider = \"q\", model = \"x\" }]",
            "line 2: models.m.deployments.0.provider: there is no provider 'q' (none is configured)",
        ),
        (
            "[providers.p]\n[models.m]\ndeployments = [{ provider = \"p\" }]",
            "line 3: models.m.deployments.0.model: the provider's own name of the model is missing",
        ),
        (
            "[providers.p]\n[models.m]\ndeployments = [{ provider = \"p\", model = \"x\" }]\nprice = { input = \"cheap\", output = 1 }",
            "line 4: models.m.price.input: `input` is 'cheap', not a plain decimal",
        ),
        (
            "[providers.p]\n[models.m]\ndeployments = [{ provider = \"p\", model = \"x\" }]\nprice = { input = -1, output = 1 }",
            "line 4: models.m.price.input: `input` is '-1', not a plain decimal",
        ),
        (
            "[providers.p]\n[models.m]\ndeployments = [{ provider = \"p\", model = \"x\" }]\nprice = { input = 1 }",
            "line 4: models.m.price.output: `output` is missing",
        ),
        ("[teams.a]\nweight = -1", "line 2: teams.a.weight: invalid value: integer `-1`, expected u32"),
        ("[teams.a]\nweight = 0", "line 2: teams.a.weight: 0 is not from 1 to 1000"),
        ("[teams.\"a.b\"]", "line 1: teams.a.b: this is not the name of a team"),
        ("[nats\nurl = 1", "line 1: this is not TOML"),
    ] {
        says(text, expected);
    }
}

#[test]
fn mistakes_about_the_cache_are_named_by_line_key_and_reason() {
    for (text, expected) in [
        ("[cache]\nttl = \"100ms\"", "line 2: cache.ttl: `ttl` is not from a second to 30 days"),
        ("[teams.a.cache]\nttl = \"31d\"", "line 2: teams.a.cache.ttl: `ttl` is not from a second to 30 days"),
        ("[cache]\nmode = \"on\"", "line 2: cache.mode: unknown variant `on`"),
        ("[cache]\ntemperature_max = -1.0", "line 2: cache.temperature_max: -1 is not a temperature from 0 to 10"),
    ] {
        says(text, expected);
    }
}

/// One mistake, named so.
fn says(text: &str, expected: &str) {
    let problems = refused(text);
    assert_eq!(problems.len(), 1, "{text}: {problems:?}");
    assert!(problems[0].contains(expected), "{text}\n  says: {}\n  not:  {expected}", problems[0]);
}

#[test]
fn mistakes_about_pools_leases_and_alerts_are_named_too() {
    for (text, expected) in [
        ("[worker]\nclasses = [\"urgent\"]", "line 2: worker.classes.0: unknown variant `urgent`"),
        ("[worker]\nteams = [\"a\", \"b.c\"]", "line 2: worker.teams: it holds '.', which is not allowed"),
        ("[worker]\nlease = \"0s\"", "line 2: worker.lease: 0s is not from 1s to 10m"),
        ("[settler]\nbatch_wait = \"1m\"", "line 2: settler.batch_wait: 1m is not from 0s to 10s"),
        ("[alerts]\nwebhook = \"hooks.example.com/T0/secret\"", "line 2: alerts.webhook: this is not an address"),
        (
            "[webhooks.search]\nurl = \"hidden\"\nsecret = \"a secret of 24 bytes and more\"",
            "line 2: webhooks.search.url: the url",
        ),
        (
            "[webhooks.search]\nurl = \"https://a.b\"\nsecret = \"hidden\"",
            "line 3: webhooks.search.secret: the secret must",
        ),
        ("[telemetry.traces]\nendpoint = \"localhost:4318\"", "telemetry.traces.endpoint: this is not an address"),
        ("[telemetry.traces]\nendpoint = \"http://c\"\nheaders = { x-key = \"s\\n\" }", "`x-key` cannot be a header"),
    ] {
        says(text, expected);
    }
}

#[test]
fn mistakes_about_keys_and_addresses_are_named_too() {
    for (line, expected) in [
        ("key = { command = [\"a\"], file = \"b\" }", "key: a key comes from one place"),
        ("key = { command = [] }", "key.command: it names no program"),
        ("key = { command = [\"\"] }", "key.command: it names no program"),
        ("key = { command = \"vault\" }", "key.command: invalid type: string \"vault\", expected a sequence"),
        ("key = { command = [\"a\"], every = \"5s\" }", "key.every: 5s is not from 30s to 1d"),
        ("key = { env = \"A\", every = \"5m\" }", "key.every: it is for a command"),
        ("key = { env = \"A\", name = \"a b\" }", "key.name: a key's name has 1 to 64 letters"),
        ("key = { env = \"A\", name = \"\" }", "key.name: a key's name has 1 to 64 letters"),
        ("keys = [{ env = \"A\" }, {}]", "keys.1: a key comes from one place"),
        ("keys = [{ env = \"A\", name = \"key-2\" }, { env = \"B\" }]", "keys: two keys are called 'key-2'"),
        ("keys = [{ env = \"A\" }]\nkey = { env = \"A\" }", "keys: give `key` or `keys`, not both"),
        ("base_url = \"http://169.254.169.254/v1\"", "base_url: `base_url` is a metadata service"),
        ("base_url = \"http://[fe80::1]:8000/v1\"", "base_url: this is a link-local address"),
    ] {
        says(&format!("[providers.p]\n{line}"), &format!("line 2: providers.p.{expected}"));
    }
    let many = vec!["{ env = \"A\" }"; 65].join(", ");
    says(&format!("[providers.p]\nkeys = [{many}]"), "line 2: providers.p.keys: more than 64 keys");
    loaded("[providers.p]\nbase_url = \"http://169.254.7.7:8000/v1\"\nallow_link_local = true");
    let metadata = "[providers.p]\nbase_url = \"http://169.254.169.254\"\nallow_link_local = true";
    says(metadata, "line 2: providers.p.base_url: `base_url` is a metadata service");
}

#[test]
fn several_keys_are_found_by_their_names_and_shared_by_the_deployments() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, "sk-file\n").expect("written");
    let text = format!(
        "[providers.openai]\nkeys = [{{ env = \"A\" }}, {{ file = \"{}\", name = \"spare\" }}, \
         {{ command = [\"echo\", \"sk-said\"], every = \"1h\" }}]",
        file.display()
    );
    let config = loaded(&text).config;
    let rings = build::rings(&config, &Env::of([("A", "sk-a")])).expect("all are found");
    let ids: Vec<String> = rings["openai"].keys().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["key-1", "spare", "key-3"]);
    let routes = build::routes_with(&config, &rings).expect("it can be served");
    for name in routes.names() {
        assert!(std::sync::Arc::ptr_eq(&routes.of(name)[0].deployment.keys, &rings["openai"]), "{name}");
    }
    let sources = build::key_sources(&config.providers["openai"]);
    let every = |source: &KeySource| matches!(source, KeySource::Command { every, .. } if every.as_secs() == 3600);
    assert!(every(&sources[2].1), "{sources:?}");
    std::fs::remove_file(&file).expect("removed");
    let missing = build::rings(&config, &Env::of([("A", "sk-a")])).expect_err("a file is gone");
    assert!(missing[0].to_string().starts_with("providers.openai.keys.1: the key file"), "{}", missing[0]);
    let default = loaded("[providers.p]\nkey = { command = [\"vault\"] }").config;
    let sources = build::key_sources(&default.providers["p"]);
    assert_eq!(sources[0].1, KeySource::Command { argv: vec!["vault".into()], every: Duration::from_secs(600) });
}

#[test]
fn an_authority_that_cannot_be_read_is_a_mistake_before_anything_is_sent() {
    let problems = refused("[clickhouse]\nurl = \"https://c\"\ntls_ca = \"/nonexistent/ca.pem\"");
    let expected = "line 3: clickhouse.tls_ca: cannot use the authority in /nonexistent/ca.pem: ";
    assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[worker]\nconcurrency = 0\nack_wait = \"soon\"\nnope = 1\n[teams.a]\nweight = 0\n[nats]\nurl = \"${X}\"\n\
                [providers.p]\nvendor = 5";
    let problems = refused(text);
    let lines: Vec<&str> = problems.iter().map(|problem| problem.split(':').next().expect("a line")).collect();
    assert_eq!(problems.len(), 6, "{problems:#?}");
    for line in ["line 2", "line 3", "line 4", "line 6", "line 8", "line 10"] {
        assert!(lines.contains(&line), "{line} is missing in {problems:#?}");
    }
}

/// A budget of team `a` with the given lines, of which the first stands in line 2.
fn budget(lines: &str) -> String {
    format!("[[teams.a.budgets]]\n{lines}")
}

#[test]
fn budgets_that_make_no_sense_are_named_by_line_key_and_reason() {
    let check = |lines: &str, expected: &str| says(&budget(lines), expected);
    for (amount, expected) in [
        ("\"NaN\"", "'NaN' is not an amount of dollars such as 12.50"),
        ("nan", "is a floating number, which is not exact"),
        ("inf", "is a floating number, which is not exact"),
        ("-5", "'-5' is not an amount of dollars"),
        ("\"-5\"", "'-5' is not an amount of dollars"),
        ("12.5", "12.5 is a floating number, which is not exact; write it as a text"),
        ("1e400", "line 2"),
        ("\"1e400\"", "'1e400' is not an amount of dollars"),
        ("1_000_000_001", "it is $1000000001.000000000; write at most 1000000000"),
        ("\"99999999999\"", "is more than Tollgate can count"),
        ("99999999999999999999", "line 2"),
        ("\"0.0000000001\"", "has more than nine decimals"),
        ("true", "invalid type: boolean `true`"),
    ] {
        check(&format!("cap_usd = {amount}\nwindow = \"day\""), expected);
        check(&format!("cap_usd = {amount}\nwindow = \"day\""), "line 2: teams.a.budgets.0.cap_usd: ");
    }
    let day = "window = \"day\"";
    check(day, "teams.a.budgets.0.cap_usd: it is missing");
    for (lines, expected) in [
        ("window = \"year\"", "line 2: teams.a.budgets.0.window: it does not do: window \"year\" is not hour"),
        ("window = \"rolling 5y\"", "line 2: teams.a.budgets.0.window: it does not do: window"),
        ("window = \"rolling 500d\"", "between 1 minute and 400 days"),
        ("time_zone = \"Mars/Olympus\"\nwindow = \"day\"", "line 2: teams.a.budgets.0.time_zone: it does not do"),
        ("when_spent = \"panic\"\nwindow = \"day\"", "line 2: teams.a.budgets.0.when_spent: unknown variant `panic`"),
        ("on = \"planet:x\"\nwindow = \"day\"", "line 2: teams.a.budgets.0.on: 'planet:x' is not owner"),
        ("then = \"reject\"\nwindow = \"day\"", "line 2: teams.a.budgets.0.then: it is for `when_spent"),
        ("alert_percent = [80, 50]\nwindow = \"day\"", "line 2: teams.a.budgets.0.alert_percent: it is [80, 50]"),
        ("alert_percent = [300]\nwindow = \"day\"", "line 2: teams.a.budgets.0.alert_percent"),
        ("raises = []\nwindow = \"day\"", "line 2: teams.a.budgets.0.raises: unknown field `raises`"),
        ("when_spent = \"downgrade\"\nwindow = \"day\"", "teams.a.budgets.0.downgrade_to: it is missing"),
    ] {
        check(&format!("{lines}\ncap_usd = 1"), expected);
    }
    // The second of two, in its own line; a whole that does not fit together, at the list.
    check(
        &format!("{day}\ncap_usd = 1\n[[teams.a.budgets]]\nwindow = \"x\"\ncap_usd = 1"),
        "line 5: teams.a.budgets.1.window",
    );
    check(
        &format!("{day}\ncap_usd = 1\n[[teams.a.budgets]]\n{day}\ncap_usd = 2"),
        "teams.a.budgets: budget on \"owner\" for \"day\" is there twice",
    );
    // Written by half.
    check("window = \"da", "line 2: this is not TOML");
    check("window = \"day\"\ncap_usd = ", "this is not TOML");
}

#[test]
fn all_mistakes_in_budgets_and_limits_are_told_at_once() {
    let text = "[teams.a]\nrequests_per_minute = 0\nconcurrency = 0\nweight = 2000\n\
                [[teams.a.budgets]]\nwindow = \"year\"\ntime_zone = \"Mars\"\ncap_usd = -1\n\
                [[teams.a.budgets]]\nwindow = \"eon\"\ncap_usd = 1e400\nwhen_spent = 5\n\
                [teams.a.keys.k]\ntokens_per_minute = 0\n\
                [[organisation.budgets]]\non = \"user:*\"\nwindow = \"day\"\ncap_usd = 1\n\
                [organisation.class_weights]\nbatch = 0";
    let problems = refused(text);
    let lines: Vec<&str> = problems.iter().map(|problem| problem.split(':').next().expect("a line")).collect();
    for line in [2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 16, 20] {
        assert!(lines.contains(&format!("line {line}").as_str()), "line {line} is missing in {problems:#?}");
    }
    assert_eq!(problems.len(), 12, "{problems:#?}");
}

#[test]
fn a_cheaper_model_must_be_served() {
    let budget = budget("window = \"day\"\ncap_usd = 1\nwhen_spent = \"downgrade\"\ndowngrade_to = \"mini\"");
    let served = "[providers.p]\nfree = true\n[models.big]\ndeployments = [{ provider = \"p\", model = \"x\" }]\n";
    let problems = refused(&format!("{served}{budget}"));
    let expected = "line 9: teams.a.budgets.0.downgrade_to: nothing serves the model 'mini'; there are: big";
    assert_eq!(problems, [expected]);
    let mini = "[models.mini]\ndeployments = [{ provider = \"p\", model = \"y\" }]\n";
    assert!(loaded(&format!("{served}{mini}{budget}")).warnings.is_empty());
    // A file of teams alone does not know.
    let warnings = loaded(&budget).warnings;
    assert!(warnings.len() == 1 && warnings[0].key == "teams.a.budgets.0.downgrade_to", "{warnings:?}");
}

#[test]
fn limits_of_teams_keys_and_deployments_are_read() {
    let loaded = loaded(SAMPLE).config;
    let search = &loaded.teams["search"];
    assert_eq!((search.limits().requests_per_minute, search.limits().concurrency), (Some(600), Some(100)));
    assert_eq!(search.keys.as_ref().expect("keys")["*"].requests_per_minute, Some(60));
    assert_eq!(search.budgets.as_ref().map(Vec::len), Some(2));
    let [openai, lab] = &loaded.models["fast"].deployments[..] else { panic!("two deployments") };
    assert_eq!((openai.limits().tokens_per_minute, lab.limits().concurrency), (Some(4_000_000), Some(8)));
    let problems = refused(
        "[providers.p]\nfree = true\n[models.m]\ndeployments = [{ provider = \"p\", model = \"x\", concurrency = 0 }]",
    );
    assert!(problems[0].starts_with("line 4: models.m.deployments.0.concurrency: `concurrency` is 0"), "{problems:?}");
}

#[test]
fn a_model_without_a_price_is_a_warning() {
    let text = "[providers.p]\nbase_url = \"http://localhost\"\n[models.m]\ndeployments = [{ provider = \"p\", model = \"x\" }]";
    let warnings = loaded(text).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].to_string().starts_with("line 4: models.m.deployments.0.model: it has no price"),
        "{}",
        warnings[0]
    );
}

#[test]
fn one_empty_section_serves_every_priced_model_of_openai() {
    let config = loaded("[providers.openai]").config;
    let routes = build::routes(&config, &env()).expect("it can be served");
    assert_eq!(routes.names().count(), models::of_vendor("openai").count());
    let [mini] = routes.of("gpt-4o-mini") else { panic!("one deployment serves it") };
    assert_eq!(mini.deployment.endpoint(), "https://api.openai.com/v1/chat/completions");
    assert!(mini.price.is_some());
    let missing = build::routes(&config, &Env::default()).expect_err("the key is missing");
    assert_eq!(missing[0].to_string(), "providers.openai.key: the environment variable `OPENAI_API_KEY` is not set");
}

#[test]
fn a_vendor_by_its_name_alone_is_its_own_address_with_its_own_key_and_prices() {
    let config = loaded("[providers.claude]\nvendor = \"anthropic\"").config;
    let env = Env::of([("ANTHROPIC_API_KEY", "sk-ant-x")]);
    let routes = build::routes(&config, &env).expect("it can be served");
    assert_eq!(routes.names().count(), models::of_vendor("anthropic").count());
    let name = routes.names().next().expect("there are models");
    assert_eq!(routes.of(name)[0].deployment.endpoint(), "https://api.anthropic.com/v1/messages");
    assert!(routes.of(name)[0].price.is_some());
    let missing = build::routes(&config, &Env::default()).expect_err("the key is missing");
    assert!(missing[0].to_string().ends_with("`ANTHROPIC_API_KEY` is not set"), "{}", missing[0]);
}

#[test]
fn an_operators_price_is_exact_however_it_is_written() {
    let with = |price: &str| {
        let text = format!(
            "[providers.p]\n[models.m]\ndeployments = [{{ provider = \"p\", model = \"x\" }}]\nprice = {price}"
        );
        let routes = build::routes(&loaded(&text).config, &env()).expect("it can be served");
        routes.of("m")[0].price.clone().expect("a price")
    };
    assert_eq!(with("{ input = 0.15, output = 3 }"), with("{ input = \"0.15\", output = \"3.00\" }"));
    assert_eq!(with("{ input = 0.15, output = 3 }").tiers()[0].input, 150_000);
}

#[test]
fn flags_win_over_variables_over_contexts_over_the_file() {
    let home = tempfile::tempdir().expect("a directory");
    let contexts = home.path().join("nats/context");
    std::fs::create_dir_all(&contexts).expect("it can be made");
    std::fs::write(contexts.join("c.json"), r#"{"url": "nats://context:1", "user": "cu", "password": "cp"}"#)
        .expect("written");
    let home = home.path().to_str().expect("a plain path");
    let file = "[nats]\nurl = \"nats://file:1\"\ntoken = \"t\"";
    let with = |env: &[(&str, &str)], overrides: &Overrides| {
        let env = Env::of(env.iter().copied().chain([("XDG_CONFIG_HOME", home)]));
        load_text(file, None, overrides, &env).expect("it loads")
    };
    let url = |loaded: &Loaded| (loaded.config.nats.url.clone(), loaded.origins["nats.url"].clone());

    let none = Overrides::default();
    assert_eq!(url(&with(&[], &none)), ("nats://file:1".into(), Origin::File(2)));
    let context = with(&[("NATS_CONTEXT", "c")], &none);
    assert_eq!(url(&context), ("nats://context:1".into(), Origin::Context("c".into())));
    assert!(context.config.nats.token.is_none(), "the file's token is not for the context's server");
    let variable = with(&[("NATS_CONTEXT", "c"), ("NATS_URL", "nats://env:1")], &none);
    assert_eq!(url(&variable), ("nats://env:1".into(), Origin::Env("NATS_URL")));
    assert_eq!(variable.config.nats.user.as_deref(), Some("cu"));
    let flag = Overrides { server: Some("nats://flag:1".into()), context: Some("c".into()), ..Overrides::default() };
    let flag = with(&[("NATS_URL", "nats://env:1")], &flag);
    assert_eq!(url(&flag), ("nats://flag:1".into(), Origin::Flag("--server")));
}

#[test]
fn the_selected_context_counts_only_where_nothing_names_a_server() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(home.path().join("nats/context")).expect("it can be made");
    std::fs::write(home.path().join("nats/context.txt"), "c").expect("written");
    std::fs::write(home.path().join("nats/context/c.json"), r#"{"url": "nats://context:1"}"#).expect("written");
    let env = Env::of([("XDG_CONFIG_HOME", home.path().to_str().expect("a plain path"))]);
    let url = |file: &str| load_text(file, None, &Overrides::default(), &env).expect("it loads").config.nats.url;
    assert_eq!(url(""), "nats://context:1");
    assert_eq!(url("[nats]\nurl = \"nats://file:1\""), "nats://file:1");
}

#[test]
fn what_is_shown_has_its_origin_and_no_secret() {
    let text = "[nats]\nurl = \"nats://u:hunter2@h:4222\"\npassword = \"hunter2\"\nuser = \"u\"\n[telemetry]\nlog_format = \"json\"";
    let env = Env::of([("CLICKHOUSE_PASSWORD", "hunter2")]);
    let loaded = load_text(text, None, &Overrides::default(), &env).expect("it loads");
    assert_eq!(loaded.config.telemetry.log_format, LogFormat::Json);
    let shown = show::show(&loaded);
    let of = |key: &str| shown.iter().find(|s| s.key == key).map(|s| (s.value.as_str(), s.origin.as_str()));
    assert_eq!(of("nats.password"), Some(("\"********\"", "file, line 3")));
    assert_eq!(of("nats.url"), Some(("\"nats://…@h:4222\"", "file, line 2")));
    assert_eq!(of("clickhouse.password"), Some(("\"********\"", "env CLICKHOUSE_PASSWORD")));
    assert_eq!(of("worker.concurrency"), Some(("256", "default")));
    assert!(!format!("{shown:?} {loaded:?}").replace("nats://u:hunter2@h:4222", "").contains("hunter2"));
}
