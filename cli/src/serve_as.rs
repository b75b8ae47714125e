//! `serve-as` runs the authorization server of the library's test kit.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::json;
use tower_introspect::test_util::{AuthorizationServer, Client, Endpoint, Fault};

use crate::{
    Context,
    report::{Exit, Failure, Field, Report, Tone},
};

/// Run an authorization server for tests, on this machine only.
///
/// It runs until the process is stopped. Its keys and secrets are public. It issues tokens to the
/// client `app`, and lets the resource server `api` introspect them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The port of 127.0.0.1; 0 for any free port.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// The audience of tokens whose request names none.
    #[arg(long, value_name = "AUDIENCE", default_value = "https://api.example.com")]
    audience: String,
    /// Make an endpoint fail, such as `introspection=hang`. May be given several times.
    #[arg(long, value_name = "ENDPOINT=FAULT", value_parser = fault)]
    fault: Vec<(Endpoint, Fault)>,
}

const ENDPOINTS: [(&str, Endpoint); 4] = [
    ("discovery", Endpoint::Discovery),
    ("introspection", Endpoint::Introspection),
    ("jwks", Endpoint::Jwks),
    ("token", Endpoint::Token),
];

type MakeFault = fn() -> Fault;

const FAULTS: [(&str, MakeFault); 9] = [
    ("close", Fault::close),
    ("error", || Fault::status(StatusCode::INTERNAL_SERVER_ERROR)),
    ("garbage", Fault::garbage),
    ("hang", Fault::hang),
    ("html", Fault::html),
    ("overload", || Fault::status(StatusCode::SERVICE_UNAVAILABLE)),
    ("oversize", || Fault::oversize(1024 * 1024)),
    ("redirect", || Fault::redirect("https://test-other.example/")),
    ("slow", || Fault::delay(std::time::Duration::from_secs(1))),
];

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    cx.run(async {
        let failed = |error: std::io::Error| {
            let failure = format!("can't listen on port {}: {error}", args.port);
            Failure::usage(failure).hint("`--port 0` uses any free port")
        };
        let (server, listening) = match args.port {
            0 => AuthorizationServer::on_loopback().await.map_err(failed)?,
            port => {
                let server = AuthorizationServer::new(format!("http://127.0.0.1:{port}"));
                let listening = server.listen_at(port).await.map_err(failed)?;
                (server, listening)
            }
        };
        let server = server
            .with_clock(cx.clock.clone())
            .with_client(Client::new("api", "api-secret"))
            .with_client(Client::new("app", "app-secret").with_audience(&*args.audience));
        for (endpoint, fault) in &args.fault {
            server.inject(*endpoint, fault.clone());
        }
        cx.screen.warn("this is for tests only: its keys and secrets are public");
        cx.screen.show(&report(&server, args));
        // The server runs until the process is stopped.
        std::future::pending::<()>().await;
        drop(listening);
        Ok(Report::new("serve-as", Exit::Accepted))
    })
}

fn report(server: &AuthorizationServer, args: &Args) -> Report {
    let mut report = Report::new("serve-as", Exit::Accepted);
    let issuer = server.issuer();
    report.line(Tone::Plain, format!("Authorization server for tests: {issuer}"));
    report.heading("Endpoints");
    let urls = [
        ("metadata", Endpoint::Discovery),
        ("keys", Endpoint::Jwks),
        ("tokens", Endpoint::Token),
        ("introspection", Endpoint::Introspection),
        ("revocation", Endpoint::Revocation),
    ];
    report.fields(urls.map(|(name, endpoint)| Field::new(name, server.url(endpoint))));
    report.heading("Clients");
    report.fields([
        Field::new("app", "app-secret").remark(Tone::Faint, "gets tokens"),
        Field::new("api", "api-secret").remark(Tone::Faint, "introspects tokens"),
    ]);
    report.heading("Try it");
    let tries = [
        format!(
            "curl -u app:app-secret {} -d grant_type=client_credentials -d token_format=jwt",
            server.url(Endpoint::Token)
        ),
        format!("introspect mint token --issuer {issuer} --audience {}", args.audience),
        format!(
            "SECRET=api-secret introspect introspect --issuer {issuer} --client-id api \
             --secret-env SECRET --danger-allow-http-loopback"
        ),
    ];
    for line in &tries {
        report.line(Tone::Plain, format!("  {line}"));
    }
    report.set("issuer", issuer);
    report.set("test", true);
    let urls = urls.map(|(name, endpoint)| (name, server.url(endpoint)));
    report.set("endpoints", json!(BTreeMap::from(urls)));
    report.set("clients", json!({"app": "app-secret", "api": "api-secret"}));
    report
}

/// Parses `ENDPOINT=FAULT`.
fn fault(text: &str) -> Result<(Endpoint, Fault), String> {
    let (endpoint, fault) = text.split_once('=').ok_or("it is not ENDPOINT=FAULT")?;
    let endpoint = named(&ENDPOINTS, endpoint, "the endpoint")?;
    Ok((endpoint, named(&FAULTS, fault, "the fault")?()))
}

fn named<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T, String> {
    let names = || table.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| format!("{what} is one of {}", names()))
}
