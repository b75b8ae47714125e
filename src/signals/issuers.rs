//! The issuers whose statements are accepted, and their keys.
//!
//! The resource server implements this: signals must not import it.

use std::{future::Future, pin::Pin};

use crate::{error::refusal::VerifyError, jwt::statement::StatementKeys};

/// The issuers of a resource server.
pub(crate) trait Issuers: Send + Sync {
    /// Returns true if tokens of this issuer may be accepted, as far as is known without a resolver.
    fn is_trusted(&self, issuer: &str) -> bool;

    /// Returns the keys of an issuer that was given to the builder.
    fn configured_keys_of(&self, issuer: &str) -> Option<StatementKeys>;

    /// Returns the keys of an issuer, or `None` if the issuer is not trusted.
    fn keys_of(&self, issuer: &str) -> FindKeys;
}

/// The keys of an issuer, which a resolver may have to be asked for.
pub(crate) type FindKeys =
    Pin<Box<dyn Future<Output = Result<Option<StatementKeys>, VerifyError>> + Send>>;
