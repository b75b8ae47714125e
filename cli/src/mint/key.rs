//! `mint key` makes keys for tests.

use std::path::PathBuf;

use serde_json::{Value, json};
use tower_introspect::{
    inspect,
    jose::{Algorithm, SigningKey},
};

use crate::{
    Context, input,
    report::{Exit, Failure, Report},
};

/// Make a key pair, or convert an existing one to another format.
///
/// The `kid` starts with `test-`, followed by the start of the key's thumbprint (RFC 7638).
#[derive(clap::Args)]
pub(super) struct KeyArgs {
    /// The algorithm of the key.
    #[arg(long, value_name = "ALG", default_value = "ES256")]
    algorithm: Algorithm,
    /// The format of the output.
    #[arg(long, value_enum, default_value_t = Format::Pem, value_name = "FORMAT")]
    format: Format,
    /// A PEM file with the private key to convert, instead of a new one.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The private key as PKCS#8 in PEM.
    Pem,
    /// The private key as a JWK.
    PrivateJwk,
    /// The public key as a JWK.
    Jwk,
    /// A JWK Set with the public key.
    Jwks,
}

pub(super) fn run(args: &KeyArgs, cx: &Context) -> Result<Report, Failure> {
    let pem = match &args.from {
        Some(path) => input::file(path)?,
        None => {
            let unsupported = || Failure::usage(format!("{} has no key pair", args.algorithm));
            inspect::generate_key(args.algorithm).ok_or_else(unsupported)?.into_bytes()
        }
    };
    let key = SigningKey::from_pem(args.algorithm, &pem)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let kid = kid(&key);
    let public = key.with_kid(&kid).public_jwk().unwrap_or(Value::Null);
    cx.screen.warn(super::WARNING);

    let mut report = Report::new("mint key", Exit::Accepted);
    report.set("test", true);
    report.set("kid", kid.as_str());
    let (name, value) = match args.format {
        Format::Pem => ("pem", json!(String::from_utf8_lossy(&pem))),
        Format::Jwk => ("jwk", public),
        Format::Jwks => ("jwks", json!({ "keys": [public] })),
        Format::PrivateJwk => {
            let private = inspect::private_members(args.algorithm, &pem);
            let Some(Value::Object(private)) = private else {
                return Err(Failure::usage(
                    "only a key in PKCS#8 (`PRIVATE KEY`) can be converted",
                ));
            };
            let mut jwk = public;
            if let Some(members) = jwk.as_object_mut() {
                members.extend(private);
            }
            ("jwk", jwk)
        }
    };
    report.verbatim(value.as_str().map_or_else(|| format!("{value:#}\n"), str::to_owned));
    report.set(name, value);
    Ok(report)
}

/// Returns the `kid` of a key: `test-` and the start of its thumbprint.
pub(super) fn kid(key: &SigningKey) -> String {
    let thumbprint = key.public_jwk().and_then(|jwk| inspect::thumbprint(&jwk.to_string()));
    let thumbprint = thumbprint.unwrap_or_default();
    format!("test-{}", thumbprint.get(..8).unwrap_or_default())
}
