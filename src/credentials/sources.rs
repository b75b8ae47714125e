//! Adds the places where an extractor looks for tokens.

use std::borrow::Cow;

use http::{HeaderName, header::AUTHORIZATION};

use super::{extract::Extractor, websocket::ProtocolForm};

/// The places besides the `Authorization` header.
impl Extractor {
    /// Also takes a token from the header with this name, which holds the token and nothing else: no
    /// scheme.
    ///
    /// Examples are `X-Api-Key`, and the assertions of proxies such as `Cf-Access-Jwt-Assertion` and
    /// `X-Goog-Iap-Jwt-Assertion`. There may be several such headers. A request with tokens in two
    /// places is refused, so see [`without_authorization`](Self::without_authorization) if requests
    /// carry `Authorization` for another purpose. A header without a value holds no token. The name
    /// `Authorization` has no effect here.
    ///
    /// The responses are marked `Cache-Control: private`, as for a [cookie](Self::danger_cookie).
    ///
    /// ```
    /// use http::{HeaderMap, HeaderName, Uri};
    /// use tower_introspect::credentials::Extractor;
    ///
    /// let extractor = Extractor::new().header(HeaderName::from_static("x-api-key"));
    /// let mut headers = HeaderMap::new();
    /// headers.insert("X-Api-Key", "key_0123".parse()?);
    /// assert_eq!(extractor.extract(&headers, &Uri::default())?.secret_str(), "key_0123");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Security
    ///
    /// Any client that reaches this service without the proxy can send the header too. Its value
    /// counts only as far as it is verified: name the issuer of the assertions and the audience
    /// that the proxy was given for *this* service. A verified assertion is good for whoever holds
    /// it, so let only the proxy reach the port.
    ///
    /// A proxy that signs users in by a cookie adds its assertion to requests that other sites
    /// trigger as well. Such an application must defend itself against cross-site request forgery.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        if name != AUTHORIZATION && !self.headers.contains(&name) {
            self.headers.push(name);
        }
        self
    }

    /// Takes no token from the `Authorization` header.
    ///
    /// Use it with [`header`](Self::header), if the proxy passes on an `Authorization` header that
    /// was meant for itself or that the application reads. `IntrospectLayer::remove_credentials` removes
    /// that header too.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderName, Uri};
    /// use tower_introspect::credentials::Extractor;
    ///
    /// let assertion = HeaderName::from_static("x-goog-iap-jwt-assertion");
    /// let extractor = Extractor::new().header(assertion).without_authorization();
    /// let mut headers = HeaderMap::new();
    /// headers.insert("Authorization", "Bearer for-the-proxy".parse()?);
    /// headers.insert("X-Goog-Iap-Jwt-Assertion", "abc".parse()?);
    /// assert_eq!(extractor.extract(&headers, &Uri::default())?.secret_str(), "abc");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn without_authorization(mut self) -> Self {
        self.ignores_authorization = true;
        self
    }

    /// Also takes a token from the cookie with this name.
    ///
    /// Shared caches do not know that such a request is authenticated. So the responses are marked
    /// `Cache-Control: private` unless they must not be stored at all, whatever the handler says.
    ///
    /// # Security
    ///
    /// A browser also sends cookies with requests that other sites trigger. Take tokens from
    /// cookies only if the application defends itself against cross-site request forgery.
    #[must_use]
    pub fn danger_cookie(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.cookie = Some(name.into());
        self
    }

    /// Also takes a token from the query parameter with this name, usually `access_token` (RFC 6750
    /// §2.3).
    ///
    /// The responses are then marked `Cache-Control: private`, as for a
    /// [cookie](Self::danger_cookie).
    ///
    /// # Security
    ///
    /// Request targets end up in logs, browser histories and `Referer` headers. RFC 9700 §2.4
    /// forbids clients to send tokens this way.
    ///
    /// A URI can't be marked as sensitive: its `Debug` output shows the token to all layers, and so
    /// do the access logs of outer ones. `IntrospectLayer::remove_credentials` removes the parameter
    /// for inner services. It does not reach copies of the URI that were made before, such as the
    /// `OriginalUri` of axum.
    #[must_use]
    pub fn danger_query_parameter(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.query = Some(name.into());
        self
    }

    /// Also takes a token from an entry of `Sec-WebSocket-Protocol` that starts with this prefix.
    ///
    /// Browsers need this because they cannot set headers on a WebSocket handshake. The server must
    /// select another entry in its response to the handshake, never the one that holds the token.
    /// Responses are marked `Cache-Control: private`, as for a [cookie](Self::danger_cookie).
    ///
    /// | the client sends | setting |
    /// |---|---|
    /// | `chat, bearer.TOKEN` | `websocket_protocol("bearer.")` |
    /// | `access_token, TOKEN` | [`websocket_protocol_after("access_token")`](Self::websocket_protocol_after) |
    /// | `chat, base64url.bearer.authorization.k8s.io.BASE64URL` | [`websocket_protocol_base64url("base64url.bearer.authorization.k8s.io.")`](Self::websocket_protocol_base64url) |
    ///
    /// These settings can be combined.
    #[must_use]
    pub fn websocket_protocol(self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.websocket_form(ProtocolForm::Prefix(prefix.into()))
    }

    /// Also takes a token from the entry of `Sec-WebSocket-Protocol` that follows the entry with
    /// this name, as `new WebSocket(url, ["access_token", token])` sends it.
    ///
    /// The server can select the entry with the name. It stays where the credentials are removed.
    ///
    /// ```
    /// use http::{HeaderMap, Uri};
    /// use tower_introspect::credentials::Extractor;
    ///
    /// let extractor = Extractor::new().websocket_protocol_after("access_token");
    /// let mut headers = HeaderMap::new();
    /// headers.insert("Sec-WebSocket-Protocol", "access_token, abc".parse()?);
    /// assert_eq!(extractor.extract(&headers, &Uri::default())?.secret_str(), "abc");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn websocket_protocol_after(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.websocket_form(ProtocolForm::After(name.into()))
    }

    /// Also takes a token from an entry of `Sec-WebSocket-Protocol` that holds it in base64url,
    /// without padding, after this prefix.
    ///
    /// Kubernetes and its clients use the prefix `base64url.bearer.authorization.k8s.io.`.
    ///
    /// ```
    /// use http::{HeaderMap, Uri};
    /// use tower_introspect::credentials::Extractor;
    ///
    /// let extractor = Extractor::new()
    ///     .websocket_protocol_base64url("base64url.bearer.authorization.k8s.io.");
    /// let mut headers = HeaderMap::new();
    /// let offered = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
    /// headers.insert("Sec-WebSocket-Protocol", offered.parse()?);
    /// assert_eq!(extractor.extract(&headers, &Uri::default())?.secret_str(), "abc");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn websocket_protocol_base64url(self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.websocket_form(ProtocolForm::Base64url(prefix.into()))
    }

    fn websocket_form(mut self, form: ProtocolForm) -> Self {
        self.websocket.push(form);
        self
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Uri, header::SEC_WEBSOCKET_PROTOCOL};

    use super::*;
    use crate::error::kind::ErrorKind;

    const KEY: HeaderName = HeaderName::from_static("x-api-key");

    fn extract(extractor: &Extractor, fields: &[(HeaderName, &str)]) -> Result<String, ErrorKind> {
        let field = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
        let headers: HeaderMap = fields.iter().map(field).collect();
        match extractor.extract(&headers, &Uri::default()) {
            Ok(token) => Ok(token.secret_str().to_owned()),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn other_header_is_read_as_a_whole_if_configured() {
        let extractor = Extractor::new().header(KEY).max_token_bytes(4);
        for (value, outcome) in [
            ("abc", Ok("abc".to_owned())),
            (" \tabc ", Ok("abc".to_owned())),
            ("abcd", Ok("abcd".to_owned())),
            ("abcde", Err(ErrorKind::TokenTooLong)),
            ("", Err(ErrorKind::MissingCredentials)),
            (" ", Err(ErrorKind::MissingCredentials)),
            ("a b", Err(ErrorKind::MalformedCredentials)),
            ("a,b", Err(ErrorKind::MalformedCredentials)),
            ("a=.b", Err(ErrorKind::MalformedCredentials)),
        ] {
            assert_eq!(extract(&extractor, &[(KEY, value)]), outcome, "{value}");
        }
        let unread = extract(&Extractor::new(), &[(KEY, "abc")]);
        assert_eq!(unread, Err(ErrorKind::MissingCredentials));
        let folded = HeaderName::from_static("x_api_key");
        assert_eq!(extract(&extractor, &[(folded, "abc")]), Err(ErrorKind::MissingCredentials));
    }

    #[test]
    fn rfc6750_2_tokens_in_two_headers_are_refused() {
        let other = HeaderName::from_static("cf-access-jwt-assertion");
        let extractor = Extractor::new().header(KEY).header(other.clone());
        for fields in [
            [(KEY, "abc"), (KEY, "abc")],
            [(KEY, "abc"), (other.clone(), "abc")],
            [(AUTHORIZATION, "Bearer abc"), (KEY, "abc")],
            [(AUTHORIZATION, "Basic abc"), (KEY, "abc")],
            [(AUTHORIZATION, "Bearer abc"), (KEY, "a b")],
        ] {
            let outcome = extract(&extractor, &fields);
            assert_eq!(outcome, Err(ErrorKind::RepeatedCredentials), "{fields:?}");
        }
        let empty = [(AUTHORIZATION, "Bearer abc"), (KEY, "")];
        assert_eq!(extract(&extractor, &empty).as_deref(), Ok("abc"));
    }

    #[test]
    fn authorization_can_be_left_to_others() {
        let extractor = Extractor::new().header(KEY).without_authorization();
        let both = [(AUTHORIZATION, "Bearer for-the-proxy"), (KEY, "abc")];
        assert_eq!(extract(&extractor, &both).as_deref(), Ok("abc"));
        assert_eq!(extract(&extractor, &both[..1]), Err(ErrorKind::MissingCredentials));
        let none = Extractor::new().without_authorization();
        assert_eq!(extract(&none, &both[..1]), Err(ErrorKind::MissingCredentials));
        let same = Extractor::new().header(AUTHORIZATION);
        assert_eq!(extract(&same, &[(AUTHORIZATION, "abc")]), Err(ErrorKind::UnsupportedScheme));
    }

    #[test]
    fn each_form_of_a_websocket_protocol_is_read_if_configured() {
        let offered = |extractor: &Extractor, fields: &[&str]| {
            let fields: Vec<_> = fields.iter().map(|one| (SEC_WEBSOCKET_PROTOCOL, *one)).collect();
            extract(extractor, &fields)
        };
        let after = Extractor::new().websocket_protocol_after("access_token");
        let base64 = Extractor::new().websocket_protocol_base64url("b64.").max_token_bytes(6);
        for (extractor, fields, outcome) in [
            (&after, &["access_token, abc"][..], Ok("abc")),
            (&after, &["chat, access_token", "abc, v2"], Ok("abc")),
            (&after, &["access_token,, abc"], Ok("abc")),
            (&after, &["access_token"], Err(ErrorKind::MissingCredentials)),
            (&after, &["Access_Token, abc"], Err(ErrorKind::MissingCredentials)),
            (&after, &["abc, access_token"], Err(ErrorKind::MissingCredentials)),
            (&after, &["access_token, a, access_token, b"], Err(ErrorKind::RepeatedCredentials)),
            (&after, &["access_token, a b"], Err(ErrorKind::MalformedCredentials)),
            (&base64, &["chat, b64.YWJj"], Ok("abc")),
            (&base64, &["b64.YWJjZGVm"], Ok("abcdef")),
            (&base64, &["b64.YWJjZGVmZw"], Err(ErrorKind::TokenTooLong)),
            (&base64, &["b64.YWJjZGVmZ2hpamts"], Err(ErrorKind::TokenTooLong)),
            (&base64, &["b64."], Err(ErrorKind::MalformedCredentials)),
            (&base64, &["b64.YW=="], Err(ErrorKind::MalformedCredentials)),
            (&base64, &["b64.YR"], Err(ErrorKind::MalformedCredentials)),
            (&base64, &["b64.AAAA"], Err(ErrorKind::MalformedCredentials)),
            (&base64, &["b64.YWJj, b64.YWJj"], Err(ErrorKind::RepeatedCredentials)),
        ] {
            assert_eq!(offered(extractor, fields), outcome.map(str::to_owned), "{fields:?}");
        }
        let both = Extractor::new().websocket_protocol_after("bearer").websocket_protocol("b.");
        assert_eq!(offered(&both, &["bearer, abc"]).as_deref(), Ok("abc"));
        assert_eq!(offered(&both, &["b.abc"]).as_deref(), Ok("abc"));
        assert_eq!(offered(&both, &["bearer, b.abc"]), Err(ErrorKind::RepeatedCredentials));
    }
}
