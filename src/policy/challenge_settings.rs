//! The settings of a policy that clients see in challenges.

use std::sync::Arc;

use super::settings::Policy;
use crate::{claims::scope::Scope, respond::challenge::Challenge};

/// The content of challenges.
impl Policy {
    /// Sets the challenge for refused requests. By default the audience is the realm.
    ///
    /// The URL of the metadata document and the advertised scope stay as they were set before, unless
    /// `challenge` has its own.
    ///
    /// ```
    /// use tower_introspect::{Policy, respond::Challenge};
    ///
    /// let policy = Policy::new("https://api.example.com")
    ///     .resource_metadata("https://api.example.com/.well-known/oauth-protected-resource")
    ///     .challenge(Challenge::new("payments"));
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn challenge(self, challenge: Challenge) -> Self {
        let challenge = challenge.or_parameters_of(&self.terms.challenge);
        self.change_challenge(|_| challenge)
    }

    /// Sets the realm of challenges (RFC 9110 §11.5), and keeps their other parameters. By default it is
    /// the audience.
    ///
    /// ```
    /// use tower_introspect::Policy;
    ///
    /// let policy = Policy::new("https://api.example.com").realm("payments");
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn realm(self, realm: &str) -> Self {
        self.change_challenge(|challenge| challenge.realm(realm))
    }

    /// Sets the URL of this service's metadata document for challenges (RFC 9728 §5.1).
    #[must_use]
    pub fn resource_metadata(self, url: &str) -> Self {
        self.change_challenge(|challenge| challenge.resource_metadata(url))
    }

    /// Sets the scope that challenges suggest to clients without a token.
    #[must_use]
    pub fn advertise_scope(self, scope: &str) -> Self {
        self.change_challenge(|challenge| challenge.scope(Scope::parse(scope)))
    }

    /// Updates the challenge to the schemes that are accepted now.
    pub(super) fn with_announced_schemes(self) -> Self {
        self.change_challenge(|challenge| challenge)
    }

    fn change_challenge(self, change: impl FnOnce(Challenge) -> Challenge) -> Self {
        let challenge = change(Challenge::clone(&self.terms.challenge));
        let challenge = self.proofs.announce_schemes(challenge);
        self.with(|terms| terms.challenge = Arc::new(challenge))
    }
}
