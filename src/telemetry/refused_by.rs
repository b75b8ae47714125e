/// The part of this crate that refuses a request, as events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedBy {
    /// The layer that verifies tokens, with its policy.
    Layer,
    /// A layer that requires something of a route or method.
    Requirement,
    /// An argument of a handler.
    #[cfg(feature = "axum")]
    Extractor,
    /// A handler.
    Handler,
    /// An interceptor of tonic.
    #[cfg(feature = "tonic")]
    Interceptor,
}

impl RefusedBy {
    #[cfg(feature = "tracing")]
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Requirement => "requirement",
            #[cfg(feature = "axum")]
            Self::Extractor => "extractor",
            Self::Handler => "handler",
            #[cfg(feature = "tonic")]
            Self::Interceptor => "interceptor",
        }
    }
}
