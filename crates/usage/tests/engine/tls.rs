//! ClickHouse behind TLS: a proxy in front of the engine ends it, with a certificate of a private authority.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tollgate_usage::{ClickHouseConfig, Fault, Schema, Store, StoreError};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("it signs itself")
}

/// A proxy that ends TLS for 127.0.0.1 and hands everything on. Dropped with the runtime.
async fn proxy(authority: &Authority, engine: SocketAddr) -> SocketAddr {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("it is signed");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the key is the certificate's");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us hangs up here.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut engine = TcpStream::connect(engine).await.expect("the engine listens");
                let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
            });
        }
    });
    addr
}

fn pem(dir: &tempfile::TempDir, name: &str, authority: &Authority) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, authority.pem()).expect("written");
    path
}

fn store(url: &str, tls_ca: Option<PathBuf>) -> Store {
    let config = ClickHouseConfig { database: "tls_case".into(), tls_ca, ..ClickHouseConfig::new(url) };
    Store::new(config).expect("the configuration is sound")
}

pub(super) async fn a_private_authority_is_trusted_when_it_is_named(engine: SocketAddr) {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, stranger) = (authority("ours"), authority("stranger"));
    let addr = proxy(&ours, engine).await;
    let url = format!("https://{addr}");

    let trusting = store(&url, Some(pem(&dir, "ca.pem", &ours)));
    let applied = Schema::apply(&trusting).await.expect("the schema goes through the proxy");
    assert_eq!(applied, usize::try_from(Schema::VERSION).expect("few files"));
    assert_eq!(trusting.schema_version().await.expect("an answer"), Some(Schema::VERSION));
    let row = super::batch(&[super::event(super::EventKind::Result, "tls", vec![])], super::AT);
    trusting.insert(&row, "tls:1-1").await.expect("a compressed insert goes through the proxy");
    assert_eq!(trusting.books().await.expect("the books").rows, row.len() as u64);

    for (case, ca) in [("no authority", None), ("a stranger", Some(pem(&dir, "stranger.pem", &stranger)))] {
        let refused = store(&url, ca).ping().await.expect_err(case);
        assert_eq!(refused.fault(), Fault::Transient, "{case}");
        assert!(in_words(&refused).contains("UnknownIssuer"), "{case}: {}", in_words(&refused));
    }
}

fn in_words(error: &StoreError) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        words = format!("{words}: {source}");
        cause = source.source();
    }
    words
}
