use std::{fmt, time::Duration};

use serde_json::{Map, Value};

use super::{jws::JwsParts, server::AuthorizationServer};
use crate::{
    clock::UnixTime,
    jose::{algorithm::Algorithm, signing::SigningKey},
};

/// A builder of tokens.
///
/// [`AuthorizationServer::opaque`], [`jwt`](AuthorizationServer::jwt) and
/// [`id_token`](AuthorizationServer::id_token) create it. By default the token is valid: its issuer
/// is the server, its subject `alice`, its client `client`, and it is issued now and expires in an
/// hour. It has neither audience nor scope.
///
/// ```
/// use serde_json::json;
/// use tower_introspect::test_util::AuthorizationServer;
///
/// let server = AuthorizationServer::new("https://as.example.com");
/// let good = server.opaque().audience("https://api.example.com").scope("read write").mint();
/// let odd = server.opaque().claim("roles", json!(["admin"])).without("sub").mint();
/// assert_ne!(good, odd);
/// ```
#[must_use = "nothing is minted until `mint`"]
pub struct TokenBuilder<F> {
    server: AuthorizationServer,
    claims: Map<String, Value>,
    form: F,
}

/// The form of an opaque token, whose claims are only known to the server.
#[derive(Debug)]
pub struct Opaque {
    text: Option<String>,
    fixed_response: Option<Value>,
}

/// The form of a signed token (RFC 7515, RFC 7519).
#[derive(Debug)]
pub struct Jwt {
    jws: JwsParts,
    algorithm: Algorithm,
    signer: Signer,
    access: bool,
}

#[derive(Debug)]
enum Signer {
    Foreign(Box<SigningKey>),
    Server,
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
        let (jws, algorithm) = (JwsParts::default(), Algorithm::ES256);
        self.builder(Jwt { jws, algorithm, signer: Signer::Server, access: true }).typ("at+jwt")
    }

    /// Starts to build an ID token, which a resource server must not accept as an access token.
    pub fn id_token(&self) -> TokenBuilder<Jwt> {
        let mut builder = self.jwt().typ("JWT").without("client_id").without("jti");
        builder.form.access = false;
        builder.audience("client").claim("nonce", "n-0S6_WzA2Mj")
    }

    fn builder<F>(&self, form: F) -> TokenBuilder<F> {
        let claims = self.state().default_claims();
        TokenBuilder { server: self.clone(), claims, form }.subject("alice").client_id("client")
    }
}

impl<F> TokenBuilder<F> {
    /// Sets `sub`.
    pub fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// Sets `client_id`.
    pub fn client_id(self, client: &str) -> Self {
        self.claim("client_id", client)
    }

    /// Sets `aud`, to one identifier or to a `Vec` of them.
    pub fn audience(self, audience: impl Into<Value>) -> Self {
        self.claim("aud", audience)
    }

    /// Sets `scope`, space-delimited.
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Sets `exp` to a time from now.
    pub fn expires_in(self, from_now: Duration) -> Self {
        let exp = self.server.state().in_seconds(from_now);
        self.claim("exp", exp)
    }

    /// Sets `exp`.
    pub fn expires_at(self, time: UnixTime) -> Self {
        self.claim("exp", time.as_secs())
    }

    /// Sets `nbf`.
    pub fn not_before(self, time: UnixTime) -> Self {
        self.claim("nbf", time.as_secs())
    }

    /// Sets `iat`.
    pub fn issued_at(self, time: UnixTime) -> Self {
        self.claim("iat", time.as_secs())
    }

    /// Sets `cnf`, which binds the token to the key of this client (RFC 9449 §6.1).
    #[cfg(feature = "dpop")]
    #[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
    pub fn bound_to(self, prover: &super::dpop::prover::Prover) -> Self {
        self.claim("cnf", serde_json::json!({"jkt": prover.thumbprint()}))
    }

    /// Sets a claim to any value.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
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
        let token = match self.form.text {
            Some(text) => text,
            None => state.unique_text(),
        };
        state.record_token(&token, self.claims, true);
        if let Some(record) = state.tokens.get_mut(&token) {
            record.fixed_response = self.form.fixed_response;
        }
        drop(state);
        token
    }
}

impl TokenBuilder<Jwt> {
    /// Sets `typ` in the header. Default: `at+jwt` (RFC 9068 §2.1), or `JWT` for ID tokens.
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

    /// Signs with the server's key for this algorithm. Default: ES256.
    ///
    /// The server has keys for ES256, ES384, RS256, PS256 and EdDSA from the start. A key for
    /// another asymmetric algorithm is created and published when it is first used.
    pub const fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.form.algorithm = algorithm;
        self
    }

    /// Signs with a key that is not the server's. The `kid` is that of this key, if it has one.
    pub fn signed_with(mut self, key: SigningKey) -> Self {
        self.form.algorithm = key.algorithm();
        self.form.signer = Signer::Foreign(Box::new(key));
        self
    }

    /// Leaves the token unsigned: `alg` is `none` and the signature empty (RFC 7515 appendix A.5).
    pub fn unsigned(mut self) -> Self {
        self.form.signer = Signer::Unsigned;
        self
    }

    /// Flips a bit of the signature.
    pub const fn with_corrupt_signature(mut self) -> Self {
        self.form.jws.corrupt = true;
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

    /// Issues the token and returns it.
    ///
    /// In introspection, the server knows the token only if it signed the token itself, without a
    /// corrupt signature or raw claims.
    ///
    /// # Panics
    ///
    /// Panics if the [`algorithm`](Self::algorithm) needs a secret. Sign with
    /// [`signed_with`](Self::signed_with) instead.
    #[must_use]
    pub fn mint(self) -> String {
        let Jwt { mut jws, algorithm, signer, access } = self.form;
        let own;
        let key = match &signer {
            Signer::Foreign(key) => Some(&**key),
            Signer::Unsigned => None,
            Signer::Server => {
                own = self.server.state().keys.current(algorithm);
                Some(&*own)
            }
        };
        let alg = if key.is_some() { algorithm.as_str() } else { "none" };
        jws.header.entry("alg").or_insert_with(|| alg.into());
        if let Some(kid) = key.and_then(SigningKey::kid) {
            jws.header.entry("kid").or_insert_with(|| kid.into());
        }
        jws.header.retain(|_, value| !value.is_null());
        let vouched = matches!(signer, Signer::Server) && !jws.corrupt && jws.raw_claims.is_none();
        let token = jws.serialize(self.claims.clone(), key);
        if vouched {
            self.server.state().record_token(&token, self.claims, access);
        }
        token
    }
}

impl<F: fmt::Debug> fmt::Debug for TokenBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBuilder")
            .field("claims", &self.claims)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
