//! Authentication of this service to an authorization server by its certificate (RFC 8705 §2), over
//! real TLS.

use std::{path::PathBuf, sync::Arc};

use rcgen::ExtendedKeyUsagePurpose;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, server::WebPkiClientVerifier},
};
use tower_introspect::{
    config::Config,
    test_util::{Endpoint, Listening},
};

use super::*;
use testing::pki::{Authority, Signed, provider};

/// An authorization server behind TLS: one port for all clients, another for clients with a
/// certificate.
struct TlsServer {
    server: AuthorizationServer,
    authority: Authority,
    home: PathBuf,
    _inside: Listening,
}

async fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("https://localhost:{port}"))
}

/// Terminates TLS and forwards the contents.
fn end_tls(listener: TcpListener, config: ServerConfig, inside: std::net::SocketAddr) {
    let tls = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut outer) = tls.accept(tcp).await else { return };
                let mut inner = TcpStream::connect(inside).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
}

impl TlsServer {
    async fn new(name: &str) -> Self {
        let authority = Authority::new();
        let (everyone, issuer) = bind().await;
        let (certified, alias) = bind().await;
        let server = AuthorizationServer::new(&issuer).with_client(Client::mtls("api"));
        let path = server.url(Endpoint::Introspection);
        let path = path.strip_prefix(&issuer).unwrap();
        let aliases = json!({"introspection_endpoint": format!("{alias}{path}")});
        server.set_metadata("mtls_endpoint_aliases", aliases);

        let inside = server.listen().await.unwrap();
        let builder = || {
            ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
        };
        let own = authority.server();
        let open = builder().with_no_client_auth().with_single_cert(own.chain(), own.key());
        end_tls(everyone, open.unwrap(), inside.address());
        let clients = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider());
        let closed = builder()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(own.chain(), own.key());
        end_tls(certified, closed.unwrap(), inside.address());

        let home = format!("introspect-mtls-{name}-{}", std::process::id());
        let home = std::env::temp_dir().join(home);
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("ca.pem"), authority.pem()).unwrap();
        Self { server, authority, home, _inside: inside }
    }

    /// Writes this certificate to the file of the service.
    fn put(&self, own: &Signed) {
        let pem = own.certificate.pem() + &own.key.serialize_pem();
        std::fs::write(self.home.join("own.pem"), pem).unwrap();
    }

    /// Returns a service whose settings name this certificate and have these lines.
    fn api(&self, own: &Signed, more: &str) -> ResourceServer {
        self.put(own);
        let (issuer, home) = (self.server.issuer(), self.home.display());
        let text = format!(
            "audience = '{AUDIENCE}'\nmax_age_seconds = 0\n[[issuer]]\nissuer = '{issuer}'\n\
             mode = 'introspect'\ntimeout_seconds = {}\n{more}\n[issuer.client]\nmethod = 'mtls'\nid = 'api'\n\
             certificate_file = '{home}/own.pem'\nkey_file = '{home}/own.pem'\n",
            PATIENCE.as_secs()
        );
        Config::from_toml(&text).unwrap().build().unwrap()
    }

    async fn outcome(&self, api: &ResourceServer) -> Result<(), ErrorKind> {
        let token = self.server.opaque().audience(AUDIENCE).mint();
        let response = ask(&api.layer(), bearer(&token, &[])).await;
        refusal(&response).map_or(Ok(()), Err)
    }

    fn ca(&self) -> String {
        format!("ca_file = '{}/ca.pem'", self.home.display())
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

#[tokio::test]
async fn rfc8705_2_service_authenticates_with_the_configured_certificate() {
    let trusting_proxy = TlsServer::new("known").await;
    let api = trusting_proxy.api(&trusting_proxy.authority.client(), &trusting_proxy.ca());
    assert_eq!(trusting_proxy.outcome(&api).await, Ok(()));
    let requests = trusting_proxy.server.requests(Endpoint::Introspection);
    let [asked] = &requests[..] else { panic!("{requests:?}") };
    assert!(!asked.headers().contains_key("authorization"));
    let body = String::from_utf8(asked.body().to_vec()).unwrap();
    assert!(body.ends_with("&client_id=api") && !body.contains("secret"), "{body}");
    // At the alias, the only port that requests a certificate (RFC 8705 §5).
    let alias =
        &trusting_proxy.server.metadata()["mtls_endpoint_aliases"]["introspection_endpoint"];
    let host = format!("https://{}/", asked.headers()["host"].to_str().unwrap());
    assert!(alias.as_str().unwrap().starts_with(&host), "{alias} {host}");
}

#[tokio::test]
async fn renewed_certificate_is_used_without_a_restart() {
    let trusting_proxy = TlsServer::new("renewed").await;
    let usage = || ExtendedKeyUsagePurpose::ClientAuth;
    let api = trusting_proxy.api(&Authority::new().sign("api", usage()), &trusting_proxy.ca());
    assert_eq!(trusting_proxy.outcome(&api).await, Err(ErrorKind::Unavailable));
    // The file gets another length, so that the precision of file times does not matter.
    trusting_proxy.put(&trusting_proxy.authority.sign("api.renewed", usage()));
    // Time runs again while TLS is at work.
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    tokio::time::resume();
    assert_eq!(trusting_proxy.outcome(&api).await, Ok(()));
}

/// The client of this service is not to blame, so its token is not called invalid.
#[tokio::test]
async fn untrusted_certificates_on_either_side_are_503() {
    let trusting_proxy = TlsServer::new("unknown").await;
    let stranger = Authority::new().sign("api", ExtendedKeyUsagePurpose::ClientAuth);
    let api = trusting_proxy.api(&stranger, &trusting_proxy.ca());
    assert_eq!(trusting_proxy.outcome(&api).await, Err(ErrorKind::Unavailable));
    // The authorities of the system do not trust this server.
    let api = trusting_proxy.api(&trusting_proxy.authority.client(), "");
    assert_eq!(trusting_proxy.outcome(&api).await, Err(ErrorKind::Unavailable));
    assert_eq!(trusting_proxy.server.calls(Endpoint::Introspection), 0);
}
