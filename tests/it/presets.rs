//! Presets of issuers, with tokens of the shape of their providers.

use http::StatusCode;
use tower_introspect::{
    ConfigError, ErrorKind, Issuer, ResourceServer, TokenKind,
    clock::UnixTime,
    jose::Algorithm,
    test_util::{AuthorizationServer, Defect, Provider, TestClock},
};

use crate::support::{ask, refusal, request};

const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const APPLICATION: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";

/// A service that trusts an issuer by its preset, and that issuer.
struct World {
    server: AuthorizationServer,
    api: ResourceServer,
    audience: &'static str,
}

impl World {
    fn new(provider: Provider, url: &str, issuer: Issuer, audience: &'static str) -> Self {
        let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
        let server =
            AuthorizationServer::new(url).with_clock(clock.clone()).with_provider(provider);
        let builder = ResourceServer::builder(audience).issuer(issuer).clock(clock);
        let api = builder.transport(server.transport()).build().unwrap();
        Self { server, api, audience }
    }

    fn entra() -> Self {
        let url = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        Self::new(Provider::Entra, &url, Issuer::entra(TENANT), APPLICATION)
    }

    fn cognito() -> Self {
        let url = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example";
        let issuer = Issuer::cognito("eu-central-1", "eu-central-1_Example");
        Self::new(Provider::Cognito, url, issuer, "web")
    }

    fn google() -> Self {
        let url = "https://accounts.google.com";
        Self::new(Provider::Google, url, Issuer::google(), "https://service.example.com")
    }

    fn all() -> [Self; 3] {
        [Self::cognito(), Self::entra(), Self::google()]
    }

    async fn outcome(&self, token: &str) -> (StatusCode, Option<ErrorKind>) {
        let bearer = format!("Bearer {token}");
        let response = ask(&self.api.layer(), request(&[("authorization", &bearer)])).await;
        (response.status(), refusal(&response))
    }
}

#[tokio::test(start_paused = true)]
async fn access_tokens_of_the_provider_are_admitted_and_other_tokens_refused() {
    for world in World::all() {
        let (server, audience) = (&world.server, world.audience);
        let access = || server.jwt().audience(audience).client_id("web").scope("read");
        assert_eq!(world.outcome(&access().mint()).await, (StatusCode::OK, None), "{audience}");

        let id = server.id_token().audience(audience).client_id(audience);
        // An ID token of Entra ID may have no mark at all.
        let Some(ErrorKind::WrongTokenKind(TokenKind::Id | TokenKind::Unmarked)) =
            world.outcome(&id.mint()).await.1
        else {
            panic!("{audience}: an ID token is admitted");
        };
        for (typ, kind) in [
            ("logout+jwt", TokenKind::Logout),
            ("secevent+jwt", TokenKind::SecurityEvent),
            ("rt+jwt", TokenKind::Refresh),
            ("dpop+jwt", TokenKind::DpopProof),
            ("x+jwt", TokenKind::Other),
        ] {
            let refused = world.outcome(&access().typ(typ).mint()).await.1;
            assert_eq!(refused, Some(ErrorKind::WrongTokenKind(kind)), "{audience} {typ}");
        }
        for token_use in ["id", "refresh"] {
            let refused = world.outcome(&access().claim("token_use", token_use).mint()).await.1;
            assert!(
                matches!(refused, Some(ErrorKind::WrongTokenKind(_))),
                "{audience}: {refused:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_for_others_of_others_and_by_other_algorithms_are_refused() {
    for world in World::all() {
        let (server, audience) = (&world.server, world.audience);
        let access = || server.jwt().audience(audience).client_id("web").scope("read");
        let elsewhere = server.jwt().audience("elsewhere").client_id("elsewhere").scope("read");
        assert_eq!(world.outcome(&elsewhere.mint()).await.1, Some(ErrorKind::WrongAudience));
        let by_another = access().algorithm(Algorithm::ES256).mint();
        let refused = world.outcome(&by_another).await.1;
        assert_eq!(refused, Some(ErrorKind::UnsupportedAlgorithm), "{audience}");
        for defect in [Defect::Expired, Defect::WrongIssuer, Defect::ForeignKey, Defect::AlgNone] {
            let status = world.outcome(&access().with_defect(defect).mint()).await.0;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{audience} {defect:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settings_of_a_preset_can_be_changed() {
    let url = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let issuer = Issuer::entra(TENANT).configure_jwt(|jwt| jwt.algorithms([Algorithm::ES256]));
    let world = World::new(Provider::Entra, &url, issuer, APPLICATION);
    let access = || world.server.jwt().audience(APPLICATION).client_id("web").scope("read");
    let changed = access().algorithm(Algorithm::ES256).mint();
    assert_eq!(world.outcome(&changed).await.0, StatusCode::OK);
    let refused = world.outcome(&access().mint()).await.1;
    assert_eq!(refused, Some(ErrorKind::UnsupportedAlgorithm));
}

#[test]
fn names_that_no_issuer_can_have_are_problems() {
    let build = |issuer| -> Result<ResourceServer, ConfigError> {
        ResourceServer::builder("api").issuer(issuer).build()
    };
    for tenant in [
        "",
        "common",
        "organizations",
        "acme.onmicrosoft.com",
        "AAAABBBB-0000-CCCC-1111-DDDD2222EEEE",
        "aaaabbbb-0000-cccc-1111-dddd2222eeee/",
        "aaaabbbb0000-cccc-1111-dddd-2222eeee",
        "gaaabbbb-0000-cccc-1111-dddd2222eeee",
    ] {
        let problem = build(Issuer::entra(tenant)).unwrap_err().to_string();
        assert!(problem.contains("tenant: must be the id"), "{problem}");
    }
    for (region, pool) in [
        ("eu-central-1", "us-east-1_Example"),
        ("eu-central-1", "Example"),
        ("eu-central-1", "eu-central-1_"),
        ("eu-central-1", "eu-central-1_a/b"),
        ("", "_Example"),
        ("evil.example/", "evil.example/_Example"),
    ] {
        let problem = build(Issuer::cognito(region, pool)).unwrap_err().to_string();
        assert!(problem.contains("pool: must be REGION_ID"), "{problem}");
    }
}
