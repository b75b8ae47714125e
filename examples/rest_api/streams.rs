//! Routes whose responses stay open, until the token that opened them is no longer good. Copy this
//! file.
//!
//! A stream ends when its token expires, and at once when a cutoff covers the token ([`sign_out`]). If
//! the token is introspected, the stream ends within `max_age` of the resource server after the issuer
//! revoked it.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, Uri, header::SET_COOKIE},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{interval, timeout};
use tower_introspect::{
    ErrorKind, RequireScope, ResourceServer, VerifiedToken, VerifyError, credentials::Extractor,
    respond::ProblemJson, revocation::Cutoff, scopes, stream::Lease,
};

use super::app::owner;

/// The cookie with the token for `EventSource`.
const COOKIE: &str = "events_token";

/// The protocol of the WebSocket. The entry after it is the token.
const PROTOCOL: &str = "access_token";

/// Returns the routes. Those that stay open have `streams` in place of `layer`.
pub(crate) fn routes(api: &ResourceServer<ProblemJson>) -> Router {
    let read = || RequireScope::all(scopes!["payments:read"]);
    // Scripts can't set headers for an `EventSource`. Browsers send a cookie with requests of other
    // sites as well, so only this route takes it: a GET that changes nothing, and whose response CORS
    // does not show to them.
    let in_cookie = Extractor::new().danger_cookie(COOKIE);
    let events = Router::new()
        .route("/payments/events", get(events))
        .route_layer(read())
        .route_layer(api.streams().introspect(|layer| layer.extractor(in_cookie)));
    // Nor can they for a WebSocket. Browsers do not add this one by themselves, so no other site can
    // open the socket with the token of a user.
    let in_protocol = Extractor::new().websocket_protocol_after(PROTOCOL);
    let socket = Router::new()
        .route("/payments/socket", get(socket))
        .route_layer(read())
        .route_layer(api.streams().introspect(|layer| layer.extractor(in_protocol)));
    let short = Router::new()
        .route("/session", post(remember))
        .route("/sign-out", post(sign_out))
        .route_layer(api.layer())
        .with_state(api.clone());
    events.merge(socket).merge(short)
}

/// Server-sent events. The layer ends them when the token does, without the help of the handler. The
/// browser then sends another request by itself, gets 401, and stops.
async fn events(token: VerifiedToken) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (owner, ticks) = (owner(&token).to_owned(), interval(Duration::from_secs(1)));
    Sse::new(stream::unfold((ticks, owner), async |(mut ticks, owner)| {
        ticks.tick().await;
        let event = Event::default().event("payment").data(format!("a payment of {owner}"));
        // The time until the next request of a browser.
        Some((Ok(event.retry(Duration::from_secs(1))), (ticks, owner)))
    }))
}

/// A WebSocket, whose client can replace the token without opening another one.
async fn socket(lease: Lease, token: VerifiedToken, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        // A browser wants one of its protocols selected. Never select the token.
        .protocols([PROTOCOL])
        .max_message_size(16 * 1024)
        .on_upgrade(async move |mut socket| {
            // The end is also awaited while a message is sent, which takes as long as the client likes.
            let end = tokio::select! {
                end = lease.ended() => end,
                () = converse(&mut socket, &lease, &token) => return,
            };
            let code = end.close_code();
            let close = CloseFrame { code, reason: end.reason().into() };
            let closing = async {
                if socket.send(Message::Close(Some(close))).await.is_ok() {
                    // Until the client closes, too.
                    while let Some(Ok(_)) = socket.recv().await {}
                }
            };
            let _ = timeout(Duration::from_secs(5), closing).await;
        })
}

/// A message of the client.
#[derive(Deserialize)]
struct Renewal {
    renew: String,
}

/// Sends payments and replies until the client leaves.
async fn converse(socket: &mut WebSocket, lease: &Lease, token: &VerifiedToken) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        let message = tokio::select! {
            _ = ticks.tick() => json!({"payment": format!("a payment of {}", owner(token))}),
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                    Ok(Renewal { renew }) => renewed(lease, &renew).await,
                    Err(_) => json!({"error": "not understood"}),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if socket.send(Message::text(message.to_string())).await.is_err() {
            return;
        }
    }
}

/// Goes on with a new token of the same user and client. If it is refused, the stream keeps the token
/// that it has.
async fn renewed(lease: &Lease, token: &str) -> serde_json::Value {
    match lease.renew(token).await {
        Ok(token) => json!({"renewed_until": token.expires_at().map(|at| at.as_secs())}),
        Err(error) => json!({"refused": error.kind().reason()}),
    }
}

/// Stores the token of the request in the cookie for `EventSource`.
///
/// Other sites can't do that for a user: the token is in the `Authorization` header. Scripts can't read
/// the cookie. With TLS, make it `Secure` as well.
async fn remember(uri: Uri, headers: HeaderMap) -> Result<impl IntoResponse, VerifyError> {
    let token = Extractor::new().extract(&headers, &uri)?;
    let token = token.secret_str();
    let attributes = "Path=/payments/events; HttpOnly; SameSite=Strict";
    Ok(([(SET_COOKIE, format!("{COOKIE}={token}; {attributes}"))], StatusCode::NO_CONTENT))
}

/// Refuses all JWTs that the user has so far, whatever device has them, and ends their streams at once.
///
/// Any other token is introspected again at once, so the issuer must have ended the session as well.
async fn sign_out(
    State(api): State<ResourceServer<ProblemJson>>,
    token: VerifiedToken,
) -> Result<StatusCode, VerifyError> {
    let subject = token.subject().ok_or(ErrorKind::Denied)?;
    api.revocations().revoke(&Cutoff::subject(token.issuer(), subject));
    Ok(StatusCode::NO_CONTENT)
}
