//! The store that marks proofs as used.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use crate::{
    clock::{Moment, UnixTime},
    error::boxed::BoxError,
};

/// A store that records which proofs were used.
///
/// If several processes serve the same resource, each accepts a proof once unless they share a
/// store.
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
///             // One atomic operation, such as `SET key 1 NX PX ms`.
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
/// The lookup and the insertion of a mark must be one atomic step, and a mark must stay for
/// [`Mark::keep_for`]. The store must fail if it cannot keep a mark, so that the request is
/// refused. A store that evicts marks to free space lets proofs be used again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `ReplayStore`",
    label = "not a store of used proofs",
    note = "use `proof::MemoryReplay`, or implement `proof::ReplayStore` with the client of a store that your processes share"
)]
pub trait ReplayStore: Send + Sync + 'static {
    /// Sets this mark and returns whether it was set before.
    ///
    /// An error means that the outcome is not known. The request is then refused with
    /// [`ReplayUnavailable`](crate::ErrorKind::ReplayUnavailable), which does not blame the client. The
    /// outcome must arrive in bounded time.
    ///
    /// # Cancellation
    ///
    /// The future is dropped if the request is. The mark may then be set or not.
    fn mark(&self, mark: Mark) -> Marking;
}

/// The record that a proof was used: its name and how long to keep it.
///
/// It holds only digests and times, so it can be stored anywhere.
#[derive(Clone, Debug)]
pub struct Mark {
    pub(super) key: [u8; 32],
    pub(super) owner: [u8; 32],
    pub(super) at: Moment,
    pub(super) until: UnixTime,
}

impl Mark {
    /// Creates the mark of the proof that has the name `jti` and is signed by the key with the
    /// thumbprint `jkt`.
    ///
    /// The proof is used at `at` and could be used again until `until`.
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
    #[cfg(feature = "dpop")]
    #[must_use]
    pub fn new(jkt: &str, jti: &str, at: Moment, until: UnixTime) -> Self {
        use base64::Engine as _;

        use crate::jose::{base64url::BASE64URL, crypto::backend::sha256};
        // A thumbprint is already a digest (RFC 9449 §6.1).
        let mut owner = [0; 32];
        if BASE64URL.decode_slice(jkt, &mut owner) != Ok(owner.len()) {
            owner = sha256(jkt.as_bytes());
        }
        // The first part has a fixed length, so two different pairs never give the same input.
        Self { key: sha256(&[&owner, jti.as_bytes()].concat()), owner, at, until }
    }

    /// Returns the name of the proof: a digest of its `jti` and the key that signed it.
    #[must_use]
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Returns the thumbprint of the key that signed the proof, a digest.
    ///
    /// Stores use it to limit the proofs of each client.
    #[must_use]
    pub const fn owner(&self) -> &[u8; 32] {
        &self.owner
    }

    /// Returns when the proof is used.
    #[must_use]
    pub const fn at(&self) -> Moment {
        self.at
    }

    /// Returns the time, by the wall clock, from which the proof is refused in any case.
    #[must_use]
    pub const fn until(&self) -> UnixTime {
        self.until
    }

    /// Returns how long the mark must be kept.
    #[must_use]
    pub fn keep_for(&self) -> Duration {
        self.until.saturating_duration_since(self.at.wall())
    }
}

/// The outcome of setting a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a proof was used before, or was not")]
pub enum Marked {
    /// The mark was not set before.
    First,
    /// The mark was set before. The store is unchanged.
    Replayed,
}

/// The outcome of [`ReplayStore::mark`], ready or pending.
pub struct Marking(State);

pub(super) type Outcome = Result<Marked, BoxError>;

pub(crate) type Later = Pin<Box<dyn Future<Output = Outcome> + Send>>;

enum State {
    Done(Outcome),
    Pending(Later),
}

impl Marking {
    /// Creates a known outcome.
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

    /// Creates an outcome that `outcome` resolves to.
    ///
    /// The future is boxed, because the store is a trait object.
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

    /// Returns the outcome if it is known.
    ///
    /// # Errors
    ///
    /// The future of the outcome, if it is not known yet.
    #[expect(clippy::type_complexity, reason = "a boxed future needs no alias")]
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

#[cfg(all(test, feature = "dpop"))]
mod tests {
    use super::*;
    use crate::clock::tests::FixedClock;

    /// A text that is no thumbprint still has an owner of its own.
    #[test]
    fn rfc9449_6_1_thumbprints_are_distinguished_by_exact_text() {
        let now = Moment::now(&FixedClock(0));
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
