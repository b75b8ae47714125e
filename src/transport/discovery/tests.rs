use std::sync::Mutex;

use tokio::time::advance;
use tower::service_fn;

use super::*;
use crate::{
    clock::{Moment, tests::FixedClock},
    telemetry::endpoint_kind::EndpointKind,
    transport::error::{TransportError, TransportErrorKind},
};

const RFC8414: &str = "https://as.example.com/.well-known/oauth-authorization-server/t1";
const OIDC: &str = "https://as.example.com/t1/.well-known/openid-configuration";
const INSERTED_OIDC: &str = "https://as.example.com/.well-known/openid-configuration/t1";
const ISSUER: &str = "https://as.example.com/t1";

type Answer = Result<Response<Bytes>, TransportErrorKind>;

/// An authorization server that records the URLs of its requests.
fn server(
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> (HttpTransport, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let answer = Arc::new(answer);
    let transport = HttpTransport::new(service_fn(move |request: Request<Bytes>| {
        assert_eq!(request.method(), "GET");
        assert_eq!(request.headers()["accept"], "application/json");
        assert_eq!(request.headers()["accept-encoding"], "identity");
        let url = request.uri().to_string();
        let outcome = answer(&url).map_err(TransportError::new);
        log.lock().unwrap().push(url);
        async { outcome }
    }));
    (transport, seen)
}

fn discovery(transport: HttpTransport) -> Discovery {
    let calls = CallRecorder::new(ISSUER.into(), EndpointKind::Metadata, Arc::new(FixedClock(0)));
    Discovery::new(ISSUER, transport, false, calls).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "a response of a server that works")]
fn json(status: u16, body: impl Into<Bytes>) -> Answer {
    let response = Response::builder().status(status);
    Ok(response.header("content-type", "application/json").body(body.into()).unwrap())
}

fn metadata() -> String {
    format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"https://as.example.com/jwks","x":[{{}}]}}"#)
}

async fn error(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> VerifyError {
    discovery(server(answer).0).metadata().await.unwrap_err()
}

#[test]
fn rfc8414_3_1_well_known_urls() {
    let expect = |issuer, expected: &[&str]| {
        let urls = document_urls(issuer, false).unwrap();
        let urls: Vec<_> = urls.iter().map(|url| url.uri().to_string()).collect();
        assert_eq!(urls, expected, "{issuer}");
    };
    for issuer in ["https://as", "https://as/"] {
        expect(
            issuer,
            &[
                "https://as/.well-known/oauth-authorization-server",
                "https://as/.well-known/openid-configuration",
            ],
        );
    }
    for issuer in ["https://as:8443/t1", "https://as:8443/t1/"] {
        expect(
            issuer,
            &[
                "https://as:8443/.well-known/oauth-authorization-server/t1",
                "https://as:8443/t1/.well-known/openid-configuration",
                "https://as:8443/.well-known/openid-configuration/t1",
            ],
        );
    }
    expect(
        "https://as/a%2Fb/c",
        &[
            "https://as/.well-known/oauth-authorization-server/a%2Fb/c",
            "https://as/a%2Fb/c/.well-known/openid-configuration",
            "https://as/.well-known/openid-configuration/a%2Fb/c",
        ],
    );
}

#[test]
fn rfc8414_2_issuer_is_an_https_url_without_query_and_fragment() {
    for (issuer, problem) in [
        ("https://as?x=y", EndpointError::HasQuery),
        ("https://as/t1?", EndpointError::HasQuery),
        ("https://as/#f", EndpointError::NotAUrl),
        ("as.example.com", EndpointError::NotAUrl),
        ("", EndpointError::NotAUrl),
        ("http://as", EndpointError::NotHttps),
        ("http://127.0.0.1:9000", EndpointError::LoopbackHttp),
    ] {
        assert_eq!(document_urls(issuer, false).err(), Some(problem), "{issuer}");
    }
    assert!(document_urls("http://127.0.0.1:9000", true).is_ok());
    assert!(document_urls("http://as", true).is_err());
}

#[tokio::test]
async fn openid_configuration_is_not_fetched_if_rfc8414_metadata_is_valid() {
    let (transport, seen) = server(|_| json(200, metadata()));
    let discovery = discovery(transport);
    assert!(discovery.refresher.current().is_none());
    discovery.metadata().await.unwrap();
    assert!(discovery.refresher.current().is_some());
    assert_eq!(*seen.lock().unwrap(), [RFC8414]);
}

/// The responses of real servers to a well-known URL that they do not serve.
fn unusable_documents() -> Vec<Response<Bytes>> {
    let html = |status| {
        let response = Response::builder().status(status).header("content-type", "text/html");
        response.body("<html>".into()).unwrap()
    };
    let elsewhere = metadata().replace("t1", "t2");
    let mut coded = json(200, "\x1f\u{8b}").unwrap();
    coded.headers_mut().insert("content-encoding", header::HeaderValue::from_static("gzip"));
    let json = [
        json(404, ""),
        json(401, r#"{"error":"unauthorized"}"#),
        json(403, ""),
        json(405, ""),
        json(302, ""),
        json(500, "{}"),
        json(200, elsewhere),
        json(200, format!("\u{feff}{}", metadata())),
    ];
    let json = json.into_iter().map(Result::unwrap);
    json.chain([html(200), html(401), html(403), html(405), coded]).collect()
}

#[tokio::test]
async fn next_url_is_tried_after_an_unusable_document() {
    for unusable in unusable_documents() {
        for (good, urls) in
            [(OIDC, &[RFC8414, OIDC][..]), (INSERTED_OIDC, &[RFC8414, OIDC, INSERTED_OIDC])]
        {
            let unusable = unusable.clone();
            let (transport, seen) =
                server(
                    move |url| {
                        if url == good { json(200, metadata()) } else { Ok(unusable.clone()) }
                    },
                );
            discovery(transport).metadata().await.unwrap();
            assert_eq!(*seen.lock().unwrap(), urls);
        }
    }
}

#[tokio::test]
async fn rfc9110_8_4_coded_metadata_and_byte_order_marks_are_named() {
    let coded = error(|_| {
        let mut response = json(200, metadata()).unwrap();
        response.headers_mut().insert("content-encoding", header::HeaderValue::from_static("br"));
        Ok(response)
    });
    let marked = error(|_| json(200, format!("\u{feff}{}", metadata())));
    for (error, named) in
        [(coded.await, "content coding \"br\""), (marked.await, "byte order mark")]
    {
        assert_eq!(error.kind(), ErrorKind::BadResponse);
        assert!(error.context().unwrap().contains(named), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unavailable_server_gets_one_request() {
    for answer in [
        || json(429, ""),
        || json(503, ""),
        || Err(TransportErrorKind::Connect),
        || Err(TransportErrorKind::Timeout),
    ] {
        let (transport, seen) = server(move |_| answer());
        let discovery = discovery(transport);
        for _ in 0..10 {
            let error = discovery.metadata().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.retry_after().is_some());
        }
        assert_eq!(*seen.lock().unwrap(), [RFC8414]);
    }
}

#[tokio::test(start_paused = true)]
async fn d9_discovery_recovers_from_a_failure() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&up);
    let (transport, _) = server(move |_| {
        let up = switch.load(std::sync::atomic::Ordering::SeqCst);
        if up { json(200, metadata()) } else { json(500, "") }
    });
    let discovery = discovery(transport);
    assert_eq!(discovery.metadata().await.unwrap_err().kind(), ErrorKind::Unavailable);
    up.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(discovery.metadata().await.is_err());
    advance(Duration::from_secs(1)).await;
    discovery.metadata().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hanging_server_times_out() {
    let transport = HttpTransport::new(service_fn(|_| {
        std::future::pending::<Result<Response<Bytes>, TransportError>>()
    }));
    let start = Moment::now(&FixedClock(0));
    let error = discovery(transport).metadata().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let waited = Moment::now(&FixedClock(0)).since(start);
    assert!(waited < TIMEOUT + Duration::from_millis(500), "{waited:?}");
}

#[tokio::test]
async fn d1_d7_issuer_is_compared_byte_for_byte() {
    for issuer in [
        "https://as.example.com/t1/",
        "https://AS.example.com/t1",
        "https://as.example.com:443/t1",
        "https://as.example.com/T1",
        "https://as.example.com/%741",
        "https://as.example.com",
        "",
    ] {
        let body = format!(r#"{{"issuer":"{issuer}"}}"#);
        let error = error(move |_| json(200, body.clone())).await;
        assert_eq!(error.kind(), ErrorKind::BadResponse, "{issuer}");
    }
    // JSON escapes are not part of the value.
    let escaped = metadata().replacen('/', "\\u002f", 2);
    discovery(server(move |_| json(200, escaped.clone())).0).metadata().await.unwrap();
}

#[tokio::test]
async fn d3_metadata_is_one_strict_json_object() {
    let twice = metadata().replacen('{', r#"{"issuer":"https://evil.example.com","#, 1);
    for body in [
        "",
        "[]",
        "{}",
        "null",
        "{\"issuer\":7}",
        "{\"issuer\":[\"https://as.example.com/t1\"]}",
        &twice,
    ] {
        let body = body.to_owned();
        let error = error(move |_| json(200, body.clone())).await;
        assert_eq!(error.kind(), ErrorKind::BadResponse);
    }
    let error = error(|_| json(200, vec![b' '; MAX_METADATA_BYTES + 1])).await;
    assert_eq!(error.kind(), ErrorKind::BadResponse);
}

#[tokio::test]
async fn most_specific_error_is_reported() {
    let other = error(|url| {
        if url == RFC8414 { json(200, r#"{"issuer":"https://x\u001b/"}"#) } else { json(404, "") }
    });
    let context = other.await.context().unwrap().to_owned();
    assert!(context.contains("another issuer: \"https://x\\u{1b}/\""), "{context}");
    let down = error(|url| if url == RFC8414 { json(500, "") } else { json(404, "") });
    assert_eq!(down.await.kind(), ErrorKind::Unavailable);
}

#[cfg(all(feature = "jwt", feature = "_crypto", feature = "introspection"))]
#[test]
fn d4_endpoints_that_are_not_https_are_named_and_not_used() {
    let parse = |members: &str, loopback| {
        let text = format!(r#"{{"issuer":"{ISSUER}",{members}}}"#);
        Metadata::parse(text.as_bytes(), ISSUER, loopback).unwrap()
    };
    for url in [r#""http://as.example.com/""#, r#""http://127.0.0.1/""#, "7", "[]", r#""/x""#] {
        let members = format!(
            r#""jwks_uri":{url},"introspection_endpoint":{url},
               "mtls_endpoint_aliases":{{"introspection_endpoint":{url}}}"#
        );
        let metadata = parse(&members, false);
        for (error, name) in [
            (metadata.require_jwks_uri(), "`jwks_uri`"),
            (metadata.require_introspection_endpoint(false), "`introspection_endpoint`"),
            (metadata.require_introspection_endpoint(true), "`mtls_endpoint_aliases."),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadResponse, "{url}");
            assert!(error.context().unwrap().contains(name), "{error}");
        }
    }
    let local = parse(r#""jwks_uri":"http://127.0.0.1:1/","mtls_endpoint_aliases":[1]"#, true);
    assert!(local.require_jwks_uri().is_ok());
    assert!(local.require_introspection_endpoint(false).is_err());
    assert!(local.require_introspection_endpoint(true).is_err());
}

#[cfg(all(feature = "jwt", feature = "introspection"))]
#[test]
fn unset_members_of_metadata_are_absent() {
    let endpoint = r#""introspection_endpoint":"https://as.example.com/i""#;
    for aliases in ["null", "[]", "{}", r#"{"introspection_endpoint":null}"#] {
        let text = format!(
            r#"{{"issuer":"{ISSUER}",{endpoint},"jwks_uri":null,"mtls_endpoint_aliases":{aliases},
                "introspection_endpoint_auth_methods_supported":[]}}"#
        );
        let metadata = Metadata::parse(text.as_bytes(), ISSUER, false).unwrap();
        // The endpoint itself, as if there were no aliases.
        assert!(metadata.require_introspection_endpoint(true).is_ok(), "{aliases}");
        assert!(metadata.introspection_auth_methods.is_unknown());
        let missing = metadata.require_jwks_uri().unwrap_err();
        assert_eq!(missing.context(), Some("`jwks_uri` in the metadata: missing"));
    }
}

#[cfg(feature = "introspection")]
#[test]
fn rfc8705_5_the_alias_is_for_clients_with_a_certificate() {
    let text = r#"{"issuer":"https://as.example.com/t1",
        "introspection_endpoint":"https://as.example.com/i",
        "mtls_endpoint_aliases":{"introspection_endpoint":"https://mtls.example.com/i"}}"#;
    let metadata = Metadata::parse(text.as_bytes(), ISSUER, false).unwrap();
    let endpoint = |mtls| metadata.require_introspection_endpoint(mtls).unwrap().uri().to_string();
    assert_eq!(endpoint(false), "https://as.example.com/i");
    assert_eq!(endpoint(true), "https://mtls.example.com/i");
}

#[cfg(all(feature = "jwt", feature = "introspection"))]
#[test]
fn rfc8414_2_unset_members_are_absent() {
    let endpoint = r#""introspection_endpoint":"https://as.example.com/i""#;
    for aliases in ["null", r#"{"introspection_endpoint":null}"#, "{}"] {
        let text = format!(
            r#"{{"issuer":"{ISSUER}","jwks_uri":null,{endpoint},"mtls_endpoint_aliases":{aliases},
                "introspection_endpoint_auth_methods_supported":null}}"#
        );
        let metadata = Metadata::parse(text.as_bytes(), ISSUER, false).unwrap();
        let found = metadata.require_introspection_endpoint(true).unwrap();
        assert_eq!(found.uri(), "https://as.example.com/i", "{aliases}");
        let missing = metadata.require_jwks_uri().unwrap_err();
        assert!(missing.context().unwrap().ends_with("missing"), "{missing}");
    }
}

#[tokio::test(start_paused = true)]
async fn doubted_metadata_is_fetched_again_at_a_limited_rate() {
    let (transport, seen) = server(|_| json(200, metadata()));
    let discovery = discovery(transport);
    discovery.metadata().await.unwrap();
    for _ in 0..1000 {
        discovery.renew_after_failure();
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
}
