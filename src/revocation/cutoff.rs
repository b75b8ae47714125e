//! A cutoff, and its results for verified facts.

use crate::clock::{Moment, UnixTime};

/// The name of one token, or of all tokens of a subject, a session, a client or an issuer that were
/// issued until some time.
///
/// [`Revocations::revoke`](super::Revocations::revoke) revokes them, and
/// [`Revocations::outdate`](super::Revocations::outdate) has them verified again.
///
/// ```
/// use tower_introspect::{clock::UnixTime, revocation::Cutoff};
///
/// let logout = Cutoff::subject("https://as.example.com", "alice").at(UnixTime::from_secs(1_800_000_000));
/// # let _ = logout;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a cutoff does nothing until it is passed to `Revocations`"]
pub struct Cutoff {
    pub(super) issuer: String,
    pub(super) target: Target,
    pub(super) subject: Option<String>,
    pub(super) at: Option<UnixTime>,
}

#[derive(Clone, Debug)]
pub(super) enum Target {
    Issuer,
    Claim(ClaimKind, String),
}

/// The claim that a cutoff matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ClaimKind {
    Client,
    Session,
    Subject,
    Token,
}

impl ClaimKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Token => "token",
        }
    }
}

impl Cutoff {
    /// Creates a cutoff for all tokens of an issuer.
    pub fn issuer(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), target: Target::Issuer, subject: None, at: None }
    }

    /// Creates a cutoff for the tokens of a subject (`sub`).
    pub fn subject(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self::for_claim(issuer.into(), ClaimKind::Subject, subject.into())
    }

    /// Creates a cutoff for the tokens of a session (`sid`).
    pub fn session(issuer: impl Into<String>, session: impl Into<String>) -> Self {
        Self::for_claim(issuer.into(), ClaimKind::Session, session.into())
    }

    /// Creates a cutoff for the tokens of a client: those that name it in `client_id`, `azp`, `cid`
    /// or `appid`.
    pub fn client(issuer: impl Into<String>, client: impl Into<String>) -> Self {
        Self::for_claim(issuer.into(), ClaimKind::Client, client.into())
    }

    /// Creates a cutoff for one token (`jti`), whenever it was issued.
    pub fn token(issuer: impl Into<String>, jwt_id: impl Into<String>) -> Self {
        Self::for_claim(issuer.into(), ClaimKind::Token, jwt_id.into())
    }

    /// Names the subject that a session or a token belongs to.
    ///
    /// More than 16 such cutoffs of one subject become one for the subject, which covers all of its
    /// tokens issued until then. Without a subject, a client that logs in and out many times can
    /// fill the table of its issuer, and older tokens of all its users are then refused. Cutoffs for
    /// a subject, a client or an issuer ignore it.
    ///
    /// ```
    /// use tower_introspect::revocation::{Cutoff, Revocations};
    ///
    /// let revocations = Revocations::new();
    /// for n in 0..17 {
    ///     let session = Cutoff::session("https://as.example.com", format!("session-{n}"));
    ///     revocations.revoke(&session.of_subject("alice"));
    /// }
    /// assert_eq!(revocations.len(), 1);
    /// ```
    pub fn of_subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the time of the revocation, by the clock of the issuer. Defaults to the current time,
    /// or to the latest `iat` of the issuer's admitted tokens if that is later.
    ///
    /// A time more than five minutes ahead of that can't be right, and is cut to it with an event:
    /// a sender that gives milliseconds for seconds would otherwise revoke tokens for ever.
    pub const fn at(mut self, time: UnixTime) -> Self {
        self.at = Some(time);
        self
    }

    /// Creates a cutoff of a [`kind`](Self::kind), with the value that it has except for an issuer.
    ///
    /// Returns `None` if the kind is unknown, or does not fit the value.
    ///
    /// ```
    /// use tower_introspect::revocation::Cutoff;
    ///
    /// let alice = Cutoff::of_kind("subject", "https://as.example.com", Some("alice"));
    /// assert_eq!(alice.unwrap().value(), Some("alice"));
    /// assert!(Cutoff::of_kind("issuer", "https://as.example.com", Some("alice")).is_none());
    /// ```
    #[must_use]
    pub fn of_kind(kind: &str, issuer: impl Into<String>, value: Option<&str>) -> Option<Self> {
        let all = [ClaimKind::Client, ClaimKind::Session, ClaimKind::Subject, ClaimKind::Token];
        match (kind, value) {
            ("issuer", None) => Some(Self::issuer(issuer)),
            (_, None) => None,
            (kind, Some(value)) => {
                let kind = all.into_iter().find(|known| known.as_str() == kind)?;
                Some(Self::for_claim(issuer.into(), kind, value.to_owned()))
            }
        }
    }

    /// Returns the issuer whose tokens are covered.
    #[must_use]
    pub fn issuer_name(&self) -> &str {
        &self.issuer
    }

    /// Returns which tokens of the issuer are covered, as [`InForce::kind`](super::InForce::kind) does.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.target {
            Target::Issuer => "issuer",
            Target::Claim(kind, _) => kind.as_str(),
        }
    }

    /// Returns the client, session, subject or `jti`, or `None` for a whole issuer.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &self.target {
            Target::Issuer => None,
            Target::Claim(_, value) => Some(value),
        }
    }

    /// Returns the subject that a session or a token belongs to, if it was
    /// [named](Self::of_subject).
    #[must_use]
    pub fn subject_name(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Returns the time of the revocation, if it was [set](Self::at).
    #[must_use]
    pub const fn time(&self) -> Option<UnixTime> {
        self.at
    }

    pub(super) fn with_time(mut self, time: Option<UnixTime>) -> Self {
        self.at = time;
        self
    }

    const fn for_claim(issuer: String, kind: ClaimKind, value: String) -> Self {
        Self { issuer, target: Target::Claim(kind, value), subject: None, at: None }
    }
}

/// The result of checking a fact against the cutoffs, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No cutoff applies to the fact.
    Stands,
    /// The fact was established before a cutoff that became known at this moment. Verify again.
    Outdated(Moment),
    /// The token is revoked.
    Revoked,
}
