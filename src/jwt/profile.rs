//! The profiles of JWT access tokens.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::claims::typ::Typ;

/// The form of the access tokens of an issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// JWTs that are marked as access tokens in any of the usual ways.
    ///
    /// `typ` is `at+jwt`, `JWT` or absent. Tokens whose claims are those of an ID token, a refresh
    /// token, a logout token or a security event are refused. If `typ` is not `at+jwt`, there must
    /// be a sign of an access token: a scope (`scope`, `scp`), a client (`client_id`, `cid`,
    /// `appid`, `azpacr`), or a word (`typ`, `token_use`, `token_type`).
    ///
    /// # Security
    ///
    /// Some issuers don't mark their ID tokens at all. These lack a sign of an access token and are
    /// refused too. If an issuer can set the type of its access tokens to `at+jwt`, prefer
    /// [`Rfc9068`](Self::Rfc9068).
    #[default]
    Generic,
    /// JWTs whose `typ` is `at+jwt` (RFC 9068 §4), and whose `scope` is a string.
    ///
    /// A resource server that follows FAPI 2.0 demands this profile.
    Rfc9068,
    /// JWTs that identify a service to another service, for which it requested them. Google,
    /// Kubernetes and GitHub Actions issue such tokens.
    ///
    /// They are ID tokens in form, and nothing marks them as access tokens. As for
    /// [`Generic`](Self::Generic), tokens with the marks of an ID token are refused, such as
    /// `nonce` and `at_hash`. So are tokens whose audience is the client they were issued to
    /// (`azp`), as is that of an ID token of a user.
    ///
    /// # Security
    ///
    /// Anyone may be able to get such a token for any audience. The audience does not authorize:
    /// require the callers by name.
    ServiceIdentity,
}

impl Profile {
    /// Returns true if this profile accepts a JWT of this type.
    pub(super) fn accepts(self, typ: Typ) -> bool {
        match (self, typ) {
            (_, Typ::Access) => true,
            (Self::Generic | Self::ServiceIdentity, Typ::Plain) => true,
            (Self::Rfc9068, Typ::Plain) | (_, Typ::Other(_)) => false,
        }
    }

    /// Returns a text that lists the accepted `typ`s.
    pub(super) const fn accepted_typs(self) -> &'static str {
        match self {
            Self::Generic | Self::ServiceIdentity => "at+jwt, JWT or none",
            Self::Rfc9068 => "at+jwt",
        }
    }
}

/// Finds out whether all access tokens of an issuer have the type `at+jwt`.
#[derive(Debug, Default)]
pub(super) struct TypeCount(AtomicU32);

/// The number of verified tokens that are enough to tell.
const ENOUGH: u32 = 100;

impl TypeCount {
    /// Notes the type of a verified token. Returns true once, if all of the first hundred tokens
    /// have the type of an access token.
    pub(super) fn note(&self, typ: Typ) -> bool {
        if self.0.load(Ordering::Relaxed) >= ENOUGH {
            return false;
        }
        if typ != Typ::Access {
            self.0.store(ENOUGH, Ordering::Relaxed);
            return false;
        }
        self.0.fetch_add(1, Ordering::Relaxed) + 1 == ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredth_token_of_the_type_tells_once() {
        let all = TypeCount::default();
        let told: Vec<_> = (1..300).filter(|_| all.note(Typ::Access)).collect();
        assert_eq!(told, [100]);
        let mixed = TypeCount::default();
        assert!(!(1..300).any(|n| mixed.note(if n == 50 { Typ::Plain } else { Typ::Access })));
    }
}
