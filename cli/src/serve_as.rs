//! `serve-as`: the authorization server of the test kit, for trying things.

use clap::ValueEnum;
use http::StatusCode;
use serde_json::json;
use tower_introspect::test_util::{AuthorizationServer, Client, Endpoint, Fault};

use crate::{
    Context,
    report::{Exit, Failure, Field, Report, Tone},
};

/// Run an authorization server for tests, on this machine only, until it is stopped.
///
/// Its keys and secrets are known to everyone. It gives tokens to the client `app` and answers the
/// resource server `api`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The port of 127.0.0.1; 0 for any that is free.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// The audience of tokens where the client asks for none.
    #[arg(long, value_name = "AUDIENCE", default_value = "https://api.example.com")]
    audience: String,
    /// Make an endpoint misbehave: `introspection=hang`. May be given several times.
    #[arg(long, value_name = "ENDPOINT=HOW", value_parser = fault)]
    fault: Vec<(At, How)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum At {
    Discovery,
    Introspection,
    Jwks,
    Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
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
            let failure = format!("it can't listen on port {}: {error}", args.port);
            Failure::usage(failure).hint("`--port 0` takes any that is free")
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
        for (at, how) in &args.fault {
            server.inject(at.endpoint(), how.fault());
        }
        cx.screen.warn("this is for tests only: its keys and secrets are known to everyone");
        cx.screen.show(&report(&server, args));
        // Until the process is ended.
        std::future::pending::<()>().await;
        drop(listening);
        Ok(Report::new("serve-as", Exit::Accepted))
    })
}

fn report(server: &AuthorizationServer, args: &Args) -> Report {
    let mut report = Report::new("serve-as", Exit::Accepted);
    let issuer = server.issuer();
    report.line(Tone::Plain, format!("An authorization server for tests is at {issuer}"));
    report.heading("Where things are");
    let urls = [
        ("metadata", Endpoint::Discovery),
        ("keys", Endpoint::Jwks),
        ("tokens", Endpoint::Token),
        ("introspection", Endpoint::Introspection),
        ("revocation", Endpoint::Revocation),
    ];
    report.fields(urls.map(|(name, endpoint)| Field::new(name, server.url(endpoint))));
    report.heading("Who may ask");
    report.fields([
        Field::new("app", "app-secret").remark(Tone::Faint, "gets tokens"),
        Field::new("api", "api-secret").remark(Tone::Faint, "introspects them"),
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
        urls.iter().map(|(name, at)| ((*name).to_owned(), server.url(*at).into())).collect();
    report.set("endpoints", urls);
    report.set("clients", json!({"app": "app-secret", "api": "api-secret"}));
    report
}

impl At {
    const fn endpoint(self) -> Endpoint {
        match self {
            Self::Discovery => Endpoint::Discovery,
            Self::Introspection => Endpoint::Introspection,
            Self::Jwks => Endpoint::Jwks,
            Self::Token => Endpoint::Token,
        }
    }
}

impl How {
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

fn fault(text: &str) -> Result<(At, How), String> {
    let (at, how) = text.split_once('=').ok_or("it is not ENDPOINT=HOW")?;
    let at = At::from_str(at, false).map_err(|_| names::<At>("the endpoint"))?;
    let how = How::from_str(how, false).map_err(|_| names::<How>("how it fails"))?;
    Ok((at, how))
}

fn names<T: ValueEnum>(what: &str) -> String {
    let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
    format!("{what} is one of {}", names.join(", "))
}
