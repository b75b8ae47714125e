//! A tonic service whose methods need different scopes, and a client that calls it.
//!
//! ```text
//! cargo run --example grpc
//! ```
//!
//! The authorization server, the service and the client run in this process. What you would copy is
//! [`methods`] and the layers in [`serve`].

mod greeter;

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
};

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server},
};
use tower_introspect::{
    Issuer, ResourceServer,
    policy::Requirement,
    require::{Paths, RequireLayer},
    test_util::AuthorizationServer,
    tonic::RequestExt as _,
};

use self::greeter::{
    Greeter, GreeterClient, GreeterServer, GreetingReply, GreetingRequest, HelloReply,
    HelloRequest, Reply, VersionReply, VersionRequest,
};

/// Who this service is. Tokens must be meant for it.
const AUDIENCE: &str = "https://greeter.example.com";

/// What each method needs. A method that is not named is refused to everyone.
fn methods() -> Paths {
    Paths::deny_by_default()
        .require("/greeter.Greeter/SayHello", Requirement::all_scopes(["greet"]))
        .require("/greeter.Greeter/SetGreeting", Requirement::all_scopes(["greet:admin"]))
        .public("/greeter.Greeter/Version")
}

/// Serves on `listener`, until the process ends.
async fn serve(
    listener: TcpListener,
    authority: &AuthorizationServer,
) -> Result<(), Box<dyn Error>> {
    let resource_server = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::jwt(authority.issuer()))
        // The server of this example is in this process. Leave this out and keys come over HTTPS.
        .transport(authority.transport())
        .build()?;
    let server = Server::builder()
        // Tokens are verified. Requests without one go on, for the public method's sake.
        .layer(resource_server.layer().optional())
        // What each method needs is asked of the verified token.
        .layer(RequireLayer::paths(methods()))
        .add_service(GreeterServer::new(Polite::default()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Ok(())
}

struct Polite {
    greeting: Mutex<String>,
}

impl Default for Polite {
    fn default() -> Self {
        Self { greeting: Mutex::new("hello".to_owned()) }
    }
}

impl Greeter for Polite {
    fn say_hello(&self, request: Request<HelloRequest>) -> Reply<HelloReply> {
        let token = request.verified_token()?;
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        let message = format!("{greeting}, {}", token.subject().unwrap_or("nobody"));
        Ok(Response::new(HelloReply { message }))
    }

    fn set_greeting(&self, request: Request<GreetingRequest>) -> Reply<GreetingReply> {
        let mut greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        *greeting = request.into_inner().greeting;
        Ok(Response::new(GreetingReply {}))
    }

    fn version(&self, _: Request<VersionRequest>) -> Reply<VersionReply> {
        Ok(Response::new(VersionReply { version: env!("CARGO_PKG_VERSION").to_owned() }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let authority = AuthorizationServer::new("https://as.example.com");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serve(listener, &authority).await?;

    let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = GreeterClient::new(channel);
    let user = authority.jwt().subject("alice").audience(AUDIENCE).scope("greet").mint();
    let admin = authority.jwt().subject("bob").audience(AUDIENCE).scope("greet greet:admin").mint();
    let other = authority.jwt().audience("https://other.example.com").scope("greet").mint();

    let version = client.version(Request::new(VersionRequest {})).await;
    show("Version, no token", version.map(|reply| reply.into_inner().version));

    for (who, token) in [
        ("no token", None),
        ("the scope greet", Some(&user)),
        ("a token for another service", Some(&other)),
    ] {
        let reply = client.say_hello(with_token(HelloRequest {}, token)?).await;
        show(&format!("SayHello, {who}"), reply.map(|reply| reply.into_inner().message));
    }

    for (who, token) in [("the scope greet", &user), ("the scope greet:admin", &admin)] {
        let greeting = GreetingRequest { greeting: "good morning".to_owned() };
        let reply = client.set_greeting(with_token(greeting, Some(token))?).await;
        show(&format!("SetGreeting, {who}"), reply.map(|_| String::new()));
    }
    let reply = client.say_hello(with_token(HelloRequest {}, Some(&user))?).await;
    show("SayHello, the scope greet", reply.map(|reply| reply.into_inner().message));
    Ok(())
}

/// A message with a token in its metadata.
fn with_token<M>(message: M, token: Option<&String>) -> Result<Request<M>, Box<dyn Error>> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    Ok(request)
}

/// Prints what was called and what came of it: the status, and the answer or the challenge.
fn show(call: &str, outcome: Result<String, Status>) {
    let (code, answer) = match outcome {
        Ok(answer) => (tonic::Code::Ok, answer),
        Err(status) => {
            let challenge = status.metadata().get("www-authenticate");
            let challenge = challenge.and_then(|value| value.to_str().ok()).unwrap_or_default();
            (status.code(), challenge.to_owned())
        }
    };
    // The name of a code is its `Debug` form.
    let code = format!("{code:?}");
    println!("{}", format!("{call:<38}{code:<18}{answer}").trim_end());
}
