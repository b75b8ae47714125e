//! The verifiers of one trusted issuer.

use std::{fmt, sync::Arc, time::Duration};

use super::stack::Stack;
#[cfg(feature = "cache")]
use crate::credentials::token::Token;
#[cfg(feature = "introspection")]
use crate::introspection::verifier::IntrospectionVerifier;
#[cfg(feature = "signals")]
use crate::jwt::statement::StatementKeys;
#[cfg(feature = "jwt")]
use crate::jwt::verifier::JwtVerifier;
use crate::{
    error::refusal::VerifyError,
    route::{
        by_issuer::Route,
        confirm::Confirm,
        fallback::Fallback,
        issuer_route::{IssuerRoute, Shape},
    },
    verify::{boxed::BoxVerifier, readiness::Readiness, stats::Stats},
};

/// How local verification and introspection are combined for JWTs, if an issuer has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JwtMode {
    /// JWTs are verified locally.
    LocalOnly,
    /// JWTs are verified locally, and introspection must confirm that they are active.
    Confirm { max_age: Duration },
    /// JWTs are verified locally, or introspected while the keys are unavailable.
    IntrospectWithoutKeys,
}

/// A trusted issuer with its verifiers.
pub(super) struct TrustedIssuer {
    name: String,
    prefix: Option<String>,
    shape: Option<Arc<Shape>>,
    jwt_mode: JwtMode,
    pub(super) jwt_stack: Option<Stack>,
    pub(super) introspection_stack: Option<Stack>,
    /// Verifies all tokens. There is no other stack then.
    pub(super) custom_stack: Option<Stack>,
    #[cfg(feature = "jwt")]
    pub(super) jwt: Option<JwtVerifier>,
    #[cfg(feature = "introspection")]
    pub(super) introspection: Option<IntrospectionVerifier>,
    /// The keys by which it signs logout tokens, unless its verifier is custom.
    #[cfg(feature = "signals")]
    pub(super) statement_keys: Option<StatementKeys>,
}

impl TrustedIssuer {
    pub(super) const fn new(
        name: String,
        prefix: Option<String>,
        shape: Option<Arc<Shape>>,
        jwt_mode: JwtMode,
    ) -> Self {
        Self {
            name,
            prefix,
            shape,
            jwt_mode,
            jwt_stack: None,
            introspection_stack: None,
            custom_stack: None,
            #[cfg(feature = "jwt")]
            jwt: None,
            #[cfg(feature = "introspection")]
            introspection: None,
            #[cfg(feature = "signals")]
            statement_keys: None,
        }
    }

    fn jwt_verifier(&self) -> Option<BoxVerifier> {
        let jwt = self.jwt_stack.as_ref()?.verifier();
        Some(match (self.jwt_mode, self.introspection_verifier()) {
            (JwtMode::Confirm { max_age }, Some(remote)) => {
                BoxVerifier::new(Confirm::new(jwt, remote, max_age))
            }
            (JwtMode::IntrospectWithoutKeys, Some(remote)) => {
                BoxVerifier::new(Fallback::new(jwt, remote))
            }
            _ => jwt,
        })
    }

    fn introspection_verifier(&self) -> Option<BoxVerifier> {
        self.introspection_stack.as_ref().map(Stack::verifier)
    }

    /// Returns true if tokens can be introspected.
    pub(super) fn can_introspect(&self) -> bool {
        self.introspection_stack.is_some()
    }

    /// Returns true if verifications may take time, because they ask a server or a store.
    pub(super) const fn asks(&self) -> bool {
        self.introspection_stack.is_some() || self.custom_stack.is_some()
    }

    fn stacks(&self) -> impl Iterator<Item = &Stack> {
        self.jwt_stack.iter().chain(&self.introspection_stack).chain(&self.custom_stack)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the counters of the layers around its verifiers.
    pub(super) fn stats(&self) -> Stats {
        self.stacks().map(Stack::stats).fold(Stats::default(), Stats::merge)
    }

    /// Removes a token from the caches. Returns true if it was cached.
    #[cfg(feature = "cache")]
    pub(super) fn evict(&self, token: &Token) -> bool {
        self.stacks().filter(|stack| stack.evict(token)).count() > 0
    }

    /// Returns the verifier, if there is exactly one and it is for every token.
    fn only_verifier(&self) -> Option<BoxVerifier> {
        if let Some(custom) = &self.custom_stack {
            let for_all = self.prefix.is_none() && self.shape.is_none();
            return for_all.then(|| custom.verifier());
        }
        match (self.jwt_verifier(), self.introspection_verifier()) {
            (Some(only), None) | (None, Some(only)) => Some(only),
            _ => None,
        }
    }

    fn route(&self) -> IssuerRoute {
        let mut route = IssuerRoute::new(&self.name);
        if let Some(verifier) = self.jwt_verifier() {
            route = route.jwt(verifier);
        }
        if let Some(verifier) = self.introspection_verifier() {
            route = route.introspection(verifier);
        }
        if let Some(custom) = &self.custom_stack {
            route = route.custom(custom.verifier());
        }
        if matches!(self.jwt_mode, JwtMode::Confirm { .. }) {
            route = route.jwt_is_live();
        }
        if let Some(shape) = &self.shape {
            route = route.shape(Arc::clone(shape));
        }
        match &self.prefix {
            Some(prefix) => route.prefix(prefix),
            None => route,
        }
    }

    /// Returns whether the verifiers have everything they need.
    pub(super) fn readiness(&self) -> Readiness {
        let readiness = Readiness::always_ready(self.name.as_str());
        #[cfg(feature = "jwt")]
        let readiness = match &self.jwt {
            Some(verifier) => readiness.merge(&verifier.readiness()),
            None => readiness,
        };
        #[cfg(feature = "introspection")]
        let readiness = match &self.introspection {
            Some(verifier) => readiness.merge(&verifier.readiness()),
            None => readiness,
        };
        let server = self.introspection_stack.as_ref().and_then(Stack::server_state);
        let breaker = self.can_introspect().then(|| self.stats().breaker);
        readiness.with_breaker(breaker).with_server(server)
    }

    /// Starts to fetch everything the verifiers lack, without waiting.
    pub(super) fn start_fetching(&self) {
        #[cfg(feature = "jwt")]
        if let Some(verifier) = &self.jwt {
            verifier.start_fetching();
        }
        #[cfg(feature = "introspection")]
        if let Some(verifier) = &self.introspection {
            verifier.start_fetching();
        }
    }

    /// Fetches everything the verifiers need.
    pub(super) async fn warm(&self) -> Result<(), VerifyError> {
        let named = |error: VerifyError| {
            let context =
                error.context().map_or_else(String::new, |context| format!(" ({context})"));
            error.with_context(format!("warming {}{context}", self.name))
        };
        #[cfg(feature = "jwt")]
        if let Some(verifier) = &self.jwt {
            verifier.warm().await.map_err(named)?;
        }
        #[cfg(feature = "introspection")]
        if let Some(verifier) = &self.introspection {
            verifier.warm().await.map_err(named)?;
        }
        Ok(())
    }
}

impl fmt::Debug for TrustedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.name).finish()
    }
}

/// Returns the verifier of all tokens of these issuers.
///
/// A single issuer with a single mode needs no routing. Its verifier is returned as it is and
/// judges every token.
pub(super) fn verifier_of(
    issuers: &[TrustedIssuer],
    route: impl FnOnce(Route) -> Route,
) -> BoxVerifier {
    let single = match issuers {
        [only] => only.only_verifier(),
        _ => None,
    };
    single.unwrap_or_else(|| BoxVerifier::new(route(route_of(issuers))))
}

pub(super) fn route_of(issuers: &[TrustedIssuer]) -> Route {
    Route::new(issuers.iter().map(TrustedIssuer::route))
}
