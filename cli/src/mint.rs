//! `mint`: keys and tokens for tests, good and bad, and marked as what they are.

mod bad;
mod key;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tower_introspect::{
    clock::{Clock, UnixTime},
    jose::{Algorithm, SigningKey},
    test_util::{AuthorizationServer, Jwt, TokenBuilder},
};

use self::bad::Bad;
use crate::{
    Context, input,
    report::{Exit, Failure, Report, Tone},
};

/// Make keys and tokens for tests. Nothing that matters may trust them.
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

/// Make an access token (RFC 9068), or one that must be refused.
///
/// Without a key of yours it is signed by the test key that `serve-as` publishes for the same issuer,
/// which everyone knows. Its claim `test` is true, and the name of its key starts with `test-`.
#[derive(clap::Args)]
struct TokenArgs {
    /// Who issues it.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9000")]
    issuer: String,
    /// For whom it is meant. May be given several times.
    #[arg(long, value_name = "AUDIENCE", required_unless_present = "list")]
    audience: Vec<String>,
    /// Its scope, space-delimited.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Its subject.
    #[arg(long, value_name = "NAME", default_value = "alice")]
    subject: String,
    /// Its client.
    #[arg(long, value_name = "ID", default_value = "client")]
    client_id: String,
    /// For how many seconds it is good.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    expires_in: u64,
    /// Another claim, its value in JSON, or a text. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// What signs it.
    #[arg(long, value_name = "ALG", default_value = "ES256")]
    algorithm: Algorithm,
    /// A file with a private key in PEM to sign with. Not one that matters.
    #[arg(long, value_name = "FILE")]
    key_file: Option<std::path::PathBuf>,
    /// Make it an ID token, which is no access token.
    #[arg(long, conflicts_with_all = ["bad", "all"])]
    id_token: bool,
    /// What is to be wrong with it.
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "all")]
    bad: Option<Bad>,
    /// Make the good one and every bad one, each on a line with its name before it.
    #[arg(long)]
    all: bool,
    /// Say which bad ones there are.
    #[arg(long)]
    list: bool,
}

const WARNING: &str = "this is for tests only: its key is not to be trusted where anything matters";

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    match &args.command {
        Command::Key(args) => key::run(args, cx),
        Command::Token(args) => token(args, cx),
    }
}

fn token(args: &TokenArgs, cx: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("mint token", Exit::Accepted);
    if args.list {
        for bad in Bad::all() {
            report.line(Tone::Plain, format!("{:22} {}", bad.name(), bad.help()));
        }
        let list = Bad::all().map(|bad| json!({"name": bad.name(), "what": bad.help()}));
        report.set("bad", list.collect::<Vec<_>>());
        return Ok(report);
    }
    let minter = Minter::new(args, cx)?;
    cx.screen.warn(WARNING);
    report.set("test", true);
    if !args.all {
        let token = minter.make(args.bad)?;
        report.set("token", token.as_str());
        report.verbatim(format!("{token}\n"));
        return Ok(report);
    }
    let mut tokens = vec![("good".to_owned(), minter.make(None)?)];
    for bad in Bad::all() {
        tokens.push((bad.name(), minter.make(Some(bad))?));
    }
    for (name, token) in &tokens {
        report.verbatim(format!("{name}\t{token}\n"));
    }
    let tokens = tokens.into_iter().map(|(name, token)| json!({"name": name, "token": token}));
    report.set("tokens", tokens.collect::<Vec<_>>());
    Ok(report)
}

/// What all tokens of one call have in common.
pub(crate) struct Minter<'a> {
    args: &'a TokenArgs,
    server: AuthorizationServer,
    key: Option<SigningKey>,
    clock: Arc<dyn Clock>,
}

impl<'a> Minter<'a> {
    fn new(args: &'a TokenArgs, cx: &Context) -> Result<Self, Failure> {
        let url: Option<http::Uri> = args.issuer.parse().ok();
        let absolute = url.is_some_and(|url| url.scheme().is_some() && url.query().is_none());
        if !absolute || args.issuer.contains('#') {
            let problem = "the issuer is no absolute URL without query and fragment (RFC 8414 §2)";
            return Err(Failure::usage(problem));
        }
        if args.algorithm.as_str().starts_with("HS") && args.key_file.is_none() {
            return Err(Failure::usage("there is no test key for a shared secret"));
        }
        let key = match &args.key_file {
            None => None,
            Some(path) => {
                let key = SigningKey::from_pem(args.algorithm, &input::file(path)?);
                let key =
                    key.map_err(|error| Failure::usage(format!("`{}`: {error}", path.display())))?;
                let kid = key::kid(&key);
                Some(key.with_kid(kid))
            }
        };
        let server = AuthorizationServer::new(&args.issuer).with_clock(cx.clock.clone());
        Ok(Self { args, server, key, clock: cx.clock.clone() })
    }

    fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The name of the key that signs.
    fn kid(&self) -> Option<String> {
        match &self.key {
            Some(key) => key.kid().map(str::to_owned),
            None => Some(self.server.kid(self.args.algorithm)),
        }
    }

    /// The public half of the key that signs.
    fn public(&self) -> Option<Value> {
        if let Some(key) = &self.key {
            return key.public_jwk();
        }
        let (jwks, kid) = (self.server.jwks(), self.kid()?);
        jwks["keys"].as_array()?.iter().find(|key| key["kid"] == *kid).cloned()
    }

    /// The text of the claims.
    fn claims(&self, builder: TokenBuilder<Jwt>) -> Option<String> {
        let token = self.signed(builder).mint();
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        String::from_utf8(payload).ok()
    }

    /// A token with exactly this for its claims.
    fn raw(&self, claims: &str) -> String {
        self.signed(self.good()).raw_claims(claims).mint()
    }

    fn make(&self, bad: Option<Bad>) -> Result<String, Failure> {
        let builder = self.good();
        let Some(bad) = bad else { return Ok(self.signed(builder).mint()) };
        let broken = bad.breaks(self, builder);
        broken.ok_or_else(|| Failure::usage(format!("`{}` can't be made of this", bad.name())))
    }

    /// One that is to be accepted, not yet signed.
    fn good(&self) -> TokenBuilder<Jwt> {
        let args = self.args;
        let lifetime = std::time::Duration::from_secs(args.expires_in);
        let start = if args.id_token { self.server.id_token() } else { self.server.jwt() };
        let mut builder =
            start.subject(&args.subject).expires_in(lifetime).audience(match &*args.audience {
                [one] => Value::from(one.as_str()),
                many => Value::from(many),
            });
        if !args.id_token {
            builder = builder.client_id(&args.client_id);
        }
        if let Some(scope) = &args.scope {
            builder = builder.scope(scope);
        }
        for (name, value) in &args.claim {
            builder = builder.claim(name, value.clone());
        }
        builder.claim("test", true)
    }

    fn signed(&self, builder: TokenBuilder<Jwt>) -> TokenBuilder<Jwt> {
        match &self.key {
            Some(key) => builder.signed_with(key.clone()),
            None => builder.algorithm(self.args.algorithm),
        }
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    if name == "test" {
        return Err("`test` is what marks it, and stays".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}
