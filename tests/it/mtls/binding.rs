//! The `cnf` claim decides whether a token is bound.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use tower_introspect::{
    credentials::Scheme, policy::Requirement, proof::Dpop, respond::Challenge, test_util::Prover,
};

use super::*;
use crate::support::ImmediateVerifier;

#[tokio::test(start_paused = true)]
async fn rfc8705_3_a_bound_token_needs_its_certificate() {
    let (world, own, other) = (World::new(), Certificate::new("a"), Certificate::new("a"));
    for token in world.tokens(&own.cnf()) {
        // With a new and a cached token.
        for _ in 0..2 {
            assert_eq!(world.outcome_over(&token, Some(&own)).await, Ok(()));
            assert_eq!(world.outcome_over(&token, Some(&other)).await, UNPROVEN);
            assert_eq!(world.outcome_over(&token, None).await, UNPROVEN);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc8705_3_the_refusal_is_401_invalid_token() {
    let (world, own, other) = (World::new(), Certificate::new("a"), Certificate::new("b"));
    for token in world.tokens(&own.cnf()) {
        for shown in [None, Some(other.peer())] {
            let mut request = bearer(&token, &[]);
            shown.map(|shown| request.extensions_mut().insert(shown));
            let response = world.send(request).await;
            assert_eq!(response.status(), 401);
            let told = format!("Bearer realm=\"{AUDIENCE}\", error=\"invalid_token\"");
            assert_eq!(response.headers()["www-authenticate"], told.as_str());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc8705_3_1_the_thumbprint_is_compared_as_exact_text() {
    // A thumbprint that differs between the two base64 alphabets.
    let own = (0..)
        .map(|at| Certificate::new(&format!("client{at}")))
        .take(64)
        .find(|own| own.peer().thumbprint().contains(['-', '_']))
        .expect("no such certificate");
    let world = World::new();
    let digest = URL_SAFE_NO_PAD.decode(own.peer().thumbprint()).unwrap();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    for wrong in [
        hex.clone(),
        hex.to_uppercase(),
        URL_SAFE.encode(&digest),
        STANDARD.encode(&digest),
        STANDARD.encode(&digest).trim_end_matches('=').to_owned(),
        // As long as a SHA-1 thumbprint.
        URL_SAFE_NO_PAD.encode(&digest[..20]),
        format!(" {}", own.peer().thumbprint()),
        own.peer().thumbprint()[..42].to_owned(),
        own.peer().thumbprint().to_lowercase(),
        String::new(),
    ] {
        for token in world.tokens(&json!({"x5t#S256": wrong})) {
            assert_eq!(world.outcome_over(&token, Some(&own)).await, UNPROVEN, "{wrong}");
        }
    }
    for malformed in [json!({"x5t#S256": 7}), json!({"x5t#S256": [own.peer().thumbprint()]})] {
        let [jwt, _] = world.tokens(&malformed);
        assert_eq!(world.outcome_over(&jwt, Some(&own)).await, Err(ErrorKind::InvalidClaim("cnf")));
    }
}

#[tokio::test(start_paused = true)]
async fn rfc8705_3_other_cnf_members_do_not_bind_to_a_certificate() {
    let (world, own) = (World::new(), Certificate::new("a"));
    let thumbprint = own.peer().thumbprint();
    for cnf in [json!({"x5t": thumbprint}), json!({"x5t#s256": thumbprint}), json!({})] {
        for token in world.tokens(&cnf) {
            assert_eq!(world.outcome_over(&token, Some(&own)).await, UNPROVEN, "{cnf}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc8705_3_without_mtls_configured_bound_tokens_stay_refused() {
    let (world, own) = (World::under(|policy| policy), Certificate::new("a"));
    for token in world.tokens(&own.cnf()) {
        assert_eq!(world.outcome_over(&token, Some(&own)).await, UNPROVEN);
        let fields = [("client-cert", &*own.field())];
        assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, UNPROVEN);
    }
}

#[tokio::test(start_paused = true)]
async fn unbound_token_is_accepted_with_and_without_a_certificate() {
    let (world, own) = (World::new(), Certificate::new("a"));
    let unbound = [
        world.server.jwt().audience(AUDIENCE).mint(),
        world.server.opaque().audience(AUDIENCE).mint(),
    ];
    for token in unbound {
        assert_eq!(world.outcome_over(&token, Some(&own)).await, Ok(()));
        assert_eq!(world.outcome_over(&token, None).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn fapi2_5_3_4_certificate_satisfies_a_required_binding() {
    let own = Certificate::new("a");
    let dpop = || Dpop::new(AUDIENCE).unwrap();
    for world in [
        World::under(|policy| policy.mtls(Mtls::new()).require_binding()),
        World::under(|policy| policy.require_binding().mtls(Mtls::new()).dpop(dpop())),
        World::under(|policy| policy.mtls(Mtls::new()).require(Requirement::sender_constrained())),
    ] {
        for token in world.tokens(&own.cnf()) {
            assert_eq!(world.outcome_over(&token, Some(&own)).await, Ok(()));
        }
        let unbound = world.server.jwt().audience(AUDIENCE).mint();
        assert_eq!(world.outcome_over(&unbound, Some(&own)).await, UNPROVEN);
        // Bound tokens are sent with `Bearer`, so that challenge is sent.
        let response = world.send(request(&[])).await;
        let told = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(told.starts_with("Bearer "), "{told}");
    }
    // Unless it is disabled.
    let world = World::under(|policy| {
        let challenge = Challenge::new("api").dpop(["ES256"]).without_bearer();
        policy.dpop(dpop()).challenge(challenge).mtls(Mtls::new())
    });
    let response = world.send(request(&[])).await;
    let told: Vec<_> = response.headers().get_all("www-authenticate").into_iter().collect();
    assert!(told.len() == 1 && told[0].to_str().unwrap().starts_with("DPoP "), "{told:?}");
}

/// Either proof alone is not enough, in either order.
#[tokio::test(start_paused = true)]
async fn token_bound_in_two_ways_needs_both_proofs() {
    let world = World::under(|policy| policy.mtls(Mtls::new()).dpop(Dpop::new(AUDIENCE).unwrap()));
    let (own, other, prover) = (
        Certificate::new("a"),
        Certificate::new("b"),
        Prover::new("client").with_clock(FixedClock),
    );
    let cnf = json!({"jkt": prover.thumbprint(), "x5t#S256": own.peer().thumbprint()});
    for token in world.tokens(&cnf) {
        for (scheme, proven, shown, outcome) in [
            ("DPoP", true, Some(&own), Ok(())),
            ("DPoP", true, Some(&other), UNPROVEN),
            ("DPoP", true, None, UNPROVEN),
            ("DPoP", false, Some(&own), Err(ErrorKind::InvalidProof)),
            ("Bearer", true, Some(&own), UNPROVEN),
            ("Bearer", false, Some(&own), UNPROVEN),
        ] {
            let proof = prover.proof("GET", AUDIENCE).for_token(&token).mint();
            let mut request = request(&[("authorization", &format!("{scheme} {token}"))]);
            if proven {
                request.headers_mut().insert("dpop", proof.parse().unwrap());
            }
            shown.map(|shown| request.extensions_mut().insert(shown.peer()));
            let shown = shown.map(|shown| *shown.peer().thumbprint() == *own.peer().thumbprint());
            assert_eq!(world.outcome(request).await, outcome, "{scheme} {proven} {shown:?}");
        }
    }
    // A token bound to the certificate only is refused as a DPoP token.
    for token in world.tokens(&own.cnf()) {
        let mut request = request(&[("authorization", &format!("DPoP {token}"))]);
        request.extensions_mut().insert(own.peer());
        assert_eq!(world.outcome(request).await, UNPROVEN);
    }
}

#[tokio::test(start_paused = true)]
async fn bound_token_without_a_request_is_refused() {
    let own = Certificate::new("a");
    let claims = json!({"aud": AUDIENCE, "cnf": own.cnf()}).to_string();
    let policy = policy().mtls(Mtls::new());
    let refused =
        policy.admit(ImmediateVerifier::claims(&claims).0.unwrap(), Scheme::Bearer).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UnprovenPossession);
}

#[tokio::test(start_paused = true)]
async fn certificate_can_be_found_by_a_function() {
    #[derive(Clone)]
    struct Tls(Vec<Vec<u8>>);
    let mtls = Mtls::new()
        .certificate_fn(|head| PeerCertificate::from_der(head.extension::<Tls>()?.0.first()?));
    let (world, own, issuer) = (World::with(mtls), Certificate::new("a"), Certificate::new("ca"));
    let [token, _] = world.tokens(&own.cnf());
    for (chain, outcome) in [
        (vec![own.der.clone(), issuer.der.clone()], Ok(())),
        (vec![issuer.der.clone(), own.der.clone()], UNPROVEN),
        (vec![], UNPROVEN),
    ] {
        let mut request = bearer(&token, &[]);
        request.extensions_mut().insert(Tls(chain));
        assert_eq!(world.outcome(request).await, outcome);
    }
    // A certificate left in the usual extension counts as well.
    assert_eq!(world.outcome_over(&token, Some(&own)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn rfc9728_2_metadata_lists_certificate_bound_tokens() {
    let server = AuthorizationServer::new(ISSUER);
    let document = |mtls: bool| {
        let builder = ResourceServer::builder(AUDIENCE)
            .issuer(Issuer::jwt(ISSUER))
            .transport(server.transport())
            .metadata(|about| about);
        let builder = if mtls { builder.mtls(Mtls::new()) } else { builder };
        builder.build().unwrap().metadata_document().unwrap().to_owned()
    };
    assert!(document(true).contains("\"tls_client_certificate_bound_access_tokens\":true"));
    assert!(!document(false).contains("tls_client"));
}
