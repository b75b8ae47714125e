//! The verifier of the JWTs of one issuer.

use std::{fmt, sync::Arc};

use super::{
    keys::KeySet,
    profile::{Profile, TypeCount},
    remote_keys::{MissingKey, Outlook, RemoteKeys, Snapshot},
    source::KeySource,
    validate::{NoKey, Rules, ValidateError, Validated},
};
use crate::{
    checks::{check::Check, detail::Detail, record::record},
    claims::{claims_set::FOR_NOBODY, kind::UNMARKED, typ::Typ},
    clock::{Clock, Moment},
    error::{
        kind::{ErrorKind, TokenKind},
        refusal::VerifyError,
    },
    refresh::asker::Asker,
    telemetry::events::access_tokens_have_type,
    verify::{
        active::{ActiveToken, SignedBy},
        boxed::BoxFuture,
        readiness::Readiness,
        request::{Freshness, VerifyRequest},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// A [`Verifier`] of the JWT access tokens of one issuer.
///
/// Clones share the keys. See the [module docs](super) for an example.
///
/// # Cancellation
///
/// The future of a verification exists only if keys must be fetched. Dropping it stops the waiting,
/// not the fetch, because other verifications may wait for it too.
#[derive(Clone)]
pub struct JwtVerifier(pub(super) Arc<RulesAndKeys>);

pub(super) struct RulesAndKeys {
    pub(super) rules: Rules,
    pub(super) source: KeySource,
    pub(super) types: TypeCount,
    pub(super) clock: Arc<dyn Clock>,
}

impl JwtVerifier {
    /// Returns the issuer whose tokens are verified.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.rules.issuer
    }

    /// Fetches the keys now, so that the first request does not wait for them.
    ///
    /// # Errors
    ///
    /// Returns an error if the keys can't be fetched, or none of them is usable. The service need
    /// not stop: the keys are fetched again when a token needs them.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops the waiting, not the fetch.
    pub async fn warm(&self) -> Result<(), VerifyError> {
        match &self.0.source {
            KeySource::Remote(keys) => keys.load().await,
            KeySource::Static(_) => Ok(()),
        }
    }

    /// Returns true if there are keys that may be used. Fetches nothing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ready()
    }

    /// Returns whether there are keys that may be used, and the error if they can't be fetched.
    /// Fetches nothing.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.0.source.readiness(&self.0.rules.issuer)
    }

    /// Starts to fetch the keys if there are none, without waiting.
    pub(crate) fn start_fetching(&self) {
        self.0.source.start_fetching();
    }

    fn verify_fetching(
        &self,
        keys: &RemoteKeys,
        request: VerifyRequest,
        start: Moment,
    ) -> Verifying<BoxFuture> {
        let (none, asker) = (KeySet::default(), Asker::peer(request.peer()));
        let mut wait = loop {
            let snapshot = keys.snapshot();
            let known = snapshot.as_ref().map_or(&none, Snapshot::keys);
            let missing = match self.0.verify(request.token().secret_str(), known, start) {
                Ok(outcome) => {
                    if outcome.is_ok() {
                        keys.note_verified(asker);
                    }
                    return Verifying::done(outcome);
                }
                Err(missing) => missing,
            };
            // A token with any other fault has been refused above and causes no fetch.
            let NoKey { kind, kid, issued_at } = missing;
            let missing = MissingKey { kid: kid.as_deref(), issued_at, asker, asked: start };
            match keys.look_for(&missing, snapshot) {
                Outlook::Wait(wait) => break wait,
                Outlook::Changed => {}
                Outlook::Hopeless => return Verifying::done(Err(kind.into())),
                Outlook::Late(error) => {
                    return Verifying::done(record(Check::Keys, Detail::default, Err(error)));
                }
            }
        };
        let inner = Arc::clone(&self.0);
        Verifying::pending(BoxFuture::new(async move {
            loop {
                let newer = record(Check::Keys, Detail::default, wait.next().await)?;
                match inner.verify(request.token().secret_str(), &newer.keys, start) {
                    Ok(outcome) => {
                        if outcome.is_ok() {
                            wait.note_verified();
                        }
                        return outcome;
                    }
                    Err(missing) if newer.decide => return Err(missing.kind.into()),
                    Err(_) => {}
                }
            }
        }))
    }
}

impl Verifier for JwtVerifier {
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        let live = request.freshness() == Freshness::Live;
        let start = Moment::now(&*self.0.clock);
        let verifying = match &self.0.source {
            KeySource::Remote(keys) => self.verify_fetching(keys, request, start),
            KeySource::Static(keys) => {
                let token = request.token().secret_str();
                let outcome = self.0.verify(token, keys, start);
                Verifying::done(outcome.unwrap_or_else(|missing| Err(missing.kind.into())))
            }
        };
        if !live {
            return verifying;
        }
        match verifying.now_or_later() {
            Ok(outcome) => Verifying::done(outcome.and_then(refuse_live)),
            Err(future) => {
                Verifying::pending(BoxFuture::new(
                    async move { future.await.and_then(refuse_live) },
                ))
            }
        }
    }
}

/// Refuses a verified token if the request demands [`Freshness::Live`]: a signature does not show
/// that the token is still active.
///
/// A bad token is refused for its own fault first, so that a client without a good token can't
/// cause `Misconfigured` errors.
fn refuse_live(_: ActiveToken) -> Outcome {
    Err(VerifyError::new(ErrorKind::Misconfigured).with_context(
        "a live verification is required, but tokens of this issuer are not introspected",
    ))
}

impl RulesAndKeys {
    /// Returns the outcome, or an error if another key may verify the token.
    fn verify(&self, token: &str, keys: &KeySet, start: Moment) -> Result<Outcome, NoKey> {
        match self.rules.verify(token, keys) {
            Ok(Validated { claims, key, algorithm, typ }) => {
                let issuer = &self.rules.issuer;
                if self.rules.profile == Profile::Generic && self.types.note(typ) {
                    access_tokens_have_type(issuer);
                }
                let signature =
                    SignedBy { key: Arc::clone(key), algorithm, typed: typ == Typ::Access };
                Ok(Ok(ActiveToken::signed(Arc::clone(issuer), claims, signature, start)))
            }
            Err(ValidateError::Kind(kind)) => {
                if let ErrorKind::WrongTokenKind(kind) = kind {
                    self.rules.tell_wrong_kind(token, keys, kind);
                }
                Ok(Err(refusal(kind)))
            }
            Err(ValidateError::NoKey(missing)) => Err(missing),
        }
    }
}

/// Returns the error of a refused token, with the reason if the kind does not tell it.
fn refusal(kind: ErrorKind) -> VerifyError {
    let context = match kind {
        ErrorKind::WrongTokenKind(TokenKind::Unmarked) => UNMARKED,
        ErrorKind::WrongAudience => FOR_NOBODY,
        _ => return kind.into(),
    };
    VerifyError::new(kind).with_context(context)
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("rules", &self.0.rules)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
