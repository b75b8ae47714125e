//! The algebra of requirements, and the challenge that each refusal renders.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_introspect::{
    Blame, ErrorKind, Policy, RequireScope, VerifiedToken, VerifyError,
    clock::{Clock, Moment, UnixTime},
    credentials::Scheme,
    policy::{DetailMatcher, Observer, Requirement},
    require::{Paths, RequireLayer},
    scopes,
    verify::{ActiveToken, Method},
};

use crate::support::{
    AUDIENCE, ISSUER, ImmediateVerifier, challenge, layer, refusal, request, whoami, with_token,
};

const NOW: i64 = 1_800_000_000;
const SEC: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct At(i64);

impl Clock for At {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0)
    }
}

fn policy() -> Policy {
    Policy::new(AUDIENCE).clock(At(NOW))
}

/// Admits a token with these members besides its audience.
fn admit(policy: &Policy, members: &str) -> Result<VerifiedToken, VerifyError> {
    let comma = if members.is_empty() { "" } else { "," };
    let claims = format!(r#"{{"aud":"{AUDIENCE}"{comma}{members}}}"#);
    let claims = tower_introspect::claims::Claims::from_json(claims.as_bytes()).unwrap();
    let verified_at = Moment::now(&At(NOW));
    let active = ActiveToken::new(ISSUER, claims, Method::Introspection, verified_at);
    let checks = crate::recorded_checks::RecordedChecks::record();
    let outcome = policy.admit(active, Scheme::Bearer);
    checks.expect_reason(outcome.as_ref().err().map(VerifyError::kind));
    outcome
}

fn check(requirement: &Requirement, members: &str) -> Result<(), VerifyError> {
    requirement.check(&admit(&policy(), members).expect("a good token"))
}

fn kind(requirement: &Requirement, members: &str) -> Option<ErrorKind> {
    check(requirement, members).err().map(|error| error.kind())
}

/// Returns status and challenge for a token with these members, or `None` if it is admitted.
async fn challenge_for(requirement: Requirement, members: &str) -> Option<(u16, String)> {
    let claims = format!(r#"{{"aud":"{AUDIENCE}",{members}}}"#);
    let stack = ServiceBuilder::new()
        .layer(layer(ImmediateVerifier::claims(&claims)))
        .layer(RequireLayer::new(requirement));
    let response = stack.service(service_fn(whoami)).oneshot(with_token()).await.unwrap();
    let challenge = challenge(response.headers()).unwrap_or_default();
    let challenge = challenge.replace("Bearer realm=\"https://api.example.com\"", "Bearer");
    (response.status() != StatusCode::OK).then(|| (response.status().as_u16(), challenge))
}

fn scope(values: &[&str]) -> Requirement {
    Requirement::all_scopes(values.iter().copied())
}

fn mfa() -> Requirement {
    Requirement::any_acr(["mfa"])
}

fn never() -> Requirement {
    Requirement::check_fn(|_| Err(ErrorKind::Denied.into()))
}

// ===== Golden challenges =====

#[tokio::test]
async fn golden_challenges_of_requirements() {
    let details = || Requirement::authorization_detail(DetailMatcher::of_type("payment"));
    let day = Duration::from_secs(86_400);
    for (requirement, members, expected) in [
        (
            scope(&["a", "b"]),
            r#""scope":"a""#,
            Some((403, r#"Bearer, error="insufficient_scope", scope="a b""#)),
        ),
        (
            Requirement::any_scope(["a", "b"]),
            r#""scope":"c""#,
            Some((403, r#"Bearer, error="insufficient_scope", scope="a""#)),
        ),
        (
            Requirement::audience("x"),
            r#""scope":"a""#,
            Some((401, r#"Bearer, error="invalid_token""#)),
        ),
        (
            Requirement::any_issuer(["x"]),
            r#""scope":"a""#,
            Some((401, r#"Bearer, error="invalid_token""#)),
        ),
        (Requirement::any_client(["x"]), r#""client_id":"y""#, Some((403, ""))),
        (
            mfa(),
            r#""acr":"pwd""#,
            Some((401, r#"Bearer, error="insufficient_user_authentication", acr_values="mfa""#)),
        ),
        (
            Requirement::any_acr(["phr", "mfa"]),
            r#""scope":"a""#,
            Some((
                401,
                r#"Bearer, error="insufficient_user_authentication", acr_values="phr mfa""#,
            )),
        ),
        (
            Requirement::max_age(day),
            r#""auth_time":1"#,
            Some((401, r#"Bearer, error="insufficient_user_authentication", max_age="86400""#)),
        ),
        (
            mfa().and(Requirement::max_age(day)),
            r#""acr":"mfa""#,
            Some((
                401,
                r#"Bearer, error="insufficient_user_authentication", acr_values="mfa", max_age="86400""#,
            )),
        ),
        (
            mfa().and(Requirement::max_age(day)),
            r#""scope":"a""#,
            Some((
                401,
                r#"Bearer, error="insufficient_user_authentication", acr_values="mfa", max_age="86400""#,
            )),
        ),
        (details(), r#""authorization_details":[]"#, Some((403, ""))),
        (Requirement::claim_is("tier", "gold"), r#""tier":"silver""#, Some((403, ""))),
        (
            Requirement::claim_contains("/realm_access/roles", "admin"),
            r#""realm_access":{"roles":["user"]}"#,
            Some((403, "")),
        ),
        (Requirement::any_actor(["gateway"]), r#""act":{"sub":"app"}"#, Some((403, ""))),
        (Requirement::no_actor(), r#""act":{"sub":"app"}"#, Some((403, ""))),
        (
            Requirement::sender_constrained(),
            r#""scope":"a""#,
            Some((401, r#"Bearer, error="invalid_token""#)),
        ),
        (!scope(&["admin"]), r#""scope":"admin""#, Some((403, ""))),
        (never(), r#""scope":"a""#, Some((403, ""))),
        (Requirement::all([]), r#""scope":"a""#, None),
        (!scope(&["admin"]), r#""scope":"a""#, None),
    ] {
        let shown = format!("{requirement:?} of {members}");
        let got = challenge_for(requirement, members).await;
        let expected = expected.map(|(status, text): (u16, &str)| (status, text.to_owned()));
        assert_eq!(got, expected, "{shown}");
    }
}

// ===== and, or, not =====

#[tokio::test]
async fn rfc9470_3_challenge_has_all_that_is_missing_and_all_required_scope() {
    let whole = scope(&["a"]).and(scope(&["b"])).and(mfa());
    assert_eq!(
        challenge_for(whole.clone(), r#""scope":"b""#).await,
        Some((
            401,
            r#"Bearer, error="insufficient_user_authentication", scope="a b", acr_values="mfa""#
                .into()
        ))
    );
    // Satisfied parts are not requested again, except scope that the next token must keep.
    assert_eq!(
        challenge_for(whole.clone(), r#""scope":"b","acr":"mfa""#).await,
        Some((403, r#"Bearer, error="insufficient_scope", scope="a b""#.into()))
    );
    assert_eq!(
        challenge_for(whole.clone(), r#""scope":"a b""#).await,
        Some((401, r#"Bearer, error="insufficient_user_authentication", acr_values="mfa""#.into()))
    );
    assert_eq!(challenge_for(whole, r#""scope":"a b","acr":"mfa""#).await, None);
}

#[tokio::test]
async fn cheapest_alternative_for_the_client_is_requested() {
    let one = r#"Bearer, error="insufficient_scope", scope="c""#;
    for (requirement, members, expected) in [
        // Fewer missing scopes come first, in any order.
        (scope(&["a", "b"]).or(scope(&["c"])), r#""scope":"x""#, one),
        (scope(&["c"]).or(scope(&["a", "b"])), r#""scope":"x""#, one),
        (
            scope(&["a", "b"]).or(scope(&["c"])),
            r#""scope":"a""#,
            r#"Bearer, error="insufficient_scope", scope="a b""#,
        ),
        // Scope comes before another login.
        (mfa().or(scope(&["c"])), r#""scope":"x""#, one),
        // A part that no token can satisfy comes last.
        (never().or(scope(&["c"])), r#""scope":"x""#, one),
        (scope(&["d"]).and(never()).or(scope(&["c"])), r#""scope":"x""#, one),
        (
            never().or(mfa()),
            r#""scope":"x""#,
            r#"Bearer, error="insufficient_user_authentication", acr_values="mfa""#,
        ),
        // All parts of the chosen alternative are requested.
        (
            scope(&["a", "b"]).and(scope(&["c"])).or(mfa().and(scope(&["d"]))),
            r#""acr":"mfa""#,
            r#"Bearer, error="insufficient_scope", scope="d""#,
        ),
    ] {
        let shown = format!("{requirement:?} of {members}");
        let (_, challenge) = challenge_for(requirement, members).await.expect(&shown);
        assert_eq!(challenge, expected, "{shown}");
    }
}

#[test]
fn requirement_that_no_token_can_satisfy_is_denied_without_scope() {
    for contradiction in [
        scope(&["a"]).and(!scope(&["a"])),
        !Requirement::all([]),
        scope(&["a"]).and(never()),
        never().and(mfa()),
    ] {
        for members in [r#""scope":"a""#, r#""scope":"b""#, ""] {
            let error = check(&contradiction, members).unwrap_err();
            let asks = matches!(
                error.kind(),
                ErrorKind::Denied
                    | ErrorKind::InsufficientScope
                    | ErrorKind::InsufficientAuthentication
            );
            assert!(asks, "{contradiction:?} of {members}: {error}");
        }
    }
    let error = check(&scope(&["a"]).and(never()), "").unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::Denied, None));
}

#[test]
fn rfc6750_3_1_invalid_token_is_reported_before_missing_scope() {
    let mixed = scope(&["a"]).and(never()).and(Requirement::audience("x"));
    assert_eq!(kind(&mixed, ""), Some(ErrorKind::WrongAudience));
    let malformed = scope(&["a"]).and(mfa());
    assert_eq!(kind(&malformed, r#""acr":7"#), Some(ErrorKind::InvalidClaim("acr")));
}

#[test]
fn de_morgans_laws_hold_for_decisions() {
    let parts = [scope(&["a"]), mfa(), Requirement::claim_is("tier", "gold")];
    for members in [
        r#""scope":"a""#,
        r#""acr":"mfa""#,
        r#""tier":"gold""#,
        r#""scope":"a","acr":"mfa""#,
        r#""scope":"a","acr":"mfa","tier":"gold""#,
        r#""scope":"b""#,
    ] {
        for (one, other) in parts.iter().flat_map(|one| parts.iter().map(move |other| (one, other)))
        {
            let met = |requirement: Requirement| check(&requirement, members).is_ok();
            let (one, other) = (one.clone(), other.clone());
            assert_eq!(
                met(!(one.clone().and(other.clone()))),
                met((!one.clone()).or(!other.clone())),
                "{members}"
            );
            assert_eq!(met(!!one.clone()), met(one.clone()));
            assert_eq!(met(!(one.clone().or(other.clone()))), met((!one).and(!other)), "{members}");
        }
    }
}

#[test]
fn claims_of_the_wrong_type_satisfy_neither_a_requirement_nor_its_negation() {
    let client = || Requirement::any_client(["x"]);
    let admin = || Requirement::claim_contains("/realm_access/roles", "admin");
    let suspended = || Requirement::claim_fn("suspended", |suspended: bool| suspended);
    let detail = || Requirement::authorization_detail(DetailMatcher::of_type("payment"));
    for (requirement, members) in [
        (mfa(), r#""acr":["mfa"]"#),
        (mfa(), r#""acr":null"#),
        (Requirement::max_age(SEC), r#""auth_time":"1800000000""#),
        (Requirement::max_age(SEC), r#""auth_time":{}"#),
        (client(), r#""client_id":7"#),
        (client(), r#""azp":["x"]"#),
        (admin(), r#""realm_access":7"#),
        (admin(), r#""realm_access":{"roles":7}"#),
        (admin(), r#""realm_access":{"roles":"admin"}"#),
        (admin(), r#""realm_access":[{"roles":["admin"]}]"#),
        (suspended(), r#""suspended":"yes""#),
        (Requirement::any_actor(["gateway"]), r#""act":"gateway""#),
        (Requirement::any_actor(["gateway"]), r#""act":{"sub":["gateway"]}"#),
        (detail(), r#""authorization_details":{"type":"payment"}"#),
        (detail(), r#""authorization_details":[{"type":"payment"},{}]"#),
    ] {
        for requirement in [requirement.clone(), !requirement.clone(), !!requirement] {
            let error = check(&requirement, members).expect_err(members);
            assert_eq!(error.blame(), Blame::Client, "{requirement:?} of {members}");
        }
    }
    // There is no actor only if the claim is absent.
    assert_eq!(kind(&Requirement::no_actor(), r#""act":null"#), Some(ErrorKind::Denied));
}

#[test]
fn failing_check_satisfies_neither_a_requirement_nor_its_negation() {
    let failing = || {
        Requirement::check_fn(|_| {
            Err(VerifyError::new(ErrorKind::Unavailable).with_context("the database is away"))
        })
    };
    for requirement in
        [failing(), !failing(), failing().or(never()), !(failing().and(scope(&["a"])))]
    {
        let error = check(&requirement, r#""scope":"a""#).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.context(), Some("the database is away"));
    }
    assert!(check(&failing().or(scope(&["a"])), r#""scope":"a""#).is_ok());
}

// ===== Each kind =====

#[test]
fn rfc9470_2_acr_is_an_exact_string_without_order() {
    let either = Requirement::any_acr(["urn:mace:incommon:iap:silver", "2"]);
    assert!(check(&either, r#""acr":"2""#).is_ok());
    assert!(check(&either, r#""acr":"urn:mace:incommon:iap:silver""#).is_ok());
    for acr in ["3", "02", "2 ", "URN:mace:incommon:iap:silver", "urn:mace:incommon:iap:gold", ""] {
        let challenge_for = kind(&either, &format!(r#""acr":"{acr}""#));
        assert_eq!(challenge_for, Some(ErrorKind::InsufficientAuthentication), "{acr:?}");
    }
}

#[test]
fn rfc9470_2_auth_time_is_compared_with_max_age_and_leeway() {
    let recent = Requirement::max_age(SEC * 300);
    for (auth_time, met) in [
        (NOW, true),
        (NOW - 300, true),
        (NOW - 330, true),
        (NOW - 331, false),
        (NOW + 30, true),
        (NOW + 31, false),
        (0, false),
        (-1, false),
        (i64::MIN, false),
        (i64::MAX, false),
    ] {
        let outcome = kind(&recent, &format!(r#""auth_time":{auth_time}"#));
        assert_eq!(outcome.is_none(), met, "{auth_time}");
        assert!(met || outcome == Some(ErrorKind::InsufficientAuthentication), "{auth_time}");
    }
    assert!(check(&recent, &format!(r#""auth_time":{NOW}.75"#)).is_ok());
    assert_eq!(kind(&recent, r#""scope":"a""#), Some(ErrorKind::InsufficientAuthentication));
    let forever = Requirement::max_age(Duration::MAX);
    assert!(check(&forever, r#""auth_time":0"#).is_ok());
    assert!(check(&Requirement::max_age(Duration::ZERO), &format!(r#""auth_time":{NOW}"#)).is_ok());
}

#[test]
fn rfc9396_2_one_detail_must_satisfy_the_whole_requirement() {
    let matcher = || {
        DetailMatcher::of_type("payment_initiation")
            .action("initiate")
            .location("https://api.example.com/payments")
    };
    let requirement = Requirement::authorization_detail(matcher());
    let good = r#"{"type":"payment_initiation","actions":["status","initiate"],"locations":["https://api.example.com/payments"],"limit":100}"#;
    let with = |details: &str| format!(r#""authorization_details":[{details}]"#);
    assert!(check(&requirement, &with(good)).is_ok());
    assert!(check(&requirement, &with(&format!(r#"{{"type":"other"}},{good}"#))).is_ok());
    for details in [
        "",
        r#"{"type":"payment_initiation"}"#,
        r#"{"type":"Payment_initiation","actions":["initiate"],"locations":["https://api.example.com/payments"]}"#,
        r#"{"type":"payment_initiation","actions":["initiate"]}"#,
        r#"{"type":"payment_initiation","actions":["initiate"],"locations":["https://api.example.com/payments/"]}"#,
        r#"{"type":"payment_initiation","actions":["Initiate"],"locations":["https://api.example.com/payments"]}"#,
        r#"{"type":"payment_initiation","actions":["initiate"]},{"type":"payment_initiation","locations":["https://api.example.com/payments"]}"#,
    ] {
        assert_eq!(kind(&requirement, &with(details)), Some(ErrorKind::Denied), "{details}");
    }
    let limited = |least: u64| {
        let test = move |detail: &tower_introspect::claims::AuthorizationDetail<'_>| {
            detail.get::<u64>("limit").is_ok_and(|limit| limit >= Some(least))
        };
        Requirement::authorization_detail(matcher().matching(test))
    };
    assert!(check(&limited(100), &with(good)).is_ok());
    assert_eq!(kind(&limited(101), &with(good)), Some(ErrorKind::Denied));
    let named = Requirement::authorization_detail(matcher().identifier("acc-1"));
    assert_eq!(kind(&named, &with(good)), Some(ErrorKind::Denied));
}

#[test]
fn roles_are_read_from_the_claims_of_providers() {
    for (path, members) in [
        ("/realm_access/roles", r#""realm_access":{"roles":["offline_access","admin"]}"#),
        ("/resource_access/my.api/roles", r#""resource_access":{"my.api":{"roles":["admin"]}}"#),
        ("roles", r#""roles":["admin"]"#),
        ("https://example.com/roles", r#""https://example.com/roles":["admin"]"#),
        ("cognito:groups", r#""cognito:groups":["admin"]"#),
    ] {
        let admin = Requirement::claim_contains(path, "admin");
        assert!(check(&admin, members).is_ok(), "{path}");
        assert_eq!(
            kind(&Requirement::claim_contains(path, "adm"), members),
            Some(ErrorKind::Denied)
        );
        assert_eq!(kind(&admin, ""), Some(ErrorKind::Denied), "absent: {path}");
    }
}

#[test]
fn rfc8693_4_1_only_the_outermost_actor_counts() {
    let gateway = Requirement::any_actor(["gateway"]);
    assert!(check(&gateway, r#""act":{"sub":"gateway","act":{"sub":"app"}}"#).is_ok());
    let nested = r#""act":{"sub":"app","act":{"sub":"gateway"}}"#;
    assert_eq!(kind(&gateway, nested), Some(ErrorKind::Denied));
    assert_eq!(kind(&gateway, r#""act":{}"#), Some(ErrorKind::Denied));
    assert_eq!(kind(&gateway, r#""scope":"a""#), Some(ErrorKind::Denied));
    assert!(check(&Requirement::no_actor(), r#""scope":"a""#).is_ok());
}

#[test]
fn rfc8693_4_1_claims_inside_of_act_are_ignored() {
    let members = format!(r#""act":{{"sub":"gateway","exp":1,"aud":"other","nbf":{}}}"#, i64::MAX);
    assert!(check(&Requirement::any_actor(["gateway"]), &members).is_ok());
}

#[test]
fn rfc8693_4_4_may_act_grants_nothing() {
    let members = r#""may_act":{"sub":"gateway"}"#;
    assert_eq!(kind(&Requirement::any_actor(["gateway"]), members), Some(ErrorKind::Denied));
    assert!(check(&Requirement::no_actor(), members).is_ok());
}

#[test]
fn client_is_read_from_client_id_before_azp() {
    let api = Requirement::any_client(["api", "batch"]);
    assert!(check(&api, r#""client_id":"batch""#).is_ok());
    assert!(check(&api, r#""azp":"api""#).is_ok());
    assert_eq!(kind(&api, r#""client_id":"x","azp":"api""#), Some(ErrorKind::Denied));
    assert_eq!(kind(&api, ""), Some(ErrorKind::Denied));
}

#[tokio::test(start_paused = true)]
async fn missing_freshness_is_not_blamed_on_the_client() {
    let policy = policy();
    let claims = format!(r#"{{"aud":"{AUDIENCE}"}}"#);
    let claims = tower_introspect::claims::Claims::from_json(claims.as_bytes()).unwrap();
    let active = ActiveToken::new(ISSUER, claims, Method::Introspection, Moment::now(&At(NOW)));
    tokio::time::advance(SEC * 5).await;
    let token = policy.admit(active, Scheme::Bearer).unwrap();
    assert!(Requirement::fresh(SEC * 5).check(&token).is_ok());
    for requirement in [Requirement::fresh(SEC * 4), !Requirement::fresh(SEC * 4)] {
        let error = requirement.check(&token).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.context().unwrap().contains("fresh_layer"), "{error}");
    }
}

// ===== Implied scope =====

#[test]
fn mcp_declared_scope_implies_narrower_ones() {
    let policy = policy().scope_implies("files", "files:read").scope_implies("admin", "files");
    let read = scope(&["files:read"]);
    for (members, met) in [
        (r#""scope":"files:read""#, true),
        (r#""scope":"files""#, true),
        (r#""scope":"x admin""#, true),
        (r#""scope":"files:write""#, false),
        (r#""scope":"files:""#, false),
    ] {
        let token = admit(&policy, members).unwrap();
        assert_eq!(read.check(&token).is_ok(), met, "{members}");
        assert_eq!(token.has_scope("files:read"), met, "{members}");
    }
    let token = admit(&policy, r#""scope":"files:read""#).unwrap();
    assert_eq!(scope(&["files"]).check(&token).unwrap_err().scope(), Some("files"));
    // Without a declaration nothing is implied.
    assert_eq!(kind(&read, r#""scope":"files""#), Some(ErrorKind::InsufficientScope));
}

#[test]
fn requirements_of_a_policy_accept_implied_scope() {
    let policy = policy().require(scope(&["files:read"])).scope_implies("files", "files:read");
    assert!(admit(&policy, r#""scope":"files""#).is_ok());
}

// ===== Nested layers =====

async fn nested(policy: Policy, members: &str) -> Response<Bytes> {
    let claims = format!(r#"{{"aud":"{AUDIENCE}",{members}}}"#);
    let outer = tower_introspect::IntrospectLayer::new(ImmediateVerifier::claims(&claims), policy);
    let stack = ServiceBuilder::new()
        .layer(outer)
        .layer(RequireLayer::any_scope(["staff", "admin"]))
        .layer(RequireScope::all(["payments"]))
        .layer(RequireLayer::paths(
            Paths::deny_by_default().require("/", Requirement::all_scopes(["payments:write"])),
        ));
    stack.service(service_fn(whoami)).oneshot(with_token()).await.unwrap()
}

#[tokio::test]
async fn mcp_inner_challenge_has_the_scope_of_outer_requirements() {
    let policy = || policy().require(scope(&["api"]));
    let response = nested(policy(), r#""scope":"payments admin api other""#).await;
    let text = challenge(response.headers()).unwrap();
    assert!(text.ends_with(r#"scope="api admin payments payments:write""#), "{text}");
    let whole = r#""scope":"api admin payments payments:write""#;
    assert_eq!(nested(policy(), whole).await.status(), StatusCode::OK);
    // Without outer requirements, nothing is added.
    let stack = ServiceBuilder::new()
        .layer(layer(ImmediateVerifier::alice()))
        .layer(RequireLayer::any_acr(["mfa"]))
        .service(service_fn(whoami));
    let response = stack.oneshot(with_token()).await.unwrap();
    let text = challenge(response.headers()).unwrap();
    assert!(text.ends_with(r#"acr_values="mfa""#), "{text}");
}

#[test]
fn requirements_of_a_policy_are_checked_together() {
    let policy = policy().require(scope(&["a"])).require(mfa()).require(scope(&["b"]));
    let error = admit(&policy, r#""scope":"a""#).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InsufficientAuthentication);
    assert_eq!(error.scope(), Some("b a"));
}

// ===== Observed requirements =====

fn observed(requirement: RequireLayer, verifier: ImmediateVerifier, optional: bool) -> Stack {
    let outer = if optional { layer(verifier).optional() } else { layer(verifier) };
    let reporting = service_fn(async |request: Request<Bytes>| {
        let reports = Observer::reports(request.extensions());
        let reports: Vec<_> = reports.map(|error| error.kind().reason()).collect();
        Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(reports.join(","))))
    });
    let stack = ServiceBuilder::new().layer(outer).layer(requirement).service(reporting);
    tower::util::BoxCloneSyncService::new(stack)
}

type Stack =
    tower::util::BoxCloneSyncService<Request<Bytes>, Response<Bytes>, std::convert::Infallible>;

#[tokio::test]
async fn observed_requirement_reports_and_admits() {
    let trial = Observer::new("trial");
    let service =
        observed(RequireScope::all(["x"]).observe(&trial), ImmediateVerifier::alice(), false);
    let response = service.clone().oneshot(with_token()).await.unwrap();
    assert_eq!(
        (response.status(), &**response.body()),
        (StatusCode::OK, &b"insufficient_scope"[..])
    );
    assert_eq!((trial.met(), trial.would_have_refused()), (0, 1));
    let met =
        observed(RequireScope::all(["read"]).observe(&trial), ImmediateVerifier::alice(), false);
    assert_eq!(met.oneshot(with_token()).await.unwrap().body(), "");
    assert_eq!((trial.met(), trial.would_have_refused()), (1, 1));
}

#[tokio::test]
async fn observed_requirement_does_not_admit_invalid_tokens() {
    let trial = Observer::new("trial");
    for kind in
        [ErrorKind::BadSignature, ErrorKind::Expired, ErrorKind::WrongIssuer, ErrorKind::Inactive]
    {
        let observing = RequireScope::all(["x"]).observe(&trial);
        let service = observed(observing, ImmediateVerifier::refusing(kind), false);
        let response = service.oneshot(with_token()).await.unwrap();
        assert_eq!(refusal(&response), Some(kind));
    }
    assert_eq!(trial.would_have_refused(), 0);
}

#[tokio::test]
async fn observed_requirement_without_an_outer_layer_is_500() {
    let trial = Observer::new("trial");
    for layer in [
        RequireScope::all(["x"]).observe(&trial),
        RequireLayer::paths(Paths::deny_by_default()).observe(&trial),
    ] {
        let response = layer.layer(service_fn(whoami)).oneshot(with_token()).await.unwrap();
        assert_eq!(refusal(&response), Some(ErrorKind::Misconfigured));
    }
    assert_eq!((trial.met(), trial.would_have_refused()), (0, 0));
}

#[tokio::test]
async fn missing_token_is_observed() {
    let trial = Observer::new("trial");
    let service =
        observed(RequireScope::all(["x"]).observe(&trial), ImmediateVerifier::alice(), true);
    let response = service.oneshot(request(&[])).await.unwrap();
    assert_eq!(
        (response.status(), &**response.body()),
        (StatusCode::OK, &b"missing_credentials"[..])
    );
    assert_eq!(trial.would_have_refused(), 1);
}

#[tokio::test]
async fn observed_requirements_of_a_policy_do_not_affect_enforced_ones() {
    let trial = Observer::new("trial");
    let policy = policy().require(scope(&["read"])).observe(mfa(), &trial);
    let token = admit(&policy, r#""scope":"read""#).unwrap();
    let mut extensions = http::Extensions::new();
    extensions.insert(token);
    let reports: Vec<_> = Observer::reports(&extensions).map(VerifyError::kind).collect();
    assert_eq!(reports, [ErrorKind::InsufficientAuthentication]);
    assert_eq!(admit(&policy, "").unwrap_err().kind(), ErrorKind::InsufficientScope);
    assert_eq!((trial.met(), trial.would_have_refused()), (0, 1), "a refused request was observed");
}

// ===== What operators are told =====

#[test]
fn unmet_requirement_is_named_without_values_of_the_token() {
    let tenant = || Requirement::claim_is("/org/tenant", "t-1");
    let adult = || Requirement::claim_fn("age", |age: u64| age >= 18);
    for (requirement, members, expected) in [
        (scope(&["read", "write"]), r#""scope":"read""#, "scope `write`"),
        (Requirement::any_scope(["a", "b"]), "", "one scope of `a b`"),
        (mfa(), "", "acr `mfa` (absent)"),
        (mfa(), r#""acr":"hunter2""#, "acr `mfa` (another value)"),
        (mfa(), r#""acr":["hunter2"]"#, "acr `mfa` (another type)"),
        (Requirement::max_age(SEC), "", "auth_time of the last 1 s (absent)"),
        (
            Requirement::max_age(SEC),
            r#""auth_time":1"#,
            "auth_time of the last 1 s (another value)",
        ),
        (
            Requirement::max_age(SEC),
            r#""auth_time":{}"#,
            "auth_time of the last 1 s (another type)",
        ),
        (tenant(), "", "claim `org/tenant` (absent)"),
        (tenant(), r#""org":{"tenant":"hunter2"}"#, "claim `org/tenant` (another value)"),
        (tenant(), r#""org":{"tenant":["hunter2"]}"#, "claim `org/tenant` (another type)"),
        (tenant(), r#""org":"hunter2""#, "claim `org/tenant` (another type)"),
        (adult(), r#""age":17"#, "claim `age` (another value)"),
        (Requirement::claim_present("sid"), "", "claim `sid` (absent)"),
        (Requirement::any_client(["x"]), r#""azp":"hunter2""#, "client (another value)"),
        (Requirement::any_client(["x"]), r#""cid":"hunter2""#, "client (another value)"),
        (Requirement::any_client(["x"]), r#""appid":7"#, "client (another type)"),
        (Requirement::any_client(["x"]), r#""client_id":7"#, "client (another type)"),
        (Requirement::any_actor(["x"]), "", "actor (absent)"),
        (Requirement::no_actor(), r#""act":{"sub":"hunter2"}"#, "no actor"),
        (Requirement::any_issuer(["x"]), "", "issuer"),
        (Requirement::audience("x"), "", "audience `x`"),
        (Requirement::sender_constrained(), "", "a token that is bound to a key"),
        (
            Requirement::authorization_detail(DetailMatcher::of_type("pay")),
            r#""authorization_details":[{"type":"hunter2"}]"#,
            "authorization_details (another value)",
        ),
        (never(), "", "a check of the application"),
        (!scope(&["read"]), r#""scope":"read""#, "not (scope `read`)"),
        (
            scope(&["read"]).and(tenant()).and(mfa()),
            r#""acr":"mfa""#,
            "scope `read`; claim `org/tenant` (absent)",
        ),
        (scope(&["read"]).or(mfa()), "", "scope `read`, or acr `mfa` (absent)"),
    ] {
        let error = check(&requirement, members).unwrap_err();
        assert_eq!(error.unmet_requirement(), Some(expected), "{members}");
        // Of several requirements of a policy only the unmet ones are named.
        let policy = policy().require(Requirement::all([])).require(requirement);
        let error = admit(&policy, members).unwrap_err();
        assert_eq!(error.unmet_requirement(), Some(expected), "{members}");
    }
    assert_eq!(admit(&policy(), r#""exp":1"#).unwrap_err().unmet_requirement(), None);
}

#[test]
fn present_claim_has_any_value_but_null() {
    let present = || Requirement::claim_present("/org/tenant");
    for tenant in ["7", "\"\"", "false", "[]", "{}"] {
        let members = format!(r#""org":{{"tenant":{tenant}}}"#);
        assert_eq!(kind(&present(), &members), None, "{members}");
        assert_eq!(kind(&!present(), &members), Some(ErrorKind::Denied), "{members}");
    }
    for members in ["", r#""org":{}"#, r#""org":{"tenant":null}"#, r#""org":null"#] {
        assert_eq!(kind(&present(), members), Some(ErrorKind::Denied), "{members}");
        assert_eq!(kind(&!present(), members), None, "{members}");
    }
    for requirement in [present(), !present()] {
        assert_eq!(kind(&requirement, r#""org":7"#), Some(ErrorKind::Denied));
    }
}

// ===== Cost =====

#[tokio::test]
async fn requirement_is_checked_once() {
    static CHECKS: AtomicUsize = AtomicUsize::new(0);
    let counting = || {
        Requirement::check_fn(|_| {
            CHECKS.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    };
    assert_eq!(challenge_for(counting().and(scope(&["read"])), r#""scope":"read""#).await, None);
    assert_eq!(CHECKS.load(Ordering::Relaxed), 1);
}

#[test]
fn scope_macro_equals_scopes_given_at_run_time() {
    const READ: &str = "read";
    assert_eq!(scopes![READ, "write"], ["read", "write"]);
    assert!(check(&Requirement::all_scopes(scopes!["a"]), r#""scope":"a""#).is_ok());
}
