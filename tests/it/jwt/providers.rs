//! Tokens as providers document them, with the settings of docs/providers.md.

use tower_introspect::{Policy, VerifiedToken, credentials::Scheme, jwt::JwtVerifierBuilder};

use super::*;
use testing::clock::FixedClock;

fn builder() -> JwtVerifierBuilder {
    JwtVerifier::builder(ISSUER).keys(issuer_keys())
}

/// Returns a token of the issuer's RSA key with this `typ`, if any, and these claims besides `iss`,
/// `exp` and `iat`.
fn token(typ: Option<&str>, claims: Value) -> String {
    let key = key(Algorithm::RS256);
    let header = with(header_of(&key), "typ", typ.map_or(Value::Null, Into::into));
    let mut all = json!({"iss": ISSUER, "exp": 4_102_444_800_u64, "iat": 1_700_000_000});
    let Value::Object(claims) = claims else { panic!("not an object") };
    all.as_object_mut().unwrap().extend(claims);
    key.sign(&header, &all).unwrap()
}

fn admit(
    builder: JwtVerifierBuilder,
    audience: &str,
    token: &str,
) -> Result<VerifiedToken, ErrorKind> {
    let active = verify(&builder.build().unwrap(), token)?;
    Policy::new(audience)
        .clock(FixedClock)
        .admit(active, Scheme::Bearer)
        .map_err(|error| error.kind())
}

fn cognito(more: &Value) -> String {
    let mut claims = json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "token_use": "access",
        "scope": "https://api.example.com/read",
        "client_id": "web",
        "username": "alice",
    });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    token(None, claims)
}

#[test]
fn rfc9068_2_2_token_without_aud_is_refused_unless_an_audience_claim_is_configured() {
    let token = cognito(&json!({}));
    assert_eq!(admit(builder(), "web", &token).err(), Some(ErrorKind::MissingClaim("aud")));
    let named = builder().danger_audience_claim("client_id");
    assert!(admit(named, "web", &token).unwrap().has_scope("https://api.example.com/read"));
}

#[test]
fn audience_claim_must_match_the_policy() {
    let named = || builder().danger_audience_claim("client_id");
    let token = cognito(&json!({"client_id": "other"}));
    assert_eq!(admit(named(), "web", &token).err(), Some(ErrorKind::WrongAudience));
    for claim in [json!(null), json!(["web"]), json!(7), json!({"web": true})] {
        let token = cognito(&json!({ "client_id": claim }));
        let refused = admit(named(), "web", &token).err();
        assert_eq!(refused, Some(ErrorKind::MissingClaim("aud")), "{claim}");
    }
}

#[test]
fn rfc9700_2_3_audience_claim_does_not_replace_a_present_aud() {
    let named = || builder().danger_audience_claim("client_id");
    let elsewhere = cognito(&json!({"aud": "https://other.example.com"}));
    assert_eq!(admit(named(), "web", &elsewhere).err(), Some(ErrorKind::WrongAudience));
    let here = cognito(&json!({"aud": AUDIENCE}));
    admit(named(), AUDIENCE, &here).unwrap();
    let nobody = cognito(&json!({"aud": []}));
    assert_eq!(admit(named(), "web", &nobody).err(), Some(ErrorKind::WrongAudience));
}

/// Its audience is the client, so that only `token_use` marks it.
#[test]
fn rfc8725_3_12_cognito_id_token_is_refused_if_clients_are_audiences() {
    let id = cognito(&json!({"token_use": "id", "aud": "web"}));
    let refused = admit(builder().danger_audience_claim("client_id"), "web", &id).err();
    assert_eq!(refused, Some(ErrorKind::WrongTokenKind(TokenKind::Id)));
}

#[test]
fn aud_is_refused_as_audience_claim() {
    for name in ["", "aud"] {
        let problems = builder().danger_audience_claim(name).build().unwrap_err();
        assert_eq!(problems.to_string(), "audience_claim: must be neither empty nor `aud`");
    }
}

#[test]
fn entra_id_names_the_scope_scp_as_a_string() {
    let token = token(
        Some("JWT"),
        json!({
            "aud": "11111111-2222-3333-4444-555555555555",
            "azp": "web",
            "scp": "Files.Read User.Read",
            "ver": "2.0",
        }),
    );
    let audience = "11111111-2222-3333-4444-555555555555";
    let admitted = admit(builder(), audience, &token).unwrap();
    assert!(admitted.has_scope("Files.Read") && admitted.has_scope("User.Read"));
    assert_eq!(admitted.client_id().as_deref(), Some("web"));
}

#[test]
fn okta_and_hydra_name_the_scope_scp_as_an_array() {
    let token =
        token(None, json!({"aud": "api://default", "cid": "web", "scp": ["read", "write"]}));
    let admitted = admit(builder(), "api://default", &token).unwrap();
    assert_eq!(admitted.client_id().as_deref(), Some("web"));
    assert!(admitted.has_scope("read") && admitted.has_scope("write"));
}

#[test]
fn auth0_adds_userinfo_to_the_audience() {
    let token = token(
        Some("JWT"),
        json!({
            "aud": [AUDIENCE, "https://tenant.auth0.com/userinfo"],
            "azp": "web",
            "scope": "openid read",
            "permissions": ["read:all"],
        }),
    );
    assert!(admit(builder(), AUDIENCE, &token).unwrap().has_scope("read"));
    let admitted = admit(builder().scope_claim("permissions"), AUDIENCE, &token).unwrap();
    assert!(admitted.has_scope("read:all") && !admitted.has_scope("read"));
}

#[test]
fn keycloak_marks_each_kind_of_token_in_the_claim_typ() {
    let of_kind = |kind: &str| {
        let claims =
            json!({"aud": [AUDIENCE, "account"], "azp": "web", "typ": kind, "scope": "read"});
        admit(builder(), AUDIENCE, &token(Some("JWT"), claims))
    };
    assert!(of_kind("Bearer").is_ok());
    for (kind, refused) in
        [("ID", TokenKind::Id), ("Refresh", TokenKind::Refresh), ("Offline", TokenKind::Refresh)]
    {
        assert_eq!(of_kind(kind).err(), Some(ErrorKind::WrongTokenKind(refused)), "{kind}");
    }
}

/// An ID token that Google signs for a service account is used as a credential by its own services.
/// One of a user has a hash of the access token it was issued with.
#[test]
fn google_id_tokens_are_accepted_of_service_accounts_but_not_of_users() {
    let claims =
        json!({"aud": AUDIENCE, "azp": "1", "email": "job@project.iam.gserviceaccount.com"});
    let identity = || builder().profile(Profile::ServiceIdentity);
    let of_a_service = token(Some("JWT"), claims.clone());
    assert!(admit(identity(), AUDIENCE, &of_a_service).is_ok());
    let unmarked = Some(ErrorKind::WrongTokenKind(TokenKind::Unmarked));
    assert_eq!(admit(builder(), AUDIENCE, &of_a_service).err(), unmarked);
    for of_a_user in [with(claims.clone(), "at_hash", "x"), with(claims, "azp", AUDIENCE)] {
        let refused = admit(identity(), AUDIENCE, &token(Some("JWT"), of_a_user)).err();
        assert_eq!(refused, Some(ErrorKind::WrongTokenKind(TokenKind::Id)));
    }
}
