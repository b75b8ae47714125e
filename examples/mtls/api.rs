//! The API: what you would copy.

use std::{error::Error, path::Path};

use axum::{Router, body::Body, extract::ConnectInfo, routing::get};
use tower_introspect::{
    ClientAuth, ConfigError, Issuer, ResourceServer, VerifiedToken,
    proof::Mtls,
    transport::{HttpTransport, RenewedTransport, ReqwestTransport},
};

use crate::tls::Connection;

/// Who this API is. Tokens must be meant for it.
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// The identifier of this API at the authorization server, where it is a client.
pub(crate) const CLIENT: &str = "api";

/// The API. Its certificate and key, and the authority that it trusts, are files in this directory:
/// `api.pem`, `ca.pem`.
pub(crate) async fn api(issuer: &str, directory: &Path) -> Result<Router, Box<dyn Error>> {
    let resource_server = ResourceServer::builder(AUDIENCE)
        // About every token the issuer is asked. Who asks is told by the certificate alone.
        .issuer(Issuer::introspect(issuer, ClientAuth::mtls(CLIENT)))
        .transport(transport(directory)?)
        // A token is good only over a connection with the certificate that it is bound to.
        .mtls(Mtls::new().certificate_fn(|head| {
            let ConnectInfo(connection) = head.extension::<ConnectInfo<Connection>>()?;
            connection.certificate
        }))
        // And one that is bound to none is no good at all.
        .require_binding()
        // Clients are told so: `tls_client_certificate_bound_access_tokens`.
        .metadata(|about| about)
        .build()?;
    resource_server.warm().await?;

    Ok(Router::new()
        .route("/payments", get(payments))
        .layer(resource_server.layer())
        // For everyone, so after the layer.
        .route_service(resource_server.metadata_path(), resource_server.metadata_service::<Body>()))
}

async fn payments(token: VerifiedToken) -> String {
    format!("the payments of {}", token.subject().unwrap_or("nobody"))
}

/// How the authorization server is reached: with our certificate, which is read again when it was renewed.
fn transport(directory: &Path) -> Result<HttpTransport, ConfigError> {
    let (own, authority) = (directory.join("api.pem"), directory.join("ca.pem"));
    let files = [own.clone(), authority.clone()];
    let make = move || {
        let identity = reqwest::Identity::from_pem(&read(&own)?).map_err(|_| unfit(&own))?;
        let authority =
            reqwest::Certificate::from_pem(&read(&authority)?).map_err(|_| unfit(&authority))?;
        let builder = ReqwestTransport::builder().identity(identity).tls_certs_only([authority]);
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
