//! `introspect mint` and `introspect serve-as`.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::run::{AUDIENCE, PATIENCE, at, command, file, run};

#[tokio::test]
async fn screens() {
    run(&["mint", "token", "--list"], "").await.shows("mint-list");
    let at = at();
    let ran =
        run(&["mint", "token", "--at", &at, "--audience", AUDIENCE, "--algorithm", "EdDSA"], "")
            .await;
    ran.shows("mint-token");
    let ran = run(&["mint", "token", "--audience", "a", "--issuer", "no URL"], "").await;
    ran.shows("mint-no-issuer");
}

#[tokio::test]
async fn the_good_token_is_accepted_and_every_bad_one_refused() {
    let at = at();
    let key = run(&["mint", "key"], "").await;
    assert!(key.err.contains("for tests only"), "{}", key.err);
    let pem = file("mint.pem", &key.out);
    let jwks = run(&["mint", "key", "--from", &pem, "--format", "jwks"], "").await;
    let kid = serde_json::from_str::<Value>(&jwks.out).unwrap()["keys"][0]["kid"].clone();
    assert!(kid.as_str().unwrap().starts_with("test-"));
    let jwks = file("mint.json", jwks.out);
    let issuer = "https://as.example.com";
    let known = [
        "mint",
        "token",
        "--at",
        &at,
        "--issuer",
        issuer,
        "--audience",
        AUDIENCE,
        "--key-file",
        &pem,
    ];
    let all = run(&[&known[..], &["--all"]].concat(), "").await;
    assert_eq!(all.code, 0, "{}", all.screen());
    let mut reasons = Vec::new();
    for line in all.out.lines() {
        let (name, token) = line.split_once('\t').unwrap();
        let verify = [
            "verify",
            "--json",
            "--at",
            &at,
            "--issuer",
            issuer,
            "--audience",
            AUDIENCE,
            "--jwks",
            &jwks,
        ];
        let ran = run(&verify, token).await;
        assert_eq!(ran.code, i32::from(name != "good"), "{name}: {}", ran.screen());
        reasons.push(format!("{name}: {}", ran.json()["reason"].as_str().unwrap_or("-")));
    }
    // These are refused for their own reason.
    for wanted in [
        "good: -",
        "expired: expired",
        "not-yet-valid: not_yet_valid",
        "wrong-audience: wrong_audience",
        "wrong-issuer: wrong_issuer",
        "alg-none: unsupported_algorithm",
        "public-key-as-secret: unsupported_algorithm",
        "corrupt-signature: bad_signature",
        "foreign-key: bad_signature",
        "unknown-key: unknown_key",
        "critical: unsupported_extension",
        "bound: unproven_possession",
        "wrong-typ: wrong_token_kind",
    ] {
        assert!(reasons.iter().any(|reason| reason == wanted), "{wanted} in {reasons:#?}");
    }
}

#[tokio::test]
async fn tokens_and_keys_are_marked_as_test_data() {
    let ran = run(&["mint", "token", "--audience", "a", "--json"], "").await;
    assert_eq!(ran.json()["test"], true);
    assert!(ran.err.contains("for tests only"));
    let token = ran.json()["token"].as_str().unwrap().to_owned();
    let decoded = run(&["decode", "--json"], token).await.json();
    assert_eq!(decoded["claims"]["members"]["test"], true);
    assert!(decoded["header"]["members"]["kid"].as_str().unwrap().starts_with("test-"));
    let unmarked = run(&["mint", "token", "--audience", "a", "--claim", "test=false"], "").await;
    assert_eq!(unmarked.code, 2, "the mark can't be removed");
}

#[tokio::test]
async fn keys_of_all_algorithms_are_printed_in_all_formats() {
    for algorithm in ["ES256", "ES384", "EdDSA", "RS256", "PS512"] {
        let pem = file("kind.pem", run(&["mint", "key", "--algorithm", algorithm], "").await.out);
        let show = async |format| {
            let arguments =
                ["mint", "key", "--algorithm", algorithm, "--from", &pem, "--format", format];
            let ran = run(&arguments, "").await;
            assert_eq!(ran.code, 0, "{}", ran.screen());
            serde_json::from_str::<Value>(&ran.out).unwrap()
        };
        let (public, private) = (show("jwk").await, show("private-jwk").await);
        assert!(public.get("d").is_none(), "{algorithm}");
        let d = private["d"].as_str().unwrap().len();
        let wanted = match algorithm {
            "ES256" | "EdDSA" => 43..=43,
            "ES384" => 64..=64,
            _ => 300..=342,
        };
        assert!(wanted.contains(&d), "{algorithm}: {d}");
        assert_eq!(public["kid"], private["kid"]);
        let token = [
            "mint",
            "token",
            "--audience",
            "a",
            "--algorithm",
            algorithm,
            "--key-file",
            &pem,
            "--issuer",
            "https://as.example.com",
        ];
        let token = run(&token, "").await.out;
        let jwks = file("kind.json", public.to_string());
        let verify =
            ["verify", "--issuer", "https://as.example.com", "--audience", "a", "--jwks", &jwks];
        assert_eq!(run(&verify, token).await.code, 0, "{algorithm}");
    }
    assert_eq!(run(&["mint", "key", "--algorithm", "HS256"], "").await.code, 2);
    assert_eq!(run(&["mint", "key", "--from", &file("none.pem", "x")], "").await.code, 2);
}

#[tokio::test]
async fn tokens_of_mint_verify_at_serve_as() {
    let mut server =
        command(&["serve-as", "--port", "0", "--json", "--fault", "introspection=html"]);
    let mut server = server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut text = String::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            text.push_str(&line);
            if line == "}" {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    let ready: Value = serde_json::from_str(&text).unwrap();
    let issuer = ready["issuer"].as_str().unwrap();
    assert!(issuer.starts_with("http://127.0.0.1:"), "{issuer}");
    let token = run(&["mint", "token", "--issuer", issuer, "--audience", "a"], "").await.out;
    let verify = ["verify", "--issuer", issuer, "--audience", "a", "--danger-allow-http-loopback"];
    assert_eq!(run(&verify, &token).await.code, 0);
    let secret = file("serve.secret", "api-secret");
    let introspect = [
        "introspect",
        "--issuer",
        issuer,
        "--danger-allow-http-loopback",
        "--client-id",
        "api",
        "--secret-file",
        &secret,
    ];
    let ran = run(&introspect, &token).await;
    assert!(ran.code == 3 && ran.out.contains("Sign in"), "{}", ran.screen());

    let port = issuer.rsplit(':').next().unwrap();
    let taken = run(&["serve-as", "--port", port], "").await;
    assert!(taken.code == 2 && taken.err.contains("--port 0"), "{}", taken.screen());
    assert_eq!(run(&["serve-as", "--fault", "introspection=sulk"], "").await.code, 2);
    server.kill().await.unwrap();
    let mut err = String::new();
    server.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    assert!(err.contains("for tests only"), "{err}");
}
