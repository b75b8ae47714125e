//! Reads the compact serialisation of a JWS (RFC 7515 §3.1). Supports neither the JSON
//! serialisation nor an unencoded payload.

use base64::Engine as _;

use super::base64url::BASE64URL;
use crate::error::kind::ErrorKind;

/// The maximum length of an encoded header, in characters. Real headers have less than 300, or some
/// thousands with a certificate chain in `x5c`.
const MAX_HEADER: usize = 16 * 1024;

/// The reason why a text is not a JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompactError {
    /// It has five parts, as a JWE has. A JWE is refused: it would have to be decrypted before
    /// anything in it can be checked.
    Encrypted,
    Malformed,
}

impl From<CompactError> for ErrorKind {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Encrypted => Self::UnsupportedToken,
            CompactError::Malformed => Self::MalformedToken,
        }
    }
}

/// The parts of a JWS. They are not verified.
pub(crate) struct CompactJws<'a> {
    signing_input: &'a str,
    /// Header, payload and signature, decoded into one buffer.
    decoded: Vec<u8>,
    header_end: usize,
    payload_end: usize,
}

impl<'a> CompactJws<'a> {
    /// Splits and decodes `text`. It must have exactly three parts, each base64url without padding,
    /// white space or stray bits (RFC 7515 §5.2).
    pub(crate) fn parse(text: &'a str) -> Result<Self, CompactError> {
        Self::parts(text).ok_or_else(|| match text.bytes().filter(|byte| *byte == b'.').count() {
            4 => CompactError::Encrypted,
            _ => CompactError::Malformed,
        })
    }

    fn parts(text: &'a str) -> Option<Self> {
        let (header, rest) = text.split_once('.')?;
        // A third dot is not base64url, so decoding the signature refuses it.
        let (payload, signature) = rest.split_once('.')?;
        if header.len() > MAX_HEADER {
            return None;
        }
        let mut decoded = Vec::with_capacity(text.len());
        let mut decode = |part: &str| {
            BASE64URL.decode_vec(part, &mut decoded).ok()?;
            Some(decoded.len())
        };
        let header_end = decode(header)?;
        let payload_end = decode(payload)?;
        decode(signature)?;
        let signing_input = text.get(..header.len() + 1 + payload.len())?;
        Some(Self { signing_input, decoded, header_end, payload_end })
    }

    /// Returns the signed text, exactly as received (RFC 7515 §5.2, step 8).
    pub(crate) fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// Returns the JSON text of the header.
    pub(crate) fn header(&self) -> &[u8] {
        self.decoded.get(..self.header_end).unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.decoded.get(self.header_end..self.payload_end).unwrap_or_default()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        self.decoded.get(self.payload_end..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<CompactError> {
        CompactJws::parse(text).err()
    }

    #[test]
    fn parts_are_decoded() {
        let jws = CompactJws::parse("e30.eyJhIjoxfQ._-8").unwrap();
        assert_eq!(jws.header(), b"{}");
        assert_eq!(jws.payload(), b"{\"a\":1}");
        assert_eq!(jws.signature(), [0xff, 0xef]);
        assert_eq!(jws.signing_input(), "e30.eyJhIjoxfQ");
    }

    #[test]
    fn rfc7515_7_1_there_are_exactly_three_parts() {
        for text in ["", "e30", "e30.e30", "e30.e30.e30.e30", ".e30.e30.e30", "e30.e30.e30."] {
            assert_eq!(refused(text), Some(CompactError::Malformed), "{text}");
        }
        for text in ["e30.e30.e30.e30.e30", "....", "!.!.!.!.!"] {
            assert_eq!(refused(text), Some(CompactError::Encrypted), "{text}");
        }
    }

    #[test]
    fn rfc7515_2_parts_are_base64url_without_padding_or_anything_else() {
        for part in ["e30=", "e30==", "e3 0", "e30\n", "+-8", "/-8", "e3?0", "e", "é30", "e30\0"] {
            for text in
                [format!("{part}.e30.e30"), format!("e30.{part}.e30"), format!("e30.e30.{part}")]
            {
                assert_eq!(refused(&text), Some(CompactError::Malformed), "{text:?}");
            }
        }
    }

    #[test]
    fn rfc4648_3_5_stray_bits_are_refused() {
        assert!(CompactJws::parse("e30.e30._-8").is_ok());
        for text in ["e31.e30._-8", "e30.e31._-8", "e30.e30._-9"] {
            assert_eq!(refused(text), Some(CompactError::Malformed), "{text}");
        }
    }

    #[test]
    fn header_is_bounded() {
        let header = "A".repeat(MAX_HEADER + 4);
        assert_eq!(refused(&format!("{header}.e30.e30")), Some(CompactError::Malformed));
    }
}
