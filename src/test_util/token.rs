use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    defect::Defect,
    jws::{JwsParts, Signature},
    providers::{facts::TokenFacts, members::IssuedKind},
    server::AuthorizationServer,
};
use crate::{
    clock::UnixTime,
    jose::{algorithm::Algorithm, signing::SigningKey},
};

/// A builder of tokens.
///
/// [`AuthorizationServer::opaque`], [`jwt`](AuthorizationServer::jwt),
/// [`id_token`](AuthorizationServer::id_token) and
/// [`refresh_token`](AuthorizationServer::refresh_token) create it. By default the token is valid:
/// its issuer is the server, its subject `alice`, its client `client`, and it is issued now and
/// expires in an hour. It has neither audience nor scope.
///
/// A server [of a provider](AuthorizationServer::with_provider) writes subject, client, audience
/// and scope as that provider does. What [`claim`](Self::claim) and [`without`](Self::without) set
/// stays as it is.
///
/// ```
/// use serde_json::json;
/// use tower_introspect::test_util::{AuthorizationServer, Defect};
///
/// let server = AuthorizationServer::new("https://as.example.com");
/// let good = server.opaque().audience("https://api.example.com").scope("read write").mint();
/// let odd = server.opaque().claim("roles", json!(["admin"])).without("sub").mint();
/// let late = server.jwt().audience("https://api.example.com").expired().mint();
/// let forged = server.jwt().with_defect(Defect::ForeignKey).mint();
/// # let _ = (good, odd, late, forged);
/// ```
#[must_use = "nothing is minted until `mint`"]
pub struct TokenBuilder<F> {
    pub(super) server: AuthorizationServer,
    pub(super) facts: TokenFacts,
    pub(super) form: F,
}

/// The form of an opaque token, whose claims are only known to the server.
#[derive(Debug)]
pub struct Opaque {
    text: Option<String>,
    fixed_response: Option<Value>,
}

/// The form of a signed token (RFC 7515, RFC 7519): an access token or an ID token, or a signal `K`.
#[derive(Debug)]
pub struct Jwt<K = AccessToken> {
    pub(super) jws: JwsParts,
    pub(super) signer: Signer,
    pub(super) defects: Vec<Defect>,
    kind: PhantomData<fn() -> K>,
}

/// The kind of a [`Jwt`] that is an access token or an ID token.
#[derive(Debug)]
pub struct AccessToken(());

#[derive(Debug)]
pub(super) enum Signer {
    Foreign(Arc<SigningKey>),
    /// The server's key for this algorithm. `None` for its default.
    Server(Option<Algorithm>),
    Unsigned,
}

/// Issuing tokens.
impl AuthorizationServer {
    /// Starts to build an opaque access token.
    pub fn opaque(&self) -> TokenBuilder<Opaque> {
        self.builder(Opaque { text: None, fixed_response: None })
    }

    /// Starts to build an access token that is a JWT (RFC 9068).
    pub fn jwt(&self) -> TokenBuilder<Jwt> {
        self.builder(Jwt::default())
    }

    /// Starts to build an ID token, which a resource server must not accept as an access token.
    ///
    /// Its audience is the client, unless it is set.
    pub fn id_token(&self) -> TokenBuilder<Jwt> {
        self.jwt().of_kind(IssuedKind::Id)
    }

    /// Starts to build a refresh token, which a resource server must not accept as an access token.
    ///
    /// Introspection reports it as inactive, unless the server imitates a
    /// [provider](AuthorizationServer::with_provider) that reports refresh tokens as active.
    pub fn refresh_token(&self) -> TokenBuilder<Opaque> {
        self.opaque().of_kind(IssuedKind::Refresh)
    }

    fn builder<F>(&self, form: F) -> TokenBuilder<F> {
        let facts = self.state().default_facts();
        TokenBuilder { server: self.clone(), facts, form }.subject("alice").client_id("client")
    }
}

impl<K> Default for Jwt<K> {
    fn default() -> Self {
        let signer = Signer::Server(None);
        Self { jws: JwsParts::default(), signer, defects: Vec::new(), kind: PhantomData }
    }
}

impl<F> TokenBuilder<F> {
    /// Sets `sub`.
    pub fn subject(self, subject: &str) -> Self {
        self.fact("sub", subject)
    }

    /// Sets `client_id`.
    pub fn client_id(self, client: &str) -> Self {
        self.fact("client_id", client)
    }

    /// Sets `aud`, to one identifier or to a `Vec` of them.
    pub fn audience(self, audience: impl Into<Value>) -> Self {
        self.fact("aud", audience)
    }

    /// Sets `scope`, space-delimited.
    pub fn scope(self, scope: &str) -> Self {
        self.fact("scope", scope)
    }

    /// Sets `exp` to a time from now.
    pub fn expires_in(self, from_now: Duration) -> Self {
        let exp = self.server.state().in_seconds(from_now);
        self.fact("exp", exp)
    }

    /// Makes the token expired: it was issued two hours ago, for one hour.
    pub fn expired(self) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        let now = self.now();
        self.issued_at(now.saturating_sub(2 * HOUR)).expires_at(now.saturating_sub(HOUR))
    }

    /// Sets `exp`.
    pub fn expires_at(self, time: UnixTime) -> Self {
        self.fact("exp", time.as_secs())
    }

    /// Sets `nbf`.
    pub fn not_before(self, time: UnixTime) -> Self {
        self.fact("nbf", time.as_secs())
    }

    /// Sets `iat`.
    pub fn issued_at(self, time: UnixTime) -> Self {
        self.fact("iat", time.as_secs())
    }

    /// Sets `cnf`, which binds the token to the key of this client (RFC 9449 §6.1).
    #[cfg(feature = "dpop")]
    #[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
    pub fn bound_to(self, prover: &super::dpop::prover::Prover) -> Self {
        self.fact("cnf", serde_json::json!({"jkt": prover.thumbprint()}))
    }

    /// Sets `sid`, the session of the token (OpenID Connect Back-Channel Logout 1.0 §2.1).
    pub fn session(self, sid: &str) -> Self {
        self.claim("sid", sid)
    }

    /// Sets a claim to any value.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.edit(name, value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.facts.leave_out(name);
        self
    }

    pub(super) const fn of_kind(mut self, kind: IssuedKind) -> Self {
        self.facts.kind = kind;
        self.facts.signal = None;
        self
    }

    pub(super) fn now(&self) -> UnixTime {
        self.server.state().clock.now()
    }

    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.set(name, value.into());
        self
    }
}

impl TokenBuilder<Opaque> {
    /// Sets the text of the token. By default it looks random.
    pub fn text(mut self, text: &str) -> Self {
        self.form.text = Some(text.to_owned());
        self
    }

    /// Sets the whole introspection response of the token.
    ///
    /// It no longer depends on the claims, the time or a revocation.
    pub fn introspected_as(mut self, response: Value) -> Self {
        self.form.fixed_response = Some(response);
        self
    }

    /// Issues the token and returns it.
    #[must_use]
    pub fn mint(self) -> String {
        let mut state = self.server.state();
        let token = state.mint_opaque(self.facts, self.form.text);
        if let Some(record) = state.tokens.get_mut(&token) {
            record.fixed_response = self.form.fixed_response;
        }
        drop(state);
        token
    }
}

impl<K> TokenBuilder<Jwt<K>> {
    /// Sets `typ` in the header. Default: `at+jwt` (RFC 9068 §2.1), or `JWT` for ID tokens, unless
    /// the server imitates a provider. For signals: `logout+jwt` or `secevent+jwt`.
    pub fn typ(self, typ: &str) -> Self {
        self.header("typ", typ)
    }

    /// Sets `kid` in the header, independent of the signing key.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Sets a member of the header to any value.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.form.jws.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a member of the header.
    pub fn without_header(self, name: &str) -> Self {
        self.header(name, Value::Null)
    }

    /// Signs with the server's key for this algorithm. Default: ES256, or RS256 if the server
    /// imitates a provider.
    ///
    /// Unless it does, the server has keys for ES256, ES384, RS256, PS256 and EdDSA from the start. A key for
    /// another asymmetric algorithm is created and published when it is first used.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.form.signer = Signer::Server(Some(algorithm));
        self
    }

    /// Signs with a key that is not the server's. The `kid` is that of this key, if it has one.
    pub fn signed_with(mut self, key: SigningKey) -> Self {
        self.form.signer = Signer::Foreign(Arc::new(key));
        self
    }

    /// Leaves the token unsigned: `alg` is `none` and the signature empty (RFC 7515 appendix A.5).
    pub fn unsigned(mut self) -> Self {
        self.form.signer = Signer::Unsigned;
        self
    }

    /// Flips a bit of the signature.
    pub fn with_corrupt_signature(self) -> Self {
        self.with_signature(Signature::Corrupt)
    }

    /// Gives the token a defect for which a service must refuse it. May be called several times.
    pub fn with_defect(mut self, defect: Defect) -> Self {
        self.form.defects.push(defect);
        self
    }

    /// Sets the text of the header, which need not be JSON.
    pub fn raw_header(mut self, text: &str) -> Self {
        self.form.jws.raw_header = Some(text.to_owned());
        self
    }

    /// Sets the text of the payload, which need not be JSON.
    ///
    /// The server then reports the token as inactive when it is introspected.
    pub fn raw_claims(mut self, text: &str) -> Self {
        self.form.jws.raw_claims = Some(text.to_owned());
        self
    }

    pub(super) const fn with_signature(mut self, signature: Signature) -> Self {
        self.form.jws.signature = signature;
        self
    }
}

impl<F: fmt::Debug> fmt::Debug for TokenBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBuilder")
            .field("facts", &self.facts)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
