//! An operator, an account and a user as NATS' own tool would make them: JSON Web Tokens that are signed by NKeys.
//!
//! <https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt>

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

pub(super) struct Realm {
    operator: KeyPair,
    account: KeyPair,
    user: KeyPair,
}

impl Realm {
    pub(super) fn new() -> Self {
        Realm { operator: KeyPair::new_operator(), account: KeyPair::new_account(), user: KeyPair::new_user() }
    }

    /// A server that knows the operator and, by heart, the account.
    pub(super) fn server_config(&self) -> String {
        let operator = token(&self.operator, &self.operator, json!({ "type": "operator", "version": 2 }));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1
        });
        let claims = json!({ "type": "account", "version": 2, "limits": limits });
        let account = token(&self.account, &self.operator, claims);
        let name = self.account.public_key();
        format!("operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {name}: {account} }}")
    }

    /// The user's file, of which we may show nothing.
    pub(super) fn user_creds(&self) -> String {
        let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let token = token(&self.user, &self.account, claims);
        let seed = self.user.seed().expect("it has one");
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// What `issuer` says about `subject`.
fn token(subject: &KeyPair, issuer: &KeyPair, claims: Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let body = part(&json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "name": "test",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
    }));
    let signed = format!("{header}.{body}");
    let signature = issuer.sign(signed.as_bytes()).expect("it has its seed");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
