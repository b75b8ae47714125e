//! The union of the requirements that a stream has to meet.

use std::{slice, sync::Arc};

use crate::policy::verified_token::{Kind, Requirement};

/// The most requirements that a stream is held to. A handler may add some for each message of a
/// client, which is for ever.
const MOST: usize = 64;

impl Requirement {
    /// Returns the requirement of both, in which nothing is said twice. Returns `None` if it has too
    /// many parts.
    pub(crate) fn union(&self, more: &Self) -> Option<Self> {
        let known = self.parts();
        let is_new = |part: &&Self| !known.iter().any(|one| one.is_same(part));
        let mut new = more.parts().iter().filter(is_new).peekable();
        if new.peek().is_none() {
            return Some(self.clone());
        }
        // Flat: a tree would grow in depth, by which checking it recurses.
        let all: Box<[Self]> = known.iter().chain(new).cloned().collect();
        (all.len() <= MOST).then(|| Kind::All(all).into())
    }

    fn parts(&self) -> &[Self] {
        match &*self.0 {
            Kind::All(parts) => parts,
            _ => slice::from_ref(self),
        }
    }

    /// Returns true if both are certainly met by the same tokens. Of functions only the very same one is.
    fn is_same(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        match (&*self.0, &*other.0) {
            (Kind::All(one), Kind::All(other)) | (Kind::Any(one), Kind::Any(other)) => {
                one.len() == other.len()
                    && one.iter().zip(other).all(|(one, other)| one.is_same(other))
            }
            (Kind::AllScopes(one), Kind::AllScopes(other))
            | (Kind::AnyAcr(one), Kind::AnyAcr(other))
            | (Kind::AnyActor(one), Kind::AnyActor(other))
            | (Kind::AnyClient(one), Kind::AnyClient(other))
            | (Kind::AnyIssuer(one), Kind::AnyIssuer(other))
            | (Kind::AnyScope(one), Kind::AnyScope(other)) => one == other,
            (Kind::Audience(one), Kind::Audience(other)) => one == other,
            (Kind::Fresh(one), Kind::Fresh(other)) | (Kind::MaxAge(one), Kind::MaxAge(other)) => {
                one == other
            }
            (Kind::NoActor, Kind::NoActor) | (Kind::SenderConstrained, Kind::SenderConstrained) => {
                true
            }
            (Kind::Not(one), Kind::Not(other)) => one.is_same(other),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_already_is_not_said_again() {
        let scope = |name: &'static str| Requirement::all_scopes([name]);
        let mut all = scope("a");
        for _ in 0..1_000 {
            let more = scope("b").and(!scope("c")).and(Requirement::no_actor());
            all = all.union(&more).unwrap().union(&scope("a")).unwrap();
        }
        // The left of the two `and`s is a part of its own.
        assert_eq!(all.parts().len(), 3, "{all:?}");
        assert!(!scope("a").is_same(&Requirement::any_scope(["a"])));
        assert!(!scope("a").or(scope("b")).is_same(&scope("a").and(scope("b"))));
    }

    #[test]
    fn functions_are_told_apart_and_limited_in_number() {
        let check = || Requirement::check_fn(|_| Ok(()));
        let one = check();
        let mut all = one.clone();
        for _ in 1..MOST {
            all = all.union(&check()).unwrap().union(&one).unwrap();
        }
        assert_eq!(all.parts().len(), MOST);
        assert!(all.union(&check()).is_none() && all.union(&one).is_some());
    }
}
