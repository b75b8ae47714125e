//! nginx, with the `map` of docs/operations that makes the field of the PEM it has.

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
use tower_introspect::test_util::AuthorizationServer;

use super::{bound, field, serve};
use testing::{
    host::{self, Home, Process},
    oidc_provider::API,
    pki::{Authority, Client, Signed},
    proxy::nginx,
};

/// What a proxy does beside what it always does.
struct Settings<'a> {
    verify: &'a str,
    field: &'a str,
    pass: &'a str,
    more: &'a str,
}

/// For certificates of an authority (RFC 8705 §2).
const PKI: Settings<'static> = Settings {
    verify: "ssl_client_certificate ca.pem; ssl_verify_client optional;",
    field: "proxy_set_header Client-Cert $client_cert;",
    pass: "proxy_pass http",
    more: "ssl_session_cache shared:tls:1m;",
};

/// For certificates of nobody else (RFC 8705 §3).
const SELF_SIGNED: Settings<'static> = Settings {
    verify: "ssl_verify_client optional_no_ca;",
    field: "proxy_set_header Client-Cert $client_cert_shown;",
    more: "",
    ..PKI
};

struct World {
    server: AuthorizationServer,
    authority: Authority,
    home: Home,
}

impl World {
    /// `None` where there is no nginx.
    fn new() -> Option<Self> {
        if !host::has("nginx") {
            host::skip("nginx");
            return None;
        }
        let server = AuthorizationServer::new("https://as.example.com");
        Some(Self { server, authority: Authority::new(), home: Home::new("nginx") })
    }

    /// nginx in front of a service that trusts it.
    async fn proxy(&self, settings: &Settings<'_>) -> (Process, SocketAddr) {
        self.proxy_of(serve(&self.server, "127.0.0.1").await, settings).await
    }

    /// nginx in front of `backend`, set up as docs/operations.md says.
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

    /// A certificate of this authority, of this many bytes.
    fn client_of(&self, length: usize) -> Signed {
        let mut filler = length;
        // By how much it is longer than what fills it depends on the numbers of its signature.
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

/// A service that tells which fields it got.
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

/// A certificate of nobody else.
fn self_signed() -> Signed {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "client");
    let key = KeyPair::generate().expect("a key");
    Signed { certificate: params.self_signed(&key).expect("a certificate"), key }
}

#[tokio::test]
async fn rfc9440_2_2_nginx_tells_the_certificate_of_its_client() {
    let Some(world) = World::new() else { return };
    let (own, other) = (world.authority.client(), world.authority.client());
    let stranger = Authority::new().client();
    let bound = bound(&world.server, &own);
    let unbound = world.server.jwt().audience(API).mint();

    let (_process, address) = world.proxy(&PKI).await;
    let told = world.client(Some(&own)).get(address, &bound, "").await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert!(told.text.ends_with("untold"), "{}", told.text);
    // A forged field is taken off, whether there is a certificate or not.
    for (shown, lines, status) in [
        (None, String::new(), 401),
        (Some(&other), String::new(), 401),
        (None, field(&own), 401),
        (None, field(&own).replace('-', "_"), 401),
        (Some(&other), field(&own), 401),
        (Some(&other), field(&own) + &field(&own), 401),
        (Some(&own), field(&other), 200),
        // Its certificate is not one of this authority: nginx itself refuses.
        (Some(&stranger), field(&own), 400),
    ] {
        let told = world.client(shown).get(address, &bound, &lines).await;
        assert_eq!(told.status, status, "{}", told.text);
    }
    assert_eq!(world.client(None).get(address, &unbound, "").await.status, 200);

    // Where nginx is to refuse whoever shows none.
    let strict = "ssl_client_certificate ca.pem; ssl_verify_client on;";
    let (_process, address) = world.proxy(&Settings { verify: strict, ..PKI }).await;
    assert_eq!(world.client(Some(&own)).get(address, &bound, "").await.status, 200);
    assert_eq!(world.client(None).get(address, &bound, &field(&own)).await.status, 400);

    // Where it lets everyone pass, one that it did not find good is told as none.
    let lax = "ssl_client_certificate ca.pem; ssl_verify_client optional_no_ca;";
    let (_process, address) = world.proxy(&Settings { verify: lax, ..PKI }).await;
    assert_eq!(world.client(Some(&own)).get(address, &bound, "").await.status, 200);
    let stranger = self_signed();
    let foreign = super::bound(&world.server, &stranger);
    let told = world.client(Some(&stranger)).get(address, &foreign, &field(&stranger)).await;
    assert_eq!(told.status, 401, "{}", told.text);
}

#[tokio::test]
async fn rfc9440_2_2_nginx_tells_certificates_of_every_kind_and_none_that_is_too_long() {
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
    // Whole lines, all there is of padding, and as many lines as there may be.
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

/// A `location` with a `proxy_set_header` of its own inherits none, and would pass on what clients send.
#[tokio::test]
async fn rfc9440_2_4_nginx_refuses_whoever_sends_the_field_itself() {
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
    // Where nginx looks at the first of several only (before 1.23), they come here, to no avail.
    for first in ["client-cert:\r\n", "client-cert: 0\r\n"] {
        let lines = first.to_owned() + &field(&own);
        let told = world.client(None).get(address, &bound, &lines).await;
        assert!([400, 401].contains(&told.status), "{lines}: {}", told.text);
    }
}

#[tokio::test]
async fn rfc8705_3_nginx_tells_certificates_that_their_clients_signed_themselves() {
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
async fn rfc9440_3_3_behind_nginx_a_resumed_session_has_the_certificate_it_began_with() {
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
            // One that began without goes on without.
            let late = Client::new(&world.authority, Some(&own), versions);
            late.show(false);
            assert_eq!(late.get(address, &bound, "").await.status, 401, "{more}");
            late.show(true);
            let told = late.get(address, &bound, "").await;
            assert_eq!((told.status, told.is_resumed), (401, true), "{more}");
        }
    }
}
