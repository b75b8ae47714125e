//! Finds the credentials that a request carries.
//!
//! By default a token is taken only from the `Authorization` header (RFC 6750 §2.1). [`Extractor`]
//! can add other places.
//!
//! ```
//! use http::{HeaderMap, Uri, header};
//! use tower_introspect::credentials::{Extractor, Scheme};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert(header::AUTHORIZATION, "bearer abc.def==".parse()?);
//! let token = Extractor::new().extract(&headers, &Uri::default())?;
//! assert_eq!(token.scheme(), Scheme::Bearer);
//! assert_eq!(token.secret_str(), "abc.def==");
//! assert!(!format!("{token:?}").contains("abc"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod extract;
mod grammar;
pub(crate) mod head;
pub(crate) mod hide;
pub(crate) mod media_type;
mod places;
mod sources;
pub(crate) mod token;
pub(crate) mod unchecked_token;
mod websocket;

pub use self::{
    extract::Extractor,
    head::RequestHead,
    token::{Fingerprint, Scheme, Token},
};
