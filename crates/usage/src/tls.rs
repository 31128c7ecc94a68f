//! The HTTP client below ClickHouse's own: which authorities it trusts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clickhouse::Client;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// As in the `clickhouse` crate: a peer that went away without a word is noticed some day.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// As in the `clickhouse` crate: the server closes an idle connection after three seconds.
const POOL_IDLE_MAX: Duration = Duration::from_secs(2);

/// Why a file holds no authority that can be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("{0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("it holds no certificate")]
    Empty,
    #[error("{0}")]
    Certificate(#[from] rustls::Error),
}

/// A client that trusts the system's authorities and, if given, those in a PEM file.
///
/// The `clickhouse` crate's default client cannot be given any, and panics on a system without authorities, which a
/// bare container is.
pub(crate) fn client(own: Option<&Path>) -> Result<Client, AuthorityError> {
    let mut roots = RootCertStore::empty();
    // What the system holds and cannot be read is not ours to mend; a server that needs it is refused by name.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = own {
        trust(&mut roots, path)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let connector = connector.wrap_connector(tcp);
    let http = HttpClient::builder(TokioExecutor::new()).pool_idle_timeout(POOL_IDLE_MAX).build(connector);
    Ok(Client::with_http_client(http))
}

fn trust(roots: &mut RootCertStore, path: &Path) -> Result<(), AuthorityError> {
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
        found = true;
    }
    if found { Ok(()) } else { Err(AuthorityError::Empty) }
}
