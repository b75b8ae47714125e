//! The tokens that the subject of an event stands for.
//!
//! All members of a complex subject describe one subject (SSF 1.0 §3.3), so the tokens that belong to
//! it satisfy each of them. A member that no cutoff can express is left out: that covers more tokens,
//! never fewer.

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    subject::{Complex, Subject},
    subject_id::{Kind, SubjectId},
};
use crate::revocation::cutoff::Cutoff;

/// The session by which Keycloak 26.7 names all sessions of a user.
const ALL_SESSIONS: &str = "ALL";

/// A function of the application that returns the `sub` of the user that an identifier names.
///
/// An opaque name counts as a `sub` and a `sid` of its own accord. The function may add to that.
pub(super) type SubjectMap = Arc<dyn Fn(&SubjectId) -> Option<String> + Send + Sync>;

/// The rules by which the subjects of one transmitter become cutoffs.
#[derive(Clone)]
pub(super) struct SubjectRules {
    /// The issuers of access tokens that the transmitter speaks for, at least one. They are compared
    /// byte by byte.
    pub(super) issuers: Vec<String>,
    /// Finds the user of an e-mail address, a phone number, .. Its result counts at every issuer.
    pub(super) map: Option<SubjectMap>,
    /// The members of a complex subject that must be understood (SSF 1.0 §3.6).
    pub(super) critical: Vec<String>,
    /// True if an event about a session of a user cuts the user, because tokens have no `sid`.
    pub(super) cut_by_subject: bool,
}

/// The least that an event can be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All tokens of the user.
    User,
    /// The tokens of a session, or one token.
    Session,
}

/// The tokens that a subject stands for.
#[derive(Debug)]
pub(super) enum Target {
    /// The tokens that these cutoffs cover, which may be more than the subject has.
    Tokens(Vec<Cutoff>),
    /// The tokens that these cutoffs cover, and those of a user whose `sub` is not known.
    UnknownUser(Vec<Cutoff>),
    /// Tokens of an issuer that the transmitter doesn't speak for.
    Foreign,
    /// Unknown, because of a critical member.
    Critical,
}

/// The users that the identifiers of one user name.
#[derive(Default)]
struct Users<'a> {
    named: Vec<User<'a>>,
    has_foreign: bool,
    has_unknown: bool,
}

struct User<'a> {
    issuer: &'a str,
    subject: Cow<'a, str>,
    /// False if the name may be something else than the `sub` of the user.
    is_certain: bool,
}

impl SubjectRules {
    /// Returns the tokens that an event about `subject` is about.
    pub(super) fn target(&self, subject: &Subject, reach: Reach) -> Target {
        match subject {
            Subject::Simple(ids) => self.simple(ids, reach),
            Subject::Complex(complex) => self.complex(complex, reach),
        }
    }

    /// Returns cutoffs for all tokens of the issuers that the transmitter speaks for.
    pub(super) fn everything(&self) -> Vec<Cutoff> {
        self.issuers.iter().map(Cutoff::issuer).collect()
    }

    fn simple(&self, ids: &[SubjectId], reach: Reach) -> Target {
        let users = self.users(ids);
        let (mut cutoffs, mut is_certain) = (users.cutoffs(), users.has_certain());
        for id in ids {
            match id.kind() {
                Kind::Opaque(name) => {
                    cutoffs.extend(self.issuers.iter().map(|issuer| Cutoff::session(issuer, name)));
                }
                Kind::Token { issuer, jwt_id } if self.speaks_for(issuer) => {
                    match reach {
                        Reach::Session => cutoffs.push(Cutoff::token(issuer, jwt_id)),
                        // The token is one of a user that is not named.
                        Reach::User if !is_certain => cutoffs.push(Cutoff::issuer(issuer)),
                        Reach::User => {}
                    }
                    is_certain = true;
                }
                _ => {}
            }
        }
        if users.has_unknown && !is_certain {
            Target::UnknownUser(cutoffs)
        } else if cutoffs.is_empty() {
            Target::Foreign
        } else {
            Target::Tokens(cutoffs)
        }
    }

    fn complex(&self, complex: &Complex, reach: Reach) -> Target {
        if complex.others.iter().any(|name| self.critical.contains(name)) {
            return Target::Critical;
        }
        let users = complex.user.as_deref().map(|ids| self.users(ids)).unwrap_or_default();
        if users.is_foreign() {
            return Target::Foreign;
        }
        let (sessions, is_foreign) = self.sessions(complex, &users);
        let sessions = if reach == Reach::Session { sessions } else { Vec::new() };
        let by_user = self.cut_by_subject && complex.user.is_some();
        if !by_user && !sessions.is_empty() {
            return Target::Tokens(sessions);
        }
        let mut cutoffs = users.cutoffs();
        if !users.has_certain() {
            cutoffs.extend(sessions);
            if users.has_unknown {
                return Target::UnknownUser(cutoffs);
            }
        }
        match cutoffs.is_empty() {
            false => Target::Tokens(cutoffs),
            true if is_foreign => Target::Foreign,
            true => Target::Tokens(self.everything()),
        }
    }

    fn users<'a>(&'a self, ids: &'a [SubjectId]) -> Users<'a> {
        let mut users = Users::default();
        for id in ids {
            match id.kind() {
                Kind::IssuerSubject { issuer, .. } | Kind::Token { issuer, .. }
                    if !self.speaks_for(issuer) =>
                {
                    users.has_foreign = true;
                }
                Kind::IssuerSubject { issuer, subject } => {
                    users.named.push(User { issuer, subject: subject.into(), is_certain: true });
                }
                Kind::Token { .. } => users.has_unknown = true,
                kind => {
                    let mapped = self.mapped(id);
                    users.has_unknown |= mapped.is_none() && kind == Kind::Other;
                    for issuer in &self.issuers {
                        if let Kind::Opaque(name) = kind {
                            let subject = name.into();
                            users.named.push(User { issuer, subject, is_certain: false });
                        }
                        if let Some(subject) = mapped.clone().map(Cow::from) {
                            users.named.push(User { issuer, subject, is_certain: true });
                        }
                    }
                }
            }
        }
        users
    }

    /// Returns the sessions that a complex subject names, and true if one of them is at an issuer
    /// that the transmitter doesn't speak for.
    fn sessions(&self, complex: &Complex, users: &Users<'_>) -> (Vec<Cutoff>, bool) {
        let (mut sessions, mut has_foreign) = (Vec::new(), false);
        for id in complex.session.iter().flatten() {
            match id.kind() {
                Kind::IssuerSubject { issuer, subject } if self.speaks_for(issuer) => {
                    sessions.push(users.session(issuer, subject));
                }
                Kind::IssuerSubject { .. } => has_foreign = true,
                // It names the user.
                Kind::Opaque(ALL_SESSIONS) => {}
                Kind::Opaque(name) => {
                    let at = self.issuers.iter().filter(|issuer| users.may_be_at(issuer));
                    sessions.extend(at.map(|issuer| users.session(issuer, name)));
                }
                // One token is less than a session, and other formats name none.
                Kind::Token { .. } | Kind::Other => {}
            }
        }
        has_foreign &= sessions.is_empty();
        (sessions, has_foreign)
    }

    fn speaks_for(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|known| known == issuer)
    }

    /// Returns the `sub` that the application has for an identifier. If its function panics, the
    /// identifier counts as unknown: the revocation must be applied.
    fn mapped(&self, id: &SubjectId) -> Option<String> {
        let map = self.map.as_ref()?;
        catch_unwind(AssertUnwindSafe(|| map(id))).ok().flatten()
    }
}

impl fmt::Debug for SubjectRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectRules")
            .field("issuers", &self.issuers)
            .field("map", &self.map.is_some())
            .field("critical", &self.critical)
            .field("cut_by_subject", &self.cut_by_subject)
            .finish()
    }
}

impl Users<'_> {
    fn is_foreign(&self) -> bool {
        self.has_foreign && self.named.is_empty() && !self.has_unknown
    }

    fn has_certain(&self) -> bool {
        self.named.iter().any(|user| user.is_certain)
    }

    fn may_be_at(&self, issuer: &str) -> bool {
        self.named.is_empty() || self.named.iter().any(|user| user.issuer == issuer)
    }

    fn cutoffs(&self) -> Vec<Cutoff> {
        self.named.iter().map(|user| Cutoff::subject(user.issuer, &*user.subject)).collect()
    }

    /// Returns a cutoff for a session. It names the user only if the `sub` is certain: many such
    /// cutoffs become one for that `sub`, which must cover the sessions.
    fn session(&self, issuer: &str, session: &str) -> Cutoff {
        let cutoff = Cutoff::session(issuer, session);
        let mut users = self.named.iter().filter(|user| user.issuer == issuer);
        match (users.next(), users.next()) {
            (Some(user), None) if user.is_certain => cutoff.of_subject(&*user.subject),
            _ => cutoff,
        }
    }
}
