//! Every way to prove who we are to a real nats-server, what is said when it does not take it, and how a connection
//! comes back.

mod jwt;
mod server;
mod tls;

use std::error::Error;
use std::time::Duration;

use nkeys::KeyPair;
use secrecy::SecretString;
use server::Server;
use tollgate_queue::connect::{ConnectFailure, Connection, NatsConfig};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(30);

/// Connects and proves that it is more than a greeting: a message comes back.
async fn works(config: &NatsConfig) -> Connection {
    let connection = Connection::open(config, "test").await.unwrap_or_else(|error| panic!("{}", in_words(&error)));
    round_trip(&connection).await;
    connection
}

async fn round_trip(connection: &Connection) {
    use futures_util::StreamExt as _;
    let subject = connection.client.new_inbox();
    let mut replies = connection.client.subscribe(subject.clone()).await.expect("it subscribes");
    connection.client.publish(subject, "hello".into()).await.expect("it publishes");
    let reply = tokio::time::timeout(DEADLINE, replies.next()).await.expect("in time");
    assert_eq!(reply.expect("a message").payload, "hello");
}

/// What is said about a connection that is refused.
async fn refused(config: &NatsConfig) -> String {
    match tokio::time::timeout(DEADLINE, Connection::open(config, "test")).await.expect("in time") {
        Ok(_) => panic!("it connected"),
        Err(error) => in_words(&error),
    }
}

/// An error with its causes, as the program shows it.
fn in_words(error: &ConnectFailure) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        words = format!("{words}: {source}");
        cause = source.source();
    }
    words
}

fn secret(text: &str) -> Option<SecretString> {
    Some(text.to_owned().into())
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_repeated() {
    let server = Server::start(r#"authorization { user: ada, password: "open-sesame" }"#).await;
    let with = |password: &str| NatsConfig {
        url: server.url(),
        user: Some("ada".to_owned()),
        password: secret(password),
        ..NatsConfig::default()
    };
    works(&with("open-sesame")).await;
    let said = refused(&with("hunter2")).await;
    assert!(said.contains("authorization violation") && said.contains(&server.url()), "{said}");
    assert!(!said.contains("hunter2"), "{said}");

    // A password in the URL is one too.
    let in_url = |password: &str| NatsConfig {
        url: server.url().replace("://", &format!("://ada:{password}@")),
        ..NatsConfig::default()
    };
    works(&in_url("open%2Dsesame")).await;
    let said = refused(&in_url("hunter2")).await;
    assert!(said.contains("authorization violation") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_token_is_enough_where_the_server_wants_one() {
    let server = Server::start(r#"authorization { token: "s3cr3t" }"#).await;
    let with = |token: &str| NatsConfig { url: server.url(), token: secret(token), ..NatsConfig::default() };
    works(&with("s3cr3t")).await;
    let said = refused(&with("hunter2")).await;
    assert!(said.contains("authorization violation") && !said.contains("hunter2"), "{said}");
    works(&NatsConfig { url: server.url().replace("://", "://s3cr3t@"), ..NatsConfig::default() }).await;
    let said = refused(&NatsConfig { url: server.url(), ..NatsConfig::default() }).await;
    assert!(said.contains("authorization violation"), "{said}");
}

#[tokio::test]
async fn an_nkey_proves_itself_by_a_signature() {
    let (known, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let server = Server::start(&format!("authorization {{ users: [{{ nkey: {} }}] }}", known.public_key())).await;
    let with = |name: &str, text: String| NatsConfig {
        url: server.url(),
        nkey: Some(server.file(name, &text)),
        ..NatsConfig::default()
    };
    // A file usually ends with a newline.
    let seed = |pair: &KeyPair| format!("{}\n", pair.seed().expect("it has one"));
    works(&with("known.nk", seed(&known))).await;
    let said = refused(&with("stranger.nk", seed(&stranger))).await;
    assert!(said.contains("authorization violation"), "{said}");
    let said = refused(&with("broken.nk", "SUAnonsense".to_owned())).await;
    assert!(!said.contains("SUAnonsense"), "{said}");

    let absent = NatsConfig { url: server.url(), nkey: Some("/nonexistent/x.nk".into()), ..NatsConfig::default() };
    let said = refused(&absent).await;
    assert!(said.starts_with("cannot read /nonexistent/x.nk: "), "{said}");
}

#[tokio::test]
async fn a_credentials_file_is_taken_by_a_server_in_operator_mode() {
    let realm = jwt::Realm::new();
    let server = Server::start(&realm.server_config()).await;
    let with = |name: &str, text: String| NatsConfig {
        url: server.url(),
        creds: Some(server.file(name, &text)),
        ..NatsConfig::default()
    };
    works(&with("ours.creds", realm.user_creds())).await;
    let said = refused(&with("stranger.creds", jwt::Realm::new().user_creds())).await;
    assert!(said.contains("authorization violation"), "{said}");
    let said = refused(&with("empty.creds", "nothing\n".to_owned())).await;
    assert!(said.contains("empty.creds"), "{said}");
}

#[tokio::test]
async fn a_connection_comes_back_after_its_server_was_killed() {
    let mut server = Server::start("").await;
    let connection = works(&NatsConfig { url: server.url(), ..NatsConfig::default() }).await;
    let mut health = connection.health();
    assert_eq!((health.borrow().connected, health.borrow().losses), (true, 0));
    for losses in 1..=2 {
        server.kill9();
        let lost = health.wait_for(|health| !health.connected && health.losses == losses);
        tokio::time::timeout(DEADLINE, lost).await.expect("the loss is noticed").expect("the connection lives");
        server.restart().await;
        let back = health.wait_for(|health| health.connected);
        tokio::time::timeout(DEADLINE, back).await.expect("it comes back").expect("the connection lives");
        round_trip(&connection).await;
        assert_eq!(connection.health().borrow().losses, losses);
    }
}
