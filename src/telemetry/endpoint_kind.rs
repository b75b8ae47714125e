//! The endpoints of an authorization server, as metrics name them.

/// An endpoint of an authorization server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointKind {
    Introspection,
    Jwks,
    Metadata,
}

impl EndpointKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Introspection => "introspection",
            Self::Jwks => "jwks",
            Self::Metadata => "metadata",
        }
    }
}
