//! The service, and the requirements of its methods. Copy this file.

use std::{collections::HashMap, future::Future, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tower_introspect::{
    ResourceServer,
    policy::Requirement,
    require::{Paths, RequireLayer},
    scopes,
    stream::Lease,
    tonic::RequestExt as _,
};

use super::greeter::{
    ChatRequest, ChatWhat, Greeter, GreeterServer, GreetingReply, GreetingRequest, GreetingsReply,
    HelloReply, HelloRequest, Later, Replies, Reply, VersionReply, VersionRequest, WatchRequest,
};

/// Returns the requirements of each method. Calls of a method that is not named are refused.
fn methods() -> Paths {
    let greet = Requirement::all_scopes(scopes!["greet"]);
    let write = Requirement::all_scopes(scopes!["greet:write"]);
    Paths::deny_by_default()
        .require("/greeter.Greeter/SayHello", greet.clone())
        .require("/greeter.Greeter/WatchGreeting", greet.clone())
        .require("/greeter.Greeter/Chat", greet)
        .require("/greeter.Greeter/SetGreeting", write.clone())
        .require("/greeter.Greeter/SetGreetings", write)
        .public("/greeter.Greeter/Version")
        // Health checkers have no token. `Watch` stays closed.
        .public("/grpc.health.v1.Health/Check")
}

/// Serves on `listener` until `end` completes.
pub(crate) async fn serve(
    listener: TcpListener,
    api: ResourceServer,
    end: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<GreeterServer<Polite>>().await;
    Server::builder()
        // Verifies tokens, and ends streams when their token does: those of replies, and those of
        // requests. Calls without a token go on, because some methods are public.
        .layer(api.streams().guard_requests().introspect(|layer| layer.optional()))
        // Checks the requirements of each method on the verified token.
        .layer(RequireLayer::paths(methods()))
        .add_service(health_service)
        .add_service(GreeterServer::new(Polite::default()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            end.await;
            // Otherwise it would wait for the streams.
            api.end_streams(Duration::ZERO).await;
        })
        .await
}

/// A greeter with one greeting for each team.
#[derive(Default)]
struct Polite {
    greetings: watch::Sender<Greetings>,
}

type Greetings = HashMap<String, String>;

/// The claims that this service needs. A token without them is refused.
#[derive(Deserialize)]
struct Person {
    name: String,
    team: String,
}

impl Greeter for Polite {
    fn say_hello(&self, request: Request<HelloRequest>) -> Reply<HelloReply> {
        let person = request.claims::<Person>()?;
        Ok(Response::new(hello(&person, &self.greetings.borrow())))
    }

    fn watch_greeting(&self, request: Request<WatchRequest>) -> Reply<Replies<HelloReply>> {
        let person = request.claims::<Person>()?;
        let mut greetings = self.greetings.subscribe();
        let now = hello(&person, &greetings.borrow_and_update());
        let changes = stream::unfold((person, greetings), async |(person, mut greetings)| {
            greetings.changed().await.ok()?;
            let reply = hello(&person, &greetings.borrow_and_update());
            Some((Ok(reply), (person, greetings)))
        });
        // Without an end: that comes from the layer.
        Ok(Response::new(Box::pin(stream::once(async { Ok(now) }).chain(changes))))
    }

    fn set_greeting(&self, request: Request<GreetingRequest>) -> Reply<GreetingReply> {
        // The team is in the message, which no layer reads.
        let own = Requirement::claim_is("team", &request.get_ref().team);
        request.require(&own.or(Requirement::all_scopes(scopes!["greet:admin"])))?;
        let GreetingRequest { greeting, team } = request.into_inner();
        self.greetings.send_modify(|greetings| drop(greetings.insert(team, greeting)));
        Ok(Response::new(GreetingReply {}))
    }

    fn set_greetings(&self, request: Request<Streaming<GreetingRequest>>) -> Later<GreetingsReply> {
        let (person, greetings) = (request.claims::<Person>(), self.greetings.clone());
        Box::pin(async move {
            let (person, mut messages) = (person?, request.into_inner());
            let mut count = 0;
            // An error once the token has ended. The client gets the status of that.
            while let Some(GreetingRequest { greeting, team }) = messages.message().await? {
                if team != person.team {
                    return Err(Status::permission_denied("the greeting of another team"));
                }
                greetings.send_modify(|greetings| drop(greetings.insert(team, greeting)));
                count += 1;
            }
            Ok(Response::new(GreetingsReply { count }))
        })
    }

    fn chat(&self, request: Request<Streaming<ChatRequest>>) -> Reply<Replies<HelloReply>> {
        let lease = request.extensions().get::<Lease>().cloned();
        let lease = lease.ok_or_else(|| Status::internal("no layer has made a lease"))?;
        let replies = stream::try_unfold(
            (request.into_inner(), lease),
            async |(mut messages, lease)| -> Result<_, Status> {
                let Some(request) = messages.message().await? else { return Ok(None) };
                let message = match request.what {
                    Some(ChatWhat::Name(name)) => format!("hello, {name}"),
                    Some(ChatWhat::Token(token)) => match lease.renew(&token).await {
                        Ok(_) => "go on".to_owned(),
                        // The stream keeps the token that it has.
                        Err(error) => format!("not with this token: {}", error.kind().reason()),
                    },
                    None => return Err(Status::invalid_argument("neither a name nor a token")),
                };
                Ok(Some((HelloReply { message }, (messages, lease))))
            },
        );
        Ok(Response::new(Box::pin(replies)))
    }

    fn version(&self, _: Request<VersionRequest>) -> Reply<VersionReply> {
        Ok(Response::new(VersionReply { version: env!("CARGO_PKG_VERSION").to_owned() }))
    }
}

fn hello(person: &Person, greetings: &Greetings) -> HelloReply {
    let greeting = greetings.get(&person.team).map_or("hello", String::as_str);
    HelloReply { message: format!("{greeting}, {}", person.name) }
}
