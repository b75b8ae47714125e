//! The client credentials that a command introspects with.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use tower_introspect::{
    ClientAuth,
    jose::{Algorithm, SigningKey},
};

use crate::{input, report::Failure};

/// The methods of client authentication.
const METHODS: &str = "secret basic basic-raw post bearer private-key-jwt client-secret-jwt mtls \
    danger-none";

/// The credentials of this service. Secrets come from files or variables only.
#[derive(clap::Args)]
#[command(next_help_heading = "Client authentication")]
pub(crate) struct ClientArgs {
    /// The method of client authentication. `secret` is one that the server's metadata offers,
    /// `basic-raw` is `basic` without form-encoding, and `bearer` sends a token of this service.
    #[arg(long, value_parser = PossibleValuesParser::new(METHODS.split(' ')),
        default_value = "secret", value_name = "METHOD")]
    auth: String,
    /// The client identifier.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// A file with the secret: for `bearer` the token, for `private-key-jwt` the private key in
    /// PEM.
    #[arg(long, value_name = "FILE", conflicts_with = "secret_env")]
    secret_file: Option<PathBuf>,
    /// The name of an environment variable with the secret.
    #[arg(long, value_name = "VARIABLE")]
    secret_env: Option<String>,
    /// The algorithm of the private key.
    #[arg(long, value_name = "ALG")]
    algorithm: Option<Algorithm>,
    /// The key identifier (`kid`) of the private key.
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
    /// The audience of client assertions. By default the issuer.
    #[arg(long, value_name = "AUDIENCE")]
    assertion_audience: Option<String>,
}

impl ClientArgs {
    pub(crate) fn id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns the credentials.
    ///
    /// # Errors
    ///
    /// If options are missing or a secret can't be read. The error never holds the secret.
    pub(crate) fn auth(&self) -> Result<ClientAuth, Failure> {
        let method = self.auth.as_str();
        let mut missing = Vec::new();
        if !matches!(method, "bearer" | "danger-none") && self.client_id.is_none() {
            missing.push("--client-id");
        }
        let has_secret = self.secret_file.is_some() || self.secret_env.is_some();
        if !matches!(method, "mtls" | "danger-none") && !has_secret {
            missing.push("--secret-file or --secret-env");
        }
        if method == "private-key-jwt" && self.algorithm.is_none() {
            missing.push("--algorithm");
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(Failure::usage(format!("`--auth {method}` needs {missing}")));
        }
        let id = self.client_id.clone().unwrap_or_default();
        let secret = input::secret(self.secret_file.as_deref(), self.secret_env.as_deref())?;
        let secret = secret.unwrap_or_default();
        let auth = match method {
            "basic" => ClientAuth::basic(id, secret),
            "basic-raw" => ClientAuth::basic_raw(id, secret),
            "post" => ClientAuth::post(id, secret),
            "bearer" => ClientAuth::bearer(secret),
            "danger-none" => ClientAuth::danger_none(),
            "client-secret-jwt" => ClientAuth::client_secret_jwt(id, secret),
            "mtls" => ClientAuth::mtls(id),
            "private-key-jwt" => {
                let algorithm = self.algorithm.unwrap_or(Algorithm::ES256);
                let mut key = SigningKey::from_pem(algorithm, secret.as_bytes())
                    .map_err(|error| Failure::usage(format!("the private key: {error}")))?;
                if let Some(kid) = &self.kid {
                    key = key.with_kid(kid);
                }
                ClientAuth::private_key_jwt(id, key)
            }
            _ => ClientAuth::secret(id, secret),
        };
        Ok(match &self.assertion_audience {
            Some(audience) => auth.assertion_audience(audience),
            None => auth,
        })
    }
}
