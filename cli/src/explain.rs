//! `explain` shows how the middleware of a service responds to a request.
//!
//! It builds the middleware from the configuration of the service and calls it with the request.

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::{
    Context,
    attempt::{self, Attempt},
    deployment::Deployment,
    diagnosis::Place,
    input::TokenArgs,
    net::{NetArgs, RecordingTransport},
    outcome::{Outcome, ViewArgs},
    pasted::Pasted,
    report::{Failure, Field, Report},
};

/// The heading of the options.
const REQUEST: &str = "Request";

/// Show how a service responds to a request, and why.
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
    #[arg(help_heading = REQUEST, long, value_name = "METHOD", default_value = "GET")]
    method: Method,
    /// The path of the request, with its query.
    #[arg(help_heading = REQUEST, long, value_name = "PATH", default_value = "/")]
    path: Uri,
    /// Another header of the request, such as `'DPoP: PROOF'`. May be given several times.
    #[arg(help_heading = REQUEST, long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The authentication scheme in front of the token.
    #[arg(help_heading = REQUEST, long, value_name = "SCHEME", default_value = "Bearer")]
    scheme: String,
    /// Send no token.
    #[arg(help_heading = REQUEST, long, conflicts_with_all = ["token", "token_file", "token_env"])]
    no_token: bool,
    #[command(flatten)]
    view: ViewArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let deployment = Deployment::read(&args.config)?;
    let transport = RecordingTransport::new(&NetArgs::default(), None)?;
    // Settings of connections count as in the service; then nothing is recorded.
    let recorded = Some(&transport).filter(|_| !deployment.settings.has_own_connections);
    let server = deployment.server(cx, recorded)?;
    let pasted = if args.no_token { None } else { Some(args.token.read(cx)?) };
    let request = args.request(pasted.as_ref())?;
    let issuers = deployment.issuers();
    let activity = format!("contacting {}", issuers.join(", "));
    let attempt = Attempt::of(cx, &server, request, &activity)?;
    let outcome = Outcome {
        attempt: &attempt,
        pasted: pasted.as_ref(),
        place: Place::File(&deployment),
        exchanges: &transport.take(),
        not_requested: &[],
        request: vec![Field::new("request", format!("{} {}", args.method, args.path))],
        urls: &issuers,
    };
    Ok(outcome.report("explain", &args.view, cx))
}

impl Args {
    fn request(&self, pasted: Option<&Pasted>) -> Result<Request<Bytes>, Failure> {
        let mut request = match pasted {
            Some(pasted) => attempt::request(&self.scheme, &pasted.token)?,
            None => Request::new(Bytes::new()),
        };
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.version_mut() = Version::HTTP_11;
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        Ok(request)
    }
}

/// Parses `NAME: VALUE`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("it is not NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "the header name is invalid")?;
    let value = value.trim().parse().map_err(|_| "the header value is invalid")?;
    Ok((name, value))
}
