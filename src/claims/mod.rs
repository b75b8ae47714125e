//! Reads the claims of a token.
//!
//! [`Claims`] is the strict reading of one JSON object: the payload of a JWT or an introspection
//! response. Duplicate members and deep nesting are refused. Registered claims are checked for
//! their type, and every other claim keeps its original text.
//!
//! ```
//! use tower_introspect::claims::Claims;
//!
//! let claims = Claims::from_json(br#"{"sub": "alice", "scope": "read write", "n": 18446744073709551617}"#)?;
//! assert_eq!(claims.subject(), Some("alice"));
//! assert!(claims.scope().contains("write"));
//! assert_eq!(claims.raw("n"), Some("18446744073709551617"));
//!
//! assert!(Claims::from_json(br#"{"scope": "read", "scope": "admin"}"#).is_err());
//! # Ok::<(), tower_introspect::claims::ClaimsError>(())
//! ```

mod actor;
mod audience;
mod canonical;
pub(crate) mod claims_set;
pub(crate) mod confirmation;
pub(crate) mod details;
pub(crate) mod error;
pub(crate) mod json;
pub(crate) mod kind;
mod narrow;
pub(crate) mod own_names;
pub(crate) mod own_text;
mod parsed;
pub(crate) mod path;
mod read;
pub(crate) mod scope;
mod text;
pub(crate) mod token_type;
pub(crate) mod typ;
pub(crate) mod unset;

#[doc(hidden)]
pub use self::scope::assert_scopes;
pub use self::{
    actor::Actor, audience::Audience, claims_set::Claims, confirmation::Confirmation,
    details::AuthorizationDetail, error::ClaimsError, path::ClaimPath, scope::Scope,
};
