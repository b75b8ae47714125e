//! Clients that keep a response open, and what they must see of its end.

use std::{error::Error, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Response, header::SET_COOKIE};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};
use tower_introspect::test_util::AuthorizationServer;

use crate::app::AUDIENCE;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Opens the streams, and prints what comes of them. Fails if anything is not as told.
pub(crate) async fn check(base: &str, authority: &AuthorizationServer) -> Outcome<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
    let client = Client { http, base, authority };
    client.token_expires().await?;
    client.user_signs_out().await?;
    client.client_renews_and_issuer_revokes().await?;
    println!("all streams end as told");
    Ok(())
}

struct Client<'a> {
    http: reqwest::Client,
    base: &'a str,
    authority: &'a AuthorizationServer,
}

impl Client<'_> {
    /// Events that a script reads by `fetch`, with the token in a header.
    async fn token_expires(&self) -> Outcome<()> {
        let (token, events) = self.brief_events().await?;
        row("events, with a token for seconds", read_to_end(events).await?, "a clean end")?;
        let again = self.events(&token).await?;
        row("the same token, after it has expired", &refused(&again), "401 invalid_token")?;
        let again = self.events(&self.jwt("dora", 600)).await?;
        row("another token", &again.status().as_u16(), &200)
    }

    /// Opens events with a token that expires soon: within seconds, or later on a busy machine.
    async fn brief_events(&self) -> Outcome<(String, Response)> {
        for seconds in [2, 4, 8, 16, 32] {
            let token = self.jwt("dora", seconds);
            let events = self.events(&token).await?;
            if events.status() == 200 {
                return Ok((token, events));
            }
        }
        Err("all tokens have expired before they were used".into())
    }

    /// Events that a browser reads by `EventSource`, with the token in a cookie.
    async fn user_signs_out(&self) -> Outcome<()> {
        let token = self.jwt("erin", 600);
        let session = self.http.post(self.url("/session")).bearer_auth(&token).send().await?;
        let cookie = session.headers().get(SET_COOKIE).ok_or("no cookie is set")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default();
        let get = |path| self.http.get(self.url(path)).header("cookie", cookie);

        let events = get("/payments/events").send().await?;
        row("events, with a cookie", &events.status().as_u16(), &200)?;
        let elsewhere = get("/payments").send().await?;
        row("the cookie elsewhere", &elsewhere.status().as_u16(), &401)?;
        let both = get("/payments/events").bearer_auth(&token).send().await?;
        row("a cookie and a header", &refused(&both), "400 invalid_request")?;

        let sign_out = self.http.post(self.url("/sign-out")).bearer_auth(&token).send().await?;
        row("the user signs out", &sign_out.status().as_u16(), &204)?;
        row("the events of the user", read_to_end(events).await?, "a clean end")?;
        let again = get("/payments/events").send().await?;
        row("the browser asks again", &refused(&again), "401 invalid_token")
    }

    /// A WebSocket, whose client sends another token before the first one expires.
    async fn client_renews_and_issuer_revokes(&self) -> Outcome<()> {
        let first = self.opaque("frank");
        let mut socket = self.socket(&first).await?;
        let greeting = received(&mut socket).await?["payment"].clone();
        row("a WebSocket", greeting.as_str().unwrap_or_default(), "a payment of frank")?;

        let other = self.opaque("mallory");
        row("the token of another user", &renew(&mut socket, &other).await?, "denied")?;
        let second = self.opaque("frank");
        row("another token of the user", &renew(&mut socket, &second).await?, "renewed")?;

        self.authority.revoke(&second);
        let code = loop {
            match socket.next().await.ok_or("there is no close frame")?? {
                Message::Close(close) => break close.map_or(0, |close| close.code.into()),
                _ => continue,
            }
        };
        row("the issuer revokes it", &code, &1008_u16)?;
        let status = match self.socket(&second).await {
            Ok(_) => return Err("the revoked token opens another".into()),
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => return Err(error.into()),
        };
        row("the revoked token", &status, &401)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns a token that the service verifies by the keys of the issuer.
    fn jwt(&self, user: &str, seconds: u64) -> String {
        let token = self.authority.jwt().subject(user).scope("payments:read");
        token.audience(AUDIENCE).expires_in(Duration::from_secs(seconds)).mint()
    }

    /// Returns a token that the service introspects, again and again while it has streams.
    fn opaque(&self, user: &str) -> String {
        let token = self.authority.opaque().subject(user).scope("payments:read");
        token.audience(AUDIENCE).mint()
    }

    async fn events(&self, token: &str) -> reqwest::Result<Response> {
        self.http.get(self.url("/payments/events")).bearer_auth(token).send().await
    }

    async fn socket(&self, token: &str) -> Result<Socket, tungstenite::Error> {
        let url = self.url("/payments/socket").replacen("http:", "ws:", 1);
        let mut request = url.into_client_request()?;
        let protocols = format!("access_token, {token}").parse()?;
        request.headers_mut().insert("sec-websocket-protocol", protocols);
        Ok(connect_async(request).await?.0)
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn received(socket: &mut Socket) -> Outcome<Value> {
    let message = socket.next().await.ok_or("the socket is closed")??;
    Ok(serde_json::from_str(message.to_text()?)?)
}

/// Sends another token, and returns what the service says to it.
async fn renew(socket: &mut Socket, token: &str) -> Outcome<String> {
    socket.send(Message::text(json!({ "renew": token }).to_string())).await?;
    loop {
        let message = received(socket).await?;
        if let Some(reason) = message["refused"].as_str() {
            return Ok(reason.to_owned());
        }
        if message["renewed_until"].is_u64() {
            return Ok("renewed".to_owned());
        }
    }
}

/// Returns how the events end.
async fn read_to_end(mut events: Response) -> Outcome<&'static str> {
    let mut text = Vec::new();
    while let Some(more) = events.chunk().await? {
        text.extend_from_slice(&more);
    }
    let is_whole = text.is_empty() || text.ends_with(b"\n\n");
    Ok(if is_whole { "a clean end" } else { "an end within an event" })
}

/// Returns the status of a refusal and the error of its challenge.
fn refused(response: &Response) -> String {
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let error = challenge.split("error=\"").nth(1).and_then(|rest| rest.split('"').next());
    format!("{} {}", response.status().as_u16(), error.unwrap_or_default())
}

/// Prints what came of a step, and fails if it is not as told.
fn row<T, U>(what: &str, seen: &T, told: &U) -> Outcome<()>
where
    T: PartialEq<U> + std::fmt::Display + ?Sized,
    U: std::fmt::Display + ?Sized,
{
    println!("{what:<40}{seen}");
    if seen == told { Ok(()) } else { Err(format!("{what}: {seen} and not {told}").into()) }
}
