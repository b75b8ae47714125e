//! Services below the layer do not come by the credentials: they are removed, or hidden from `Debug`
//! output. Shared caches do not come by the responses.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderName, Request, Response, header::CACHE_CONTROL};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ErrorKind, IntrospectLayer,
    credentials::Extractor,
    verify::{BoxVerifier, verify_fn},
};

use crate::support::{ImmediateVerifier, layer, refusal};

type Way = (&'static str, Option<(&'static str, &'static str)>);

/// The ways in which a token comes: the target, and a header field.
const HEADER: Way = ("/a?x=1", Some(("authorization", "Bearer t0psecret")));
const COOKIE: Way = ("/a?x=1", Some(("cookie", "a=1; at=t0psecret; b=2")));
const QUOTED: Way = ("/a?x=1", Some(("cookie", "a=1; at=\"t0psecret\"; b=2")));
const PROTOCOL: Way = ("/a?x=1", Some(("sec-websocket-protocol", "chat, bearer.t0psecret")));
const OTHER_HEADER: Way = ("/a?x=1", Some(("x-api-key", "t0psecret")));
const NEXT_PROTOCOL: Way = ("/a?x=1", Some(("sec-websocket-protocol", "token, t0psecret")));
const BASE64: Way = ("/a?x=1", Some(("sec-websocket-protocol", "chat, b64.dDBwc2VjcmV0")));
const QUERY: Way = ("/a?access_token=t0psecret&x=1", None);

fn request((uri, field): Way) -> Request<Bytes> {
    let request = Request::get(uri).header("x-other", "shown").header("dpop", "t0psecret.proof");
    let request = field.into_iter().fold(request, |all, (name, value)| all.header(name, value));
    request.body(Bytes::new()).unwrap()
}

/// Layers that admit the request: at once, after a wait, and without regard to its token.
fn layers() -> [IntrospectLayer<BoxVerifier>; 3] {
    let slow = verify_fn(async |_| {
        tokio::task::yield_now().await;
        ImmediateVerifier::alice().0
    });
    let refusing = ImmediateVerifier::refusing(ErrorKind::Inactive);
    let extractor = Extractor::new()
        .danger_cookie("at")
        .danger_query_parameter("access_token")
        .header(HeaderName::from_static("x-api-key"))
        .websocket_protocol("bearer.")
        .websocket_protocol_after("token")
        .websocket_protocol_base64url("b64.");
    [
        layer(BoxVerifier::new(ImmediateVerifier::alice())),
        layer(BoxVerifier::new(slow)),
        layer(BoxVerifier::new(refusing)).exempt(|_| true),
    ]
    .map(|layer| layer.extractor(extractor.clone()))
}

/// Returns the `Debug` output of the URI and the headers that the handler sees.
async fn seen(layer: IntrospectLayer<BoxVerifier>, request: Request<Bytes>) -> (String, String) {
    let service = layer.layer(service_fn(async |request: Request<Bytes>| {
        let seen = format!("{:?}\n{:?}", request.uri(), request.headers());
        Ok::<_, Infallible>(Response::new(Bytes::from(seen)))
    }));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(refusal(&response), None);
    let seen = String::from_utf8(response.into_body().to_vec()).unwrap();
    let (uri, headers) = seen.split_once('\n').unwrap();
    (uri.to_owned(), headers.to_owned())
}

#[tokio::test]
async fn debug_output_of_the_headers_shows_no_token_whichever_way_it_came() {
    for way in [HEADER, OTHER_HEADER, COOKIE, QUOTED, PROTOCOL, NEXT_PROTOCOL, BASE64, QUERY] {
        for layer in layers() {
            let (uri, headers) = seen(layer, request(way)).await;
            assert!(!headers.contains("t0psecret"), "{headers}");
            assert!(!headers.contains("dDBwc2VjcmV0"), "{headers}");
            assert!(headers.contains("\"x-other\": \"shown\""), "{headers}");
            assert_eq!(headers.matches("Sensitive").count(), 1 + usize::from(way != QUERY));
            assert_eq!(uri, way.0, "the handler may read the token");
        }
    }
}

#[tokio::test]
async fn token_is_removed_whichever_way_it_came() {
    for (way, left) in [
        (HEADER, None),
        (OTHER_HEADER, None),
        (NEXT_PROTOCOL, Some("\"sec-websocket-protocol\": \"token\"")),
        (BASE64, Some("\"sec-websocket-protocol\": \"chat\"")),
        (COOKIE, Some("\"cookie\": \"a=1; b=2\"")),
        (QUOTED, Some("\"cookie\": \"a=1; b=2\"")),
        (PROTOCOL, Some("\"sec-websocket-protocol\": \"chat\"")),
        (QUERY, None),
    ] {
        for layer in layers() {
            let (uri, headers) = seen(layer.remove_credentials(), request(way)).await;
            assert_eq!(uri, "/a?x=1");
            let left = left.map_or_else(String::new, |left| format!(", {left}"));
            assert_eq!(headers, format!("{{\"x-other\": \"shown\"{left}}}"));
        }
    }
}

#[tokio::test]
async fn nothing_empty_is_left_where_the_token_stood_alone() {
    for way in [
        HEADER,
        OTHER_HEADER,
        ("/a", Some(("cookie", "at=t0psecret"))),
        ("/a", Some(("sec-websocket-protocol", "bearer.t0psecret"))),
        ("/a?access_token=t0psecret", None),
    ] {
        for layer in layers() {
            let (uri, headers) = seen(layer.remove_credentials(), request(way)).await;
            assert!(["/a", "/a?x=1"].contains(&&*uri), "{uri}");
            assert_eq!(headers, "{\"x-other\": \"shown\"}");
        }
    }
}

/// Requests that are admitted without regard to their credentials may carry any number.
#[tokio::test]
async fn every_token_of_an_exempt_request_is_hidden_or_removed() {
    let [.., exempt] = layers();
    let request = || {
        Request::get("/a?access_token=t0psecret1&x=1&access%5Ftoken=t0psecret2")
            .header("authorization", "Bearer t0psecret3")
            .header("authorization", "Basic t0psecret4")
            .header("cookie", "at=t0psecret5; a=1")
            .header("cookie", "at=t0psecret6; at=t0psecret7")
            .header("sec-websocket-protocol", "bearer.t0psecret8, bearer.t0psecret9")
            .header("x-api-key", "t0psecret10")
            .header("x-api-key", "t0psecret11")
            .header("dpop", "t0psecret.a")
            .header("dpop", "t0psecret.b")
            .body(Bytes::new())
            .unwrap()
    };
    let (_, headers) = seen(exempt.clone(), request()).await;
    assert!(!headers.contains("t0psecret"), "{headers}");
    let (uri, headers) = seen(exempt.remove_credentials(), request()).await;
    assert_eq!((&*uri, &*headers), ("/a?x=1", "{\"cookie\": \"a=1\"}"));
}

/// The `Cache-Control` that the client gets, for a token that came this way.
async fn cache_control(way: Way, status: u16, handler: Option<&'static str>) -> Vec<String> {
    let [at_once, later, _] = layers();
    let mut got = Vec::new();
    for layer in [at_once, later] {
        let handler = service_fn(async |_: Request<Bytes>| {
            let response = Response::builder().status(status);
            let response = match handler {
                Some(value) => response.header(CACHE_CONTROL, value),
                None => response,
            };
            Ok::<_, Infallible>(response.body(Bytes::new()).unwrap())
        });
        let response = layer.layer(handler).oneshot(request(way)).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        let values = response.headers().get_all(CACHE_CONTROL).into_iter();
        let values: Vec<_> = values.map(|value| value.to_str().unwrap().to_owned()).collect();
        assert!(got.is_empty() || got == values);
        got = values;
    }
    got
}

/// A shared cache stores nothing of a request with `Authorization` unless it is told to (RFC 9111
/// §3.5). Of any other it has to be told.
#[tokio::test]
async fn rfc6750_2_3_response_is_private_unless_the_token_came_in_authorization() {
    for status in [200, 206, 301, 404, 410, 500] {
        for way in [OTHER_HEADER, COOKIE, PROTOCOL, NEXT_PROTOCOL, BASE64, QUERY] {
            assert_eq!(cache_control(way, status, None).await, ["private"]);
            for (handler, expected) in [
                ("public", "private"),
                ("public, max-age=600", "private, max-age=600"),
                ("s-maxage=600", "private"),
                ("max-age=600", "private, max-age=600"),
                ("no-store", "no-store"),
                ("no-cache", "private, no-cache"),
            ] {
                assert_eq!(cache_control(way, status, Some(handler)).await, [expected]);
            }
        }
        assert!(cache_control(HEADER, status, None).await.is_empty());
        let own = cache_control(HEADER, status, Some("public, max-age=600")).await;
        assert_eq!(own, ["public, max-age=600"], "the handler decides");
    }
}
