//! The verifiers of one issuer, and the tokens that they are for.

use std::{fmt, sync::Arc};

use crate::{
    error::kind::ErrorKind,
    verify::{
        boxed::{BoxFuture, BoxVerifier},
        request::{Freshness, VerifyRequest},
        verifier::{Verifier, Verifying},
    },
};

/// A function that returns true if the text of a token may be one of an issuer.
pub(crate) type Shape = dyn Fn(&str) -> bool + Send + Sync;

/// The verifiers of one issuer.
#[derive(Clone)]
pub struct IssuerRoute {
    pub(super) issuer: Box<str>,
    jwt: Option<BoxVerifier>,
    introspection: Option<BoxVerifier>,
    jwt_is_live: bool,
    prefix: Option<Box<str>>,
    shape: Option<Arc<Shape>>,
    is_custom: bool,
}

impl IssuerRoute {
    /// Creates an issuer without a verifier. All its tokens are refused.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.into(),
            jwt: None,
            introspection: None,
            jwt_is_live: false,
            prefix: None,
            shape: None,
            is_custom: false,
        }
    }

    /// Sets the verifier of its JWTs.
    #[must_use]
    pub fn jwt(mut self, verifier: BoxVerifier) -> Self {
        self.jwt = Some(verifier);
        self
    }

    /// Sets the verifier of its opaque tokens. It also verifies JWTs that no other verifier
    /// handles, or whose request needs [`Freshness::Live`].
    #[must_use]
    pub fn introspection(mut self, verifier: BoxVerifier) -> Self {
        self.introspection = Some(verifier);
        self
    }

    /// Sets the verifier of all its tokens, opaque ones and JWTs that name it. All of them have the
    /// prefix and the shape, if these are set.
    pub(crate) fn custom(mut self, verifier: BoxVerifier) -> Self {
        self.is_custom = true;
        self.introspection(verifier)
    }

    /// Declares that its JWT verifier also calls the authorization server, and so can serve
    /// [`Freshness::Live`].
    #[must_use]
    pub fn jwt_is_live(mut self) -> Self {
        self.jwt_is_live = true;
        self
    }

    /// Declares that its opaque tokens start with `prefix`, and those of no other issuer do.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Declares that `shape` returns true for its opaque tokens, and for those of no other issuer.
    pub(crate) fn shape(mut self, shape: Arc<Shape>) -> Self {
        self.shape = Some(shape);
        self
    }

    pub(super) fn verify_jwt(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        match self.for_jwt(request.token().secret_bytes(), request.freshness()) {
            Some(verifier) => verifier.verify(request),
            None => Verifying::done(Err(ErrorKind::UnknownIssuer.into())),
        }
    }

    /// Returns the verifier for a JWT of this issuer.
    pub(super) fn for_jwt(&self, token: &[u8], freshness: Freshness) -> Option<&BoxVerifier> {
        if self.is_custom && !(self.may_start(token) && self.has_shape_of(token)) {
            return None;
        }
        let needs_call = freshness == Freshness::Live && !self.jwt_is_live;
        let live = self.introspection.as_ref().filter(|_| needs_call);
        live.or(self.jwt.as_ref()).or(self.introspection.as_ref())
    }

    /// Returns the verifier of opaque tokens.
    pub(super) fn for_opaque(&self) -> Option<&BoxVerifier> {
        self.introspection.as_ref()
    }

    /// Returns true if there is a prefix, and the token starts with it.
    pub(super) fn has_prefix_of(&self, token: &[u8]) -> bool {
        self.prefix.is_some() && self.may_start(token)
    }

    pub(super) fn prefix_len(&self) -> usize {
        self.prefix.as_ref().map_or(0, |prefix| prefix.len())
    }

    /// Returns true if only the shape of its opaque tokens tells them from others.
    pub(super) const fn is_known_by_shape(&self) -> bool {
        self.prefix.is_none() && self.shape.is_some()
    }

    /// Returns true if nothing tells its opaque tokens from others.
    pub(super) const fn takes_any_opaque(&self) -> bool {
        self.prefix.is_none() && self.shape.is_none()
    }

    /// Returns true if the token has the shape, or there is none.
    ///
    /// The token may not be well-formed yet. The function of the application gets ASCII only.
    pub(super) fn has_shape_of(&self, token: &[u8]) -> bool {
        let Some(shape) = &self.shape else { return true };
        token.is_ascii() && std::str::from_utf8(token).is_ok_and(|token| shape(token))
    }

    /// Returns true if the token starts with the prefix, or there is none.
    fn may_start(&self, token: &[u8]) -> bool {
        self.prefix.as_deref().is_none_or(|prefix| token.starts_with(prefix.as_bytes()))
    }
}

impl fmt::Debug for IssuerRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerRoute")
            .field("issuer", &self.issuer)
            .field("jwt", &self.jwt.is_some())
            .field("introspection", &self.introspection.is_some())
            .finish_non_exhaustive()
    }
}
