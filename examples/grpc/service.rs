//! The service, and the requirements of its methods. Copy this file.

use std::{collections::HashMap, future::Future, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tower_introspect::{
    ResourceServer, VerifiedToken,
    policy::Requirement,
    require::{Paths, RequireLayer},
    scopes,
    tonic::RequestExt as _,
};

use super::greeter::{
    Greeter, GreeterServer, GreetingReply, GreetingRequest, HelloReply, HelloRequest, Replies,
    Reply, VersionReply, VersionRequest, WatchRequest,
};

/// Returns the requirements of each method. Calls of a method that is not named are refused.
fn methods() -> Paths {
    let greet = Requirement::all_scopes(scopes!["greet"]);
    Paths::deny_by_default()
        .require("/greeter.Greeter/SayHello", greet.clone())
        .require("/greeter.Greeter/WatchGreeting", greet)
        .require("/greeter.Greeter/SetGreeting", Requirement::all_scopes(scopes!["greet:write"]))
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
        // Verifies tokens. Calls without one go on, because some methods are public.
        .layer(api.layer().optional())
        // Checks the requirements of each method on the verified token.
        .layer(RequireLayer::paths(methods()))
        .add_service(health_service)
        .add_service(GreeterServer::new(Polite::default()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), end)
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
        let expiry = tokio::time::sleep(time_for(request.verified_token()?));
        let mut greetings = self.greetings.subscribe();
        let now = hello(&person, &greetings.borrow_and_update());
        let changes = stream::unfold((person, greetings), async |(person, mut greetings)| {
            greetings.changed().await.ok()?;
            let reply = hello(&person, &greetings.borrow_and_update());
            Some((Ok(reply), (person, greetings)))
        });
        let expired = async { Err(Status::unauthenticated("the token has expired")) };
        let replies = stream::once(async { Ok(now) })
            .chain(changes.take_until(expiry))
            .chain(stream::once(expired));
        Ok(Response::new(Box::pin(replies)))
    }

    fn set_greeting(&self, request: Request<GreetingRequest>) -> Reply<GreetingReply> {
        // The team is in the message, which no layer reads.
        let own = Requirement::claim_is("team", &request.get_ref().team);
        request.require(&own.or(Requirement::all_scopes(scopes!["greet:admin"])))?;
        let GreetingRequest { greeting, team } = request.into_inner();
        self.greetings.send_modify(|greetings| drop(greetings.insert(team, greeting)));
        Ok(Response::new(GreetingReply {}))
    }

    fn version(&self, _: Request<VersionRequest>) -> Reply<VersionReply> {
        Ok(Response::new(VersionReply { version: env!("CARGO_PKG_VERSION").to_owned() }))
    }
}

fn hello(person: &Person, greetings: &Greetings) -> HelloReply {
    let greeting = greetings.get(&person.team).map_or("hello", String::as_str);
    HelloReply { message: format!("{greeting}, {}", person.name) }
}

/// Returns how long a stream may last.
///
/// The layer checks a token only when a call begins, so the service has to end a stream that
/// outlives the token.
fn time_for(token: &VerifiedToken) -> Duration {
    // Bounded for tokens without expiry too: a new call has its token verified again.
    const LONGEST: Duration = Duration::from_secs(15 * 60);
    let left = token.expires_at().map(|end| end.saturating_duration_since(token.admitted_at()));
    left.map_or(LONGEST, |left| left.min(LONGEST))
}
