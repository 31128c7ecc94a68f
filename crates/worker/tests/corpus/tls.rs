//! 54: certificates that do not hold, from an authority that is trusted.
//!
//! Which authorities are trusted is for the system to say, and it says so to a process as it starts: so the rows run in
//! a process of their own, which is told to trust ours.

use std::process::Stdio;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::bench::check;
use crate::row::Paid::{Nothing, Told};
use crate::row::{At, row};
use crate::server::Raw;

/// The variable that names the ports of the servers: the good one's, the expired one's, the other host's.
const PORTS: &str = "TOLLGATE_CORPUS_TLS_PORTS";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("it signs itself")
}

/// A provider with a certificate of the authority for this name, valid before this year.
async fn provider(authority: &Authority, name: &str, before: i32) -> Raw {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(before, 1, 1));
    let certificate = params.signed_by(&key, authority).expect("it is signed").der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    Raw::under_tls(TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_certificate_does_not_hold_hears_no_word_of_a_request() {
    tollgate_providers::install_crypto();
    let authority = authority();
    let dir = tempfile::tempdir().expect("a directory");
    let trusted = dir.path().join("ca.pem");
    std::fs::write(&trusted, authority.pem()).expect("written");
    let good = provider(&authority, "127.0.0.1", 2100).await;
    let expired = provider(&authority, "127.0.0.1", 2021).await;
    let other = provider(&authority, "api.example.org", 2100).await;
    let ports = [&good, &expired, &other].map(|server| server.port().to_string()).join(",");

    let mut rows = tokio::process::Command::new(std::env::current_exe().expect("this test's own file"));
    rows.args(["--exact", "tls::rows_under_our_authority", "--ignored", "--nocapture"]);
    rows.env("SSL_CERT_FILE", &trusted).env_remove("SSL_CERT_DIR").env(PORTS, ports).kill_on_drop(true);
    let output = rows.stdin(Stdio::null()).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!((good.connections(), good.requests().len()), (1, 1));
    for server in [&expired, &other] {
        assert_eq!((server.connections(), server.requests().len()), (2, 0), "54: tried once more, and told nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of its neighbour, in a process that trusts its authority"]
async fn rows_under_our_authority() {
    #[allow(clippy::disallowed_methods, reason = "a test that is told its servers' ports")]
    let ports = std::env::var(PORTS).expect("the neighbour sets it");
    let at = |n: usize| At::Address(format!("https://127.0.0.1:{}/v1", ports.split(',').nth(n).expect("a port")));
    check(vec![
        row(54, "a certificate that holds", at(0)),
        row(54, "an expired certificate", at(1)).backup().tries([Nothing, Nothing, Told]),
        row(54, "a certificate of another host", at(2)).backup().tries([Nothing, Nothing, Told]),
    ])
    .await;
}
