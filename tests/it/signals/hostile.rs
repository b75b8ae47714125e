//! Hostile senders, hostile peers and hostile times.

use std::{
    future::Future as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Waker},
};

use serde_json::json;
use tokio::time::advance;
use tower_introspect::{
    ClientAuth, ErrorKind, VerifyError,
    clock::{Clock, UnixTime},
    jwt::KeySet,
    resource_server::IssuerResolver,
    signals::{EventService, StreamRequest, Transmitter, TransmitterAuth},
    test_util::{AuthorizationServer, Client, Endpoint, Fault},
    verify::SignalState,
};

use super::{
    push::{push, service, transmitter},
    *,
};
use crate::{recorder::MemoryRecorder, support::AUDIENCE};

const RECEIVER: &str = "https://api.example.com/events";
const EVENTS: &str = "https://events.example.com";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

type Push = EventService<Full<Bytes>>;

fn given_keys() -> KeySet {
    let jwks = AuthorizationServer::new(ISSUER).jwks().to_string();
    KeySet::from_jwks(jwks.as_bytes()).unwrap()
}

fn given() -> Issuer {
    Issuer::jwt(ISSUER).configure_jwt(|jwt| jwt.keys(given_keys()))
}

fn state(world: &World) -> Option<SignalState> {
    world.api.readiness()[0].signals()
}

async fn pass(world: &World, seconds: u32) {
    for _ in 0..4 * seconds {
        advance(SEC / 4).await;
        world.clock.step(SEC / 4);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

fn no_keys(world: &World) {
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        world.server.inject(endpoint, Fault::status(StatusCode::BAD_GATEWAY));
    }
}

/// `Settling::apply` spawns under its lock. A runtime that shuts down drops the task at once, and the
/// drop of the task takes the lock.
#[test]
fn logout_while_the_runtime_shuts_down_ends() {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let world = World::new(given());
        let service = receiver(&world);
        let token = world.server.logout_token(CLIENT).subject("alice").mint();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _guard = handle.enter();
        let (status, _) = futures_util::FutureExt::now_or_never(deliver(&service, &token))
            .expect("nothing to wait for");
        done.send((status, world.api.revocations().len())).unwrap();
    });
    let outcome = ended.recv_timeout(5 * SEC).expect("a deadlock");
    assert_eq!(outcome, (StatusCode::OK, 1));
}

/// A clock that blocks its n-th reading until it is let go.
#[derive(Debug)]
struct Gate {
    armed: Mutex<Option<usize>>,
    count: AtomicUsize,
    reached: Mutex<mpsc::Sender<()>>,
    go: Mutex<mpsc::Receiver<()>>,
}

#[derive(Debug)]
struct GateClock(Arc<Gate>);

impl Clock for GateClock {
    fn now(&self) -> UnixTime {
        let n = self.0.count.fetch_add(1, Ordering::SeqCst);
        let mut armed = self.0.armed.lock().unwrap();
        if *armed == Some(n) {
            *armed = None;
            drop(armed);
            self.0.reached.lock().unwrap().send(()).unwrap();
            let _ = self.0.go.lock().unwrap().recv();
        }
        UnixTime::from_secs(1_800_000_000)
    }
}

fn on_own_runtime<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Whenever a delivery is acknowledged, it is in force, even if another delivery of it is under way.
#[test]
fn acknowledged_logout_is_in_force() {
    let mut early = Vec::new();
    for n in 0..12 {
        let (reached, has_reached) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let gate = Arc::new(Gate {
            armed: Mutex::new(None),
            count: AtomicUsize::new(0),
            reached: Mutex::new(reached),
            go: Mutex::new(may_go),
        });
        let clock = GateClock(Arc::clone(&gate));
        let world = World::with(|api| api.clock(clock).issuer(given()));
        let service = receiver(&world);
        let token = world.server.logout_token(CLIENT).subject("alice").mint();
        gate.count.store(0, Ordering::SeqCst);
        *gate.armed.lock().unwrap() = Some(n);
        let (other, text) = (service.clone(), token.clone());
        let first = std::thread::spawn(move || on_own_runtime(deliver(&other, &text)));
        if has_reached.recv_timeout(SEC / 5).is_err() {
            first.join().unwrap();
            break;
        }
        let (status, _) = on_own_runtime(deliver(&service, &token));
        if status == StatusCode::OK && world.api.revocations().in_force(9).is_empty() {
            early.push(n);
        }
        go.send(()).unwrap();
        first.join().unwrap();
    }
    assert!(early.is_empty(), "acknowledged before in force, at clock readings {early:?}");
}

/// Clones with other settings apply the same token in their own way.
#[tokio::test]
async fn clone_with_other_settings_has_its_own_effect() {
    let world = World::new(given());
    let plain = receiver(&world);
    let by_subject = plain.clone().cut_by_subject();
    let token = world.jwt();
    let logout = world.server.logout_token(CLIENT).subject("alice").session("s").mint();
    assert_eq!(deliver(&plain, &logout).await.0, 200);
    assert_eq!(deliver(&by_subject, &logout).await.0, 200);
    assert_eq!(world.status(&token).await, 401);
}

/// The function of the application sees nothing that is not verified.
#[tokio::test(start_paused = true)]
async fn stranger_does_not_reach_the_map_of_subjects() {
    let world = World::new(given());
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let transmitter = transmitter().subjects(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        None
    });
    let service: Push = world.api.receive_events(&transmitter).unwrap().push_service();
    let ids: Vec<_> =
        (0..16).map(|n| json!({"format": "email", "email": format!("{n}@x")})).collect();
    let mut set = world
        .server
        .security_event(RECEIVER)
        .subject_id(json!({"format": "aliases", "identifiers": ids}));
    for event in ["session-revoked", "credential-change", "token-claims-change"] {
        let event = format!("https://schemas.openid.net/secevent/caep/event-type/{event}");
        set = set.event(&event, json!({}));
    }
    let (status, told) = push(&service, &set.with_corrupt_signature().mint()).await;
    assert_eq!(status, 400, "{told}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

/// A lost event makes the signals of the issuers that its transmitter speaks for stale.
#[tokio::test(start_paused = true)]
async fn lost_event_of_another_transmitter_makes_signals_stale() {
    for issuer in [ISSUER, EVENTS] {
        let world = World::new(Issuer::jwt(ISSUER));
        let transmitter = Transmitter::new(issuer, RECEIVER)
            .jwks_uri(world.server.url(Endpoint::Jwks))
            .speaks_for(ISSUER)
            .verified_within(600 * SEC);
        let service: Push = world.api.receive_events(&transmitter).unwrap().push_service();
        let set = || world.server.security_event(RECEIVER).claim("iss", issuer);
        let stream = json!({"format": "opaque", "id": "stream"});
        let uri = "https://schemas.openid.net/secevent/ssf/event-type/verification";
        let verification = set().subject_id(stream).event(uri, json!({})).mint();
        assert_eq!(push(&service, &verification).await.0, 202);
        assert_eq!(state(&world), Some(SignalState::Fresh));
        no_keys(&world);
        world.server.rotate_keys();
        for n in 0..257 {
            let set = set().of_subject(&n.to_string()).session_revoked().mint();
            assert_eq!(push(&service, &set).await.0, 503);
        }
        assert_eq!(state(&world), Some(SignalState::Stale), "{issuer}");
    }
}

/// A time at which there was no token is no time.
#[tokio::test]
async fn time_that_cannot_be_right_revokes_all_the_same() {
    let mut open = Vec::new();
    for (name, iat, time) in [
        ("iat 0", 0, None),
        ("iat 1970", 86_400, None),
        ("event_timestamp 1", 1_800_000_000, Some(json!(1))),
        ("event_timestamp 0.001", 1_800_000_000, Some(json!(0.001))),
        ("event_timestamp in minutes", 1_800_000_000, Some(json!(30_000_000))),
        ("event_timestamp as text", 1_800_000_000, Some(json!("1800000000"))),
        ("event_timestamp 0", 1_800_000_000, Some(json!(0))),
    ] {
        let world = World::new(given());
        let service = service(&world);
        let token = world.jwt();
        let payload = time.map_or(json!({}), |time| json!({"event_timestamp": time}));
        let set = world.server.security_event(RECEIVER).of_subject("alice");
        let set = set.claim("iat", iat).event(SESSION_REVOKED, payload).mint();
        assert_eq!(push(&service, &set).await.0, 202);
        if world.status(&token).await == 200 {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "acknowledged, without effect: {open:?}");
}

/// A credential that was found to be compromised some time ago was used since.
#[tokio::test]
async fn tokens_issued_between_the_compromise_and_the_event_are_revoked() {
    let world = World::new(given());
    let service = service(&world);
    world.clock.step(60 * SEC);
    let token = world.jwt();
    world.clock.step(60 * SEC);
    let uri = "https://schemas.openid.net/secevent/risc/event-type/credential-compromise";
    let payload = json!({"credential_type": "password", "event_timestamp": 1_800_000_000});
    let set = world.server.security_event(RECEIVER).of_subject("alice").event(uri, payload);
    assert_eq!(push(&service, &set.mint()).await.0, 202);
    assert_eq!(world.status(&token).await, 401);
}

/// A status with a time far ahead does not hide all later ones.
#[tokio::test(start_paused = true)]
async fn status_from_the_future_does_not_hide_later_ones() {
    let world = World::new(given());
    let transmitter = transmitter().verified_within(600 * SEC);
    let service: Push = world.api.receive_events(&transmitter).unwrap().push_service();
    let set = || world.server.security_event(RECEIVER);
    let stream = json!({"format": "opaque", "id": "stream"});
    let uri = "https://schemas.openid.net/secevent/ssf/event-type/verification";
    push(&service, &set().subject_id(stream).event(uri, json!({})).mint()).await;
    let ahead = set().stream_updated("enabled").claim("iat", 1_800_000_000_000_i64).mint();
    assert_eq!(push(&service, &ahead).await.0, 202);
    world.clock.step(SEC);
    assert_eq!(push(&service, &set().stream_updated("disabled").mint()).await.0, 202);
    assert_eq!(state(&world), Some(SignalState::Stale));
}

/// Events that a poll brings again are not lost.
#[tokio::test(start_paused = true)]
async fn polled_events_without_keys_are_not_reported_as_lost() {
    let world = World::new(Issuer::jwt(ISSUER));
    world.server.register(Client::new("poller", "s3cret").with_audience(ISSUER));
    let receiver = world.api.receive_events(&Transmitter::new(ISSUER, "poller")).unwrap();
    let auth = ClientAuth::basic("poller", "s3cret");
    let url = world.server.url(Endpoint::Token);
    let streams = receiver.streams(TransmitterAuth::client_credentials(url, auth, None)).unwrap();
    let created = streams.create(&StreamRequest::poll()).await.unwrap();
    let stream = streams.stream(created.stream_id());
    let poller = receiver.poller(&stream, created.endpoint_url().unwrap()).unwrap();
    no_keys(&world);
    for n in 0..3 {
        let set = world.server.security_event("poller").of_subject(&n.to_string());
        world.server.queue_event(&set.session_revoked().mint());
    }
    let task = tokio::spawn(poller.run(std::future::pending()));
    pass(&world, 20).await;
    assert_eq!((world.server.queued_events().len(), receiver.pending()), (3, 0));
    assert_eq!(state(&world), None, "no event is lost");
    task.abort();
}

/// A message of a stranger has keys fetched a few times, and no more.
#[tokio::test(start_paused = true)]
async fn stranger_with_a_time_in_the_future_does_not_stay() {
    let mut found = Vec::new();
    for age in [0, 100] {
        for ahead in [0_i64, 20, 10_000_000_000] {
            let world = World::new(Issuer::jwt(ISSUER));
            let service = service(&world);
            let jwks = world.server.jwks().to_string();
            let response = Response::builder()
                .header("content-type", "application/json")
                .header("cache-control", "max-age=86400")
                .header("age", age)
                .body(Bytes::from(jwks))
                .unwrap();
            world.server.inject(Endpoint::Jwks, Fault::respond(response));
            assert_eq!(world.status(&world.jwt()).await, 200);
            let set = world.server.security_event(RECEIVER).of_subject("x").session_revoked();
            let set = set.claim("iat", 1_800_000_000 + ahead).kid("made-up").mint();
            let (status, _) = push(&service, &set).await;
            pass(&world, 600).await;
            let ten = world.server.calls(Endpoint::Jwks);
            pass(&world, 3000).await;
            let hour = world.server.calls(Endpoint::Jwks);
            found.push((age, ahead, status, ten, hour));
        }
    }
    println!("(age, ahead, status, fetches in 10 min, in 1 h): {found:?}");
    assert!(found.iter().all(|(.., ten, hour)| ten == hour), "{found:?}");
}

/// Keys that a cache has had for long: a forged logout token stays for as long.
#[tokio::test(start_paused = true)]
async fn forged_logouts_do_not_keep_the_places_of_strangers_for_hours() {
    let mut found = Vec::new();
    for age in [0, 20_000] {
        let world = World::new(Issuer::jwt(ISSUER));
        let service = receiver(&world);
        let serve = |world: &World| {
            let response = Response::builder()
                .header("content-type", "application/json")
                .header("cache-control", "max-age=86400")
                .header("age", age)
                .body(Bytes::from(world.server.jwks().to_string()))
                .unwrap();
            world.server.clear(Endpoint::Jwks);
            world.server.inject(Endpoint::Jwks, Fault::respond(response));
        };
        serve(&world);
        assert_eq!(world.status(&world.jwt()).await, 200);
        for n in 0..200 {
            let token = world.server.logout_token(CLIENT).subject("x").kid(&n.to_string());
            deliver(&service, &token.mint()).await;
        }
        let first = service.pending();
        pass(&world, 3600).await;
        let hour = (service.pending(), world.server.calls(Endpoint::Jwks), state(&world));
        // The keys rotate: how long are good tokens of the new key refused?
        world.server.rotate_keys();
        serve(&world);
        let mut wait = 0;
        while world.status(&world.jwt()).await != 200 && wait < 600 {
            wait += 1;
            pass(&world, 1).await;
        }
        found.push((age, first, hour, wait));
    }
    println!("I2 (age, pending, (pending, fetches, state) after 1 h, refused for): {found:?}");
    assert!(found.iter().all(|(_, _, (pending, ..), _)| *pending == 0), "{found:?}");
}

/// One issuer does not take the second time of another one's logouts away.
#[tokio::test(start_paused = true)]
async fn hostile_issuer_does_not_fill_the_places_for_a_second_time() {
    let auth = || ClientAuth::basic("api", "s3cret");
    let other = "https://other.example.com";
    let world = World::with(|api| {
        api.issuer(Issuer::introspect(ISSUER, auth()))
            .issuer(Issuer::jwt(other).configure_jwt(|jwt| jwt.keys(given_keys())))
    });
    let hostile = Transmitter::new(other, RECEIVER).keys(given_keys());
    let hostile: Push = world.api.receive_events(&hostile).unwrap().push_service();
    let victim = receiver(&world);
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    for n in 0..320 {
        let ids: Vec<_> =
            (0..16).map(|m| json!({"format": "opaque", "id": format!("{n}-{m}")})).collect();
        let set = world.server.security_event(RECEIVER).claim("iss", other);
        let set = set.subject_id(json!({"format": "aliases", "identifiers": ids}));
        assert_eq!(push(&hostile, &set.session_revoked().mint()).await.0, 202);
    }
    advance(SEC / 10).await;
    let logout = world.server.logout_token(CLIENT).subject("alice").mint();
    assert_eq!(deliver(&victim, &logout).await.0, 200);
    // The server has not revoked it yet.
    assert_eq!(world.status(&token).await, 200);
    world.server.revoke(&token);
    pass(&world, 6).await;
    assert_eq!(world.status(&token).await, 401);
}

/// A session that was ended stays ended, whatever other sessions of a subject end.
#[tokio::test]
async fn folding_into_a_subject_covers_what_was_merged() {
    let mut open = Vec::new();
    for second in [Some("bob"), None] {
        let world = World::new(given());
        let service = receiver(&world);
        let logout = |subject: Option<&str>, session: &str| {
            let token = world.server.logout_token(CLIENT).session(session);
            match subject {
                Some(subject) => token.subject(subject).mint(),
                None => token.without("sub").mint(),
            }
        };
        let bob = world.server.jwt().subject("bob").session("s").audience(AUDIENCE).mint();
        deliver(&service, &logout(Some("alice"), "s")).await;
        deliver(&service, &logout(second, "s")).await;
        assert_eq!(world.status(&bob).await, 401);
        for n in 0..16 {
            deliver(&service, &logout(Some("alice"), &n.to_string())).await;
        }
        if world.status(&bob).await == 200 {
            open.push(second);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// A logout of a tenant whose resolver is away can't be verified later, so it is reported as lost.
#[tokio::test]
async fn logout_is_not_dropped_silently_while_the_resolver_is_away() {
    let seen = MemoryRecorder::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let world = World::with(|api| {
        let away = async |_| Err(VerifyError::new(ErrorKind::Unavailable));
        api.issuer(Issuer::jwt(ISSUER)).resolve_issuers(IssuerResolver::new(|_| true, away))
    });
    let tenant = "https://tenant.example.com";
    let logout = world.server.logout_token(CLIENT).subject("alice").claim("iss", tenant).mint();
    assert_eq!(deliver(&receiver(&world), &logout).await.0, 503);
    let lost = seen.keys().into_iter().filter(|key| {
        let label =
            |name: &str| key.labels().find(|label| label.key() == name).map(metrics::Label::value);
        label("receiver") == Some("logout") && label("outcome") == Some("lost")
    });
    assert_eq!(lost.count(), 1);
}

/// A key of another issuer does not verify the events of a transmitter.
#[tokio::test]
async fn key_of_another_issuer_signs_no_event() {
    let world = World::new(given());
    let mut jwks = world.server.jwks();
    for key in jwks["keys"].as_array_mut().unwrap() {
        key["issuer"] = json!("https://other.example.com");
    }
    let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
    let transmitter = transmitter().keys(keys);
    let service: Push = world.api.receive_events(&transmitter).unwrap().push_service();
    let set = world.server.security_event(RECEIVER).of_subject("alice").session_revoked();
    assert_eq!(push(&service, &set.mint()).await.0, 400);
}

/// A receiver that is dropped is gone, whatever waits in it.
#[test]
fn receiver_with_a_pending_event_is_dropped() {
    let alive = Arc::new(());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.unwrap();
    for pending in [0, 1] {
        runtime.block_on(async {
            let world = World::new(Issuer::jwt(ISSUER));
            let held = Arc::clone(&alive);
            let transmitter = transmitter().subjects(move |_| {
                let _ = &held;
                None
            });
            let receiver = world.api.receive_events(&transmitter).unwrap();
            drop(transmitter);
            let service: Push = receiver.push_service();
            if pending == 1 {
                no_keys(&world);
                let set = world.server.security_event(RECEIVER).of_subject("x").session_revoked();
                assert_eq!(push(&service, &set.mint()).await.0, 503);
            }
        });
        runtime.block_on(async {
            for _ in 0..400 {
                advance(SEC).await;
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(Arc::strong_count(&alive), 1, "with {pending} pending");
    }
}

/// The number of keys to try that was set for an issuer counts for its logouts.
#[tokio::test(start_paused = true)]
async fn max_keys_tried_counts_for_logouts() {
    let world = World::new(Issuer::jwt(ISSUER).configure_jwt(|jwt| jwt.max_keys_tried(64)));
    let service = receiver(&world);
    let logout = |subject: &str| {
        world.server.logout_token(CLIENT).subject(subject).without_header("kid").mint()
    };
    let access = || world.server.jwt().subject("z").audience(AUDIENCE).without_header("kid").mint();
    let (first_logout, first_access) = (logout("first"), access());
    for _ in 0..8 {
        world.server.rotate_keys();
    }
    let mut results = Vec::new();
    for (logout, access) in [(first_logout, first_access), (logout("last"), access())] {
        results.push((world.status(&access).await, deliver(&service, &logout).await.0.as_u16()));
    }
    assert_eq!(results, [(200, 200), (200, 200)]);
}

/// A transmitter that speaks for nobody is a mistake.
#[tokio::test]
async fn transmitter_without_a_trusted_issuer_is_refused_with_a_resolver_too() {
    let world = World::with(|api| {
        api.issuer(given()).resolve_issuers(IssuerResolver::new(
            |issuer| issuer.starts_with("https://tenants.example.com/"),
            async |_: String| Ok(None),
        ))
    });
    let nobody = Transmitter::new(EVENTS, RECEIVER).keys(given_keys());
    assert!(world.api.receive_events(&nobody).is_err());
}

/// A delivery whose future is dropped at any point harms no later one.
#[tokio::test(start_paused = true)]
async fn cancelled_delivery_harms_nothing() {
    for fail in [false, true] {
        for polls in 1..40 {
            let world = World::new(Issuer::jwt(ISSUER));
            let service = receiver(&world);
            let token = world.server.logout_token(CLIENT).subject("alice").mint();
            if fail {
                no_keys(&world);
            }
            let mut first = Box::pin(deliver(&service, &token));
            let mut is_done = false;
            for _ in 0..polls {
                if first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    is_done = true;
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(first);
            for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
                world.server.clear(endpoint);
            }
            pass(&world, 15).await;
            let (status, told) = deliver(&service, &token).await;
            assert_eq!(status, 200, "{fail} {polls} {told}");
            assert_eq!((world.api.revocations().len(), service.pending()), (1, 0));
            if is_done {
                break;
            }
        }
    }
}

/// Ten thousand messages, many of them at once and twice.
#[tokio::test(start_paused = true)]
async fn messages_at_once_are_all_in_force() {
    let world = World::new(given());
    let service = receiver(&world);
    let tokens: Vec<_> = (0..300)
        .map(|n| world.server.logout_token(CLIENT).subject(&n.to_string()).mint())
        .collect();
    let all = tokens.iter().chain(&tokens).map(|token| deliver(&service, token));
    let statuses = futures_util::future::join_all(all).await;
    assert!(statuses.iter().all(|(status, _)| *status == 200));
    assert_eq!(world.api.revocations().len(), 300);
}

/// Strangers do not make the signals of a healthy issuer stale.
#[tokio::test(start_paused = true)]
async fn strangers_do_not_make_signals_stale() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    assert_eq!(world.status(&world.jwt()).await, 200);
    let tokens: Vec<_> = (0..300)
        .map(|n| world.server.logout_token(CLIENT).subject("x").kid(&n.to_string()).mint())
        .collect();
    futures_util::future::join_all(tokens.iter().map(|token| deliver(&service, token))).await;
    assert_eq!(state(&world), None);
}

/// A tenant learns nothing about tokens of others, and removes none.
#[tokio::test]
async fn tenant_evicts_no_token_of_another_issuer() {
    use tower_introspect::policy::Requirement;
    const TENANT: &str = "https://tenant.example.com";
    let world = World::with(|api| {
        api.issuer(Issuer::introspect(ISSUER, auth())).resolve_issuers(IssuerResolver::new(
            |_| true,
            |issuer: String| async move {
                let jwks = AuthorizationServer::new(&issuer).jwks().to_string();
                let keys = KeySet::from_jwks(jwks.as_bytes()).unwrap();
                Ok(Some(Issuer::jwt(issuer).configure_jwt(|jwt| jwt.keys(keys))))
            },
        ))
    });
    let desk = world.api.revocation_service::<Full<Bytes>>(Requirement::all_scopes(["w"]));
    let tenant = AuthorizationServer::new(TENANT).with_clock(world.clock.clone());
    let caller = tenant.jwt().subject("eve").audience(AUDIENCE).scope("w").mint();
    let token = world.opaque();
    assert_eq!((world.status(&token).await, world.asked()), (200, 1));
    let request = Request::post("/")
        .header("authorization", format!("Bearer {caller}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(json!({"token": token}).to_string())))
        .unwrap();
    let response = send(&desk, request).await;
    println!("T: {}", response.status());
    assert_eq!((world.status(&token).await, world.asked()), (200, 1));
}

/// A logout that waits is not forgotten because the runtime ended that received it.
#[test]
fn pending_logout_outlives_its_runtime() {
    let paused = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let logout = |subject: &str| world.server.logout_token(CLIENT).subject(subject).mint();
    no_keys(&world);
    let first = paused();
    assert_eq!(first.block_on(deliver(&service, &logout("alice"))).0, 503);
    drop(first);
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        world.server.clear(endpoint);
    }
    paused().block_on(async {
        pass(&world, 60).await;
        assert_eq!(deliver(&service, &logout("bob")).await.0, 200);
        pass(&world, 60).await;
    });
    assert_eq!((service.pending(), world.api.revocations().len()), (0, 2));
}

/// A verification event does not hide that an event was lost which never came again.
#[tokio::test(start_paused = true)]
async fn verification_event_does_not_hide_a_lost_event() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service: Push = {
        let transmitter = transmitter().verified_within(600 * SEC);
        world.api.receive_events(&transmitter).unwrap().push_service()
    };
    no_keys(&world);
    for n in 0..129 {
        let set = world.server.security_event(RECEIVER).of_subject(&n.to_string());
        push(&service, &set.session_revoked().mint()).await;
    }
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        world.server.clear(endpoint);
    }
    pass(&world, 60).await;
    assert_eq!(world.api.revocations().len(), 128);
    let stream = json!({"format": "opaque", "id": "stream"});
    let uri = "https://schemas.openid.net/secevent/ssf/event-type/verification";
    let set = world.server.security_event(RECEIVER).subject_id(stream).event(uri, json!({}));
    assert_eq!(push(&service, &set.mint()).await.0, 202);
    assert_eq!(state(&world), Some(SignalState::Stale));
}
