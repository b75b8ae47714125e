//! Finds the only token of a request (RFC 6750 §2).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Uri};

use super::{
    places::{
        in_cookie, in_header, in_other_header, in_query, in_websocket_protocol, is_header_empty,
    },
    token::Token,
    unchecked_token::{self, UncheckedToken},
    websocket::ProtocolForm,
};
use crate::error::{kind::ErrorKind, refusal::VerifyError};

/// The default maximum length of a token, in bytes.
const DEFAULT_MAX_BYTES: usize = 8 * 1024;

/// An extractor that finds the token of a request and requires that exactly one is presented.
///
/// By default it reads only the `Authorization` header. It never reads a body parameter (RFC 6750
/// §2.2): the body belongs to the handler.
#[derive(Clone, Debug)]
pub struct Extractor {
    limit: usize,
    pub(super) ignores_authorization: bool,
    pub(super) headers: Vec<HeaderName>,
    pub(super) cookie: Option<Cow<'static, str>>,
    pub(super) query: Option<Cow<'static, str>>,
    pub(super) websocket: Vec<ProtocolForm>,
}

impl Extractor {
    /// Creates an extractor that takes tokens from the `Authorization` header, up to 8 KiB long.
    ///
    /// ```
    /// use http::{HeaderMap, Uri};
    /// use tower_introspect::{ErrorKind, credentials::Extractor};
    ///
    /// let refused = Extractor::new().extract(&HeaderMap::new(), &Uri::default()).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::MissingCredentials);
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            limit: DEFAULT_MAX_BYTES,
            ignores_authorization: false,
            headers: Vec::new(),
            cookie: None,
            query: None,
            websocket: Vec::new(),
        }
    }

    /// Sets the length of the longest token that is accepted, in bytes.
    #[must_use]
    pub const fn max_token_bytes(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the length of the longest token that is accepted, in bytes.
    #[cfg(feature = "_crypto")]
    pub(crate) const fn longest_token(&self) -> usize {
        self.limit
    }

    /// Returns true if tokens are taken from the `Authorization` header (RFC 6750 §2.1).
    pub(crate) const fn reads_authorization(&self) -> bool {
        !self.ignores_authorization
    }

    /// Returns true if tokens are taken from the query parameter of RFC 6750 §2.3.
    pub(crate) fn reads_query(&self) -> bool {
        self.query.as_deref() == Some("access_token")
    }

    const fn reads_only_authorization(&self) -> bool {
        self.headers.is_empty()
            && self.cookie.is_none()
            && self.query.is_none()
            && self.websocket.is_empty()
    }

    /// Finds the token of a request.
    ///
    /// # Errors
    ///
    /// [`MissingCredentials`](ErrorKind::MissingCredentials),
    /// [`UnsupportedScheme`](ErrorKind::UnsupportedScheme),
    /// [`MalformedCredentials`](ErrorKind::MalformedCredentials),
    /// [`RepeatedCredentials`](ErrorKind::RepeatedCredentials) or
    /// [`TokenTooLong`](ErrorKind::TokenTooLong).
    pub fn extract(&self, headers: &HeaderMap, uri: &Uri) -> Result<Token, VerifyError> {
        self.find(headers, uri)?.into_token()
    }

    /// Finds the text in the place of the token, without checking its grammar.
    ///
    /// # Errors
    ///
    /// Those of [`extract`](Self::extract), except for the grammar of the token.
    pub(crate) fn find<'a>(
        &self,
        headers: &'a HeaderMap,
        uri: &Uri,
    ) -> Result<UncheckedToken<'a>, VerifyError> {
        let header = in_header(headers, self.limit);
        self.only(header, headers, uri).map_err(unchecked_token::record_invalid)
    }

    /// Does the same as [`find`](Self::find) where a request needs no credentials: an `Authorization`
    /// field without a value then holds none. Some proxies and clients send it if nobody has logged
    /// in.
    pub(crate) fn find_optional<'a>(
        &self,
        headers: &'a HeaderMap,
        uri: &Uri,
    ) -> Result<UncheckedToken<'a>, VerifyError> {
        let header = match is_header_empty(headers) {
            true => Err(ErrorKind::MissingCredentials),
            false => in_header(headers, self.limit),
        };
        self.only(header, headers, uri).map_err(unchecked_token::record_invalid)
    }

    /// Returns the text in the header, unless there are credentials elsewhere.
    fn only<'a>(
        &self,
        header: Result<UncheckedToken<'a>, ErrorKind>,
        headers: &'a HeaderMap,
        uri: &Uri,
    ) -> Result<UncheckedToken<'a>, ErrorKind> {
        let limit = self.limit;
        let header =
            if self.ignores_authorization { Err(ErrorKind::MissingCredentials) } else { header };
        if self.reads_only_authorization() {
            return header;
        }
        let query = self.query.as_deref().map(|name| in_query(uri, name, limit));
        let cookie = self.cookie.as_deref().map(|name| in_cookie(headers, name, limit));
        let fields = self.headers.iter().map(|name| in_other_header(headers, name, limit));
        let protocols =
            self.websocket.iter().map(|form| in_websocket_protocol(headers, form, limit));
        let others = fields.chain(query).chain(cookie).chain(protocols);
        let mut found = header;
        for other in others {
            found = match (found, other) {
                (found, Err(ErrorKind::MissingCredentials)) => found,
                (Err(ErrorKind::MissingCredentials), other) => other,
                // Two methods in one request are refused, whatever they hold (RFC 6750 §2).
                _ => Err(ErrorKind::RepeatedCredentials),
            };
        }
        found
    }
}

impl Default for Extractor {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use http::{
        HeaderName, HeaderValue,
        header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL},
    };

    use super::*;

    fn headers(fields: &[(HeaderName, &[u8])]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &[u8])| {
            (name.clone(), HeaderValue::from_bytes(value).unwrap())
        };
        fields.iter().map(field).collect()
    }

    fn authorization(value: &[u8]) -> Result<String, ErrorKind> {
        extract(&Extractor::new(), &headers(&[(AUTHORIZATION, value)]), "/")
    }

    fn extract(extractor: &Extractor, headers: &HeaderMap, uri: &str) -> Result<String, ErrorKind> {
        match extractor.extract(headers, &uri.parse().unwrap()) {
            Ok(token) => Ok(token.secret_str().to_owned()),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn rfc9110_11_1_scheme_is_case_insensitive() {
        for value in ["Bearer abc", "bearer abc", "bEaReR abc", "dpop abc", "DPoP abc"] {
            assert_eq!(authorization(value.as_bytes()).as_deref(), Ok("abc"), "{value}");
        }
    }

    #[test]
    fn rfc9110_5_5_white_space_around_the_value_is_ignored() {
        assert_eq!(authorization(b"  Bearer abc \t").as_deref(), Ok("abc"));
        assert_eq!(authorization(b"Bearer   abc").as_deref(), Ok("abc"));
    }

    #[test]
    fn rfc6750_2_1_only_spaces_separate_scheme_and_token() {
        for value in [b"Bearer\tabc".as_slice(), b"Bearer \tabc", b"Bearer\xa0abc"] {
            let outcome = authorization(value);
            assert!(outcome.is_err(), "{value:?}");
        }
    }

    #[test]
    fn rfc6750_2_1_b64token_grammar() {
        for value in [
            b"Bearer an\"invalid\"token".as_slice(),
            b"Bearer a b",
            b"Bearer \"abc\"",
            b"Bearer token=abc",
            b"Bearer",
            b"Bearer ",
            b"Bearer =",
            b"Bearer a=b",
            b"Bearer abc, Bearer abc",
            b"Bearer a,b",
            b"Bearer abc\xff",
            b"Bearer {\"payload\":\"\"}",
            b"DPoP",
            b"",
            b"=",
            b",",
        ] {
            let outcome = authorization(value);
            assert_eq!(outcome, Err(ErrorKind::MalformedCredentials), "{}", value.escape_ascii());
        }
        for token in ["abc==", "a", "a.b-c_d~e+f/g=", "....."] {
            assert_eq!(authorization(format!("Bearer {token}").as_bytes()).as_deref(), Ok(token));
        }
    }

    #[test]
    fn authorization_field_without_a_value_holds_no_credentials_where_they_are_optional() {
        let kind = |extractor: &Extractor, fields: &[(HeaderName, &[u8])]| {
            let headers = headers(fields);
            let found = extractor.find_optional(&headers, &Uri::default());
            found.map(|found| found.secret_bytes().to_vec()).map_err(|error| error.kind())
        };
        let header_only = Extractor::new();
        for value in [b"".as_slice(), b" ", b" \t "] {
            let outcome = kind(&header_only, &[(AUTHORIZATION, value)]);
            assert_eq!(outcome, Err(ErrorKind::MissingCredentials), "{value:?}");
            assert_eq!(authorization(value), Err(ErrorKind::MalformedCredentials), "{value:?}");
            let cookie = [(AUTHORIZATION, value), (COOKIE, b"at=abc")];
            let outcome = kind(&Extractor::new().danger_cookie("at"), &cookie);
            assert_eq!(outcome, Ok(b"abc".to_vec()), "{value:?}");
        }
        let outcome = kind(&header_only, &[(AUTHORIZATION, b",")]);
        assert_eq!(outcome, Err(ErrorKind::MalformedCredentials));
        let two: [(HeaderName, &[u8]); 2] = [(AUTHORIZATION, b""), (AUTHORIZATION, b"Bearer abc")];
        assert_eq!(kind(&header_only, &two), Err(ErrorKind::RepeatedCredentials));
        let good = kind(&header_only, &[(AUTHORIZATION, b"Bearer abc")]);
        assert_eq!(good, Ok(b"abc".to_vec()));
    }

    #[test]
    fn rfc6750_3_1_other_schemes_count_as_missing_credentials() {
        for value in
            ["Basic dTpw", "Negotiate abc", "Digest a=\"b\", c=\"d\"", "abc.def.ghi", "bearerx abc"]
        {
            assert_eq!(
                authorization(value.as_bytes()),
                Err(ErrorKind::UnsupportedScheme),
                "{value}"
            );
        }
    }

    #[test]
    fn rfc9110_11_6_2_authorization_is_a_singleton() {
        let twice = headers(&[(AUTHORIZATION, b"Bearer abc"), (AUTHORIZATION, b"Bearer abc")]);
        let mixed = headers(&[(AUTHORIZATION, b"Basic abc"), (AUTHORIZATION, b"Bearer abc")]);
        for headers in [twice, mixed] {
            assert_eq!(
                extract(&Extractor::new(), &headers, "/"),
                Err(ErrorKind::RepeatedCredentials)
            );
        }
    }

    #[test]
    fn rfc9110_11_7_proxy_authorization_is_ignored() {
        let headers = headers(&[(http::header::PROXY_AUTHORIZATION, b"Bearer abc")]);
        assert_eq!(extract(&Extractor::new(), &headers, "/"), Err(ErrorKind::MissingCredentials));
    }

    #[test]
    fn tokens_over_the_limit_are_refused() {
        let long = |length| {
            authorization(format!("Bearer {}", "a".repeat(length)).as_bytes()).map(|t| t.len())
        };
        assert_eq!(long(DEFAULT_MAX_BYTES), Ok(DEFAULT_MAX_BYTES));
        assert_eq!(long(DEFAULT_MAX_BYTES + 1), Err(ErrorKind::TokenTooLong));
        assert_eq!(long(1 << 20), Err(ErrorKind::TokenTooLong));
    }

    #[test]
    fn the_length_limit_holds_for_every_source_of_the_token() {
        let extractor = Extractor::new()
            .danger_query_parameter("at")
            .danger_cookie("at")
            .websocket_protocol("bearer.")
            .max_token_bytes(4);
        let refused = Err(ErrorKind::TokenTooLong);
        for (token, expected) in [("abcd", Ok("abcd".to_owned())), ("abcde", refused)] {
            for (field, value) in [
                (AUTHORIZATION, format!("Bearer {token}")),
                (COOKIE, format!("at={token}")),
                (SEC_WEBSOCKET_PROTOCOL, format!("bearer.{token}")),
            ] {
                let headers = headers(&[(field, value.as_bytes())]);
                assert_eq!(extract(&extractor, &headers, "/"), expected, "{value}");
            }
            let uri = format!("/?at={token}");
            assert_eq!(extract(&extractor, &HeaderMap::new(), &uri), expected, "{uri}");
        }
    }

    #[test]
    fn rfc6750_5_3_only_the_authorization_header_is_read_by_default() {
        let headers =
            headers(&[(COOKIE, b"access_token=abc"), (SEC_WEBSOCKET_PROTOCOL, b"bearer.abc")]);
        let outcome = extract(&Extractor::new(), &headers, "/?access_token=abc");
        assert_eq!(outcome, Err(ErrorKind::MissingCredentials));
    }

    #[test]
    fn rfc6750_2_3_query_parameter_is_read_if_configured() {
        let extractor = Extractor::new().danger_query_parameter("access_token");
        let none = HeaderMap::new();
        assert_eq!(
            extract(&extractor, &none, "/?a=1&access_token=a%2Bb%3D").as_deref(),
            Ok("a+b=")
        );
        assert_eq!(extract(&extractor, &none, "/?a=1"), Err(ErrorKind::MissingCredentials));
        for (uri, kind) in [
            ("/?access_token=a&access_token=b", ErrorKind::RepeatedCredentials),
            ("/?access_token=a&access%5Ftoken=b", ErrorKind::RepeatedCredentials),
            ("/?access_token=", ErrorKind::MalformedCredentials),
            ("/?access_token=a%2", ErrorKind::MalformedCredentials),
            ("/?access_token=a%0d%0ab", ErrorKind::MalformedCredentials),
        ] {
            assert_eq!(extract(&extractor, &none, uri), Err(kind), "{uri}");
        }
        let header = headers(&[(AUTHORIZATION, b"Bearer abc")]);
        assert_eq!(
            extract(&extractor, &header, "/?access_token=abc"),
            Err(ErrorKind::RepeatedCredentials)
        );
        let basic = headers(&[(AUTHORIZATION, b"Basic abc")]);
        assert_eq!(
            extract(&extractor, &basic, "/?access_token=abc"),
            Err(ErrorKind::RepeatedCredentials)
        );
        assert_eq!(extract(&extractor, &header, "/").as_deref(), Ok("abc"));
    }

    #[test]
    fn cookie_and_websocket_protocol_are_read_if_configured() {
        let extractor = Extractor::new().danger_cookie("at").websocket_protocol("bearer.");
        let cookie = headers(&[(COOKIE, b"a=b; at=abc; xat=no")]);
        assert_eq!(extract(&extractor, &cookie, "/").as_deref(), Ok("abc"));
        let twice = headers(&[(COOKIE, b"at=abc"), (COOKIE, b"at=abd")]);
        assert_eq!(extract(&extractor, &twice, "/"), Err(ErrorKind::RepeatedCredentials));
        let socket = headers(&[(SEC_WEBSOCKET_PROTOCOL, b"chat, bearer.a.b.c")]);
        assert_eq!(extract(&extractor, &socket, "/").as_deref(), Ok("a.b.c"));
    }
}
