//! Certificates, as your authority would issue them: to servers for their name, to clients to be known by.

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

/// Whether clients are asked for a certificate, and what becomes of those without.
#[derive(Clone, Copy)]
pub(crate) enum Clients {
    /// Nobody is asked.
    NotAsked,
    /// Who has none is let in without one.
    Asked,
    /// Who has none is turned away before a request is read.
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

    /// The certificate of a client.
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

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// TLS for a server on this machine.
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
    /// Certificate and key, as `reqwest::Identity::from_pem` wants them.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem() + &self.key.serialize_pem()
    }

    /// The value of `Client-Cert`, as a proxy would write it (RFC 9440 §2.2).
    pub(crate) fn field(&self) -> String {
        format!(":{}:", STANDARD.encode(self.certificate.der()))
    }

    /// What a token can be bound to.
    pub(crate) fn peer(&self) -> Option<PeerCertificate> {
        PeerCertificate::from_der(self.certificate.der())
    }
}
