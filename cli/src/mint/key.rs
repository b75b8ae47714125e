//! Keys for tests.

use std::path::PathBuf;

use serde_json::{Value, json};
use tower_introspect::{
    inspect,
    jose::{Algorithm, SigningKey},
};

use crate::{
    Context, input,
    keys::jwk::Key,
    report::{Exit, Failure, Report},
};

/// Make a key pair, or show an existing one in another form.
///
/// Its name starts with `test-`, and says what it is made of.
#[derive(clap::Args)]
pub(super) struct KeyArgs {
    /// What it signs with.
    #[arg(long, value_name = "ALG", default_value = "ES256")]
    algorithm: Algorithm,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Pem, value_name = "FORMAT")]
    format: Format,
    /// A file with the private key in PEM, instead of a new one.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The private key, in PKCS#8.
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
    let text = match args.format {
        Format::Pem => {
            let pem = String::from_utf8_lossy(&pem).into_owned();
            report.set("pem", pem.as_str());
            pem
        }
        Format::Jwk => in_json(&mut report, "jwk", public),
        Format::Jwks => in_json(&mut report, "jwks", json!({ "keys": [public] })),
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
            in_json(&mut report, "jwk", jwk)
        }
    };
    report.verbatim(text);
    Ok(report)
}

fn in_json(report: &mut Report, name: &str, value: Value) -> String {
    let text = format!("{value:#}\n");
    report.set(name, value);
    text
}

/// The name of a key: for tests, and by what it is made of.
pub(super) fn kid(key: &SigningKey) -> String {
    let jwk = key.public_jwk().unwrap_or(Value::Null).to_string();
    let key = Key::read(0, &jwk, tower_introspect::clock::UnixTime::default(), 0);
    let print = key.thumbprint.unwrap_or_default();
    format!("test-{}", print.get(..8).unwrap_or_default())
}
