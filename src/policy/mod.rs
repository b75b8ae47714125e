//! Decides on every request whether a verified token is enough.
//!
//! A [`Policy`](crate::Policy) is the only way from an [`ActiveToken`](crate::verify::ActiveToken),
//! which holds the facts that an issuer vouches for, to a [`VerifiedToken`](crate::VerifiedToken), which is
//! enough for this request.
//! It runs on every request, whether the facts are new or cached, so no earlier decision is ever
//! reused.
//!
//! ```
//! use tower_introspect::{
//!     ErrorKind, Policy,
//!     claims::Claims,
//!     clock::{Moment, SystemClock},
//!     credentials::Scheme,
//!     verify::{ActiveToken, Method},
//! };
//!
//! let claims = Claims::from_json(br#"{"sub": "alice", "aud": "https://other.example.com"}"#).unwrap();
//! let start = Moment::now(&SystemClock);
//! let active = ActiveToken::new("https://as.example.com", claims, Method::Custom, start);
//!
//! let ours = Policy::new("https://api.example.com");
//! let refused = ours.admit(active.clone(), Scheme::Bearer).unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::WrongAudience);
//!
//! let theirs = Policy::new("https://other.example.com");
//! assert_eq!(theirs.admit(active, Scheme::Bearer).unwrap().subject(), Some("alice"));
//! ```

mod advice;
mod challenge_settings;
mod decide;
pub(crate) mod identity;
mod implied_scopes;
mod lifetime;
pub(crate) mod observer;
pub(crate) mod observer_reports;
pub(crate) mod recorder;
pub(crate) mod replay_check;
pub(crate) mod requirement;
pub(crate) mod settings;
pub(crate) mod verified_token;

pub use self::{
    observer::Observer, requirement::detail_matcher::DetailMatcher, verified_token::Requirement,
};
