//! Reads how this service authenticates to an issuer.

use std::path::PathBuf;

use super::{
    reader::{Secret, Section, load_key},
    tls::ClientCert,
};
use crate::{
    error::config::ConfigError, introspection::auth::ClientAuth, jose::algorithm::Algorithm,
};

/// The credentials with which this service authenticates to the issuer.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) method: Method,
    pub(super) id: Option<String>,
    pub(super) secret: Option<Secret>,
    algorithm: Option<Algorithm>,
    kid: Option<String>,
    audience: Option<String>,
    certificate: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Basic,
    BasicRaw,
    Bearer,
    DangerNone,
    Mtls,
    Post,
    PrivateKeyJwt,
    Secret,
    SecretJwt,
}

/// The methods of client authentication by their names.
pub(super) const METHODS: [(&str, Method); 9] = [
    ("secret", Method::Secret),
    ("basic", Method::Basic),
    ("basic_raw", Method::BasicRaw),
    ("post", Method::Post),
    ("bearer", Method::Bearer),
    ("private_key_jwt", Method::PrivateKeyJwt),
    ("client_secret_jwt", Method::SecretJwt),
    ("mtls", Method::Mtls),
    ("danger_none", Method::DangerNone),
];

impl Client {
    pub(super) fn read(section: &mut Section) -> Self {
        section.require("method");
        let method = section.keyword("method", &METHODS);
        let method = method.unwrap_or(Method::Basic);
        let (mut id, mut algorithm, mut kid, mut audience) = (None, None, None, None);
        let mut certificate = None;
        if !matches!(method, Method::Bearer | Method::DangerNone) {
            section.require("id");
            id = section.text("id");
        }
        let secret = match method {
            Method::Bearer => section.secret("token"),
            Method::DangerNone => None,
            Method::Mtls => {
                section.require("certificate_file");
                certificate = section.text("certificate_file").map(Into::into);
                section.secret("key")
            }
            Method::PrivateKeyJwt => {
                let key;
                (algorithm, kid, key) = section.signing_key();
                key
            }
            _ => section.secret("secret"),
        };
        if matches!(method, Method::PrivateKeyJwt | Method::Secret | Method::SecretJwt) {
            audience = section.text("assertion_audience");
        }
        Self { method, id, secret, algorithm, kid, audience, certificate }
    }

    /// Returns the certificate of the client, if it has one.
    pub(super) fn certificate(&self) -> Option<ClientCert> {
        Some(ClientCert { certificate: self.certificate.clone()?, key: self.secret.clone()? })
    }

    /// Reads the credentials, which are read again when their file changes.
    pub(super) fn load(&self) -> Result<ClientAuth, ConfigError> {
        match &self.secret {
            // The transport looks after the certificate and its key.
            Some(Secret::File(path)) if self.method != Method::Mtls => {
                let this = self.clone();
                ClientAuth::renewed([path], move || this.load_once())
            }
            _ => self.load_once(),
        }
    }

    fn load_once(&self) -> Result<ClientAuth, ConfigError> {
        // Missing settings were reported when the table was read.
        let id = self.id.clone().unwrap_or_default();
        let secret = || self.secret.as_ref().map_or(Ok(String::new()), Secret::load);
        let with_secret = |auth: fn(String, String) -> ClientAuth| {
            ("secret", secret().map(|secret| auth(id.clone(), secret)))
        };
        let (name, auth) = match self.method {
            Method::Basic => with_secret(ClientAuth::basic),
            Method::BasicRaw => with_secret(ClientAuth::basic_raw),
            Method::Bearer => ("token", secret().map(ClientAuth::bearer)),
            Method::DangerNone => ("method", Ok(ClientAuth::danger_none())),
            // The transport reads the certificate and its key.
            Method::Mtls => ("key", Ok(ClientAuth::mtls(id))),
            Method::Post => with_secret(ClientAuth::post),
            Method::PrivateKeyJwt => {
                let key = load_key(self.secret.as_ref(), self.algorithm, self.kid.as_deref());
                ("key", key.map(|key| ClientAuth::private_key_jwt(id, key)))
            }
            Method::Secret => with_secret(ClientAuth::secret),
            Method::SecretJwt => with_secret(ClientAuth::client_secret_jwt),
        };
        let auth = auth.map_err(|problem| ConfigError::of(name, problem))?;
        Ok(match &self.audience {
            Some(audience) => auth.assertion_audience(&**audience),
            None => auth,
        })
    }
}
