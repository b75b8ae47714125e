//! Tower middleware that makes a service an OAuth 2.0 resource server.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod axum;
pub mod claims;
pub mod clock;
pub mod credentials;
mod error;
pub mod http;
#[cfg(feature = "introspection")]
#[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
pub mod introspection;
#[cfg(feature = "_crypto")]
mod jose;
#[cfg(all(feature = "jwt", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub mod jwt;
pub mod layer;
pub mod policy;
pub mod require;
pub mod respond;
mod telemetry;
#[cfg(all(feature = "test-util", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod test_util;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub mod tonic;
pub mod verify;

#[cfg(feature = "introspection")]
#[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
pub use self::introspection::ClientAuth;
pub use self::{
    error::{Blame, BoxError, ConfigError, ErrorKind, TokenKind, VerifyError},
    layer::IntrospectLayer,
    policy::{Identity, Policy, VerifiedToken},
    require::{RequireAudience, RequireScope},
};
