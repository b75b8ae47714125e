use std::fmt;

macro_rules! defects {
    (
        $(#[$attribute:meta])*
        pub enum Defect {
            $(#[doc = $text:literal] $variant:ident = $name:literal,)*
        }
    ) => {
        $(#[$attribute])*
        pub enum Defect {
            $(#[doc = $text] $variant,)*
        }

        impl Defect {
            /// All defects.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Returns the name, such as `wrong-audience`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns a sentence that describes the token.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $text.trim_ascii_start(),)* }
            }
        }
    };
}

defects! {
    /// A reason why a service must refuse a JWT.
    ///
    /// [`TokenBuilder::with_defect`](crate::test_util::TokenBuilder::with_defect) mints such
    /// tokens. A test that tries all of them proves that a service verifies tokens:
    ///
    /// ```
    /// use axum::{Router, body::Body, routing::get};
    /// use http::Request;
    /// use tower::ServiceExt as _;
    /// use tower_introspect::{
    ///     Issuer, ResourceServer,
    ///     test_util::{AuthorizationServer, Defect},
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = AuthorizationServer::new("https://as.example.com");
    /// let api = ResourceServer::builder("https://api.example.com")
    ///     .issuer(Issuer::jwt(server.issuer()))
    ///     .transport(server.transport())
    ///     .build()?;
    /// let app: Router = Router::new().route("/", get(|| async {})).layer(api.layer());
    ///
    /// for defect in Defect::ALL {
    ///     let token = server.jwt().audience("https://api.example.com").with_defect(defect);
    ///     let request = Request::get("/")
    ///         .header("authorization", format!("Bearer {}", token.mint()))
    ///         .body(Body::empty())?;
    ///     let response = app.clone().oneshot(request).await?;
    ///     // 503 where the keys were just fetched and may have been rotated since.
    ///     assert!(!response.status().is_success(), "{defect}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Its `Display` output is its [`name`](Self::name).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum Defect {
        /// It expired an hour ago.
        Expired = "expired",
        /// It is not valid for another hour.
        NotYetValid = "not-yet-valid",
        /// It has no `exp`.
        NoExpiry = "no-expiry",
        /// Its `aud` names another service.
        WrongAudience = "wrong-audience",
        /// It has no `aud`.
        NoAudience = "no-audience",
        /// Its `iss` names another issuer.
        WrongIssuer = "wrong-issuer",
        /// It has no `iss`.
        NoIssuer = "no-issuer",
        /// It is an ID token.
        IdToken = "id-token",
        /// It is a logout token (OpenID Connect Back-Channel Logout 1.0).
        LogoutToken = "logout-token",
        /// It is a security event token (RFC 8417).
        SecurityEvent = "security-event",
        /// Its `typ` is that of a DPoP proof.
        WrongTyp = "wrong-typ",
        /// It is bound to a key, and there is no proof of possession (RFC 9449).
        Bound = "bound",
        /// It is not signed (`alg` none).
        AlgNone = "alg-none",
        /// It is signed with the public key as a shared secret (RFC 8725 §2.1).
        PublicKeyAsSecret = "public-key-as-secret",
        /// Its `alg` is not the algorithm of the signature.
        WrongAlg = "wrong-alg",
        /// One bit of its signature is wrong.
        CorruptSignature = "corrupt-signature",
        /// Its signature is empty.
        NoSignature = "no-signature",
        /// It is signed with an unrelated key, with the `kid` of the issuer's key.
        ForeignKey = "foreign-key",
        /// Its `kid` names no key of the issuer.
        UnknownKey = "unknown-key",
        /// It is signed with the key in its header (`jwk`).
        EmbeddedKey = "embedded-key",
        /// It requires an unknown extension (RFC 7515 §4.1.11).
        Critical = "critical",
        /// It has two subjects.
        RepeatedClaim = "repeated-claim",
        /// Its `exp` is a string.
        ExpiryAsText = "expiry-as-text",
        /// Its claims are not JSON.
        NoJson = "no-json",
        /// It is longer than servers accept.
        TooLong = "too-long",
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
