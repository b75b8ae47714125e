//! As whom a command asks the authorization server.

use std::path::PathBuf;

use clap::ValueEnum;
use tower_introspect::{
    ClientAuth,
    jose::{Algorithm, SigningKey},
};

use crate::{input, report::Failure};

/// A way of client authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// A secret, by the method that the server's metadata offers.
    Secret,
    /// `client_secret_basic`.
    Basic,
    /// The same for servers that do not decode it.
    BasicRaw,
    /// `client_secret_post`.
    Post,
    /// A bearer token instead of credentials.
    Bearer,
    /// `private_key_jwt`.
    PrivateKeyJwt,
    /// `client_secret_jwt`.
    ClientSecretJwt,
    /// The certificate of `--identity`.
    Mtls,
}

/// The credentials of this service. Secrets come from files or variables only.
#[derive(clap::Args)]
#[command(next_help_heading = "Client authentication")]
pub(crate) struct ClientArgs {
    /// How to authenticate.
    #[arg(long, value_enum, default_value_t = Method::Secret, value_name = "METHOD")]
    auth: Method,
    /// The client identifier.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// A file with the secret; of `bearer` the token, of `private-key-jwt` the private key in PEM.
    #[arg(long, value_name = "FILE", conflicts_with = "secret_env")]
    secret_file: Option<PathBuf>,
    /// The name of a variable of the environment with it.
    #[arg(long, value_name = "VARIABLE")]
    secret_env: Option<String>,
    /// What signs assertions with a private key.
    #[arg(long, value_name = "ALG")]
    algorithm: Option<Algorithm>,
    /// The name of the private key.
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
    /// For whom assertions are meant, if not the issuer.
    #[arg(long, value_name = "AUDIENCE")]
    assertion_audience: Option<String>,
}

impl ClientArgs {
    /// The credentials.
    ///
    /// # Errors
    ///
    /// All that is missing, or why a secret can't be read. Never what was read.
    pub(crate) fn auth(&self) -> Result<ClientAuth, Failure> {
        let needs_id = self.auth != Method::Bearer;
        let needs_secret = self.auth != Method::Mtls;
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
