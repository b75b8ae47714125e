//! The expected responses to each refusal, over HTTP and gRPC.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Uri, Version, header};
use proptest::prelude::*;
use tower_introspect::{
    ErrorKind, TokenKind, VerifyError,
    claims::Scope,
    credentials::{RequestHead, Scheme},
    respond::{Auto, Challenge, HttpOnly, ProblemJson, Refusal, Respond},
};

use crate::support::challenge;

/// The response to a POST over HTTP/2.
fn answer<R: Respond<Bytes>>(
    responder: &R,
    error: &VerifyError,
    content_type: Option<&str>,
) -> Response<Bytes> {
    answer_to(responder, error, &Method::POST, Version::HTTP_2, content_type)
}

fn answer_to<R: Respond<Bytes>>(
    responder: &R,
    error: &VerifyError,
    method: &Method,
    version: Version,
    content_type: Option<&str>,
) -> Response<Bytes> {
    let mut headers = HeaderMap::new();
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    }
    let uri = Uri::from_static("/");
    let challenge =
        Challenge::new("api").resource_metadata("https://api.example.com/.well-known/m");
    let head = RequestHead::new(method, &uri, &headers).with_version(version);
    responder.respond(&Refusal::new(error, head, &challenge))
}

fn golden() -> Vec<(VerifyError, u16, Option<&'static str>, &'static str)> {
    let kind = VerifyError::new;
    let metadata = "resource_metadata=\"https://api.example.com/.well-known/m\"";
    let bare = format!("Bearer realm=\"api\", {metadata}").leak();
    let error = |code: &str| &*format!("Bearer realm=\"api\", error=\"{code}\", {metadata}").leak();
    let proof = |code: &str| &*format!("DPoP realm=\"api\", error=\"{code}\", {metadata}").leak();
    let scope = format!(
        "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"read write\", {metadata}"
    )
    .leak();
    let step_up = format!(
        "Bearer realm=\"api\", error=\"insufficient_user_authentication\", acr_values=\"mfa pwd\", max_age=\"300\", {metadata}"
    )
    .leak();
    vec![
        (kind(ErrorKind::MissingCredentials), 401, Some(&*bare), "16"),
        (kind(ErrorKind::UnsupportedScheme), 401, Some(&*bare), "16"),
        (kind(ErrorKind::MalformedCredentials), 400, Some(error("invalid_request")), "16"),
        (kind(ErrorKind::RepeatedCredentials), 400, Some(error("invalid_request")), "16"),
        (kind(ErrorKind::BadSignature), 401, Some(error("invalid_token")), "16"),
        (kind(ErrorKind::WrongTokenKind(TokenKind::Id)), 401, Some(error("invalid_token")), "16"),
        (kind(ErrorKind::Inactive), 401, Some(error("invalid_token")), "16"),
        (VerifyError::insufficient_scope("read write"), 403, Some(&*scope), "7"),
        (
            VerifyError::insufficient_authentication(
                Some("mfa pwd"),
                Some(Duration::from_secs(300)),
            ),
            401,
            Some(&*step_up),
            "16",
        ),
        (kind(ErrorKind::InvalidProof), 401, Some(proof("invalid_dpop_proof")), "16"),
        (kind(ErrorKind::NonceRequired), 401, Some(proof("use_dpop_nonce")), "16"),
        (kind(ErrorKind::Denied), 403, None, "7"),
        (kind(ErrorKind::TooManyRequests), 429, None, "8"),
        (kind(ErrorKind::ClockWrong), 503, None, "14"),
        (kind(ErrorKind::Unavailable), 503, None, "14"),
        (kind(ErrorKind::KeyPending), 503, None, "14"),
        (kind(ErrorKind::UnusableKey), 502, None, "14"),
        (kind(ErrorKind::UntriedKeys), 502, None, "14"),
        (kind(ErrorKind::ReplayUnavailable), 503, None, "14"),
        (kind(ErrorKind::BadResponse), 502, None, "14"),
        (kind(ErrorKind::CredentialsRejected), 500, None, "13"),
        (kind(ErrorKind::Misconfigured), 500, None, "13"),
    ]
}

#[test]
fn golden_over_http() {
    for (error, status, expected, _) in golden() {
        let response = answer(&Auto::new(), &error, None);
        assert_eq!(response.status().as_u16(), status, "{error}");
        assert_eq!(challenge(response.headers()), expected, "{error}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert!(response.body().is_empty());
    }
}

#[test]
fn golden_over_grpc() {
    for (error, _, expected, code) in golden() {
        for (asked, answered) in [
            ("application/grpc", "application/grpc"),
            ("application/grpc+proto", "application/grpc"),
            ("Application/gRPC;x=y", "application/grpc"),
            ("application/grpc-web+proto", "application/grpc-web"),
            ("application/grpc-web-text", "application/grpc-web-text"),
        ] {
            let response = answer(&Auto::new(), &error, Some(asked));
            assert_eq!(response.status(), StatusCode::OK, "{error}");
            assert_eq!(response.headers()["grpc-status"], code, "{error}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], answered);
            assert_eq!(challenge(response.headers()), expected, "{error}");
        }
    }
}

#[test]
fn golden_with_both_schemes() {
    let challenge = Challenge::new("api").scope(Scope::parse("read")).dpop(["ES256", "PS256"]);
    let read = "scope=\"read\"";
    let algs = "algs=\"ES256 PS256\"";
    let bearer = |error: &str| format!("Bearer realm=\"api\"{error}, {read}");
    let dpop = |error: &str| format!("DPoP realm=\"api\"{error}, {read}, {algs}");
    let invalid = ", error=\"invalid_token\"";
    let step_up = VerifyError::insufficient_authentication(Some("mfa"), None);
    let asked = ", error=\"insufficient_user_authentication\"";
    let scope = VerifyError::insufficient_scope("write");
    let lacking = "error=\"insufficient_scope\", scope=\"write\"";
    let wrong_proof = ", error=\"invalid_dpop_proof\"";
    let (missing, expired) = (ErrorKind::MissingCredentials.into(), ErrorKind::Expired.into());
    let (proof, unavailable) = (ErrorKind::InvalidProof.into(), ErrorKind::Unavailable.into());
    let rows: [(&VerifyError, Option<Scheme>, Vec<String>); 10] = [
        (&missing, None, vec![bearer(""), dpop("")]),
        (&expired, None, vec![bearer(invalid), dpop(invalid)]),
        (&expired, Some(Scheme::Bearer), vec![bearer(invalid), dpop("")]),
        (&expired, Some(Scheme::Dpop), vec![dpop(invalid), bearer("")]),
        (
            &step_up,
            Some(Scheme::Dpop),
            vec![
                format!("DPoP realm=\"api\"{asked}, {read}, acr_values=\"mfa\", {algs}"),
                bearer(""),
            ],
        ),
        (&scope, Some(Scheme::Bearer), vec![format!("Bearer realm=\"api\", {lacking}")]),
        (&scope, Some(Scheme::Dpop), vec![format!("DPoP realm=\"api\", {lacking}, {algs}")]),
        (&proof, Some(Scheme::Dpop), vec![dpop(wrong_proof)]),
        (&proof, Some(Scheme::Bearer), vec![dpop(wrong_proof)]),
        (&unavailable, Some(Scheme::Dpop), vec![]),
    ];
    for (error, used, expected) in rows {
        assert_eq!(
            challenge.headers(error, used).collect::<Vec<_>>(),
            expected,
            "{error} {used:?}"
        );
    }
}

const VERSIONS: [Version; 5] =
    [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];

const METHODS: [Method; 5] =
    [Method::POST, Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS];

/// Returns the methods and versions with which the responders answer in gRPC.
fn answered_in_grpc(content_type: &str) -> Vec<(Method, Version)> {
    let error = VerifyError::new(ErrorKind::Expired);
    let mut found = Vec::new();
    for method in METHODS {
        for version in VERSIONS {
            let kind = Some(content_type);
            let plain = answer_to(&Auto::new(), &error, &method, version, kind);
            let problem = answer_to(&ProblemJson::new(), &error, &method, version, kind);
            for response in [&plain, &problem] {
                let in_grpc = response.headers().contains_key("grpc-status");
                let status = if in_grpc { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                assert_eq!(response.status(), status, "{content_type} {method} {version:?}");
            }
            let in_grpc = |response: &Response<_>| response.status() == StatusCode::OK;
            assert_eq!(in_grpc(&plain), in_grpc(&problem), "{content_type} {method} {version:?}");
            if in_grpc(&plain) {
                found.push((method.clone(), version));
            }
            for response in [
                answer_to(&HttpOnly::new(), &error, &method, version, kind),
                answer_to(&ProblemJson::http_only(), &error, &method, version, kind),
            ] {
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
                assert!(!response.headers().contains_key("grpc-status"));
                assert_ne!(
                    response.headers().get(header::CONTENT_TYPE).map(|v| v.as_bytes()),
                    kind.map(str::as_bytes)
                );
            }
        }
    }
    found
}

#[test]
fn grpc_form_needs_post_http_2_and_the_exact_media_type() {
    let over_http_2 = [(Method::POST, Version::HTTP_2), (Method::POST, Version::HTTP_3)];
    for kind in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
        assert_eq!(answered_in_grpc(kind), over_http_2, "{kind}");
    }
}

#[test]
fn grpc_web_form_needs_post_and_the_exact_media_type() {
    let any = [Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];
    let any = any.map(|version| (Method::POST, version));
    for kind in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc-web-text+proto; charset=utf-8",
    ] {
        assert_eq!(answered_in_grpc(kind), any, "{kind}");
    }
}

#[test]
fn similar_content_types_are_not_treated_as_grpc() {
    for asked in [
        "application/grpc junk",
        "application/grpc-web junk",
        "application/grpc+",
        "application/grpc+proto/x",
        "application/grpc; junk",
        "application/grpc, application/grpc",
        "application/grpcx",
        "application/grpc-webs",
        "application/json",
        "text/application/grpc",
        "application/grp",
    ] {
        assert_eq!(answered_in_grpc(asked), [], "{asked}");
    }
}

#[test]
fn retry_after_is_in_whole_seconds_rounded_up() {
    let unavailable = VerifyError::new(ErrorKind::Unavailable);
    for (error, expected) in [
        (unavailable.clone(), "1"),
        (unavailable.clone().with_retry_after(Duration::from_millis(2001)), "3"),
        (unavailable.with_retry_after(Duration::from_secs(7)), "7"),
    ] {
        assert_eq!(answer(&Auto::new(), &error, None).headers()[header::RETRY_AFTER], expected);
    }
    let expired = answer(&Auto::new(), &ErrorKind::Expired.into(), None);
    assert!(!expired.headers().contains_key(header::RETRY_AFTER));
}

#[test]
fn context_and_source_are_not_in_the_response() {
    let error = VerifyError::new(ErrorKind::BadSignature)
        .with_context("secret-context")
        .with_source("secret-source");
    for content_type in [None, Some("application/grpc")] {
        let response = answer(&ProblemJson::new(), &error, content_type);
        assert!(!format!("{:?}", response.headers()).contains("secret"));
        assert!(!String::from_utf8_lossy(response.body()).contains("secret"));
    }
}

#[test]
fn debug_shows_neither_fields_nor_query() {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, "Bearer t0psecret".parse().unwrap());
    let (method, uri) = (Method::GET, Uri::from_static("/path?access_token=t0psecret"));
    let head = RequestHead::new(&method, &uri, &headers);
    let (error, challenge) = (VerifyError::new(ErrorKind::Expired), Challenge::new("api"));
    let shown = format!("{head:?} {:?}", Refusal::new(&error, head, &challenge));
    assert!(shown.contains("/path") && !shown.contains("t0psecret"), "{shown}");
}

#[test]
fn rfc9457_problem_document_agrees_with_the_challenge() {
    for (error, status, _, _) in golden() {
        let response = answer(&ProblemJson::new(), &error, None);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(document["status"], status);
        let code = document["error"].as_str().map(|code| format!("error=\"{code}\""));
        let said = challenge(response.headers()).unwrap_or_default();
        assert!(code.is_none_or(|code| said.contains(&code)), "{said}");
    }
}

#[test]
fn rfc9110_9_3_2_problem_response_to_head_has_no_body() {
    let (method, uri, headers) = (Method::HEAD, Uri::from_static("/"), HeaderMap::new());
    let error = VerifyError::new(ErrorKind::Expired);
    let challenge = Challenge::new("api");
    let refusal = Refusal::new(&error, RequestHead::new(&method, &uri, &headers), &challenge);
    let response: Response<Bytes> = ProblemJson::new().respond(&refusal);
    assert!(response.body().is_empty());
}

/// In whatever order a policy is configured.
#[tokio::test]
async fn challenge_of_a_policy_keeps_the_parameters_that_were_set_before() {
    use tower_introspect::{IntrospectLayer, Policy};

    use crate::support::{ImmediateVerifier, ask, request};

    let (url, audience) = ("https://api.example.com/m", "https://api.example.com");
    let described = || Policy::new(audience).resource_metadata(url).advertise_scope("read");
    let parameters = format!("scope=\"read\", resource_metadata=\"{url}\"");
    for policy in [
        described().challenge(Challenge::new("api")),
        Policy::new(audience)
            .challenge(Challenge::new("api"))
            .resource_metadata(url)
            .advertise_scope("read"),
        described().realm("api"),
        Policy::new(audience).realm("api").resource_metadata(url).advertise_scope("read"),
        Policy::new(audience)
            .resource_metadata("https://api.example.com/old")
            .challenge(Challenge::new("api").resource_metadata(url).scope(Scope::parse("read"))),
    ] {
        let layer = IntrospectLayer::new(ImmediateVerifier::alice(), policy);
        let refused = ask(&layer, request(&[])).await;
        let expected = format!("Bearer realm=\"api\", {parameters}");
        assert_eq!(challenge(refused.headers()), Some(&*expected));
    }
}

#[test]
fn rfc6750_3_challenge_without_a_token_has_the_advertised_scope() {
    let challenge = Challenge::new("api").scope(Scope::parse("read write"));
    let header = |error: VerifyError| challenge.header(&error).expect("a challenge");
    let missing = header(ErrorKind::MissingCredentials.into());
    assert_eq!(missing, "Bearer realm=\"api\", scope=\"read write\"");
    // The scope that this request needs comes before the advertised scope.
    let insufficient = header(VerifyError::insufficient_scope("admin"));
    assert_eq!(insufficient, "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"admin\"");
}

/// Parses a challenge strictly by the grammar of RFC 9110 §11.6.1.
fn params(challenge: &str) -> Option<Vec<(String, String)>> {
    let rest = challenge.strip_prefix("Bearer ")?;
    let mut params = Vec::new();
    for part in rest.split("\", ") {
        let (name, value) = part.split_once("=\"")?;
        let value = value.strip_suffix('"').unwrap_or(value);
        let token =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let allowed =
            |text: &str| text.bytes().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if !token(name) || !allowed(value) {
            return None;
        }
        params.push((name.to_owned(), value.to_owned()));
    }
    Some(params)
}

proptest! {
    #[test]
    fn rfc6750_3_no_text_injects_challenge_parameters(realm in ".*", url in ".*", scope in ".*", acr in ".*") {
        let told = Challenge::new(&realm).resource_metadata(&url);
        for error in [
            VerifyError::insufficient_scope(&scope),
            VerifyError::insufficient_authentication(Some(&acr), None),
            VerifyError::new(ErrorKind::MissingCredentials),
        ] {
            let header = told.header(&error).expect("a challenge");
            let params = params(header.to_str().expect("visible ASCII")).expect("well-formed");
            let mut names: Vec<_> = params.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), params.len(), "repeated parameter");
            prop_assert_eq!(params.first().map(|(name, _)| name.as_str()), Some("realm"));
        }
    }
}
