//! A certificate authority that issues the certificates of the servers and clients of this example.

use std::{error::Error, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::PrivatePkcs8KeyDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tower_introspect::proof::PeerCertificate;

pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
pub(crate) struct Certified {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// The policy of a server for client certificates.
#[derive(Clone, Copy)]
pub(crate) enum Clients {
    /// No certificate is requested.
    NotAsked,
    /// A certificate is requested. Clients without one are let in.
    Asked,
    /// A certificate is required. Clients without one are turned away in the handshake.
    Demanded,
}

impl Pki {
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new([])?;
        params.distinguished_name.push(DnType::CommonName, "authority of the example");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Issues the certificate of a client.
    pub(crate) fn client(&self, name: &str) -> Result<Certified, rcgen::Error> {
        self.certify(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn certify(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Certified, rcgen::Error> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certified { certificate, key })
    }

    /// Returns the authority's own certificate.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Creates the TLS configuration of a server on this machine.
    pub(crate) fn server(&self, clients: Clients) -> Result<ServerConfig, Box<dyn Error>> {
        let own = self.certify("localhost", ExtendedKeyUsagePurpose::ServerAuth)?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?;
        let config = match self.verifier(clients)? {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let key = PrivatePkcs8KeyDer::from(own.key.serialize_der());
        Ok(config.with_single_cert(vec![own.certificate.der().clone()], key.into())?)
    }

    fn verifier(
        &self,
        clients: Clients,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(match clients {
            Clients::NotAsked => None,
            Clients::Asked => Some(verifier.allow_unauthenticated().build()?),
            Clients::Demanded => Some(verifier.build()?),
        })
    }
}

impl Certified {
    /// Returns certificate and key in the form of `reqwest::Identity::from_pem`.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem() + &self.key.serialize_pem()
    }

    /// Returns the value of `Client-Cert`, as a proxy would write it (RFC 9440 §2.2).
    pub(crate) fn field(&self) -> String {
        format!(":{}:", STANDARD.encode(self.certificate.der()))
    }

    /// Returns the certificate in the form that a token can be bound to.
    pub(crate) fn peer(&self) -> Option<PeerCertificate> {
        PeerCertificate::from_der(self.certificate.der())
    }
}
