//! Reads how this service is authorized at a transmitter.

use crate::{
    config::{
        client::{Client, Method},
        reader::{Secret, Section},
        tls::ClientCert,
    },
    credentials::token::Token,
    error::config::ConfigError,
    signals::transmitter::access::TransmitterAuth,
};

/// The configured access token, or the way to obtain one.
pub(super) enum Access {
    Token(Secret),
    Client { token_endpoint: String, client: Client, scope: Option<String> },
}

impl Access {
    /// Reads the settings. Returns `None` if there are none, or if there is a problem.
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        if section.has("client") && section.has_secret("access_token") {
            section.problem("client", "conflicts with `access_token`");
        }
        let token = section.optional_secret("access_token").map(Self::Token);
        let client = section.section("client", |section| {
            section.require("token_endpoint");
            let token_endpoint = section.text("token_endpoint").unwrap_or_default();
            let scope = section.text("scope");
            let client = Client::read(section);
            if matches!(client.method, Method::Bearer | Method::DangerNone) {
                section.problem("method", "not for a token endpoint");
            }
            Self::Client { token_endpoint, client, scope }
        });
        token.or(client)
    }

    /// Returns true if one of the settings is there.
    pub(super) fn is_in(section: &Section) -> bool {
        section.has("client") || section.has_secret("access_token")
    }

    pub(super) fn certificate(&self) -> Option<ClientCert> {
        match self {
            Self::Token(_) => None,
            Self::Client { client, .. } => client.certificate(),
        }
    }

    /// Reads the secret. An access token in a file is read again for each request.
    pub(super) fn load(&self) -> Result<TransmitterAuth, ConfigError> {
        match self {
            Self::Token(secret) => {
                let problem = |problem| ConfigError::of("access_token", problem);
                let token = secret.load().map_err(problem)?;
                if Token::bearer(&token).is_none() {
                    return Err(ConfigError::of("access_token", "not a bearer token"));
                }
                let Secret::File(_) = secret else { return Ok(TransmitterAuth::bearer(&token)) };
                let secret = secret.clone();
                Ok(TransmitterAuth::from_fn(move |_| {
                    let secret = secret.clone();
                    async move { Ok(tokio::task::spawn_blocking(move || secret.load()).await??) }
                }))
            }
            Self::Client { token_endpoint, client, scope } => {
                let mut problems = ConfigError::new();
                match client.load() {
                    Ok(client) => Ok(TransmitterAuth::client_credentials(
                        token_endpoint,
                        client,
                        scope.as_deref(),
                    )),
                    Err(problem) => {
                        problems.merge("client", problem);
                        Err(problems)
                    }
                }
            }
        }
    }
}
