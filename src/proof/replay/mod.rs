//! That a proof is used once (RFC 9449 §11.1).

#[cfg(all(feature = "dpop", feature = "_crypto"))]
pub(crate) mod memory;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    clock::{Moment, UnixTime},
    error::{BoxError, kind::ErrorKind, refusal::VerifyError},
};

/// Remembers which proofs were used.
///
/// Where several processes serve the same resource, a proof is good once in each, unless they share
/// what implements this.
///
/// ```
/// use tower_introspect::{
///     clock::{Moment, SystemClock},
///     proof::{Mark, Marked, Marking, ReplayStore},
/// };
///
/// # #[derive(Clone)]
/// # struct Client;
/// # impl Client {
/// #     async fn set_if_absent(&self, _: &[u8], _: std::time::Duration) -> Result<bool, std::io::Error> { Ok(true) }
/// # }
/// struct Shared(Client);
///
/// impl ReplayStore for Shared {
///     fn mark(&self, mark: Mark) -> Marking {
///         let client = self.0.clone();
///         Marking::pending(async move {
///             // One atomic operation, as of `SET key 1 NX PX ms`.
///             let first = client.set_if_absent(mark.key(), mark.keep_for()).await?;
///             Ok(if first { Marked::First } else { Marked::Replayed })
///         })
///     }
/// }
/// # let _ = Shared(Client);
/// ```
///
/// # Security
///
/// Looking a mark up and setting it must be one atomic step, and a mark must stay for
/// [`Mark::keep_for`]: what can't be kept must fail, so that the request is refused. A store that
/// evicts marks to make room lets proofs be used again.
pub trait ReplayStore: Send + Sync + 'static {
    /// Sets this mark, or says that it was set before.
    ///
    /// An error means that it is not known; the request is then refused with
    /// [`ReplayUnavailable`](ErrorKind::ReplayUnavailable), and the client is not blamed. The answer
    /// must come in bounded time.
    fn mark(&self, mark: Mark) -> Marking;
}

/// That a proof was used: its name, and until when that must not be forgotten.
///
/// It holds digests only, so it can be kept anywhere.
#[derive(Clone, Debug)]
pub struct Mark {
    key: [u8; 32],
    owner: [u8; 32],
    at: Moment,
    until: UnixTime,
}

impl Mark {
    /// The mark of the proof that is named `jti` and signed by the key with the thumbprint `jkt`. It
    /// is used at `at`, and could be used again until `until`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::{
    ///     clock::{Moment, SystemClock},
    ///     proof::Mark,
    /// };
    ///
    /// let now = Moment::now(&SystemClock);
    /// let mark = |jkt, jti| Mark::new(jkt, jti, now, now.wall().saturating_add(Duration::from_secs(60)));
    /// assert_eq!(mark("a", "1").key(), mark("a", "1").key());
    /// assert_ne!(mark("a", "1").key(), mark("b", "1").key());
    /// assert_eq!(mark("a", "1").owner(), mark("a", "2").owner());
    /// assert_eq!(mark("a", "1").keep_for(), Duration::from_secs(60));
    /// ```
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    #[must_use]
    pub fn new(jkt: &str, jti: &str, at: Moment, until: UnixTime) -> Self {
        use base64::Engine as _;

        use crate::jose::{BASE64URL, crypto::sha256};
        // A thumbprint is a digest already (RFC 9449 §6.1).
        let mut owner = [0; 32];
        if BASE64URL.decode_slice(jkt, &mut owner) != Ok(owner.len()) {
            owner = sha256(jkt.as_bytes());
        }
        // The first part has a fixed length, so no two pairs read the same.
        Self { key: sha256(&[&owner, jti.as_bytes()].concat()), owner, at, until }
    }

    /// The name of the proof: a digest of its `jti` and the key that signed it.
    #[must_use]
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The key that signed it: its thumbprint, which is a digest. For what is limited by client.
    #[must_use]
    pub const fn owner(&self) -> &[u8; 32] {
        &self.owner
    }

    /// When the proof is used.
    #[must_use]
    pub const fn at(&self) -> Moment {
        self.at
    }

    /// From when on, by the wall clock, the proof is refused in any case.
    #[must_use]
    pub const fn until(&self) -> UnixTime {
        self.until
    }

    /// How long the mark must be kept.
    #[must_use]
    pub fn keep_for(&self) -> Duration {
        self.until.saturating_duration_since(self.at.wall())
    }
}

/// What came of setting a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Marked {
    /// It was not set before.
    First,
    /// It was set before, and nothing has changed.
    Replayed,
}

/// An outcome of [`ReplayStore::mark`], now or later.
pub struct Marking(State);

type Outcome = Result<Marked, BoxError>;
type Later = Pin<Box<dyn Future<Output = Outcome> + Send>>;

enum State {
    Done(Outcome),
    Pending(Later),
}

impl Marking {
    /// The outcome is known.
    ///
    /// ```
    /// use tower_introspect::proof::{Marked, Marking};
    ///
    /// let marking = Marking::done(Ok(Marked::First));
    /// assert!(matches!(marking.now_or_later(), Ok(Ok(Marked::First))));
    /// ```
    #[must_use]
    pub const fn done(outcome: Result<Marked, BoxError>) -> Self {
        Self(State::Done(outcome))
    }

    /// The outcome will be known. Boxed, as the store is behind a pointer itself.
    ///
    /// ```
    /// use tower_introspect::proof::{Marked, Marking};
    ///
    /// let marking = Marking::pending(async { Ok(Marked::Replayed) });
    /// assert!(marking.now_or_later().is_err());
    /// ```
    #[must_use]
    pub fn pending(
        outcome: impl Future<Output = Result<Marked, BoxError>> + Send + 'static,
    ) -> Self {
        Self(State::Pending(Box::pin(outcome)))
    }

    /// The outcome, or else the future of it.
    ///
    /// # Errors
    ///
    /// The future.
    #[expect(clippy::type_complexity, reason = "a future behind a pointer is no other type")]
    pub fn now_or_later(
        self,
    ) -> Result<
        Result<Marked, BoxError>,
        Pin<Box<dyn Future<Output = Result<Marked, BoxError>> + Send>>,
    > {
        match self.0 {
            State::Done(outcome) => Ok(outcome),
            State::Pending(later) => Err(later),
        }
    }
}

impl fmt::Debug for Marking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marking").finish_non_exhaustive()
    }
}

/// A proof that is good unless it was used before.
pub(crate) struct Pending {
    store: Arc<dyn ReplayStore>,
    mark: Mark,
}

/// Left with a request: its proof was marked, by this layer or one outside of it, which must not count
/// as a second use. Only this crate can make one, and only for the request at hand.
#[derive(Clone)]
pub(crate) struct Proven {
    store: Arc<dyn ReplayStore>,
    key: [u8; 32],
}

impl Pending {
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    pub(super) fn new(store: &Arc<dyn ReplayStore>, mark: Mark) -> Self {
        Self { store: Arc::clone(store), mark }
    }

    /// Whether a layer outside has marked this proof of this request, in the same store.
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    pub(super) fn is_settled_by(&self, proven: &Proven) -> bool {
        Arc::ptr_eq(&self.store, &proven.store) && self.mark.key == proven.key
    }

    pub(crate) fn mark(&self) -> Marking {
        self.store.mark(self.mark.clone())
    }

    pub(crate) fn into_proven(self) -> Proven {
        Proven { store: self.store, key: self.mark.key }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven").finish_non_exhaustive()
    }
}

/// What the outcome of marking means for the request.
pub(crate) fn verdict(outcome: Outcome) -> Result<(), VerifyError> {
    match outcome {
        Ok(Marked::First) => Ok(()),
        Ok(Marked::Replayed) => {
            Err(VerifyError::new(ErrorKind::InvalidProof).with_context("the proof was used before"))
        }
        Err(error) => Err(VerifyError::new(ErrorKind::ReplayUnavailable).with_source(error)),
    }
}

#[cfg(all(test, feature = "dpop", feature = "_crypto"))]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    /// Whatever is no thumbprint is a key of its own too.
    #[test]
    fn rfc9449_6_1_each_spelling_of_a_thumbprint_is_another_owner() {
        let now = Moment::now(&SystemClock);
        let owner = |jkt: &str| *Mark::new(jkt, "1", now, now.wall()).owner();
        let zeros = "A".repeat(43);
        assert_eq!(owner(&zeros), [0; 32]);
        let mut owners = vec![owner(&zeros)];
        for other in [
            &format!("{zeros}="),
            &format!("{}B", &zeros[1..]),
            &zeros[1..],
            &format!("{zeros}A"),
            &format!(" {zeros}"),
            &"A".repeat(10_000),
            "\u{e9}",
            "",
        ] {
            let owner = owner(other);
            assert!(!owners.contains(&owner), "{other}");
            owners.push(owner);
        }
    }
}
