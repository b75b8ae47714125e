use super::super::{
    server::AuthorizationServer,
    token::{Jwt, TokenBuilder},
};

/// The kind of a [`Jwt`] that is a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
#[derive(Debug)]
pub struct LogoutToken(());

impl AuthorizationServer {
    /// Starts to build a logout token for a client.
    ///
    /// By default it is issued now, expires in two minutes, and has the logout event. It has neither
    /// [`subject`](TokenBuilder::subject) nor [`session`](TokenBuilder::session): a valid one needs
    /// at least one of them.
    ///
    /// [`with_defect`](TokenBuilder::with_defect) makes forged ones. [`LogoutToken`] and [`Bound`]
    /// are no defects of a logout token, and receivers may tolerate [`NoExpiry`].
    ///
    /// [`LogoutToken`]: crate::test_util::Defect::LogoutToken
    /// [`Bound`]: crate::test_util::Defect::Bound
    /// [`NoExpiry`]: crate::test_util::Defect::NoExpiry
    ///
    /// ```
    /// use tower_introspect::test_util::{AuthorizationServer, Defect};
    ///
    /// let server = AuthorizationServer::new("https://as.example.com");
    /// let session = server.logout_token("client").session("s-1").mint();
    /// let all_sessions = server.logout_token("client").subject("alice").mint();
    /// let forged = server.logout_token("client").subject("alice").with_defect(Defect::ForeignKey);
    /// # let _ = (session, all_sessions, forged.mint());
    /// ```
    pub fn logout_token(&self, client_id: &str) -> TokenBuilder<Jwt<LogoutToken>> {
        let facts = self.state().logout_facts(client_id);
        TokenBuilder { server: self.clone(), facts, form: Jwt::default() }
    }
}
