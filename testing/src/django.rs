//! The Django project next to this file, as a child process.

use std::{path::Path, process::Command};

use crate::host::{self, Granted, PATIENCE, Process, ScratchDir, Stopped};

/// A running authorization server. Dropping it ends the process.
pub struct Django {
    port: u16,
    http: reqwest::Client,
    process: Option<Process>,
    home: ScratchDir,
}

impl Django {
    /// Starts a server for one test. Returns `None` if it is not installed.
    pub async fn start() -> Option<Self> {
        if !host::has("setpriv") {
            host::skip("`setpriv`");
            return None;
        }
        if !directory().join(".venv/bin/gunicorn").is_file() {
            host::skip("`django-oauth-toolkit` (tests/interop/django/.venv)");
            return None;
        }
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let http = http.expect("a client can be built");
        let mut server =
            Self { port: host::free_port(), http, process: None, home: ScratchDir::new("django") };
        server.run().await;
        Some(server)
    }

    /// Starts the process, also again after [`stop`](Self::stop), with its data kept.
    pub async fn run(&mut self) {
        let mut command = Command::new(directory().join(".venv/bin/python"));
        command.arg("app.py").arg(self.home.path()).arg(self.port.to_string());
        command.current_dir(directory());
        let mut process = Process::start(&mut command);
        let url = format!("http://127.0.0.1:{}/.well-known/oauth-authorization-server", self.port);
        process.is_ready(&command, &self.http, &url).await;
        self.process = Some(process);
    }

    /// Suspends the process, so that it accepts connections and sends no response.
    pub fn hang(&self) -> Stopped<'_> {
        self.process.as_ref().expect("not running").stop()
    }

    /// Ends the process. Then nothing listens on its port.
    pub fn stop(&mut self) {
        self.process = None;
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}/o", self.port)
    }

    /// An access token with scope `read`, for no resource in particular.
    pub async fn token(&self) -> String {
        self.granted("svc", &[("grant_type", "client_credentials"), ("scope", "read")]).await.access
    }

    /// An access token with scope `read` for a resource.
    pub async fn token_for(&self, resource: &str) -> String {
        let form =
            [("grant_type", "client_credentials"), ("scope", "read"), ("resource", resource)];
        self.granted("svc", &form).await.access
    }

    /// Tokens of the user alice.
    pub async fn tokens_of_a_user(&self) -> Granted {
        let form = [
            ("grant_type", "password"),
            ("scope", "read"),
            ("username", "alice"),
            ("password", "alice-password"),
        ];
        let granted = self.granted("web", &form).await;
        assert!(!granted.refresh.is_empty(), "a refresh token, too");
        granted
    }

    /// Revokes a token (RFC 7009).
    pub async fn revoke(&self, token: &str) {
        host::post(
            &self.http,
            &format!("{}/revoke_token/", self.issuer()),
            "svc",
            &[("token", token)],
        )
        .await;
    }

    async fn granted(&self, client: &str, form: &[(&str, &str)]) -> Granted {
        let url = format!("{}/token/", self.issuer());
        Granted::read(&host::post(&self.http, &url, client, form).await)
    }
}

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/django")
}
