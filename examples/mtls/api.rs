//! The API. Copy this file.

use std::{error::Error, path::Path};

use axum::{Router, body::Body, extract::ConnectInfo, routing::get};
use tower_introspect::{
    ClientAuth, ConfigError, Issuer, ResourceServer, VerifiedToken,
    proof::Mtls,
    transport::{HttpTransport, RenewedTransport, ReqwestTransport},
};

use crate::tls::Connection;

/// The identifier of this API. Tokens must have it as audience.
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// The client identifier of this API at the authorization server.
pub(crate) const CLIENT: &str = "api";

/// Creates the API. Its certificate with key and the authority that it trusts are the files
/// `api.pem` and `ca.pem` in `directory`.
pub(crate) async fn api(issuer: &str, directory: &Path) -> Result<Router, Box<dyn Error>> {
    let resource_server = ResourceServer::builder(AUDIENCE)
        // Introspects every token. The API authenticates by its certificate alone.
        .issuer(Issuer::introspect(issuer, ClientAuth::mtls(CLIENT)))
        .transport(transport(directory)?)
        // Admits a bound token only over a connection with its certificate.
        .mtls(Mtls::new().certificate_fn(|head| {
            let ConnectInfo(connection) = head.extension::<ConnectInfo<Connection>>()?;
            connection.certificate
        }))
        // Refuses tokens that are bound to no key.
        .require_binding()
        // Publishes this as `tls_client_certificate_bound_access_tokens`.
        .metadata(|about| about)
        .build()?;
    resource_server.warm().await?;

    Ok(Router::new()
        .route("/payments", get(payments))
        .layer(resource_server.layer())
        // Public, so it is added after the layer.
        .route_service(resource_server.metadata_path(), resource_server.metadata_service::<Body>()))
}

async fn payments(token: VerifiedToken) -> String {
    format!("the payments of {}", token.subject().unwrap_or("nobody"))
}

/// Creates the transport to the authorization server.
///
/// It has the certificate of the API, which is read again after it was renewed.
fn transport(directory: &Path) -> Result<HttpTransport, ConfigError> {
    let (own, authority) = (directory.join("api.pem"), directory.join("ca.pem"));
    let files = [own.clone(), authority.clone()];
    let make = move || {
        let identity = reqwest::Identity::from_pem(&read(&own)?).map_err(|_| unfit(&own))?;
        let authority =
            reqwest::Certificate::from_pem(&read(&authority)?).map_err(|_| unfit(&authority))?;
        let builder = || {
            ReqwestTransport::builder()
                .identity(identity.clone())
                .tls_certs_only([authority.clone()])
        };
        ReqwestTransport::from_builder(builder).map(HttpTransport::from)
    };
    RenewedTransport::new(files, make).map(HttpTransport::from)
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(file).map_err(|error| problem(file, error))
}

fn unfit(file: &Path) -> ConfigError {
    problem(file, "it is not the PEM that is needed")
}

fn problem(file: &Path, problem: impl std::fmt::Display) -> ConfigError {
    let mut problems = ConfigError::new();
    problems.push(file.display().to_string(), problem);
    problems
}
