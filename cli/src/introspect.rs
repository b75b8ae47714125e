//! `introspect` introspects a token and shows the exchange and the library's reading of it.

use std::path::PathBuf;

use serde_json::Value;
use tower_introspect::{
    checks::Recording,
    credentials::Token,
    introspection::{IntrospectionVerifier, IntrospectionVerifierBuilder, SignedResponse},
    verify::{ActiveToken, Verifier as _, VerifyRequest},
};

use crate::{
    Context,
    client::ClientArgs,
    deployment::Deployment,
    diagnosis::{Case, Diagnosis, Place},
    exchange::{self, report_exchange},
    input::TokenArgs,
    net::{NetArgs, RecordingTransport},
    proxy,
    report::{Exit, Failure, Report, Tone},
    token::Kind,
    when,
};

/// Introspect a token (RFC 7662), and show the request and the response.
///
/// The library reads the response as it does in a service. Expiry, audience and scope are not
/// checked here: `verify` and `explain` check them.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
    /// The issuer. Its introspection endpoint is discovered.
    #[arg(long, value_name = "URL", required_unless_present = "config")]
    issuer: Option<String>,
    /// The introspection endpoint, instead of discovery.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Take the endpoint and the credentials from the configuration of a service. `--issuer`
    /// selects one of several issuers.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["endpoint", "auth", "client_id",
        "secret_file", "secret_env"])]
    config: Option<PathBuf>,
    /// The `token_type_hint` to send.
    #[arg(long, value_name = "HINT")]
    hint: Option<String>,
    /// Another parameter to send. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    parameter: Vec<(String, String)>,
    /// Require a signed response (RFC 9701).
    #[arg(long)]
    signed: bool,
    /// The audience of signed responses. By default the client identifier.
    #[arg(long, value_name = "AUDIENCE", requires = "signed")]
    signed_audience: Option<String>,
    /// Accept signed responses whose audience is that of the token.
    #[arg(long, requires = "signed", conflicts_with = "signed_audience")]
    danger_signed_audience_of_token: bool,
    /// Allow `http` URLs of this machine.
    #[arg(long)]
    danger_allow_http_loopback: bool,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    net: NetArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let deployment = args.config.as_deref().map(Deployment::read).transpose()?;
    let settings = deployment.as_ref().map(|deployment| &deployment.settings);
    let transport = RecordingTransport::new(&args.net, settings)?;
    let builder = args.builder(deployment.as_ref(), cx)?.transport(transport.transport());
    let verifier = builder.build().map_err(|problems| Failure::of_options(&problems))?;
    let pasted = args.token.read(cx)?;
    let token = Token::bearer(&pasted.token).ok_or_else(|| {
        Failure::usage("not a token: a bearer token has only letters, digits and `-._~+/=`")
            .hint("`introspect decode` shows what it is")
    })?;

    let activity = format!("introspecting at {}", verifier.issuer());
    let recording = Recording::start();
    let outcome = cx.wait(&activity, async { verifier.verify(VerifyRequest::new(token)).await });
    let (exchanges, trace) = (transport.take(), recording.finish());

    let mut report = Report::new("introspect", Exit::Accepted);
    report.set("issuer", verifier.issuer());
    report.set("exchanges", exchanges.iter().map(exchange::to_json).collect::<Vec<_>>());
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => {
            report.exit = failure.exit;
            report.line(Tone::Bad, format!("NOT KNOWN: {}", failure.message));
            report.set("message", failure.message);
            exchanges.iter().for_each(|exchange| report_exchange(&mut report, exchange));
            return Ok(report);
        }
    };
    let (issuer, client) = (Some(verifier.issuer()), args.client.id());
    let place = deployment.as_ref().map_or(Place::CommandLine { issuer, client }, Place::File);
    let (kind, trace, now) = (&Kind::of(&pasted.token), &trace, cx.now());
    let diagnosis =
        |error| Diagnosis::of(&Case { error, trace, kind, place, exchanges: &exchanges, now });
    let diagnosis = outcome.as_ref().err().map(diagnosis);
    match &diagnosis {
        // Not `ACCEPTED`: the policy was not checked.
        None => report.line(Tone::Good, "ACTIVE, according to the authorization server"),
        Some(diagnosis) => diagnosis.report_to(&mut report),
    }
    pasted.report_cleanups(&mut report);
    let urls: Vec<_> = exchanges.iter().map(|one| one.request.uri().to_string()).collect();
    proxy::report_proxies(&mut report, &urls.iter().map(String::as_str).collect::<Vec<_>>());
    exchanges.iter().for_each(|exchange| report_exchange(&mut report, exchange));
    diagnosis.iter().for_each(|diagnosis| diagnosis.report_rest(&mut report));
    outcome.iter().for_each(|active| report_active(&mut report, active, cx));
    Ok(report)
}

impl Args {
    fn builder(
        &self,
        deployment: Option<&Deployment>,
        cx: &Context,
    ) -> Result<IntrospectionVerifierBuilder, Failure> {
        let mut builder = match deployment {
            Some(deployment) => self.configured(deployment)?,
            None => {
                let issuer = self.issuer.clone().unwrap_or_default();
                let builder = IntrospectionVerifier::builder(issuer, self.client.auth()?);
                // Shorter than the timeout of the command, so that the verifier reports the cause.
                builder.timeout(cx.timeout * 9 / 10)
            }
        };
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(hint) = &self.hint {
            builder = builder.token_type_hint(hint);
        }
        for (name, value) in &self.parameter {
            builder = builder.parameter(name, value);
        }
        if self.signed {
            let settings = SignedResponse::new();
            builder = builder.require_signed_response(match &self.signed_audience {
                Some(audience) => settings.audience(audience),
                None if self.danger_signed_audience_of_token => settings.danger_audience_of_token(),
                None => settings,
            });
        }
        if self.danger_allow_http_loopback {
            builder = builder.danger_allow_http_loopback();
        }
        Ok(builder)
    }

    /// Returns the verifier of the selected issuer of a configuration.
    fn configured(&self, deployment: &Deployment) -> Result<IntrospectionVerifierBuilder, Failure> {
        let issuers = deployment.settings.issuers.iter().enumerate();
        let selected: Vec<_> = issuers
            .filter(|(_, issuer)| issuer.client.is_some())
            .filter(|(_, issuer)| self.issuer.as_ref().is_none_or(|name| *name == issuer.issuer))
            .collect();
        let &[(at, issuer)] = selected.as_slice() else {
            let names: Vec<_> = selected.iter().map(|(_, issuer)| &*issuer.issuer).collect();
            return Err(Failure::usage(match names.as_slice() {
                [] => "the configuration has no such issuer with introspection".to_owned(),
                several => format!("`--issuer` must select one of {}", several.join(", ")),
            }));
        };
        self.net.check_certificates(std::slice::from_ref(issuer))?;
        let builder = deployment.config.introspection(at);
        let builder = builder.map_err(|problems| Failure::of_options(&problems))?;
        let none = || Failure::usage(format!("{} has no introspection", issuer.issuer));
        builder.ok_or_else(none)
    }
}

fn report_active(report: &mut Report, active: &ActiveToken, cx: &Context) {
    let claims = active.claims();
    report.heading("Result");
    report.item(Tone::Good, "✓", "the response says that the token is active");
    match claims.expires_at() {
        Some(time) => {
            let verb = if time <= cx.now() { "expired" } else { "expires" };
            let (date, relative) = (when::date(time), when::relative(time, cx.now()));
            report.item(Tone::Plain, "-", format!("the token {verb} {relative} ({date})"));
        }
        None => report.item(Tone::Plain, "-", "the response has no expiry (`exp`)"),
    }
    if claims.raw("aud").is_none() {
        let text = "the response has no `aud`: every policy refuses the token, unless \
                    `danger_default_audience` is set";
        report.item(Tone::Warning, "!", text);
    }
    report.item(Tone::Plain, "-", "expiry, audience and scope were not checked");
    report.set("claims", claims.deserialize::<Value>().unwrap_or_default());
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
