//! The profiles of JWT access tokens.

/// The form of the access tokens of an issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Any JWT that is not marked as something else.
    ///
    /// For issuers that don't follow RFC 9068. `typ` may be absent, `JWT` or `at+jwt`. Any other
    /// `typ` is refused, and so are tokens whose claims are those of an ID token, a refresh token,
    /// a logout token or a security event.
    ///
    /// # Security
    ///
    /// If an issuer does not mark its ID tokens, only their audience keeps them from being accepted
    /// as access tokens. Give the service an audience that is not the identifier of a client.
    Generic,
    /// JWTs whose `typ` is `at+jwt` (RFC 9068 §4).
    #[default]
    Rfc9068,
}
