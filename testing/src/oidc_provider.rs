//! `oidc-provider` as a child process.

use std::{path::Path, process::Stdio};

use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use crate::{
    host::{self, PATIENCE},
    pki::Authority,
};

/// The identifier of the resource server under test.
pub const API: &str = "https://api.example.com";

/// A running authorization server. Dropping it kills the process.
pub struct OidcProvider {
    ready: Ready,
    http: reqwest::Client,
    _process: Child,
    _stdout: BufReader<ChildStdout>,
}

/// The line that the server prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    issuer: String,
    mtls: Option<String>,
    secret: String,
    client_key: String,
}

impl OidcProvider {
    /// Starts a server for one test. Returns `None` if it is not installed.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server that also listens with TLS and authenticates clients by certificates of
    /// `authority`.
    pub async fn start_with_tls(authority: &Authority) -> Option<Self> {
        let own = authority.server();
        let tls = json!({
            "key": own.key.serialize_pem(), "cert": own.certificate.pem(), "ca": authority.pem(),
        });
        Self::start_with(&[&tls.to_string()]).await
    }

    async fn start_with(args: &[&str]) -> Option<Self> {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/oidc-provider");
        if let Err(missing) = find(&home) {
            host::skip(missing);
            return None;
        }
        let starting = tokio::time::timeout(PATIENCE, Self::spawn(&home, args));
        Some(starting.await.expect("not ready"))
    }

    async fn spawn(home: &Path, args: &[&str]) -> Self {
        let mut process = Command::new("node")
            .arg("server.mjs")
            .args(args)
            .current_dir(home)
            // `_process` holds it open, so that the server ends with the test process, for any
            // reason.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).await.expect("stdout is readable");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!(
                "no ready line ({error}); run `node server.mjs` in {} to see why",
                home.display()
            )
        });
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let http = http.expect("a client can be built");
        Self { ready, http, _process: process, _stdout: stdout }
    }

    pub fn issuer(&self) -> &str {
        &self.ready.issuer
    }

    /// Returns the URL with TLS.
    pub fn mtls(&self) -> &str {
        self.ready.mtls.as_deref().expect("started with TLS")
    }

    /// The secret of all resource-server clients.
    pub fn secret(&self) -> &str {
        &self.ready.secret
    }

    /// The private key of the client `rs-private-key`, as PEM.
    pub fn client_key(&self) -> &[u8] {
        self.ready.client_key.as_bytes()
    }

    /// An access token for [`API`] with scope `read`: `opaque`, or a JWT of this algorithm.
    pub async fn token(&self, format: &str) -> String {
        self.token_for(&format!("{API}/{format}")).await
    }

    /// An access token for a resource.
    pub async fn token_for(&self, resource: &str) -> String {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
        }
        let form = format!("grant_type=client_credentials&scope=read&resource={resource}");
        let granted = self.post_as_svc("/token", form).await;
        serde_json::from_slice::<Granted>(&granted).expect("a token response").access_token
    }

    /// An access token of a user in the session `sid`, for [`API`]. The format is that of
    /// [`token`](Self::token).
    pub async fn user_token(&self, format: &str, sub: &str, sid: &str) -> String {
        #[derive(Deserialize)]
        struct Minted {
            access_token: String,
        }
        let query = format!("token?resource={API}/{format}&sub={sub}&sid={sid}");
        let minted = self.control(&query).await;
        serde_json::from_slice::<Minted>(&minted).expect("a token").access_token
    }

    /// Ends a session of a user, or all of them, and revokes the tokens. The logout token goes to
    /// `uri`, once.
    ///
    /// # Errors
    ///
    /// Returns the status of the response to the logout token, unless it is 200 or 204.
    pub async fn log_out(&self, uri: &str, sub: &str, sid: Option<&str>) -> Result<(), u16> {
        #[derive(Deserialize)]
        struct Ended {
            refused: Option<u16>,
        }
        let session = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let ended = self.control(&format!("logout?uri={uri}&sub={sub}{session}")).await;
        let Ended { refused } = serde_json::from_slice(&ended).expect("an outcome");
        refused.map_or(Ok(()), Err)
    }

    /// Revokes a token (RFC 7009).
    pub async fn revoke(&self, token: &str) {
        self.post_as_svc("/token/revocation", format!("token={token}")).await;
    }

    /// Makes new keys sign, while the old ones stay published.
    pub async fn add_keys(&self) {
        self.control("rotate?step=add").await;
    }

    /// Withdraws all keys but the newest.
    pub async fn drop_old_keys(&self) {
        self.control("rotate?step=drop").await;
    }

    /// Makes `endpoint` misbehave (`500`, `hang`, `plain`) or work again (`none`).
    pub async fn fault(&self, endpoint: &str, mode: &str) {
        self.control(&format!("fault?endpoint={endpoint}&mode={mode}")).await;
    }

    /// Returns the number of requests that `endpoint` has received.
    pub async fn requests(&self, endpoint: &str) -> u64 {
        let request = self.http.get(format!("{}/control/stats", self.issuer()));
        let stats: serde_json::Value =
            serde_json::from_slice(&body(request).await).expect("stats are JSON");
        stats[endpoint].as_u64().unwrap_or(0)
    }

    async fn post_as_svc(&self, path: &str, form: String) -> Vec<u8> {
        let request = self
            .http
            .post(format!("{}{path}", self.issuer()))
            .basic_auth("svc", Some("svc-secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        body(request).await
    }

    async fn control(&self, what: &str) -> Vec<u8> {
        body(self.http.post(format!("{}/control/{what}", self.issuer()))).await
    }
}

/// Returns an error that names a missing part of the installation.
fn find(home: &Path) -> Result<(), &'static str> {
    let package = home.join("node_modules/oidc-provider");
    if !host::has("node") {
        return Err("`node`");
    }
    if package.is_dir() { Ok(()) } else { Err("`oidc-provider` (npm ci)") }
}

async fn body(request: reqwest::RequestBuilder) -> Vec<u8> {
    let response = request.send().await.expect("the server answers");
    let status = response.status();
    let body = response.bytes().await.expect("the answer is complete");
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    body.to_vec()
}

#[tokio::test]
async fn server_mints_tokens_counts_requests_and_rotates_keys() {
    let Some(server) = OidcProvider::start().await else { return };
    assert_eq!(server.token("ES256").await.split('.').count(), 3);
    assert_eq!(server.token("opaque").await.split('.').count(), 1);
    assert_eq!(server.requests("token").await, 2);

    let before = server.token("ES256").await;
    server.add_keys().await;
    let after = server.token("ES256").await;
    assert_ne!(before.split('.').next(), after.split('.').next(), "the same kid");
}
