//! `mint` makes keys and tokens for tests, valid and invalid ones. All are marked as test data.

mod key;

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};
use tower_introspect::{
    jose::{Algorithm, SigningKey},
    test_util::{AuthorizationServer, Defect},
};

use crate::{
    Context, input,
    report::{Exit, Failure, Report, Tone},
};

/// Make keys and tokens for tests.
///
/// Production services must not trust them.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Key(key::KeyArgs),
    Token(TokenArgs),
}

/// Make an access token (RFC 9068), or a token that must be refused.
///
/// Without --key-file, the token is signed with the test key that `serve-as` publishes for the same
/// issuer. That private key is public. The claim `test` is true, and the `kid` starts with `test-`.
#[derive(clap::Args)]
struct TokenArgs {
    /// The issuer (`iss`).
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9000")]
    issuer: String,
    /// The audience (`aud`). May be given several times.
    #[arg(long, value_name = "AUDIENCE", required_unless_present = "list")]
    audience: Vec<String>,
    /// The scope, space-delimited.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// The subject (`sub`).
    #[arg(long, value_name = "NAME", default_value = "alice")]
    subject: String,
    /// The client (`client_id`).
    #[arg(long, value_name = "ID", default_value = "client")]
    client_id: String,
    /// The lifetime.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    expires_in: u64,
    /// Another claim. The value is JSON or text. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// The algorithm of the signature.
    #[arg(long, value_name = "ALG", default_value = "ES256")]
    algorithm: Algorithm,
    /// A PEM file with the private key to sign with. Do not use a production key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<std::path::PathBuf>,
    /// Make an ID token instead of an access token.
    #[arg(long, conflicts_with_all = ["bad", "all"])]
    id_token: bool,
    /// The mistake in the token.
    #[arg(long, value_parser = defect(), value_name = "WHAT", conflicts_with = "all")]
    bad: Option<Defect>,
    /// Make the valid token and every bad one, each on a line after its name.
    #[arg(long)]
    all: bool,
    /// List the mistakes.
    #[arg(long)]
    list: bool,
}

const WARNING: &str = "this is for tests only: production services must not trust its key";

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    match &args.command {
        Command::Key(args) => key::run(args, cx),
        Command::Token(args) => token(args, cx),
    }
}

fn token(args: &TokenArgs, cx: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("mint token", Exit::Accepted);
    if args.list {
        for defect in Defect::ALL {
            report.line(Tone::Plain, format!("{:22} {}", defect.name(), what(defect)));
        }
        let list = Defect::ALL.map(|defect| json!({"name": defect.name(), "what": what(defect)}));
        report.set("bad", list.to_vec());
        return Ok(report);
    }
    let (server, key) = (server(args, cx)?, key(args)?);
    let mint = |defect| mint(args, &server, key.as_ref(), defect);
    cx.screen.warn(WARNING);
    report.set("test", true);
    if !args.all {
        let token = mint(args.bad);
        report.set("token", token.as_str());
        report.verbatim(format!("{token}\n"));
        return Ok(report);
    }
    let bad = Defect::ALL.map(|defect| (defect.name(), mint(Some(defect))));
    let mut list = Vec::new();
    for (name, token) in [("good", mint(None))].into_iter().chain(bad) {
        report.verbatim(format!("{name}\t{token}\n"));
        list.push(json!({"name": name, "token": token}));
    }
    report.set("tokens", list);
    Ok(report)
}

/// Returns the server whose test keys sign the tokens.
fn server(args: &TokenArgs, cx: &Context) -> Result<AuthorizationServer, Failure> {
    let url: Option<http::Uri> = args.issuer.parse().ok();
    let absolute = url.is_some_and(|url| url.scheme().is_some() && url.query().is_none());
    if !absolute || args.issuer.contains('#') {
        let problem = "the issuer must be an absolute URL without query and fragment (RFC 8414 §2)";
        return Err(Failure::usage(problem));
    }
    Ok(AuthorizationServer::new(&args.issuer).with_clock(cx.clock.clone()))
}

/// Reads the key to sign with instead.
fn key(args: &TokenArgs) -> Result<Option<SigningKey>, Failure> {
    let Some(path) = &args.key_file else {
        return match args.algorithm.as_str().starts_with("HS") {
            true => Err(Failure::usage("there is no test key for a shared secret")),
            false => Ok(None),
        };
    };
    let key = SigningKey::from_pem(args.algorithm, &input::file(path)?);
    let failed = |error| Failure::usage(format!("`{}`: {error}", path.display()));
    let key = key.map_err(failed)?;
    let kid = key::kid(&key);
    Ok(Some(key.with_kid(kid)))
}

/// Makes a valid token, or one with a mistake.
fn mint(
    args: &TokenArgs,
    server: &AuthorizationServer,
    key: Option<&SigningKey>,
    defect: Option<Defect>,
) -> String {
    let mut builder = match args.id_token {
        true => server.id_token(),
        false => server.jwt().client_id(&args.client_id),
    };
    builder = match &*args.audience {
        [one] => builder.audience(one.as_str()),
        many => builder.audience(many),
    };
    if let Some(scope) = &args.scope {
        builder = builder.scope(scope);
    }
    for (name, value) in &args.claim {
        builder = builder.claim(name, value.clone());
    }
    builder = match key {
        Some(key) => builder.signed_with(key.clone()),
        None => builder.algorithm(args.algorithm),
    };
    if let Some(defect) = defect {
        builder = builder.with_defect(defect);
    }
    let lifetime = Duration::from_secs(args.expires_in);
    builder.subject(&args.subject).expires_in(lifetime).claim("test", true).mint()
}

/// Returns the parser of the name of a defect.
fn defect() -> impl TypedValueParser<Value = Defect> {
    let value = |defect: Defect| PossibleValue::new(defect.name()).help(what(defect));
    PossibleValuesParser::new(Defect::ALL.map(value)).try_map(|name| {
        let named = Defect::ALL.into_iter().find(|defect| defect.name() == name);
        named.ok_or("unknown")
    })
}

/// Returns the description of a defect without its full stop, as help texts are written.
fn what(defect: Defect) -> &'static str {
    defect.description().trim_end_matches('.')
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    if name == "test" {
        return Err("`test` marks the token as test data and can't be changed".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}
