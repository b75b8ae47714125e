//! `serve-as` runs the authorization server of the library's test kit.

use clap::ValueEnum;
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
    fault: Vec<(EndpointArg, FaultArg)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EndpointArg {
    Discovery,
    Introspection,
    Jwks,
    Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FaultArg {
    Close,
    Error,
    Garbage,
    Hang,
    Html,
    Overload,
    Oversize,
    Redirect,
    Slow,
}

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
            server.inject(endpoint.endpoint(), fault.fault());
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
    let urls: serde_json::Map<_, _> =
        urls.iter().map(|(name, it)| ((*name).to_owned(), server.url(*it).into())).collect();
    report.set("endpoints", urls);
    report.set("clients", json!({"app": "app-secret", "api": "api-secret"}));
    report
}

impl EndpointArg {
    const fn endpoint(self) -> Endpoint {
        match self {
            Self::Discovery => Endpoint::Discovery,
            Self::Introspection => Endpoint::Introspection,
            Self::Jwks => Endpoint::Jwks,
            Self::Token => Endpoint::Token,
        }
    }
}

impl FaultArg {
    fn fault(self) -> Fault {
        match self {
            Self::Close => Fault::close(),
            Self::Error => Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Garbage => Fault::garbage(),
            Self::Hang => Fault::hang(),
            Self::Html => Fault::html(),
            Self::Overload => Fault::status(StatusCode::SERVICE_UNAVAILABLE),
            Self::Oversize => Fault::oversize(1024 * 1024),
            Self::Redirect => Fault::redirect("https://test-other.example/"),
            Self::Slow => Fault::delay(std::time::Duration::from_secs(1)),
        }
    }
}

/// Parses `ENDPOINT=FAULT`.
fn fault(text: &str) -> Result<(EndpointArg, FaultArg), String> {
    let (endpoint, fault) = text.split_once('=').ok_or("it is not ENDPOINT=FAULT")?;
    let endpoint =
        EndpointArg::from_str(endpoint, false).map_err(|_| names::<EndpointArg>("the endpoint"))?;
    let fault = FaultArg::from_str(fault, false).map_err(|_| names::<FaultArg>("the fault"))?;
    Ok((endpoint, fault))
}

fn names<T: ValueEnum>(what: &str) -> String {
    let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
    format!("{what} is one of {}", names.join(", "))
}
