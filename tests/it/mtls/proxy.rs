//! Only trusted peers may send the field, and it is removed before the handler.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;

#[tokio::test(start_paused = true)]
async fn rfc9440_4_field_counts_only_from_a_trusted_proxy() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let own = Certificate::new("a");
    let field = own.field();
    let fields = [("client-cert", &*field)];
    for token in world.tokens(&own.cnf()) {
        for proxy in [PROXY, "10.1.2.255", "::ffff:10.1.2.3"] {
            assert_eq!(
                world.outcome(request_from(proxy, &token, &fields)).await,
                Ok(()),
                "{proxy}"
            );
        }
        for other in [STRANGER, "127.0.0.1", "::1", "::10.1.2.3"] {
            assert_eq!(
                world.outcome(request_from(other, &token, &fields)).await,
                UNPROVEN,
                "{other}"
            );
        }
        // The address of the peer is unknown.
        assert_eq!(world.outcome(bearer(&token, &fields)).await, UNPROVEN);
        // Addresses in fields of the client are ignored.
        let claimed =
            [("client-cert", &*field), ("x-forwarded-for", PROXY), ("forwarded", "for=10.1.2.3")];
        assert_eq!(world.outcome(request_from(STRANGER, &token, &claimed)).await, UNPROVEN);
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9440_4_no_field_is_read_unless_configured() {
    let (world, own) = (World::new(), Certificate::new("a"));
    for token in world.tokens(&own.cnf()) {
        let fields = [("client-cert", &*own.field())];
        assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, UNPROVEN);
    }
}

/// The proxy's own certificate is not that of its client.
#[tokio::test(start_paused = true)]
async fn certificate_of_a_proxy_is_not_used_for_its_clients() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let (own, proxy) = (Certificate::new("a"), Certificate::new("proxy"));
    let field = own.field();
    for (bound, from_proxy, from_other) in [(&own, Ok(()), UNPROVEN), (&proxy, UNPROVEN, Ok(()))] {
        let [token, _] = world.tokens(&bound.cnf());
        for (peer, outcome) in [(PROXY, from_proxy), (STRANGER, from_other)] {
            let mut request = request_from(peer, &token, &[("client-cert", &field)]);
            request.extensions_mut().insert(proxy.peer());
            assert_eq!(world.outcome(request).await, outcome, "{peer}");
        }
        let mut request = request_from(PROXY, &token, &[]);
        request.extensions_mut().insert(proxy.peer());
        assert_eq!(world.outcome(request).await, UNPROVEN);
    }
}

/// Returns these fields as a handler gets them.
async fn fields_in_handler(world: &World, request: Request<Bytes>) -> Vec<String> {
    let fields_in_handler = Arc::new(Mutex::new(HeaderMap::new()));
    let handler = service_fn({
        let fields_in_handler = Arc::clone(&fields_in_handler);
        move |request: Request<Bytes>| {
            *fields_in_handler.lock().unwrap() = request.headers().clone();
            async { Ok::<_, std::convert::Infallible>(Response::new(Bytes::new())) }
        }
    });
    let layer = world.api.layer().optional();
    let response = layer.layer(handler).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let fields_in_handler = fields_in_handler.lock().unwrap();
    let names = [
        "client-cert",
        "client-cert-chain",
        "x-forwarded-client-cert",
        "x-forwarded-tls-client-cert",
        "x-forwarded-tls-client-cert-info",
    ];
    names
        .into_iter()
        .filter(|name| fields_in_handler.contains_key(*name))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn rfc9440_4_fields_are_removed_before_the_handler() {
    let own = Certificate::new("a");
    let field = own.field();
    let all = [
        ("client-cert", &*field),
        ("client-cert-chain", &*field),
        ("x-forwarded-client-cert", "Hash=abc"),
        ("x-forwarded-tls-client-cert", field.trim_matches(':')),
        ("x-forwarded-tls-client-cert-info", "Subject=\"CN=a\""),
    ];
    let strict = World::with(trusting_proxy(CertificateField::ClientCert));
    let lax = World::with(trusting_proxy(CertificateField::ClientCert).keep_field());
    let [bound, _] = strict.tokens(&own.cnf());
    assert!(fields_in_handler(&strict, request_from(PROXY, &bound, &all)).await.is_empty());
    let [bound, opaque] = lax.tokens(&own.cnf());
    for token in [&bound, &opaque] {
        assert_eq!(
            fields_in_handler(&lax, request_from(PROXY, token, &all)).await,
            ["client-cert"]
        );
    }
    for world in [&strict, &lax, &World::new()] {
        let unbound = world.server.jwt().audience(AUDIENCE).mint();
        assert!(fields_in_handler(world, request_from(STRANGER, &unbound, &all)).await.is_empty());
        // Also for a request admitted without a token.
        assert!(fields_in_handler(world, request(&all)).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_and_misspelled_fields_are_removed_before_the_handler() {
    let own = Certificate::new("a").field();
    let lax = World::with(trusting_proxy(CertificateField::ClientCert).keep_field());
    let unbound = lax.server.jwt().audience(AUDIENCE).mint();
    // The proxy added its field after that of the client.
    let forged = Certificate::new("b").field();
    let twice = [("client-cert", &*forged), ("client-cert", &*own)];
    assert!(fields_in_handler(&lax, request_from(PROXY, &unbound, &twice)).await.is_empty());
    let seen_by = |request: Request<Bytes>| {
        let handler = tower::service_fn(async |request: Request<Bytes>| {
            let names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(names.join(","))))
        });
        lax.api.layer().layer(handler).oneshot(request)
    };
    let spelled = [("client_cert", &*forged), ("x_forwarded-client_cert", "Hash=abc")];
    let response = seen_by(request_from(STRANGER, &unbound, &spelled)).await.unwrap();
    assert_eq!(response.body(), "authorization");
}

/// Otherwise the client could make a proxy behind drop the field that identifies it.
#[tokio::test(start_paused = true)]
async fn rfc9110_7_6_1_certificate_fields_are_removed_from_connection() {
    let own = Certificate::new("a").field();
    let lax = World::with(trusting_proxy(CertificateField::ClientCert).keep_field());
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
    let response = service.oneshot(request_from(PROXY, &unbound, &fields)).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// The inner layer verifies again, after the field was removed.
#[tokio::test(start_paused = true)]
async fn inner_layer_uses_the_certificate_accepted_by_the_outer_one() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    let [_, opaque] = world.tokens(&own.cnf());
    let within = world.api.fresh_layer(std::time::Duration::ZERO);
    let service = world.api.layer().layer(within.layer(crate::support::whoami_service()));
    for (shown, status) in [(&own, 200), (&other, 401)] {
        let request = request_from(PROXY, &opaque, &[("client-cert", &shown.field())]);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
        if status == 200 {
            assert_eq!(vary(&response), ["client-cert"]);
        }
    }
    // Also if the outer layer requires no token.
    let [jwt, _] = world.tokens(&own.cnf());
    let open = world.api.layer().exempt(|_| true);
    let service = open.layer(world.api.layer().layer(crate::support::whoami_service()));
    for (shown, status) in [(&own, 200), (&other, 401)] {
        for (peer, status) in [(PROXY, status), (STRANGER, 401)] {
            let request = request_from(peer, &jwt, &[("client-cert", &shown.field())]);
            assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status, "{peer}");
        }
    }
    // An inner layer that trusts other proxies does not accept it.
    let layer = tower_introspect::IntrospectLayer::new(
        world.api.verifier(),
        policy().mtls(trusting_proxy(CertificateField::ClientCert)),
    );
    let service = world.api.layer().layer(layer.layer(crate::support::whoami_service()));
    let response =
        service.oneshot(request_from(PROXY, &jwt, &[("client-cert", &own.field())])).await.unwrap();
    assert_eq!(response.status(), 401);
}

fn vary<B>(response: &Response<B>) -> Vec<&str> {
    response.headers().get_all("vary").into_iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_4_responses_vary_by_the_certificate_field() {
    let own = Certificate::new("a");
    let field = own.field();
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
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
            let request = request_from(PROXY, token, &[("client-cert", &field)]);
            let response = world.api.layer().layer(handler).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(vary(&response), expected);
        }
    }
    // Refusals are not cacheable.
    let other = Certificate::new("b");
    let response = world.send(request_from(PROXY, &jwt, &[("client-cert", &other.field())])).await;
    assert_eq!((response.status().as_u16(), vary(&response)), (401, vec![]));
    assert_eq!(response.headers()["cache-control"], "no-store");
    // With the certificate of the connection there is no field to vary by.
    let direct = World::new();
    let [jwt, _] = direct.tokens(&own.cnf());
    let mut request = bearer(&jwt, &[]);
    request.extensions_mut().insert(own.peer());
    let response = direct.send(request).await;
    assert_eq!((response.status().as_u16(), vary(&response)), (200, vec![]));
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_certificate_fields_are_in_no_response() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    for token in world.tokens(&own.cnf()) {
        for shown in [own.field(), other.field(), "what".to_owned()] {
            let fields = [("client-cert", &*shown), ("client-cert-chain", &*shown)];
            for peer in [PROXY, STRANGER] {
                let response = world.send(request_from(peer, &token, &fields)).await;
                for (name, value) in response.headers() {
                    assert!(!name.as_str().starts_with("client-cert"), "{name}");
                    assert!(!value.to_str().unwrap().contains(&*shown), "{name}");
                }
            }
        }
    }
}

#[test]
fn invalid_proxies_are_reported() {
    let problem = Mtls::new().trust_proxy(CertificateField::ClientCert, ["0.0.0.0/0"], |_| None);
    assert_eq!(problem.unwrap_err().to_string(), "proxies: `0.0.0.0/0` covers all addresses");
}
