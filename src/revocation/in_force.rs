//! The list of the cutoffs in force.

use std::{cmp::Reverse, fmt, sync::PoisonError};

use super::{cutoff::Cutoff, revocations::Revocations, table::Row};
use crate::clock::UnixTime;

/// A cutoff in force, as [`Revocations::in_force`] lists it.
///
/// Its `Debug` output leaves the value out: it may be personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct InForce {
    issuer: Option<Box<str>>,
    kind: &'static str,
    value: Option<Box<str>>,
    revoked_at: Option<UnixTime>,
    learned_at: UnixTime,
}

impl InForce {
    /// Returns the issuer, or its first 256 bytes. `None` if the cutoff is for all issuers that
    /// found no place among the cutoffs.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns which tokens of the issuer the cutoff is for: those of a `client`, a `session` or a
    /// `subject`, one `token`, or all of the `issuer`.
    ///
    /// A cutoff for a subject or an issuer may have replaced more precise ones.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns the client, session, subject or `jti` that the cutoff names, or its first 256 bytes.
    /// `None` if the cutoff is for a whole issuer.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Returns the time until which issued tokens are revoked, by the clock of the issuer. `None` if
    /// tokens are only verified again ([`Revocations::outdate`]).
    ///
    /// It is the largest time while the clock of this process can't be right. A JWT named by its
    /// `jti` is revoked whenever it was issued.
    #[must_use]
    pub const fn revoked_at(&self) -> Option<UnixTime> {
        self.revoked_at
    }

    /// Returns the time at which this process learned of the cutoff, by its own clock.
    #[must_use]
    pub const fn learned_at(&self) -> UnixTime {
        self.learned_at
    }

    fn new(row: &Row<'_>) -> Self {
        Self {
            issuer: row.issuer.map(|(_, issuer)| issuer.name.clone()),
            kind: row.claim.map_or("issuer", |(_, cutoff)| cutoff.kind.as_str()),
            value: row.claim.map(|(_, cutoff)| cutoff.value.clone()),
            revoked_at: row.times.revoked_at,
            learned_at: row.times.learned_at.wall(),
        }
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InForce")
            .field("issuer", &self.issuer)
            .field("kind", &self.kind)
            .field("revoked_at", &self.revoked_at)
            .field("learned_at", &self.learned_at)
            .finish_non_exhaustive()
    }
}

impl Revocations {
    /// Lists the cutoffs that have not ended, the latest first, and no more than `limit` of them.
    ///
    /// This takes a walk over all cutoffs, during which none is added.
    ///
    /// ```
    /// use tower_introspect::revocation::{Cutoff, Revocations};
    ///
    /// let revocations = Revocations::new();
    /// revocations.revoke(&Cutoff::subject("https://as.example.com", "alice"));
    /// let listed = revocations.in_force(100);
    /// assert_eq!(listed[0].issuer(), Some("https://as.example.com"));
    /// assert_eq!((listed[0].kind(), listed[0].value()), ("subject", Some("alice")));
    /// ```
    #[must_use]
    pub fn in_force(&self, limit: usize) -> Vec<InForce> {
        self.list(None, limit)
    }

    /// Lists the cutoffs in force that concern the tokens which `cutoff` names, as
    /// [`in_force`](Self::in_force) does.
    ///
    /// For an issuer those are all of its cutoffs. For a subject they are its own, those of its
    /// sessions and tokens ([`Cutoff::of_subject`]), and the one for its whole issuer. For a
    /// session, a client or a token they are its own and the one for its whole issuer. The time and
    /// the subject of `cutoff` are ignored.
    ///
    /// ```
    /// use tower_introspect::revocation::{Cutoff, Revocations};
    ///
    /// let revocations = Revocations::new();
    /// let alice = Cutoff::subject("https://as.example.com", "alice");
    /// revocations.revoke(&Cutoff::session("https://as.example.com", "s1").of_subject("alice"));
    /// revocations.revoke(&Cutoff::session("https://as.example.com", "s2").of_subject("bob"));
    /// assert_eq!(revocations.in_force_for(&alice, 100)[0].value(), Some("s1"));
    /// assert_eq!(revocations.in_force_for(&alice, 100).len(), 1);
    /// ```
    #[must_use]
    pub fn in_force_for(&self, cutoff: &Cutoff, limit: usize) -> Vec<InForce> {
        self.list(Some(cutoff), limit)
    }

    fn list(&self, wanted: Option<&Cutoff>, limit: usize) -> Vec<InForce> {
        // Removes the cutoffs that have ended.
        if self.is_empty() {
            return Vec::new();
        }
        let state = &*self.0;
        state.date_undated();
        let wanted =
            wanted.map(|cutoff| (state.issuer_name(cutoff).hash, state.claim_name(cutoff)));
        let cutoffs = state.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let concerns = |row: &Row<'_>| {
            let Some((issuer, name)) = &wanted else { return true };
            let is_of_issuer = match row.issuer {
                Some((hash, _)) => hash == *issuer,
                None => !cutoffs.issuers.contains_key(issuer),
            };
            is_of_issuer
                && match (name, row.claim) {
                    (None, _) | (_, None) => true,
                    (Some(name), Some((hash, cutoff))) => {
                        let subject = cutoff.subject.map(u64::from);
                        hash == name.value.hash || subject == Some(name.value.hash)
                    }
                }
        };
        let latest = |row: &Row<'_>| Reverse(row.times.learned_at.monotonic());
        let mut rows: Vec<_> = cutoffs.iter().filter(concerns).collect();
        if limit < rows.len() {
            rows.select_nth_unstable_by_key(limit, latest);
            rows.truncate(limit);
        }
        rows.sort_unstable_by_key(latest);
        rows.iter().map(InForce::new).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::tests::FixedClock;

    const ISSUER: &str = "https://as.example.com";
    const OTHER: &str = "https://other.example.com";

    fn revocations(capacity: usize) -> Revocations {
        Revocations::with_capacity(capacity).clock(FixedClock(1_000))
    }

    /// The kinds and values of a list.
    fn names(list: &[InForce]) -> Vec<(&str, Option<&str>)> {
        list.iter().map(|one| (one.kind(), one.value())).collect()
    }

    async fn tick() {
        tokio::time::advance(Duration::from_nanos(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn cutoffs_are_listed_with_their_names_the_latest_first() {
        let revocations = revocations(10);
        for (n, cutoff) in [
            Cutoff::issuer(ISSUER),
            Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(500)),
            Cutoff::session(ISSUER, "s"),
            Cutoff::client(ISSUER, "c"),
            Cutoff::token(ISSUER, "t"),
        ]
        .iter()
        .enumerate()
        {
            tick().await;
            if n == 2 { revocations.outdate(cutoff) } else { revocations.revoke(cutoff) }
        }
        let list = revocations.in_force(10);
        assert_eq!(
            names(&list),
            [
                ("token", Some("t")),
                ("client", Some("c")),
                ("session", Some("s")),
                ("subject", Some("alice")),
                ("issuer", None),
            ]
        );
        let revoked_at: Vec<_> = list.iter().map(InForce::revoked_at).collect();
        let at = |secs| Some(UnixTime::from_secs(secs));
        assert_eq!(revoked_at, [at(1_000), at(1_000), None, at(500), at(1_000)]);
        for one in &list {
            assert_eq!(one.issuer(), Some(ISSUER));
            assert_eq!(one.learned_at(), UnixTime::from_secs(1_000));
        }
        for limit in 0..7 {
            assert_eq!(revocations.in_force(limit), list[..limit.min(5)]);
        }
        assert!(!format!("{list:?}").contains("alice"));
    }

    #[test]
    fn list_for_a_subject_has_its_sessions_and_tokens_and_the_cutoff_of_its_issuer() {
        let revocations = revocations(10);
        revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
        revocations.revoke(&Cutoff::session(ISSUER, "s").of_subject("alice"));
        revocations.revoke(&Cutoff::token(ISSUER, "t").of_subject("alice"));
        revocations.revoke(&Cutoff::session(ISSUER, "alice").of_subject("bob"));
        revocations.revoke(&Cutoff::client(ISSUER, "alice"));
        revocations.revoke(&Cutoff::subject(OTHER, "alice"));
        let sorted = |cutoff: &Cutoff| {
            let list = revocations.in_force_for(cutoff, 10);
            let mut names = names(&list);
            names.sort_unstable();
            names.into_iter().map(|(kind, value)| format!("{kind} {value:?}")).collect::<Vec<_>>()
        };
        let alice = Cutoff::subject(ISSUER, "alice");
        let own = [r#"session Some("s")"#, r#"subject Some("alice")"#, r#"token Some("t")"#];
        assert_eq!(sorted(&alice), own);
        assert_eq!(sorted(&Cutoff::session(ISSUER, "s")), own[..1]);
        assert_eq!(sorted(&Cutoff::token(ISSUER, "s")), [""; 0]);
        assert_eq!(sorted(&Cutoff::issuer(ISSUER)).len(), 5);
        assert_eq!(sorted(&Cutoff::issuer(OTHER)), own[1..2]);
        assert_eq!(revocations.in_force_for(&Cutoff::issuer(ISSUER), 2).len(), 2);
        revocations.outdate(&Cutoff::issuer(ISSUER));
        assert_eq!(sorted(&alice)[0], "issuer None");
        assert_eq!(sorted(&alice).len(), 4);
    }

    #[test]
    fn names_stay_known_when_cutoffs_are_replaced() {
        let revocations = revocations(20);
        for n in 0..17 {
            revocations.revoke(&Cutoff::session(ISSUER, n.to_string()).of_subject("alice"));
        }
        assert_eq!(names(&revocations.in_force(10)), [("subject", Some("alice"))]);
        for n in 0..30 {
            revocations.revoke(&Cutoff::subject(ISSUER, format!("user-{n}")));
        }
        let list = revocations.in_force(100);
        assert_eq!(list.len(), revocations.len());
        assert_eq!(list.iter().filter(|one| one.kind() == "issuer").count(), 1);
        assert!(list.iter().all(|one| one.issuer() == Some(ISSUER)));
        assert!(list.iter().all(|one| one.value().is_none() == (one.kind() == "issuer")));
    }

    #[test]
    fn cutoff_of_issuers_without_a_place_is_listed_without_one() {
        let revocations = revocations(3);
        for n in 0..10 {
            revocations.revoke(&Cutoff::issuer(format!("https://{n}.example.com")));
        }
        let list = revocations.in_force_for(&Cutoff::issuer("https://9.example.com"), 10);
        assert_eq!((list.len(), list[0].issuer(), list[0].kind()), (1, None, "issuer"));
        let placed = revocations.in_force_for(&Cutoff::issuer("https://0.example.com"), 10);
        assert_eq!((placed.len(), placed[0].issuer()), (1, Some("https://0.example.com")));
    }

    #[test]
    fn long_names_are_cut_between_characters_and_told_apart() {
        let revocations = revocations(10);
        let long = |end: &str| format!("{}€{end}", "x".repeat(254));
        for end in ["1", "2"] {
            revocations.revoke(&Cutoff::subject(long("issuer"), long(end)));
        }
        let list = revocations.in_force(10);
        assert_eq!(list.len(), 2);
        for one in list {
            assert_eq!(one.value(), Some(&*"x".repeat(254)));
            assert_eq!(one.issuer(), Some(&*"x".repeat(254)));
        }
        let exact = "é".repeat(128);
        revocations.revoke(&Cutoff::subject(OTHER, exact.clone()));
        let list = revocations.in_force_for(&Cutoff::issuer(OTHER), 10);
        assert_eq!(list[0].value(), Some(&*exact));
    }
}
