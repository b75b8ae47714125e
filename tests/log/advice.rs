//! Advice to the operator about good tokens that are of no use to this service.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt as _};
use tower_introspect::{
    ClientAuth, IntrospectLayer, RequireScope,
    clock::Clock,
    introspection::IntrospectionVerifier,
    jose::{Algorithm, SigningKey},
    jwt::{JwtVerifier, KeySet, Profile},
    policy::Requirement,
    test_util::{AuthorizationServer, Client, Defect, TokenBuilder},
    verify::Verifier,
};
use tracing::Level;

use crate::{
    AUDIENCE, ISSUER, alone,
    capture::{Captured, Line},
    events::accepting,
    present,
    support::{FixedClock, policy},
};

const KIND: &str = "good token of the issuer refused for its kind";
const SCOPE: &str = "good token of the issuer has no scope where one is required";

fn server() -> AuthorizationServer {
    AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"))
}

fn local(profile: Profile) -> JwtVerifier {
    let keys = KeySet::from_jwks(server().jwks().to_string().as_bytes()).unwrap();
    JwtVerifier::builder(ISSUER).keys(keys).profile(profile).build().unwrap()
}

fn remote(server: &AuthorizationServer) -> IntrospectionVerifier {
    let auth = ClientAuth::basic("api", "s3cret");
    let builder = IntrospectionVerifier::builder(ISSUER, auth).transport(server.transport());
    builder.clock(FixedClock).build().unwrap()
}

/// A token with these claims beside those of every token.
fn token(typ: Option<&str>, claims: &Value) -> TokenBuilder<tower_introspect::test_util::Jwt> {
    let now = FixedClock.now().as_secs();
    let mut all =
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "al1ce", "iat": now, "exp": now + 600});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let token = server().jwt().raw_claims(&all.to_string());
    match typ {
        Some(typ) => token.typ(typ),
        None => token.without_header("typ"),
    }
}

/// The events that a request with this token causes, a minute after the last one.
async fn told<V: Verifier>(
    captured: &Captured,
    layer: &IntrospectLayer<V>,
    token: &str,
) -> Vec<Line> {
    tokio::time::advance(Duration::from_secs(60)).await;
    let before = captured.lines().len();
    let status = present(layer, token).await;
    assert!(matches!(status, 401 | 403), "{status}");
    captured.lines().split_off(before).into_iter().filter(is_advice).collect()
}

fn is_advice(line: &Line) -> bool {
    [KIND, SCOPE].contains(&&*line.name)
}

/// The contents of the only event.
fn only(lines: &[Line]) -> [Option<&str>; 4] {
    let [line] = lines else { panic!("{lines:?}") };
    assert_eq!((line.level, &*line.target), (Level::INFO, "tower_introspect"));
    assert_eq!(line.field("issuer"), Some(ISSUER));
    ["token", "typ", "claims", "setting"].map(|name| line.field(name))
}

#[tokio::test(start_paused = true)]
async fn signed_token_of_another_kind_is_told_with_the_setting_to_change() {
    let (_turn, captured) = alone().await;
    let access = json!({"scope": "read", "client_id": "web"});
    let of_service = json!({"email": "x", "azp": AUDIENCE});
    for (profile, typ, claims, token_is, typ_is, claims_are, setting) in [
        (
            Profile::Rfc9068,
            Some("JWT"),
            access.clone(),
            "not of an accepted type",
            "JWT",
            "scope, client_id",
            "or choose `Profile::Generic`",
        ),
        (
            Profile::Rfc9068,
            None,
            json!({}),
            "not of an accepted type",
            "none",
            "none",
            "danger_accept_unmarked_jwts",
        ),
        (
            Profile::Rfc9068,
            None,
            json!({"nonce": "al1ce"}),
            "not of an accepted type",
            "none",
            "nonce",
            "must send its access token",
        ),
        (
            Profile::Generic,
            Some("JWT"),
            json!({}),
            "not marked as an access token",
            "JWT",
            "none",
            "danger_accept_unmarked_jwts",
        ),
        (
            Profile::Generic,
            Some("jwt"),
            json!({"at_hash": "al1ce", "al1ce": "scope"}),
            "an ID token",
            "JWT",
            "at_hash",
            "must send its access token",
        ),
        (
            Profile::Generic,
            Some("at+jwt"),
            json!({"token_use": "refresh"}),
            "a refresh token",
            "at+jwt",
            "token_use",
            "must send its access token",
        ),
        (
            Profile::Generic,
            Some("application/logout+jwt"),
            json!({}),
            "a logout token",
            "logout+jwt",
            "none",
            "must send its access token",
        ),
        (
            Profile::Generic,
            Some("al1ce+jwt"),
            access,
            "not of an accepted type",
            "another one",
            "scope, client_id",
            "set `typ` to at+jwt",
        ),
        (
            Profile::ServiceIdentity,
            Some("JWT"),
            of_service,
            "an ID token",
            "JWT",
            "none",
            "must send its access token",
        ),
    ] {
        let layer = IntrospectLayer::new(local(profile), policy());
        let lines = told(&captured, &layer, &token(typ, &claims).mint()).await;
        let [told, typ, names, advice] = only(&lines);
        let seen = [told, typ, names];
        assert_eq!(seen, [token_is, typ_is, claims_are].map(Some), "{profile:?} {claims}");
        assert!(advice.unwrap().contains(setting), "{advice:?}");
        assert!(lines[0].field("wanted").is_some());
    }
    assert!(!captured.text().contains("al1ce"), "{}", captured.text());
}

/// Anyone could cause the event otherwise, and hide one about a good token.
#[tokio::test(start_paused = true)]
async fn token_of_another_kind_that_the_issuer_did_not_sign_is_not_told() {
    let (_turn, captured) = alone().await;
    for profile in [Profile::Generic, Profile::Rfc9068] {
        let layer = IntrospectLayer::new(local(profile), policy());
        for typ in [Some("logout+jwt"), Some("rt+jwt"), Some("JWT"), None] {
            let id = || token(typ, &json!({"nonce": "n"}));
            let foreign = token(typ, &json!({"nonce": "n", "iss": "https://other.example"}));
            for forged in [
                id().with_defect(Defect::ForeignKey),
                id().with_defect(Defect::UnknownKey),
                id().with_corrupt_signature(),
                id().unsigned(),
                foreign,
            ] {
                let lines = told(&captured, &layer, &forged.mint()).await;
                assert!(lines.is_empty(), "{lines:?}");
            }
            assert_eq!(told(&captured, &layer, &id().mint()).await.len(), 1, "{typ:?}");
        }
        let good = token(Some("at+jwt"), &json!({"scope": "read"})).mint();
        assert_eq!(present(&layer, &good).await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn active_token_of_another_kind_is_told() {
    let (_turn, captured) = alone().await;
    let server = server();
    let layer = IntrospectLayer::new(remote(&server), policy());
    let id = json!({"active": true, "aud": AUDIENCE, "token_use": "id_token", "sub": "al1ce"});
    let id = server.opaque().introspected_as(id).mint();
    let [token_is, typ, claims, setting] =
        only(&told(&captured, &layer, &id).await).map(|field| field.map(str::to_owned));
    assert_eq!(token_is.as_deref(), Some("an ID token"));
    assert_eq!((typ, claims.as_deref()), (None, Some("token_use")));
    assert!(setting.unwrap().contains("must send its access token"));
    let inactive = json!({"active": false, "token_use": "id_token"});
    let inactive = server.opaque().introspected_as(inactive).mint();
    assert!(told(&captured, &layer, &inactive).await.is_empty());

    // A JWT that says nothing, nor does the response.
    let unmarked = token(Some("JWT"), &json!({})).mint();
    let response = json!({"active": true, "aud": AUDIENCE, "client_id": "al1ce"});
    let _ = server.opaque().text(&unmarked).introspected_as(response).mint();
    let lines = told(&captured, &layer, &unmarked).await;
    let [token_is, _, claims, setting] = only(&lines);
    assert_eq!((token_is, claims), (Some("not marked as an access token"), Some("client_id")));
    assert!(setting.unwrap().contains("danger_accept_unmarked_jwts"));
    assert!(!captured.text().contains("al1ce"));
}

#[tokio::test(start_paused = true)]
async fn token_that_the_policy_refuses_for_its_kind_is_told() {
    let (_turn, captured) = alone().await;
    let refresh = accepting(&format!(r#"{{"aud":"{AUDIENCE}","token_type":"refresh_token"}}"#));
    let lines = told(&captured, &refresh, "abc").await;
    assert_eq!(only(&lines)[0], Some("a refresh token"));

    let key = SigningKey::from_pem(Algorithm::EdDSA, include_bytes!("../it/keys/ed25519.pem"));
    let key = key.unwrap().with_kid("k");
    let keys = KeySet::from_jwk(key.public_jwk().unwrap().to_string().as_bytes()).unwrap();
    let verifier = JwtVerifier::builder(ISSUER).keys(keys).build().unwrap();
    let layer = IntrospectLayer::new(verifier, policy().fapi2());
    let untyped = token(Some("JWT"), &json!({"scope": "read"})).signed_with(key).mint();
    let lines = told(&captured, &layer, &untyped).await;
    let [token_is, _, _, setting] = only(&lines);
    assert_eq!(token_is, Some("not of an accepted type"));
    assert!(setting.unwrap().contains("FAPI 2.0"));
}

/// The policy, the layer of a requirement, extractors and interceptors.
#[tokio::test(start_paused = true)]
async fn token_without_any_scope_is_told_where_a_scope_is_required() {
    use axum::{Router, body::Body, http::request::Parts, routing::get};
    use tonic::service::Interceptor as _;
    use tower_introspect::{
        axum::{Rejection, RequestExt as _, ScopeSet, Scoped},
        tonic::RequireInterceptor,
    };

    struct Write;

    impl ScopeSet for Write {
        const SCOPES: &'static [&'static str] = &["write"];
    }

    async fn requires(request: Parts) -> Result<(), Rejection> {
        request.require(&Requirement::all_scopes(["write"])).map(drop)
    }

    let (_turn, captured) = alone().await;
    let of = |claims: &str| accepting(&format!(r#"{{"aud":"{AUDIENCE}","sub":"al1ce"{claims}}}"#));
    let app = |claims: &str| {
        let app = Router::new()
            .route("/free", get(async || ()))
            .route(
                "/role",
                get(async || ()).route_layer(tower_introspect::require::RequireLayer::new(
                    Requirement::claim_present("role"),
                )),
            )
            .route("/layer", get(async || ()).route_layer(RequireScope::all(["write"])))
            .route("/extractor", get(async |_: Scoped<Write>| ()))
            .route("/handler", get(requires));
        of(claims).layer(app)
    };
    let ask = async |claims: &str, path: &str| {
        tokio::time::advance(Duration::from_secs(60)).await;
        let before = captured.lines().len();
        for _ in 0..100 {
            let request = Request::get(path).header("authorization", "Bearer abc");
            app(claims).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        }
        captured.lines().split_off(before).into_iter().filter(is_advice).collect::<Vec<_>>()
    };
    for path in ["/layer", "/extractor", "/handler"] {
        let lines = ask(r#","permissions":["al1ce"],"al1ce":1"#, path).await;
        let [_, _, claims, setting] = only(&lines);
        assert_eq!(claims, Some("permissions"), "{path}");
        assert_eq!(setting, Some("the claims that the verifier returns"));
        assert_eq!(lines[0].field("wanted"), Some("a scope in `scope`"));
        // Another scope is no fault of a setting.
        assert!(ask(r#","scope":"read""#, path).await.is_empty(), "{path}");
    }
    assert!(ask("", "/free").await.is_empty());
    assert!(ask("", "/role").await.is_empty());

    // The call of gRPC.
    tokio::time::advance(Duration::from_secs(60)).await;
    let claims = format!(r#"{{"aud":"{AUDIENCE}"}}"#);
    let active = crate::support::active(&claims);
    let admitted = policy().admit(active, tower_introspect::credentials::Scheme::Bearer).unwrap();
    let mut call = tonic::Request::new(());
    call.extensions_mut().insert(admitted);
    let before = captured.named(SCOPE).len();
    assert!(RequireInterceptor::new(Requirement::all_scopes(["write"])).call(call).is_err());
    assert_eq!(captured.named(SCOPE).len(), before + 1);
    assert!(!captured.text().contains("al1ce"), "{}", captured.text());
}

#[tokio::test(start_paused = true)]
async fn setting_for_a_token_without_scope_depends_on_the_claims_it_has() {
    let (_turn, captured) = alone().await;
    let required = || policy().require(Requirement::any_scope(["write", "admin"]));
    for (profile, claims, names, setting) in [
        (Profile::Generic, json!({}), "none", "have the issuer grant a scope"),
        (Profile::Generic, json!({"scope": ""}), "scope", "have the issuer grant a scope"),
        (Profile::Generic, json!({"roles": ["x"]}), "roles", "`scope_claim`, if one of these"),
        (
            Profile::Generic,
            json!({"scope": "", "permissions": ["x"]}),
            "scope, permissions",
            "`scope_claim`, if one of these",
        ),
        (Profile::Rfc9068, json!({"scope": ["x"]}), "scope", "with `Profile::Generic`"),
    ] {
        let layer = IntrospectLayer::new(local(profile), required());
        let lines = told(&captured, &layer, &token(Some("at+jwt"), &claims).mint()).await;
        let [_, _, claims, advice] = only(&lines);
        assert_eq!(claims, Some(names));
        assert!(advice.unwrap().contains(setting), "{advice:?}");
    }
    // The name is that of the setting.
    let keys = KeySet::from_jwks(server().jwks().to_string().as_bytes()).unwrap();
    let named = JwtVerifier::builder(ISSUER).keys(keys).scope_claim("rights").build().unwrap();
    let layer = IntrospectLayer::new(named, required());
    let token = token(Some("at+jwt"), &json!({"scope": "write"})).mint();
    let lines = told(&captured, &layer, &token).await;
    assert_eq!(lines[0].field("wanted"), Some("a scope in `rights`"));
    assert!(only(&lines)[3].unwrap().contains("`scope_claim` is the only claim"));
}

#[tokio::test(start_paused = true)]
async fn advice_is_given_once_a_minute_for_each_issuer() {
    let (_turn, captured) = alone().await;
    let layer = IntrospectLayer::new(local(Profile::Generic), policy());
    let id = token(Some("JWT"), &json!({"nonce": "n"})).mint();
    let count = || captured.named(KIND).len();
    for minute in 1..4 {
        for _ in 0..1_000 {
            present(&layer, &id).await;
        }
        assert_eq!(count(), minute);
        tokio::time::advance(Duration::from_secs(60)).await;
    }
}
