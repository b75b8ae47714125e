use std::ops::Range;

use http::HeaderValue;

use super::{Origin, Scheme, Token, grammar::is_b64token};
use crate::{
    checks::{Detail, check::Check, step},
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// What stands where the token of a request should: no longer than a token may be, and nothing more
/// is known of it.
///
/// A token that is remembered is known by its digest alone. So this takes no part in what holds the
/// request, and its grammar is checked where it becomes a [`Token`].
pub(crate) enum Found<'a> {
    InHeader { value: &'a HeaderValue, range: Range<usize>, scheme: Scheme },
    Elsewhere { value: HeaderValue, origin: Origin },
}

impl Found<'_> {
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
            Self::InHeader { .. } => Origin::Header,
            Self::Elsewhere { origin, .. } => *origin,
        }
    }

    /// The token, if it is one.
    ///
    /// # Errors
    ///
    /// [`MalformedCredentials`](ErrorKind::MalformedCredentials).
    pub(crate) fn into_token(self) -> Result<Token, VerifyError> {
        if !is_b64token(self.secret_bytes()) {
            return Err(unusable(ErrorKind::MalformedCredentials));
        }
        usable();
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

/// Notes that credentials can be used.
#[inline]
pub(crate) fn usable() {
    let _ = step(Check::Credentials, Detail::default, Ok::<_, ErrorKind>(()));
}

/// Notes that they can't.
pub(super) fn unusable(kind: ErrorKind) -> VerifyError {
    let _ = step(Check::Credentials, Detail::default, Err::<(), _>(kind));
    kind.into()
}
