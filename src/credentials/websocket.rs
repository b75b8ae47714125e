//! The forms in which `Sec-WebSocket-Protocol` holds a token (RFC 6455 §11.3.4).

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::unchecked_token::check_length;
use crate::error::kind::ErrorKind;

/// A form in which a client of a WebSocket puts a token among the protocols that it offers.
#[derive(Clone, Debug)]
pub(super) enum ProtocolForm {
    /// The entry after the entry with this name.
    After(Cow<'static, str>),
    /// An entry with this prefix before the base64url encoding of the token.
    Base64url(Cow<'static, str>),
    /// An entry with this prefix before the token.
    Prefix(Cow<'static, str>),
}

impl ProtocolForm {
    /// Returns the text of each token among the entries of all fields, with the index of its entry.
    pub(super) fn find<'a>(
        &self,
        entries: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<(usize, &'a [u8])> {
        // Recipients ignore empty elements of a list (RFC 9110 §5.6.1).
        let entries = entries.map(<[u8]>::trim_ascii).enumerate();
        let mut entries = entries.filter(|(_, entry)| !entry.is_empty()).peekable();
        let mut found = Vec::new();
        while let Some((at, entry)) = entries.next() {
            match self {
                Self::After(name) if entry == name.as_bytes() => {
                    found.extend(entries.peek().copied());
                }
                Self::After(_) => {}
                Self::Base64url(prefix) | Self::Prefix(prefix) => {
                    found.extend(entry.strip_prefix(prefix.as_bytes()).map(|text| (at, text)));
                }
            }
        }
        found
    }

    /// Returns the token that an entry of this form holds as `text`.
    pub(super) fn decode<'a>(
        &self,
        text: &'a [u8],
        limit: usize,
    ) -> Result<Cow<'a, [u8]>, ErrorKind> {
        match self {
            Self::After(_) | Self::Prefix(_) => Ok(text.into()),
            // Four characters hold three bytes. This refuses a long text before it is decoded.
            Self::Base64url(_) => {
                if text.len() / 4 > limit / 3 {
                    check_length(text.len() / 4 * 3, limit)?;
                }
                let token = URL_SAFE_NO_PAD.decode(text);
                token.map(Cow::from).map_err(|_| ErrorKind::MalformedCredentials)
            }
        }
    }
}
