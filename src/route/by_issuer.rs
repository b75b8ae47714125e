//! Routes each token to a verifier, by what the token contains and not by its number of dots.

use std::{fmt, ops::ControlFlow, sync::Arc};

use super::issuer_route::IssuerRoute;
#[cfg(feature = "cache")]
use crate::credentials::token::Fingerprint;
use crate::{
    checks::{
        check::Check,
        detail::{Detail, list, seen},
        record::record,
    },
    error::{
        kind::{Blame, ErrorKind},
        refusal::VerifyError,
    },
    verify::{
        boxed::{BoxFuture, BoxVerifier},
        request::{CacheLookup, VerifyRequest},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The most issuers that are called for one opaque token without a known prefix.
///
/// A client can cause that many calls with any text, so the number is small.
const MAX_VERIFIERS: usize = 4;

/// A verifier that hands each token to the verifier of its issuer.
///
/// A token is a JWT if it has a readable JWS header and names an issuer (`iss`). It then goes to
/// the verifier of that issuer, and is refused if the issuer has no [`IssuerRoute`] here. The name
/// is not trusted, only looked up: the verifier that it leads to verifies the token, and nothing is
/// ever fetched from the name.
///
/// Any other token is opaque. It goes to the issuer whose prefix it starts with, and to no other; if
/// several prefixes fit, the longest counts. Without such a prefix it goes to the issuers that have
/// none, at most four, one after the other until one reports it as active.
///
/// # Cancellation
///
/// Dropping the future drops the verification that is under way, and calls no further verifier.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     route::{IssuerRoute, Route},
///     verify::{BoxVerifier, Verifier, VerifyRequest, verify_fn},
/// };
///
/// let remote = BoxVerifier::new(verify_fn(async |_| Err(VerifyError::new(ErrorKind::Inactive))));
/// let route = Route::new([IssuerRoute::new("https://as.example.com").introspection(remote)]);
/// # tokio_test::block_on(async {
/// let opaque = VerifyRequest::new(Token::bearer("2YotnFZFEjr1zCsicMWpAA").unwrap());
/// assert_eq!(route.verify(opaque).await.unwrap_err().kind(), ErrorKind::Inactive);
/// # });
/// ```
#[derive(Clone)]
pub struct Route {
    issuers: Box<[IssuerRoute]>,
    dynamic: Option<Arc<dyn DynamicIssuers>>,
    #[cfg(feature = "cache")]
    index: Option<Arc<IssuerIndex>>,
}

/// The index of the issuer that each JWT names, by the digest of the token. It follows from the
/// text of the token alone, so it is never out of date. Parsing the token again costs more than all
/// other work for a cached token.
#[cfg(feature = "cache")]
type IssuerIndex = quick_cache::sync::Cache<Fingerprint, usize>;

/// A verifier for JWTs of issuers without an [`IssuerRoute`].
pub(crate) trait DynamicIssuers: Send + Sync {
    /// Verifies a token that names `issuer`. The name has not been checked yet.
    fn verify(&self, issuer: &str, request: VerifyRequest) -> Verifying<BoxFuture>;
}

impl Route {
    /// Creates a route to the verifiers of these issuers.
    #[must_use]
    pub fn new(issuers: impl IntoIterator<Item = IssuerRoute>) -> Self {
        Self {
            issuers: issuers.into_iter().collect(),
            dynamic: None,
            #[cfg(feature = "cache")]
            index: None,
        }
    }

    /// Caches which issuer a JWT names, for about this many JWTs.
    #[cfg(feature = "cache")]
    pub(crate) fn caching_issuers(mut self, tokens: usize) -> Self {
        self.index = Some(Arc::new(IssuerIndex::new(tokens)));
        self
    }

    /// Hands JWTs of all other issuers to `dynamic` instead of refusing them.
    pub(crate) fn or_dynamic(mut self, dynamic: Arc<dyn DynamicIssuers>) -> Self {
        self.dynamic = Some(dynamic);
        self
    }

    /// Returns the issuer that a JWT names, if that is cached.
    #[cfg(feature = "cache")]
    fn cached_issuer(&self, token: impl FnOnce() -> Fingerprint) -> Option<&IssuerRoute> {
        self.issuers.get(self.index.as_ref()?.get(&token())?)
    }

    /// Returns the issuer that a JWT names, if it has a route here, and caches it.
    fn find_issuer(&self, issuer: &str, request: &VerifyRequest) -> Option<&IssuerRoute> {
        let at = self.issuers.iter().position(|entry| *entry.issuer == *issuer)?;
        #[cfg(feature = "cache")]
        if let Some(index) = &self.index {
            index.insert(request.fingerprint(), at);
        }
        #[cfg(not(feature = "cache"))]
        let _ = request;
        self.issuers.get(at)
    }

    fn route_detail(&self, issuer: &str) -> Detail {
        seen(issuer).wanted(list(self.issuers.iter().map(|entry| &entry.issuer)))
    }

    /// Returns the verifiers to call for an opaque token, in order.
    fn for_opaque(&self, token: &[u8]) -> impl Iterator<Item = &BoxVerifier> {
        let claim = self.claim(token);
        let is_free = matches!(claim, Claim::Free);
        let only = if let Claim::Of(issuer) = claim { Some(issuer) } else { None };
        let any = self.issuers.iter().filter(move |issuer| is_free && issuer.takes_any_opaque());
        only.into_iter().chain(any).filter_map(IssuerRoute::for_opaque).take(MAX_VERIFIERS)
    }

    /// Returns the issuer whose prefix or shape an opaque token has. A prefix comes before a shape.
    fn claim(&self, token: &[u8]) -> Claim<'_> {
        let prefixed = self.issuers.iter().filter(|issuer| issuer.has_prefix_of(token));
        // The longest matching prefix wins.
        if let Some(issuer) = prefixed.max_by_key(|issuer| issuer.prefix_len()) {
            return if issuer.has_shape_of(token) { Claim::Of(issuer) } else { Claim::OfNone };
        }
        let shaped = self.issuers.iter().filter(|issuer| issuer.is_known_by_shape());
        let mut shaped = shaped.filter(|issuer| issuer.has_shape_of(token));
        match (shaped.next(), shaped.next()) {
            (None, _) => Claim::Free,
            (Some(only), None) => Claim::Of(only),
            (Some(_), Some(_)) => Claim::OfNone,
        }
    }
}

/// The issuer that an opaque token is of, as far as its text tells.
enum Claim<'a> {
    /// Any of those whose tokens have neither a prefix nor a shape.
    Free,
    Of(&'a IssuerRoute),
    /// The prefix of one without its shape, or the shape of several.
    OfNone,
}

impl Verifier for Route {
    type Future = BoxFuture;

    fn cached(&self, request: &CacheLookup<'_>) -> Option<Outcome> {
        #[cfg(feature = "cache")]
        if let Some(entry) = self.cached_issuer(|| request.fingerprint()) {
            let token = request.found().secret_bytes();
            return entry.for_jwt(token, request.freshness())?.cached(request);
        }
        let token = request.found().secret_bytes();
        // May be a JWT: `verify` parses it to find out.
        if token.iter().filter(|byte| **byte == b'.').count() == 2 {
            return None;
        }
        let mut verifiers = self.for_opaque(token);
        let first = verifiers.next()?;
        // With several verifiers, a refusal by one server does not decide.
        if verifiers.next().is_some() {
            request.ignore_refusals();
        }
        first.cached(request)
    }

    fn verify(&self, mut request: VerifyRequest) -> Verifying<Self::Future> {
        #[cfg(feature = "cache")]
        if let Some(entry) = self.cached_issuer(|| request.fingerprint()) {
            return entry.verify_jwt(request);
        }
        match named_issuer(request.token().secret_str()) {
            Ok(issuer) => match (self.find_issuer(&issuer, &request), &self.dynamic) {
                (Some(entry), _) => {
                    let _ =
                        record(Check::Route, || self.route_detail(&issuer), Ok::<_, ErrorKind>(()));
                    entry.verify_jwt(request)
                }
                (None, Some(dynamic)) => dynamic.verify(&issuer, request),
                (None, None) => {
                    let unknown = Err(ErrorKind::UnknownIssuer.into());
                    Verifying::done(record(Check::Route, || self.route_detail(&issuer), unknown))
                }
            },
            Err(opaque_because) => {
                // A verifier with a cache entry has its outcome at once; then this verifier does
                // too.
                let token = request.token().clone();
                let mut verifiers = self.for_opaque(token.secret_bytes()).peekable();
                let mut combined = Combined { undecided: None, refused: None, opaque_because };
                while let Some(verifier) = verifiers.next() {
                    // A single verifier needs no shared charge.
                    if request.shared_charge().is_none() && verifiers.peek().is_some() {
                        request = request.sharing_charge();
                    }
                    match verifier.verify(request.clone()).now_or_later() {
                        Ok(outcome) => {
                            if let ControlFlow::Break(outcome) = combined.add(outcome) {
                                return Verifying::done(outcome);
                            }
                        }
                        Err(first) => {
                            let others = verifiers.cloned().collect();
                            return Verifying::pending(BoxFuture::new(async move {
                                match combined.add(first.await) {
                                    ControlFlow::Break(outcome) => outcome,
                                    ControlFlow::Continue(()) => {
                                        verify_each(others, request, combined).await
                                    }
                                }
                            }));
                        }
                    }
                }
                Verifying::done(combined.end())
            }
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("issuers", &self.issuers)
            .field("dynamic", &self.dynamic.is_some())
            .finish()
    }
}

/// Calls one verifier after the other, until one accepts the token.
async fn verify_each(
    verifiers: Vec<BoxVerifier>,
    request: VerifyRequest,
    mut combined: Combined,
) -> Outcome {
    for verifier in verifiers {
        let outcome = verifier.verify(request.clone()).await;
        if let ControlFlow::Break(outcome) = combined.add(outcome) {
            return outcome;
        }
    }
    combined.end()
}

/// The combined outcome of several verifiers for one token.
///
/// A refusal by one server says nothing while another could not be reached. The token is then not
/// refused; the outcome is the error of the server that could not decide.
struct Combined {
    undecided: Option<VerifyError>,
    refused: Option<VerifyError>,
    /// The reason why the token is not a JWT: the error if no verifier is called.
    opaque_because: ErrorKind,
}

impl Combined {
    /// Adds an outcome. Breaks if the other verifiers need not be called.
    fn add(&mut self, outcome: Outcome) -> ControlFlow<Outcome> {
        match outcome {
            Ok(active) => return ControlFlow::Break(Ok(active)),
            // The peer is over its budget and no server was called, so this says nothing about the
            // token.
            Err(error) if error.kind() == ErrorKind::TooManyRequests => {
                return ControlFlow::Break(Err(error));
            }
            Err(error) if error.blame() == Blame::Client => self.refused = Some(error),
            Err(error) => self.undecided = Some(error),
        }
        ControlFlow::Continue(())
    }

    fn end(self) -> Outcome {
        match self.undecided.or(self.refused) {
            Some(error) => Err(error),
            None => record(Check::Route, Detail::default, Err(self.opaque_because.into())),
        }
    }
}

/// Returns the issuer that a JWT names, or the reason why the token is opaque. Nothing of it is
/// verified.
#[cfg(feature = "jwt")]
fn named_issuer(token: &str) -> Result<String, ErrorKind> {
    use crate::{
        claims::json::Object,
        jose::{header::Header, jws::CompactJws},
    };

    let jws = CompactJws::parse(token)?;
    Header::parse(jws.header()).map_err(|_| ErrorKind::MalformedToken)?;
    let claims = Object::parse(jws.payload()).map_err(|_| ErrorKind::MalformedToken)?;
    match claims.string("iss") {
        Ok(Some(issuer)) => Ok(issuer.into_owned()),
        Ok(None) => Err(ErrorKind::MissingClaim("iss")),
        Err(_) => Err(ErrorKind::InvalidClaim("iss")),
    }
}

/// Without local verifiers every token is opaque.
#[cfg(not(feature = "jwt"))]
fn named_issuer(_: &str) -> Result<String, ErrorKind> {
    Err(ErrorKind::MalformedToken)
}
