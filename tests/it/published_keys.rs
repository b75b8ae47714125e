//! Key sets, metadata and responses as real servers publish them: members that are not set, keys
//! that can't be used, more keys than are kept, keys of other issuers, encoded bodies.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::service_fn;
use tower_introspect::{
    Blame, ClientAuth, ErrorKind, Issuer, ResourceServer, VerifyError,
    config::Config,
    credentials::Token,
    introspection::IntrospectionVerifier,
    jose::{Algorithm, KeyError, SigningKey},
    jwt::{JwtVerifier, JwtVerifierBuilder, KeySet},
    resource_server::ResourceServerBuilder,
    transport::{HttpTransport, TransportError, TransportErrorKind},
    verify::{BoxVerifier, Verifier, VerifyRequest},
};

use crate::{
    jwks::{ISSUER, JWKS, METADATA, Reply, Server, at_once, claims, jwk, kind, token, verify},
    support::FixedClock,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A key of the type that most issuers sign with.
fn rsa() -> SigningKey {
    SigningKey::from_pem(Algorithm::RS256, include_bytes!("keys/rsa.pem")).unwrap()
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

/// A verifier with these settings that has loaded the keys of the server.
async fn warm(
    server: &Server,
    configure: impl FnOnce(JwtVerifierBuilder) -> JwtVerifierBuilder,
) -> JwtVerifier {
    let builder = JwtVerifier::builder(ISSUER).transport(server.transport()).clock(FixedClock);
    let verifier = configure(builder).build().unwrap();
    verifier.warm().await.unwrap();
    verifier
}

// Members that are not set.

#[tokio::test(start_paused = true)]
async fn unset_members_of_published_keys_are_absent() {
    let key = rsa().with_kid("a");
    let token = key.sign(&json!({"alg": "RS256", "typ": "at+jwt", "kid": "a"}), &claims());
    let token = token.unwrap();
    let strings = ["use", "alg", "crv", "x", "d", "p", "k", "priv", "x5u", "x5t", "issuer"];
    let strings = strings.map(|name| (name, Value::Null));
    let lists = ["key_ops", "oth", "x5c"].map(|name| [(name, Value::Null), (name, json!([]))]);
    let members = strings.into_iter().chain(lists.into_iter().flatten());
    let mut all = key.public_jwk().unwrap();
    for (name, value) in members {
        let published = with(key.public_jwk().unwrap(), name, value.clone());
        all = with(all, name, value);
        let server = Server::with_keys(&[published]);
        assert_eq!(
            verify(&server.verifier(), &token).await.map_err(|error| error.kind()),
            Ok(()),
            "{name}"
        );
    }
    let server = Server::with_keys(&[all.clone()]);
    verify(&server.verifier(), &token).await.unwrap();
    // Without a name it is tried for each.
    let server = Server::with_keys(&[with(all, "kid", Value::Null)]);
    verify(&server.verifier(), &token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unset_members_of_metadata_are_absent() {
    let mut metadata = json!({"issuer": ISSUER, "jwks_uri": JWKS});
    for name in ["introspection_endpoint", "mtls_endpoint_aliases", "scopes_supported", "x"] {
        metadata[name] = Value::Null;
    }
    metadata["introspection_endpoint_auth_methods_supported"] = json!([]);
    let server = Server::with_keys(&[jwk("a")]);
    server.on(METADATA, Reply::json(&metadata));
    verify(&server.verifier(), &token("a")).await.unwrap();
}

// Keys that can't be used.

/// Keys under this name that the issuer means to sign with and that can't be used, with the reason.
fn unusable(kid: &str) -> Vec<(Value, KeyError)> {
    let ec = SigningKey::from_pem(Algorithm::ES256, include_bytes!("keys/p256.pem")).unwrap();
    let ec = ec.with_kid(kid).public_jwk().unwrap();
    let rsa = rsa().with_kid(kid).public_jwk().unwrap();
    let short = ec["x"].as_str().unwrap()[1..].to_owned();
    let padded = format!("{}==", rsa["n"].as_str().unwrap());
    vec![
        (with(ec.clone(), "x", short), KeyError::Malformed),
        (with(rsa.clone(), "n", padded), KeyError::Malformed),
        (with(rsa.clone(), "n", "_".repeat(171)), KeyError::TooShort),
        (with(rsa.clone(), "alg", "RS256K"), KeyError::Unsupported),
        (with(rsa, "alg", "ES256"), KeyError::WrongAlgorithm),
        (with(ec, "crv", "P-521"), KeyError::Unsupported),
        (json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": kid}), KeyError::Unsupported),
    ]
}

#[tokio::test(start_paused = true)]
async fn token_of_an_unusable_key_is_not_blamed_on_the_client() {
    for (published, _) in unusable("b") {
        let server = Server::with_keys(&[jwk("a"), published.clone()]);
        let verifier = server.warm_verifier().await;
        sleep(2 * SECOND).await;
        let error = verify(&verifier, &token("b")).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.blame()),
            (ErrorKind::UnusableKey, Blame::AuthorizationServer),
            "{published}"
        );
        // It waited for a newer key set, which may have had a better key.
        assert_eq!(server.fetches(JWKS), 2);
        assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
        // A name that the issuer does not publish is the client's.
        sleep(11 * SECOND).await;
        assert_eq!(kind(&verifier, &token("c")).await, ErrorKind::UnknownKey);
        // The mended key is found by the next token.
        server.publish(&[jwk("a"), jwk("b")]);
        sleep(11 * SECOND).await;
        verify(&verifier, &token("b")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn token_of_an_unknown_algorithm_is_blamed_on_the_client_unless_its_key_is_published() {
    let p521 = json!({"kty": "EC", "crv": "P-521", "alg": "ES512", "kid": "b", "use": "sig"});
    let server = Server::with_keys(&[jwk("a"), p521]);
    let verifier = server.warm_verifier().await;
    let signed = |alg: &str, kid: &str| {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string();
        let good = token("a");
        let rest = good.split_once('.').unwrap().1.to_owned();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
    };
    for (alg, kid, expected) in [
        ("ES512", "b", ErrorKind::UnusableKey),
        ("ES512", "a", ErrorKind::UnsupportedAlgorithm),
        ("ES512", "c", ErrorKind::UnsupportedAlgorithm),
        ("HS256", "b", ErrorKind::UnsupportedAlgorithm),
        ("none", "b", ErrorKind::UnsupportedAlgorithm),
        ("None", "b", ErrorKind::UnsupportedAlgorithm),
    ] {
        let outcome = at_once(&verifier, &signed(alg, kid));
        assert_eq!(outcome, Some(Err(expected)), "{alg} {kid}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_not_for_signatures_are_no_fault_of_the_issuer() {
    let for_encryption = with(jwk("b"), "use", "enc");
    let for_wrapping = with(without(jwk("c"), "use"), "key_ops", json!(["wrapKey"]));
    let server = Server::with_keys(&[jwk("a"), for_encryption, for_wrapping]);
    let verifier = server.warm_verifier().await;
    for kid in ["b", "c"] {
        sleep(11 * SECOND).await;
        assert_eq!(kind(&verifier, &token(kid)).await, ErrorKind::UnknownKey, "{kid}");
    }
}

/// The verifier of an issuer with this key and another one, which introspects JWTs as active, or
/// nothing.
fn hybrid(published: &Value, introspects: bool) -> BoxVerifier {
    let keys = json!({ "keys": [published, jwk("a")] }).to_string();
    let transport = HttpTransport::new(service_fn(move |request: Request<Bytes>| {
        let json = match request.uri().path() {
            "/jwks" => keys.clone(),
            // JWTs are active, and the random tokens of this service itself are not.
            "/introspect" if introspects && request.body().contains(&b'.') => {
                json!({"active": true, "aud": "api", "sub": "alice"}).to_string()
            }
            "/introspect" if introspects => json!({"active": false}).to_string(),
            _ => String::new(),
        };
        let status = if json.is_empty() { 503 } else { 200 };
        let response =
            Response::builder().status(status).header("content-type", "application/json");
        std::future::ready(response.body(Bytes::from(json)))
    }));
    let issuer = Issuer::hybrid(ISSUER, ClientAuth::basic("api", "s3cret"))
        .fall_back_to_introspection()
        .configure_jwt(|jwt| jwt.jwks_uri(JWKS))
        .configure_introspection(|ask| ask.endpoint("https://as.example.com/introspect"));
    let server = ResourceServer::builder("api").issuer(issuer).transport(transport);
    server.clock(FixedClock).build().unwrap().verifier()
}

#[tokio::test(start_paused = true)]
async fn token_of_an_unusable_key_is_introspected_where_that_is_configured() {
    let (published, _) = unusable("b").remove(0);
    let ask = async |verifier: &BoxVerifier, kid: &str| {
        let request = VerifyRequest::new(Token::bearer(&token(kid)).unwrap());
        verifier.verify(request).await.map(drop).map_err(|error: VerifyError| error.kind())
    };
    let verifier = hybrid(&published, true);
    assert_eq!(ask(&verifier, "a").await, Ok(()));
    assert_eq!(ask(&verifier, "b").await, Ok(()));
    assert_eq!(ask(&verifier, "c").await, Err(ErrorKind::KeyPending));
    let verifier = hybrid(&published, false);
    assert_eq!(ask(&verifier, "b").await, Err(ErrorKind::UnusableKey));
}

// The number of keys.

#[tokio::test(start_paused = true)]
async fn of_more_keys_than_are_kept_the_first_usable_ones_are_used() {
    let numbered = |from: usize, to: usize| (from..to).map(|at| jwk(&format!("k{at}")));
    // Keys that can't be used take no place.
    let useless = (0..100).map(|at| with(jwk(&format!("e{at}")), "use", "enc"));
    let keys: Vec<_> = useless.chain(numbered(0, 66)).collect();
    let server = Server::with_keys(&keys);
    let verifier = server.warm_verifier().await;
    for kid in ["k0", "k63"] {
        assert_eq!(at_once(&verifier, &token(kid)), Some(Ok(())), "{kid}");
    }
    sleep(11 * SECOND).await;
    assert_eq!(kind(&verifier, &token("k64")).await, ErrorKind::UnusableKey);

    let verifier = warm(&server, |jwt| jwt.max_keys(65)).await;
    assert_eq!(at_once(&verifier, &token("k64")), Some(Ok(())));
    sleep(11 * SECOND).await;
    assert_eq!(kind(&verifier, &token("k65")).await, ErrorKind::UnusableKey);
}

#[tokio::test(start_paused = true)]
async fn key_set_of_the_largest_size_is_read() {
    let many = (0..9_000).map(|at| json!({"kty": "x", "kid": at.to_string()}));
    let keys: Vec<_> = many.chain([jwk("a")]).collect();
    let verifier = Server::with_keys(&keys).warm_verifier().await;
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
    // Without any key that can be used it is an error of the issuer.
    let server = Server::with_keys(&keys[..9_000]);
    assert_eq!(kind(&server.verifier(), &token("a")).await, ErrorKind::BadResponse);
}

#[tokio::test(start_paused = true)]
async fn key_that_was_not_tried_is_no_bad_signature() {
    let other = SigningKey::from_pem(Algorithm::RS256, include_bytes!("keys/rsa-other.pem"));
    let other = without(other.unwrap().public_jwk().unwrap(), "kid");
    let own = without(rsa().public_jwk().unwrap(), "kid");
    let keys = [vec![other; 4], vec![own]].concat();
    let old = with(claims(), "iat", 1);
    let nameless = rsa().sign(&json!({"alg": "RS256", "typ": "at+jwt"}), &old).unwrap();
    let named = rsa().sign(&json!({"alg": "RS256", "typ": "at+jwt", "kid": "x"}), &old).unwrap();
    let server = Server::with_keys(&keys);
    let verifier = server.warm_verifier().await;
    for token in [&nameless, &named] {
        sleep(11 * SECOND).await;
        let error = verify(&verifier, token).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.blame()),
            (ErrorKind::UntriedKeys, Blame::AuthorizationServer)
        );
    }
    let verifier = warm(&server, |jwt| jwt.max_keys_tried(5)).await;
    for token in [&nameless, &named] {
        assert_eq!(at_once(&verifier, token), Some(Ok(())));
    }
    // All that fit were tried.
    let server = Server::with_keys(&keys[..4]);
    assert_eq!(kind(&server.warm_verifier().await, &nameless).await, ErrorKind::BadSignature);
    // A token with another fault is refused for that.
    let server = Server::with_keys(&keys);
    let foreign = with(old, "iss", "https://evil.example.com");
    let foreign = rsa().sign(&json!({"alg": "RS256", "typ": "at+jwt"}), &foreign).unwrap();
    assert_eq!(kind(&server.warm_verifier().await, &foreign).await, ErrorKind::WrongIssuer);
}

#[tokio::test(start_paused = true)]
async fn limits_of_keys_are_settings_of_a_file() {
    let file = |lines: &str| {
        let text =
            format!("audience = 'api'\n[[issuer]]\nissuer = '{ISSUER}'\nmode = 'jwt'\n{lines}");
        Config::from_toml(&text)
    };
    // All fit a token without `kid`, and the one that verifies it is the last.
    let other = SigningKey::from_pem(Algorithm::RS256, include_bytes!("keys/rsa-other.pem"));
    let other = without(other.unwrap().public_jwk().unwrap(), "kid");
    let keys = [vec![other; 65], vec![rsa().public_jwk().unwrap()]].concat();
    let server = Server::with_keys(&keys);
    let token = rsa().sign(&json!({"alg": "RS256", "typ": "at+jwt"}), &claims()).unwrap();
    for (lines, expected) in [
        ("", Err(ErrorKind::UntriedKeys)),
        ("max_keys = 66", Err(ErrorKind::UntriedKeys)),
        ("max_keys_tried = 66", Err(ErrorKind::BadSignature)),
        ("max_keys = 66\nmax_keys_tried = 66", Ok(())),
    ] {
        let build =
            |api: ResourceServerBuilder| api.transport(server.transport()).clock(FixedClock);
        let api = file(lines).unwrap().build_with(build).unwrap();
        api.warm().await.unwrap();
        sleep(2 * SECOND).await;
        let request = VerifyRequest::new(Token::bearer(&token).unwrap());
        let outcome = api.verifier().verify(request).await.map(drop);
        assert_eq!(outcome.map_err(|error| error.kind()), expected, "{lines}");
    }
    for lines in ["max_keys = 0", "max_keys_tried = 0", "max_keys = -1", "max_keys = 'x'"] {
        assert!(file(lines).is_err(), "{lines}");
    }
}

// Keys of other issuers.

#[tokio::test(start_paused = true)]
async fn key_that_names_an_issuer_verifies_the_tokens_of_that_issuer_only() {
    const KEYS: &str = "https://login.example.com/common/discovery/v2.0/keys";
    let of = |tenant: &str| format!("https://login.example.com/{tenant}/v2.0");
    // The common set of Entra ID.
    let keys = [
        with(jwk("any"), "issuer", of("{tenantid}")),
        with(jwk("one"), "issuer", of("9188040d-6c67-4c5b-b112-36a304b66dad")),
        with(jwk("unknown"), "issuer", json!(["https://login.example.com"])),
        jwk("none"),
    ];
    let server = Server::default();
    server.on(KEYS, Reply::json(&json!({ "keys": keys })));
    let issuers = [of("9188040d-6c67-4c5b-b112-36a304b66dad"), of("72f988bf-86f1-41af")];
    let text = json!({ "keys": keys }).to_string();
    for issuer in issuers {
        let key = SigningKey::from_pem(Algorithm::EdDSA, include_bytes!("keys/ed25519.pem"));
        let key = key.unwrap();
        let claims = with(claims(), "iss", &*issuer);
        let token = |kid: &str| {
            let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
            key.sign(&header, &claims).unwrap()
        };
        let builder = JwtVerifier::builder(&*issuer).clock(FixedClock);
        let fetching = builder.clone().transport(server.transport()).jwks_uri(KEYS).build();
        let configured = builder.keys(KeySet::from_jwks(text.as_bytes()).unwrap()).build();
        for verifier in [fetching.unwrap(), configured.unwrap()] {
            verifier.warm().await.unwrap();
            for kid in ["any", "none"] {
                assert_eq!(at_once(&verifier, &token(kid)), Some(Ok(())), "{kid} {issuer}");
            }
            let outcome = verify(&verifier, &token("one")).await.map_err(|error| error.kind());
            let fits = issuer.contains("9188040d");
            assert_eq!(outcome, if fits { Ok(()) } else { Err(ErrorKind::UnknownKey) }, "{issuer}");
        }
    }
    // Other keys take no place.
    let many = (0..64).map(|at| with(jwk(&format!("k{at}")), "issuer", of("other")));
    let server = Server::with_keys(&many.chain([jwk("a")]).collect::<Vec<_>>());
    assert_eq!(at_once(&server.warm_verifier().await, &token("a")), Some(Ok(())));
}

// Encoded bodies.

/// The responses that hide good content, and a part of the cause that names how.
fn encoded(good: &Reply) -> Vec<(Reply, &'static str)> {
    let Reply::Answer(_, headers, body) = good else { panic!() };
    let marked = Bytes::from([&b"\xef\xbb\xbf"[..], body].concat());
    let zipped = Bytes::from_static(b"\x1f\x8b\x08\0");
    vec![
        (good.clone().with("content-encoding", "gzip"), "\"gzip\""),
        (good.clone().with("content-encoding", "br"), "\"br\""),
        (Reply::Answer(200, headers.clone(), marked), "byte order mark (UTF-8)"),
        (Reply::Answer(200, headers.clone(), zipped), "gzip"),
    ]
}

fn causes(error: &VerifyError) -> String {
    let mut text = error.context().unwrap_or_default().to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[tokio::test(start_paused = true)]
async fn rfc9110_12_5_3_encoded_keys_and_metadata_are_named_and_not_asked_for() {
    let keys = Reply::json(&json!({"keys": [jwk("a")]}));
    let metadata = Reply::json(&json!({"issuer": ISSUER, "jwks_uri": JWKS}));
    for (url, good) in [(JWKS, keys), (METADATA, metadata)] {
        for (reply, named) in encoded(&good) {
            let server = Server::with_keys(&[jwk("a")]);
            server.on(url, reply);
            let error = verify(&server.verifier(), &token("a")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadResponse);
            if url == JWKS {
                assert!(causes(&error).contains(named), "{named}: {}", causes(&error));
            }
            assert_eq!(server.last_field(header::ACCEPT_ENCODING).unwrap(), "identity");
        }
        let server = Server::with_keys(&[jwk("a")]);
        server.on(url, good.with("content-encoding", "identity"));
        verify(&server.verifier(), &token("a")).await.unwrap();
    }
    let marked = format!("\u{feff}{}", json!({"keys": [jwk("a")]}));
    assert_eq!(KeySet::from_jwks(marked.as_bytes()).unwrap_err(), KeyError::ByteOrderMark);
}

#[tokio::test(start_paused = true)]
async fn rfc9110_12_5_3_encoded_introspection_responses_are_named_and_not_asked_for() {
    let good = Reply::json(&json!({"active": true, "aud": "api", "sub": "alice"}));
    let ask = async |reply: &Reply| {
        let Reply::Answer(status, headers, body) = reply.clone() else { panic!() };
        let transport = HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            assert_eq!(request.headers()["accept-encoding"], "identity");
            let mut response = Response::builder().status(status).body(body.clone()).unwrap();
            *response.headers_mut() = headers.clone();
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        }));
        let verifier = IntrospectionVerifier::builder(ISSUER, ClientAuth::basic("api", "s3cret"))
            .endpoint("https://as.example.com/introspect")
            .transport(transport)
            .clock(FixedClock)
            .build()
            .unwrap();
        verifier.verify(VerifyRequest::new(Token::bearer("abc").unwrap())).await.map(drop)
    };
    ask(&good).await.unwrap();
    for (reply, named) in encoded(&good) {
        let error = ask(&reply).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse);
        assert!(causes(&error).contains(named), "{named}: {}", causes(&error));
    }
}

// A start before the server.

#[tokio::test(start_paused = true)]
async fn service_that_starts_before_its_server_serves_within_seconds() {
    for seconds in [1, 7, 31, 64, 300, 1000] {
        for down in [
            Reply::Fail(TransportErrorKind::Connect),
            Reply::text(503, "").with("retry-after", "120"),
        ] {
            let server = Server::with_keys(&[jwk("a")]);
            for url in [METADATA, JWKS] {
                server.on(url, down.clone());
            }
            let verifier = server.verifier();
            let token = token("a");
            for _ in 0..seconds {
                assert_eq!(kind(&verifier, &token).await, ErrorKind::Unavailable);
                sleep(SECOND).await;
            }
            server.on(METADATA, Reply::json(&json!({"issuer": ISSUER, "jwks_uri": JWKS})));
            server.publish(&[jwk("a")]);
            let up = tokio::time::Instant::now();
            while let Err(error) = verify(&verifier, &token).await {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.retry_after().unwrap() <= 5 * SECOND, "{error:?}");
                assert!(up.elapsed() < 6 * SECOND, "down for {seconds} s: {:?}", up.elapsed());
                sleep(SECOND / 10).await;
            }
            let _ = MINUTE;
        }
    }
}

/// A server of all endpoints that can't be reached until `up`.
fn later(up: &Arc<AtomicBool>) -> HttpTransport {
    let up = Arc::clone(up);
    HttpTransport::new(service_fn(move |request: Request<Bytes>| {
        let body = match request.uri().path() {
            "/jwks" => json!({"keys": [jwk("a")]}),
            "/introspect" if request.body().contains(&b'.') => {
                json!({"active": true, "aud": "api", "sub": "alice", "iss": ISSUER})
            }
            "/introspect" => json!({"active": false}),
            _ => json!({
                "issuer": ISSUER,
                "jwks_uri": JWKS,
                "introspection_endpoint": "https://as.example.com/introspect",
            }),
        };
        let outcome = if up.load(Ordering::Relaxed) {
            let response = Response::builder().header("content-type", "application/json");
            Ok(response.body(Bytes::from(body.to_string())).unwrap())
        } else {
            Err(TransportError::new(TransportErrorKind::Connect))
        };
        std::future::ready(outcome)
    }))
}

#[tokio::test(start_paused = true)]
async fn service_in_any_mode_that_starts_before_its_server_serves_within_seconds() {
    let auth = || ClientAuth::basic("api", "s3cret");
    for (mode, make) in [
        ("jwt", (&|| Issuer::jwt(ISSUER)) as &dyn Fn() -> Issuer),
        ("introspect", &|| Issuer::introspect(ISSUER, auth())),
        ("confirmed", &|| Issuer::jwt_and_introspect(ISSUER, auth(), MINUTE)),
    ] {
        for seconds in [3, 40, 333] {
            let up = Arc::new(AtomicBool::new(false));
            let api = ResourceServer::builder("api").issuer(make()).transport(later(&up));
            let api = api.clock(FixedClock).build().unwrap();
            let verifier = api.verifier();
            let ask = async || {
                let request = VerifyRequest::new(Token::bearer(&token("a")).unwrap());
                verifier.verify(request).await.map(drop)
            };
            for _ in 0..seconds {
                assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::Unavailable, "{mode}");
                sleep(SECOND).await;
            }
            up.store(true, Ordering::Relaxed);
            let since = tokio::time::Instant::now();
            while let Err(error) = ask().await {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{mode}");
                let waited = since.elapsed();
                // While the breaker is open, a token is tried every 2 s, and the metadata is fetched again
                // after 5 s at most.
                let most = if mode == "jwt" { 6 * SECOND } else { 8 * SECOND };
                assert!(waited < most, "{mode} after {seconds} s: {waited:?}");
                sleep(SECOND / 10).await;
            }
        }
    }
}
