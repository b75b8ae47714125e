//! An authorization server with mutual TLS, as far as this example needs it.
//!
//! It has two ports (RFC 8705 §5): one for everyone, so that no browser is asked for a certificate,
//! and one whose TLS requires a certificate. Its metadata names the second as the alias of the
//! first.

use std::{collections::HashMap, error::Error, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::net::TcpListener;
use tower_introspect::{
    proof::PeerCertificate,
    test_util::{AuthorizationServer, Client, Endpoint, Listening},
};

use crate::{
    pki::{Clients, Pki},
    tls::{Connection, TlsListener},
};

/// The maximum length of a request body.
const MAX_BODY: usize = 64 * 1024;

pub(crate) struct Authority {
    pub(crate) server: AuthorizationServer,
    /// The URL of the introspection endpoint for clients with a certificate.
    pub(crate) alias: String,
}

/// The state behind both ports.
struct Front {
    clients: HashMap<String, PeerCertificate>,
    introspection: String,
    inside: Listening,
    http: reqwest::Client,
}

impl Authority {
    /// Starts the server. It authenticates each client by its certificate.
    pub(crate) async fn start(
        pki: &Pki,
        clients: HashMap<String, PeerCertificate>,
    ) -> Result<Self, Box<dyn Error>> {
        let (everyone, issuer) = bind().await?;
        let (certified, alias) = bind().await?;
        let server = AuthorizationServer::new(&issuer);
        for id in clients.keys() {
            server.register(Client::mtls(id));
        }
        let url = server.url(Endpoint::Introspection);
        let introspection = url.strip_prefix(&issuer).ok_or("an endpoint elsewhere")?.to_owned();
        let alias = format!("{alias}{introspection}");
        server.set_metadata("mtls_endpoint_aliases", json!({ "introspection_endpoint": alias }));
        server.set_metadata(
            "introspection_endpoint_auth_methods_supported",
            json!(["tls_client_auth"]),
        );
        server.set_metadata("tls_client_certificate_bound_access_tokens", true);

        let inside = server.listen().await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let front = Arc::new(Front { clients, introspection, inside, http });
        let app = Router::new().fallback(answer).with_state(front);
        let app = app.into_make_service_with_connect_info::<Connection>();
        for (tcp, clients) in [(everyone, Clients::NotAsked), (certified, Clients::Demanded)] {
            let listener = TlsListener::new(tcp, pki.server(clients)?)?;
            let app = app.clone();
            tokio::spawn(async move { axum::serve(listener, app).await });
        }
        Ok(Self { server, alias })
    }
}

async fn bind() -> Result<(TcpListener, String), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    Ok((listener, url))
}

/// Handles a request. An introspection request must come from the client that it names.
async fn answer(
    State(front): State<Arc<Front>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Result<Response, StatusCode> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await;
    let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    if head.uri.path() == front.introspection && !front.is_known(&body, connection) {
        let body = axum::Json(json!({ "error": "invalid_client" }));
        return Ok((StatusCode::UNAUTHORIZED, body).into_response());
    }
    let url = front.inside.url(head.uri.path());
    let mut asked = front.http.request(head.method, url).body(body);
    for name in ["accept", "content-type"] {
        if let Some(value) = head.headers.get(name) {
            asked = asked.header(name, value);
        }
    }
    let answer = asked.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
    let body = answer.bytes().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let mut response = (status, body).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    Ok(response)
}

impl Front {
    /// Returns true if the connection has the certificate of the client that the form names (RFC
    /// 8705 §2).
    fn is_known(&self, form: &Bytes, connection: Connection) -> bool {
        let form = String::from_utf8_lossy(form);
        // The identifiers of these clients need no decoding.
        let mut named = form.split('&').filter_map(|pair| pair.strip_prefix("client_id="));
        let (Some(id), None) = (named.next(), named.next()) else { return false };
        let expected = self.clients.get(id);
        expected.is_some() && connection.certificate.as_ref() == expected
    }
}
