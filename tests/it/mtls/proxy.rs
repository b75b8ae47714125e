//! Who is believed a field, and what becomes of it.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;

#[tokio::test(start_paused = true)]
async fn rfc9440_4_a_field_counts_from_a_trusted_proxy_only() {
    let world = World::with(behind(CertificateField::ClientCert));
    let own = Certificate::new("a");
    let field = own.field();
    let fields = [("client-cert", &*field)];
    for token in world.tokens(&own.cnf()) {
        for proxy in [PROXY, "10.1.2.255", "::ffff:10.1.2.3"] {
            assert_eq!(world.outcome(from(proxy, &token, &fields)).await, Ok(()), "{proxy}");
        }
        for other in [STRANGER, "127.0.0.1", "::1", "::10.1.2.3"] {
            assert_eq!(world.outcome(from(other, &token, &fields)).await, UNPROVEN, "{other}");
        }
        // Nobody knows who sent it.
        assert_eq!(world.outcome(bearer(&token, &fields)).await, UNPROVEN);
        // What a client writes about its address is not looked at.
        let claimed =
            [("client-cert", &*field), ("x-forwarded-for", PROXY), ("forwarded", "for=10.1.2.3")];
        assert_eq!(world.outcome(from(STRANGER, &token, &claimed)).await, UNPROVEN);
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9440_4_no_field_is_read_unless_configured() {
    let (world, own) = (World::new(), Certificate::new("a"));
    for token in world.tokens(&own.cnf()) {
        let fields = [("client-cert", &*own.field())];
        assert_eq!(world.outcome(from(PROXY, &token, &fields)).await, UNPROVEN);
    }
}

/// The proxy's own certificate is not that of its client.
#[tokio::test(start_paused = true)]
async fn the_certificate_of_a_proxy_is_not_its_clients() {
    let world = World::with(behind(CertificateField::ClientCert));
    let (own, proxy) = (Certificate::new("a"), Certificate::new("proxy"));
    let field = own.field();
    for (bound, from_proxy, from_other) in [(&own, Ok(()), UNPROVEN), (&proxy, UNPROVEN, Ok(()))] {
        let [token, _] = world.tokens(&bound.cnf());
        for (peer, outcome) in [(PROXY, from_proxy), (STRANGER, from_other)] {
            let mut request = from(peer, &token, &[("client-cert", &field)]);
            request.extensions_mut().insert(proxy.peer());
            assert_eq!(world.outcome(request).await, outcome, "{peer}");
        }
        let mut request = from(PROXY, &token, &[]);
        request.extensions_mut().insert(proxy.peer());
        assert_eq!(world.outcome(request).await, UNPROVEN);
    }
}

/// What a handler sees of these fields.
async fn seen(world: &World, request: Request<Bytes>) -> Vec<String> {
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let handler = service_fn({
        let seen = Arc::clone(&seen);
        move |request: Request<Bytes>| {
            *seen.lock().unwrap() = request.headers().clone();
            async { Ok::<_, std::convert::Infallible>(Response::new(Bytes::new())) }
        }
    });
    let layer = world.api.layer().optional();
    let response = layer.layer(handler).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = seen.lock().unwrap();
    let names = ["client-cert", "client-cert-chain", "x-forwarded-client-cert"];
    names.into_iter().filter(|name| seen.contains_key(*name)).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn rfc9440_4_the_fields_do_not_go_on() {
    let own = Certificate::new("a");
    let field = own.field();
    let all = [
        ("client-cert", &*field),
        ("client-cert-chain", &*field),
        ("x-forwarded-client-cert", "Hash=abc"),
    ];
    let strict = World::with(behind(CertificateField::ClientCert));
    let lax = World::with(behind(CertificateField::ClientCert).keep_field());
    let [bound, _] = strict.tokens(&own.cnf());
    assert!(seen(&strict, from(PROXY, &bound, &all)).await.is_empty());
    let [bound, opaque] = lax.tokens(&own.cnf());
    for token in [&bound, &opaque] {
        assert_eq!(seen(&lax, from(PROXY, token, &all)).await, ["client-cert"]);
    }
    for world in [&strict, &lax, &World::new()] {
        let unbound = world.server.jwt().audience(AUDIENCE).mint();
        assert!(seen(world, from(STRANGER, &unbound, &all)).await.is_empty());
        // Nor with a request that is let in without a token.
        assert!(seen(world, request(&all)).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_slips_in_beside_or_spells_otherwise_does_not_go_on() {
    let own = Certificate::new("a").field();
    let lax = World::with(behind(CertificateField::ClientCert).keep_field());
    let unbound = lax.server.jwt().audience(AUDIENCE).mint();
    // The proxy has added its own to that of the client, which is seen first.
    let forged = Certificate::new("b").field();
    let twice = [("client-cert", &*forged), ("client-cert", &*own)];
    assert!(seen(&lax, from(PROXY, &unbound, &twice)).await.is_empty());
    let seen_by = |request: Request<Bytes>| {
        let handler = tower::service_fn(async |request: Request<Bytes>| {
            let names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(names.join(","))))
        });
        lax.api.layer().layer(handler).oneshot(request)
    };
    let spelled = [("client_cert", &*forged), ("x_forwarded-client_cert", "Hash=abc")];
    let response = seen_by(from(STRANGER, &unbound, &spelled)).await.unwrap();
    assert_eq!(response.body(), "authorization");
}

/// The client would else have a proxy behind drop what says who it is.
#[tokio::test(start_paused = true)]
async fn rfc9110_7_6_1_no_field_is_named_in_connection_not_even_one_that_is_kept() {
    let own = Certificate::new("a").field();
    let lax = World::with(behind(CertificateField::ClientCert).keep_field());
    let unbound = lax.server.jwt().audience(AUDIENCE).mint();
    let fields = [
        ("client-cert", &*own),
        ("connection", "close, client-cert, Client-Cert"),
        ("connection", "client_cert, x-forwarded-client-cert, te"),
    ];
    let handler = service_fn(async |request: Request<Bytes>| {
        assert!(request.headers().contains_key("client-cert"));
        let options: Vec<_> = request.headers().get_all("connection").iter().collect();
        assert_eq!(options, ["close, te"]);
        Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
    });
    let service = lax.api.layer().layer(handler);
    let response = service.oneshot(from(PROXY, &unbound, &fields)).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// The layer within verifies again, and the field is gone by then.
#[tokio::test(start_paused = true)]
async fn a_layer_within_knows_the_certificate_that_the_one_outside_believed() {
    let world = World::with(behind(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    let [_, opaque] = world.tokens(&own.cnf());
    let within = world.api.fresh_layer(std::time::Duration::ZERO);
    let service = world.api.layer().layer(within.layer(crate::support::whoami_service()));
    for (shown, status) in [(&own, 200), (&other, 401)] {
        let request = from(PROXY, &opaque, &[("client-cert", &shown.field())]);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
        if status == 200 {
            assert_eq!(vary(&response), ["client-cert"]);
        }
    }
    // Nor is it lost where the one outside wants no token.
    let [jwt, _] = world.tokens(&own.cnf());
    let open = world.api.layer().exempt(|_| true);
    let service = open.layer(world.api.layer().layer(crate::support::whoami_service()));
    for (shown, status) in [(&own, 200), (&other, 401)] {
        for (peer, status) in [(PROXY, status), (STRANGER, 401)] {
            let request = from(peer, &jwt, &[("client-cert", &shown.field())]);
            assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status, "{peer}");
        }
    }
    // Not so one that trusts others.
    let layer = tower_introspect::IntrospectLayer::new(
        world.api.verifier(),
        policy().mtls(behind(CertificateField::ClientCert)),
    );
    let service = world.api.layer().layer(layer.layer(crate::support::whoami_service()));
    let response =
        service.oneshot(from(PROXY, &jwt, &[("client-cert", &own.field())])).await.unwrap();
    assert_eq!(response.status(), 401);
}

fn vary<B>(response: &Response<B>) -> Vec<&str> {
    response.headers().get_all("vary").into_iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_4_responses_vary_by_the_field_they_were_decided_by() {
    let own = Certificate::new("a");
    let field = own.field();
    let world = World::with(behind(CertificateField::ClientCert));
    let [jwt, opaque] = world.tokens(&own.cnf());
    for (handlers, status, expected) in [
        (&[][..], 200, &["client-cert"][..]),
        (&[], 404, &["client-cert"]),
        (&["accept"], 200, &["accept", "client-cert"]),
        (&["accept, Client-Cert"], 200, &["accept, Client-Cert"]),
        (&["*"], 200, &["*"]),
        (&["accept, client-cert-chain"], 200, &["accept, client-cert-chain", "client-cert"]),
    ] {
        for token in [&jwt, &opaque] {
            let handler = service_fn(move |_: Request<Bytes>| async move {
                let mut response = Response::builder().status(status);
                for value in handlers {
                    response = response.header("vary", *value);
                }
                Ok::<_, std::convert::Infallible>(response.body(Bytes::new()).unwrap())
            });
            let request = from(PROXY, token, &[("client-cert", &field)]);
            let response = world.api.layer().layer(handler).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(vary(&response), expected);
        }
    }
    // A refusal is not stored at all.
    let other = Certificate::new("b");
    let response = world.send(from(PROXY, &jwt, &[("client-cert", &other.field())])).await;
    assert_eq!((response.status().as_u16(), vary(&response)), (401, vec![]));
    assert_eq!(response.headers()["cache-control"], "no-store");
    // Where the connection tells, there is no field to vary by.
    let direct = World::new();
    let [jwt, _] = direct.tokens(&own.cnf());
    let mut request = bearer(&jwt, &[]);
    request.extensions_mut().insert(own.peer());
    let response = direct.send(request).await;
    assert_eq!((response.status().as_u16(), vary(&response)), (200, vec![]));
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_the_fields_are_in_no_response() {
    let world = World::with(behind(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    for token in world.tokens(&own.cnf()) {
        for shown in [own.field(), other.field(), "what".to_owned()] {
            let fields = [("client-cert", &*shown), ("client-cert-chain", &*shown)];
            for peer in [PROXY, STRANGER] {
                let response = world.send(from(peer, &token, &fields)).await;
                for (name, value) in response.headers() {
                    assert!(!name.as_str().starts_with("client-cert"), "{name}");
                    assert!(!value.to_str().unwrap().contains(&*shown), "{name}");
                }
            }
        }
    }
}

#[test]
fn proxies_that_are_none_are_told() {
    let problem = Mtls::new().trust_proxy(CertificateField::ClientCert, ["0.0.0.0/0"], |_| None);
    assert_eq!(problem.unwrap_err().to_string(), "proxies: `0.0.0.0/0` covers all addresses");
}
