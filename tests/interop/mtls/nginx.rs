//! nginx, with the files of docs/operations, which create the field from the PEM of the client.

mod grpc;

use std::{fs, net::SocketAddr};

use axum::{Router, http::HeaderMap, routing};
use rcgen::{
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize,
};
use tokio::net::TcpListener;
use tokio_rustls::rustls::{
    DEFAULT_VERSIONS, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use tower_introspect::{proof::CertificateField, test_util::AuthorizationServer};

use super::{bound, field, serve};
use crate::proxies::{filled, recipe};
use testing::{
    host::{self, Process, ScratchDir},
    oidc_provider::API,
    pki::{Authority, Client, Signed},
    proxy::nginx,
};

/// Settings of a proxy besides the usual ones.
struct Settings<'a> {
    verify: &'a str,
    field: &'a str,
    pass: &'a str,
    more: &'a str,
}

/// Certificates of an authority (RFC 8705 §2).
const PKI: Settings<'static> = Settings {
    verify: "ssl_client_certificate ca.pem; ssl_verify_client optional;",
    field: "proxy_set_header Client-Cert $client_cert;",
    pass: "proxy_pass http",
    more: "ssl_session_cache shared:tls:1m;",
};

/// Self-signed certificates (RFC 8705 §3).
const SELF_SIGNED: Settings<'static> = Settings {
    verify: "ssl_verify_client optional_no_ca;",
    field: "proxy_set_header Client-Cert $client_cert_shown;",
    more: "",
    ..PKI
};

struct World {
    server: AuthorizationServer,
    authority: Authority,
    home: ScratchDir,
}

impl World {
    /// Returns `None` without nginx.
    fn new() -> Option<Self> {
        if !host::has("nginx") {
            host::skip("nginx");
            return None;
        }
        let server = AuthorizationServer::new("https://as.example.com");
        Some(Self { server, authority: Authority::new(), home: ScratchDir::new("nginx") })
    }

    /// Starts nginx in front of a service that trusts it.
    async fn proxy(&self, settings: &Settings<'_>) -> (Process, SocketAddr) {
        self.proxy_of(
            serve(&self.server, CertificateField::ClientCert, "127.0.0.1").await,
            settings,
        )
        .await
    }

    /// Starts nginx in front of `backend`, with the `map` of docs/operations.
    async fn proxy_of(
        &self,
        backend: SocketAddr,
        settings: &Settings<'_>,
    ) -> (Process, SocketAddr) {
        let Settings { verify, field, pass, more } = settings;
        let own = self.authority.server();
        let port = host::free_port();
        let dir = self.home.path().join(port.to_string());
        fs::create_dir_all(&dir).expect("writable");
        let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("writable");
        write("own.pem", own.certificate.pem() + &own.key.serialize_pem());
        write("ca.pem", self.authority.pem());
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/nginx-client-cert.conf");
        let server = format!(
            "  include {recipe};
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate own.pem;
    ssl_certificate_key own.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    {verify}
    {more}
    location / {{
      {field}
      proxy_set_header Client-Cert-Chain \"\";
      {pass}://{backend};
    }}
  }}"
        );
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        (nginx(&dir, &server, address).await, address)
    }

    fn client(&self, own: Option<&Signed>) -> Client {
        Client::new(&self.authority, own, DEFAULT_VERSIONS)
    }

    /// Returns a certificate of this authority with this many bytes.
    fn client_of(&self, length: usize) -> Signed {
        let mut filler = length;
        // The length besides the filling varies with the numbers of the signature.
        for _ in 0..1000 {
            let key = KeyPair::generate().expect("a key");
            let usage = ExtendedKeyUsagePurpose::ClientAuth;
            let signed = self.authority.sign_with("client", usage, key, |params| {
                let text = vec![b'a'; filler];
                params.custom_extensions =
                    vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], text)];
            });
            let made = signed.certificate.der().len();
            if made == length {
                return signed;
            }
            filler = (filler + length).saturating_sub(made);
        }
        panic!("no certificate of {length} bytes");
    }
}

/// A service that responds with the fields it got.
async fn echo() -> SocketAddr {
    async fn fields(headers: HeaderMap) -> String {
        let values = headers.get_all("client-cert").into_iter();
        values.map(|value| format!("[{}]", value.to_str().expect("text"))).collect()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let app = Router::new().route("/", routing::get(fields));
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// A self-signed certificate.
fn self_signed() -> Signed {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "client");
    let key = KeyPair::generate().expect("a key");
    Signed { certificate: params.self_signed(&key).expect("a certificate"), key }
}

#[tokio::test]
async fn rfc9440_2_2_certificate_is_read_from_the_field_of_nginx() {
    let Some(world) = World::new() else { return };
    let (own, other) = (world.authority.client(), world.authority.client());
    let stranger = Authority::new().client();
    let bound = bound(&world.server, &own);
    let unbound = world.server.jwt().audience(API).mint();

    let (_process, address) = world.proxy(&PKI).await;
    let told = world.client(Some(&own)).get(address, &bound, "").await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert!(told.text.ends_with("untold"), "{}", told.text);
    // A forged field is removed, with and without a certificate.
    for (shown, lines, status) in [
        (None, String::new(), 401),
        (Some(&other), String::new(), 401),
        (None, field(&own), 401),
        (None, field(&own).replace('-', "_"), 401),
        (Some(&other), field(&own), 401),
        (Some(&other), field(&own) + &field(&own), 401),
        (Some(&own), field(&other), 200),
        // A certificate of another authority is refused by nginx.
        (Some(&stranger), field(&own), 400),
    ] {
        let told = world.client(shown).get(address, &bound, &lines).await;
        assert_eq!(told.status, status, "{}", told.text);
    }
    assert_eq!(world.client(None).get(address, &unbound, "").await.status, 200);

    // If nginx requires a certificate.
    let strict = "ssl_client_certificate ca.pem; ssl_verify_client on;";
    let (_process, address) = world.proxy(&Settings { verify: strict, ..PKI }).await;
    assert_eq!(world.client(Some(&own)).get(address, &bound, "").await.status, 200);
    assert_eq!(world.client(None).get(address, &bound, &field(&own)).await.status, 400);

    // If nginx admits all clients, an invalid certificate is sent as none.
    let lax = "ssl_client_certificate ca.pem; ssl_verify_client optional_no_ca;";
    let (_process, address) = world.proxy(&Settings { verify: lax, ..PKI }).await;
    assert_eq!(world.client(Some(&own)).get(address, &bound, "").await.status, 200);
    let stranger = self_signed();
    let foreign = super::bound(&world.server, &stranger);
    let told = world.client(Some(&stranger)).get(address, &foreign, &field(&stranger)).await;
    assert_eq!(told.status, 401, "{}", told.text);
}

#[tokio::test]
async fn rfc9440_2_4_file_for_nginx_turns_away_clients_that_write_the_field() {
    let Some(world) = World::new() else { return };
    let (own, other) = (world.authority.client(), world.authority.client());
    let bound = bound(&world.server, &own);
    let dir = world.home.path();
    let server = world.authority.server();
    let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("writable");
    write("server.pem", server.certificate.pem());
    write("server.key", server.key.serialize_pem());
    write("clients.pem", world.authority.pem());
    write("nginx-client-cert.conf", recipe("nginx-client-cert.conf"));
    let address = SocketAddr::from(([127, 0, 0, 1], host::free_port()));
    let values = [
        ("LISTEN", &*address.to_string()),
        ("DIRECTORY", dir.to_str().expect("UTF-8")),
        ("API", &serve(&world.server, CertificateField::ClientCert, "127.0.0.1").await.to_string()),
    ];
    let _process = nginx(dir, &filled(&recipe("nginx-service.conf"), &values), address).await;
    for (shown, lines, status) in [
        (Some(&own), String::new(), 200),
        (Some(&other), String::new(), 401),
        (None, String::new(), 401),
        (None, field(&own).replace('-', "_"), 401),
        (None, field(&own), 400),
        (Some(&own), field(&own), 400),
        (Some(&other), field(&own), 400),
    ] {
        let told = world.client(shown).get(address, &bound, &lines).await;
        assert_eq!(told.status, status, "{lines}: {}", told.text);
    }
}

#[tokio::test]
async fn rfc9440_2_2_nginx_sends_every_kind_of_certificate_up_to_its_limit() {
    let Some(world) = World::new() else { return };
    let (_echo, echo) = world.proxy_of(echo().await, &PKI).await;
    let (_process, address) = world.proxy(&PKI).await;
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
    let keys =
        [rsa(RsaKeySize::_2048), rsa(RsaKeySize::_4096), KeyPair::generate_for(&PKCS_ED25519)];
    let of_kinds = keys.map(|key| {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        world.authority.sign_with("client", usage, key.expect("a key"), |_| ())
    });
    // Lengths with full lines, each padding, and the maximum number of lines.
    let of_lengths = [960, 961, 1007, 3071, 3072, 3073, 6000].map(|length| world.client_of(length));
    for own in of_kinds.iter().chain(&of_lengths) {
        let length = own.certificate.der().len();
        let forged = field(own);
        let (value, status) = match forged.trim_end().split_once(' ') {
            Some((_, value)) if length <= 3072 => (format!("[{value}]"), 200),
            _ => (String::new(), 401),
        };
        let told = world.client(Some(own)).get(echo, "", &forged).await;
        assert_eq!(
            told.text.split_once("\r\n\r\n").map(|(_, body)| body),
            Some(&*value),
            "{length}"
        );
        let told = world.client(Some(own)).get(address, &bound(&world.server, own), &forged).await;
        assert_eq!(told.status, status, "{length}: {}", told.text);
    }
}

/// A `location` with its own `proxy_set_header` inherits none, and would forward the field of the
/// client.
#[tokio::test]
async fn rfc9440_2_4_nginx_refuses_clients_that_send_the_field() {
    let Some(world) = World::new() else { return };
    let own = world.authority.client();
    let bound = bound(&world.server, &own);
    let guarded = Settings {
        field: "proxy_set_header X-Other a;",
        more: "if ($http_client_cert) { return 400; }",
        ..PKI
    };
    let (_process, address) = world.proxy(&guarded).await;
    for (lines, status) in [(String::new(), 401), (field(&own), 400)] {
        let told = world.client(None).get(address, &bound, &lines).await;
        assert_eq!(told.status, status, "{lines}: {}", told.text);
    }
    // nginx before 1.23 compares only the first of several fields. They arrive here, and are
    // refused.
    for first in ["client-cert:\r\n", "client-cert: 0\r\n"] {
        let lines = first.to_owned() + &field(&own);
        let told = world.client(None).get(address, &bound, &lines).await;
        assert!([400, 401].contains(&told.status), "{lines}: {}", told.text);
    }
}

#[tokio::test]
async fn rfc8705_3_nginx_sends_self_signed_certificates() {
    let Some(world) = World::new() else { return };
    let (_process, address) = world.proxy(&SELF_SIGNED).await;
    let (own, other) = (self_signed(), self_signed());
    let bound = bound(&world.server, &own);
    for (shown, lines, status) in [
        (Some(&own), String::new(), 200),
        (Some(&own), field(&other), 200),
        (Some(&other), field(&own), 401),
        (None, field(&own), 401),
    ] {
        let told = world.client(shown).get(address, &bound, &lines).await;
        assert_eq!(told.status, status, "{}", told.text);
    }
}

#[tokio::test]
async fn rfc9440_3_3_resumed_session_behind_nginx_keeps_its_certificate() {
    const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];
    let Some(world) = World::new() else { return };
    let own = world.authority.client();
    let bound = bound(&world.server, &own);
    for more in [
        "ssl_session_cache shared:tls:1m; ssl_session_tickets on;",
        "ssl_session_cache shared:tls:1m; ssl_session_tickets off;",
        "ssl_session_tickets on;",
    ] {
        let (_process, address) = world.proxy(&Settings { more, ..PKI }).await;
        for versions in VERSIONS {
            let client = Client::new(&world.authority, Some(&own), versions);
            for is_resumed in [false, true] {
                let told = client.get(address, &bound, "").await;
                assert_eq!((told.status, told.is_resumed), (200, is_resumed), "{more}");
            }
            // A session that began without a certificate has none.
            let late = Client::new(&world.authority, Some(&own), versions);
            late.send_certificate(false);
            assert_eq!(late.get(address, &bound, "").await.status, 401, "{more}");
            late.send_certificate(true);
            let told = late.get(address, &bound, "").await;
            assert_eq!((told.status, told.is_resumed), (401, true), "{more}");
        }
    }
}
