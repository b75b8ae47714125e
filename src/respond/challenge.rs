//! The `WWW-Authenticate` challenge (RFC 6750 §3, RFC 9110 §11.6.1).

use std::fmt::Write as _;

use http::HeaderValue;

use super::table::{Shape, row};
use crate::{claims::Scope, error::VerifyError};

/// What a service tells clients about itself when it refuses them.
///
/// ```
/// use tower_introspect::{ErrorKind, VerifyError, respond::Challenge};
///
/// let challenge = Challenge::new("payments")
///     .resource_metadata("https://api.example.com/.well-known/oauth-protected-resource");
/// let header = challenge.header(&VerifyError::new(ErrorKind::MissingCredentials)).unwrap();
/// assert_eq!(
///     header,
///     "Bearer realm=\"payments\", resource_metadata=\"https://api.example.com/.well-known/oauth-protected-resource\""
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: Box<str>,
    resource_metadata: Option<Box<str>>,
    scope: Scope,
}

impl Challenge {
    /// A challenge that names this protection space (RFC 9110 §11.5).
    ///
    /// There is always a realm, because RFC 6750 §3 wants at least one parameter.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        let realm = if realm.is_empty() { "protected" } else { realm };
        Self { realm: printable(realm).into(), resource_metadata: None, scope: Scope::default() }
    }

    /// Names the document that describes this service (RFC 9728 §5.1).
    #[must_use]
    pub fn resource_metadata(mut self, url: &str) -> Self {
        self.resource_metadata = Some(printable(url).into());
        self
    }

    /// Names the scope a client should ask for if it has no token yet.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Whether a client without a token is told to ask for `scope`.
    pub(crate) fn advertises(&self, scope: &str) -> bool {
        self.scope.contains(scope)
    }

    /// The value of `WWW-Authenticate` for this refusal, if there is to be one.
    ///
    /// Nothing that a client sent is part of it.
    #[must_use]
    pub fn header(&self, error: &VerifyError) -> Option<HeaderValue> {
        let code = match row(error.kind()).challenge {
            Shape::Absent => return None,
            Shape::Bare => None,
            Shape::Error(code) => Some(code),
        };
        let mut params = Params::new("Bearer");
        params.add("realm", &self.realm);
        if let Some(code) = code {
            params.add("error", code);
        }
        let needed = error.scope().map(Scope::parse);
        let scope = needed.as_ref().unwrap_or(&self.scope);
        if !scope.is_empty() {
            params.add("scope", scope.as_str());
        }
        if let Some(step_up) = error.step_up() {
            if let Some(acr_values) = &step_up.acr_values {
                params.add("acr_values", acr_values);
            }
            if let Some(max_age) = step_up.max_age {
                params.add("max_age", &max_age.as_secs().to_string());
            }
        }
        if let Some(url) = &self.resource_metadata {
            params.add("resource_metadata", url);
        }
        params.finish()
    }
}

/// The parameters of one challenge, each as a quoted-string that needs no escape.
struct Params {
    text: String,
    first: bool,
}

impl Params {
    fn new(scheme: &str) -> Self {
        let mut text = String::with_capacity(160);
        text.push_str(scheme);
        Self { text, first: true }
    }

    fn add(&mut self, name: &str, value: &str) {
        let separator = if self.first { " " } else { ", " };
        self.first = false;
        // Writing to a string can't fail.
        let _ = write!(self.text, "{separator}{name}=\"{}\"", printable(value));
    }

    fn finish(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.text).ok()
    }
}

/// `value` within `%x20-21 / %x23-5B / %x5D-7E`, the characters that RFC 6750 §3 allows in its
/// parameters and that stand in a quoted-string as they are; any other becomes `_`.
fn printable(value: &str) -> std::borrow::Cow<'_, str> {
    let allowed = |char: char| matches!(char, ' ' | '!' | '#'..='[' | ']'..='~');
    if value.chars().all(allowed) {
        return value.into();
    }
    value.chars().map(|char| if allowed(char) { char } else { '_' }).collect()
}
