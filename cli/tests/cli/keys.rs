//! `introspect keys lint`.

use http::HeaderValue;
use serde_json::{Value, json};
use tower_introspect::test_util::{AuthorizationServer, Endpoint, Fault};

use crate::{
    front,
    run::{Ran, at, file, key, run},
};

async fn lint(name: &str, keys: impl AsRef<[u8]>) -> Ran {
    let path = file(name, keys);
    run(&["keys", "lint", "--at", &at(), &path], "").await
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn good() -> Value {
    key().public_jwk().unwrap()
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut key = good();
    key[name] = value.into();
    key
}

#[tokio::test]
async fn screens() {
    lint("good.json", set(&[good()])).await.shows("keys-good");
    let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"});
    let private = with("d", "c2VjcmV0");
    let weak = json!({"kty": "RSA", "kid": "weak", "use": "sig", "n": "_____w", "e": "Aw"});
    let known = json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "known",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let other = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "pq"});
    let x5c =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/tls/expired.pem"));
    let x5c: String = x5c.unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let certified = with("x5c", json!([x5c]));
    let twice = good().to_string().replacen('{', "{\"use\":\"enc\",", 1);
    let ending = with("exp", crate::run::NOW + 86_400);
    let all = set(&[private, secret, weak, known, other, certified, ending]);
    let all = all.replacen("[{", &format!("[{twice},{{"), 1);
    lint("bad.json", all).await.shows("keys-bad");
    lint("page.json", "<!doctype html><title>Sign in</title>").await.shows("keys-html");
}

#[tokio::test]
async fn files_of_all_kinds_are_checked() {
    for (text, code, finding) in [
        (&b"\xff\xfe\x00garbage"[..], 1, "keys_no_text"),
        (b"", 1, "keys_no_json"),
        (b"\xef\xbb\xbf{\"keys\": []}", 1, "keys_byte_order_mark"),
        (b"{\"keys\": 5}", 1, "keys_missing"),
        (b"{\"a\": []}", 1, "keys_missing"),
        (b"{\"keys\": []}", 1, "keys_none_used"),
        (b"{\"keys\": [1, null, \"x\", []]}", 1, "key_malformed"),
        (b"{\"keys\": [{\"kty\": \"RSA\"", 1, "keys_no_json"),
        (include_bytes!("../../../tests/it/keys/p256.pem"), 1, "key_private"),
        (include_bytes!("../../../tests/it/keys/p256.pub.pem"), 0, "key_used"),
        (include_bytes!("../../../tests/it/keys/rsa-1024.pub.pem"), 1, "key_unusable"),
        (include_bytes!("tls/expired.pem"), 1, "certificate_expires"),
        (include_bytes!("tls/good.pem"), 0, "certificate_expires"),
    ] {
        let path = file("whatever", text);
        let ran = run(&["keys", "lint", "--json", "--at", &at(), &path], "").await;
        assert_eq!(ran.code, code, "{}", ran.screen());
        assert!(ran.out.contains(&format!("\"{finding}\"")), "{finding}: {}", ran.out);
        let ran = run(&["keys", "lint", "--json", "--at", &at(), "-"], text).await;
        assert_eq!(ran.code, code, "from standard input");
    }
    let same = [with("kid", "a"), with("kid", "b"), with("kid", "a")];
    let ran = lint("same.json", set(&same)).await;
    assert!(ran.out.contains("`a` and `b` are the same key"), "{}", ran.out);
    assert!(ran.out.contains("several keys have the `kid` `a`"), "{}", ran.out);
    assert_eq!(run(&["keys", "lint", "--strict", &file("same", set(&same))], "").await.code, 1);
    assert_eq!(run(&["keys", "lint", "/nowhere"], "").await.code, 2);
}

#[tokio::test]
async fn sets_of_more_keys_than_are_kept_are_counted() {
    let unused = (0..9).map(|at| with("kid", format!("e{at}"))).map(|mut key| {
        key["use"] = "enc".into();
        key
    });
    let used = |number: usize| (0..number).map(|at| with("kid", format!("k{at}")));
    let ran = lint("many.json", set(&unused.clone().chain(used(66)).collect::<Vec<_>>())).await;
    assert_eq!(ran.code, 1, "{}", ran.screen());
    for words in [
        "66 keys can be used; the library keeps the first 64",
        "64 of the 75 keys are used",
        "it is not one of the first 64 keys",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.screen());
    }
    let ran = lint("enough.json", set(&unused.chain(used(64)).collect::<Vec<_>>())).await;
    assert!(ran.code == 0 && !ran.out.contains("the first 64"), "{}", ran.screen());
}

#[tokio::test]
async fn keys_that_are_not_tried_are_told() {
    let named = |number: usize| (0..number).map(|at| with("kid", format!("k{at}")));
    let told = "5 keys are of the type OKP Ed25519: the library tries 4";
    let ran = lint("tried.json", set(&named(4).collect::<Vec<_>>())).await;
    assert!(!ran.out.contains("the library tries 4"), "{}", ran.screen());
    let five = set(&named(5).collect::<Vec<_>>());
    let ran = lint("five.json", &five).await;
    assert!(ran.out.contains(told), "{}", ran.screen());
    let nameless: Vec<_> = named(5)
        .map(|mut key| {
            key["kid"] = Value::Null;
            key
        })
        .collect();
    let ran = lint("nameless.json", set(&nameless)).await;
    assert!(ran.out.contains(&format!("! {told}")), "{}", ran.screen());
}

#[tokio::test]
async fn members_that_are_not_set_are_absent() {
    let mut key = good();
    for name in ["d", "p", "k", "alg", "issuer", "key_ops", "x5c"] {
        key[name] = Value::Null;
    }
    (key["oth"], key["key_ops"]) = (json!([]), json!([]));
    let ran = lint("unset.json", set(&[key])).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    assert!(!ran.out.contains("private") && !ran.out.contains("secret"), "{}", ran.screen());
    assert!(ran.out.contains("it has no `alg`"), "{}", ran.screen());
    // A true private half is told all the same.
    let ran = lint("private.json", set(&[with("d", "c2VjcmV0")])).await;
    assert!(ran.code == 1 && ran.out.contains("private members (d)"), "{}", ran.screen());
    let ran = lint("issuer.json", set(&[with("issuer", "https://as.example.com/a")])).await;
    assert!(ran.out.contains("serves the issuer `https://as.example.com/a` only"), "{}", ran.out);
}

#[tokio::test]
async fn the_keys_of_the_test_kit_are_known() {
    for name in ["rsa-1", "rsa-2", "rsa-3"] {
        let pem =
            format!("{}/../src/test_util/keys/test-only-{name}.pem", env!("CARGO_MANIFEST_DIR"));
        let mint = ["mint", "key", "--algorithm", "RS256", "--from", &pem, "--format", "jwks"];
        let ran = lint("known.json", run(&mint, "").await.out).await;
        assert!(ran.code == 1 && ran.out.contains("the test kit"), "{}", ran.screen());
    }
}

#[tokio::test]
async fn keys_at_a_url_are_checked() {
    let (server, listening) = front::plain().await;
    front::without_known_keys(&server);
    let at = at();
    let url = server.url(Endpoint::Jwks);
    let arguments = ["keys", "lint", "--at", &at, "--danger-allow-http-loopback", &url];
    let impatient = [&arguments[..], &["--timeout", "1"]].concat();
    server.set_cache_control(HeaderValue::from_static("public, max-age=604800"));
    let ran = run(&arguments, "").await;
    assert!(ran.code == 0 && ran.out.contains("keys may be cached for 7 d"), "{}", ran.screen());
    for (fault, code, words) in [
        (Fault::redirect("https://other.example.com/"), 1, "redirects are not followed"),
        (Fault::html(), 1, "this is a page"),
        (Fault::oversize(1 << 20), 1, "larger than"),
        (Fault::garbage(), 1, "not a JSON object"),
        (Fault::status(http::StatusCode::NOT_FOUND), 1, "404"),
        (Fault::status(http::StatusCode::BAD_GATEWAY), 3, "502"),
        (Fault::close(), 3, ""),
        (Fault::hang(), 3, "no response within 1 s"),
    ] {
        server.inject(Endpoint::Jwks, fault);
        let hangs = words.contains("within 1 s");
        let ran = run(if hangs { &impatient } else { &arguments }, "").await;
        server.clear(Endpoint::Jwks);
        assert_eq!(ran.code, code, "{words}: {}", ran.screen());
        assert!(ran.screen().contains(words), "{words}: {}", ran.screen());
    }
    drop(listening);
    assert_eq!(run(&arguments, "").await.code, 3);
    assert_eq!(run(&["keys", "lint", &url], "").await.code, 2, "`http` needs an option");
    assert_eq!(run(&["keys", "lint", "ftp://x/"], "").await.code, 2);
    let _: AuthorizationServer = server;
}
