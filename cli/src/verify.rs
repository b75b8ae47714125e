//! `verify` verifies a JWT with the keys of an issuer and shows every check.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use http::{HeaderMap, HeaderValue, Uri, header::AUTHORIZATION};
use tower_introspect::{
    Policy, VerifyError,
    checks::{Check, Recording},
    clock::Clock,
    credentials::Extractor,
    jose::Algorithm,
    jwt::{JwtVerifier, JwtVerifierBuilder, KeySet, Profile},
    policy::Requirement,
    transport::HttpTransport,
    verify::{Verifier as _, VerifyRequest},
};

use crate::{
    Context, checks,
    input::{self, TokenArgs},
    proxy,
    report::{Exit, Failure, Field, Report},
    token::{Form, Jws, Kind},
    verdict,
};

/// Verify a JWT, and show every check with the value found and the value expected.
///
/// The keys come from the issuer, a URL or a file. Only keys and metadata are fetched: the token is
/// not sent anywhere.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
    /// The issuer, exactly as in `iss`. Its keys are discovered unless --jwks or --pem has them.
    #[arg(long, value_name = "URL", required_unless_present_any = ["jwks", "pem"])]
    issuer: Option<String>,
    /// The keys: a JWK Set or one JWK, at a URL or in a file.
    #[arg(long, value_name = "URL|FILE", conflicts_with = "pem")]
    jwks: Option<String>,
    /// The key: a public key in a PEM file.
    #[arg(long, value_name = "FILE")]
    pem: Option<PathBuf>,
    /// The allowed algorithms. By default all but those with a shared secret.
    #[arg(long = "alg", value_name = "ALG", value_delimiter = ',')]
    algorithms: Vec<Algorithm>,
    /// The identifier of this service. If given several times, `aud` must have one of them.
    #[arg(long, value_name = "AUDIENCE", required_unless_present = "any_audience")]
    audience: Vec<String>,
    /// Skip the check of the audience.
    #[arg(long, conflicts_with = "audience")]
    any_audience: bool,
    /// A required scope. If given several times, the token must have all of them.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// The form of the issuer's access tokens.
    #[arg(long, value_enum, default_value = "generic")]
    profile: ProfileArg,
    /// The length of the longest token.
    #[arg(long, value_name = "BYTES", default_value_t = 8192)]
    max_token_bytes: usize,
    /// The tolerated difference between clocks.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    leeway: u64,
    /// Allow `http` URLs of this machine.
    #[arg(long)]
    danger_allow_http_loopback: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProfileArg {
    /// JWTs that are marked as access tokens in any of the usual ways.
    Generic,
    /// JWTs of the type `at+jwt`.
    Rfc9068,
    /// JWTs that identify a service, such as those of Google.
    ServiceIdentity,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let pasted = args.token.read(cx)?;
    let form = Form::of(&pasted.token);
    let kind = Kind::of(&pasted.token, &form);
    let named = NamedByToken::of(&form);
    let source = KeySource::of(args);
    let verifier = verifier(args, source, &named, &cx.clock)?;
    let policy = policy(args, &named, &cx.clock);
    let mut not_requested = Vec::new();
    if args.issuer.is_none() {
        not_requested.extend([Check::Issuer, Check::Trusted]);
    }
    if args.any_audience {
        not_requested.push(Check::Audience);
    }

    let recording = Recording::start();
    let activity = format!("fetching keys from {}", source.url().unwrap_or_default());
    let extractor = Extractor::new().max_token_bytes(args.max_token_bytes);
    let outcome = cx.wait(&activity, verify(&pasted.token, &extractor, &verifier, &policy))?;
    let trace = recording.finish();

    let mut report = Report::new("verify", Exit::Accepted);
    verdict::headline(&mut report, outcome.as_ref().err(), not_requested.is_empty());
    pasted.report_cleanups(&mut report);
    report.heading("Input");
    report.fields([
        Field::new("token", &kind.description),
        Field::new("keys", source.describe()),
        cx.clock_field(),
    ]);
    report.set("kind", kind.code);
    proxy::report_proxies(&mut report, source.url().as_slice());
    checks::report_checks(&mut report, &trace, &not_requested, cx.now());
    if let Err(error) = &outcome {
        verdict::advise(&mut report, error, &kind);
    }
    Ok(report)
}

/// Verifies the token as the middleware does: header, verifier, policy.
async fn verify(
    token: &str,
    extractor: &Extractor,
    verifier: &JwtVerifier,
    policy: &Policy,
) -> Result<(), VerifyError> {
    let mut headers = HeaderMap::new();
    // Without the header, the extractor reports missing credentials.
    if let Ok(value) = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()) {
        headers.insert(AUTHORIZATION, value);
    }
    let token = extractor.extract(&headers, &Uri::default())?;
    let scheme = token.scheme();
    let active = verifier.verify(VerifyRequest::new(token)).await?;
    policy.admit(active, scheme).map(drop)
}

/// The values in the token, for settings that the command line leaves out.
struct NamedByToken {
    issuer: String,
    audience: String,
    algorithm: Option<Algorithm>,
}

impl NamedByToken {
    fn of(form: &Form) -> Self {
        let jws = match form {
            Form::Jws(jws) => Some(jws),
            _ => None,
        };
        let claims = jws.and_then(Jws::claims);
        // A token without the claim is refused for that, because it does not have this name.
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
    source: KeySource<'_>,
    named: &NamedByToken,
    clock: &Arc<dyn Clock>,
) -> Result<JwtVerifier, Failure> {
    let issuer = args.issuer.clone().unwrap_or_else(|| named.issuer.clone());
    let mut builder =
        JwtVerifier::builder(issuer).clock(clock.clone()).profile(match args.profile {
            ProfileArg::Generic => Profile::Generic,
            ProfileArg::Rfc9068 => Profile::Rfc9068,
            ProfileArg::ServiceIdentity => Profile::ServiceIdentity,
        });
    if !args.algorithms.is_empty() {
        builder = builder.algorithms(args.algorithms.iter().copied());
    }
    if args.danger_allow_http_loopback {
        builder = builder.danger_allow_http_loopback();
    }
    // The token chooses the algorithm of a key in PEM if no option does. This is safe: the key must
    // allow the algorithm, and a public key is never used as a shared secret.
    let algorithm = args.algorithms.first().copied().or(named.algorithm);
    let builder = source.add_keys_to(builder, algorithm.unwrap_or(Algorithm::RS256))?;
    builder.build().map_err(|problems| Failure::usage(problems.to_string()))
}

/// The source of the keys.
#[derive(Clone, Copy)]
enum KeySource<'a> {
    /// The URL in the issuer's metadata.
    Issuer(&'a str),
    Jwks(&'a Path),
    Pem(&'a Path),
    Url(&'a str),
}

impl<'a> KeySource<'a> {
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

    /// Returns the URL that is contacted.
    const fn url(self) -> Option<&'a str> {
        match self {
            Self::Issuer(url) | Self::Url(url) => Some(url),
            Self::Jwks(_) | Self::Pem(_) => None,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Issuer(issuer) => format!("published by {issuer}"),
            Self::Jwks(path) | Self::Pem(path) => path.display().to_string(),
            Self::Url(url) => url.to_owned(),
        }
    }

    /// Sets the keys of a verifier.
    fn add_keys_to(
        self,
        builder: JwtVerifierBuilder,
        algorithm: Algorithm,
    ) -> Result<JwtVerifierBuilder, Failure> {
        let wrong = |path: &Path, problem: &dyn std::fmt::Display| {
            Failure::usage(format!("`{}`: {problem}", path.display()))
        };
        match self {
            Self::Issuer(_) => Ok(builder.transport(transport()?)),
            Self::Url(url) => Ok(builder.jwks_uri(url).transport(transport()?)),
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

fn transport() -> Result<HttpTransport, Failure> {
    HttpTransport::reqwest().map_err(|problem| Failure::usage(problem.to_string()))
}

fn policy(args: &Args, named: &NamedByToken, clock: &Arc<dyn Clock>) -> Policy {
    let mut audiences = args.audience.iter();
    let first = audiences.next().unwrap_or(&named.audience);
    let policy = audiences.fold(Policy::new(first), |policy, name| policy.or_audience(name));
    let policy = policy.leeway(Duration::from_secs(args.leeway)).clock(clock.clone());
    if args.scope.is_empty() {
        return policy;
    }
    policy.require(Requirement::all_scopes(args.scope.iter().map(String::as_str)))
}
