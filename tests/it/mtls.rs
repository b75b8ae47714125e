//! Tokens bound to a client certificate (RFC 8705 §3), of the connection or from a proxy (RFC
//! 9440).

mod binding;
mod client;
mod field;
mod proxy;
mod tls;

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower_introspect::{
    ClientAuth, ErrorKind, Issuer, Policy, ResourceServer,
    proof::{CertificateField, Mtls, PeerCertificate},
    test_util::{AuthorizationServer, Client},
};

use crate::support::{AUDIENCE, FixedClock, ISSUER, PATIENCE, ask, policy, refusal, request};

const UNPROVEN: Result<(), ErrorKind> = Err(ErrorKind::UnprovenPossession);

/// The address of a peer, as a server adds it to a request.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

/// A real certificate for a name.
struct Certificate {
    der: Vec<u8>,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self { der: made.cert.der().to_vec() }
    }

    fn peer(&self) -> PeerCertificate {
        PeerCertificate::from_der(&self.der).unwrap()
    }

    fn cnf(&self) -> Value {
        json!({"x5t#S256": self.peer().thumbprint()})
    }

    /// The value of `Client-Cert`.
    fn field(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!(":{}:", STANDARD.encode(&self.der))
    }
}

/// An authorization server and a resource server.
struct World {
    server: AuthorizationServer,
    api: ResourceServer,
}

impl World {
    fn new() -> Self {
        Self::with(Mtls::new())
    }

    fn with(mtls: Mtls) -> Self {
        Self::under(|policy| policy.mtls(mtls))
    }

    fn under(policy: impl FnOnce(Policy) -> Policy) -> Self {
        let server = AuthorizationServer::new(ISSUER)
            .with_clock(FixedClock)
            .with_client(Client::new("api", "s3cret"));
        let api = ResourceServer::builder(AUDIENCE)
            .clock(FixedClock)
            .issuer(Issuer::hybrid(ISSUER, ClientAuth::basic("api", "s3cret")))
            .transport(server.transport())
            .policy(policy)
            .build()
            .unwrap();
        Self { server, api }
    }

    /// A JWT and an introspected token with this `cnf`.
    fn tokens(&self, cnf: &Value) -> [String; 2] {
        [
            self.server.jwt().audience(AUDIENCE).claim("cnf", cnf.clone()).mint(),
            self.server.opaque().audience(AUDIENCE).claim("cnf", cnf.clone()).mint(),
        ]
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        ask(&self.api.layer(), request).await
    }

    async fn outcome(&self, request: Request<Bytes>) -> Result<(), ErrorKind> {
        let response = self.send(request).await;
        refusal(&response).map_or(Ok(()), Err)
    }

    /// Returns the outcome of a token over a connection with this certificate.
    async fn outcome_over(
        &self,
        token: &str,
        shown: Option<&Certificate>,
    ) -> Result<(), ErrorKind> {
        let mut request = bearer(token, &[]);
        if let Some(shown) = shown {
            request.extensions_mut().insert(shown.peer());
        }
        self.outcome(request).await
    }
}

fn bearer(token: &str, fields: &[(&str, &str)]) -> Request<Bytes> {
    let authorization = format!("Bearer {token}");
    let mut all = vec![("authorization", authorization.as_str())];
    all.extend_from_slice(fields);
    request(&all)
}

/// A request from a peer at this address.
fn request_from(peer: &str, token: &str, fields: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = bearer(token, fields);
    request.extensions_mut().insert(Peer(peer.parse().unwrap()));
    request
}

const PROXY: &str = "10.1.2.3";
const STRANGER: &str = "10.1.3.3";

/// Settings that trust `PROXY` for this field.
fn trusting_proxy(field: CertificateField) -> Mtls {
    let peer =
        |head: tower_introspect::credentials::RequestHead<'_>| Some(head.extension::<Peer>()?.0);
    Mtls::new().trust_proxy(field, ["10.1.2.0/24"], peer).unwrap()
}
