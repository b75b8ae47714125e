//! Support staff revokes by hand, and lists what is revoked.

use http_body_util::BodyExt as _;
use serde_json::json;
use tower::Layer as _;
use tower_introspect::{
    ResourceServer,
    policy::Requirement,
    resource_server::RevocationService,
    respond::{ProblemJson, Refusal},
    revocation::Cutoff,
};

use super::{shared::failing_feed, *};
use crate::{shared::Flush, support::AUDIENCE};

mod refusals;
mod tenants;

const SCOPE: &str = "revocations:write";
const NOW: i64 = 1_800_000_000;

type Service = RevocationService<Full<Bytes>>;

fn service(world: &World) -> Service {
    world.api.revocation_service(Requirement::all_scopes([SCOPE]))
}

fn staff(world: &World) -> String {
    world.server.jwt().subject("staff").audience(AUDIENCE).scope(SCOPE).mint()
}

fn post(token: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

fn get(token: &str, query: &str) -> Request<Full<Bytes>> {
    Request::get(format!("/?{query}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap()
}

/// Returns the status of a response, and its body.
async fn call(service: &Service, request: Request<Full<Bytes>>) -> (u16, Value) {
    let Ok(response) = service.clone().oneshot(request).await;
    let status = response.status().as_u16();
    if status < 401 {
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()["content-type"], "application/json");
    }
    let Ok(body) = response.into_body().collect().await;
    (status, serde_json::from_slice(&body.to_bytes()).unwrap_or_default())
}

/// Sends a body that must be accepted.
async fn order(world: &World, body: Value) -> Value {
    let (status, answer) = call(&service(world), post(&staff(world), body.to_string())).await;
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

/// Sends a body that must be refused and change nothing. Returns the description.
async fn refused(world: &World, body: impl Into<Bytes>) -> String {
    let before = world.api.revocations().in_force(100);
    let (status, answer) = call(&service(world), post(&staff(world), body)).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "{answer}");
    assert_eq!(world.api.revocations().in_force(100), before);
    answer["error_description"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn callers_without_a_token_or_the_scope_are_refused_and_change_nothing() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let body = json!({"issuer": ISSUER, "subject": "alice"}).to_string();
    for mut request in [post("", body.clone()), get("", "")] {
        request.headers_mut().remove("authorization");
        let Ok(response) = service.clone().oneshot(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    let elsewhere = world.server.jwt().audience("https://other.example.com").scope(SCOPE).mint();
    for (token, status) in [("unknown", 401), (&elsewhere, 401), (&world.jwt(), 403)] {
        for request in [post(token, body.clone()), get(token, "")] {
            let Ok(response) = service.clone().oneshot(request).await;
            assert_eq!(response.status().as_u16(), status);
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert_eq!(challenge.contains("insufficient_scope"), status == 403, "{challenge}");
        }
    }
    assert!(world.api.revocations().is_empty());
    assert_eq!(call(&service, post(&staff(&world), body)).await.0, 200);
}

#[tokio::test]
async fn effect_holds_with_the_next_request_in_every_mode() {
    for issuer in modes() {
        let name = format!("{issuer:?}");
        let world = World::new(issuer);
        let jwt = || world.server.jwt().subject("alice").audience(AUDIENCE).mint();
        let tokens = [jwt(), jwt()];
        for token in &tokens {
            assert_eq!(world.status(token).await, 200, "{name}");
            world.server.revoke(token);
            assert_eq!(world.status(token).await, 200, "{name}");
        }
        let answer = order(&world, json!({"issuer": ISSUER, "subject": "alice"})).await;
        let expected = json!({"issuer": ISSUER, "kind": "subject", "value": "alice",
            "revoked_at": NOW, "learned_at": NOW});
        assert_eq!(answer, json!({ "in_force": [expected] }));
        for token in &tokens {
            assert_eq!(world.status(token).await, 401, "{name}");
        }
        assert_eq!(world.status(&staff(&world)).await, 200, "{name}");
    }
}

#[tokio::test]
async fn each_target_is_revoked_and_no_other() {
    let world = World::new(Issuer::jwt(ISSUER));
    let token = |subject: &str, session: &str, client: &str| {
        let jwt = world.server.jwt().subject(subject).session(session).client_id(client);
        jwt.audience(AUDIENCE).mint()
    };
    let all = [
        token("alice", "one", "web"),
        token("alice", "two", "web"),
        token("bob", "three", "app"),
        token("carol", "four", "web"),
        token("dave", "five", "web"),
        token("dave", "six", "cli"),
    ];
    let states = async || {
        let mut good = Vec::new();
        for (n, token) in all.iter().enumerate() {
            if world.status(token).await == 200 {
                good.push(n);
            }
        }
        good
    };
    for (target, kind, good) in [
        (json!({"session": "one"}), "session", &[1, 2, 3, 4, 5][..]),
        (json!({"session": "two", "subject": "alice"}), "session", &[2, 3, 4, 5]),
        (json!({"client": "app"}), "client", &[3, 4, 5]),
        (json!({"token_id": jti_of(&all[3])}), "token", &[4, 5]),
        (json!({"subject": "dave"}), "subject", &[]),
    ] {
        let mut body = target;
        body["issuer"] = ISSUER.into();
        let answer = order(&world, body.clone()).await;
        assert_eq!(answer["in_force"].as_array().unwrap().len(), 1, "{answer}");
        assert_eq!(answer["in_force"][0]["kind"], kind);
        assert_eq!(states().await, good, "{body}");
    }
    let answer = order(&world, json!({"issuer": ISSUER, "all": true})).await;
    assert_eq!(answer["in_force"][0]["kind"], "issuer");
    // With the token of the caller.
    let old = staff(&world);
    assert_eq!(call(&service(&world), get(&old, "")).await.0, 401);
    world.clock.step(SEC);
    assert_eq!(call(&service(&world), get(&staff(&world), "")).await.0, 200);
}

#[tokio::test]
async fn revocation_of_the_callers_own_token_holds_here() {
    for issuer in modes() {
        let world = World::new(issuer);
        let caller = staff(&world);
        let service = service(&world);
        let body = json!({"issuer": ISSUER, "subject": "staff"}).to_string();
        assert_eq!(call(&service, post(&caller, body.clone())).await.0, 200);
        world.server.revoke(&caller);
        assert_eq!(call(&service, post(&caller, body)).await.0, 401);
    }
}

#[tokio::test]
async fn live_layer_around_the_service_has_each_caller_introspected() {
    let world = World::new(Issuer::introspect(ISSUER, auth()));
    let live = world.api.live_layer().unwrap().layer(service(&world));
    let caller = staff(&world);
    for (asked, status) in [(1, 200), (2, 200), (3, 401)] {
        if status == 401 {
            world.server.revoke(&caller);
        }
        let Ok(response) = live.clone().oneshot(get(&caller, "")).await;
        assert_eq!((response.status().as_u16(), world.asked()), (status, asked));
    }
}

#[tokio::test]
async fn time_of_a_revocation_spares_later_tokens() {
    let world = World::new(Issuer::jwt(ISSUER));
    let before = world.jwt();
    world.clock.step(60 * SEC);
    let after = world.jwt();
    for at in [json!(NOW + 30), json!((NOW + 30) as f64 + 0.5)] {
        let answer = order(&world, json!({"issuer": ISSUER, "subject": "alice", "at": at})).await;
        assert_eq!(answer["in_force"][0]["revoked_at"], NOW + 30);
        assert_eq!((world.status(&before).await, world.status(&after).await), (401, 200));
    }
    for at in [json!(NOW * 1000), json!(NOW + 3600), json!(1e300)] {
        let body = json!({"issuer": ISSUER, "subject": "alice", "at": at});
        assert_eq!(refused(&world, body.to_string()).await, "at is in the future");
    }
}

#[tokio::test]
async fn asking_anew_revokes_nothing() {
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    let (jwt, opaque) = (world.jwt(), world.opaque());
    for token in [&jwt, &opaque, &opaque] {
        assert_eq!(world.status(token).await, 200);
    }
    assert_eq!(world.asked(), 1);
    let body = json!({"issuer": ISSUER, "subject": "alice", "ask_anew": true});
    assert_eq!(order(&world, body).await["in_force"][0]["revoked_at"], Value::Null);
    for token in [&jwt, &opaque, &opaque] {
        assert_eq!(world.status(token).await, 200);
    }
    assert_eq!(world.asked(), 2);
    world.server.revoke(&opaque);
    order(&world, json!({"issuer": ISSUER, "all": true, "ask_anew": true})).await;
    assert_eq!((world.status(&jwt).await, world.status(&opaque).await), (200, 401));
}

#[tokio::test]
async fn given_token_is_evicted_and_a_jwt_is_revoked_by_its_jti() {
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    let (jwt, opaque) = (world.jwt(), world.opaque());
    for token in [&jwt, &opaque] {
        assert_eq!(world.status(token).await, 200);
    }
    world.server.revoke(&opaque);
    assert_eq!(world.status(&opaque).await, 200);
    for evicted in [true, false] {
        let answer = order(&world, json!({ "token": opaque })).await;
        assert_eq!(answer, json!({"in_force": [], "evicted": evicted}));
        assert_eq!(order(&world, json!({"token": "unheard-of"})).await["evicted"], false);
    }
    assert_eq!(world.status(&opaque).await, 401);
    let answer = order(&world, json!({"token": jwt, "ask_anew": true})).await;
    assert_eq!(answer["in_force"][0]["revoked_at"], Value::Null);
    assert_eq!(world.status(&jwt).await, 200);
    let answer = order(&world, json!({ "token": jwt })).await;
    assert_eq!(answer["evicted"], true);
    assert_eq!(answer["in_force"][0]["value"], jti_of(&jwt));
    assert_eq!(world.status(&jwt).await, 401);
    assert_eq!(world.status(&world.jwt()).await, 200);
}

#[tokio::test]
async fn jwt_that_cannot_be_revoked_by_itself_is_refused() {
    let world = World::new(Issuer::jwt(ISSUER));
    let jwt = || world.server.jwt().subject("alice").audience(AUDIENCE);
    let told = "the token has no iss or no jti: name its subject, its session or its client";
    for token in [jwt().without("jti"), jwt().claim("jti", 7), jwt().claim("jti", "")] {
        let token = token.mint();
        assert_eq!(refused(&world, json!({ "token": token }).to_string()).await, told);
        let answer = order(&world, json!({"token": token, "ask_anew": true})).await;
        assert_eq!(answer["in_force"], json!([]));
    }
    let foreign = jwt().claim("iss", "https://other.example.com").mint();
    let told = refused(&world, json!({ "token": foreign }).to_string()).await;
    assert_eq!(told, "the issuer is not trusted");
}

#[tokio::test]
async fn cutoffs_in_force_are_listed() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let list = async |query: &str| {
        let (status, answer) = call(&service, get(&staff(&world), query)).await;
        assert_eq!(status, 200, "{query}: {answer}");
        let list = answer["in_force"].as_array().unwrap().clone();
        list.iter().map(|one| one["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list("").await, [""; 0]);
    let alice = Cutoff::session(ISSUER, "one").of_subject("alice");
    for cutoff in [Cutoff::subject(ISSUER, "al&ce"), alice, Cutoff::client(ISSUER, "web")] {
        world.api.revocations().revoke(&cutoff);
    }
    // Of an issuer that is no longer trusted.
    world.api.revocations().revoke(&Cutoff::token("https://old.example.com", "t"));
    assert_eq!(list("").await.len(), 4);
    assert_eq!(list("limit=3").await.len(), 3);
    let issuer = format!("issuer={ISSUER}");
    assert_eq!(list(&issuer).await.len(), 3);
    assert_eq!(list(&format!("{issuer}&limit=1")).await.len(), 1);
    assert_eq!(list(&format!("{issuer}&subject=al%26ce")).await, ["al&ce"]);
    assert_eq!(list(&format!("subject=alice&{issuer}")).await, ["one"]);
    assert_eq!(list(&format!("{issuer}&session=one")).await, ["one"]);
    assert_eq!(list(&format!("{issuer}&client=web")).await, ["web"]);
    assert_eq!(list(&format!("{issuer}&token_id=t")).await, [""; 0]);
    for query in [
        "subject=alice",
        "issuer=",
        "issuer=https://old.example.com",
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1&limit=2",
        "sub=alice",
        "all=true",
        &format!("{issuer}&{issuer}"),
        &format!("{issuer}&subject=alice&client=web"),
    ] {
        let (status, answer) = call(&service, get(&staff(&world), query)).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "{query}");
    }
}

#[tokio::test]
async fn answer_names_the_cutoff_that_replaced_those_of_many_sessions() {
    let world = World::new(Issuer::jwt(ISSUER));
    for n in 0..17 {
        let session = format!("s{n}");
        let body = json!({"issuer": ISSUER, "session": session, "subject": "alice"});
        let answer = order(&world, body).await;
        let expected = if n < 16 { ("session", &*session) } else { ("subject", "alice") };
        let told = &answer["in_force"][0];
        assert_eq!((told["kind"].as_str(), told["value"].as_str()), {
            (Some(expected.0), Some(expected.1))
        });
        assert_eq!(answer["in_force"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn refusals_are_rendered_by_the_responder_of_the_resource_server() {
    let world = World::new(Issuer::jwt(ISSUER));
    let builder = ResourceServer::builder(AUDIENCE).issuer(Issuer::jwt(ISSUER));
    let builder = builder.transport(world.server.transport()).clock(world.clock.clone());
    let problems = builder.responder(ProblemJson::new()).build().unwrap();
    let staff = || Requirement::all_scopes([SCOPE]);
    let Ok(response) =
        problems.revocation_service::<Full<Bytes>>(staff()).oneshot(get(&world.jwt(), "")).await;
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    // A body without a default.
    struct Sealed(Bytes);
    let builder = ResourceServer::builder(AUDIENCE).issuer(Issuer::jwt(ISSUER));
    let builder = builder.transport(world.server.transport()).clock(world.clock.clone());
    let refuse = |refusal: &Refusal<'_>| refusal.http().map(|()| Sealed("refused".into()));
    let sealed = builder.responder(refuse).build().unwrap();
    let service = sealed.revocation_service_with(staff(), Sealed);
    let Ok(response) = service.clone().oneshot(get(&world.jwt(), "")).await;
    assert_eq!(response.body().0, "refused");
    let Ok(response) = service.oneshot(get(&self::staff(&world), "")).await;
    assert_eq!(response.body().0, r#"{"in_force":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn revocation_is_503_until_the_others_can_learn_of_it_and_in_force_here_at_once() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (feed, service, token) = (failing_feed(&world), service(&world), world.jwt());
    assert_eq!(world.status(&token).await, 200);
    let body = json!({"issuer": ISSUER, "subject": "alice"}).to_string();
    let (status, answer) = call(&service, post(&staff(&world), body.clone())).await;
    assert_eq!(status, 503);
    let told = "the other instances of the service can't be told just now";
    let expected = json!({"error": "temporarily_unavailable", "error_description": told});
    assert_eq!(answer, expected);
    assert_eq!(world.status(&token).await, 401);
    let alice = |revokes| (revokes, "subject", "alice".to_owned());
    assert_eq!((feed.published(), feed.flushed()), (vec![alice(true)], 1));
    // A list says what is in force here.
    let (status, answer) = call(&service, get(&staff(&world), "")).await;
    assert_eq!((status, &answer["in_force"][0]["value"]), (200, &json!("alice")));
    feed.set_flush(Flush::Succeeds);
    assert_eq!(call(&service, post(&staff(&world), body)).await.0, 200);
    assert_eq!(feed.published(), [alice(true), alice(true)]);
    let body = json!({"issuer": ISSUER, "subject": "alice", "ask_anew": true});
    order(&world, body).await;
    assert_eq!(feed.published()[2..], [alice(false)]);
}

#[tokio::test]
async fn debug_output_shows_no_name() {
    let world = World::new(Issuer::jwt(ISSUER));
    order(&world, json!({"issuer": ISSUER, "subject": "alice"})).await;
    let shown = format!("{:?}", service(&world));
    assert!(shown.contains("RevocationService") && !shown.contains("alice"), "{shown}");
}
