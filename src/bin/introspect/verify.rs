//! `verify`: a token against the keys of an issuer, one check after the other.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use http::{HeaderMap, HeaderValue, Uri, header::AUTHORIZATION};
use tower_introspect::{
    ConfigError, Policy, VerifyError,
    credentials::Extractor,
    jwt::{Algorithm, JwtVerifier, JwtVerifierBuilder, KeySet, Profile},
    policy::Requirement,
    trace::{Check, Recording},
    verify::{Verifier as _, VerifyRequest},
};

use crate::{
    Context, checks,
    input::{self, TokenArgs},
    network,
    report::{Exit, Failure, Field, Report},
    token::{Form, Kind},
    verdict,
};

/// Verify a token as a JWT, and show every check with what was seen and what was wanted.
///
/// The keys are those that the issuer publishes, or those of a URL or a file. Nothing but keys and
/// metadata is asked for: the token is sent nowhere.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
    /// Whose token it must be: the exact `iss`. Without other keys, its own are discovered.
    #[arg(long, value_name = "URL", required_unless_present_any = ["jwks", "pem"])]
    issuer: Option<String>,
    /// The keys: a JWK Set, or one JWK, at a URL or in a file.
    #[arg(long, value_name = "URL|FILE", conflicts_with = "pem")]
    jwks: Option<String>,
    /// The key: a public key in a PEM file.
    #[arg(long, value_name = "FILE")]
    pem: Option<PathBuf>,
    /// The algorithms to allow; by default all but those with a shared secret.
    #[arg(long = "alg", value_name = "ALG", value_delimiter = ',')]
    algorithms: Vec<Algorithm>,
    /// Whom it must be meant for: what this service is called. Any of several.
    #[arg(long, value_name = "AUDIENCE", required_unless_present = "any_audience")]
    audience: Vec<String>,
    /// Leave open whom it is meant for.
    #[arg(long, conflicts_with = "audience")]
    any_audience: bool,
    /// A scope it must have. All of several.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// What the issuer's access tokens look like.
    #[arg(long, value_enum, default_value = "rfc9068")]
    profile: Looks,
    /// How far the clocks may be off.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    leeway: u64,
    /// Take `http` URLs of this machine.
    #[arg(long)]
    danger_allow_http_loopback: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Looks {
    /// Any JWT that is not marked as something else.
    Generic,
    /// Of the type `at+jwt`.
    Rfc9068,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let pasted = args.token.read(cx)?;
    let form = Form::of(&pasted.token);
    let kind = Kind::of(&pasted.token, &form);
    let own = Own::of(&form);
    let verifier = verifier(args, &own, cx)?;
    let policy = policy(args, &own, cx);

    let recording = Recording::start();
    let waiting = format!("asking {} for its keys", verifier.issuer());
    let outcome = cx.wait(&waiting, judge(&pasted.token, &verifier, &policy))?;
    let trace = recording.finish();

    let mut report = Report::new("verify", Exit::Accepted);
    verdict::headline(&mut report, outcome.as_ref().err());
    pasted.tell(&mut report);
    let mut fields = vec![Field::new("token", &kind.words)];
    fields.push(Field::new("keys", source_of_keys(args)));
    fields.push(cx.clock_field());
    report.heading("Question");
    report.fields(fields);
    report.set("kind", kind.code);
    let remote = args.jwks.as_deref().filter(|place| is_url(place)).or(args.issuer.as_deref());
    let remote = remote.filter(|_| {
        args.pem.is_none() && !args.jwks.as_deref().is_some_and(|place| !is_url(place))
    });
    network::tell_proxy(&mut report, remote.as_slice());
    let mut unasked = Vec::new();
    if args.issuer.is_none() {
        unasked.extend([Check::Issuer, Check::Trusted]);
    }
    if args.any_audience {
        unasked.push(Check::Audience);
    }
    checks::tell(&mut report, &trace, &unasked, cx.now());
    if let Err(error) = &outcome {
        verdict::advise(&mut report, error, &kind);
    }
    Ok(report)
}

/// As the middleware does it: the header, the verifier, the policy.
async fn judge(token: &str, verifier: &JwtVerifier, policy: &Policy) -> Result<(), VerifyError> {
    let mut headers = HeaderMap::new();
    // Whatever has no place in a header was taken for no token before.
    if let Ok(value) = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()) {
        headers.insert(AUTHORIZATION, value);
    }
    let token = Extractor::new().max_token_bytes(usize::MAX).extract(&headers, &Uri::default())?;
    let scheme = token.scheme();
    let active = verifier.verify(VerifyRequest::new(token)).await?;
    policy.admit(active, scheme).map(drop)
}

/// What the token says of itself, for what is not asked about.
struct Own {
    issuer: String,
    audience: String,
    algorithm: Option<Algorithm>,
}

impl Own {
    fn of(form: &Form) -> Self {
        let Form::Jws(jws) = form else {
            return Self { issuer: "(any)".into(), audience: "(any)".into(), algorithm: None };
        };
        let claims = jws.claims();
        let audience =
            claims.as_ref().and_then(|claims| claims.audience().iter().next().map(str::to_owned));
        Self {
            issuer: claims
                .and_then(|claims| claims.issuer().map(str::to_owned))
                .unwrap_or("(any)".into()),
            audience: audience.unwrap_or("(any)".into()),
            algorithm: jws.header.text("alg").and_then(|alg| alg.parse().ok()),
        }
    }
}

fn verifier(args: &Args, own: &Own, cx: &Context) -> Result<JwtVerifier, Failure> {
    let issuer = args.issuer.clone().unwrap_or_else(|| own.issuer.clone());
    let mut builder =
        JwtVerifier::builder(issuer).clock(cx.clock.clone()).profile(match args.profile {
            Looks::Generic => Profile::Generic,
            Looks::Rfc9068 => Profile::Rfc9068,
        });
    if !args.algorithms.is_empty() {
        builder = builder.algorithms(args.algorithms.iter().copied());
    }
    if args.danger_allow_http_loopback {
        builder = builder.danger_allow_http_loopback();
    }
    with_keys(builder, args, own)?.build().map_err(|problems| usage(&problems))
}

fn with_keys(
    builder: JwtVerifierBuilder,
    args: &Args,
    own: &Own,
) -> Result<JwtVerifierBuilder, Failure> {
    if let Some(path) = &args.pem {
        // What the key is used with must not be for the token to say. Where nobody says it, it is
        // what the token says and the key allows: a public key is never a secret.
        let algorithm =
            args.algorithms.first().copied().or(own.algorithm).unwrap_or(Algorithm::RS256);
        let keys = KeySet::from_pem(algorithm, &input::file(path)?).map_err(|error| {
            Failure::usage(format!("`{}`, used with {algorithm}: {error}", path.display()))
        })?;
        return Ok(builder.keys(keys));
    }
    match args.jwks.as_deref() {
        Some(url) if is_url(url) => Ok(builder.jwks_uri(url).transport(network::transport()?)),
        Some(path) => {
            let text = input::file(path.as_ref())?;
            let keys = KeySet::from_jwks(&text)
                .or_else(|error| KeySet::from_jwk(&text).map_err(|_| error));
            let keys = keys.map_err(|error| Failure::usage(format!("`{path}`: {error}")))?;
            if keys.is_empty() {
                return Err(Failure::usage(format!("`{path}`: none of its keys can be used")));
            }
            Ok(builder.keys(keys))
        }
        None => Ok(builder.transport(network::transport()?)),
    }
}

fn policy(args: &Args, own: &Own, cx: &Context) -> Policy {
    let mut names = args.audience.iter();
    let first = names.next().unwrap_or(&own.audience);
    let policy = names.fold(Policy::new(first), |policy, name| policy.or_audience(name));
    let policy = policy.leeway(Duration::from_secs(args.leeway)).clock(cx.clock.clone());
    if args.scope.is_empty() {
        return policy;
    }
    policy.require(Requirement::all_scopes(args.scope.iter().map(String::as_str)))
}

fn source_of_keys(args: &Args) -> String {
    match (&args.pem, &args.jwks, &args.issuer) {
        (Some(path), ..) => path.display().to_string(),
        (_, Some(place), _) => place.clone(),
        (.., issuer) => format!("published by {}", issuer.as_deref().unwrap_or_default()),
    }
}

fn is_url(place: &str) -> bool {
    place.starts_with("https://") || place.starts_with("http://")
}

/// What is wrong with settings.
pub(crate) fn usage(problems: &ConfigError) -> Failure {
    Failure::usage(problems.to_string())
}
