//! `explain` shows how the middleware of a service responds to a request.
//!
//! It builds the middleware from the configuration of the service and calls it with the request.

use std::{convert::Infallible, path::PathBuf};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header::AUTHORIZATION,
};
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_introspect::{ResourceServer, VerifiedToken, VerifyError, checks::Recording};

use crate::{
    Context, advice, checks,
    config::ConfigFile,
    input::TokenArgs,
    pasted::Pasted,
    proxy,
    report::{Exit, Failure, Field, Report, Tone},
    token::{Form, Kind},
    verdict,
};

/// Show how the middleware of a service responds to a request, and why.
///
/// Uses the configuration of the service itself. As in the service, keys are fetched from the
/// authorization servers, and the token is introspected if the configuration says so.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
    /// The configuration of the service in TOML; its table `[resource_server]` if it has one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The method of the request.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: Method,
    /// The path of the request, with its query.
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: Uri,
    /// Another header of the request, such as `'DPoP: PROOF'`. May be given several times.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The authentication scheme in front of the token.
    #[arg(long, value_name = "SCHEME", default_value = "Bearer")]
    scheme: String,
    /// Send no token.
    #[arg(long, conflicts_with_all = ["token", "token_file", "token_env"])]
    no_token: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let (file, config) = ConfigFile::read(&args.config)?;
    let service = config.build_with(|builder| builder.clock(cx.clock.clone()));
    let service = service.map_err(|problems| file.failure(&problems))?;
    let pasted = if args.no_token { None } else { Some(args.token.read(cx)?) };
    let request = request(args, pasted.as_ref())?;

    let names: Vec<_> = service.readiness().iter().map(|one| one.issuer().to_owned()).collect();
    let activity = format!("contacting {}", names.join(", "));
    let recording = Recording::start();
    let response = cx.wait(&activity, call_middleware(&service, request))?;
    let trace = recording.finish();

    let refusal = response.extensions().get::<VerifyError>();
    let form = pasted.as_ref().map(|pasted| (Form::of(&pasted.token), pasted));
    let kind = form.map(|(form, pasted)| Kind::of(&pasted.token, &form));
    let mut report = Report::new("explain", Exit::Accepted);
    verdict::headline(&mut report, refusal, true);
    if let Some(pasted) = &pasted {
        pasted.report_cleanups(&mut report);
    }
    report.heading("Request");
    let none = "none".to_owned();
    report.fields([
        Field::new("request", format!("{} {}", args.method, args.path)),
        Field::new("token", kind.as_ref().map_or(&none, |kind| &kind.description)),
        cx.clock_field(),
    ]);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    proxy::report_proxies(&mut report, &names);
    report_response(&mut report, &response);
    checks::report_checks(&mut report, &trace, &[], cx.now());
    if !checks::explains(&trace, refusal.map(VerifyError::kind)) {
        report.line(Tone::Warning, "  None of these checks refused the request: see the cause.");
    }
    if let Some(error) = refusal {
        report.heading("Who has to act");
        report.line(Tone::Plain, format!("  {}", advice::responsible_party(error.blame())));
        let kind = kind.unwrap_or_else(Kind::absent);
        verdict::advise(&mut report, error, &kind);
    }
    Ok(report)
}

/// Calls the middleware with an empty handler inside.
///
/// The response of the handler carries the verified token in its extensions.
async fn call_middleware(service: &ResourceServer, request: Request<Bytes>) -> Response<Bytes> {
    let handler = service_fn(async |request: Request<Bytes>| {
        let mut response = Response::new(Bytes::new());
        if let Some(token) = request.extensions().get::<VerifiedToken>() {
            response.extensions_mut().insert(token.clone());
        }
        Ok::<_, Infallible>(response)
    });
    let service = ServiceBuilder::new().layer(service.layer()).service(handler);
    let Ok(response) = service.oneshot(request).await;
    response
}

fn request(args: &Args, pasted: Option<&Pasted>) -> Result<Request<Bytes>, Failure> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = args.method.clone();
    *request.uri_mut() = args.path.clone();
    *request.version_mut() = Version::HTTP_11;
    for (name, value) in &args.headers {
        request.headers_mut().append(name, value.clone());
    }
    if let Some(pasted) = pasted {
        let value = format!("{} {}", args.scheme, pasted.token);
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Failure::usage("this scheme and token do not fit into a header"))?;
        request.headers_mut().append(AUTHORIZATION, value);
    }
    Ok(request)
}

fn report_response(report: &mut Report, response: &Response<Bytes>) {
    let headers: Vec<(&str, String)> = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let status = response.status();
    if let Some(token) = response.extensions().get::<VerifiedToken>() {
        report.heading("Response");
        report.line(Tone::Plain, "  from the handler, which receives this token:");
        report.fields([
            Field::new("issuer", token.issuer()),
            Field::new("subject", token.subject().unwrap_or("none")),
            Field::new("client", token.client_id().unwrap_or("none".into())),
            Field::new("scope", token.scope().to_string()),
        ]);
        report.set(
            "token",
            json!({
                "issuer": token.issuer(),
                "subject": token.subject(),
                "client_id": token.client_id(),
                "scope": token.scope().to_string(),
            }),
        );
        return;
    }
    report.heading("Response");
    report.line(Tone::Plain, format!("  {status}"));
    report.fields(headers.iter().map(|(name, value)| Field::new(*name, value)));
    report.set("response", json!({ "status": status.as_u16(), "headers": headers }));
}

/// Parses `NAME: VALUE`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("it is not NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "the header name is invalid")?;
    let value = value.trim().parse().map_err(|_| "the header value is invalid")?;
    Ok((name, value))
}
