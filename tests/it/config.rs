//! Settings of a file, and those that only a program can add.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri};
use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind, Issuer, ResourceServer,
    config::Config,
    jwt::KeySet,
    proof::PeerCertificate,
    resource_server::ResourceServerBuilder,
    test_util::{AuthorizationServer, Client, Prover},
    transport::{HttpTransport, NewConnection, ReqwestTransport},
};

use crate::support::{AUDIENCE, FixedClock, ISSUER, ask, refusal, request};

/// Returns the settings of a service with these lines.
fn config(lines: &str) -> Config {
    let text = format!(
        "audience = '{AUDIENCE}'\nissuer = [{{ issuer = '{ISSUER}', mode = 'jwt' }}]\n{lines}"
    );
    Config::from_toml(&text).unwrap()
}

fn build(server: &AuthorizationServer, config: &Config) -> ResourceServer {
    let with =
        |builder: ResourceServerBuilder| builder.transport(server.transport()).clock(FixedClock);
    config.build_with(with).unwrap()
}

fn server() -> AuthorizationServer {
    AuthorizationServer::new(ISSUER).with_clock(FixedClock)
}

fn laptop() -> Prover {
    Prover::new("laptop").with_clock(FixedClock)
}

async fn outcome(api: &ResourceServer, request: Request<Bytes>) -> Result<(), ErrorKind> {
    refusal(&ask(&api.layer(), request).await).map_or(Ok(()), Err)
}

const UNPROVEN: Result<(), ErrorKind> = Err(ErrorKind::UnprovenPossession);

/// Returns a certificate, and the `cnf` of a token bound to it.
fn certificate() -> (PeerCertificate, Value) {
    let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let certificate = PeerCertificate::from_der(made.cert.der()).unwrap();
    let cnf = json!({"x5t#S256": certificate.thumbprint()});
    (certificate, cnf)
}

#[tokio::test(start_paused = true)]
async fn rfc8705_3_program_sets_the_function_for_the_connection_certificate() {
    #[derive(Clone)]
    struct Connection(PeerCertificate);

    let server = server();
    let (own, cnf) = certificate();
    let token = server.jwt().audience(AUDIENCE).claim("cnf", cnf).mint();
    let bearer = format!("Bearer {token}");
    let over = |connection: Option<PeerCertificate>| {
        let mut request = request(&[("authorization", &bearer)]);
        connection.map(|own| request.extensions_mut().insert(Connection(own)));
        request
    };
    let told = config("mtls = {}").configure_mtls(|mtls| {
        mtls.certificate_fn(|head| head.extension::<Connection>().map(|found| found.0))
    });
    let api = build(&server, &told);
    assert_eq!(outcome(&api, over(Some(own))).await, Ok(()));
    assert_eq!(outcome(&api, over(Some(certificate().0))).await, UNPROVEN);
    assert_eq!(outcome(&api, over(None)).await, UNPROVEN);
    // Without the function, or without the table.
    assert_eq!(outcome(&build(&server, &config("mtls = {}")), over(Some(own))).await, UNPROVEN);
    let none = config("").configure_mtls(|mtls| {
        mtls.certificate_fn(|head| head.extension::<Connection>().map(|found| found.0))
    });
    assert_eq!(outcome(&build(&server, &none), over(Some(own))).await, UNPROVEN);
}

#[tokio::test(start_paused = true)]
async fn rfc9440_4_program_sets_the_function_for_the_peer_address() {
    let server = server();
    let (own, cnf) = certificate();
    let token = server.jwt().audience(AUDIENCE).claim("cnf", cnf).mint();
    let bearer = format!("Bearer {token}");
    let hash: String = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let digest = URL_SAFE_NO_PAD.decode(own.thumbprint()).unwrap();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let told = config("mtls = { field = 'xfcc', proxies = ['10.1.2.0/24'] }")
        .peer_address_fn(|head| head.extension::<IpAddr>().copied());
    let api = build(&server, &told);
    for (peer, expected) in [("10.1.2.3", Ok(())), ("10.1.3.3", UNPROVEN)] {
        let field = format!("Hash={hash}");
        let fields = [("authorization", &*bearer), ("x-forwarded-client-cert", &*field)];
        let mut request = request(&fields);
        request.extensions_mut().insert(peer.parse::<IpAddr>().unwrap());
        assert_eq!(outcome(&api, request).await, expected, "{peer}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_program_sets_the_function_for_the_request_uri() {
    let server = server();
    let laptop = laptop();
    let token = server.jwt().audience(AUDIENCE).bound_to(&laptop).mint();
    let asked = || {
        let proof = laptop.proof("GET", "https://api.example.com/outer/payments");
        let (bearer, proof) = (format!("DPoP {token}"), proof.for_token(&token).mint());
        let mut request = request(&[("authorization", &bearer), ("dpop", &proof)]);
        *request.uri_mut() = Uri::from_static("/payments");
        request.extensions_mut().insert(Uri::from_static("/outer/payments"));
        request
    };
    let dpop = "dpop = { url = 'https://api.example.com' }";
    let told = config(dpop).configure_dpop(|dpop| dpop.request_uri(|head| head.extension::<Uri>()));
    assert_eq!(outcome(&build(&server, &told), asked()).await, Ok(()));
    let untold = build(&server, &config(dpop));
    assert_eq!(outcome(&untold, asked()).await, Err(ErrorKind::InvalidProof));
}

#[tokio::test(start_paused = true)]
async fn transport_of_the_program_replaces_the_certificates_of_the_file() {
    let server = server();
    let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let file = std::env::temp_dir().join(format!("config-ca-{}.pem", std::process::id()));
    std::fs::write(&file, made.cert.pem()).unwrap();
    let text = format!(
        "audience = '{AUDIENCE}'\n[[issuer]]\nissuer = '{ISSUER}'\nmode = 'jwt'\nca_file = '{}'",
        file.display()
    );
    let api = build(&server, &Config::from_toml(&text).unwrap());
    std::fs::remove_file(&file).unwrap();
    let bearer = format!("Bearer {}", server.jwt().audience(AUDIENCE).mint());
    assert_eq!(outcome(&api, request(&[("authorization", &bearer)])).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn connection_per_request_asks_for_a_new_connection_for_each_introspection() {
    for (setting, expected) in [("", [false; 2]), ("connection_per_request = true", [true; 2])] {
        let server = server();
        server.register(Client::new("api", "s3cret"));
        let text = format!(
            "audience = '{AUDIENCE}'\n[[issuer]]\nissuer = '{ISSUER}'\nmode = 'introspect'\n{setting}\n\
             client = {{ method = 'basic', id = 'api', danger_secret = 's3cret' }}\n"
        );
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (sent, to) = (Arc::clone(&seen), server.clone());
        let transport = HttpTransport::new(tower::service_fn(move |request: Request<Bytes>| {
            let is_canary = request.body().starts_with(b"token=tower-introspect-canary-");
            if request.method() == http::Method::POST && !is_canary {
                let wants_new = request.extensions().get::<NewConnection>().is_some();
                sent.lock().unwrap().push(wants_new);
            }
            let to = to.clone();
            async move { to.send(request).await }
        }));
        let with = |builder: ResourceServerBuilder| builder.transport(transport).clock(FixedClock);
        let api = Config::from_toml(&text).unwrap().build_with(with).unwrap();
        for _ in expected {
            let bearer = format!("Bearer {}", server.opaque().audience(AUDIENCE).mint());
            assert_eq!(outcome(&api, request(&[("authorization", &bearer)])).await, Ok(()));
        }
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}

/// Durations from a program or a file do not overflow while a request is handled.
#[tokio::test(start_paused = true)]
async fn extreme_numbers_of_seconds_do_not_overflow() {
    let server = server();
    server.register(Client::new("api", "s3cret"));
    let laptop = laptop();
    for seconds in ["0", "9223372036854775807", "1e19", "0.0000000001"] {
        let text = format!(
            "audience = '{AUDIENCE}'\nmax_age_seconds = {seconds}\nstale_if_error_seconds = {seconds}\n\
             [[issuer]]\nissuer = '{ISSUER}'\nmode = 'hybrid'\n\
             client = {{ method = 'basic', id = 'api', danger_secret = 's3cret' }}\n\
             [dpop]\nurl = 'https://api.example.com'\nnonce = 'accept'\nwindow_seconds = {seconds}\n\
             nonce_rotation_seconds = {seconds}\n"
        );
        let api = build(&server, &Config::from_toml(&text).unwrap());
        let unbound = server.opaque().audience(AUDIENCE).mint();
        let bound = server.jwt().audience(AUDIENCE).bound_to(&laptop).mint();
        for _ in 0..3 {
            let bearer = format!("Bearer {unbound}");
            assert_eq!(outcome(&api, request(&[("authorization", &bearer)])).await, Ok(()));
            let proof = laptop.proof("GET", "https://api.example.com/").for_token(&bound).mint();
            let dpop = format!("DPoP {bound}");
            let fields = [("authorization", &*dpop), ("dpop", &*proof)];
            // A window of zero is met only by chance.
            let told = outcome(&api, request(&fields)).await;
            assert!(matches!(told, Ok(()) | Err(ErrorKind::NonceRequired)), "{seconds}: {told:?}");
        }
        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn file_can_have_jwts_confirmed_by_introspection() {
    for (service, issuer, seconds) in [
        ("", "", 30),
        ("max_age_seconds = 7", "", 7),
        ("max_age_seconds = 7", "confirmation_max_age_seconds = 3", 3),
        ("", "confirmation_max_age_seconds = 0", 0),
    ] {
        let server = server();
        server.register(Client::new("api", "s3cret"));
        let text = format!(
            "audience = '{AUDIENCE}'\n{service}\n[[issuer]]\nissuer = '{ISSUER}'\n\
             mode = 'jwt_and_introspect'\n{issuer}\n\
             client = {{ method = 'basic', id = 'api', danger_secret = 's3cret' }}\n"
        );
        let api = build(&server, &Config::from_toml(&text).unwrap());
        let bearer = format!("Bearer {}", server.jwt().audience(AUDIENCE).mint());
        let asked = || request(&[("authorization", &bearer)]);
        assert_eq!(outcome(&api, asked()).await, Ok(()));
        server.revoke(bearer.strip_prefix("Bearer ").unwrap());
        let half = Duration::from_secs(seconds) / 2;
        if seconds > 0 {
            tokio::time::advance(half).await;
            assert_eq!(outcome(&api, asked()).await, Ok(()), "{seconds}");
        }
        tokio::time::advance(half + Duration::from_millis(1)).await;
        assert_eq!(outcome(&api, asked()).await, Err(ErrorKind::Inactive), "{seconds}");
    }
    let local = format!(
        "audience = 'a'\nissuer = [{{ issuer = '{ISSUER}', mode = 'jwt', \
         confirmation_max_age_seconds = 3 }}]"
    );
    let problems = Config::from_toml(&local).unwrap_err();
    let expected = "issuer[0].confirmation_max_age_seconds: unknown setting";
    assert_eq!(problems.to_string(), expected);
}

/// Keycloak's tokens of users with many roles have 13 KB.
#[tokio::test(start_paused = true)]
async fn file_sets_the_length_of_the_longest_token() {
    let server = server();
    let token = server.jwt().audience(AUDIENCE).claim("roles", "x".repeat(9_700)).mint();
    assert!((13_000..13_500).contains(&token.len()), "{}", token.len());
    let bearer = format!("Bearer {token}");
    for (lines, expected) in [
        ("", Err(ErrorKind::TokenTooLong)),
        ("max_token_bytes = 13000", Err(ErrorKind::TokenTooLong)),
        ("max_token_bytes = 16384", Ok(())),
    ] {
        let api = build(&server, &config(lines));
        assert_eq!(outcome(&api, request(&[("authorization", &bearer)])).await, expected);
    }
    for value in ["0", "-1", "1.5", "'8192'", "true"] {
        let text = format!(
            "audience = 'a'\nissuer = [{{ issuer = 'https://a', mode = 'jwt' }}]\n\
             max_token_bytes = {value}"
        );
        let problems = Config::from_toml(&text).unwrap_err();
        let expected = "max_token_bytes: expected a whole number greater than zero";
        assert_eq!(problems.to_string(), expected, "{value}");
    }
}

/// The admin port of Hydra asks for no credentials.
#[tokio::test(start_paused = true)]
async fn file_can_introspect_without_credentials() {
    let text = |client: &str| {
        format!(
            "audience = '{AUDIENCE}'\n[[issuer]]\nissuer = '{ISSUER}'\nmode = 'introspect'\n\
             introspection_endpoint = 'https://admin.example.com/introspect'\nclient = {client}\n"
        )
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&seen);
    let transport = HttpTransport::new(tower::service_fn(move |request: Request<Bytes>| {
        sent.lock().unwrap().push(request);
        let body = format!(r#"{{"active":true,"sub":"alice","aud":"{AUDIENCE}"}}"#);
        let response = http::Response::builder().header("content-type", "application/json");
        std::future::ready(response.body(Bytes::from(body)))
    }));
    let config = Config::from_toml(&text("{ method = 'danger_none' }")).unwrap();
    let with = |builder: ResourceServerBuilder| builder.transport(transport).clock(FixedClock);
    let api = config.build_with(with).unwrap();
    assert_eq!(outcome(&api, request(&[("authorization", "Bearer abc")])).await, Ok(()));
    let seen = seen.lock().unwrap();
    let asked: Vec<_> = seen.iter().filter(|request| request.body() == "token=abc").collect();
    let [asked] = &asked[..] else { panic!("{seen:?}") };
    assert!(!asked.headers().contains_key("authorization"));

    for (client, problem) in [
        ("{ method = 'danger_none', id = 'api' }", "issuer[0].client.id: unknown setting"),
        (
            "{ method = 'danger_none', danger_secret = 'x' }",
            "issuer[0].client.danger_secret: unknown setting",
        ),
        ("{ }", "issuer[0].client.method: missing"),
    ] {
        let problems = Config::from_toml(&text(client)).unwrap_err().to_string();
        assert!(problems.lines().any(|line| line == problem), "{problems}");
    }
}

/// An issuer is only a name if nothing about it is discovered.
#[test]
fn file_may_name_an_issuer_that_is_no_url() {
    let jwks = "jwks_uri = 'https://sso.example.com/jwks'\n";
    let endpoint = "introspection_endpoint = 'https://sso.example.com/introspect'\n";
    for issuer in ["http://sso.example.com", "joe", "urn:example:sso"] {
        for (mode, more, is_complete) in [
            ("jwt", "", false),
            ("jwt", jwks, true),
            ("introspect", "", false),
            ("introspect", endpoint, true),
            ("hybrid", endpoint, false),
            ("hybrid", jwks, false),
            ("hybrid", &format!("{jwks}{endpoint}"), true),
        ] {
            let client = match mode {
                "jwt" => "",
                _ => "client = { method = 'basic', id = 'api', danger_secret = 's3cret' }\n",
            };
            let text = format!(
                "audience = '{AUDIENCE}'\n[[issuer]]\nissuer = '{issuer}'\nmode = '{mode}'\n\
                 {client}{more}"
            );
            let built = Config::from_toml(&text).and_then(|config| config.build());
            assert_eq!(built.is_ok(), is_complete, "{issuer} {mode} {more}");
        }
    }
}

/// The system of this process, when it runs as a container image without them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_needs_the_certificates_of_the_system_until_a_server_that_does_is_reached() {
    const NAME: &str =
        "config::nothing_needs_the_certificates_of_the_system_until_a_server_that_does_is_reached";
    const NOWHERE: &str = "/nonexistent";
    if std::env::var_os("SSL_CERT_FILE").is_none_or(|file| file != NOWHERE) {
        // The variables are those of the whole process.
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env("SSL_CERT_FILE", NOWHERE)
            .env("SSL_CERT_DIR", NOWHERE)
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && shown.contains("1 passed"), "{shown}");
        return;
    }

    let admits = async |api: &ResourceServer, token: &str| {
        outcome(api, request(&[("authorization", &format!("Bearer {token}"))])).await
    };
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let server = server.with_clock(FixedClock).with_client(Client::new("api", "s3cret"));
    let token = server.jwt().audience(AUDIENCE).mint();
    let jwks = server.jwks().to_string();

    let keys = KeySet::from_jwks(jwks.as_bytes()).unwrap();
    let issuer = Issuer::jwt(server.issuer()).configure_jwt(|jwt| jwt.keys(keys));
    let api = ResourceServer::builder(AUDIENCE).issuer(issuer).clock(FixedClock).build().unwrap();
    assert_eq!(admits(&api, &token).await, Ok(()), "static keys");

    let [jwks_file, ca_file] = [("json", jwks), ("pem", ca())].map(|(ending, text)| {
        let name = format!("config-no-ca-{}.{ending}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    });
    let from_file = |issuer: &str, more: &str| {
        let text = format!(
            "audience = '{AUDIENCE}'\ndanger_allow_http_loopback = true\n[[issuer]]\n\
             issuer = '{issuer}'\n{more}"
        );
        let config = Config::from_toml(&text).unwrap();
        config.build_with(|builder| builder.clock(FixedClock)).unwrap()
    };
    let more = format!("mode = 'jwt'\njwks_file = '{}'", jwks_file.display());
    assert_eq!(admits(&from_file(server.issuer(), &more), &token).await, Ok(()), "jwks_file");
    let more = format!("mode = 'jwt'\nca_file = '{}'", ca_file.display());
    from_file(ISSUER, &more);
    // A server without TLS needs none either.
    let client = "client = { method = 'basic', id = 'api', danger_secret = 's3cret' }";
    let asking = from_file(server.issuer(), &format!("mode = 'introspect'\n{client}"));
    let opaque = server.opaque().audience(AUDIENCE).mint();
    assert_eq!(admits(&asking, &opaque).await, Ok(()), "introspection without TLS");

    // Nor does a transport with a client certificate, until it reaches a server.
    let both = new_certificate();
    let identity = || {
        let identity = reqwest::Identity::from_pem(both.as_bytes()).unwrap();
        ReqwestTransport::builder().identity(identity)
    };
    let transport = HttpTransport::from(ReqwestTransport::from_builder(identity).unwrap());
    let issuer = || Issuer::jwt("https://localhost:1");
    for builder in [
        ResourceServer::builder(AUDIENCE),
        ResourceServer::builder(AUDIENCE).transport(transport),
        ResourceServer::builder(AUDIENCE).transport(HttpTransport::reqwest().unwrap()),
    ] {
        let api = builder.issuer(issuer()).build().unwrap();
        let error = api.warm().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let told = causes.iter().any(|cause| cause.contains("without certificates of authorities"));
        assert!(told, "{causes:?}");
    }
    // Other problems are still reported when the transport is created.
    let broken = || {
        let broken = reqwest::Certificate::from_der(b"none").unwrap();
        ReqwestTransport::builder().tls_certs_only([broken])
    };
    assert!(ReqwestTransport::from_builder(broken).is_err());
    for file in [jwks_file, ca_file] {
        std::fs::remove_file(file).unwrap();
    }
}

/// Returns a certificate in PEM.
fn ca() -> String {
    rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem()
}

/// Returns a certificate with its key in PEM.
fn new_certificate() -> String {
    let made = rcgen::generate_simple_self_signed(["api".to_owned()]).unwrap();
    made.cert.pem() + &made.signing_key.serialize_pem()
}

#[tokio::test(start_paused = true)]
async fn token_may_come_in_another_header() {
    let server = server();
    let token = server.jwt().audience(AUDIENCE).mint();
    let bearer = format!("Bearer {token}");
    let missing = Err(ErrorKind::MissingCredentials);
    for (lines, [own, other, both]) in [
        ("", [Ok(()), missing, Ok(())]),
        (
            "token_header = \"X-Assertion\"\nmax_token_bytes = 9",
            [
                Err(ErrorKind::TokenTooLong),
                Err(ErrorKind::TokenTooLong),
                Err(ErrorKind::RepeatedCredentials),
            ],
        ),
        ("token_header = \"X-Assertion\"", [Ok(()), Ok(()), Err(ErrorKind::RepeatedCredentials)]),
        (
            "token_header = [\"X-Api-Key\", \"X-Assertion\"]\nwithout_authorization = true",
            [missing, Ok(()), Ok(())],
        ),
    ] {
        let api = build(&server, &config(lines));
        let authorization = ("authorization", &*bearer);
        let assertion = ("x-assertion", &*token);
        assert_eq!(outcome(&api, request(&[authorization])).await, own, "{lines}");
        assert_eq!(outcome(&api, request(&[assertion])).await, other, "{lines}");
        assert_eq!(outcome(&api, request(&[authorization, assertion])).await, both, "{lines}");
    }
}

#[test]
fn settings_of_the_token_header_are_checked() {
    let problems = |lines: &str| {
        let text = format!(
            "audience = \"a\"\n{lines}\n[[issuer]]\nissuer = \"https://as\"\nmode = \"jwt\""
        );
        Config::from_toml(&text).unwrap_err().to_string()
    };
    assert_eq!(
        problems("token_header = \"X Key\""),
        "token_header: `X Key`: invalid HTTP header name"
    );
    assert_eq!(
        problems("without_authorization = true"),
        "without_authorization: needs a `token_header` to take tokens from"
    );
}
