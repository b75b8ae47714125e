//! `verify` verifies a JWT with the keys of an issuer and shows every check.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use tower_introspect::{
    Issuer, ResourceServer,
    checks::Check,
    claims::Claims,
    credentials::Extractor,
    jose::Algorithm,
    jwt::{KeySet, Profile},
    policy::Requirement,
};

use crate::{
    Context,
    attempt::{self, Attempt},
    diagnosis::Place,
    input::{self, TokenArgs},
    net::{NetArgs, RecordingTransport},
    outcome::{Outcome, ViewArgs},
    report::{Failure, Field, Report},
    token::{Form, Jws},
};

/// The headings of the options.
const KEYS: &str = "Keys";
const CHECKS: &str = "Checks";

/// Verify a JWT, and say what to change if it is refused.
///
/// The keys come from the issuer, a URL or a file. Only keys and metadata are fetched: the token is
/// not sent anywhere.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
    /// The issuer, exactly as in `iss`. Its keys are discovered unless --jwks or --pem has them.
    #[arg(help_heading = KEYS, long, value_name = "URL", required_unless_present_any = ["jwks", "pem"])]
    issuer: Option<String>,
    /// The keys: a JWK Set or one JWK, at a URL or in a file.
    #[arg(help_heading = KEYS, long, value_name = "URL|FILE", conflicts_with = "pem")]
    jwks: Option<String>,
    /// The key: a public key in a PEM file.
    #[arg(help_heading = KEYS, long, value_name = "FILE")]
    pem: Option<PathBuf>,
    /// The allowed algorithms. By default all but those with a shared secret.
    #[arg(help_heading = KEYS, long = "alg", value_name = "ALG", value_delimiter = ',')]
    algorithms: Vec<Algorithm>,
    /// The identifier of this service. If given several times, `aud` must have one of them.
    #[arg(help_heading = CHECKS, long, value_name = "AUDIENCE", required_unless_present = "any_audience")]
    audience: Vec<String>,
    /// Skip the check of the audience.
    #[arg(help_heading = CHECKS, long, conflicts_with = "audience")]
    any_audience: bool,
    /// A required scope. If given several times, the token must have all of them.
    #[arg(help_heading = CHECKS, long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// The claim that holds the scope, if neither `scope` nor `scp`.
    #[arg(help_heading = CHECKS, long, value_name = "CLAIM")]
    scope_claim: Option<String>,
    /// The form of access tokens: marked in any of the usual ways, of the type `at+jwt`, or
    /// identifying a service, such as those of Google.
    #[arg(help_heading = CHECKS, long, value_parser = profile(), default_value = "generic")]
    profile: Profile,
    /// The length of the longest token.
    #[arg(help_heading = CHECKS, long, value_name = "BYTES", default_value_t = 8192)]
    max_token_bytes: usize,
    /// The tolerated difference between clocks.
    #[arg(help_heading = CHECKS, long, value_name = "SECONDS", default_value_t = 30)]
    leeway: u64,
    /// Allow `http` URLs of this machine.
    #[arg(help_heading = KEYS, long)]
    danger_allow_http_loopback: bool,
    #[command(flatten)]
    view: ViewArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let pasted = args.token.read(cx)?;
    let file = args.key_file();
    let url = args.jwks.as_deref().or(args.issuer.as_deref()).filter(|_| file.is_none());
    let keys = match (file, &args.jwks) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(url)) => url.clone(),
        (None, None) => format!("published by {}", url.unwrap_or_default()),
    };
    let transport = RecordingTransport::new(&NetArgs::default(), None)?;
    let server = server(args, &pasted.token, &transport, cx)?;
    let mut not_requested = Vec::new();
    if args.issuer.is_none() {
        not_requested.extend([Check::Issuer, Check::Trusted]);
    }
    if args.any_audience {
        not_requested.push(Check::Audience);
    }
    let request = attempt::request("Bearer", &pasted.token)?;
    let activity = format!("fetching keys from {}", url.unwrap_or_default());
    let attempt = Attempt::of(cx, &server, request, &activity)?;
    let outcome = Outcome {
        attempt: &attempt,
        pasted: Some(&pasted),
        place: Place::CommandLine { issuer: args.issuer.as_deref(), client: None },
        exchanges: &transport.take(),
        not_requested: &not_requested,
        request: vec![Field::new("keys", keys)],
        urls: url.as_slice(),
    };
    Ok(outcome.report("verify", &args.view, cx))
}

/// Builds a service with these settings, so that the very code of services verifies the token.
fn server(
    args: &Args,
    token: &str,
    transport: &RecordingTransport,
    cx: &Context,
) -> Result<ResourceServer, Failure> {
    let form = Form::of(token);
    let claims = form.jws().and_then(Jws::claims);
    // The token names what no option does. Without the claim it is refused for that, because it does
    // not have this name.
    let named = |name: fn(&Claims) -> Option<&str>| {
        let name = claims.as_ref().and_then(name);
        name.filter(|name| !name.is_empty()).unwrap_or("(none)")
    };
    // This is safe for the algorithm of a key in PEM: the key must allow the algorithm, and a public
    // key is never used as a shared secret.
    let own = || form.jws()?.header.text("alg")?.parse().ok();
    let algorithm = args.algorithms.first().copied().or_else(own).unwrap_or(Algorithm::RS256);
    let keys = args.key_file().map(|path| args.read_keys(path, algorithm)).transpose()?;
    let url = args.jwks.clone().filter(|_| keys.is_none());
    let (algorithms, scope_claim) = (args.algorithms.clone(), args.scope_claim.clone());
    let profile = args.profile;
    let issuer = args.issuer.as_deref().unwrap_or_else(|| named(|claims| claims.issuer()));
    let issuer = Issuer::jwt(issuer);
    let issuer = issuer.configure_jwt(move |mut jwt| {
        if let Some(keys) = keys {
            jwt = jwt.keys(keys);
        }
        if let Some(url) = url {
            jwt = jwt.jwks_uri(url);
        }
        if !algorithms.is_empty() {
            jwt = jwt.algorithms(algorithms);
        }
        if let Some(name) = scope_claim {
            jwt = jwt.scope_claim(name);
        }
        jwt.profile(profile)
    });
    let mut audiences = args.audience.iter();
    let first = named(|claims| claims.audience().iter().next());
    let first = audiences.next().map_or(first, String::as_str);
    let mut builder = ResourceServer::builder(first)
        .issuer(issuer)
        .policy(|policy| audiences.fold(policy, |policy, name| policy.or_audience(name)))
        .leeway(Duration::from_secs(args.leeway))
        .extractor(Extractor::new().max_token_bytes(args.max_token_bytes))
        .transport(transport.transport())
        .clock(cx.clock.clone());
    if !args.scope.is_empty() {
        builder = builder.require(Requirement::all_scopes(args.scope.iter().map(String::as_str)));
    }
    if args.danger_allow_http_loopback {
        builder = builder.danger_allow_http_loopback();
    }
    builder.build().map_err(|problems| Failure::of_options(&problems))
}

impl Args {
    /// Returns the file that has the keys, if one does.
    fn key_file(&self) -> Option<&Path> {
        let jwks = self.jwks.as_deref().filter(|jwks| !is_url(jwks));
        self.pem.as_deref().or(jwks.map(Path::new))
    }

    fn read_keys(&self, path: &Path, algorithm: Algorithm) -> Result<KeySet, Failure> {
        let text = input::file(path)?;
        let keys = if self.pem.is_some() {
            KeySet::from_pem(algorithm, &text).map_err(|error| format!("for {algorithm}, {error}"))
        } else {
            let keys = KeySet::from_jwks(&text);
            let keys = keys.or_else(|error| KeySet::from_jwk(&text).map_err(|_| error));
            keys.map_err(|error| error.to_string())
        };
        let keys = keys.and_then(|keys| match keys.is_empty() {
            true => Err("none of its keys can be used".to_owned()),
            false => Ok(keys),
        });
        keys.map_err(|problem| Failure::usage(format!("`{}`: {problem}", path.display())))
    }
}

/// Returns the parser of the names of profiles.
fn profile() -> impl TypedValueParser<Value = Profile> {
    // Changes of a setting name it as a file does.
    let google = PossibleValue::new("service-identity").alias("service_identity");
    let names = ["generic".into(), "rfc9068".into(), google];
    PossibleValuesParser::new(names).map(|name| match &*name {
        "generic" => Profile::Generic,
        "rfc9068" => Profile::Rfc9068,
        _ => Profile::ServiceIdentity,
    })
}

/// Returns true if the value of `--jwks` is a URL and not a file.
pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}
