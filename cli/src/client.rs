//! The client credentials that a command introspects with.

use std::path::PathBuf;

use clap::ValueEnum;
use tower_introspect::{
    ClientAuth,
    jose::{Algorithm, SigningKey},
};

use crate::{input, report::Failure};

/// A method of client authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    Secret,
    Basic,
    BasicRaw,
    Post,
    Bearer,
    PrivateKeyJwt,
    ClientSecretJwt,
    Mtls,
    DangerNone,
}

/// The credentials of this service. Secrets come from files or variables only.
#[derive(clap::Args)]
#[command(next_help_heading = "Client authentication")]
pub(crate) struct ClientArgs {
    /// The method of client authentication. `secret` is one that the server's metadata offers,
    /// `basic-raw` is `basic` without form-encoding, and `bearer` sends a token of this service.
    #[arg(long, value_enum, default_value_t = Method::Secret, value_name = "METHOD")]
    auth: Method,
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
        let needs_id = !matches!(self.auth, Method::Bearer | Method::DangerNone);
        let needs_secret = !matches!(self.auth, Method::Mtls | Method::DangerNone);
        let mut missing = Vec::new();
        if needs_id && self.client_id.is_none() {
            missing.push("--client-id");
        }
        if needs_secret && self.secret_file.is_none() && self.secret_env.is_none() {
            missing.push("--secret-file or --secret-env");
        }
        if self.auth == Method::PrivateKeyJwt && self.algorithm.is_none() {
            missing.push("--algorithm");
        }
        if !missing.is_empty() {
            let name = self.auth.to_possible_value();
            let name = name.as_ref().map_or("", |value| value.get_name());
            let missing = missing.join(", ");
            return Err(Failure::usage(format!("`--auth {name}` needs {missing}")));
        }
        let id = self.client_id.clone().unwrap_or_default();
        let secret = input::secret(self.secret_file.as_deref(), self.secret_env.as_deref())?;
        let secret = secret.unwrap_or_default();
        let auth = match self.auth {
            Method::Secret => ClientAuth::secret(id, secret),
            Method::Basic => ClientAuth::basic(id, secret),
            Method::BasicRaw => ClientAuth::basic_raw(id, secret),
            Method::Post => ClientAuth::post(id, secret),
            Method::Bearer => ClientAuth::bearer(secret),
            Method::DangerNone => ClientAuth::danger_none(),
            Method::ClientSecretJwt => ClientAuth::client_secret_jwt(id, secret),
            Method::Mtls => ClientAuth::mtls(id),
            Method::PrivateKeyJwt => {
                let algorithm = self.algorithm.unwrap_or(Algorithm::ES256);
                let key = SigningKey::from_pem(algorithm, secret.as_bytes())
                    .map_err(|error| Failure::usage(format!("the private key: {error}")))?;
                let key = match &self.kid {
                    Some(kid) => key.with_kid(kid),
                    None => key,
                };
                ClientAuth::private_key_jwt(id, key)
            }
        };
        Ok(match &self.assertion_audience {
            Some(audience) => auth.assertion_audience(audience),
            None => auth,
        })
    }
}
