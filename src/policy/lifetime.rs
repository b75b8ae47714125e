//! The longest lifetime of tokens, and the cutoffs that depend on it.

use std::time::Duration;

use super::settings::Policy;
use crate::{
    checks::{check::Check, detail::seen_time, record::record},
    claims::claims_set::Claims,
    error::{kind::ErrorKind, refusal::VerifyError},
    revocation::revocations::Revocations,
};

impl Policy {
    /// Sets the longest lifetime of a token, from `iat` to `exp`. There is no limit by default.
    ///
    /// A token that lives longer is refused, and so is one without `iat` or `exp`, whether it was
    /// introspected or verified locally.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::Policy;
    ///
    /// let policy = Policy::new("https://api.example.com")
    ///     .max_token_lifetime(Duration::from_secs(3600));
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn max_token_lifetime(self, longest: Duration) -> Self {
        self.with(|terms| terms.max_token_lifetime = Some(longest))
    }

    /// Connects this policy with the cutoffs that its tokens are checked against.
    ///
    /// The cutoffs then know how far the clock of an issuer is ahead, from the `iat` of admitted
    /// tokens. The policy enforces their
    /// [`max_token_lifetime`](Revocations::max_token_lifetime) too. It does not check tokens against
    /// the cutoffs: that is done by a [`RevocationLayer`](crate::revocation::RevocationLayer).
    ///
    /// A [`ResourceServer`](crate::ResourceServer) does this by itself.
    #[must_use]
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Returns the longest lifetime of a token, if it is limited.
    pub(crate) fn longest_lifetime(&self) -> Option<Duration> {
        let of_cutoffs = self.revocations.as_ref().and_then(Revocations::longest_lifetime);
        match (self.terms.max_token_lifetime, of_cutoffs) {
            (Some(own), Some(of_cutoffs)) => Some(own.min(of_cutoffs)),
            (own, of_cutoffs) => own.or(of_cutoffs),
        }
    }

    pub(super) fn check_lifetime(&self, claims: &Claims) -> Result<(), VerifyError> {
        let Some(longest) = self.longest_lifetime() else { return Ok(()) };
        let wanted = || {
            let wanted = format_args!("at most {} s after `iat`", longest.as_secs());
            seen_time(claims.expires_at()).wanted(wanted)
        };
        let outcome = within_lifetime(claims, longest);
        // Recorded only on failure: by default there is no such check.
        if outcome.is_err() { record(Check::Expiry, wanted, outcome) } else { Ok(()) }
    }
}

/// Refuses a token that lives longer than `longest`, or whose lifetime is not known.
fn within_lifetime(claims: &Claims, longest: Duration) -> Result<(), VerifyError> {
    let expires_at = claims.expires_at().ok_or(ErrorKind::MissingClaim("exp"))?;
    let issued_at = claims.issued_at().ok_or(ErrorKind::MissingClaim("iat"))?;
    if expires_at.saturating_duration_since(issued_at) > longest {
        return Err(VerifyError::new(ErrorKind::InvalidClaim("exp"))
            .with_context("the token lives longer than the policy allows"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Moment, tests::FixedClock},
        credentials::token::Scheme,
        verify::active::{ActiveToken, Method},
    };

    const HOUR: Duration = Duration::from_secs(3_600);

    fn outcome(policy: &Policy, claims: &str) -> Option<ErrorKind> {
        let claims = Claims::from_json(format!("{{\"aud\":\"A\"{claims}}}").as_bytes()).unwrap();
        let start = Moment::now(&FixedClock(10_000));
        let active = ActiveToken::new("https://as", claims, Method::Introspection, start);
        policy.admit(active, Scheme::Bearer).err().map(|error| error.kind())
    }

    fn policy() -> Policy {
        Policy::new("A").clock(FixedClock(10_000))
    }

    #[test]
    fn token_that_lives_longer_or_for_an_unknown_time_is_refused() {
        let limited = policy().max_token_lifetime(HOUR);
        for (claims, expected) in [
            (r#","iat":9000,"exp":12600"#, None),
            (r#","iat":9000,"exp":12600.5"#, Some(ErrorKind::InvalidClaim("exp"))),
            (r#","iat":9000,"exp":12601"#, Some(ErrorKind::InvalidClaim("exp"))),
            (r#","iat":9000,"exp":1e300"#, Some(ErrorKind::InvalidClaim("exp"))),
            (r#","iat":-9223372036854775808,"exp":12600"#, Some(ErrorKind::InvalidClaim("exp"))),
            (r#","exp":12600"#, Some(ErrorKind::MissingClaim("iat"))),
            (r#","iat":9000"#, Some(ErrorKind::MissingClaim("exp"))),
            ("", Some(ErrorKind::MissingClaim("exp"))),
            (r#","iat":1,"exp":2"#, Some(ErrorKind::Expired)),
        ] {
            assert_eq!(outcome(&limited, claims), expected, "{claims}");
            if expected != Some(ErrorKind::Expired) {
                assert_eq!(outcome(&policy(), claims), None, "{claims}, without a limit");
            }
        }
    }

    #[test]
    fn lifetime_that_cutoffs_rely_on_is_enforced_whatever_the_policy_says() {
        let ending = Revocations::new().max_token_lifetime(HOUR);
        let too_long = r#","iat":9000,"exp":12601"#;
        let refused = Some(ErrorKind::InvalidClaim("exp"));
        assert_eq!(outcome(&policy().revocations(ending.clone()), too_long), refused);
        for (own, expected) in [(HOUR * 2, refused), (HOUR / 60, refused)] {
            let before = policy().max_token_lifetime(own).revocations(ending.clone());
            let after = policy().revocations(ending.clone()).max_token_lifetime(own);
            for policy in [before, after] {
                assert_eq!(outcome(&policy, too_long), expected, "{own:?}");
            }
        }
        assert_eq!(outcome(&policy().revocations(Revocations::new()), too_long), None);
    }
}
