//! A REST API whose routes have different requirements, on one router.
//!
//! ```text
//! cargo run --example rest_api                # on 127.0.0.1:3000; prints curl lines to paste
//! cargo run --example rest_api -- --port 0    # on any free port; or PORT=0 in the environment
//! cargo run --example rest_api -- --check     # sends the requests itself, and ends
//! ```
//!
//! Copy `app.rs` into your own service. It shows a public route, an optional token, scopes as
//! layers and as types, a scope that implies others, claims as a type, a refusal by a handler, a
//! second factor (RFC 9470), a route that introspects every time, a requirement that is only
//! observed, and CORS. The issuer runs in this process, on a free port of this machine. Its tokens
//! are names that are easy to type.
//!
//! `streams.rs` has the routes that stay open: server-sent events and a WebSocket. They end when their
//! token does. `/page` opens them in a browser, where you can renew the token, sign out, or wait until
//! it expires.

mod app;
mod clients;
mod demo;
mod page;
mod streams;

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use tokio::net::TcpListener;
use tower_introspect::{
    policy::Observer,
    test_util::{AuthorizationServer, Client},
};

const SECRET: &str = "s3cret";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(settings) = Settings::read() else {
        eprintln!("usage: rest_api [--check] [--port PORT]");
        return ExitCode::from(2);
    };
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rest_api: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Settings {
    check: bool,
    port: u16,
}

impl Settings {
    fn read() -> Option<Self> {
        let mut args = std::env::args().skip(1);
        let (mut check, mut port) = (false, None);
        while let Some(arg) = args.next() {
            match &*arg {
                "--check" => check = true,
                "--port" => port = Some(args.next()?),
                _ => return None,
            }
        }
        // The check uses any free port.
        let usual = if check { "0" } else { "3000" };
        let port = port.or_else(|| std::env::var("PORT").ok()).unwrap_or_else(|| usual.to_owned());
        Some(Self { check, port: port.parse().ok()? })
    }
}

async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    // The authorization server. It runs until `_listening` is dropped.
    let (authority, _listening) = AuthorizationServer::on_loopback().await?;
    authority.register(Client::new("api", SECRET));

    let api = app::resource_server(authority.issuer(), SECRET)
        // Only because the issuer of this example is on this machine and has no TLS.
        .danger_allow_http_loopback()
        // The issuer of this example has the same clock.
        .policy(|policy| policy.leeway(Duration::ZERO))
        // A revocation by the issuer ends streams within this time. The default is 30 s.
        .max_age(Duration::from_secs(2))
        .build()?;
    // Fetches the keys now, so that the first request does not wait. After a failure they are
    // fetched later.
    if let Err(error) = api.warm().await {
        eprintln!("rest_api: {error}");
    }
    let trial = Observer::new("exports need a scope of their own");
    let app = app::app(&api, &trial)?.merge(page::routes(&authority));

    // This issuer gives tokens to everyone who has read this file, so it stays on this machine.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| format!("{address}: {error}"))?;
    let base = format!("http://{}", listener.local_addr()?);
    let exchanges = demo::exchanges(&base, &authority);
    if settings.check {
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let outcome = async {
            demo::check(&exchanges).await?;
            clients::check(&base, &authority).await
        };
        let outcome = outcome.await;
        serving.abort();
        outcome?;
    } else {
        println!("listening on {base}\nissuer       {}", authority.issuer());
        println!("streams      {base}/page\n");
        println!("Paste these, in this order and within an hour. Ctrl-c ends it.\n");
        for exchange in &exchanges {
            println!("{}\n", exchange.curl());
        }
        axum::serve(listener, app)
            .with_graceful_shutdown(async move {
                let _ = tokio::signal::ctrl_c().await;
                // Otherwise it would wait for the streams.
                api.end_streams(Duration::ZERO).await;
            })
            .await?;
    }
    let (refused, met) = (trial.would_have_refused(), trial.met());
    println!("{}: would refuse {refused} of {}", trial.name(), refused + met);
    Ok(())
}
