//! `verify`: a token against the keys of an issuer, one check after the other.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use http::{HeaderMap, HeaderValue, Uri, header::AUTHORIZATION};
use tower_introspect::{
    Policy, VerifyError,
    checks::{Check, Recording},
    credentials::Extractor,
    jose::Algorithm,
    jwt::{JwtVerifier, JwtVerifierBuilder, KeySet, Profile},
    policy::Requirement,
    verify::{Verifier as _, VerifyRequest},
};

use crate::{
    Context, checks,
    input::{self, TokenArgs},
    network,
    report::{Exit, Failure, Field, Report},
    token::{Form, Jws, Kind},
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
    let source = Source::of(args);
    let verifier = verifier(args, source, &own, cx)?;
    let policy = policy(args, &own, cx);
    let mut unasked = Vec::new();
    if args.issuer.is_none() {
        unasked.extend([Check::Issuer, Check::Trusted]);
    }
    if args.any_audience {
        unasked.push(Check::Audience);
    }

    let recording = Recording::start();
    let waiting = format!("asking {} for keys", source.url().unwrap_or_default());
    let outcome = cx.wait(&waiting, judge(&pasted.token, &verifier, &policy))?;
    let trace = recording.finish();

    let mut report = Report::new("verify", Exit::Accepted);
    verdict::headline(&mut report, outcome.as_ref().err(), unasked.is_empty());
    pasted.tell(&mut report);
    report.heading("Question");
    report.fields([
        Field::new("token", &kind.words),
        Field::new("keys", source.words()),
        cx.clock_field(),
    ]);
    report.set("kind", kind.code);
    network::tell_proxy(&mut report, source.url().as_slice());
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
    let token = Extractor::new().extract(&headers, &Uri::default())?;
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
        let jws = match form {
            Form::Jws(jws) => Some(jws),
            _ => None,
        };
        let claims = jws.and_then(Jws::claims);
        // Where it says nothing, no name fits, and it is refused for that.
        let or_none = |name: Option<&str>| match name {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => "(none)".to_owned(),
        };
        Self {
            issuer: or_none(claims.as_ref().and_then(|claims| claims.issuer())),
            audience: or_none(claims.as_ref().and_then(|claims| claims.audience().iter().next())),
            algorithm: jws.and_then(|jws| jws.header.text("alg")?.parse().ok()),
        }
    }
}

fn verifier(
    args: &Args,
    source: Source<'_>,
    own: &Own,
    cx: &Context,
) -> Result<JwtVerifier, Failure> {
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
    // What a key in PEM is used with, where nobody says: what the token says and the key allows. A
    // public key is never a secret.
    let said = args.algorithms.first().copied().or(own.algorithm);
    let builder = source.give(builder, said.unwrap_or(Algorithm::RS256))?;
    builder.build().map_err(|problems| Failure::usage(problems.to_string()))
}

/// Where the keys are.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Where the issuer's metadata says.
    Issuer(&'a str),
    Jwks(&'a Path),
    Pem(&'a Path),
    Url(&'a str),
}

impl<'a> Source<'a> {
    fn of(args: &'a Args) -> Self {
        match (&args.pem, args.jwks.as_deref()) {
            (Some(path), _) => Self::Pem(path),
            (None, Some(url)) if url.starts_with("https://") || url.starts_with("http://") => {
                Self::Url(url)
            }
            (None, Some(path)) => Self::Jwks(path.as_ref()),
            (None, None) => Self::Issuer(args.issuer.as_deref().unwrap_or_default()),
        }
    }

    /// What is asked.
    const fn url(self) -> Option<&'a str> {
        match self {
            Self::Issuer(url) | Self::Url(url) => Some(url),
            Self::Jwks(_) | Self::Pem(_) => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Issuer(issuer) => format!("published by {issuer}"),
            Self::Jwks(path) | Self::Pem(path) => path.display().to_string(),
            Self::Url(url) => url.to_owned(),
        }
    }

    /// The verifier with these keys.
    fn give(
        self,
        builder: JwtVerifierBuilder,
        algorithm: Algorithm,
    ) -> Result<JwtVerifierBuilder, Failure> {
        let wrong = |path: &Path, problem: &dyn std::fmt::Display| {
            Failure::usage(format!("`{}`: {problem}", path.display()))
        };
        match self {
            Self::Issuer(_) => Ok(builder.transport(network::transport()?)),
            Self::Url(url) => Ok(builder.jwks_uri(url).transport(network::transport()?)),
            Self::Pem(path) => {
                let keys = KeySet::from_pem(algorithm, &input::file(path)?);
                let keys =
                    keys.map_err(|error| wrong(path, &format!("for {algorithm}, {error}")))?;
                Ok(builder.keys(keys))
            }
            Self::Jwks(path) => {
                let text = input::file(path)?;
                let keys = KeySet::from_jwks(&text)
                    .or_else(|error| KeySet::from_jwk(&text).map_err(|_| error));
                let keys = keys.map_err(|error| wrong(path, &error))?;
                if keys.is_empty() {
                    return Err(wrong(path, &"none of its keys can be used"));
                }
                Ok(builder.keys(keys))
            }
        }
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
