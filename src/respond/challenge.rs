//! The `WWW-Authenticate` challenges (RFC 6750 §3, RFC 9449 §7, RFC 9110 §11.6.1).

use std::{
    fmt::{self, Write as _},
    sync::OnceLock,
};

use http::{HeaderValue, StatusCode};

use super::table::{ChallengeForm, row};
use crate::{claims::scope::Scope, credentials::token::Scheme, error::refusal::VerifyError};

/// The `WWW-Authenticate` parameters that a service sends to clients it refuses.
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
    bearer: bool,
    /// True if the policy could admit a token under `Bearer`, bound to a key or not.
    takes_bearer: bool,
    /// The algorithms of proofs, if the scheme `DPoP` is accepted.
    dpop: Option<Box<str>>,
    rendered: Rendered,
}

impl Challenge {
    /// Creates a challenge that names this protection space (RFC 9110 §11.5).
    ///
    /// RFC 6750 §3 requires at least one parameter, so an empty `realm` becomes `protected`.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        Self {
            realm: realm_text(realm),
            resource_metadata: None,
            scope: Scope::default(),
            bearer: true,
            takes_bearer: true,
            dpop: None,
            rendered: Rendered::default(),
        }
    }

    /// Sets the realm: the name of the protection space. See [`new`](Self::new).
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        self.rendered = Rendered::default();
        self.realm = realm_text(realm);
        self
    }

    /// Takes the URL of the metadata document and the scope from `other`, where this has none.
    pub(crate) fn or_parameters_of(mut self, other: &Self) -> Self {
        self.rendered = Rendered::default();
        if self.resource_metadata.is_none() {
            self.resource_metadata.clone_from(&other.resource_metadata);
        }
        if self.scope.is_empty() {
            self.scope.clone_from(&other.scope);
        }
        self
    }

    /// Sets the URL of the metadata document of this service (RFC 9728 §5.1).
    #[must_use]
    pub fn resource_metadata(mut self, url: &str) -> Self {
        self.rendered = Rendered::default();
        self.resource_metadata = Some(printable(url).into());
        self
    }

    /// Sets the scope that a client without a token should request.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.rendered = Rendered::default();
        self.scope = scope;
        self
    }

    /// Returns true if the challenge tells a client without a token to request `scope`.
    pub(crate) fn advertises(&self, scope: &str) -> bool {
        self.scope.contains(scope)
    }

    /// Adds a challenge for the scheme `DPoP`, with these proof algorithms (RFC 9449 §7.1).
    ///
    /// [`Policy::dpop`](crate::Policy::dpop) calls this by itself.
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, VerifyError, respond::Challenge};
    ///
    /// let challenge = Challenge::new("payments").dpop(["ES256", "PS256"]);
    /// let missing = VerifyError::new(ErrorKind::MissingCredentials);
    /// let challenges: Vec<_> = challenge.headers(&missing, None).collect();
    /// assert_eq!(
    ///     challenges,
    ///     ["Bearer realm=\"payments\"", "DPoP realm=\"payments\", algs=\"ES256 PS256\""]
    /// );
    /// ```
    #[must_use]
    pub fn dpop<'a>(mut self, algorithms: impl IntoIterator<Item = &'a str>) -> Self {
        self.rendered = Rendered::default();
        let algorithms: Vec<_> = algorithms.into_iter().collect();
        self.dpop = Some(printable(&algorithms.join(" ")).into());
        self
    }

    /// Removes the challenge for `Bearer`. Has no effect unless `DPoP` is accepted.
    #[must_use]
    pub const fn without_bearer(mut self) -> Self {
        self.bearer = false;
        self
    }

    /// Sets whether the policy could admit a token under `Bearer`.
    pub(crate) const fn with_bearer(mut self, takes_bearer: bool) -> Self {
        self.takes_bearer = takes_bearer;
        self
    }

    /// Returns the first of [`headers`](Self::headers) for a client whose scheme is unknown.
    ///
    /// It is the only one if the service accepts one scheme.
    #[must_use]
    pub fn header(&self, error: &VerifyError) -> Option<HeaderValue> {
        self.headers(error, None).next()
    }

    /// Returns the values of `WWW-Authenticate` for a refusal, one for each scheme.
    ///
    /// Some errors have no challenge. The scheme that the client `used` comes first, and its
    /// challenge carries the error. The others only offer their scheme as an alternative (RFC 9449
    /// §7.2), and are left out if the status is 403. If `used` is `None` or a scheme that is not
    /// accepted, all of them carry the error. An error about a proof is carried by `DPoP` alone.
    ///
    /// The values contain nothing that a client sent.
    pub fn headers(
        &self,
        error: &VerifyError,
        used: Option<Scheme>,
    ) -> impl Iterator<Item = HeaderValue> {
        let row = row(error.kind());
        let used = used.filter(|scheme| self.accepts(*scheme));
        let mut schemes = [Scheme::Bearer, Scheme::Dpop];
        if used == Some(Scheme::Dpop) {
            schemes.reverse();
        }
        let challenge = |scheme| match row.challenge {
            ChallengeForm::Absent => None,
            ChallengeForm::Proof(code) => {
                (scheme == Scheme::Dpop).then(|| self.render(scheme, Some((code, error))))?
            }
            _ if !self.accepts(scheme) => None,
            ChallengeForm::Bare => self.render(scheme, None),
            ChallengeForm::Error(code) if used.is_none_or(|used| used == scheme) => {
                self.render(scheme, Some((code, error)))
            }
            // A client that is denied access would be denied it under the other scheme too.
            ChallengeForm::Error(_) if row.status == StatusCode::FORBIDDEN => None,
            ChallengeForm::Error(_) => self.render(scheme, None),
        };
        schemes.map(challenge).into_iter().flatten()
    }

    fn accepts(&self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Bearer => self.bearer && self.takes_bearer || self.dpop.is_none(),
            Scheme::Dpop => self.dpop.is_some(),
        }
    }

    /// Returns the challenge of one scheme, with the error if one is given.
    fn render(&self, scheme: Scheme, error: Option<(&str, &VerifyError)>) -> Option<HeaderValue> {
        match self.rendered.slot(scheme, error) {
            Some(slot) => slot.get_or_init(|| self.build(scheme, error)).clone(),
            None => self.build(scheme, error),
        }
    }

    fn build(&self, scheme: Scheme, error: Option<(&str, &VerifyError)>) -> Option<HeaderValue> {
        let mut params = Params::new(scheme.as_str());
        params.add("realm", &self.realm);
        if let Some((code, _)) = error {
            params.add("error", code);
        }
        let needed = error.and_then(|(_, error)| error.scope()).map(Scope::parse);
        let scope = needed.as_ref().unwrap_or(&self.scope);
        if !scope.is_empty() {
            params.add("scope", scope.as_str());
        }
        if let Some(step_up) = error.and_then(|(_, error)| error.step_up()) {
            if let Some(acr_values) = &step_up.acr_values {
                params.add("acr_values", acr_values);
            }
            if let Some(max_age) = step_up.max_age {
                params.add("max_age", &max_age.as_secs().to_string());
            }
        }
        if let Some(algorithms) = self.dpop.as_deref().filter(|_| scheme == Scheme::Dpop) {
            params.add("algs", algorithms);
        }
        if let Some(url) = &self.resource_metadata {
            params.add("resource_metadata", url);
        }
        params.finish()
    }
}

/// The challenges that carry no per-request data, each rendered once.
///
/// They are most of the challenges, and any client can cause one at will.
#[derive(Default)]
struct Rendered([OnceLock<Option<HeaderValue>>; 2 * (1 + CODES.len())]);

/// The error codes without per-request parameters (RFC 6750 §3.1, RFC 9449 §7.1).
const CODES: [&str; 4] =
    ["invalid_dpop_proof", "invalid_request", "invalid_token", "use_dpop_nonce"];

impl Rendered {
    /// Returns the slot for this challenge, or `None` if it carries per-request data.
    fn slot(
        &self,
        scheme: Scheme,
        error: Option<(&str, &VerifyError)>,
    ) -> Option<&OnceLock<Option<HeaderValue>>> {
        let row = match error {
            None => 0,
            Some((_, error)) if error.scope().is_some() || error.step_up().is_some() => {
                return None;
            }
            Some((code, _)) => 1 + CODES.iter().position(|one| *one == code)?,
        };
        self.0.get(2 * row + usize::from(scheme == Scheme::Dpop))
    }
}

/// Clones start empty, because a cloned challenge may be changed before it is used.
impl Clone for Rendered {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rendered")
    }
}

impl PartialEq for Rendered {
    /// The contents follow from the other fields of the challenge.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Rendered {}

/// The parameters of one challenge. Each is a quoted-string that needs no escape.
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

/// Returns a realm that is not empty, because a challenge needs a parameter (RFC 6750 §3).
fn realm_text(realm: &str) -> Box<str> {
    printable(if realm.is_empty() { "protected" } else { realm }).into()
}

/// Replaces every character outside of `%x20-21 / %x23-5B / %x5D-7E` by `_`.
///
/// RFC 6750 §3 allows only these characters in its parameters. They need no escape in a
/// quoted-string.
fn printable(value: &str) -> std::borrow::Cow<'_, str> {
    let allowed = |char: char| matches!(char, ' ' | '!' | '#'..='[' | ']'..='~');
    if value.chars().all(allowed) {
        return value.into();
    }
    value.chars().map(|char| if allowed(char) { char } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::kind::ErrorKind;

    #[test]
    fn changed_challenge_is_rendered_again() {
        let (missing, expired) = (ErrorKind::MissingCredentials, ErrorKind::Expired);
        let of = |challenge: &Challenge, kind: ErrorKind| challenge.header(&kind.into()).unwrap();
        let before = Challenge::new("api");
        for _ in 0..2 {
            assert_eq!(of(&before, missing), "Bearer realm=\"api\"");
            assert_eq!(of(&before, expired), "Bearer realm=\"api\", error=\"invalid_token\"");
        }
        let scoped = before.clone().scope(Scope::parse("read"));
        assert_eq!(of(&scoped, missing), "Bearer realm=\"api\", scope=\"read\"");
        assert_eq!(of(&before, missing), "Bearer realm=\"api\"");
        // `scoped` is a clone, so it starts with no rendered challenge.
        let scoped = scoped.scope(Scope::parse("write"));
        assert_eq!(of(&scoped, missing), "Bearer realm=\"api\", scope=\"write\"");
        let described = before.resource_metadata("https://api.example.com/d");
        assert_eq!(
            of(&described, missing),
            "Bearer realm=\"api\", resource_metadata=\"https://api.example.com/d\""
        );
        let mut proven = described;
        for algorithm in ["ES256", "ES384"] {
            proven = proven.dpop([algorithm]);
            let values: Vec<_> = proven.headers(&missing.into(), None).collect();
            assert_eq!(values.len(), 2);
            assert_eq!(values[1].to_str().unwrap().matches(algorithm).count(), 1, "{values:?}");
        }
    }

    #[test]
    fn challenge_for_one_request_is_not_cached() {
        let challenge = Challenge::new("api");
        for scope in ["read", "write"] {
            let error = VerifyError::insufficient_scope(scope);
            let value = challenge.header(&error).unwrap();
            assert!(value.to_str().unwrap().contains(scope), "{value:?}");
        }
        for acr in ["gold", "silver"] {
            let error = VerifyError::insufficient_authentication(Some(acr), None);
            let value = challenge.header(&error).unwrap();
            assert!(value.to_str().unwrap().contains(acr), "{value:?}");
        }
    }
}
