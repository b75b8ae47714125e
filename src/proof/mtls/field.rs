//! Headers in which proxies pass on the certificate of their client.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};

use super::certificate::{MAX_BYTES, PeerCertificate, is_certificate};
use crate::percent::octet;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const XFTCC: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert");
const XFTCC_INFO: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert-info");

/// The headers that only a proxy may set.
pub(super) const FIELDS: [HeaderName; 5] =
    [CLIENT_CERT, CLIENT_CERT_CHAIN, XFCC, XFTCC, XFTCC_INFO];

/// The length of the longest certificate in base64.
const MAX_BASE64: usize = MAX_BYTES.div_ceil(3) * 4;

/// The longest value of a header that may hold a chain, in bytes.
const MAX_CHAIN: usize = 64 << 10;

/// The header in which a proxy passes on the certificate of its client.
///
/// Exactly one is configured, because a proxy that writes one header does not remove the others
/// from the requests of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateField {
    /// `Client-Cert`, with the certificate as `:base64 of DER:` (RFC 9440 §2.2).
    ClientCert,
    /// `X-Forwarded-Client-Cert` as Envoy writes it.
    ///
    /// Only `Hash`, the digest of the certificate, is read. Envoy must be configured to replace the
    /// header that its clients send (`SANITIZE_SET`). A value with several elements is refused,
    /// because the client may have written any of them.
    Xfcc,
    /// `X-Forwarded-Tls-Client-Cert` as Traefik writes it: the certificate in base64 of DER, and
    /// after commas those of its issuers that the client sent.
    ///
    /// Traefik must be configured to remove the header that its clients send, and then to set it
    /// (`headers`, and `passTLSClientCert` with `pem`), on every route. The first certificate
    /// counts. A value with anything but certificates in it is refused.
    XForwardedTlsClientCert,
}

impl CertificateField {
    pub(super) const fn name(self) -> HeaderName {
        match self {
            Self::ClientCert => CLIENT_CERT,
            Self::Xfcc => XFCC,
            Self::XForwardedTlsClientCert => XFTCC,
        }
    }

    /// Returns the certificate that a trusted proxy wrote into the header.
    ///
    /// # Errors
    ///
    /// The reason why there is no certificate. A malformed value may be the fault of the proxy, or
    /// of a client whose header the proxy did not remove; no certificate was proven in either case.
    pub(super) fn read(self, headers: &HeaderMap) -> Result<PeerCertificate, &'static str> {
        let mut values = headers.get_all(self.name()).into_iter();
        let Some(value) = values.next() else { return Err("the proxy sent no certificate") };
        // RFC 9440 §2.2: the field must not occur more than once.
        if values.next().is_some() {
            return Err("the certificate header occurs more than once");
        }
        let value = value.as_bytes();
        match self {
            Self::ClientCert => {
                client_cert(value).ok_or("`Client-Cert` is not a valid certificate")
            }
            Self::Xfcc => {
                xfcc(value).ok_or("`X-Forwarded-Client-Cert` does not name exactly one certificate")
            }
            Self::XForwardedTlsClientCert => {
                chain(value).ok_or("`X-Forwarded-Tls-Client-Cert` is not a chain of certificates")
            }
        }
    }
}

/// Parses the only valid form: no list, no parameter, and the padding that a sender must write (RFC
/// 8941 §4.1.8).
fn client_cert(value: &[u8]) -> Option<PeerCertificate> {
    let [b':', base64 @ .., b':'] = value else { return None };
    PeerCertificate::from_der(&der(base64)?)
}

/// Decodes base64 in its only valid form: with padding, and no stray bits.
fn der(base64: &[u8]) -> Option<Vec<u8>> {
    if base64.len() > MAX_BASE64 {
        return None;
    }
    STANDARD.decode(base64).ok()
}

/// Parses a list of certificates, the first of which is the client's own.
///
/// The others are checked as well: text that Traefik does not write may be that of a client.
fn chain(value: &[u8]) -> Option<PeerCertificate> {
    if value.len() > MAX_CHAIN {
        return None;
    }
    let mut certificates = value.split(|byte| *byte == b',');
    let own = PeerCertificate::from_der(&der(certificates.next()?)?)?;
    certificates.all(|issuer| der(issuer).is_some_and(|der| is_certificate(&der))).then_some(own)
}

/// Parses one element with one `Hash`.
///
/// Envoy writes names from the client's certificate, which the client chose, without quotes. So a
/// second element or a second `Hash` may be part of such a name.
fn xfcc(value: &[u8]) -> Option<PeerCertificate> {
    if value.len() > MAX_CHAIN {
        return None;
    }
    let mut hash = None;
    let mut rest = value;
    loop {
        let (key, after) = split_at_byte(rest, b'=')?;
        let (text, after) = match after {
            [b'"', quoted @ ..] => unquoted(quoted)?,
            plain => plain.split_at(
                plain.iter().position(|byte| b";,".contains(byte)).unwrap_or(plain.len()),
            ),
        };
        if key.eq_ignore_ascii_case(b"Hash") && hash.replace(digest(text)?).is_some() {
            return None;
        }
        match after {
            [] => return hash.map(PeerCertificate::from_digest),
            [b';', more @ ..] => rest = more,
            // A second element, or text after a closing quote.
            _ => return None,
        }
    }
}

/// Splits `text` at `separator` into a name of letters and the rest.
fn split_at_byte(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    let (name, rest) = text.split_at(at);
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_alphabetic);
    Some((name, rest.get(1..)?)).filter(|_| is_name)
}

/// Splits `text` at its closing quote. A backslash escapes a quote within.
fn unquoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    let (inner, rest) = text.split_at(end);
    Some((inner, rest.get(1..)?))
}

/// Parses a SHA-256 digest in hexadecimal digits.
fn digest(text: &[u8]) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.try_into().ok()?;
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = octet(pair)?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "b1a2c3d4e5f60718293a4b5c6d7e8f90b1a2c3d4e5f60718293a4b5c6d7e8f90";

    fn is_taken(text: &str) -> bool {
        xfcc(text.replace("HASH", HASH).as_bytes()).is_some()
    }

    #[test]
    fn xfcc_is_one_element_with_one_hash() {
        for good in [
            "Hash=HASH",
            "hash=HASH",
            "By=spiffe://a/b;Hash=HASH;Subject=\"CN=a,O=\\\"b;Hash=x\\\"\";URI=spiffe://c;DNS=d",
            "Hash=HASH;Cert=\"-----BEGIN%20CERTIFICATE-----%0A\"",
            "Hash=HASH;Subject=\"\";URI=",
            // Written by Envoy 1.40.
            "Hash=HASH;Subject=\"CN=good\";URI=spiffe://good",
            "Hash=HASH;Subject=\"CN=evil,O=a\\\"b\\,Hash=2222\"",
            "Hash=HASH;Subject=\"\\\\\"",
        ] {
            assert!(is_taken(good), "{good}");
        }
        for bad in [
            "",
            "Hash",
            "Hash=",
            "Hash=HASH;",
            "=HASH",
            "By=a",
            "Hash=HAS",
            "Hash=HASH0",
            "Hash= HASH",
            "Hash=HASH,Hash=HASH",
            "Hash=HASH;Hash=HASH",
            "Hash=HASH,",
            ",Hash=HASH",
            // Written by Envoy 1.40 for a certificate with such names, and in its appending mode.
            "Hash=HASH;Subject=\"CN=evil\";URI=spiffe://x,Hash=HASH;DNS=a;Hash=HASH",
            "X=\",Hash=HASH;Subject=\"CN=good\";URI=spiffe://good",
            // With a name from the certificate.
            "Hash=HASH;URI=spiffe://a,Hash=HASH",
            "Hash=HASH;DNS=a;Hash=HASH",
            // With a quote that the client opened.
            "X=\",By=a;Hash=HASH;Subject=\"CN=a\"",
            "Subject=\"a\"b;Hash=HASH",
            "Subject=\"Hash=HASH",
            "Subject=\"\\\";Hash=HASH",
        ] {
            assert!(!is_taken(bad), "{bad}");
        }
        let long = |len: usize| format!("Hash=HASH;Chain={}", "a".repeat(len));
        assert!(is_taken(&long(60_000)));
        assert!(!is_taken(&long(65_536)));
    }

    #[test]
    fn a_digest_has_64_digits_of_either_case() {
        assert_eq!(
            digest(HASH.as_bytes()).map(|digest| digest[..3].to_vec()),
            Some(vec![0xb1, 0xa2, 0xc3])
        );
        assert_eq!(digest(HASH.to_uppercase().as_bytes()), digest(HASH.as_bytes()));
        assert_eq!(digest(HASH.replace('b', "g").as_bytes()), None);
        assert_eq!(digest(HASH.replacen("b1", "+1", 1).as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_field_value_panics(value: Vec<u8>, text in "[:;,=\"\\\\HashBy0-9a-f]{0,80}") {
            for value in [&value[..], text.as_bytes()] {
                let _ = xfcc(value);
                let _ = client_cert(value);
                let _ = chain(value);
                let _ = PeerCertificate::from_der(value);
            }
        }
    }
}
