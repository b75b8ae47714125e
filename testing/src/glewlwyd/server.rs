//! Glewlwyd as a child process.

use std::process::Command;

use serde_json::{Value, json};

use super::setup;
use crate::{
    host::{self, Granted, PATIENCE, Process, ScratchDir},
    oidc_provider::API,
};

/// A running authorization server. Dropping it ends the process.
pub struct Glewlwyd {
    port: u16,
    http: reqwest::Client,
    process: Option<Process>,
    home: ScratchDir,
    session: String,
}

/// The schema in the Debian package, which is also installed without documentation.
const SCHEMA: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";

impl Glewlwyd {
    /// Starts a server for one test, which signs with the first of these keys. Returns `None` if it
    /// is not installed.
    pub async fn start(keys: &[&str]) -> Option<Self> {
        let programs = ["glewlwyd", "sqlite3", "setpriv"];
        if let Some(missing) = programs.into_iter().find(|program| !host::has(program)) {
            host::skip(&format!("`{missing}`"));
            return None;
        }
        let mut server = Self::new();
        server.run().await;
        server.session = setup::log_in(&server).await;
        setup::create_all(&server, keys).await;
        Some(server)
    }

    fn new() -> Self {
        let home = ScratchDir::new("glewlwyd");
        let database = home.path().join("db.sqlite");
        let schema = std::fs::File::open(SCHEMA).expect("Debian's package has the schema");
        let load = Command::new("sqlite3").arg(&database).stdin(schema).status();
        assert!(load.expect("sqlite3 starts").success(), "the schema is not loaded");

        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let http = http.expect("a client can be built");
        let server =
            Self { port: host::free_port(), http, process: None, home, session: String::new() };
        let config = setup::config(server.port, server.home.path(), &database);
        std::fs::write(server.config_file(), config).expect("the directory is writable");
        server
    }

    fn config_file(&self) -> std::path::PathBuf {
        self.home.path().join("glewlwyd.conf")
    }

    /// Starts the process, also again after [`stop`](Self::stop), with its data kept.
    pub async fn run(&mut self) {
        let mut command = Command::new("glewlwyd");
        command.arg(format!("--config-file={}", self.config_file().display()));
        let mut process = Process::start(&mut command);
        let url = format!("http://127.0.0.1:{}/config", self.port);
        process.is_ready(&command, &self.http, &url).await;
        self.process = Some(process);
    }

    /// Ends the process. Then nothing listens on its port.
    pub fn stop(&mut self) {
        self.process = None;
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}/api/oidc", self.port)
    }

    /// Signs with the first of these keys and publishes them all, and no other.
    pub async fn publish(&self, keys: &[&str]) {
        setup::publish(self, keys).await;
    }

    /// An access token for [`API`] with scope `read`.
    pub async fn token(&self) -> String {
        self.token_for(API).await
    }

    /// An access token for a resource.
    pub async fn token_for(&self, resource: &str) -> String {
        let form = [("scope", "read"), ("resource", resource)];
        self.granted("svc", "client_credentials", &form).await.access
    }

    /// An access token for no resource in particular.
    pub async fn token_of_scope(&self, client: &str, scope: &str) -> String {
        self.granted(client, "client_credentials", &[("scope", scope)]).await.access
    }

    /// Tokens of the user alice, with scope `openid read`. This grant has no resource parameter.
    pub async fn tokens_of_a_user(&self) -> Granted {
        let form =
            [("scope", "openid read"), ("username", "alice"), ("password", "alice-password")];
        let granted = self.granted("web", "password", &form).await;
        assert!(!granted.refresh.is_empty() && !granted.id.is_empty(), "all three tokens");
        granted
    }

    /// Revokes a token (RFC 7009).
    pub async fn revoke(&self, token: &str) {
        self.post_as("svc", "revoke", &[("token", token)]).await;
    }

    async fn granted(&self, client: &str, grant: &str, form: &[(&str, &str)]) -> Granted {
        let mut all = vec![("grant_type", grant)];
        all.extend(form);
        Granted::read(&self.post_as(client, "token", &all).await)
    }

    async fn post_as(&self, client: &str, endpoint: &str, form: &[(&str, &str)]) -> Vec<u8> {
        host::post(&self.http, &format!("{}/{endpoint}", self.issuer()), client, form).await
    }

    /// Sends a request to the administration, which must succeed. Returns the session cookie that
    /// it sets, if any.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &Value) -> Option<String> {
        let method = method.parse().expect("a method");
        let request = self
            .http
            .request(method, format!("http://127.0.0.1:{}/api{path}", self.port))
            .header("content-type", "application/json")
            .header("cookie", &self.session)
            .body(if *body == json!(null) { String::new() } else { body.to_string() });
        host::answer(request).await.0
    }
}
