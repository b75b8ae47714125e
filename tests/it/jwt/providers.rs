//! Tokens as providers document them, with the settings of docs/providers.md.

use tower_introspect::{
    Policy, VerifiedToken,
    credentials::Scheme,
    jwt::JwtVerifierBuilder,
    test_util::{AuthorizationServer, Jwt, Provider, TokenBuilder},
};

use super::*;
use testing::clock::FixedClock;

fn server(provider: Provider) -> AuthorizationServer {
    AuthorizationServer::new(ISSUER).with_clock(FixedClock).with_provider(provider)
}

/// The keys of every provider are the same.
fn builder() -> JwtVerifierBuilder {
    let jwks = server(Provider::Keycloak).jwks().to_string();
    let keys = KeySet::from_jwks(jwks.as_bytes()).unwrap();
    JwtVerifier::builder(ISSUER).keys(keys)
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

fn cognito() -> TokenBuilder<Jwt> {
    server(Provider::Cognito).jwt().client_id("web").scope("https://api.example.com/read")
}

#[test]
fn rfc9068_2_2_token_without_aud_is_refused_unless_an_audience_claim_is_configured() {
    let token = cognito().mint();
    assert_eq!(admit(builder(), "web", &token).err(), Some(ErrorKind::MissingClaim("aud")));
    let named = builder().danger_audience_claim("client_id");
    assert!(admit(named, "web", &token).unwrap().has_scope("https://api.example.com/read"));
}

#[test]
fn audience_claim_must_match_the_policy() {
    let named = || builder().danger_audience_claim("client_id");
    let token = cognito().client_id("other").mint();
    assert_eq!(admit(named(), "web", &token).err(), Some(ErrorKind::WrongAudience));
    for claim in [json!(null), json!(["web"]), json!(7), json!({"web": true})] {
        let token = cognito().claim("client_id", claim.clone()).mint();
        let refused = admit(named(), "web", &token).err();
        assert_eq!(refused, Some(ErrorKind::MissingClaim("aud")), "{claim}");
    }
}

#[test]
fn rfc9700_2_3_audience_claim_does_not_replace_a_present_aud() {
    let named = || builder().danger_audience_claim("client_id");
    let elsewhere = cognito().claim("aud", "https://other.example.com").mint();
    assert_eq!(admit(named(), "web", &elsewhere).err(), Some(ErrorKind::WrongAudience));
    let here = cognito().claim("aud", AUDIENCE).mint();
    admit(named(), AUDIENCE, &here).unwrap();
    let nobody = cognito().claim("aud", json!([])).mint();
    assert_eq!(admit(named(), "web", &nobody).err(), Some(ErrorKind::WrongAudience));
}

/// Its audience is the client, so that only `token_use` marks it.
#[test]
fn rfc8725_3_12_cognito_id_token_is_refused_if_clients_are_audiences() {
    let id = server(Provider::Cognito).id_token().client_id("web").mint();
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
    let audience = "11111111-2222-3333-4444-555555555555";
    let token = server(Provider::Entra).jwt().audience(audience).scope("Files.Read User.Read");
    let token = token.client_id("web").mint();
    let admitted = admit(builder(), audience, &token).unwrap();
    assert!(admitted.has_scope("Files.Read") && admitted.has_scope("User.Read"));
    assert_eq!(admitted.client_id().as_deref(), Some("web"));
}

#[test]
fn okta_and_hydra_name_the_scope_scp_as_an_array() {
    for provider in [Provider::Okta, Provider::Hydra] {
        let token = server(provider).jwt().audience("api://default").scope("read write").mint();
        let admitted = admit(builder(), "api://default", &token).unwrap();
        assert!(admitted.has_scope("read") && admitted.has_scope("write"), "{provider:?}");
    }
}

#[test]
fn auth0_adds_userinfo_to_the_audience() {
    let token = server(Provider::Auth0).jwt().audience(AUDIENCE).scope("openid read");
    let token = token.claim("permissions", json!(["read:all"])).mint();
    assert!(admit(builder(), AUDIENCE, &token).unwrap().has_scope("read"));
    let admitted = admit(builder().scope_claim("permissions"), AUDIENCE, &token).unwrap();
    assert!(admitted.has_scope("read:all") && !admitted.has_scope("read"));
}

#[test]
fn keycloak_marks_each_kind_of_token_in_the_claim_typ() {
    let jwt = || server(Provider::Keycloak).jwt().audience(AUDIENCE);
    let of_kind = |kind: &str| admit(builder(), AUDIENCE, &jwt().claim("typ", kind).mint());
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
    let google = server(Provider::Google);
    let identity = || builder().profile(Profile::ServiceIdentity);
    let of_an_account = google.jwt().audience(AUDIENCE).mint();
    assert!(admit(identity(), AUDIENCE, &of_an_account).is_ok());
    let unmarked = Some(ErrorKind::WrongTokenKind(TokenKind::Unmarked));
    assert_eq!(admit(builder(), AUDIENCE, &of_an_account).err(), unmarked);
    let of_a_user = google.id_token().audience(AUDIENCE).mint();
    let of_a_client = google.jwt().audience(AUDIENCE).claim("azp", AUDIENCE).mint();
    for id_token in [of_a_user, of_a_client] {
        let refused = admit(identity(), AUDIENCE, &id_token).err();
        assert_eq!(refused, Some(ErrorKind::WrongTokenKind(TokenKind::Id)));
    }
}

/// The settings of the recipes in `docs/providers.md`.
#[test]
fn access_tokens_of_every_provider_are_admitted_and_id_tokens_refused_with_its_recipe() {
    for provider in Provider::ALL {
        let builder = || match provider {
            Provider::Cognito => builder().danger_audience_claim("client_id"),
            Provider::Google => builder().profile(Profile::ServiceIdentity),
            _ => builder(),
        };
        let audience = if provider == Provider::Cognito { "client" } else { AUDIENCE };
        let access = server(provider).jwt().audience(audience).scope("read").mint();
        let admitted = admit(builder(), audience, &access).unwrap();
        assert_eq!(admitted.subject(), Some("alice"), "{provider:?}");
        let scoped = !matches!(provider, Provider::Google | Provider::Zitadel);
        assert_eq!(admitted.has_scope("read"), scoped, "{provider:?}");

        // The audience of an ID token is the client, which no service should have as its own.
        let id = server(provider).id_token().mint();
        let refused = admit(builder(), "client", &id).err();
        assert!(matches!(refused, Some(ErrorKind::WrongTokenKind(_))), "{provider:?}: {refused:?}");
    }
}
