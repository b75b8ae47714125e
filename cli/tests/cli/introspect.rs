//! `introspect introspect`.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use tower_introspect::{
    clock::UnixTime,
    jose::{Algorithm, SigningKey},
    jwt::KeySet,
    test_util::{AuthorizationServer, Client, Endpoint, Fault},
};

use crate::{
    front::{self, CA, Front},
    run::{AUDIENCE, NOW, Ran, at, file, run, run_in},
};

async fn introspect(server: &AuthorizationServer, token: &str, more: &[&str]) -> Ran {
    let at = at();
    let known = [
        "introspect",
        "--at",
        &at,
        "--issuer",
        server.issuer(),
        "--danger-allow-http-loopback",
        "--client-id",
        "api",
        "--secret-env",
        "SECRET",
    ];
    let ran = run_in(&[("SECRET", "s3cret")], &[&known, more].concat(), token).await;
    assert!(!ran.screen().contains("s3cret"), "{}", ran.screen());
    assert!(!ran.screen().contains(token), "{}", ran.screen());
    ran
}

fn opaque(server: &AuthorizationServer) -> String {
    let token = server.opaque().audience(AUDIENCE).scope("read");
    let token = token.issued_at(UnixTime::from_secs(NOW - 300));
    token.expires_at(UnixTime::from_secs(NOW + 3300)).mint()
}

#[tokio::test]
async fn screens() {
    let (server, _listening) = front::plain().await;
    let token = opaque(&server);
    introspect(&server, &token, &[]).await.steady(&server).shows("introspect-active");
    let ran = introspect(&server, &token, &["--signed", "--hint", "access_token"]).await;
    ran.steady(&server).shows("introspect-signed");
    introspect(&server, "unheard-of", &[]).await.steady(&server).shows("introspect-inactive");
    server.inject(Endpoint::Introspection, Fault::html().for_next(1));
    introspect(&server, &token, &[]).await.steady(&server).shows("introspect-html");
    server.inject(Endpoint::Introspection, Fault::hang());
    let ran = introspect(&server, &token, &["--timeout", "1"]).await;
    assert_eq!(ran.code, 3, "{}", ran.screen());
    assert!(ran.out.contains("NOT KNOWN") && ran.out.contains("none within"), "{}", ran.out);
}

#[tokio::test]
async fn every_client_authentication() {
    let (server, _listening) = front::plain().await;
    let key = || {
        SigningKey::from_pem(Algorithm::ES256, include_bytes!("../../../tests/it/keys/p256.pem"))
            .unwrap()
    };
    let public = |key: SigningKey| {
        KeySet::from_jwk(key.public_jwk().unwrap().to_string().as_bytes()).unwrap()
    };
    let secret = "a secret of 32 characters or more";
    server.register(Client::assertions("pk", public(key().with_kid("k"))));
    let keys = KeySet::from_secret(Algorithm::HS256, secret.as_bytes()).unwrap();
    server.register(Client::assertions("sj", keys));
    server.register(Client::bearer("b", "token-of-ours"));
    server.register(Client::mtls("m"));
    let token = opaque(&server);
    let pem = include_str!("../../../tests/it/keys/p256.pem");
    for (value, more) in [
        ("s3cret", &["--auth", "secret", "--client-id", "api"][..]),
        ("s3cret", &["--auth", "basic", "--client-id", "api"]),
        ("s3cret", &["--auth", "basic-raw", "--client-id", "api"]),
        ("s3cret", &["--auth", "post", "--client-id", "api"]),
        ("token-of-ours", &["--auth", "bearer"]),
        (
            pem,
            &[
                "--auth",
                "private-key-jwt",
                "--client-id",
                "pk",
                "--algorithm",
                "ES256",
                "--kid",
                "k",
            ],
        ),
        (secret, &["--auth", "client-secret-jwt", "--client-id", "sj"]),
        ("unused", &["--auth", "mtls", "--client-id", "m"]),
    ] {
        let known = [
            "introspect",
            "--issuer",
            server.issuer(),
            "--danger-allow-http-loopback",
            "--secret-env",
            "S",
        ];
        let ran = run_in(&[("S", value)], &[&known, more].concat(), &token).await;
        assert_eq!(ran.code, 0, "{more:?}: {}", ran.screen());
        assert!(!ran.screen().contains(value.trim()), "{more:?}: {}", ran.screen());
        let machine = run_in(&[("S", value)], &[&known, more, &["--json"]].concat(), &token).await;
        assert!(!machine.out.contains(value.trim()) && !machine.out.contains(&token));
        assert_eq!(machine.json()["claims"]["active"], true);
        // A wrong secret is refused. This server sees no certificate, so mTLS is left out.
        if value != "unused" && !value.contains("BEGIN") {
            let wrong = format!("{value}-not");
            let ran = run_in(&[("S", &wrong)], &[&known, more].concat(), &token).await;
            assert_eq!(ran.code, 2, "{more:?}: {}", ran.screen());
            assert!(ran.out.contains("credentials_rejected"), "{}", ran.out);
        }
    }
}

#[tokio::test]
async fn the_configuration_of_a_service_sets_issuer_and_credentials() {
    let (server, _listening) = front::plain().await;
    let path = front::config("introspect", server.issuer(), "mode = \"introspect\"\n");
    let token = opaque(&server);
    let ran = run(&["introspect", "--config", &path], &token).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    let unknown = ["introspect", "--config", &path, "--issuer", "https://other.example.com"];
    assert_eq!(run(&unknown, &token).await.code, 2);
}

#[tokio::test]
async fn missing_options_are_reported_together() {
    let ran = run(
        &["introspect", "--issuer", "https://as.example.com", "--auth", "private-key-jwt"],
        "x",
    );
    ran.await.shows("introspect-missing");
    let http =
        ["introspect", "--issuer", "http://127.0.0.1:1", "--client-id", "a", "--secret-env", "S"];
    run_in(&[("S", "x")], &http, "x").await.shows("introspect-http");
    let argument = ["--client-secret", "x"];
    assert_eq!(
        run(&[&http[..], &argument].concat(), "x").await.code,
        2,
        "secrets are not accepted as arguments"
    );
}

#[tokio::test]
async fn problems_with_certificates_are_named() {
    for (certificate, words) in [
        ("expired", "certificate of the server has expired"),
        ("future", "not valid yet"),
        ("other-name", "for another name"),
    ] {
        let front = Front::start(certificate).await;
        let ran = introspect(&front.server, "x-token", &["--ca", CA]).await;
        assert_eq!(ran.code, 3, "{}", ran.screen());
        assert!(ran.out.contains(words), "{certificate}: {}", ran.out);
    }
    let front = Front::start("good").await;
    let ran = introspect(&front.server, "x-token", &[]).await;
    assert_eq!(ran.code, 3, "{}", ran.screen());
    assert!(ran.out.contains("authority that is not trusted"), "{}", ran.out);
    let ran = introspect(&front.server, "x-token", &["--ca", CA]).await;
    assert_eq!(ran.code, 1, "it is inactive: {}", ran.screen());
}

/// No response causes a panic, and no control character reaches the terminal.
#[tokio::test]
async fn responses_out_of_protocol_are_shown() {
    let (server, _listening) = front::plain().await;
    let token = opaque(&server);
    for body in
        [&b"\x00\xff\x1b[2J"[..], b"{\"active\": \"\\u001b[2J\"}", b"[]", b"", b"{\"active\":true,"]
    {
        let mut answer = Response::new(Bytes::copy_from_slice(body));
        *answer.status_mut() = StatusCode::OK;
        let json = header::HeaderValue::from_static("application/json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        server.inject(Endpoint::Introspection, Fault::respond(answer).for_next(1));
        let ran = introspect(&server, &token, &[]).await;
        assert_eq!(ran.code, 3, "{}", ran.screen());
        assert!(!ran.screen().contains('\x1b'), "{:?}", ran.screen());
    }
    for fault in
        [Fault::redirect("https://other.example.com/"), Fault::oversize(1 << 20), Fault::truncate()]
    {
        server.inject(Endpoint::Introspection, fault.for_next(2));
        let ran = introspect(&server, &token, &[]).await;
        assert_eq!(ran.code, 3, "{}", ran.screen());
        server.clear(Endpoint::Introspection);
    }
    assert!(server.unmatched_requests().is_empty());
}

#[tokio::test]
async fn input_that_is_not_a_token_is_not_sent() {
    let (server, _listening) = front::plain().await;
    let path = file("none", b"a\x00b");
    for input in [&b""[..], b"\xff\xfe\x00", b"two words \x07 \xc3\xa9"] {
        let known = ["introspect", "--issuer", server.issuer(), "--danger-allow-http-loopback"];
        let arguments = [&known[..], &["--client-id", "api", "--secret-file", &path]].concat();
        let ran = run(&arguments, input).await;
        assert_eq!(ran.code, 2, "{}", ran.screen());
    }
    assert_eq!(server.calls(Endpoint::Introspection), 0);
}

#[tokio::test]
async fn no_credentials_are_sent_if_none_are_configured() {
    let (server, _listening) = front::plain().await;
    let inactive = || {
        let json = Response::builder().header("content-type", "application/json");
        Fault::respond(json.body(Bytes::from_static(b"{\"active\":false}")).unwrap())
    };
    server.inject(Endpoint::Introspection, inactive());
    let issuer = server.issuer();
    let config = file(
        "danger-none.toml",
        format!(
            "audience = \"{AUDIENCE}\"\ndanger_allow_http_loopback = true\n[[issuer]]\n\
             issuer = \"{issuer}\"\nmode = \"introspect\"\ntimeout_seconds = 120\n\
             client = {{ method = \"danger_none\" }}\n"
        ),
    );
    let options =
        ["introspect", "--issuer", issuer, "--danger-allow-http-loopback", "--auth", "danger-none"];
    for arguments in [&options[..], &["introspect", "--config", &config]] {
        server.reset_calls();
        let ran = run(arguments, "some-token").await;
        assert_eq!(ran.code, 1, "it is inactive: {}", ran.screen());
        let [request] = &server.requests(Endpoint::Introspection)[..] else {
            panic!("one request")
        };
        assert_eq!(request.body(), "token=some-token");
        assert!(!request.headers().contains_key(header::AUTHORIZATION));
    }
    let ran = run(&["doctor", "--json", "--probe", &config], "").await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    assert!(ran.out.contains("this service sends no credentials"), "{}", ran.out);
    assert!(ran.out.contains("introspection without credentials works"), "{}", ran.out);
    assert!(!ran.out.contains("no_credentials_needed") && !ran.out.contains("the secret of"));
}
