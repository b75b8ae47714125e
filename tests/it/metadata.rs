//! The metadata of this service (RFC 9728), as clients see it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, ServiceBuilder, ServiceExt as _, limit::ConcurrencyLimitLayer, service_fn};
use tower_introspect::{
    ConfigError, ErrorKind, Issuer, Policy, ResourceServer,
    credentials::{Extractor, Token},
    jose::{Algorithm, SigningKey},
    jwt::{JwtVerifier, KeySet, Profile},
    resource_server::{
        IssuerResolver, ResourceServerBuilder,
        metadata::{MetadataService, ProtectedResourceMetadata},
    },
    verify::{Verifier as _, VerifyRequest},
};

use crate::support::{ISSUER, challenge, request, with_token};

const RESOURCE: &str = "https://api.example.com/mcp";
const PATH: &str = "/.well-known/oauth-protected-resource/mcp";

fn issuer(name: &str) -> Issuer {
    let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    Issuer::jwt(name).configure_jwt(|jwt| jwt.keys(keys))
}

fn builder(resource: &str) -> ResourceServerBuilder {
    ResourceServer::builder(resource).issuer(issuer(ISSUER))
}

type Metadata = ProtectedResourceMetadata;

fn api(about: impl FnOnce(Metadata) -> Metadata) -> ResourceServer {
    builder(RESOURCE).metadata(about).build().expect("invalid configuration")
}

fn document(api: &ResourceServer) -> Value {
    serde_json::from_str(api.metadata_document().expect("no document")).unwrap()
}

fn problems(about: impl FnOnce(Metadata) -> Metadata) -> Vec<String> {
    let error = builder(RESOURCE).metadata(about).build().expect_err("something is wrong");
    names(&error)
}

fn names(error: &ConfigError) -> Vec<String> {
    error.problems().map(|(name, _)| name.to_owned()).collect()
}

/// Sends a request to the metadata service.
async fn fetch(api: &ResourceServer, method: Method, fields: &[(&str, &str)]) -> Response<Bytes> {
    let service: MetadataService<Bytes> = api.metadata_service();
    let mut request = request(fields);
    *request.method_mut() = method;
    *request.uri_mut() = PATH.parse().unwrap();
    let Ok(response) = service.oneshot(request).await;
    response
}

async fn get(api: &ResourceServer, fields: &[(&str, &str)]) -> Response<Bytes> {
    fetch(api, Method::GET, fields).await
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// Returns the status of a GET to a service behind both layers.
async fn through(api: &ResourceServer, uri: &str) -> StatusCode {
    let service = ServiceBuilder::new().layer(api.metadata_layer()).layer(api.layer()).service(
        service_fn(async |_: Request<()>| {
            Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
        }),
    );
    let request = Request::get(uri).body(()).unwrap();
    service.oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn rfc9728_3_1_router_serves_the_document_at_its_path_only() {
    let api = api(|about| about);
    assert_eq!(api.metadata_path(), PATH);
    assert_eq!(api.metadata_url(), Some(&*format!("https://api.example.com{PATH}")));
    let app = axum::Router::new()
        .route("/mcp", axum::routing::get(|| async {}))
        // Unknown paths are 404 here. `layer` would require a token for them too.
        .route_layer(api.layer())
        .route_service(api.metadata_path(), api.metadata_service::<axum::body::Body>());
    let status = async |uri: &str| {
        let request = Request::get(uri).body(axum::body::Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status(PATH).await, StatusCode::OK);
    assert_eq!(status(&format!("{PATH}?x")).await, StatusCode::OK);
    for other in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/mcp/",
        "/.well-known/oauth-protected-resource//mcp",
        "//.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/MCP",
        "/.well-known/oauth-protected-resource/mc%70",
        "/mcp/.well-known/oauth-protected-resource",
    ] {
        assert_eq!(status(other).await, StatusCode::NOT_FOUND, "{other}");
        assert_eq!(through(&api, other).await, StatusCode::UNAUTHORIZED, "{other}");
    }
    assert_eq!(through(&api, PATH).await, StatusCode::OK);
}

#[tokio::test]
async fn rfc9728_3_1_query_of_the_identifier_is_part_of_the_url() {
    let api = builder("https://api.example.com/?tenant=a").metadata(|about| about).build().unwrap();
    let url = "https://api.example.com/.well-known/oauth-protected-resource?tenant=a";
    assert_eq!(api.metadata_url(), Some(url));
    assert_eq!(document(&api)["resource"], "https://api.example.com/?tenant=a");
    for (query, found) in [("?tenant=a", true), ("", false), ("?tenant=b", false)] {
        let uri = format!("{}{query}", api.metadata_path());
        let service: MetadataService<Bytes> = api.metadata_service();
        let served = service.oneshot(Request::get(&uri).body(()).unwrap()).await.unwrap().status();
        assert_eq!(served == StatusCode::OK, found, "{query}");
        assert_eq!(served == StatusCode::NOT_FOUND, !found, "{query}");
        assert_eq!(through(&api, &uri).await == StatusCode::OK, found, "{query}");
    }
}

#[tokio::test]
async fn rfc9728_3_2_document_is_json_and_needs_no_token() {
    let api = api(|about| about.resource_name("Zähler \"1\""));
    for fields in [&[][..], &[("authorization", "Bearer no-token-of-ours")]] {
        let response = get(&api, fields).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(field(response.headers(), "content-type"), Some("application/json"));
        let length = response.body().len().to_string();
        assert_eq!(field(response.headers(), "content-length"), Some(&*length));
        let read: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(read["resource_name"], "Zähler \"1\"");
        assert_eq!(read, document(&api));
    }
}

/// The order of the layers matters. The documentation has the right one.
#[tokio::test]
async fn rfc9728_3_2_document_inside_of_the_layer_would_need_a_token() {
    let api = api(|about| about);
    let inside = api.layer().layer(api.metadata_service::<Bytes>());
    let response = inside.oneshot(Request::get(PATH).body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn rfc9728_2_resource_equals_the_audience() {
    for resource in [
        "https://api.example.com",
        "https://api.example.com/",
        "https://API.example.com:443/Mcp/",
        "HTTPS://api.example.com/a%2Fb?c=d",
        "https://[2001:db8::1]:8443/mcp",
    ] {
        let api = builder(resource).metadata(|about| about).build().unwrap();
        assert_eq!(document(&api)["resource"], resource);
    }
}

#[test]
fn rfc9728_1_2_metadata_needs_an_https_audience() {
    for resource in [
        "api",
        "urn:example:api",
        "http://api.example.com",
        "http://127.0.0.1:9500/mcp",
        "https://api.example.com/#top",
        "https://user@api.example.com/",
        "https://api.example.com/{tenant}",
    ] {
        assert!(builder(resource).build().is_ok(), "{resource}: an audience it may be");
        let error = builder(resource).metadata(|about| about).build().unwrap_err();
        assert_eq!(names(&error), ["metadata.resource"], "{resource}");
    }
    let loopback = builder("http://127.0.0.1:9500/mcp").metadata(|about| about);
    assert!(loopback.danger_allow_http_loopback().build().is_ok());
}

#[test]
fn rfc9728_3_2_empty_parameters_are_omitted() {
    let bare = api(|about| about);
    assert_eq!(
        document(&bare),
        json!({
            "resource": RESOURCE,
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
        })
    );
    let emptied = api(|about| {
        about
            .scopes_supported(["a"])
            .scopes_supported([""; 0])
            .resource_name("a")
            .resource_name("")
            .resource_documentation("")
            .authorization_details_types_supported([""; 0])
            .dpop_signing_alg_values_supported([""; 0])
            .tls_client_certificate_bound_access_tokens(true)
            .tls_client_certificate_bound_access_tokens(false)
            .dpop_bound_access_tokens_required(false)
            .parameter("example_list", &[""; 0])
            .parameter("example_text", &None::<String>)
    });
    assert_eq!(document(&emptied), document(&bare));
}

/// Exception: an empty list states that there is no such method.
#[test]
fn rfc9728_2_bearer_methods_follow_from_the_extractor() {
    let methods = |builder: ResourceServerBuilder, about: fn(Metadata) -> Metadata| {
        let api = builder.metadata(about).build().unwrap();
        document(&api)["bearer_methods_supported"].clone()
    };
    let query = Extractor::new().danger_query_parameter("access_token");
    let own = Extractor::new().danger_query_parameter("t").danger_cookie("session");
    assert_eq!(methods(builder(RESOURCE).extractor(query), |it| it), json!(["header", "query"]));
    assert_eq!(methods(builder(RESOURCE).extractor(own), |it| it), json!(["header"]));
    let other = Extractor::new().header(http::HeaderName::from_static("x-api-key"));
    let only_other = other.clone().without_authorization();
    assert_eq!(methods(builder(RESOURCE).extractor(other), |it| it), json!(["header"]));
    assert_eq!(methods(builder(RESOURCE).extractor(only_other), |it| it), json!([]));
    let bound = |about: Metadata| about.dpop_bound_access_tokens_required(true);
    assert_eq!(methods(builder(RESOURCE), bound), json!([]));
}

#[tokio::test]
async fn extractor_of_the_builder_is_used_by_its_layers() {
    let query = Extractor::new().danger_query_parameter("access_token");
    let api = builder(RESOURCE).extractor(query).metadata(|about| about).build().unwrap();
    let service = api.layer().layer(service_fn(async |_: Request<Bytes>| {
        Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
    }));
    let mut two = with_token();
    *two.uri_mut() = "/mcp?access_token=abc".parse().unwrap();
    let status = service.oneshot(two).await.unwrap().status();
    assert_eq!(status, StatusCode::BAD_REQUEST, "both sources are read");
}

#[test]
fn rfc9728_2_scopes_and_name_are_in_the_document() {
    let api = api(|about| {
        about
            .scopes_supported(["mcp:read", "mcp:write", "mcp:read"])
            .resource_name("Calculator")
            .resource_name_in("de", "Rechner")
            .resource_name_in("zh-Hant-TW", "計算機")
    });
    let document = document(&api);
    assert_eq!(document["scopes_supported"], json!(["mcp:read", "mcp:write"]));
    assert_eq!(document["resource_name"], "Calculator");
    assert_eq!(document["resource_name#de"], "Rechner");
    assert_eq!(document["resource_name#zh-Hant-TW"], "計算機");
}

#[test]
fn rfc9728_2_jwks_uri_is_https_and_signing_algorithm_none_is_refused() {
    let api = api(|about| {
        about
            .jwks_uri("https://api.example.com/jwks")
            .resource_signing_alg_values_supported(["ES256", "HS256"])
            .dpop_signing_alg_values_supported(["ES256", "EdDSA"])
    });
    let document = document(&api);
    assert_eq!(document["jwks_uri"], "https://api.example.com/jwks");
    assert_eq!(document["resource_signing_alg_values_supported"], json!(["ES256", "HS256"]));
    assert_eq!(document["dpop_signing_alg_values_supported"], json!(["ES256", "EdDSA"]));
    for url in ["http://api.example.com/jwks", "http://127.0.0.1/jwks", "/jwks", "https://a/#b"] {
        assert_eq!(problems(|about| about.jwks_uri(url)), ["metadata.jwks_uri"], "{url}");
    }
    for none in ["none", "None", "NONE"] {
        let signing = problems(|it| it.resource_signing_alg_values_supported(["ES256", none]));
        assert_eq!(signing, ["metadata.resource_signing_alg_values_supported"]);
    }
    for symmetric in ["none", "HS256"] {
        let proofs = problems(|it| it.dpop_signing_alg_values_supported([symmetric]));
        assert_eq!(proofs, ["metadata.dpop_signing_alg_values_supported"]);
    }
}

#[test]
fn rfc9728_2_optional_parameters_are_in_the_document() {
    let api = api(|about| {
        about
            .resource_documentation("https://example.com/docs")
            .resource_documentation_in("fr", "https://example.com/fr/docs")
            .resource_policy_uri("https://example.com/policy?x=y#z")
            .resource_policy_uri_in("fr", "https://example.com/fr/policy")
            .resource_tos_uri("http://example.com/tos")
            .resource_tos_uri_in("fr", "https://example.com/fr/tos")
            .authorization_details_types_supported(["payment"])
            .tls_client_certificate_bound_access_tokens(true)
            .parameter("example_limits", &json!({"per_minute": 60}))
    });
    let expected = json!({
        "resource": RESOURCE,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
        "resource_documentation": "https://example.com/docs",
        "resource_documentation#fr": "https://example.com/fr/docs",
        "resource_policy_uri": "https://example.com/policy?x=y#z",
        "resource_policy_uri#fr": "https://example.com/fr/policy",
        "resource_tos_uri": "http://example.com/tos",
        "resource_tos_uri#fr": "https://example.com/fr/tos",
        "authorization_details_types_supported": ["payment"],
        "tls_client_certificate_bound_access_tokens": true,
        "example_limits": {"per_minute": 60},
    });
    assert_eq!(document(&api), expected);
}

#[test]
fn rfc9728_2_authorization_servers_are_the_trusted_https_issuers() {
    let api = ResourceServer::builder(RESOURCE)
        .issuer(issuer("https://one.example.com/"))
        .issuer(issuer("house"))
        .issuer(issuer("http://127.0.0.1:9000"))
        .issuer(issuer("https://two.example.com/realm"))
        .metadata(|about| {
            about.authorization_servers(["https://one.example.com/", "https://three"])
        })
        .build()
        .unwrap();
    assert_eq!(
        document(&api)["authorization_servers"],
        json!(["https://one.example.com/", "https://two.example.com/realm", "https://three"])
    );
    for unfit in ["house", "http://as.example.com", "https://as/?x", "https://as/#x", ""] {
        let told = problems(|about| about.authorization_servers([unfit]));
        assert_eq!(told, ["metadata.authorization_servers"], "{unfit:?}");
    }
    // The issuers of a resolver are not known in advance.
    let resolver = || IssuerResolver::new(|_| false, async |_| Ok(None));
    let found = |about: fn(Metadata) -> Metadata| {
        let builder = ResourceServer::builder(RESOURCE).resolve_issuers(resolver());
        document(&builder.metadata(about).build().unwrap())["authorization_servers"].clone()
    };
    assert_eq!(found(|about| about), Value::Null);
    let named = found(|about| about.authorization_servers(["https://tenant.example.com"]));
    assert_eq!(named, json!(["https://tenant.example.com"]));
}

/// The policy can be replaced as a whole.
#[test]
fn document_follows_the_issuers_and_the_audience_of_the_policy() {
    let api = ResourceServer::builder(RESOURCE)
        .issuer(issuer("https://one.example.com"))
        .issuer(issuer("https://two.example.com"))
        .metadata(|about| about)
        .policy(|policy| policy.issuers(["https://two.example.com"]))
        .build()
        .unwrap();
    assert_eq!(document(&api)["authorization_servers"], json!(["https://two.example.com"]));
    let other = builder(RESOURCE).metadata(|about| about).policy(|_| Policy::new("other"));
    assert_eq!(names(&other.build().unwrap_err()), ["metadata.resource"]);
}

#[test]
fn all_problems_are_reported_together() {
    let told = problems(|about| {
        about
            .scopes_supported(["two words", "ok"])
            .resource_name_in("", "x")
            .resource_name_in("de_DE", "x")
            .resource_documentation("/docs")
            .resource_policy_uri("javascript:alert(1)")
            .resource_tos_uri("https://example.com/a b")
            .authorization_details_types_supported(["", "payment"])
            .parameter("resource", &"https://other.example.com")
            .parameter("scopes_supported#de", &["x"])
            .parameter("", &1)
            .parameter("signed_metadata", &"e30.e30.x")
    });
    let expected = [
        "scopes_supported",
        "resource_name#",
        "resource_name#de_DE",
        "resource_documentation",
        "resource_policy_uri",
        "resource_tos_uri",
        "authorization_details_types_supported",
        "parameter",
        "parameter",
        "parameter",
        "parameter",
    ];
    assert_eq!(told, expected.map(|name| format!("metadata.{name}")));
}

#[tokio::test]
async fn rfc9728_5_1_challenges_name_the_document_that_is_served() {
    // A value set by hand is replaced, so that the two cannot differ.
    let api = builder(RESOURCE)
        .metadata(|about| about)
        .policy(|policy| policy.resource_metadata("https://elsewhere.example.com/"))
        .build()
        .unwrap();
    let url = api.metadata_url().unwrap();
    for (fields, error) in [
        (&[][..], ""),
        (&[("authorization", "Bearer x.y.z")], ", error=\"invalid_token\""),
        (&[("authorization", "Bearer")], ", error=\"invalid_request\""),
        (&[("authorization", "DPoP x.y.z")], ", error=\"invalid_token\""),
    ] {
        let response = crate::support::ask(&api.layer(), request(fields)).await;
        let expected = format!("Bearer realm=\"{RESOURCE}\"{error}, resource_metadata=\"{url}\"");
        assert_eq!(challenge(response.headers()), Some(&*expected));
    }
}

#[tokio::test]
async fn rfc9728_3_1_urls_do_not_depend_on_the_request() {
    let api = api(|about| about);
    let forged = [
        ("host", "evil.example.com"),
        ("x-forwarded-host", "evil.example.com"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "host=evil.example.com;proto=http"),
        ("x-original-url", "https://evil.example.com/"),
    ];
    let response = get(&api, &forged).await;
    assert!(!String::from_utf8_lossy(response.body()).contains("evil"));
    let refused = crate::support::ask(&api.layer(), request(&forged)).await;
    let told = challenge(refused.headers()).unwrap();
    assert!(told.contains(api.metadata_url().unwrap()) && !told.contains("evil"), "{told}");
}

#[test]
fn rfc9728_2_2_signed_metadata_has_the_same_parameters_and_iss() {
    const KEY: &[u8] = include_bytes!("keys/p256.pem");
    let key = SigningKey::from_pem(Algorithm::ES256, KEY).unwrap().with_kid("2026");
    let jwk = key.public_jwk().unwrap();
    let api = api(|about| {
        about.signed_with(key.clone(), "https://attests.example.com").scopes_supported(["read"])
    });
    let mut document = document(&api);
    let signed = document.as_object_mut().unwrap().remove("signed_metadata").unwrap();
    let parts: Vec<_> = signed.as_str().unwrap().split('.').map(str::to_owned).collect();
    let part = |at: usize| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&parts[at]).unwrap()
    };
    let header: Value = serde_json::from_slice(&part(0)).unwrap();
    assert_eq!(header, json!({"alg": "ES256", "kid": "2026"}));
    let mut claims: Value = serde_json::from_slice(&part(1)).unwrap();
    let claims_map = claims.as_object_mut().unwrap();
    assert_eq!(claims_map.remove("iss"), Some("https://attests.example.com".into()));
    // It contains neither itself nor anything that is not in the plain document.
    assert_eq!(claims, document);

    // It is not accepted as an access token: a claim is missing although the signature is valid.
    let keys = KeySet::from_jwk(jwk.to_string().as_bytes()).unwrap();
    let verifier = JwtVerifier::builder("https://attests.example.com")
        .keys(keys)
        .profile(Profile::ServiceIdentity)
        .build()
        .unwrap();
    let refusal = |text: &str| {
        let token = Token::bearer(text).unwrap();
        verifier.verify(VerifyRequest::new(token)).now_or_later().unwrap().unwrap_err().kind()
    };
    assert!(matches!(refusal(signed.as_str().unwrap()), ErrorKind::MissingClaim(_)));
    let damaged = format!("{}.{}.{}", parts[0], parts[1].replacen("eyJ", "eyB", 1), parts[2]);
    assert_ne!(refusal(&damaged), refusal(signed.as_str().unwrap()));
}

#[test]
fn rfc9728_2_2_symmetric_key_without_kid_is_refused_for_signing() {
    let secret = SigningKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let told = problems(|about| about.signed_with(secret, ""));
    assert_eq!(told, ["metadata.signed_metadata", "metadata.signed_metadata"]);
}

#[tokio::test]
async fn rfc9728_7_10_document_is_cacheable() {
    let api_of = |age| api(|about| about.max_age(age));
    let of = async |api: &ResourceServer| {
        let response = get(api, &[]).await;
        field(response.headers(), "cache-control").unwrap().to_owned()
    };
    assert_eq!(of(&api(|about| about)).await, "public, max-age=3600");
    assert_eq!(of(&api_of(Duration::from_secs(60))).await, "public, max-age=60");
    assert_eq!(of(&api_of(Duration::ZERO)).await, "public, max-age=0");
}

#[tokio::test]
async fn rfc9110_13_1_2_conditional_request_gets_304() {
    let api = api(|about| about);
    let first = get(&api, &[]).await;
    let etag = field(first.headers(), "etag").unwrap().to_owned();
    assert!(etag.starts_with('"'), "a strong validator: {etag}");
    let weak = format!("W/{etag}");
    for value in [&*etag, &weak, "*", &format!("\"x\", {etag}")] {
        let response = get(&api, &[("if-none-match", value)]).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{value}");
        assert!(response.body().is_empty());
        // RFC 9110 §15.4.5: the fields that a 200 would have.
        for name in [header::ETAG, header::CACHE_CONTROL] {
            assert_eq!(response.headers().get(&name), first.headers().get(&name));
        }
        assert_eq!(field(response.headers(), "content-type"), None);
    }
    for value in ["\"x\"", "garbage", "", "\"", "*, \"x\""] {
        let response = get(&api, &[("if-none-match", value)]).await;
        assert_eq!(response.status(), StatusCode::OK, "{value}");
    }
    let head = fetch(&api, Method::HEAD, &[("if-none-match", &etag)]).await;
    assert_eq!(head.status(), StatusCode::NOT_MODIFIED);
    for (value, status) in
        [("\"x\"", StatusCode::PRECONDITION_FAILED), (&etag, StatusCode::OK), ("*", StatusCode::OK)]
    {
        let response = get(&api, &[("if-match", value)]).await;
        assert_eq!(response.status(), status, "{value}");
    }
}

#[tokio::test]
async fn etag_changes_only_with_the_document() {
    let etag = async |name: &str| {
        let response = get(&api(|about| about.resource_name(name)), &[]).await;
        response.headers()[header::ETAG].clone()
    };
    assert_eq!(etag("a").await, etag("a").await);
    assert_ne!(etag("a").await, etag("b").await);
}

#[tokio::test]
async fn rfc9110_9_3_2_head_is_get_without_the_content() {
    let api = api(|about| about);
    let get = get(&api, &[]).await;
    let head = fetch(&api, Method::HEAD, &[]).await;
    assert_eq!((head.status(), head.headers()), (get.status(), get.headers()));
    assert!(head.body().is_empty() && !get.body().is_empty());
}

#[tokio::test]
async fn rfc9110_15_5_6_other_methods_get_405_with_allow() {
    let api = api(|about| about);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE] {
        // Whatever its preconditions.
        let response = fetch(&api, method, &[("if-none-match", "*")]).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(field(response.headers(), "allow"), Some("GET, HEAD, OPTIONS"));
        assert!(response.body().is_empty());
    }
}

#[tokio::test]
async fn cross_origin_reads_are_allowed_unless_disabled() {
    let names = ["allow-origin", "allow-methods", "allow-headers", "max-age"]
        .map(|name| format!("access-control-{name}"));
    let preflight = [
        ("origin", "https://inspector.example.com"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "mcp-protocol-version"),
    ];
    let open = api(|about| about);
    let response = fetch(&open, Method::OPTIONS, &preflight).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let values = names.each_ref().map(|name| field(response.headers(), name));
    assert_eq!(values, [Some("*"), Some("GET, HEAD"), Some("*"), Some("3600")]);
    assert_eq!(field(get(&open, &[]).await.headers(), &names[0]), Some("*"));

    let closed = api(|about| about.without_cors());
    for method in [Method::OPTIONS, Method::GET] {
        let response = fetch(&closed, method, &preflight).await;
        assert!(response.status().is_success());
        assert!(names.iter().all(|name| field(response.headers(), name).is_none()));
    }
}

#[tokio::test]
async fn without_metadata_requests_pass_to_the_service() {
    let api = builder("api").build().unwrap();
    assert_eq!((api.metadata_url(), api.metadata_document()), (None, None));
    assert_eq!(api.metadata_path(), "/.well-known/oauth-protected-resource");
    assert_eq!(get(&api, &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(through(&api, api.metadata_path()).await, StatusCode::UNAUTHORIZED);
    let refused = crate::support::ask(&api.layer(), request(&[])).await;
    assert_eq!(challenge(refused.headers()), Some("Bearer realm=\"api\""));
}

#[tokio::test]
async fn request_for_the_document_holds_no_permit_of_the_service() {
    let api = api(|about| about);
    let mut service = ServiceBuilder::new()
        .layer(api.metadata_layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
        }));
    let mut other = service.clone();
    let ask = |path: &str| Request::get(path).body(()).unwrap();
    let document = service.ready().await.unwrap();
    let answer = tower::Service::call(document, ask(PATH)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // The first connection stays open.
    let mut ready = tokio_test::task::spawn(other.ready());
    assert!(ready.poll().is_ready());
    drop(service);
}
