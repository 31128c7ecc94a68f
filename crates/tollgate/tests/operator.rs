//! What an operator does to a running system, by the program itself against a real nats-server.

#![allow(clippy::unwrap_used, reason = "what tests call is a test too")]

use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use testkit::{PASSWORD, Setup, World};
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_queue::{Blobs, Directory};
use tollgate_types::{Class, ErrorCode, JobId, Status};

/// The program's words and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

struct Operator {
    world: World,
    dir: tempfile::TempDir,
}

impl Operator {
    async fn new() -> Self {
        let world = World::start(Setup::default()).await;
        let operator = Operator { world, dir: tempfile::tempdir().unwrap() };
        operator.configure("");
        operator
    }

    /// Writes the configuration file: how to reach NATS, two models, and what else is said.
    fn configure(&self, more: &str) {
        let url = self.world.nats.url();
        let text = format!(
            "[nats]\nurl = \"{url}\"\nuser = \"broker\"\npassword = \"{PASSWORD}\"\n\
             [providers.sim]\nfree = true\nbase_url = \"http://127.0.0.1:1/v1\"\n\
             [models.big]\ndeployments = [{{ provider = \"sim\", model = \"big\" }}]\n\
             [models.mini]\ndeployments = [{{ provider = \"sim\", model = \"mini\" }}]\n{more}\n"
        );
        std::fs::write(self.dir.path().join("tollgate.toml"), text).unwrap();
    }

    async fn run(&self, args: &[&str]) -> Said {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.env("USER", "ann").env("HOSTNAME", "desk").stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// As [`Operator::run`], with the answer as JSON.
    async fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--output", "json"]].concat()).await.json()
    }

    async fn directory(&self) -> Directory {
        Directory::open(&self.world.jetstream().await, testkit::checks()).await.unwrap()
    }
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_budget_is_set_listed_and_raised_and_the_audit_tells_by_whom() {
    let operator = Operator::new().await;
    let downgrade = ["--when-spent", "downgrade", "--downgrade-to", "mini", "--alert", "50,80"];
    let set = [&["budget", "set", "team:search", "--window", "day", "--cap", "100"][..], &downgrade].concat();
    assert_eq!(operator.json(&set).await["change"], "created");
    assert_eq!(operator.json(&set).await["change"], "unchanged");
    assert_eq!(
        operator.json(&["budget", "set", "user:search/*", "--window", "hour", "--cap", "0.5"]).await["change"],
        "created"
    );
    let raise =
        ["budget", "raise", "team:search", "--window", "day", "--by", "50", "--for", "2h", "--reason", "launch"];
    assert_eq!(operator.json(&raise).await["change"], "raised");

    let list = operator.json(&["budget", "list"]).await;
    assert_eq!(texts(&list, "scope"), ["team:search", "team:search", "user:search/*"]);
    assert_eq!((&list[0]["cap_nanousd"], &list[0]["settled_nanousd"]), (&150_000_000_000_u64.into(), &0.into()));
    assert_eq!((&list[1]["model"], &list[1]["cap_nanousd"]), (&"mini".into(), &Value::Null));
    let shown = operator.json(&["budget", "show", "team:search"]).await;
    assert_eq!(shown["budgets"][0]["raises"][0]["author"], "ann@desk");

    let removed =
        operator.json(&["budget", "set", "user:search/*", "--window", "hour", "--remove", "--author", "bob"]).await;
    assert_eq!(removed["change"], "removed");
    let history = operator.json(&["budget", "history"]).await;
    assert_eq!(texts(&history, "author"), ["ann@desk", "ann@desk", "ann@desk", "bob"]);
    assert_eq!(texts(&history, "action"), ["budget set", "budget set", "budget raise", "budget set"]);
    let of_team = operator.json(&["budget", "history", "team:search"]).await;
    assert_eq!(of_team.as_array().unwrap().len(), 2, "{of_team}");
    assert_eq!(of_team[1]["reason"], "launch");
    let record = operator.directory().await.team("search").unwrap();
    assert_eq!((record.budgets.len(), record.budgets[0].raises.len()), (1, 1));
}

#[tokio::test]
async fn what_is_not_valid_changes_nothing() {
    let operator = Operator::new().await;
    for (args, expected) in [
        (&["--cap", "1", "--when-spent", "downgrade"][..], "`downgrade_to` is missing"),
        (
            &["--cap", "1", "--when-spent", "downgrade", "--downgrade-to", "huge"],
            "nothing serves the model 'huge'; there are: big, mini",
        ),
        (&["--cap", "2000000000"], "write at most 1000000000"),
        (&["--cap", "1", "--zone", "Mars"], "IANA"),
        (&["--cap", "1", "--alert", "80,50"], "the lowest first"),
    ] {
        let said = operator.run(&[&["budget", "set", "team:search", "--window", "day"][..], args].concat()).await;
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
        assert!(said.err.contains("nothing was changed") && said.err.contains(expected), "{args:?}: {}", said.err);
    }
    let ghost = operator.run(&["budget", "set", "team:nobody", "--window", "day", "--cap", "1"]).await;
    assert!(ghost.code == Some(2) && ghost.err.contains("not registered"), "{}", ghost.err);
    assert_eq!(operator.directory().await.team("search").unwrap().budgets, []);
    assert_eq!(operator.json(&["budget", "history"]).await, Value::Array(Vec::new()));
}

#[tokio::test]
async fn operators_who_raise_at_once_all_get_theirs() {
    let operator = Operator::new().await;
    operator.json(&["budget", "set", "organisation", "--window", "month", "--cap", "10"]).await;
    let raise = |author: &'static str| {
        let args = ["budget", "raise", "organisation", "--by", "1", "--for", "1h", "--author", author];
        let operator = &operator;
        async move { operator.run(&args).await.code }
    };
    let codes = futures_util::future::join_all(["a", "b", "c", "d"].map(raise)).await;
    assert_eq!(codes, [Some(0); 4]);
    let raises = operator.directory().await.organisation().budgets[0].raises.clone();
    let mut authors: Vec<&str> = raises.iter().map(|raise| raise.author.as_str()).collect();
    authors.sort_unstable();
    assert_eq!(authors, ["a", "b", "c", "d"]);
    // The entries of those that lost a race are taken back.
    let history = operator.json(&["budget", "history", "organisation"]).await;
    assert_eq!(history.as_array().unwrap().len(), 5, "{history:#}");
}

#[tokio::test]
async fn a_file_is_applied_whole_keeps_raises_and_is_refused_whole() {
    let operator = Operator::new().await;
    let file = |cap: &str| {
        format!(
            "[teams.search]\nweight = 3\n[[teams.search.budgets]]\nwindow = \"day\"\ncap_usd = {cap}\n\
             [organisation]\nclass_weights = {{ batch = 2 }}"
        )
    };
    operator.configure(&file("10"));
    let would = operator.json(&["config", "apply", "--dry-run"]).await;
    assert_eq!(texts(&would, "change"), ["would be created", "would be updated"]);
    assert_eq!(operator.directory().await.team("search").unwrap().weight, 1);
    assert_eq!(texts(&operator.json(&["config", "apply"]).await, "change"), ["created", "updated"]);
    operator.json(&["budget", "raise", "team:search", "--by", "5", "--for", "1h"]).await;
    operator.configure(&file("20"));
    let applied = operator.json(&["config", "apply"]).await;
    assert_eq!(texts(&applied, "detail"), ["", "cap $10 -> $20 (team:search for day)"]);
    let record = operator.directory().await.team("search").unwrap();
    assert_eq!((record.weight, record.budgets[0].raises.len()), (3, 1));
    assert_eq!(operator.directory().await.organisation().class_weights.batch, 2);

    // The whole is refused, for the raise as for a mistake, and the weight stays too.
    operator.configure(&file("1_000_000_000").replace("weight = 3", "weight = 7"));
    let refused = operator.run(&["config", "apply"]).await;
    assert!(refused.code == Some(2) && refused.err.contains("with the raises"), "{}", refused.err);
    operator.configure(&file("-1").replace("weight = 3", "weight = 7"));
    let refused = operator.run(&["config", "apply"]).await;
    assert!(refused.code == Some(2) && refused.err.contains("teams.search.budgets.0.cap_usd"), "{}", refused.err);
    assert_eq!(operator.directory().await.team("search").unwrap().weight, 3);
}

#[tokio::test]
async fn a_lane_is_paused_seen_and_resumed() {
    let operator = Operator::new().await;
    let producer = operator.world.producer("search").await;
    for _ in 0..3 {
        producer.submit(Class::Batch, World::line("hi", None, serde_json::json!({})), None).await.unwrap();
    }
    operator.json(&["queue", "pause", "search/batch", "--reason", "weekend"]).await;
    operator.json(&["queue", "pause", "--model", "mini"]).await;
    let list = operator.json(&["queue", "list"]).await;
    assert_eq!((&list[0]["team"], &list[0]["class"]), (&"search".into(), &"batch".into()));
    assert_eq!((&list[0]["waiting"], &list[0]["parked"], &list[0]["weight"]), (&3.into(), &0.into(), &1.into()));
    assert_eq!((&list[0]["paused"]["author"], &list[0]["paused"]["reason"]), (&"ann@desk".into(), &"weekend".into()));
    assert_eq!((&list[1]["kind"], &list[1]["model"]), (&"model".into(), &"mini".into()));
    assert_eq!(operator.json(&["queue", "resume", "search/batch"]).await["before"]["reason"], "weekend");
    assert_eq!(operator.json(&["queue", "resume", "search/batch"]).await["change"], "was not paused");
    assert_eq!(operator.directory().await.pauses().len(), 1);
    assert_eq!(operator.run(&["queue", "pause", "nobody"]).await.code, Some(2));
}

#[tokio::test]
async fn a_team_is_not_removed_over_its_backlog_without_a_word() {
    let operator = Operator::new().await;
    let producer = operator.world.producer("search").await;
    let receipt = producer.submit(Class::Batch, World::line("hi", None, serde_json::json!({})), None).await.unwrap();
    let refused = operator.run(&["team", "remove", "search"]).await;
    assert_eq!(refused.code, Some(2));
    for part in ["1 job(s) of search", "keep ", "reject ", "drain ", "--backlog"] {
        assert!(refused.err.contains(part), "{part} is missing in {}", refused.err);
    }
    let late = operator.run(&["team", "remove", "search", "--backlog", "drain", "--timeout", "1s"]).await;
    assert_eq!(late.code, Some(6), "{}", late.err);
    assert!(operator.directory().await.team("search").is_some());

    let kept = operator.json(&["team", "remove", "search", "--backlog", "keep"]).await;
    assert_eq!((&kept["waiting"], &kept["then"]), (&1.into(), &"kept".into()));
    let directory = operator.directory().await;
    assert!(directory.team("search").is_none() && directory.pauses().len() == 1);
    operator.json(&["team", "add", "search"]).await;
    operator.json(&["queue", "resume", "search"]).await;
    let rejected = operator.json(&["team", "remove", "search", "--backlog", "reject"]).await;
    assert_eq!(rejected["then"], "rejected");
    let worker = operator.world.worker("w", |_| {}).await;
    let result = operator.world.result(&producer, &receipt.id).await;
    assert_eq!(result.error.unwrap().code.as_str(), "unknown_team");
    worker.drained().await;
}

#[tokio::test]
async fn results_are_not_kept_for_less_than_ten_minutes_whoever_says_so() {
    let operator = Operator::new().await;
    let refused = operator.run(&["team", "set", "search", "--results-keep", "9m"]).await;
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("results_keep") && refused.err.contains("600"), "{}", refused.err);
    assert_eq!(operator.json(&["team", "show", "search"]).await["results_keep_secs"], Value::Null);
    operator.json(&["team", "set", "search", "--results-keep", "10m"]).await;
    assert_eq!(operator.json(&["team", "show", "search"]).await["results_keep_secs"], 600);
}

#[tokio::test]
async fn a_team_is_changed_and_shown() {
    let operator = Operator::new().await;
    operator.json(&["team", "set", "search", "--weight", "4", "--requests-per-minute", "600"]).await;
    operator.json(&["team", "set", "search", "--key", "*", "--concurrency", "2"]).await;
    let list = operator.json(&["team", "list"]).await;
    assert_eq!(texts(&list, "team"), ["batchers", "marketing", "search"]);
    assert_eq!((&list[2]["weight"], &list[2]["limits"]["requests_per_minute"]), (&4.into(), &600.into()));
    let shown = operator.json(&["team", "show", "search"]).await;
    assert_eq!((&shown["key_limits"]["*"]["concurrency"], &shown["parked"]), (&2.into(), &0.into()));
    // Adding a team again leaves alone what is not said.
    operator.json(&["team", "add", "search"]).await;
    assert_eq!(operator.directory().await.team("search").unwrap().weight, 4);
}

/// Stands in for the workers' service: whatever is asked is answered with `answer`, or refused.
async fn desk(operator: &Operator, answer: Result<&'static str, (u16, &'static str)>) -> tokio::task::JoinSet<()> {
    let client = operator.world.broker("desk").await.client;
    let mut questions = client.subscribe("tollgate.api.search.*").await.unwrap();
    client.flush().await.unwrap();
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        while let Some(question) = questions.next().await {
            let asked: Value = serde_json::from_slice(&question.payload).unwrap();
            assert_eq!(asked["job"], "search:1");
            let reply = question.reply.unwrap();
            match answer {
                Ok(answer) => client.publish(reply, answer.into()).await.unwrap(),
                Err((code, reason)) => {
                    let mut headers = async_nats::HeaderMap::new();
                    headers.insert("Nats-Service-Error", reason);
                    headers.insert("Nats-Service-Error-Code", code.to_string());
                    client.publish_with_headers(reply, headers, "".into()).await.unwrap();
                }
            }
            client.flush().await.unwrap();
        }
    });
    task
}

#[tokio::test]
async fn a_job_is_explained_and_cancelled_by_the_workers_words() {
    let operator = Operator::new().await;
    let asked = ["job", "explain", "search:1", "--team", "search"];
    let nobody = operator.run(&asked).await;
    assert!(nobody.code == Some(3) && nobody.err.contains("no worker answers"), "{}", nobody.err);

    let waiting = r#"{"job":"search:1","state":"waiting","class":"batch","ahead":3,"gate":"budget","reason":"spent"}"#;
    let desk_open = desk(&operator, Ok(waiting)).await;
    let said = operator.run(&asked).await;
    assert!(said.code == Some(0) && said.out.contains("spent (budget)"), "{} {}", said.out, said.err);
    assert_eq!(operator.json(&asked).await["ahead"], 3);
    drop(desk_open);

    let desk_open =
        desk(&operator, Ok(r#"{"job":"search:1","state":"ended","status":"cancelled","cancelled":true}"#)).await;
    let cancel = ["job", "cancel", "search:1", "--team", "search"];
    assert_eq!(operator.run(&cancel).await.code, Some(0));
    drop(desk_open);
    let desk_open =
        desk(&operator, Ok(r#"{"job":"search:1","state":"ended","status":"succeeded","cancelled":false}"#)).await;
    let late = operator.run(&cancel).await;
    assert!(late.code == Some(1) && late.out.contains("had ended: succeeded"), "{}", late.out);
    drop(desk_open);
    let _desk_open = desk(&operator, Err((404, "unknown_job: search:1 is not known"))).await;
    let unknown = operator.run(&asked).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("unknown_job"), "{}", unknown.err);
}

#[tokio::test]
async fn what_waits_is_listed_without_prompts_whatever_the_headers_hold() {
    let operator = Operator::new().await;
    let producer = operator.world.producer("search").await;
    let line = bytes::Bytes::from_static(
        br#"{"custom_id":"q","body":{"model":"sim-small","messages":[{"role":"user","content":"the secret"}]}}"#,
    );
    let receipt = producer.submit(Class::Batch, line.clone(), Some("search:1".parse().unwrap())).await.unwrap();
    // Bytes that would cut a client's connection.
    let mut raw = operator.world.raw("search").await;
    raw.request(b"tollgate.jobs.batch.search", b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n", &line).await.unwrap();
    producer.submit(Class::Standard, line.clone(), Some("search:3".parse().unwrap())).await.unwrap();
    let list = operator.json(&["job", "list", "--team", "search"]).await;
    let ids = texts(&list, "job");
    assert_eq!((ids.len(), ids[0], ids[2]), (3, receipt.id.as_str(), "search:3"));
    assert_eq!(texts(&list, "model"), ["sim-small"; 3]);
    let limited = operator.run(&["job", "list", "--team", "search", "--limit", "1", "--class", "batch"]).await;
    assert!(limited.err.contains("there are more") && !limited.out.contains("search:3"), "{}", limited.err);
    let context = operator.world.jetstream().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Tollgate-Waits-For", "money");
    context
        .publish_with_headers("tollgate.wait.due.batch.search.search:4", headers, line)
        .await
        .unwrap()
        .await
        .unwrap();
    let list = operator.run(&["job", "list", "--team", "search"]).await;
    assert!(list.out.contains("search:4") && list.out.contains("money"), "{}", list.out);
    assert!(!list.out.contains("secret"), "{}", list.out);
    assert_eq!(operator.json(&["team", "show", "search"]).await["parked"], 1);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_once_under_a_fresh_id() {
    let operator = Operator::new().await;
    let worker = operator.world.worker("w", |_| {}).await;
    let context = operator.world.jetstream().await;
    let line = World::line("hi", None, serde_json::json!({}));
    // A class that nobody knows: the job is answered and buried.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "search:1");
    context.publish_with_headers("tollgate.jobs.urgent.search", headers, line).await.unwrap().await.unwrap();
    let letters = async |count: usize| {
        testkit::eventually("dead letters", Duration::from_secs(30), || async {
            let list = operator.json(&["dead", "list"]).await;
            (list.as_array().unwrap().len() == count).then_some(list)
        })
        .await
    };
    let first = letters(1).await;
    let seq = first[0]["seq"].to_string();
    let would = operator.json(&["dead", "replay", &seq, "--dry-run"]).await;
    assert_eq!(would[0]["change"], "would be replayed");
    let original = operator.run(&["dead", "replay", &seq, "--id", "original"]).await;
    assert!(original.code == Some(1) && original.out.contains("is kept and would come again"), "{}", original.out);

    let replayed = operator.json(&["dead", "replay", "--team", "search", "--reason", "unknown_class"]).await;
    assert_eq!(
        (&replayed[0]["change"], &replayed[0]["subject"]),
        (&"replayed".into(), &"tollgate.jobs.urgent.search".into())
    );
    assert_eq!(replayed[0]["id"], would[0]["id"], "what was announced is what is done");
    let second = letters(2).await;
    assert_eq!(second[1]["job"], replayed[0]["id"], "the replayed job came to the same end");
    let before = operator.json(&["dead", "replay", &seq]).await;
    assert_eq!(before[0]["change"], "replayed before", "{before}");
    let detail = before[0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("replayed as search:r:") && detail.contains("by ann@desk"), "{detail}");
    let again = operator.json(&["dead", "replay", &seq, "--again"]).await;
    assert!(again[0]["id"].as_str().unwrap().ends_with(&format!(":{seq}:2")), "{again}");
    letters(3).await;
    assert_eq!(operator.run(&["dead", "replay", "999"]).await.code, Some(1));
    assert_eq!(operator.run(&["dead", "replay"]).await.code, Some(2));
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_large_body_of_a_dead_letter_goes_along_when_it_is_replayed() {
    const LONG: Duration = Duration::from_secs(30);
    let operator = Operator::new().await;
    let worker = operator.world.worker("w", |_| {}).await;
    let ghost = operator.world.producer("ghost").await;
    let prompt = "many words ".repeat(200_000);
    let body = serde_json::json!({ "model": "sim-small", "messages": [{ "role": "user", "content": prompt }] });
    let line = serde_json::json!({ "custom_id": "large", "body": body }).to_string();
    let refused = operator.world.run(&ghost, Class::Standard, line).await;
    assert_eq!(refused.error.map(|error| error.code), Some(ErrorCode::UnknownTeam));
    let letters = async || {
        let list = operator.json(&["dead", "list", "--team", "ghost"]).await;
        list.as_array().filter(|list| !list.is_empty()).map(|list| list[0]["seq"].to_string())
    };
    let seq = testkit::eventually("a dead letter", LONG, letters).await;

    operator
        .directory()
        .await
        .put_team(&"ghost".parse().unwrap(), &TeamRecord::default(), Expected::Any)
        .await
        .unwrap();
    let known = async || worker.directory.team("ghost").map(drop);
    testkit::eventually("the team is known", LONG, known).await;
    for again in [&[][..], &["--again"]] {
        let replayed = operator.json(&[&["dead", "replay", &seq], again].concat()).await;
        assert_eq!(replayed[0]["change"], "replayed", "{replayed}");
        let id: JobId = replayed[0]["id"].as_str().unwrap().parse().unwrap();
        let result = operator.world.result(&ghost, &id).await;
        assert_eq!((result.tollgate.status, result.custom_id.as_deref()), (Status::Succeeded, Some("large")));
        assert!(result.tollgate.tokens.prompt() > 100_000, "the whole prompt came along: {result:?}");
    }
    assert_eq!(operator.world.sim.calls().len(), 2);

    // What was put for the replays left with them; the letter keeps its own until somebody removes it.
    let blobs = Blobs::new(&operator.world.broker("operator").await.client);
    let chunks = async || {
        let space = blobs.space().await.unwrap().unwrap();
        (space.teams.get("ghost").copied() == Some(5 * 512 * 1024)).then_some(())
    };
    testkit::eventually("the chunks of one body are left", LONG, chunks).await;
    blobs.remove_all("ghost", &refused.id).await.unwrap();
    let gone = operator.run(&["dead", "replay", &seq, "--again"]).await;
    assert!(gone.code == Some(1) && gone.out.contains("not kept any more"), "{} {}", gone.out, gone.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_printed_while_it_is_written() {
    let operator = Operator::new().await;
    let _worker = operator.world.worker("w1", |_| {}).await;
    let submit = ["submit", "--team", "search", "--model", "sim-small", "--stream", "hello"];
    let lines = operator.run(&[&submit[..], &["--output", "jsonl"]].concat()).await;
    assert_eq!(lines.code, Some(0), "{}", lines.err);
    let lines: Vec<Value> = lines.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, pieces) = lines.split_last().unwrap();
    let text: String = pieces.iter().map(tollgate_client::text_of).collect();
    let whole = result["response"]["body"]["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(pieces.len() > 3, "{} pieces", pieces.len());
    assert_eq!(text, whole);

    let plain = operator.run(&submit).await;
    assert_eq!((plain.code, plain.err.as_str()), (Some(0), ""));
    let result = operator.world.sim.calls().last().unwrap().received.stream;
    assert!(result && plain.out.split_whitespace().count() > 3, "{}", plain.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_answers_are_counted_and_forgotten_and_the_audit_tells_by_whom() {
    let operator = Operator::new().await;
    operator.configure("[cache]\nmode = \"use\"\n[teams.marketing.cache]\nmode = \"off\"\nttl = \"10m\"");
    let applied = operator.json(&["config", "apply"]).await;
    assert!(applied.to_string().contains("cache mode not set -> use"), "{applied}");
    assert_eq!(operator.json(&["team", "show", "search"]).await["cache"]["mode"], "use");
    assert_eq!(operator.json(&["team", "show", "marketing"]).await["cache"]["ttl_seconds"], 600);

    let _worker = operator.world.worker("w1", |_| {}).await;
    let submit = async |team: &str, cache: &[&str]| {
        let line = ["submit", "--wait", "--team", team, "--model", "sim-small", "hello"];
        let said = operator.run(&[&line[..], cache, &["--output", "jsonl"]].concat()).await;
        let result: Value = serde_json::from_str(said.out.lines().last().expect("a result")).unwrap();
        result["tollgate"]["cache"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
    };
    assert_eq!(submit("search", &[]).await, "miss");
    let kept = async || operator.json(&["cache", "stats"]).await["answers"].as_u64().unwrap();
    testkit::eventually("it is kept", Duration::from_secs(20), || async { (kept().await == 1).then_some(()) }).await;
    assert_eq!(submit("search", &[]).await, "hit");
    assert_eq!(submit("search", &["--cache", "bypass"]).await, "bypass");
    assert_eq!(submit("marketing", &["--cache", "use"]).await, "bypass", "it is off");

    let stats = async |team: &str| operator.json(&["cache", "stats", "--team", team]).await;
    let (search, marketing) = (stats("search").await, stats("marketing").await);
    assert_eq!((&search["answers"], &search["kept"][0]["team"]), (&1.into(), &"search".into()), "{search}");
    assert_eq!((&marketing["answers"], &marketing["kept"]), (&0.into(), &Value::Array(Vec::new())), "{marketing}");
    assert!(search.get("bytes").is_none() && operator.json(&["cache", "stats"]).await["bytes"].as_u64() > Some(0));

    assert_eq!(operator.run(&["cache", "purge"]).await.code, Some(2), "whose?");
    let other = operator.json(&["cache", "purge", "--team", "search", "--model", "big"]).await;
    assert_eq!((&other["answers"], kept().await), (&0.into(), 1));
    let purged = operator.json(&["cache", "purge", "--team", "search", "--reason", "a leak"]).await;
    assert_eq!((&purged["answers"], kept().await), (&1.into(), 0));
    let mut audit = operator.world.jetstream().await.get_stream("TOLLGATE_AUDIT").await.unwrap();
    let last = audit.info().await.unwrap().state.last_sequence;
    let entry: Value = serde_json::from_slice(&audit.get_raw_message(last).await.unwrap().payload).unwrap();
    assert_eq!((&entry["kind"], &entry["action"]), (&"cache".into(), &"cache purge".into()));
    assert_eq!((&entry["reason"], &entry["name"]), (&"a leak".into(), &"team search".into()));
    assert!(entry["author"].as_str().unwrap().starts_with("ann"), "{entry}");

    // A team that is made again under the name of one that was removed is another.
    assert_eq!(submit("search", &[]).await, "miss");
    testkit::eventually("it is kept", Duration::from_secs(20), || async { (kept().await == 1).then_some(()) }).await;
    assert_eq!(operator.json(&["team", "remove", "search"]).await["change"], "removed");
    assert_eq!(kept().await, 0);
    operator.json(&["team", "add", "search"]).await;
    assert_eq!(submit("search", &["--cache", "use"]).await, "miss");
}

#[tokio::test]
async fn models_are_listed_with_who_serves_them_and_priced() {
    let operator = Operator::new().await;
    operator.configure(
        "[providers.oa]\nprices_as = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\nregion = \"us\"\n\
         [models.fast]\nrouting = \"weighted\"\nfallbacks = [\"big\"]\n\
         deployments = [{ provider = \"oa\", model = \"gpt-4o-mini\", weight = 3, tags = [\"gpu\"] },\n\
         { provider = \"sim\", model = \"x\", region = \"eu\", price = { input = \"1\", output = \"2\" } }]",
    );
    let rows = operator.run(&["models", "list", "--output", "json"]).await.json();
    let fast: Vec<&Value> = rows.as_array().unwrap().iter().filter(|row| row["model"] == "fast").collect();
    assert_eq!(fast.len(), 2);
    assert_eq!((&fast[0]["provider"], &fast[0]["weight"], &fast[0]["region"]), (&"oa".into(), &3.into(), &"us".into()));
    assert_eq!((&fast[0]["context_tokens"], &fast[0]["input_usd_per_million"]), (&128_000.into(), &"$0.15".into()));
    assert_eq!((&fast[1]["region"], &fast[1]["fallbacks"][0]), (&"eu".into(), &"big".into()));
    let price =
        ["models", "price", "fast", "--prompt", "1000", "--cached", "500", "--answer", "200", "--output", "json"];
    let rows = operator.run(&price).await.json();
    // 500 * 0.15 + 500 * 0.075 + 200 * 0.6, and 1000 * 1 + 200 * 2, millionths of a dollar.
    assert_eq!((&rows[0]["call_usd"], &rows[1]["call_usd"]), (&"$0.0002325".into(), &"$0.0014".into()));
    let unknown = operator.run(&["models", "price", "gpt-9"]).await;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("nothing serves the model 'gpt-9'; there are: big, fast, mini"), "{}", unknown.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_user_is_forgotten_by_one_command_and_the_audit_does_not_name_her() {
    const USER: &str = "eve@example.com";
    let operator = Operator::new().await;
    let _settler = operator.world.settler("settler").await;
    let worker = operator.world.worker("w1", |_| {}).await;
    let producer = operator.world.producer("search").await;
    let line = World::line("a prompt", Some("tokens=5"), serde_json::json!({ "user": USER }));
    let id = producer.submit(Class::Standard, line, None).await.unwrap().id;
    operator.world.result(&producer, &id).await;

    let of_user = ["forget", "--team", "search", "--end-user", USER];
    let meant = operator.json(&[&of_user[..], &["--dry-run"]].concat()).await;
    assert_eq!(texts(&meant, "job"), [id.as_str()]);
    assert!(operator.world.result(&producer, &id).await.response.is_some(), "nothing was done");
    let done = operator.json(&[&of_user[..], &["--reason", "ticket 88"]].concat()).await;
    assert_eq!((&done["jobs"], &done["pending"]), (&1.into(), &0.into()), "{done}");
    let result = operator.world.result(&producer, &id).await;
    assert_eq!(result.error.unwrap().code, tollgate_types::ErrorCode::Forgotten);
    assert!(result.response.is_none());

    let audit = operator.world.jetstream().await.get_stream("TOLLGATE_AUDIT").await.unwrap();
    let entry = audit.get_last_raw_message_by_subject("tollgate.audit.forget.*").await.unwrap();
    let entry = String::from_utf8(entry.payload.to_vec()).unwrap();
    assert!(entry.contains("ticket 88") && entry.contains("1 job(s)") && !entry.contains("eve"), "{entry}");
    let explained = operator.run(&["job", "explain", "--team", "search", id.as_str()]).await;
    assert!(explained.out.contains("gone: somebody had the job forgotten"), "{}{}", explained.out, explained.err);
    let captured = operator.run(&["job", "captured", "--team", "search", id.as_str()]).await;
    assert_eq!(captured.code, Some(6), "{}", captured.err);
    let got = operator.run(&["job", "get", "--team", "search", id.as_str()]).await;
    assert!(got.out.contains("the job was forgotten"), "{}", got.out);
    // Nobody answers whoever would cancel: the time that was given is over first, and the request stays.
    let deaf = operator.world.broker("deaf").await;
    worker.drained().await;
    let _questions = deaf.client.subscribe("tollgate.api.search.cancel").await.unwrap();
    deaf.client.flush().await.unwrap();
    let since = std::time::Instant::now();
    let cut = operator.run(&["forget", "--team", "search", "--job", "search:unheard", "--timeout", "1s"]).await;
    assert_eq!(cut.code, Some(6), "{}", cut.err);
    assert!(cut.err.contains("the time was up") && since.elapsed() < Duration::from_secs(20), "{}", cut.err);
    let nobody = operator.run(&["forget", "--team", "search", "--end-user", "nobody"]).await;
    assert_eq!((nobody.code, nobody.err.contains("0 job(s)")), (Some(0), true), "{}", nobody.err);
}
