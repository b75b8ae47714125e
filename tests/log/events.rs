//! Events: their levels, fields and rate limit.

use std::time::Duration;

use tower_introspect::{
    ErrorKind, IntrospectLayer,
    claims::Claims,
    clock::{Clock, Moment, UnixTime},
    policy::{Observer, Requirement},
    revocation::{Cutoff, Revocations},
    verify::{ActiveToken, BoxVerifier, Method, Verifying, verify_fn},
};
use tracing::Level;

use crate::{
    AUDIENCE, ISSUER, alone, present,
    support::{FixedClock, policy},
};

fn refusing(kind: ErrorKind) -> IntrospectLayer<BoxVerifier> {
    let verifier = verify_fn(move |_| std::future::ready(Err(kind.into())));
    IntrospectLayer::new(BoxVerifier::new(verifier), policy())
}

/// A layer whose verifier accepts every token with these claims at once.
pub(crate) fn accepting(claims: &str) -> IntrospectLayer<BoxVerifier> {
    struct ImmediateVerifier(ActiveToken);

    impl tower_introspect::verify::Verifier for ImmediateVerifier {
        type Future = std::future::Ready<tower_introspect::verify::Outcome>;

        fn verify(&self, _: tower_introspect::verify::VerifyRequest) -> Verifying<Self::Future> {
            Verifying::done(Ok(self.0.clone()))
        }
    }

    let claims = Claims::from_json(claims.as_bytes()).unwrap();
    let active = ActiveToken::new(ISSUER, claims, Method::Custom, Moment::now(&FixedClock));
    IntrospectLayer::new(BoxVerifier::new(ImmediateVerifier(active)), policy())
}

#[tokio::test(start_paused = true)]
async fn level_of_an_event_depends_on_the_blame() {
    let (_turn, captured) = alone().await;
    for (kind, level, message) in [
        (ErrorKind::Expired, Level::DEBUG, "request refused"),
        // Anyone can name a key that does not exist.
        (ErrorKind::KeyPending, Level::DEBUG, "request refused"),
        // Nor one that can't be used, or none at all.
        (ErrorKind::UnusableKey, Level::DEBUG, "request refused"),
        (ErrorKind::UntriedKeys, Level::DEBUG, "request refused"),
        (ErrorKind::Unavailable, Level::WARN, "token could not be verified"),
        (ErrorKind::CredentialsRejected, Level::ERROR, "resource server misconfigured"),
    ] {
        present(&refusing(kind), "abc").await;
        let lines = captured.named(message);
        let [.., line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.level, &*line.target), (level, "tower_introspect"));
        assert_eq!(line.field("reason"), Some(kind.reason()));
        assert_eq!(line.field("cause").is_some(), level != Level::DEBUG);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_limited_to_ten_events_a_second_and_a_count() {
    let (_turn, captured) = alone().await;
    let flood = async |kind: ErrorKind, requests: u32| {
        let layer = refusing(kind);
        for _ in 0..requests {
            present(&layer, "abc").await;
        }
    };
    flood(ErrorKind::Inactive, 1_000).await;
    // The limit is separate for each reason.
    flood(ErrorKind::Expired, 1).await;
    let of = |reason: &str| {
        let lines = captured.named("request refused").into_iter();
        lines.filter(|line| line.field("reason") == Some(reason)).collect::<Vec<_>>()
    };
    assert_eq!((of("inactive").len(), of("expired").len()), (10, 1));
    tokio::time::advance(Duration::from_secs(1)).await;
    flood(ErrorKind::Inactive, 1_000).await;
    let lines = of("inactive");
    assert_eq!(lines.len(), 20);
    assert_eq!(lines[10].field("suppressed"), Some("990"));
    assert_eq!(lines[11].field("suppressed"), None);
    // Refusals caused by the authorization server are limited too, as any client can cause them
    // during an outage.
    flood(ErrorKind::Unavailable, 1_000).await;
    assert_eq!(captured.named("token could not be verified").len(), 10);
}

#[tokio::test(start_paused = true)]
async fn observed_refusals_are_logged_and_limited() {
    let (_turn, captured) = alone().await;
    let observer = Observer::new("a trial");
    let verifier = verify_fn(async |_| {
        let claims = Claims::from_json(format!("{{\"aud\":\"{AUDIENCE}\"}}").as_bytes()).unwrap();
        Ok(ActiveToken::new(ISSUER, claims, Method::Custom, Moment::now(&FixedClock)))
    });
    let policy = policy().observe(Requirement::all_scopes(["never"]), &observer);
    let layer = IntrospectLayer::new(verifier, policy);
    for _ in 0..100 {
        assert_eq!(present(&layer, "abc").await, 200);
    }
    let lines = captured.named("request would be refused");
    assert_eq!((lines.len(), observer.would_have_refused()), (10, 100));
    assert_eq!(lines[0].field("observer"), Some("a trial"));
    assert_eq!(lines[0].field("reason"), Some("insufficient_scope"));
}

/// Each way in which a good token is not enough, the part that refuses it, and the requirement.
#[tokio::test(start_paused = true)]
async fn refusal_is_logged_with_the_part_that_refused_and_the_unmet_requirement() {
    use axum::{Router, body::Body, http::Request, http::request::Parts, routing::get};
    use tonic::service::Interceptor as _;
    use tower::ServiceExt as _;
    use tower_introspect::{
        RequireScope, VerifiedToken, VerifyError,
        axum::{Claims as Typed, Rejection, RequestExt as _, ScopeSet, Scoped},
        require::{Paths, RequireLayer},
        tonic::{RequestExt as _, RequireInterceptor},
    };

    struct Write;

    impl ScopeSet for Write {
        const SCOPES: &'static [&'static str] = &["write"];
    }

    async fn requires(request: Parts) -> Result<(), Rejection> {
        request.require(&Requirement::claim_contains("/realm_access/roles", "support")).map(drop)
    }

    async fn refuses(token: VerifiedToken) -> Result<(), VerifyError> {
        Requirement::any_acr(["mfa"]).check(&token)
    }

    let (_turn, captured) = alone().await;
    let claims = format!(
        r#"{{"sub":"al1ce","aud":"{AUDIENCE}","scope":"read","acr":"al1ce","realm_access":{{"roles":["al1ce"]}}}}"#
    );
    let role = Requirement::claim_is("/realm_access/roles", "x");
    let unlisted = RequireLayer::paths(Paths::deny_by_default());
    let app = Router::new()
        .route("/requirement", get(async || ()).route_layer(RequireScope::all(["read", "write"])))
        .route("/paths", get(async || ()).route_layer(unlisted))
        .route("/extractor", get(async |_: Scoped<Write>| ()))
        .route("/claims", get(async |_: Typed<Vec<u8>>| ()))
        .route("/requires", get(requires))
        .route("/refuses", get(refuses))
        .layer(accepting(&claims));
    let policed = IntrospectLayer::new(
        BoxVerifier::new(verify_fn(async |_| {
            let claims = format!(r#"{{"aud":"{AUDIENCE}","realm_access":{{"roles":[]}}}}"#);
            let claims = Claims::from_json(claims.as_bytes()).unwrap();
            Ok(ActiveToken::new(ISSUER, claims, Method::Custom, Moment::now(&FixedClock)))
        })),
        crate::support::policy().require(role),
    );
    assert_eq!(present(&policed, "abc").await, 403);
    for path in ["/requirement", "/paths", "/extractor", "/claims", "/requires", "/refuses"] {
        let request = Request::get(path).header("authorization", "Bearer abc");
        app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    }
    let mut call = tonic::Request::new(());
    let token = crate::support::policy().admit(
        ActiveToken::new(
            ISSUER,
            Claims::from_json(claims.as_bytes()).unwrap(),
            Method::Custom,
            Moment::now(&FixedClock),
        ),
        tower_introspect::credentials::Scheme::Bearer,
    );
    call.extensions_mut().insert(token.unwrap());
    let unmet = Requirement::claim_present("sid");
    assert!(call.require(&unmet).is_err());
    assert!(RequireInterceptor::new(unmet).call(call).is_err());

    let lines = captured.named("request refused");
    let told: Vec<_> =
        lines.iter().map(|line| (line.field("refused_by"), line.field("requirement"))).collect();
    let expected = [
        ("layer", "claim `realm_access/roles` (another type)"),
        ("requirement", "scope `write`"),
        ("requirement", "a path that is listed"),
        ("extractor", "scope `write`"),
        ("extractor", "claims as `alloc::vec::Vec<u8>`"),
        ("handler", "claim `realm_access/roles` (another value)"),
        ("handler", "acr `mfa` (another value)"),
        ("handler", "claim `sid` (absent)"),
        ("interceptor", "claim `sid` (absent)"),
    ];
    assert_eq!(told, expected.map(|(by, unmet)| (Some(by), Some(unmet))));
    assert!(!captured.text().contains("al1ce"), "{}", captured.text());
}

#[tokio::test(start_paused = true)]
async fn panicking_hook_is_logged() {
    let (_turn, captured) = alone().await;
    let layer = refusing(ErrorKind::Revoked).on_refusal(|_| panic!("scripted panic"));
    for _ in 0..20 {
        assert_eq!(present(&layer, "abc").await, 401);
    }
    let lines = captured.named("the refusal hook panicked");
    assert_eq!((lines.len(), lines[0].level), (10, Level::ERROR));
}

#[tokio::test(start_paused = true)]
async fn subject_is_logged_only_if_configured() {
    let (_turn, captured) = alone().await;
    let claims = format!("{{\"sub\":\"al1ce\\nroot: ok\",\"aud\":\"{AUDIENCE}\",\"exp\":1}}");
    present(&accepting(&claims), "abc").await;
    let lines = captured.named("request refused");
    assert_eq!((lines.len(), lines[0].field("subject")), (1, None));
    assert!(!captured.text().contains("al1ce"));

    present(&accepting(&claims).log_subjects(), "abc").await;
    let lines = captured.named("request refused");
    assert_eq!(lines[1].field("subject"), Some("al1ce\nroot: ok"));
    // It is one line in a file.
    assert!(captured.text().contains("al1ce\\nroot: ok"), "{}", captured.text());

    // An introspection response may have a subject of any length.
    let long =
        format!("{{\"sub\":\"{}\",\"aud\":\"{AUDIENCE}\",\"exp\":1}}", "\u{e9}".repeat(9_999));
    present(&accepting(&long).log_subjects(), "abc").await;
    let lines = captured.named("request refused");
    assert_eq!(lines[2].field("subject"), Some(&*"\u{e9}".repeat(64)));
    let odd =
        format!("{{\"sub\":\"x{}\",\"aud\":\"{AUDIENCE}\",\"exp\":1}}", "\u{e9}".repeat(9_999));
    present(&accepting(&odd).log_subjects(), "abc").await;
    assert_eq!(captured.named("request refused")[3].field("subject").unwrap().len(), 127);

    // An unverified token has no subject.
    present(&refusing(ErrorKind::Inactive).log_subjects(), "abc").await;
    assert_eq!(captured.named("request refused")[4].field("subject"), None);
}

#[tokio::test(start_paused = true)]
async fn failed_rebuild_of_a_transport_is_logged_on_one_line() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http::{Request, Response};
    use tower::{ServiceExt as _, service_fn};
    use tower_introspect::{
        ConfigError,
        transport::{HttpTransport, RenewedTransport},
    };

    let (_turn, captured) = alone().await;
    let file = std::env::temp_dir().join(format!("renewed-log-{}", std::process::id()));
    std::fs::write(&file, "a").unwrap();
    let made = AtomicUsize::new(0);
    let transport = RenewedTransport::new([&file], move || {
        if made.fetch_add(1, Ordering::SeqCst) == 1 {
            let mut problems = ConfigError::new();
            problems.push("key", "it is missing");
            problems.push("ca", "so is this");
            return Err(problems);
        }
        Ok(HttpTransport::new(service_fn(async |_: Request<Bytes>| {
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
        })))
    });
    let transport = transport.unwrap();
    std::fs::write(&file, "bb").unwrap();
    let ask = async || {
        tokio::time::advance(Duration::from_secs(60)).await;
        transport.clone().oneshot(Request::new(Bytes::new())).await.unwrap();
    };
    ask().await;
    let lines = captured.named("transport could not be rebuilt");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((line.level, &*line.target), (Level::WARN, "tower_introspect"));
    assert_eq!(line.field("cause"), Some("key: it is missing; ca: so is this"));
    ask().await;
    let lines = captured.named("transport rebuilt");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line.level, Level::DEBUG);
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test(start_paused = true)]
async fn credentials_that_cannot_be_read_again_are_logged_without_the_secret() {
    use bytes::Bytes;
    use http::{Request, Response};
    use tower::service_fn;
    use tower_introspect::{ClientAuth, Issuer, ResourceServer, transport::HttpTransport};

    let (_turn, captured) = alone().await;
    let file = std::env::temp_dir().join(format!("credentials-log-{}", std::process::id()));
    std::fs::write(&file, "api s3cret").unwrap();
    let path = file.clone();
    let auth = ClientAuth::renewed([&file], move || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let (id, secret) = text.split_once(' ').unwrap_or_default();
        Ok(ClientAuth::basic(id, secret))
    });
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::introspect(ISSUER, auth.unwrap()))
        .negative_max_age(Duration::ZERO)
        .transport(HttpTransport::new(service_fn(async |_: Request<Bytes>| {
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
        })))
        .build()
        .unwrap();
    let mut number = 0;
    let mut ask_after = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        number += 1;
        present(&api.layer(), &format!("token-{number}")).await;
    };
    ask_after("another s3cret-too").await;
    let lines = captured.named("credentials could not be read again");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((line.level, &*line.target), (Level::WARN, "tower_introspect"));
    let cause = "client_auth: another method or another client identifier";
    assert_eq!(line.field("cause"), Some(cause));
    ask_after("api s3cret-2").await;
    let lines = captured.named("credentials read again");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line.level, Level::DEBUG);
    assert!(!captured.text().contains("s3cret"));
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test(start_paused = true)]
async fn cutoff_with_a_time_in_milliseconds_is_logged() {
    let (_turn, captured) = alone().await;
    let revocations = Revocations::new().clock(FixedClock);
    let now = FixedClock.now();
    for _ in 0..20 {
        let millis = UnixTime::from_secs(now.as_millis());
        revocations.revoke(&Cutoff::subject(ISSUER, "al1ce").at(millis));
        revocations.revoke(&Cutoff::subject(ISSUER, "al1ce").at(now));
    }
    let lines = captured.named("time of a cutoff is in the future");
    assert_eq!((lines.len(), lines[0].level), (10, Level::ERROR));
    assert_eq!(lines[0].field("issuer"), Some(ISSUER));
    let ahead = (now.as_millis() - now.as_secs()).to_string();
    assert_eq!(lines[0].field("ahead_seconds"), Some(&*ahead));
    assert!(!captured.text().contains("al1ce"));
}

/// Budgets and permits are shared out among peers, which has no effect behind a load balancer whose
/// address is taken for that of all clients.
#[tokio::test(start_paused = true)]
async fn one_peer_that_sends_nearly_all_good_tokens_is_reported() {
    use tower_introspect::{
        ClientAuth, Issuer, ResourceServer,
        test_util::{AuthorizationServer, Client},
        upstream::MissBudgetLayer,
        verify::PeerKey,
    };

    let (_turn, captured) = alone().await;
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret")))
        .miss_budget(MissBudgetLayer::new(1_000, Duration::from_secs(1)), |_| {
            Some(PeerKey::new("load balancer"))
        })
        .transport(server.transport())
        .clock(FixedClock)
        .build()
        .unwrap();
    let reports = || captured.named("one peer sends nearly all tokens");
    for number in 0..300 {
        assert_eq!(present(&api.layer(), &format!("made-up-{number}")).await, 401);
    }
    assert!(reports().is_empty(), "an attacker is no load balancer");
    for number in 0..300 {
        let user = format!("user-{number}");
        let good = server.opaque().subject(&user).audience(AUDIENCE).mint();
        assert_eq!(present(&api.layer(), &good).await, 200);
    }
    let reports = reports();
    let [line] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(line.level, Level::WARN);
}

/// A token that a firewall refuses is no alarm. A random token that is refused, too, is one.
#[tokio::test(start_paused = true)]
async fn state_of_the_authorization_server_is_reported_as_random_tokens_find_it() {
    use http::StatusCode;
    use tower_introspect::{
        ClientAuth, Issuer, ResourceServer,
        test_util::{AuthorizationServer, Client, Endpoint, Fault},
    };

    let (_turn, captured) = alone().await;
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret")))
        .transport(server.transport())
        .clock(FixedClock)
        .build()
        .unwrap();
    let good = server.opaque().audience(AUDIENCE).mint();
    assert_eq!(present(&api.layer(), &good).await, 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answers = captured.named("authorization server answers");
    let [line] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((line.level, line.field("issuer")), (Level::INFO, Some(ISSUER)));

    // One token.
    let refused = Fault::status(StatusCode::FORBIDDEN).for_next(1);
    server.inject(Endpoint::Introspection, refused);
    assert_eq!(present(&api.layer(), "../../etc/passwd").await, 502);
    assert_eq!(present(&api.layer(), "../../etc/passwd").await, 502, "it is remembered");
    assert!(captured.named("authorization server does not answer").is_empty());
    assert!(captured.named("resource server misconfigured").is_empty());

    // Everyone.
    let no_answer = "authorization server does not answer";
    let realm = http::Response::builder()
        .status(403)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from_static(
            br#"{"error":"access_denied","error_description":"Realm not enabled"}"#,
        ))
        .unwrap();
    for (number, (fault, level, message, cause, has_hint)) in [
        (Fault::status(StatusCode::FORBIDDEN), Level::WARN, no_answer, "403, no error code", true),
        (Fault::respond(realm), Level::WARN, no_answer, "403, access_denied", true),
        (Fault::hang(), Level::WARN, no_answer, "no response in time", false),
        (
            Fault::respond(
                http::Response::builder()
                    .status(401)
                    .header("content-type", "application/json")
                    .body(bytes::Bytes::from_static(br#"{"error":"invalid_client"}"#))
                    .unwrap(),
            ),
            Level::ERROR,
            "authorization server rejects the credentials of this service",
            "401, invalid_client",
            false,
        ),
        (
            Fault::respond(
                http::Response::builder()
                    .header("content-type", "application/json")
                    .body(bytes::Bytes::from_static(br#"{"active":true}"#))
                    .unwrap(),
            ),
            Level::ERROR,
            "authorization server calls a random token active",
            "",
            false,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        server.inject(Endpoint::Introspection, fault);
        let before = captured.named(message).len();
        present(&api.layer(), &format!("one-of-{number}")).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let lines = captured.named(message);
        let [line] = &lines[before..] else { panic!("{message}: {lines:?}") };
        assert_eq!((line.level, line.field("before")), (level, Some("answers")));
        assert!(line.field("cause").unwrap_or_default().contains(cause), "{line:?}");
        assert_eq!(line.field("cause").is_some(), !cause.is_empty(), "{line:?}");
        let hint = line.field("hint").is_some_and(|hint| hint.contains("credentials"));
        assert_eq!(hint, has_hint, "{line:?}");
        server.clear(Endpoint::Introspection);
        tokio::time::sleep(Duration::from_secs(30)).await;
        present(&api.layer(), &format!("after-{number}")).await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        present(&api.layer(), &format!("later-{number}")).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert!(!captured.text().contains("Realm not enabled"));
}

#[tokio::test(start_paused = true)]
async fn strict_profile_is_proposed_once_if_all_tokens_of_an_issuer_fit_it() {
    use serde_json::json;
    use tower_introspect::{
        jose::{Algorithm, SigningKey},
        jwt::{JwtVerifier, KeySet, Profile},
    };

    const MESSAGE: &str = "all access tokens have the type at+jwt; consider `Profile::Rfc9068`";
    let key = SigningKey::from_pem(Algorithm::EdDSA, include_bytes!("../it/keys/ed25519.pem"));
    let key = key.unwrap().with_kid("k");
    let sign = |typ: &str| {
        let claims = json!({"iss": ISSUER, "aud": "api", "exp": 4_102_444_800_u64, "scope": "x"});
        key.sign(&json!({"alg": "EdDSA", "kid": "k", "typ": typ}), &claims).unwrap()
    };
    let (typed, plain) = (sign("at+jwt"), sign("JWT"));
    let jwk = key.public_jwk().unwrap().to_string();
    let (_turn, captured) = alone().await;
    let told = async |profile, tokens: &[&str]| {
        let before = captured.named(MESSAGE).len();
        let keys = KeySet::from_jwk(jwk.as_bytes()).unwrap();
        let verifier = JwtVerifier::builder(ISSUER).keys(keys).profile(profile).build().unwrap();
        let layer = IntrospectLayer::new(BoxVerifier::new(verifier), policy());
        for token in tokens {
            present(&layer, token).await;
        }
        let lines = captured.named(MESSAGE);
        if let Some(line) = lines.get(before) {
            assert_eq!((line.level, line.field("issuer")), (Level::INFO, Some(ISSUER)));
        }
        lines.len() - before
    };
    let mut mixed = vec![&*typed; 400];
    assert_eq!(told(Profile::Generic, &mixed[..99]).await, 0);
    assert_eq!(told(Profile::Generic, &mixed).await, 1);
    assert_eq!(told(Profile::Rfc9068, &mixed).await, 0);
    mixed[50] = &plain;
    assert_eq!(told(Profile::Generic, &mixed).await, 0);
}
