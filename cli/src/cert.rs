//! Reads the names, dates and public keys of certificates.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tower_introspect::clock::UnixTime;
use x509_cert::der::Decode as _;

/// The contents of a certificate. Nothing is verified here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    /// The bits of the public key (RFC 5280 §4.1.2.7).
    pub(crate) public_key: Vec<u8>,
}

impl Certificate {
    /// Parses a certificate in DER.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate;
        let time = |time: x509_cert::time::Time| {
            let seconds = time.to_unix_duration().as_secs();
            UnixTime::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
        };
        let key = certificate.subject_public_key_info.subject_public_key;
        Some(Self {
            subject: certificate.subject.to_string(),
            issuer: certificate.issuer.to_string(),
            not_before: time(certificate.validity.not_before),
            not_after: time(certificate.validity.not_after),
            public_key: key.raw_bytes().to_vec(),
        })
    }
}

/// Returns the certificates in a text of PEM blocks (RFC 7468 §5), in DER. Skips other blocks.
pub(crate) fn in_pem(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = blocks.filter_map(|rest| rest.split("-----END CERTIFICATE-----").next());
    bodies
        .filter_map(|body| {
            let body: String = body.chars().filter(|char| !char.is_whitespace()).collect();
            STANDARD.decode(body).ok()
        })
        .collect()
}
