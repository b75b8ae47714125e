//! Verifies the signatures of statements of an issuer other than access tokens: introspection responses
//! (RFC 9701), logout tokens and security event tokens.

use std::{fmt, sync::Arc};

use super::{
    keys::{KeySet, MAX_TRIES, Mismatch},
    remote_keys::{MissingKey, Outlook, RemoteKeys},
    source::KeySource,
};
#[cfg(feature = "signals")]
use super::{read_keys::MAX_KEYS, verifier::JwtVerifier};
#[cfg(feature = "signals")]
use crate::transport::{
    common::{CommonSettings, Location},
    http_transport::HttpTransport,
};
use crate::{
    clock::{Moment, UnixTime},
    error::refusal::VerifyError,
    jose::{algorithm::Algorithm, jws::CompactJws},
    refresh::asker::Asker,
    verify::readiness::Readiness,
};

/// The keys by which an issuer signs statements. Clones share them.
#[derive(Clone)]
pub(crate) struct StatementKeys {
    issuer: Arc<str>,
    source: SharedSource,
    algorithms: Arc<[Algorithm]>,
}

#[derive(Clone)]
enum SharedSource {
    Own(Arc<KeySource>),
    /// The keys of the issuer's access tokens.
    #[cfg(feature = "signals")]
    OfVerifier(JwtVerifier),
}

impl StatementKeys {
    /// Creates the keys of an issuer, of which these algorithms are allowed.
    pub(crate) fn new(
        issuer: impl Into<Arc<str>>,
        source: KeySource,
        algorithms: impl Into<Arc<[Algorithm]>>,
    ) -> Self {
        let source = SharedSource::Own(Arc::new(source));
        Self { issuer: issuer.into(), source, algorithms: algorithms.into() }
    }

    /// Creates the keys that an issuer publishes, for any asymmetric algorithm. They are fetched when
    /// they are first needed. Returns `None` without a transport.
    #[cfg(feature = "signals")]
    pub(crate) fn published(common: &CommonSettings) -> Option<Self> {
        let transport = common.transport.as_ref()?;
        let location = Location::Discovered(common.discovery(transport).ok()?);
        Some(Self::fetched(common, location, transport.clone()))
    }

    /// Creates the keys at a location, for any asymmetric algorithm.
    #[cfg(feature = "signals")]
    pub(crate) fn fetched(
        common: &CommonSettings,
        location: Location,
        transport: HttpTransport,
    ) -> Self {
        let keys = RemoteKeys::new(common, location, transport, MAX_KEYS);
        Self::new(&*common.issuer, KeySource::Remote(keys), Algorithm::ASYMMETRIC)
    }

    /// Creates keys that are given, for any asymmetric algorithm.
    #[cfg(feature = "signals")]
    pub(crate) fn given(issuer: &str, keys: KeySet) -> Self {
        let keys = Arc::new(keys.for_issuer(issuer));
        Self::new(issuer, KeySource::Static(keys), Algorithm::ASYMMETRIC)
    }

    /// Creates the keys that an issuer signs its access tokens with, for any asymmetric algorithm.
    #[cfg(feature = "signals")]
    pub(crate) fn of_verifier(verifier: &JwtVerifier) -> Self {
        Self {
            issuer: verifier.issuer().into(),
            source: SharedSource::OfVerifier(verifier.clone()),
            algorithms: Algorithm::ASYMMETRIC.into(),
        }
    }

    /// Returns the issuer.
    pub(crate) fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// Starts to fetch the keys if there are none, without waiting.
    pub(crate) fn start_fetching(&self) {
        self.source().start_fetching();
    }

    /// Returns the state of the keys.
    pub(crate) fn readiness(&self) -> Readiness {
        self.source().readiness(&self.issuer)
    }

    /// Returns the algorithm that a header names, if it is allowed (RFC 8725 §3.1).
    pub(crate) fn algorithm(&self, alg: &str) -> Option<Algorithm> {
        alg.parse().ok().filter(|named| self.algorithms.contains(named))
    }

    /// Verifies the signature of a statement with one of the keys. Waits for newer keys and tries
    /// again if none of them does: a new key may have the name of the one before, or none.
    ///
    /// `issued_at` is the unverified time of the statement; without one, it was made just now. `asked`
    /// is the time at which it was first seen, or now.
    ///
    /// # Errors
    ///
    /// The outer error means that there are no keys, or none that are new enough. It does not blame
    /// the statement.
    ///
    /// # Cancellation
    ///
    /// A fetch under way continues.
    pub(crate) async fn verify(
        &self,
        jws: &CompactJws<'_>,
        (algorithm, kid): (Algorithm, Option<&str>),
        (issued_at, asked): (Option<UnixTime>, Option<Moment>),
        asker: Asker,
    ) -> Result<Result<(), Mismatch>, VerifyError> {
        let verify = |keys: &KeySet| {
            let signed = (jws.signing_input().as_bytes(), jws.signature());
            keys.verify(algorithm, kid, signed, self.max_tries()).map(drop)
        };
        match self.source() {
            KeySource::Static(keys) => Ok(verify(keys)),
            KeySource::Remote(remote) => {
                let asked = asked.unwrap_or_else(|| remote.now());
                let missing = MissingKey { kid, issued_at, asker, asked };
                verify_with_fetched_keys(remote, &missing, verify).await
            }
        }
    }

    /// Returns how many keys are tried for one statement: as many as for an access token.
    fn max_tries(&self) -> usize {
        match &self.source {
            SharedSource::Own(_) => MAX_TRIES,
            #[cfg(feature = "signals")]
            SharedSource::OfVerifier(verifier) => verifier.0.rules.max_tries,
        }
    }

    fn source(&self) -> &KeySource {
        match &self.source {
            SharedSource::Own(source) => source,
            #[cfg(feature = "signals")]
            SharedSource::OfVerifier(verifier) => &verifier.0.source,
        }
    }
}

impl fmt::Debug for StatementKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatementKeys").field(&self.issuer).finish()
    }
}

async fn verify_with_fetched_keys(
    remote: &RemoteKeys,
    missing: &MissingKey<'_>,
    verify: impl Fn(&KeySet) -> Result<(), Mismatch>,
) -> Result<Result<(), Mismatch>, VerifyError> {
    let mut wait = loop {
        let snapshot = remote.snapshot();
        let unknown = Err(Mismatch::UnknownKey);
        let outcome = snapshot.as_ref().map_or(unknown, |snapshot| verify(snapshot.keys()));
        if outcome.is_ok() {
            remote.note_verified(missing.asker);
            return Ok(outcome);
        }
        match remote.look_for(missing, snapshot) {
            Outlook::Wait(wait) => break wait,
            Outlook::Changed => {}
            Outlook::Hopeless => return Ok(outcome),
            Outlook::Late(error) => return Err(error),
        }
    };
    loop {
        let newer = wait.next().await?;
        let outcome = verify(&newer.keys);
        if outcome.is_ok() {
            wait.note_verified();
        }
        if outcome.is_ok() || newer.decide {
            return Ok(outcome);
        }
    }
}
