//! The text at the place of a token, before its grammar is checked.

use std::ops::Range;

use http::HeaderValue;

use super::{
    grammar::is_b64token,
    token::{Origin, Scheme, Token},
};
use crate::{
    checks::{
        check::Check,
        detail::{Detail, seen},
        record::{demand, record},
    },
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// The text in the place of a request where the token belongs, checked only for its length.
///
/// A cached token is found by its digest alone. So this borrows the header value instead of cloning
/// it, and the grammar is checked only where it becomes a [`Token`].
pub(crate) enum UncheckedToken<'a> {
    InHeader { value: &'a HeaderValue, range: Range<usize>, scheme: Scheme, origin: Origin },
    Elsewhere { value: HeaderValue, origin: Origin },
}

impl UncheckedToken<'_> {
    #[inline]
    pub(crate) fn secret_bytes(&self) -> &[u8] {
        match self {
            Self::InHeader { value, range, .. } => {
                value.as_bytes().get(range.clone()).unwrap_or_default()
            }
            Self::Elsewhere { value, .. } => value.as_bytes(),
        }
    }

    #[inline]
    pub(crate) const fn scheme(&self) -> Scheme {
        match self {
            Self::InHeader { scheme, .. } => *scheme,
            Self::Elsewhere { .. } => Scheme::Bearer,
        }
    }

    #[inline]
    pub(crate) const fn origin(&self) -> Origin {
        match self {
            Self::InHeader { origin, .. } | Self::Elsewhere { origin, .. } => *origin,
        }
    }

    /// Converts it into a token.
    ///
    /// # Errors
    ///
    /// [`MalformedCredentials`](ErrorKind::MalformedCredentials) if it does not have the grammar of
    /// one.
    pub(crate) fn into_token(self) -> Result<Token, VerifyError> {
        if !is_b64token(self.secret_bytes()) {
            return Err(record_invalid(ErrorKind::MalformedCredentials));
        }
        record_valid();
        let (scheme, origin) = (self.scheme(), self.origin());
        let (value, range) = match self {
            Self::InHeader { value, range, .. } => (value.clone(), range),
            Self::Elsewhere { value, .. } => {
                let range = 0..value.len();
                (value, range)
            }
        };
        Ok(Token::new(value, range, scheme, origin))
    }
}

/// Bounds the length before any work that grows with it.
#[inline]
pub(super) fn check_length(length: usize, limit: usize) -> Result<(), ErrorKind> {
    let detail = || seen(format_args!("{length} bytes")).wanted(format_args!("at most {limit}"));
    demand(Check::Length, detail, length <= limit, ErrorKind::TokenTooLong)
}

/// Records that the credentials are valid.
#[inline]
pub(crate) fn record_valid() {
    let _ = record(Check::Credentials, Detail::default, Ok::<_, ErrorKind>(()));
}

/// Records that the credentials are invalid, and returns the error. The check of their length was
/// recorded already.
pub(super) fn record_invalid(kind: ErrorKind) -> VerifyError {
    if kind != ErrorKind::TokenTooLong {
        let _ = record(Check::Credentials, Detail::default, Err::<(), _>(kind));
    }
    kind.into()
}
