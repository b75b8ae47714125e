//! Calls that stay open, and how they end.

use std::time::Duration;

use tokio::sync::mpsc::channel;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tower_introspect::{
    revocation::{Cutoff, Revocations},
    test_util::AuthorizationServer,
};

use crate::{
    AUDIENCE, BoxError,
    greeter::{ChatRequest, ChatWhat, GreeterClient, GreetingRequest, HelloReply, WatchRequest},
    row, token, with,
};

/// Calls the methods that stream, and prints the replies and the ends.
pub(crate) async fn calls(
    client: &mut GreeterClient,
    authority: &AuthorizationServer,
    revocations: &Revocations,
) -> Result<(), BoxError> {
    token_expires(client, authority).await?;
    issuer_changes_tokens(client, authority).await?;
    user_is_cut_off(client, authority, revocations).await
}

async fn token_expires(
    client: &mut GreeterClient,
    authority: &AuthorizationServer,
) -> Result<(), BoxError> {
    // A longer time if the machine was so slow that the token had expired before it was used.
    for seconds in [1, 2, 4, 8, 16, 32] {
        let token = token(authority, "Dora").scope("greet");
        let token = token.expires_in(Duration::from_secs(seconds)).mint();
        let Ok(replies) = client.watch_greeting(with(WatchRequest {}, &token)?).await else {
            continue;
        };
        let mut replies = replies.into_inner();
        let Ok(Some(reply)) = replies.message().await else { continue };
        row("WatchGreeting, a token for seconds", Ok(reply.message));
        row("WatchGreeting, it has expired", ended(replies).await);
        return Ok(());
    }
    Err("all tokens have expired before they were used".into())
}

/// The service introspects these tokens again and again while they have streams.
async fn issuer_changes_tokens(
    client: &mut GreeterClient,
    authority: &AuthorizationServer,
) -> Result<(), BoxError> {
    let opaque = |name: &str| {
        let token = authority.opaque().subject(name).audience(AUDIENCE).scope("greet");
        token.claim("name", name).claim("team", "red").mint()
    };
    let (narrowed, revoked) = (opaque("Erin"), opaque("Frank"));
    let erin = client.watch_greeting(with(WatchRequest {}, &narrowed)?).await?.into_inner();
    let frank = client.watch_greeting(with(WatchRequest {}, &revoked)?).await?.into_inner();
    authority.set_claim(&narrowed, "scope", "other");
    authority.revoke(&revoked);
    row("WatchGreeting, a narrower scope", ended(erin).await);
    row("WatchGreeting, a revoked token", ended(frank).await);
    Ok(())
}

/// The cutoff is the service's own, and ends the streams at once.
async fn user_is_cut_off(
    client: &mut GreeterClient,
    authority: &AuthorizationServer,
    revocations: &Revocations,
) -> Result<(), BoxError> {
    let grace = |scope| token(authority, "Grace").scope(scope).mint();
    let (sending, requests) = channel(1);
    let requests = with(ReceiverStream::new(requests), &grace("greet"))?;
    let mut replies = client.chat(requests).await?.into_inner();
    let ivan = token(authority, "Ivan").scope("greet").mint();
    for (call, what) in [
        ("Chat, a name", ChatWhat::Name("Heidi".to_owned())),
        ("Chat, the token of another user", ChatWhat::Token(ivan)),
        ("Chat, a token without the scope", ChatWhat::Token(grace("other"))),
        ("Chat, another token", ChatWhat::Token(grace("greet greet:write"))),
    ] {
        sending.send(ChatRequest { what: Some(what) }).await?;
        let reply = replies.message().await?.ok_or("the stream has ended")?;
        row(call, Ok(reply.message));
    }

    let greeting = GreetingRequest { greeting: "hi".to_owned(), team: "red".to_owned() };
    let two = tokio_stream::iter([greeting.clone(), greeting.clone()]);
    let reply = client.set_greetings(with(two, &grace("greet:write"))?).await;
    row("SetGreetings, two", reply.map(|reply| reply.into_inner().count.to_string()));

    let (setting, greetings) = channel(1);
    let greetings = with(ReceiverStream::new(greetings), &grace("greet:write"))?;
    let cutting_off = async {
        // The second one fits in when the first one is on its way.
        setting.send(greeting.clone()).await?;
        setting.send(greeting).await?;
        revocations.revoke(&Cutoff::subject(authority.issuer(), "Grace"));
        Ok::<_, BoxError>(())
    };
    let (set, cut_off) = tokio::join!(client.set_greetings(greetings), cutting_off);
    cut_off?;
    row("SetGreetings, the user is cut off", set.map(|_| String::new()));
    row("Chat, the user is cut off", ended(replies).await);
    Ok(())
}

/// Waits for the status that a stream ends with.
async fn ended(mut replies: Streaming<HelloReply>) -> Result<String, Status> {
    while replies.message().await?.is_some() {}
    Ok("the end".to_owned())
}
