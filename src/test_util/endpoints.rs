//! The responses of the endpoints, strictly by their specifications.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    authenticate::authenticate,
    client::Client,
    error::EndpointError,
    fault::Endpoint,
    form::Form,
    response::{bare, essence, json, no_store},
    state::{LIFETIME, State},
};
use crate::{
    claims::scope::Scope,
    jose::{algorithm::Algorithm, crypto::backend::sha256},
};

const INTROSPECTION_JWT: &str = "token-introspection+jwt";

impl State {
    /// Returns the response to a request, without faults.
    pub(super) fn respond(
        &mut self,
        endpoint: Endpoint,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let response = match endpoint {
            Endpoint::Discovery => check_public_request(request).map(|()| self.discovery(request)),
            Endpoint::Jwks => {
                check_public_request(request).map(|()| self.key_set(request.headers()))
            }
            Endpoint::SsfConfiguration => check_public_request(request).map(|()| {
                self.cacheable(request.headers(), &Value::Object(self.transmitter_metadata()))
            }),
            Endpoint::Streams
            | Endpoint::StreamStatus
            | Endpoint::AddSubject
            | Endpoint::RemoveSubject
            | Endpoint::Verification
            | Endpoint::Poll => self.transmit(endpoint, request),
            Endpoint::Introspection => parse_client_request(request, &[])
                .and_then(|form| self.introspect(request.headers(), &form)),
            Endpoint::Revocation => parse_client_request(request, &[])
                .and_then(|form| self.revoke(request.headers(), &form)),
            // RFC 8707 §2 allows a repeated `resource`, RFC 8693 §2.1 a repeated `audience`.
            Endpoint::Token => parse_client_request(request, &["resource", "audience"])
                .and_then(|form| self.issue(request.headers(), &form)),
        };
        response.unwrap_or_else(EndpointError::into_response)
    }

    fn discovery(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let openid = request.uri().path().ends_with("/openid-configuration");
        if !(if openid { self.openid_configuration } else { self.oauth_metadata }) {
            return bare(StatusCode::NOT_FOUND);
        }
        self.cacheable(request.headers(), &Value::Object(self.metadata()))
    }

    fn key_set(&self, headers: &HeaderMap) -> Response<Bytes> {
        self.cacheable(headers, &self.jwks())
    }

    /// Returns a document with an `ETag`, or 304 if it has not changed (RFC 9110 §13.1.2).
    fn cacheable(&self, headers: &HeaderMap, body: &Value) -> Response<Bytes> {
        let digest = sha256(body.to_string().as_bytes());
        let etag =
            format!("\"{:02x}{:02x}{:02x}{:02x}\"", digest[0], digest[1], digest[2], digest[3]);
        let etag = HeaderValue::from_str(&etag).expect("hexadecimal digits are visible ASCII");
        let mut response = if headers.get(header::IF_NONE_MATCH) == Some(&etag) {
            bare(StatusCode::NOT_MODIFIED)
        } else {
            json(StatusCode::OK, body)
        };
        response.headers_mut().insert(header::ETAG, etag);
        match &self.cache_control {
            Some(value) => response.headers_mut().insert(header::CACHE_CONTROL, value.clone()),
            None => response.headers_mut().remove(header::CACHE_CONTROL),
        };
        response
    }

    fn introspect(
        &mut self,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Response<Bytes>, EndpointError> {
        let client = authenticate(self, Endpoint::Introspection, headers, form)?;
        let token = form.get("token").ok_or(EndpointError::invalid_request("no token"))?;
        if self.provider.is_some_and(|provider| !provider.accepts(token)) {
            let why = "this provider does not introspect JWTs";
            return Err(EndpointError::OAuth("unsupported_token_type", why));
        }
        let body = self.describe(token, &client);
        let jwt = accepts_jwt(headers)?;
        Ok(if jwt { self.signed(&client, &body) } else { json(StatusCode::OK, &body) })
    }

    /// Returns the introspection response for a token (RFC 7662 §2.2).
    fn describe(&self, token: &str, client: &Client) -> Value {
        let record = self.tokens.get(token);
        if let Some(response) = record.and_then(|record| record.fixed_response.as_ref()) {
            return response.clone();
        }
        let now = self.clock.now();
        let active = record.filter(|record| !record.revoked && record.facts.is_valid_at(now));
        let body = active.and_then(|record| record.facts.response(self.provider));
        let body = body.filter(|body| match self.provider {
            Some(provider) if provider.introspects_for_audience_only() => {
                names(&body["aud"], client.id())
            }
            _ => true,
        });
        body.map_or_else(|| json!({ "active": false }), Value::Object)
    }

    /// Returns a signed introspection response (RFC 9701 §5).
    fn signed(&mut self, client: &Client, body: &Value) -> Response<Bytes> {
        // RFC 9701 §6: RS256 unless the client registered another algorithm.
        let key = self.keys.current(Algorithm::RS256);
        let header = json!({ "typ": INTROSPECTION_JWT, "alg": "RS256", "kid": key.kid() });
        let claims = json!({
            "iss": self.issuer,
            "aud": client.id(),
            "iat": self.clock.now().as_secs(),
            "token_introspection": body,
        });
        let jwt = key.sign(&header, &claims).expect("a parsed key can sign");
        let mut response = Response::new(Bytes::from(jwt));
        let media_type = HeaderValue::from_static("application/token-introspection+jwt");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        no_store(response)
    }

    /// Revokes a token. Unknown tokens are ignored (RFC 7009 §2).
    fn revoke(
        &mut self,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Response<Bytes>, EndpointError> {
        let client = authenticate(self, Endpoint::Revocation, headers, form)?;
        let token = form.get("token").ok_or(EndpointError::invalid_request("no token"))?;
        let owner = self.tokens.get(token).and_then(|record| record.facts.value("client_id"));
        if owner.is_some_and(|id| id != client.id()) {
            return Err(EndpointError::OAuth(
                "unauthorized_client",
                "the token was issued to another client",
            ));
        }
        self.revoke_token(token);
        Ok(bare(StatusCode::OK))
    }

    /// Issues a token by the client credentials grant (RFC 6749 §4.4).
    fn issue(
        &mut self,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Response<Bytes>, EndpointError> {
        let client = authenticate(self, Endpoint::Token, headers, form)?;
        match form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => {
                return Err(EndpointError::OAuth(
                    "unsupported_grant_type",
                    "this server has only client_credentials",
                ));
            }
            None => return Err(EndpointError::invalid_request("no grant_type")),
        }
        let scope = granted(&client, form.get("scope"))?;
        let audience = audience(&client, form)?;
        let jwt = match form.get("token_format") {
            None => client.jwt,
            Some("jwt") => true,
            Some("opaque") => false,
            Some(_) => return Err(EndpointError::invalid_request("token_format is jwt or opaque")),
        };

        let mut facts = self.default_facts();
        facts.set("sub", client.id().into());
        facts.set("client_id", client.id().into());
        facts.set("aud", audience);
        if !scope.is_empty() {
            facts.set("scope", scope.as_str().into());
        }
        let token = if jwt { self.mint_jwt(facts) } else { self.mint_opaque(facts, None) };
        let mut body = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFETIME.as_secs(),
        });
        if !scope.is_empty() {
            body["scope"] = scope.as_str().into();
        }
        Ok(json(StatusCode::OK, &body))
    }
}

/// Refuses requests that have no place at a public endpoint, such as those with credentials.
fn check_public_request(request: &Request<Bytes>) -> Result<(), EndpointError> {
    if request.method() != Method::GET {
        return Err(EndpointError::WrongMethod("GET"));
    }
    let headers = request.headers();
    if headers.contains_key(header::AUTHORIZATION) || headers.contains_key(header::COOKIE) {
        return Err(EndpointError::invalid_request("credentials sent to a public document"));
    }
    if !request.body().is_empty() {
        return Err(EndpointError::invalid_request("a GET with a body"));
    }
    Ok(())
}

/// Reads the parameters of a request to an endpoint that requires client authentication.
fn parse_client_request(
    request: &Request<Bytes>,
    may_repeat: &[&str],
) -> Result<Form, EndpointError> {
    if request.method() != Method::POST {
        return Err(EndpointError::WrongMethod("POST"));
    }
    if request.uri().query().is_some() {
        // RFC 6749 §2.3.1: credentials must not be in the URI. A token in the URI ends up in logs.
        return Err(EndpointError::invalid_request("parameters in the query"));
    }
    if request.headers().contains_key(header::COOKIE) {
        return Err(EndpointError::invalid_request("a cookie"));
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let essence = content_type.and_then(|value| value.to_str().ok()).map(essence);
    if essence.as_deref() != Some("application/x-www-form-urlencoded") {
        return Err(EndpointError::invalid_request("not application/x-www-form-urlencoded"));
    }
    let form = Form::parse(request.body());
    if form.repeats(may_repeat) {
        return Err(EndpointError::invalid_request("a parameter is repeated"));
    }
    Ok(form)
}

/// Returns true if the client accepts a signed introspection response (RFC 9701 §4).
fn accepts_jwt(headers: &HeaderMap) -> Result<bool, EndpointError> {
    let lines = headers.get_all(header::ACCEPT).iter();
    let ranges: Vec<_> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(essence)
        .collect();
    let has = |wanted: &str| ranges.iter().any(|range| range == wanted);
    if has("application/token-introspection+jwt") {
        Ok(true)
    } else if ranges.is_empty() || ["application/json", "application/*", "*/*"].into_iter().any(has)
    {
        Ok(false)
    } else {
        Err(EndpointError::NotAcceptable)
    }
}

/// Returns true if `aud` names this audience.
fn names(aud: &Value, audience: &str) -> bool {
    match aud {
        Value::Array(audiences) => audiences.iter().any(|one| one == audience),
        one => one == audience,
    }
}

/// Returns the requested scope if the client may have it, or all its scope if it requests none.
fn granted(client: &Client, asked: Option<&str>) -> Result<Scope, EndpointError> {
    let invalid = EndpointError::OAuth("invalid_scope", "not a scope of this client");
    let Some(asked) = asked else {
        return Ok(client.scope.as_deref().map(Scope::parse).unwrap_or_default());
    };
    let scope = Scope::parse(asked);
    // The parser drops values that are not scope-tokens (RFC 6749 §3.3).
    if scope.as_str() != asked {
        return Err(invalid);
    }
    let Some(allowed) = client.scope.as_deref().map(Scope::parse) else { return Ok(scope) };
    if scope.iter().all(|value| allowed.contains(value)) { Ok(scope) } else { Err(invalid) }
}

/// Returns the audience of a token: a string, or an array of several (RFC 7519 §4.1.3).
fn audience(client: &Client, form: &Form) -> Result<Value, EndpointError> {
    let asked: Vec<_> = form.all("resource").chain(form.all("audience")).collect();
    // RFC 8707 §2: an absolute URI without a fragment.
    let absolute = |uri: &str| uri.contains(':') && !uri.contains('#');
    if !form.all("resource").all(absolute) {
        return Err(EndpointError::OAuth("invalid_target", "resource is not an absolute URI"));
    }
    match (asked.as_slice(), client.audience.as_deref()) {
        ([], None) => Err(EndpointError::OAuth("invalid_target", "neither resource nor audience")),
        ([], Some(own)) => Ok(own.into()),
        ([one], _) => Ok((*one).into()),
        (many, _) => Ok(json!(many)),
    }
}
