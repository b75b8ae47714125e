//! `introspect`: what the authorization server says of a token, and what the library makes of it.

use std::path::PathBuf;

use serde_json::Value;
use tower_introspect::{
    ConfigError,
    credentials::Token,
    introspection::{IntrospectionVerifier, IntrospectionVerifierBuilder, SignedResponse},
    verify::{ActiveToken, Verifier as _, VerifyRequest},
};

use crate::{
    Context,
    client::ClientArgs,
    input::TokenArgs,
    net::{NetArgs, Wire},
    network,
    report::{Exit, Failure, Report, Tone},
    settings::Deployed,
    token::{Form, Kind},
    verdict, when, wire,
};

/// Ask the authorization server about a token (RFC 7662), and show both sides of it.
///
/// The answer is read by the library, as a service would. Time, audience and scope are not judged:
/// `verify` does that.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
    /// The issuer to ask. Its endpoint is discovered.
    #[arg(long, value_name = "URL", required_unless_present = "config")]
    issuer: Option<String>,
    /// The introspection endpoint, instead of discovering it.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Take all of this from the configuration of a service. `--issuer` chooses one of several.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["endpoint", "auth", "client_id",
        "secret_file", "secret_env"])]
    config: Option<PathBuf>,
    /// Send a `token_type_hint`.
    #[arg(long, value_name = "HINT")]
    hint: Option<String>,
    /// Send another parameter.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    parameter: Vec<(String, String)>,
    /// Demand a signed answer (RFC 9701).
    #[arg(long)]
    signed: bool,
    /// For whom signed answers are meant, if not our client identifier.
    #[arg(long, value_name = "AUDIENCE", requires = "signed")]
    signed_audience: Option<String>,
    /// Take signed answers that are meant for whom the token is meant.
    #[arg(long, requires = "signed", conflicts_with = "signed_audience")]
    danger_signed_audience_of_token: bool,
    /// Take `http` URLs of this machine.
    #[arg(long)]
    danger_allow_http_loopback: bool,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    net: NetArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let net = Wire::new(&args.net)?;
    let builder = args.builder(cx)?.transport(net.transport());
    let verifier = builder.build().map_err(|problems| unusable(&problems))?;
    let pasted = args.token.read(cx)?;
    let token = Token::bearer(&pasted.token).ok_or_else(|| {
        Failure::usage("it is no token: a bearer token has letters, digits and `-._~+/=` only")
            .hint("`introspect decode` shows what it is")
    })?;

    let what = format!("asking {}", verifier.issuer());
    let outcome = cx.wait(&what, async { verifier.verify(VerifyRequest::new(token)).await });
    let exchanges = net.take();

    let form = Form::of(&pasted.token);
    let kind = Kind::of(&pasted.token, &form);
    let mut report = Report::new("introspect", Exit::Accepted);
    report.set("issuer", verifier.issuer());
    report.set("exchanges", exchanges.iter().map(wire::to_json).collect::<Vec<_>>());
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => {
            report.exit = failure.exit;
            report.line(Tone::Bad, format!("NOT KNOWN: {}", failure.message));
            report.set("message", failure.message);
            exchanges.iter().for_each(|exchange| wire::tell(&mut report, exchange));
            return Ok(report);
        }
    };
    match &outcome {
        // The policy has not been asked.
        Ok(_) => report.line(Tone::Good, "ACTIVE, by the word of the authorization server"),
        Err(error) => verdict::headline(&mut report, Some(error), true),
    }
    pasted.tell(&mut report);
    let urls: Vec<_> = exchanges.iter().map(|one| one.request.uri().to_string()).collect();
    network::tell_proxy(&mut report, &urls.iter().map(String::as_str).collect::<Vec<_>>());
    exchanges.iter().for_each(|exchange| wire::tell(&mut report, exchange));
    match outcome {
        Ok(active) => accepted(&mut report, &active, cx),
        Err(error) => verdict::advise(&mut report, &error, &kind),
    }
    Ok(report)
}

impl Args {
    fn builder(&self, cx: &Context) -> Result<IntrospectionVerifierBuilder, Failure> {
        let mut builder = match &self.config {
            Some(path) => self.configured(&Deployed::read(path)?)?,
            None => {
                let issuer = self.issuer.clone().unwrap_or_default();
                let builder = IntrospectionVerifier::builder(issuer, self.client.auth()?);
                // Before nobody waits any longer, so that it can say what it waited for.
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

    /// The one issuer of a configuration that is meant.
    fn configured(&self, deployed: &Deployed) -> Result<IntrospectionVerifierBuilder, Failure> {
        let issuers = deployed.settings.issuers.iter().enumerate();
        let asked: Vec<_> = issuers
            .filter(|(_, issuer)| issuer.client.is_some())
            .filter(|(_, issuer)| self.issuer.as_ref().is_none_or(|name| *name == issuer.issuer))
            .collect();
        let (at, issuer) = match asked.as_slice() {
            [one] => *one,
            [] => {
                return Err(Failure::usage("the configuration asks no such issuer about tokens"));
            }
            several => {
                let names: Vec<_> = several.iter().map(|(_, issuer)| &*issuer.issuer).collect();
                let names = names.join(", ");
                return Err(Failure::usage(format!("`--issuer` must choose one of {names}")));
            }
        };
        self.net.fit([issuer])?;
        let builder = deployed.config.introspection(at);
        let builder = builder.map_err(|problems| unusable(&problems))?;
        builder.ok_or_else(|| Failure::usage(format!("{} is not asked", issuer.issuer)))
    }
}

fn accepted(report: &mut Report, active: &ActiveToken, cx: &Context) {
    let claims = active.claims();
    report.heading("What the library makes of it");
    report.item(Tone::Good, "✓", "the server says that it is active");
    match claims.expires_at() {
        Some(time) => {
            let verb = if time <= cx.now() { "expired" } else { "expires" };
            let (date, relative) = (when::date(time), when::relative(time, cx.now()));
            report.item(Tone::Plain, "-", format!("it {verb} {relative} ({date})"));
        }
        None => report.item(Tone::Plain, "-", "the server does not say when it expires"),
    }
    if claims.raw("aud").is_none() {
        let text =
            "it has no `aud`: every policy refuses it, unless `danger_default_audience` is set";
        report.item(Tone::Warning, "!", text);
    }
    report.item(Tone::Plain, "-", "time, audience and scope are judged by the policy, not here");
    report.set("claims", claims.deserialize::<Value>().unwrap_or_default());
}

fn unusable(problems: &ConfigError) -> Failure {
    let lines: Vec<_> =
        problems.problems().map(|(name, problem)| format!("{name}: {problem}")).collect();
    let failure = Failure::usage(lines.join("\n"));
    let http = lines.iter().any(|line| line.contains("not an https URL"));
    if http {
        failure.hint("`http` is taken for this machine only, with --danger-allow-http-loopback")
    } else {
        failure
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
