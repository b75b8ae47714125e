//! The kinds of tokens that real authorization servers issue, in every mode of an issuer.
//!
//! The shapes are those that the servers were seen to issue, with the audience of this service, so
//! that only the kind decides.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ErrorKind, Issuer, Policy, ResourceServer, TokenKind, VerifiedToken, VerifyError,
    clock::UnixTime,
    config::Config,
    introspection::IntrospectionVerifierBuilder,
    jwt::{JwtVerifierBuilder, Profile},
    policy::Requirement,
    proof::Dpop,
    revocation::Cutoff,
    test_util::{AuthorizationServer, Client, Endpoint, Fault, Prover, TestClock},
};

use crate::{
    support::{AUDIENCE, ISSUER, refusal, request},
    world::auth,
};

const NOW: i64 = 1_800_000_000;
const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(10);

/// A token as a server issues it, and the introspection response about it.
struct Shape {
    name: &'static str,
    /// The `typ` and the claims of a JWT, besides `iss`, `exp` and `iat`.
    jwt: Option<(Option<&'static str>, Value)>,
    /// The members of the response, besides `active`. `None` if the server calls it inactive.
    response: Option<Value>,
}

fn jwt(name: &'static str, typ: Option<&'static str>, claims: Value, response: Value) -> Shape {
    Shape { name, jwt: Some((typ, claims)), response: Some(response) }
}

/// A JWT that its server calls inactive, or does not introspect.
fn inactive(name: &'static str, typ: Option<&'static str>, claims: Value) -> Shape {
    Shape { name, jwt: Some((typ, claims)), response: None }
}

fn opaque(name: &'static str, response: Value) -> Shape {
    Shape { name, jwt: None, response: Some(response) }
}

/// The ways in which an issuer's tokens are verified.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Jwt,
    Hybrid,
    Introspect,
    Confirm,
}

const MODES: [Mode; 4] = [Mode::Jwt, Mode::Hybrid, Mode::Introspect, Mode::Confirm];

impl Mode {
    fn issuer(self) -> Issuer {
        match self {
            Self::Jwt => Issuer::jwt(ISSUER),
            Self::Hybrid => Issuer::hybrid(ISSUER, auth()),
            Self::Introspect => Issuer::introspect(ISSUER, auth()),
            Self::Confirm => Issuer::jwt_and_introspect(ISSUER, auth(), MAX_AGE),
        }
    }
}

/// The settings of a resource server.
struct Settings {
    jwt: fn(JwtVerifierBuilder) -> JwtVerifierBuilder,
    introspection: fn(IntrospectionVerifierBuilder) -> IntrospectionVerifierBuilder,
    policy: fn(Policy) -> Policy,
}

const DEFAULTS: Settings =
    Settings { jwt: |jwt| jwt, introspection: |remote| remote, policy: |policy| policy };

impl Shape {
    /// Returns the token that the handler gets in this mode, or why the request is refused.
    async fn present(&self, mode: Mode) -> Result<VerifiedToken, ErrorKind> {
        self.present_with(mode, &DEFAULTS).await.map_err(|error| error.kind())
    }

    async fn present_with(
        &self,
        mode: Mode,
        settings: &Settings,
    ) -> Result<VerifiedToken, VerifyError> {
        let (server, api) = world(mode.issuer(), settings);
        let response = match &self.response {
            Some(members) => with(members, &json!({"active": true})),
            None => json!({"active": false}),
        };
        respond(&server, &response);
        present(&api, &self.mint(&server)).await
    }

    fn mint(&self, server: &AuthorizationServer) -> String {
        let Some((typ, claims)) = &self.jwt else { return server.opaque().mint() };
        let dates = json!({"iss": ISSUER, "exp": NOW + 300, "iat": NOW});
        let claims = with(claims, &dates).to_string();
        server.jwt().header("typ", *typ).raw_claims(&claims).mint()
    }
}

fn clock() -> TestClock {
    TestClock::new(UnixTime::from_secs(NOW))
}

fn world(issuer: Issuer, settings: &Settings) -> (AuthorizationServer, ResourceServer) {
    let clock = clock();
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(clock.clone())
        .with_client(Client::new("api", "s3cret"));
    let issuer = issuer.configure_jwt(settings.jwt).configure_introspection(settings.introspection);
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(issuer)
        .policy(settings.policy)
        .transport(server.transport())
        .clock(clock);
    (server, api.build().unwrap())
}

fn respond(server: &AuthorizationServer, body: &Value) {
    server.clear(Endpoint::Introspection);
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    server.inject(Endpoint::Introspection, Fault::respond(response));
}

async fn present(api: &ResourceServer, token: &str) -> Result<VerifiedToken, VerifyError> {
    let handler = service_fn(async |request: http::Request<Bytes>| {
        let token = request.extensions().get::<VerifiedToken>().cloned();
        Ok::<_, std::convert::Infallible>(Response::new(token))
    });
    let request = request(&[("authorization", &format!("Bearer {token}"))]);
    let Ok(response) = api.layer().layer(handler).oneshot(request).await;
    let refused = response.extensions().get::<VerifyError>().cloned();
    assert_eq!(refused.as_ref().map(VerifyError::kind), refusal(&response));
    response.into_body().ok_or_else(|| refused.unwrap())
}

/// Returns `object` with the members of `more` that it lacks.
fn with(object: &Value, more: &Value) -> Value {
    let mut all = object.clone();
    for (name, value) in more.as_object().unwrap() {
        all.as_object_mut().unwrap().entry(name).or_insert(value.clone());
    }
    all
}

/// An access token, with the client and the scope that every mode finds, and the modes that can't
/// admit it.
type AccessToken = (Shape, &'static str, &'static str, Vec<(Mode, ErrorKind)>);

fn access_tokens() -> Vec<AccessToken> {
    use Mode::{Confirm, Hybrid, Introspect, Jwt};
    let aud = AUDIENCE;
    let keycloak = json!({
        "aud": [aud, "account"], "azp": "web", "typ": "Bearer", "scope": "profile read",
        "sub": "u1", "sid": "s1", "acr": "1", "realm_access": {"roles": ["staff"]},
    });
    let keycloak_response = with(
        &keycloak,
        &json!({"client_id": "web", "username": "alice", "token_type": "Bearer", "iss": ISSUER}),
    );
    let unmarked = ErrorKind::WrongTokenKind(TokenKind::Unmarked);
    let not_asked = |kind| vec![(Introspect, kind), (Confirm, kind)];
    vec![
        (
            jwt("Keycloak", Some("JWT"), keycloak.clone(), keycloak_response.clone()),
            "web",
            "profile read",
            vec![],
        ),
        (
            jwt("Keycloak, at+jwt", Some("at+jwt"), keycloak.clone(), keycloak_response.clone()),
            "web",
            "profile read",
            vec![],
        ),
        (
            jwt(
                "Keycloak before 25, without a scope",
                Some("JWT"),
                json!({"aud": aud, "azp": "web", "typ": "Bearer", "nonce": "n", "sub": "u1"}),
                json!({"aud": aud, "azp": "web", "client_id": "web", "typ": "Bearer",
                    "token_type": "Bearer", "nonce": "n", "sub": "u1"}),
            ),
            "web",
            "",
            vec![],
        ),
        (
            jwt(
                "Spring",
                None,
                json!({"sub": "svc", "aud": aud, "nbf": NOW, "scope": ["read"], "jti": "j"}),
                json!({"sub": "svc", "aud": [aud], "nbf": NOW, "scope": "read", "iss": ISSUER,
                    "exp": NOW + 300, "token_type": "Bearer", "client_id": "svc", "jti": "j"}),
            ),
            "svc",
            "read",
            vec![],
        ),
        (
            jwt(
                "Hydra",
                Some("JWT"),
                json!({"aud": [aud], "client_id": "web", "ext": {}, "jti": "j", "nbf": NOW,
                    "scp": ["read", "write"], "sub": "alice"}),
                json!({"aud": [aud], "client_id": "web", "scope": "read write", "sub": "alice",
                    "iss": ISSUER, "token_type": "Bearer", "token_use": "access_token"}),
            ),
            "web",
            "read write",
            vec![],
        ),
        (
            inactive(
                "Entra, of a user",
                Some("JWT"),
                json!({"aud": aud, "azp": "web", "azpacr": "1", "scp": "Files.Read User.Read",
                    "oid": "o", "sub": "s", "tid": "t", "ver": "2.0"}),
            ),
            "web",
            "Files.Read User.Read",
            not_asked(ErrorKind::Inactive),
        ),
        (
            inactive(
                "Entra, of an application",
                Some("JWT"),
                json!({"aud": aud, "azp": "job", "azpacr": "1", "roles": ["Files.Read.All"],
                    "oid": "o", "sub": "o", "ver": "2.0"}),
            ),
            "job",
            "",
            not_asked(ErrorKind::Inactive),
        ),
        (
            inactive(
                "Entra, version 1",
                Some("JWT"),
                json!({"aud": aud, "appid": "web", "appidacr": "1", "scp": "Files.Read", "ver": "1.0"}),
            ),
            "web",
            "Files.Read",
            not_asked(ErrorKind::Inactive),
        ),
        (
            jwt(
                "Okta",
                None,
                json!({"aud": aud, "cid": "0oa1", "uid": "u", "scp": ["read"], "ver": 1, "sub": "a"}),
                json!({"aud": aud, "client_id": "0oa1", "uid": "u", "scope": "read", "sub": "a",
                    "username": "a", "token_type": "Bearer", "iss": ISSUER}),
            ),
            "0oa1",
            "read",
            vec![],
        ),
        (
            inactive(
                "Cognito",
                None,
                json!({"aud": aud, "client_id": "1ex", "token_use": "access", "scope": "read",
                    "sub": "s", "username": "alice", "version": 2}),
            ),
            "1ex",
            "read",
            not_asked(ErrorKind::Inactive),
        ),
        (
            jwt(
                "canaille, which looks like an ID token",
                Some("JWT"),
                json!({"aud": [aud, "web"], "sub": "alice", "auth_time": NOW}),
                json!({"aud": [aud, "web"], "client_id": "web", "scope": "read", "sub": "alice",
                    "token_type": "Bearer", "username": "alice", "iss": ISSUER}),
            ),
            "web",
            "read",
            vec![(Jwt, unmarked), (Hybrid, unmarked), (Confirm, unmarked)],
        ),
        (
            jwt(
                "Authentik, made like an ID token",
                Some("JWT"),
                json!({"aud": aud, "sub": "alice", "auth_time": NOW, "acr": "x"}),
                json!({"aud": aud, "sub": "alice", "auth_time": NOW, "acr": "x", "iss": ISSUER,
                    "scope": "read", "client_id": "web"}),
            ),
            "web",
            "read",
            vec![(Jwt, unmarked), (Hybrid, unmarked), (Confirm, unmarked)],
        ),
        (
            jwt(
                "zitadel, with all members",
                Some("JWT"),
                json!({"aud": [aud], "client_id": "web", "jti": "j", "nbf": NOW, "sub": "alice"}),
                json!({"aud": [aud], "client_id": "web", "jti": "j", "sub": "alice",
                    "scope": "read", "iss": ISSUER, "username": "alice"}),
            ),
            "web",
            "read",
            vec![],
        ),
        (
            jwt(
                "Glewlwyd",
                Some("at+jwt"),
                json!({"aud": aud, "client_id": "svc", "jti": "j", "scope": "read", "type": "client_token"}),
                json!({"aud": aud, "client_id": "svc", "token_type": "bearer", "scope": "read",
                    "type": "client_token"}),
            ),
            "svc",
            "read",
            vec![],
        ),
        (
            inactive(
                "oidc-provider",
                Some("at+jwt"),
                json!({"aud": aud, "client_id": "svc", "jti": "j", "scope": "read", "sub": "svc"}),
            ),
            "svc",
            "read",
            not_asked(ErrorKind::Inactive),
        ),
        (
            inactive(
                "at+jwt with private claims of other names",
                Some("at+jwt"),
                json!({"aud": aud, "client_id": "svc", "events": {"a": 1}, "at_hash": "x",
                    "token_introspection": {"b": 1}, "nonce": "n"}),
            ),
            "svc",
            "",
            not_asked(ErrorKind::Inactive),
        ),
        (
            opaque(
                "opaque, of oidc-provider",
                json!({"aud": aud, "client_id": "svc", "scope": "read", "iss": ISSUER,
                    "token_type": "Bearer"}),
            ),
            "svc",
            "read",
            vec![(Jwt, ErrorKind::MalformedToken)],
        ),
        (
            opaque(
                "opaque, of django-oauth-toolkit",
                json!({"aud": [aud], "client_id": "svc", "scope": "read"}),
            ),
            "svc",
            "read",
            vec![(Jwt, ErrorKind::MalformedToken)],
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn access_tokens_of_real_servers_are_admitted_in_every_mode_with_client_and_scope() {
    use Mode::{Confirm, Introspect};
    for (shape, client, scope, refused) in access_tokens() {
        for mode in MODES {
            let expected = refused.iter().find(|(other, _)| *other == mode).map(|(_, kind)| *kind);
            match (shape.present(mode).await, expected) {
                (Ok(token), None) => {
                    // Without an introspection there is only what the JWT says.
                    let says = |names: &[&str]| {
                        let (_, claims) = shape.jwt.as_ref().unwrap();
                        names.iter().any(|name| claims.get(name).is_some())
                    };
                    let asks = shape.jwt.is_none() || matches!(mode, Introspect | Confirm);
                    let client = Some(client)
                        .filter(|_| asks || says(&["client_id", "azp", "cid", "appid"]));
                    let scope = if asks || says(&["scope", "scp"]) { scope } else { "" };
                    let found = (token.client_id(), token.scope().as_str());
                    assert_eq!(found, (client.map(Into::into), scope), "{} {mode:?}", shape.name);
                }
                (outcome, expected) => {
                    let kind = outcome.err();
                    assert_eq!(kind, expected, "{} {mode:?}", shape.name);
                }
            }
        }
    }
}

/// Tokens that no mode may admit, with the kind that their own text or the response shows.
fn other_tokens() -> Vec<(Shape, TokenKind)> {
    use TokenKind::{Id, Logout, Other, Refresh, SecurityEvent, Unmarked};
    let aud = AUDIENCE;
    let keycloak = |typ: &str| {
        let claims =
            json!({"aud": [aud, "web"], "azp": "web", "typ": typ, "sub": "u1", "scope": "x"});
        let response = with(&claims, &json!({"client_id": "web", "token_type": typ}));
        (claims, response)
    };
    let of_keycloak = |name, typ: &str| {
        let (claims, response) = keycloak(typ);
        jwt(name, Some("JWT"), claims, response)
    };
    let spring_id = |nonce: Option<&str>| {
        let mut claims = json!({"aud": [aud, "web"], "azp": "web", "sub": "alice", "sid": "s",
            "auth_time": NOW, "jti": "j"});
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        // A text, and no `token_type`.
        let response = with(&json!({"auth_time": "2026-11-29T22:45:27.545Z"}), &claims);
        (claims, with(&response, &json!({"client_id": "web", "iss": ISSUER})))
    };
    let (with_nonce, with_nonce_response) = spring_id(Some("n"));
    let (plain, plain_response) = spring_id(None);
    let lying = json!({"aud": aud, "client_id": "web", "scope": "read", "token_type": "Bearer"});
    vec![
        (of_keycloak("Keycloak ID", "ID"), Id),
        (of_keycloak("Keycloak refresh", "Refresh"), Refresh),
        (of_keycloak("Keycloak offline", "Offline"), Refresh),
        (of_keycloak("Keycloak registration", "RegistrationAccessToken"), Other),
        (of_keycloak("Keycloak initial access", "InitialAccessToken"), Other),
        (of_keycloak("Keycloak cookie", "Serialized-ID"), Id),
        (of_keycloak("Keycloak logout", "Logout"), Logout),
        (jwt("Spring ID", None, with_nonce.clone(), with_nonce_response), Id),
        (jwt("Spring ID without nonce", None, plain.clone(), plain_response), Unmarked),
        // Only the own text tells, and it decides against a response that says otherwise.
        (jwt("Spring ID called Bearer", None, with_nonce, lying.clone()), Id),
        (
            jwt(
                "Hydra ID",
                Some("JWT"),
                json!({"aud": [aud], "at_hash": "h", "auth_time": NOW, "sid": "s", "sub": "a"}),
                lying.clone(),
            ),
            Id,
        ),
        (
            jwt(
                "Hydra logout",
                Some("JWT"),
                json!({"aud": [aud], "sid": "s", "jti": "j",
                    "events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
                lying.clone(),
            ),
            Logout,
        ),
        (
            jwt(
                "zitadel ID, which has a client_id",
                Some("JWT"),
                json!({"aud": [aud, "web"], "azp": "web", "at_hash": "h", "client_id": "web",
                    "nonce": "n", "sub": "a"}),
                lying.clone(),
            ),
            Id,
        ),
        (
            jwt(
                "Cognito ID",
                None,
                json!({"aud": aud, "token_use": "id", "cognito:username": "a", "sub": "s"}),
                lying.clone(),
            ),
            Id,
        ),
        (
            jwt(
                "Entra ID",
                Some("JWT"),
                json!({"aud": aud, "oid": "o", "sub": "s", "tid": "t", "roles": ["r"], "ver": "2.0"}),
                json!({"aud": aud, "sub": "s", "client_id": "web"}),
            ),
            Unmarked,
        ),
        (
            jwt(
                "Okta ID",
                None,
                json!({"aud": aud, "amr": ["pwd"], "at_hash": "h", "idp": "i", "nonce": "n", "ver": 1}),
                lying.clone(),
            ),
            Id,
        ),
        (
            jwt(
                "Google ID",
                Some("JWT"),
                json!({"aud": aud, "azp": "1", "email": "j@example.com", "sub": "1"}),
                json!({"aud": aud, "azp": "1", "sub": "1"}),
            ),
            Unmarked,
        ),
        (jwt("rt+jwt", Some("rt+jwt"), json!({"aud": aud, "scope": "x"}), lying.clone()), Refresh),
        (
            jwt("unknown typ", Some("kb+jwt"), json!({"aud": aud, "scope": "x"}), lying.clone()),
            Other,
        ),
        (
            jwt(
                "unknown token_use",
                None,
                json!({"aud": aud, "scope": "x", "token_use": "userinfo"}),
                lying.clone(),
            ),
            Other,
        ),
        (
            jwt(
                "two words that disagree",
                None,
                json!({"aud": aud, "token_use": "access", "typ": "ID", "scope": "x"}),
                lying.clone(),
            ),
            Id,
        ),
        (
            jwt(
                "at+jwt with the word of another kind",
                Some("at+jwt"),
                json!({"aud": aud, "token_use": "refresh_token", "scope": "x"}),
                lying.clone(),
            ),
            Refresh,
        ),
        (
            jwt(
                "security event",
                None,
                json!({"aud": aud, "events": {"a": {}}, "client_id": "c"}),
                lying,
            ),
            SecurityEvent,
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn other_kinds_of_jwt_are_refused_in_every_mode_as_the_same_kind() {
    for (shape, kind) in other_tokens() {
        for mode in MODES {
            let refused = shape.present(mode).await.err();
            let expected = Some(ErrorKind::WrongTokenKind(kind));
            assert_eq!(refused, expected, "{} {mode:?}", shape.name);
        }
    }
}

/// A server that loses its keys is asked about JWTs, and is asked about the same ones.
#[tokio::test(start_paused = true)]
async fn other_kinds_of_jwt_are_refused_where_introspection_stands_in_for_the_keys() {
    for (shape, kind) in other_tokens() {
        let issuer = Issuer::hybrid(ISSUER, auth()).fall_back_to_introspection();
        let (server, api) = world(issuer, &DEFAULTS);
        server.inject(Endpoint::Jwks, Fault::unreachable());
        respond(&server, &with(shape.response.as_ref().unwrap(), &json!({"active": true})));
        let refused = present(&api, &shape.mint(&server)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongTokenKind(kind), "{}", shape.name);
    }
}

#[tokio::test(start_paused = true)]
async fn opaque_tokens_that_are_no_access_tokens_are_refused() {
    let aud = AUDIENCE;
    let kind = ErrorKind::WrongTokenKind;
    let no_aud = ErrorKind::MissingClaim("aud");
    let with_type = |token_type: &str| json!({"aud": aud, "scope": "x", "token_type": token_type});
    for (name, response, expected) in [
        (
            "Hydra refresh",
            json!({"aud": [aud], "client_id": "web", "scope": "read", "sub": "a",
                "token_type": "Bearer", "token_use": "refresh_token"}),
            kind(TokenKind::Refresh),
        ),
        ("Glewlwyd refresh", with_type("refresh_token"), kind(TokenKind::Refresh)),
        ("Keycloak offline", json!({"aud": aud, "typ": "Offline"}), kind(TokenKind::Refresh)),
        ("mac", with_type("mac"), kind(TokenKind::Other)),
        ("pop", with_type("pop"), kind(TokenKind::Other)),
        ("code", with_type("authorization_code"), kind(TokenKind::Other)),
        ("N_A", with_type("N_A"), kind(TokenKind::Other)),
        ("access_token", with_type("access_token"), kind(TokenKind::Other)),
        ("empty", with_type(""), kind(TokenKind::Other)),
        // These are kept out by the audience.
        (
            "Spring refresh or code",
            json!({"client_id": "web", "exp": NOW + 300, "iat": NOW}),
            no_aud,
        ),
        (
            "oidc-provider refresh",
            json!({"client_id": "web", "scope": "offline_access", "sub": "a", "iss": ISSUER}),
            no_aud,
        ),
        (
            "canaille refresh",
            json!({"aud": ["web"], "client_id": "web", "scope": "x", "token_type": "Bearer"}),
            ErrorKind::WrongAudience,
        ),
    ] {
        for mode in [Mode::Hybrid, Mode::Introspect, Mode::Confirm] {
            let refused = opaque(name, response.clone()).present(mode).await.err();
            assert_eq!(refused, Some(expected), "{name} {mode:?}");
        }
    }
    for token_type in ["Bearer", "bearer", "BEARER"] {
        let shape = opaque("access", with_type(token_type));
        assert!(shape.present(Mode::Introspect).await.is_ok(), "{token_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn default_audience_is_not_given_to_what_may_be_a_refresh_token_or_a_code() {
    let settings =
        Settings { introspection: |remote| remote.danger_default_audience(AUDIENCE), ..DEFAULTS };
    let ask = async |response: &Value| {
        opaque("", response.clone()).present_with(Mode::Introspect, &settings).await
    };
    let bare = json!({"client_id": "web", "exp": NOW + 300, "iat": NOW});
    for bare in [
        json!({}),
        bare.clone(),
        with(&json!({"scope": null, "sub": null, "token_type": null, "aud": null}), &bare),
    ] {
        let refused = ask(&bare).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::MissingClaim("aud"), "{bare}");
        let told = refused.to_string();
        assert!(told.contains("a refresh token or an authorization code"), "{told}");
    }
    for shown in [json!({"scope": "x"}), json!({"sub": "a"}), json!({"token_type": "Bearer"})] {
        assert!(ask(&with(&bare, &shown)).await.is_ok(), "{shown}");
    }
    // An audience that is there stays.
    for aud in [json!([]), json!("other")] {
        let refused = ask(&json!({"sub": "a", "aud": aud})).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongAudience, "{aud}");
    }
}

/// As for the tokens of users of ZITADEL, whose JWT names the client alone.
#[tokio::test(start_paused = true)]
async fn default_audience_is_not_given_to_a_jwt_that_names_others() {
    let settings =
        Settings { introspection: |remote| remote.danger_default_audience(AUDIENCE), ..DEFAULTS };
    let response = json!({"scope": "read", "sub": "a", "token_type": "Bearer"});
    for (aud, expected) in [
        (json!("web"), Some(ErrorKind::WrongAudience)),
        (json!(["web", "other"]), Some(ErrorKind::WrongAudience)),
        (json!([]), Some(ErrorKind::WrongAudience)),
        (json!(7), Some(ErrorKind::WrongAudience)),
        (json!(null), None),
        (json!(AUDIENCE), None),
        (json!(["web", AUDIENCE]), None),
    ] {
        let claims = json!({"aud": aud, "client_id": "web", "scope": "read", "sub": "a"});
        let shape = jwt("named", Some("JWT"), claims, response.clone());
        let refused = shape.present_with(Mode::Introspect, &settings).await.err();
        assert_eq!(refused.map(|error| error.kind()), expected, "{aud}");
    }
}

#[tokio::test(start_paused = true)]
async fn empty_audience_is_for_nobody_in_every_mode_and_the_reason_says_so() {
    let claims = json!({"aud": [], "client_id": "web", "scp": ["read"], "sub": "a"});
    let response = with(&claims, &json!({"scope": "read", "token_type": "Bearer"}));
    let settings = Settings {
        jwt: |jwt| jwt.danger_audience_claim("client_id"),
        introspection: |remote| remote.danger_default_audience(AUDIENCE),
        policy: |policy| policy.or_audience("web"),
    };
    let missing = with(&json!({"client_id": "web"}), &json!({"scope": "read"}));
    for mode in MODES {
        for settings in [&DEFAULTS, &settings] {
            let shape = jwt("Hydra", Some("JWT"), claims.clone(), response.clone());
            let refused = shape.present_with(mode, settings).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WrongAudience, "{mode:?}");
            assert!(refused.to_string().contains("for nobody"), "{refused}");
        }
        // An absent one is missing.
        let shape = jwt("none", Some("JWT"), missing.clone(), missing.clone());
        let refused = shape.present(mode).await.unwrap_err();
        assert_eq!(refused, ErrorKind::MissingClaim("aud"), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn scopes_are_read_in_the_same_way_in_every_mode() {
    for (members, scope) in [
        (json!({"scope": "read write"}), "read write"),
        (json!({"scope": ["read", "write"]}), "read write"),
        (json!({"scope": ["read write"]}), "read write"),
        (json!({"scope": ["read write", "admin"]}), "admin"),
        (json!({"scp": "read write"}), "read write"),
        (json!({"scp": ["read", "write"]}), "read write"),
        (json!({"scope": "read", "scp": ["admin"]}), "read"),
        (json!({"scope": ["read"], "scp": "admin"}), "read"),
        (json!({"scope": "", "scp": "admin"}), ""),
        (json!({"scope": [], "scp": "admin"}), ""),
        (json!({"scope": ["read", 7]}), ""),
        (json!({"scope": 7}), ""),
        (json!({"scope": {"read": true}, "scp": "admin"}), ""),
        (json!({}), ""),
    ] {
        let claims = with(&members, &json!({"aud": AUDIENCE, "client_id": "c"}));
        let response = with(&claims, &json!({"token_type": "Bearer"}));
        for mode in MODES {
            let shape = jwt("", Some("JWT"), claims.clone(), response.clone());
            let token = shape.present(mode).await.unwrap();
            assert_eq!(token.scope().as_str(), scope, "{members} {mode:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn scope_claim_of_a_setting_counts_alone_and_is_not_split() {
    let settings = Settings {
        jwt: |jwt| jwt.scope_claim("permissions"),
        introspection: |remote| remote.scope_claim("permissions"),
        ..DEFAULTS
    };
    for (members, scope) in [
        (json!({"permissions": ["read:a", "write:a"], "scope": "admin"}), "read:a write:a"),
        (json!({"permissions": "read:a", "scope": "admin"}), "read:a"),
        (json!({"permissions": "site admin"}), ""),
        (json!({"permissions": ["site admin"]}), ""),
        (json!({"permissions": ["site admin", "read:a"]}), "read:a"),
        (json!({"scope": "admin", "scp": "admin"}), ""),
    ] {
        let claims = with(&members, &json!({"aud": AUDIENCE, "client_id": "c"}));
        for mode in MODES {
            let shape = jwt(
                "",
                Some("JWT"),
                claims.clone(),
                with(&claims, &json!({"token_type": "Bearer"})),
            );
            let token = shape.present_with(mode, &settings).await.unwrap();
            assert_eq!(token.scope().as_str(), scope, "{members} {mode:?}");
        }
    }
    // The usual claims stay as they are, also where a setting names one.
    let settings = Settings { jwt: |jwt| jwt.scope_claim("scp"), ..DEFAULTS };
    let claims = json!({"aud": AUDIENCE, "scp": "read write", "scope": "admin"});
    let token = inactive("", None, claims).present_with(Mode::Jwt, &settings).await.unwrap();
    assert_eq!(token.scope().as_str(), "read write");
}

#[tokio::test(start_paused = true)]
async fn strict_profile_takes_typed_tokens_and_a_text_as_scope() {
    let settings = Settings { jwt: |jwt| jwt.profile(Profile::Rfc9068), ..DEFAULTS };
    let present = async |typ, members: Value| {
        let claims = with(&members, &json!({"aud": AUDIENCE, "client_id": "c"}));
        inactive("", typ, claims).present_with(Mode::Jwt, &settings).await
    };
    for typ in [None, Some("JWT")] {
        let refused = present(typ, json!({"scope": "read"})).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongTokenKind(TokenKind::Other));
    }
    for (members, scope) in [
        (json!({"scope": "read write"}), "read write"),
        (json!({"scope": ["read"]}), ""),
        (json!({"scp": "read"}), ""),
    ] {
        let token = present(Some("at+jwt"), members).await.unwrap();
        assert_eq!(token.scope().as_str(), scope);
    }
}

#[tokio::test(start_paused = true)]
async fn fapi2_demands_the_strict_profile() {
    let prover = Prover::new("laptop").with_clock(clock());
    let claims = json!({"aud": AUDIENCE, "client_id": "c", "scope": "x",
        "cnf": {"jkt": prover.thumbprint()}});
    let fapi2: fn(Policy) -> Policy =
        |policy| policy.dpop(Dpop::new("https://api.example.com").unwrap()).fapi2();
    let generic: fn(JwtVerifierBuilder) -> _ = |jwt| jwt.profile(Profile::Generic);
    let other = ErrorKind::WrongTokenKind(TokenKind::Other);
    for (jwt, typ, expected) in [
        (DEFAULTS.jwt, Some("JWT"), other),
        // The policy demands it, whatever the verifier accepts.
        (generic, Some("JWT"), other),
        // Good but for its proof.
        (DEFAULTS.jwt, Some("at+jwt"), ErrorKind::InvalidProof),
    ] {
        let settings = Settings { jwt, policy: fapi2, ..DEFAULTS };
        let (server, api) = world(Mode::Jwt.issuer(), &settings);
        let token = inactive("", typ, claims.clone()).mint(&server);
        let handler =
            service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(Bytes::new())));
        let request = request(&[("authorization", &format!("DPoP {token}"))]);
        let Ok(response) = api.layer().layer(handler).oneshot(request).await;
        assert_eq!(refusal(&response), Some(expected), "{typ:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unmarked_jwts_are_admitted_by_a_setting_and_marked_ones_are_not() {
    let settings = Settings {
        jwt: |jwt| jwt.danger_accept_unmarked_jwts(),
        introspection: |remote| remote.danger_accept_unmarked_jwts(),
        ..DEFAULTS
    };
    for (shape, kind) in other_tokens() {
        for mode in MODES {
            let outcome = shape.present_with(mode, &settings).await;
            let refused = outcome.err().map(|error| error.kind());
            let expected = (kind != TokenKind::Unmarked).then_some(ErrorKind::WrongTokenKind(kind));
            assert_eq!(refused, expected, "{} {mode:?}", shape.name);
        }
    }
    let bare = || jwt("", None, json!({"aud": AUDIENCE}), json!({"aud": AUDIENCE}));
    for mode in MODES {
        let refused = bare().present_with(mode, &DEFAULTS).await.unwrap_err();
        assert!(refused.to_string().contains("danger_accept_unmarked_jwts"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn service_identities_are_admitted_by_their_profile_and_id_tokens_of_users_are_not() {
    let settings = Settings { jwt: |jwt| jwt.profile(Profile::ServiceIdentity), ..DEFAULTS };
    let google = json!({"aud": AUDIENCE, "azp": "1017", "sub": "1017",
        "email": "job@project.iam.gserviceaccount.com", "email_verified": true});
    let present = async |claims: Value| {
        let outcome = inactive("", Some("JWT"), claims).present_with(Mode::Jwt, &settings).await;
        outcome.map(drop).map_err(|error| error.kind())
    };
    assert_eq!(present(google.clone()).await, Ok(()));
    let github =
        json!({"aud": AUDIENCE, "sub": "repo:o/r:ref:refs/heads/main", "repository": "o/r"});
    assert_eq!(present(github).await, Ok(()));
    let id = Err(ErrorKind::WrongTokenKind(TokenKind::Id));
    for of_a_user in [json!({"at_hash": "x"}), json!({"nonce": "n"}), json!({"azp": AUDIENCE})] {
        assert_eq!(present(with(&of_a_user, &google)).await, id, "{of_a_user}");
    }
}

#[tokio::test(start_paused = true)]
async fn unset_members_of_a_response_are_absent() {
    let response = json!({
        "aud": AUDIENCE, "sub": null, "nbf": null, "exp": null, "iat": null, "iss": null,
        "cnf": null, "token_type": null, "token_use": null, "typ": null, "events": null,
        "client_id": null, "azp": "web", "scope": null, "scp": ["read"], "jti": null, "act": null,
        "authorization_details": null, "at_hash": null, "username": null,
    });
    for mode in [Mode::Hybrid, Mode::Introspect, Mode::Confirm] {
        let token = opaque("nulls", response.clone()).present(mode).await.unwrap();
        assert_eq!(token.scope().as_str(), "read");
        assert_eq!((token.subject(), token.client_id().as_deref()), (None, Some("web")));
        assert_eq!(token.claims().names().collect::<Vec<_>>(), ["active", "aud", "azp", "scp"]);
        // Nor does a handler see them.
        let all = token.claims_as::<serde_json::Map<String, Value>>().unwrap();
        assert!(!all.values().any(Value::is_null));
    }
    let claims = json!({"aud": AUDIENCE, "client_id": "web", "scope": "read", "sub": "a"});
    let confirmed = jwt("nulls", None, claims, with(&json!({"azp": null}), &response));
    let token = confirmed.present(Mode::Confirm).await.unwrap();
    assert_eq!((token.subject(), token.scope().as_str()), (Some("a"), "read"));
    let no_aud = opaque("", json!({"aud": null, "sub": "a"})).present(Mode::Introspect).await;
    assert_eq!(no_aud.err(), Some(ErrorKind::MissingClaim("aud")));
    // JWTs stay strict, and so does `active`.
    for name in ["aud", "exp", "sub", "cnf"] {
        let claims = with(&json!({name: null}), &json!({"aud": AUDIENCE, "scope": "read"}));
        let refused = inactive("", Some("at+jwt"), claims).present(Mode::Jwt).await.err();
        assert_eq!(refused, Some(ErrorKind::InvalidClaim(name)));
    }
    let none = opaque("", json!({"active": null, "aud": AUDIENCE}));
    assert_eq!(none.present(Mode::Introspect).await.err(), Some(ErrorKind::BadResponse));
}

#[tokio::test(start_paused = true)]
async fn confirmed_jwt_takes_from_the_response_what_it_does_not_say() {
    let claims = json!({"aud": AUDIENCE, "client_id": "web", "jti": "j"});
    let present = async |claims: &Value, response: Value| {
        jwt("", Some("JWT"), claims.clone(), response).present(Mode::Confirm).await
    };
    let response =
        json!({"client_id": "web", "scope": "read write", "sub": "alice", "username": "al"});
    let token = present(&claims, response.clone()).await.unwrap();
    assert_eq!((token.scope().as_str(), token.subject()), ("read write", Some("alice")));
    assert_eq!(token.claims().string("username").as_deref(), Some("al"));
    // What both say is what both grant.
    let own = with(&claims, &json!({"scp": ["write", "admin"], "sub": "alice"}));
    let token = present(&own, response).await.unwrap();
    assert_eq!(token.scope().as_str(), "write");
    // Silence takes nothing away.
    let token = present(&own, json!({"token_type": "Bearer"})).await.unwrap();
    assert_eq!(token.scope().as_str(), "write admin");
    // Another client, under whatever name, is another token.
    let azp = json!({"aud": AUDIENCE, "azp": "web", "scope": "read"});
    assert!(present(&azp, json!({"client_id": "web"})).await.is_ok());
    let other = present(&azp, json!({"client_id": "other"})).await.err();
    assert_eq!(other, Some(ErrorKind::BadResponse));
}

#[tokio::test(start_paused = true)]
async fn client_is_the_same_everywhere_whatever_claim_names_it() {
    for (members, client) in [
        (json!({"client_id": "web"}), Some("web")),
        (json!({"azp": "web"}), Some("web")),
        (json!({"cid": "web"}), Some("web")),
        (json!({"appid": "web"}), Some("web")),
        (json!({"appid": "c", "cid": "b", "azp": "a", "client_id": "web"}), Some("web")),
        (json!({"appid": "c", "cid": "b", "azp": "web"}), Some("web")),
        (json!({"azp": 7, "cid": "web"}), None),
        (json!({}), None),
    ] {
        let claims = with(&members, &json!({"aud": AUDIENCE, "scope": "read", "sub": "s"}));
        for mode in [Mode::Jwt, Mode::Introspect] {
            let (server, api) = world(mode.issuer(), &DEFAULTS);
            respond(&server, &with(&claims, &json!({"active": true, "token_type": "Bearer"})));
            let text = inactive("", Some("JWT"), claims.clone()).mint(&server);
            let token = present(&api, &text).await.unwrap();
            assert_eq!(token.client_id().as_deref(), client, "{members}");
            let mut headers = http::HeaderMap::new();
            let forward =
                tower_introspect::layer::ForwardHeaders::new().client("x-client").unwrap();
            forward.apply(Some(&token), &mut headers).unwrap();
            let forwarded = headers.get("x-client").map(|value| value.to_str().unwrap());
            assert_eq!(forwarded, client, "{members}");
            let required = Requirement::any_client(["web"]).check(&token);
            assert_eq!(required.is_ok(), client.is_some(), "{members}");
            if client.is_some() {
                api.revocations().revoke(&Cutoff::client(ISSUER, "web"));
                let refused = present(&api, &text).await.map(drop);
                let standing = refused.map_err(|error| error.kind());
                // A server that is asked again may still call it active.
                let expected = if mode == Mode::Jwt { Err(ErrorKind::Revoked) } else { Ok(()) };
                assert_eq!(standing, expected, "{members}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settings_of_a_file_apply_to_jwts_and_to_responses() {
    let claims = json!({"aud": AUDIENCE, "permissions": ["read:a"]});
    let shape = jwt("unmarked", Some("JWT"), claims.clone(), claims);
    let client = "client = { method = \"basic\", id = \"api\", danger_secret = \"s3cret\" }\n";
    for (mode, client) in [("jwt", ""), ("introspect", client), ("hybrid", client)] {
        let present_with = async |settings: &str| {
            let (server, _) = world(Mode::Introspect.issuer(), &DEFAULTS);
            let text = format!(
                "audience = \"{AUDIENCE}\"\n[[issuer]]\nissuer = \"{ISSUER}\"\nmode = \"{mode}\"\n\
                 {client}{settings}"
            );
            let builder = Config::from_toml(&text).unwrap().builder().unwrap();
            let api = builder.transport(server.transport()).clock(clock()).build().unwrap();
            respond(&server, &with(shape.response.as_ref().unwrap(), &json!({"active": true})));
            present(&api, &shape.mint(&server)).await
        };
        let refused = present_with("").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongTokenKind(TokenKind::Unmarked), "{mode}");
        let settings = "danger_accept_unmarked_jwts = true\nscope_claim = \"permissions\"\n";
        let token = present_with(settings).await.unwrap();
        assert_eq!(token.scope().as_str(), "read:a", "{mode}");
        if mode != "introspect" {
            assert!(present_with("profile = \"service_identity\"\n").await.is_ok(), "{mode}");
            let strict = present_with(&format!("profile = \"rfc9068\"\n{settings}")).await;
            let other = ErrorKind::WrongTokenKind(TokenKind::Other);
            assert_eq!(strict.unwrap_err().kind(), other, "{mode}");
        }
    }
}
