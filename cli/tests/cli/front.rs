//! Authorization servers with and without TLS, and screens without the values that vary.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tower_introspect::test_util::{AuthorizationServer, Client, Listening};

use crate::run::{Ran, file};

/// An authorization server with the certificate `tls/NAME.pem`. Dropping it stops the server.
pub(crate) struct Front {
    pub(crate) server: AuthorizationServer,
    _listening: Listening,
    task: tokio::task::AbortHandle,
}

impl Front {
    pub(crate) async fn start(certificate: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = AuthorizationServer::new(format!("https://localhost:{port}"))
            .with_client(Client::new("api", "s3cret"));
        let behind = server.listen().await.unwrap();
        let acceptor = acceptor(certificate);
        let address = behind.address();
        let accepting = async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(address).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        };
        let task = tokio::spawn(accepting).abort_handle();
        Self { server, _listening: behind, task }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(certificate: &str) -> TlsAcceptor {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/tls");
    let certificate = CertificateDer::from_pem_file(format!("{place}/{certificate}.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{place}/test-only-key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The certificate of the authority of all certificates.
pub(crate) const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/tls/ca.pem");

/// Starts a server without TLS.
pub(crate) async fn plain() -> (AuthorizationServer, Listening) {
    let (server, listening) = AuthorizationServer::on_loopback().await.unwrap();
    (server.with_client(Client::new("api", "s3cret")), listening)
}

/// Removes the RSA keys, whose private keys are published in the test kit.
pub(crate) fn without_known_keys(server: &AuthorizationServer) {
    for key in server.jwks()["keys"].as_array().unwrap() {
        if key["kty"] == "RSA" {
            server.remove_key(key["kid"].as_str().unwrap());
        }
    }
}

/// Writes a configuration for one issuer, and returns the path of the file.
pub(crate) fn config(name: &str, issuer: &str, more: &str) -> String {
    let secret = file(&format!("{name}.secret"), "s3cret\n");
    let loopback =
        if issuer.starts_with("http:") { "danger_allow_http_loopback = true\n" } else { "" };
    let asks = more.contains("hybrid") || more.contains("introspect");
    let patience = if asks { "timeout_seconds = 120\n" } else { "" };
    let text = format!(
        "audience = \"https://api.example.com\"\n{loopback}\n[[issuer]]\nissuer = \"{issuer}\"\n\
         client = {{ method = \"basic\", id = \"api\", secret_file = \"{secret}\" }}\n{patience}{more}"
    );
    file(&format!("{name}.toml"), text)
}

impl Ran {
    /// Replaces values that differ from run to run: ports, durations and times.
    pub(crate) fn steady(self, server: &AuthorizationServer) -> Self {
        let steady = |text: String| {
            let authority = server.issuer().split("://").nth(1).unwrap();
            let text = text.replace(server.issuer(), "https://as.example.com");
            let text = text.replace(authority, "as.example.com").replace(CA, "ca.pem");
            let slow = text.contains(SLOW);
            // The latency of today. A test of the program itself covers a slow one.
            let lines = text.lines().filter(|line| !line.ends_with(SLOW)).map(|line| {
                let line = without_numbers(line, " ms");
                let line = if slow { one_less(&line) } else { line };
                // The header of a response.
                let date = line.trim_start().starts_with("date ") && line.contains(" GMT");
                // The claim of a signed response.
                let iat = line.starts_with("    iat: ");
                if date {
                    "  date            (now)".to_owned()
                } else if iat {
                    "    iat: (now)".to_owned()
                } else {
                    line
                }
            });
            lines.map(|line| line + "\n").collect()
        };
        Self { code: self.code, out: steady(self.out), err: steady(self.err) }
    }
}

/// The end of the finding about an introspection that takes longer than a quarter of a second.
const SLOW: &str = ": each request with a token that is not cached waits that long";

/// Returns an outcome with one warning less, and any other line as it is.
fn one_less(line: &str) -> String {
    let counts = line.trim_end_matches("warnings").trim_end_matches("warning");
    let Some((rest, count)) = counts.trim_end().rsplit_once("not known, ") else {
        return line.to_owned();
    };
    let count = count.parse::<usize>().unwrap() - 1;
    let plural = if count == 1 { "" } else { "s" };
    format!("{rest}not known, {count} warning{plural}")
}

/// Replaces the numbers before a unit by `N`.
fn without_numbers(line: &str, unit: &str) -> String {
    let mut parts: Vec<_> = line.split(unit).map(str::to_owned).collect();
    let last = parts.pop().unwrap_or_default();
    for part in &mut parts {
        let digits = part.chars().rev().take_while(char::is_ascii_digit).count();
        if digits > 0 {
            part.truncate(part.len() - digits);
            part.push('N');
        }
    }
    parts.push(last);
    parts.join(unit)
}
