//! A tonic service whose methods have different requirements, and a client that calls it.
//!
//! ```text
//! cargo run --example grpc             # calls it and shows the answers
//! cargo run --example grpc -- --serve  # stays up, for a client of yours: see greeter.proto
//! ```
//!
//! The authorization server, the service and the client run in this process. Copy `service.rs` into
//! your own service. It shows requirements by method, health checks without a token, claims as a
//! type, a requirement that depends on the message, and streams that end when their token does: of
//! replies, of requests, and of both, where the client can send another token.

mod greeter;
mod service;
mod streams;

use std::{error::Error, process::ExitCode, time::Duration};

use tokio::net::TcpListener;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    revocation::Revocations,
    test_util::{AuthorizationServer, Client, Jwt, TokenBuilder},
};

use self::greeter::{GreeterClient, GreetingRequest, HelloRequest, VersionRequest};

/// The identifier of this service. Tokens must have it as audience.
const AUDIENCE: &str = "https://greeter.example.com";

const SECRET: &str = "s3cret";

pub(crate) type BoxError = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => show().await,
        [flag] if flag == "--serve" => stay_up().await,
        _ => {
            eprintln!("usage: grpc [--serve]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("grpc: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Creates a resource server that trusts `authority`.
pub(crate) fn trusting(authority: &AuthorizationServer) -> Result<ResourceServer, BoxError> {
    authority.register(Client::new("greeter", SECRET));
    let api = ResourceServer::builder(AUDIENCE)
        // Verifies JWTs locally, and introspects any other token.
        .issuer(Issuer::hybrid(authority.issuer(), ClientAuth::basic("greeter", SECRET)))
        // The authorization server of this example has the same clock.
        .policy(|policy| policy.leeway(Duration::ZERO))
        // A revocation by it ends streams within this time. The default is 30 s.
        .max_age(Duration::from_secs(2))
        // The authorization server of this example is in this process. Without this line keys are
        // fetched over HTTPS.
        .transport(authority.transport())
        .build()?;
    Ok(api)
}

/// Returns a token for a member of the red team.
pub(crate) fn token(authority: &AuthorizationServer, name: &str) -> TokenBuilder<Jwt> {
    authority.jwt().subject(name).audience(AUDIENCE).claim("name", name).claim("team", "red")
}

/// Serves until ctrl-c.
async fn stay_up() -> Result<(), BoxError> {
    let authority = AuthorizationServer::new("https://as.example.com");
    // On loopback only: everyone who can read the output can use the token.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("authorization: Bearer {}", token(&authority, "alice").scope("greet").mint());
    let end = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    service::serve(listener, trusting(&authority)?, end).await?;
    Ok(())
}

/// Serves, calls the service and prints its responses.
async fn show() -> Result<(), BoxError> {
    let authority = AuthorizationServer::new("https://as.example.com");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let api = trusting(&authority)?;
    tokio::spawn(service::serve(listener, api.clone(), std::future::pending()));
    calls(Endpoint::from_shared(address)?.connect().await?, &authority, api.revocations()).await
}

async fn calls(
    channel: Channel,
    authority: &AuthorizationServer,
    revocations: &Revocations,
) -> Result<(), BoxError> {
    let mut health = HealthClient::new(channel.clone());
    let mut client = GreeterClient::new(channel);
    let alice = token(authority, "Alice").scope("greet greet:write").mint();
    let reader = token(authority, "Bob").scope("greet").mint();
    let admin = token(authority, "Carol").scope("greet greet:write greet:admin").mint();

    let check = HealthCheckRequest { service: "greeter.Greeter".to_owned() };
    let reply = health.check(check.clone()).await;
    row("Health/Check, no token", reply.map(|reply| format!("{:?}", reply.into_inner().status())));
    let reply = health.watch(with(check, &alice)?).await;
    row("Health/Watch, which is not named", reply.map(|_| String::new()));
    let reply = client.version(Request::new(VersionRequest {})).await;
    row("Version, no token", reply.map(|reply| reply.into_inner().version));

    let reply = client.say_hello(Request::new(HelloRequest {})).await;
    row("SayHello, no token", reply.map(|reply| reply.into_inner().message));
    let other = authority.jwt().audience("https://other.example.com").scope("greet").mint();
    let nameless = authority.jwt().audience(AUDIENCE).scope("greet").mint();
    for (who, token) in [
        ("the scope greet", &reader),
        ("a token for another service", &other),
        ("a token that names no team", &nameless),
    ] {
        let reply = client.say_hello(with(HelloRequest {}, token)?).await;
        row(&format!("SayHello, {who}"), reply.map(|reply| reply.into_inner().message));
    }

    for (who, token, team) in [
        ("the scope greet", &reader, "red"),
        ("the scope greet:write", &alice, "red"),
        ("another team", &alice, "blue"),
        ("the scope greet:admin", &admin, "blue"),
    ] {
        let greeting =
            GreetingRequest { greeting: "good morning".to_owned(), team: team.to_owned() };
        let reply = client.set_greeting(with(greeting, token)?).await;
        row(&format!("SetGreeting, {who}"), reply.map(|_| String::new()));
    }

    streams::calls(&mut client, authority, revocations).await
}

/// Returns a request with a token in its metadata.
pub(crate) fn with<M>(message: M, token: &str) -> Result<Request<M>, BoxError> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

/// Prints a call and its outcome: the status, and the reply, the challenge or the message.
pub(crate) fn row(call: &str, outcome: Result<String, Status>) {
    let (code, answer) = match outcome {
        Ok(answer) => (tonic::Code::Ok, answer),
        Err(status) => {
            let challenge = status.metadata().get("www-authenticate");
            let challenge = challenge.and_then(|value| value.to_str().ok());
            (status.code(), challenge.unwrap_or(status.message()).to_owned())
        }
    };
    // `Debug` prints the name of the code.
    let code = format!("{code:?}");
    println!("{}", format!("{call:<38}{code:<18}{answer}").trim_end());
}
