//! An API behind `tower-introspect`, an authorization server, and good and bad requests.
//!
//! ```text
//! cargo run --example quickstart             # sends the requests and shows the answers
//! cargo run --example quickstart -- --serve  # stays up and prints curl lines to try
//! ```
//!
//! Both servers run in this process, on free ports of this machine. Copy [`api`] and its handlers
//! into your own service. The rest demonstrates them.

use std::{
    error::Error,
    io::{IsTerminal as _, stdout},
    process::ExitCode,
    time::Duration,
};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_introspect::{
    ClientAuth, Issuer, RequireScope, ResourceServer, VerifiedToken,
    test_util::{AuthorizationServer, Client, Endpoint},
};

/// The identifier of this API. Tokens must have it as audience.
const AUDIENCE: &str = "https://api.example.com";

/// The API. Every route requires a token, and `/payments` a scope besides.
async fn api(issuer: &str) -> Result<Router, Box<dyn Error>> {
    let resource_server = ResourceServer::builder(AUDIENCE)
        // Verifies JWTs locally, by the issuer's published keys, and introspects any other token.
        .issuer(Issuer::hybrid(issuer, ClientAuth::basic("api", "s3cret")))
        // Only because the issuer of this example is on this machine and has no TLS.
        .danger_allow_http_loopback()
        .build()?;
    // Optional. Fetches the keys now, so that the first request does not wait for them.
    resource_server.warm().await?;

    Ok(Router::new()
        .route("/me", get(me))
        .route("/payments", get(payments).route_layer(RequireScope::all(["read:payments"])))
        .layer(resource_server.layer()))
}

async fn me(token: VerifiedToken) -> String {
    format!("you are {}", token.subject().unwrap_or("nobody"))
}

async fn payments(token: VerifiedToken) -> String {
    format!("the payments of {}", token.subject().unwrap_or("nobody"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let serve = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--serve" => true,
        _ => {
            eprintln!("usage: quickstart [--serve]");
            return ExitCode::from(2);
        }
    };
    match run(serve).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(serve: bool) -> Result<(), Box<dyn Error>> {
    // The authorization server. It runs until `_listening` is dropped.
    let (authority, _listening) = AuthorizationServer::on_loopback().await?;
    authority.register(Client::new("api", "s3cret"));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let app = api(authority.issuer()).await?;
    tokio::spawn(async move { axum::serve(listener, app).await });

    println!("authorization server  {}", authority.issuer());
    println!("API                   {base}\n");
    let table = Table::new();
    table.row("request", "", "answer", Tone::Heading);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    for (what, path, token) in requests(&authority) {
        let mut request = client.get(format!("{base}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status();
        let challenge = response.headers().get("www-authenticate").cloned();
        let answer = match challenge {
            Some(challenge) => challenge.to_str()?.to_owned(),
            None => response.text().await?,
        };
        let tone = if status.is_success() { Tone::Good } else { Tone::Bad };
        table.row(&format!("{path}, {what}"), status.as_str(), &answer, tone);
    }
    println!(
        "\nThe authorization server was asked for its keys {} and about opaque tokens {}.",
        times(authority.calls(Endpoint::Jwks)),
        times(authority.calls(Endpoint::Introspection)),
    );
    if serve {
        stay_up(&authority, &base).await?;
    }
    Ok(())
}

/// The requests: a description, the path and the token.
fn requests(authority: &AuthorizationServer) -> Vec<(&'static str, &'static str, Option<String>)> {
    let opaque = || authority.opaque().audience(AUDIENCE).scope("read:payments");
    let jwt = || authority.jwt().audience(AUDIENCE).scope("read:payments");
    let revoked = opaque().mint();
    authority.revoke(&revoked);
    vec![
        ("an opaque token", "/payments", Some(opaque().mint())),
        ("a JWT", "/payments", Some(jwt().mint())),
        ("no token", "/payments", None),
        ("a revoked token", "/payments", Some(revoked)),
        ("an expired JWT", "/payments", Some(jwt().expires_at(Default::default()).mint())),
        ("a forged JWT", "/payments", Some(jwt().with_corrupt_signature().mint())),
        (
            "a JWT for another API",
            "/payments",
            Some(jwt().audience("https://other.example").mint()),
        ),
        ("an ID token", "/payments", Some(authority.id_token().audience(AUDIENCE).mint())),
        ("no scope", "/payments", Some(jwt().without("scope").mint())),
        ("no scope", "/me", Some(jwt().without("scope").mint())),
    ]
}

/// Prints curl lines and serves until ctrl-c.
async fn stay_up(authority: &AuthorizationServer, base: &str) -> Result<(), Box<dyn Error>> {
    let curl = |what: &str, path: &str, token: &str| {
        println!("\n# {what}\ncurl -i -H 'Authorization: Bearer {token}' \\\n  {base}{path}");
    };
    let opaque = authority.opaque().audience(AUDIENCE).scope("read:payments").mint();
    println!("\nTry these for an hour, and end it with ctrl-c:");
    curl("an opaque token", "/payments", &opaque);
    curl("a JWT", "/payments", &authority.jwt().audience(AUDIENCE).scope("read:payments").mint());
    curl("no scope", "/payments", &authority.jwt().audience(AUDIENCE).mint());
    println!("\n# no token\ncurl -i {base}/payments");
    println!("\n# revoke the opaque token: it is refused within 30 seconds");
    println!(
        "curl -i -u client:s3cret -d token={opaque} \\\n  {}",
        authority.url(Endpoint::Revocation)
    );
    authority.register(Client::new("client", "s3cret"));
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[derive(Clone, Copy)]
enum Tone {
    Bad,
    Good,
    Heading,
}

/// A table of three columns, within 100 characters.
struct Table {
    colours: bool,
}

impl Table {
    const REQUEST: usize = 33;
    const STATUS: usize = 5;
    const ANSWER: usize = 100 - Self::REQUEST - Self::STATUS;

    fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: stdout().is_terminal() && !refused }
    }

    fn row(&self, request: &str, status: &str, answer: &str, tone: Tone) {
        let (request_width, status_width) = (Self::REQUEST, Self::STATUS);
        let status = format!("{status:<status_width$}");
        let status = match (self.colours, tone) {
            (true, Tone::Good) => format!("\x1b[32m{status}\x1b[0m"),
            (true, Tone::Bad) => format!("\x1b[31m{status}\x1b[0m"),
            _ => status,
        };
        let mut lines = wrap(answer, Self::ANSWER).into_iter();
        println!("{request:<request_width$}{status}{}", lines.next().unwrap_or_default());
        for line in lines {
            println!("{:indent$}{line}", "", indent = request_width + status_width);
        }
        if matches!(tone, Tone::Heading) {
            println!("{}", "-".repeat(100));
        }
    }
}

/// Breaks a challenge between its parameters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if line.len() + part.trim_end().len() <= width => line.push_str(part),
            _ => lines.push(part.to_owned()),
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}
