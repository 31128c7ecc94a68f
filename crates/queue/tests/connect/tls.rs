//! TLS with an authority of our own, one way and both ways.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;
use tollgate_queue::connect::NatsConfig;

use super::server::Server;
use super::{refused, works};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("it signs itself")
}

/// A certificate and its key, as PEM.
fn signed(authority: &Authority, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.extended_key_usages = vec![purpose];
    (params.signed_by(&key, authority).expect("it is signed").pem(), key.serialize_pem())
}

/// A server under TLS; with `verify` it wants a certificate of its clients, too.
async fn server(authority: &Authority, verify: bool) -> Server {
    let dir: TempDir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let (certificate, key) = signed(authority, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    for (name, text) in [("ca.pem", authority.pem()), ("cert.pem", certificate), ("key.pem", key)] {
        std::fs::write(path(name), text).expect("written");
    }
    let both = if verify { format!("ca_file: {:?}, verify: true", path("ca.pem")) } else { String::new() };
    let config = format!("tls {{ cert_file: {:?}, key_file: {:?}, {both} }}", path("cert.pem"), path("key.pem"));
    Server::start_in(dir, &config).await
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named() {
    let (ours, stranger) = (authority("ours"), authority("stranger"));
    let server = server(&ours, false).await;
    let config = |tls_ca| NatsConfig { url: server.url(), tls_ca, ..NatsConfig::default() };
    let named = config(Some(server.file("ours.pem", &ours.pem())));
    let connection = works(&named).await;
    assert!(connection.client.server_info().tls_required);
    works(&NatsConfig { tls_required: true, url: server.url().replace("nats://", "tls://"), ..named }).await;

    for tls_ca in [None, Some(server.file("stranger.pem", &stranger.pem()))] {
        let said = refused(&config(tls_ca)).await;
        assert!(said.starts_with("no TLS with NATS at ") && said.contains("UnknownIssuer"), "{said}");
    }
    let said = refused(&config(Some("/nonexistent/ca.pem".into()))).await;
    assert!(said.contains("No such file"), "{said}");
    let said = refused(&config(Some(server.file("empty.pem", "no certificate")))).await;
    assert!(said.contains("TLS") || said.contains("certificate"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let server = Server::start("").await;
    let said = refused(&NatsConfig { url: server.url(), tls_required: true, ..NatsConfig::default() }).await;
    assert!(said.starts_with("no TLS with NATS at "), "{said}");
}

#[tokio::test]
async fn our_own_certificate_is_shown_to_a_server_that_wants_one() {
    let (ours, stranger) = (authority("ours"), authority("stranger"));
    let server = server(&ours, true).await;
    let bare = || NatsConfig {
        url: server.url(),
        tls_ca: Some(server.file("ours.pem", &ours.pem())),
        ..NatsConfig::default()
    };
    let with = |name: &str, authority: &Authority| {
        let (certificate, key) = signed(authority, "client", ExtendedKeyUsagePurpose::ClientAuth);
        NatsConfig {
            tls_cert: Some(server.file(&format!("{name}.pem"), &certificate)),
            tls_key: Some(server.file(&format!("{name}.key"), &key)),
            ..bare()
        }
    };
    works(&with("mine", &ours)).await;
    for config in [bare(), with("stranger", &stranger)] {
        let said = refused(&config).await;
        assert!(said.starts_with("no TLS with NATS at ") && said.contains("alert"), "{said}");
    }
    let half = NatsConfig { tls_key: None, ..with("half", &ours) };
    assert_eq!(refused(&half).await, "tls_cert and tls_key must be given together");
}
