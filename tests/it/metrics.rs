//! The metrics and their names, and that clients do not influence them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use http::{Request, StatusCode};
use http_body_util::Full;
use metrics::{Unit, set_default_local_recorder};
use serde_json::json;
use tower::Layer as _;
use tower_introspect::{
    ClientAuth, ErrorKind, Issuer,
    credentials::Token,
    introspection::IntrospectionVerifier,
    layer::ForwardHeaders,
    policy::{Observer, Requirement},
    require::RequireLayer,
    resource_server::IssuerResolver,
    revocation::Cutoff,
    signals::Transmitter,
    test_util::{Endpoint, Fault},
    upstream::MissBudgetLayer,
    verify::{PeerKey, Verifier, VerifyRequest},
};

use crate::{
    recorder::MemoryRecorder,
    shared::TestFeed,
    streams::open::Open,
    support::{AUDIENCE, ISSUER, ImmediateVerifier, ask, layer, request, whoami_service},
    world::{World, auth, bearer, remote},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A row of the table in docs/operations.md.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Documented {
    kind: String,
    unit: String,
    labels: Vec<String>,
}

fn documented() -> BTreeMap<String, Documented> {
    let text = read("docs/operations.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `tower_introspect_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [name, kind, unit, labels, _, ""] = cells[..] else { panic!("five cells: {row}") };
        let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let name = format!("tower_introspect_{}", name.trim_end_matches('`'));
        (name, Documented { kind: kind.into(), unit: unit.into(), labels })
    })
    .collect()
}

/// Causes one event of each kind, with a client that sends text wherever it can.
async fn cause_all_metrics() {
    let scenario = |issuer: Issuer| {
        let observer = Observer::new("a trial");
        World::with(|api| {
            api.issuer(issuer)
                .stale_if_error(Duration::from_secs(60))
                .policy(|policy| policy.observe(Requirement::all_scopes(["never"]), &observer))
                .miss_budget(MissBudgetLayer::new(3, Duration::from_secs(1)), |_| {
                    Some(PeerKey::address([127, 0, 0, 1].into()))
                })
        })
    };
    for issuer in [Issuer::hybrid(ISSUER, auth()), remote()] {
        let world = scenario(issuer);
        let (jwt, opaque) = (world.jwt(), world.opaque());
        join_all([world.status(&opaque), world.status(&opaque)]).await;
        for token in [&jwt, &opaque, &jwt, &opaque] {
            assert_eq!(world.status(token).await, 200);
        }
        for n in 0..10 {
            world.status(&format!("h0stile-{n}")).await;
            world.status(&world.server.jwt().kid(&format!("h0stile-{n}")).mint()).await;
            let stranger = format!("https://h0stile.example.com/{n}");
            world.status(&world.server.jwt().claim("iss", stranger).mint()).await;
        }
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "h0stile-subject"));
        world.server.inject(Endpoint::Introspection, Fault::status(StatusCode::BAD_GATEWAY));
        tokio::time::advance(Duration::from_secs(31)).await;
        for _ in 0..10 {
            world.status(&opaque).await;
        }
        poll_immediate(world.status("h0stile-and-gone")).await;
        world.api.record_metrics();
    }
    let anonymous = layer(ImmediateVerifier::alice()).optional();
    ask(&anonymous, request(&[])).await;
    let path = RequireLayer::new(Requirement::all_scopes(["h0stile"]));
    let service = anonymous.layer(path.layer(whoami_service()));
    let _ = tower::ServiceExt::oneshot(service, request(&[("authorization", "Bearer abc")])).await;
    let resolver = IssuerResolver::new(
        |issuer| issuer.starts_with("https://h0stile.example.com/"),
        async |issuer: String| {
            let jwks = format!("{issuer}/jwks");
            Ok(Some(Issuer::jwt(issuer).configure_jwt(|jwt| jwt.jwks_uri(jwks))))
        },
    );
    let world = World::with(|api| api.resolve_issuers(resolver));
    let revocations = world.api.revocations();
    revocations.connect(Arc::new(TestFeed::default())).unwrap();
    revocations.local().doubt("a gap", Duration::from_secs(1));
    revocations.local().note_foreign(1);
    for n in 0..10 {
        let issuer = format!("https://h0stile.example.com/{n}");
        world.status(&world.server.jwt().claim("iss", issuer).mint()).await;
    }
    world.api.record_metrics();
    cause_metrics_of_streams().await;
    cause_metrics_of_signals().await;
}

async fn cause_metrics_of_signals() {
    let world = World::new(remote());
    let transmitter = Transmitter::new(ISSUER, "h0stile").verified_within(Duration::from_secs(60));
    let events = world.api.receive_events(&transmitter).unwrap().push_service::<Full<Bytes>>();
    let set = world.server.security_event("h0stile").of_subject("h0stile").session_revoked().mint();
    for set in [&set, &set, "h0stile"] {
        let request = Request::post("/").header("content-type", "application/secevent+jwt");
        let request = request.body(Full::new(Bytes::from(set.to_owned()))).unwrap();
        let Ok(_) = tower::ServiceExt::oneshot(events.clone(), request).await;
    }
    world.api.record_metrics();
}

async fn cause_metrics_of_streams() {
    let world = World::new(remote());
    let token = world.opaque();
    let _open = Open::with(&world.api.streams(), bearer(&token), "text/plain").await;
    for second in 0..60 {
        if second == 30 {
            world.server.revoke(&token);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    world.api.record_metrics();
}

#[tokio::test(start_paused = true)]
async fn metrics_and_their_documentation_agree() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    cause_all_metrics().await;
    let documented = documented();
    let mut used = BTreeSet::new();
    for key in seen.keys() {
        let row = documented.get(key.name()).unwrap_or_else(|| panic!("{key} is undocumented"));
        let labels: Vec<_> = key.labels().map(|label| label.key().to_owned()).collect();
        assert_eq!(labels, row.labels, "{key}");
        used.insert(key.name().to_owned());
    }
    let all: BTreeSet<_> = documented.keys().cloned().collect();
    assert_eq!(used, all);
    let described: BTreeMap<_, _> = seen
        .described()
        .into_iter()
        .map(|(name, (kind, unit))| {
            let unit = match unit {
                Some(Unit::Count) | None => "",
                Some(unit) => unit.as_str(),
            };
            (name, (kind.to_owned(), unit.to_owned()))
        })
        .collect();
    let rows = documented.into_iter().map(|(name, row)| (name, (row.kind, row.unit)));
    assert_eq!(described, rows.collect::<BTreeMap<_, _>>());
}

#[tokio::test(start_paused = true)]
async fn labels_contain_no_text_of_clients() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    cause_all_metrics().await;
    let text = seen.text();
    assert!(!text.contains("h0stile"), "{text}");
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in seen.keys() {
        for label in key.labels() {
            let values = values.entry(label.key().to_owned()).or_default();
            values.insert(label.value().to_owned());
        }
    }
    let only = |label: &str, expected: &[&str]| {
        let expected: BTreeSet<_> = expected.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(values[label], expected, "{label}");
    };
    only("issuer", &[ISSUER, "resolved"]);
    only("resource", &[AUDIENCE]);
    only("observer", &["a trial"]);
    only("outcome", &["admitted", "anonymous", "applied", "lost", "refused", "repeated"]);
    only("receiver", &["event", "logout"]);
    only("tier", &["memory"]);
    only("cause", &["breaker", "budget", "bulkhead"]);
    only("endpoint", &["introspection", "jwks", "metadata"]);
    only("blame", &["authorization_server", "client", "resource_server"]);
}

#[tokio::test(start_paused = true)]
async fn dashboard_and_alerts_use_existing_metrics_and_labels() {
    let documented = documented();
    for (file, at_least) in
        [("docs/operations/dashboard.json", 14), ("docs/operations/alerts.yml", 5)]
    {
        let text = read(file);
        let mut names = BTreeSet::new();
        for (at, _) in text.match_indices("tower_introspect_") {
            let end = |c: char| !c.is_ascii_lowercase() && c != '_';
            let name = text[at..].split(end).next().unwrap();
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| {
                    name.strip_suffix(suffix).filter(|name| documented.contains_key(*name))
                })
                .unwrap_or(name);
            assert!(documented.contains_key(name), "{file} asks for {name}");
            names.insert(name);
        }
        assert!(names.len() >= at_least, "{file} asks for {names:?}");
    }
    // And each has the labels that the queries use.
    let text = read("docs/operations/alerts.yml") + &read("docs/operations/dashboard.json");
    let reasons = read("docs/operations.md");
    for part in text.split("reason=").skip(1) {
        let quoted = part.trim_start_matches(['~', '\\', '"']);
        for reason in quoted.split(['"', '\\']).next().unwrap().split('|') {
            assert!(reasons.contains(&format!("`{reason}`")), "{reason} is no reason");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn exported_metrics_equal_the_stats() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let world = World::new(remote());
    let token = world.opaque();
    for _ in 0..5 {
        world.status(&token).await;
    }
    world.status("unknown").await;
    world.status("unknown").await;
    for _ in 0..2 {
        // A repeated export changes nothing.
        world.api.record_metrics();
    }
    let of = format!("{{resource=\"{AUDIENCE}\",issuer=\"{ISSUER}\"");
    let cache = |result: &str| {
        let series = format!(
            "tower_introspect_cache_requests_total{of},tier=\"memory\",result=\"{result}\"}}"
        );
        seen.get(&series).unwrap()
    };
    let stats = world.api.stats();
    assert_eq!((stats.hits, stats.negative_hits, stats.misses), (4, 1, 2));
    assert_eq!((cache("hit"), cache("negative_hit"), cache("miss")), (4.0, 1.0, 2.0));
    assert_eq!(seen.get(&format!("tower_introspect_cache_entries{of}}}")), Some(2.0));
    assert_eq!(seen.get("tower_introspect_requests_total{outcome=\"admitted\"}"), Some(5.0));
    assert_eq!(seen.get("tower_introspect_requests_total{outcome=\"refused\"}"), Some(2.0));
    let inactive = "tower_introspect_refusals_total{blame=\"client\",reason=\"inactive\"}";
    assert_eq!(seen.get(inactive), Some(2.0));
    let calls = |endpoint: &str, result: &str| {
        let series = format!(
            "tower_introspect_upstream_calls_total{{issuer=\"{ISSUER}\",endpoint=\"{endpoint}\",result=\"{result}\"}}"
        );
        seen.get(&series)
    };
    assert_eq!(calls("introspection", "ok"), Some(1.0));
    // The unknown token, and the random one by which the health of the server is judged.
    assert_eq!(calls("introspection", "inactive"), Some(2.0));
    assert_eq!(calls("metadata", "ok"), Some(1.0));
    assert_eq!(calls("jwks", "ok"), None);
}

#[tokio::test(start_paused = true)]
async fn durations_are_measured_by_the_clock() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    let token = world.opaque();
    world.server.inject(Endpoint::Introspection, Fault::delay(Duration::from_millis(1_500)));
    assert_eq!(world.status(&token).await, 200);
    let took = format!(
        "tower_introspect_upstream_seconds{{issuer=\"{ISSUER}\",endpoint=\"introspection\"}}"
    );
    assert_eq!(seen.get(&took), Some(1.5));
    let age = "tower_introspect_facts_age_seconds{method=\"introspection\"}";
    assert_eq!(seen.get(age), Some(1.5), "from the start of the introspection");
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(seen.get(age), Some(21.5));
    let counted = "tower_introspect_facts_age_seconds_count{method=\"introspection\"}";
    assert_eq!(seen.get(counted), Some(2.0));

    assert_eq!(world.status(&world.jwt()).await, 200);
    tokio::time::advance(Duration::from_secs(100)).await;
    world.api.record_metrics();
    let keys =
        format!("tower_introspect_keys_age_seconds{{resource=\"{AUDIENCE}\",issuer=\"{ISSUER}\"}}");
    assert_eq!(seen.get(&keys), Some(100.0));
}

#[tokio::test(start_paused = true)]
async fn timed_out_and_cancelled_calls_are_counted_separately() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let world = World::new(remote());
    world.server.inject(Endpoint::Introspection, Fault::hang());
    let verifier = IntrospectionVerifier::builder(ISSUER, ClientAuth::basic("api", "s3cret"))
        .transport(world.server.transport())
        .build()
        .unwrap();
    verifier.warm().await.unwrap();
    let ask = |token| verifier.verify(VerifyRequest::new(Token::bearer(token).unwrap()));
    assert_eq!(ask("one").await.unwrap_err().kind(), ErrorKind::Unavailable);
    {
        let mut waiting = std::pin::pin!(ask("two"));
        assert!(poll_immediate(waiting.as_mut()).await.is_none());
    }
    let calls = |result: &str| {
        seen.get(&format!(
            "tower_introspect_upstream_calls_total{{issuer=\"{ISSUER}\",endpoint=\"introspection\",result=\"{result}\"}}"
        ))
    };
    assert_eq!((calls("unavailable"), calls("abandoned")), (Some(1.0), Some(1.0)));
    let times = format!(
        "tower_introspect_upstream_seconds_count{{issuer=\"{ISSUER}\",endpoint=\"introspection\"}}"
    );
    assert_eq!(seen.get(&times), Some(1.0));
}

/// A call that its client has left goes on, so that the limit of calls under way holds.
#[tokio::test(start_paused = true)]
async fn call_that_was_sent_is_not_abandoned_with_its_client() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let world = World::new(remote());
    world.api.warm().await.unwrap();
    world.server.inject(Endpoint::Introspection, Fault::hang());
    {
        let mut waiting = std::pin::pin!(world.status("two"));
        assert_eq!(poll_immediate(waiting.as_mut()).await, None);
        world.server.wait_for_calls(Endpoint::Introspection, 1).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let calls = |result: &str| {
        seen.get(&format!(
            "tower_introspect_upstream_calls_total{{issuer=\"{ISSUER}\",endpoint=\"introspection\",result=\"{result}\"}}"
        ))
    };
    assert!(calls("unavailable") >= Some(1.0));
    assert_eq!(calls("abandoned"), None);
}

#[tokio::test(start_paused = true)]
async fn breaker_state_and_refused_calls_are_exported() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let world = World::new(remote());
    let of = format!("{{resource=\"{AUDIENCE}\",issuer=\"{ISSUER}\"");
    let state = || {
        world.api.record_metrics();
        seen.get(&format!("tower_introspect_breaker_state{of}}}"))
    };
    world.api.warm().await.unwrap();
    assert_eq!(state(), Some(0.0));
    world.server.inject(Endpoint::Introspection, Fault::unreachable());
    for n in 0..7 {
        world.status(&format!("t{n}")).await;
    }
    assert_eq!(state(), Some(2.0));
    let kept = seen.get(&format!("tower_introspect_not_asked_total{of},cause=\"breaker\"}}"));
    assert_eq!(kept, Some(2.0));
    world.server.clear(Endpoint::Introspection);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(state(), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn service_without_introspection_exports_no_breaker() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let world = World::new(Issuer::jwt(ISSUER));
    world.status(&world.jwt()).await;
    world.api.record_metrics();
    assert!(!seen.text().contains("breaker_state"), "{}", seen.text());
    let ready = format!("tower_introspect_ready{{resource=\"{AUDIENCE}\",issuer=\"{ISSUER}\"}}");
    assert_eq!(seen.get(&ready), Some(1.0));
}

/// Dropped issuers keep their counts: a counter that falls is read as a restart.
#[tokio::test(start_paused = true)]
async fn counts_of_dropped_issuers_are_kept() {
    let keys = tower_introspect::jwt::KeySet::from_secret(
        tower_introspect::jose::Algorithm::HS256,
        &[7; 32],
    )
    .unwrap();
    let resolver = IssuerResolver::new(
        |_| true,
        move |issuer: String| {
            let keys = keys.clone();
            async move { Ok(Some(Issuer::jwt(issuer).configure_jwt(|jwt| jwt.keys(keys)))) }
        },
    )
    .capacity(2);
    let world = World::with(|api| api.resolve_issuers(resolver));
    let mut before = 0;
    for n in 0..50_u64 {
        let issuer = format!("https://as.example.com/{n}");
        world.status(&world.server.jwt().claim("iss", issuer).mint()).await;
        let misses = world.api.stats().misses;
        assert!(misses >= before, "{misses} after {before}");
        before = misses;
    }
    assert_eq!(before, 50);
}

#[tokio::test]
async fn each_kind_of_refusal_is_counted_by_its_reason() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    for kind in [ErrorKind::Expired, ErrorKind::Misconfigured, ErrorKind::BadResponse] {
        ask(&layer(ImmediateVerifier::refusing(kind)), crate::support::with_token()).await;
        let (blame, reason) = (kind.blame().as_str(), kind.reason());
        let series =
            format!("tower_introspect_refusals_total{{blame=\"{blame}\",reason=\"{reason}\"}}");
        assert_eq!(seen.get(&series), Some(1.0), "{}", seen.text());
    }
    // Refused after verification: the identity headers would be too long.
    let headers = ForwardHeaders::new().subject("x-subject").unwrap().max_bytes(4);
    let claims = json!({"sub": "alice-is-long", "aud": AUDIENCE}).to_string();
    let layer = layer(ImmediateVerifier::claims(&claims)).forward(headers);
    assert_eq!(ask(&layer, bearer("abc")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(seen.get("tower_introspect_requests_total{outcome=\"admitted\"}"), None);
    assert_eq!(seen.get("tower_introspect_requests_total{outcome=\"refused\"}"), Some(4.0));
}
