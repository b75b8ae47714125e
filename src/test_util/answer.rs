//! The responses of the endpoints, strictly by their specifications.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{
    client::{Client, authenticate},
    fault::Endpoint,
    form::Form,
    state::State,
    token::compact,
};
use crate::{
    claims::scope::Scope,
    jose::{algorithm::Algorithm, crypto::backend::sha256},
};

const INTROSPECTION_JWT: &str = "token-introspection+jwt";

/// The reason why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An error of RFC 6749 §5.2, with a description for debugging the test.
    Error(&'static str, &'static str),
    /// Client authentication failed (RFC 6749 §5.2).
    InvalidClient,
    /// The client accepts no media type that the endpoint has.
    NotAcceptable,
    /// The endpoint expects another method.
    WrongMethod(Method),
}

impl Refusal {
    pub(super) const fn invalid_request(why: &'static str) -> Self {
        Self::Error("invalid_request", why)
    }

    fn into_response(self) -> Response<Bytes> {
        match self {
            Self::Error(error, why) => {
                let body = json!({ "error": error, "error_description": why });
                json(StatusCode::BAD_REQUEST, &body)
            }
            Self::InvalidClient => {
                let body = json!({ "error": "invalid_client" });
                let mut response = json(StatusCode::UNAUTHORIZED, &body);
                let challenge = HeaderValue::from_static("Basic realm=\"authorization server\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
            Self::NotAcceptable => bare(StatusCode::NOT_ACCEPTABLE),
            Self::WrongMethod(allowed) => {
                let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
                let allowed = HeaderValue::from_str(allowed.as_str());
                response
                    .headers_mut()
                    .insert(header::ALLOW, allowed.expect("a method is visible ASCII"));
                response
            }
        }
    }
}

impl State {
    /// Returns the response to a request, without faults.
    pub(super) fn answer(
        &mut self,
        endpoint: Endpoint,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let answer = match endpoint {
            Endpoint::Discovery => public(request).map(|()| self.discovery(request)),
            Endpoint::Jwks => public(request).map(|()| self.jwks(request.headers())),
            Endpoint::Introspection => {
                private(request, &[]).and_then(|form| self.introspect(request.headers(), &form))
            }
            Endpoint::Revocation => {
                private(request, &[]).and_then(|form| self.revoke(request.headers(), &form))
            }
            // RFC 8707 §2 allows a repeated `resource`, RFC 8693 §2.1 a repeated `audience`.
            Endpoint::Token => private(request, &["resource", "audience"])
                .and_then(|form| self.issue(request.headers(), &form)),
        };
        answer.unwrap_or_else(Refusal::into_response)
    }

    fn discovery(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let openid = request.uri().path().ends_with("/openid-configuration");
        if !(if openid { self.openid_configuration } else { self.oauth_metadata }) {
            return bare(StatusCode::NOT_FOUND);
        }
        self.cacheable(request.headers(), &Value::Object(self.metadata()))
    }

    fn jwks(&self, headers: &HeaderMap) -> Response<Bytes> {
        self.cacheable(headers, &self.keys.jwks())
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

    fn introspect(&mut self, headers: &HeaderMap, form: &Form) -> Result<Response<Bytes>, Refusal> {
        let client = authenticate(self, Endpoint::Introspection, headers, form)?;
        let token = form.get("token").ok_or(Refusal::invalid_request("no token"))?;
        let body = self.describe(token);
        match acceptable(headers)? {
            Accepted::Json => Ok(json(StatusCode::OK, &body)),
            Accepted::Jwt => Ok(self.signed(&client, &body)),
        }
    }

    /// Returns the introspection response for a token (RFC 7662 §2.2).
    fn describe(&self, token: &str) -> Value {
        let now = self.clock.now();
        let record = self.tokens.get(token);
        if let Some(answer) = record.and_then(|record| record.answer.as_ref()) {
            return answer.clone();
        }
        let Some(claims) = record.and_then(|record| record.active_at(now)) else {
            return json!({ "active": false });
        };
        let mut body = claims.clone();
        body.insert("active".into(), true.into());
        // RFC 9449 §6.2.
        let bound = body.get("cnf").is_some_and(|bound| bound.get("jkt").is_some());
        let kind = if bound { "DPoP" } else { "Bearer" };
        body.entry("token_type").or_insert_with(|| kind.into());
        Value::Object(body)
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
        let jwt = compact(&header.to_string(), &claims.to_string(), Some(&key));
        let mut response = Response::new(Bytes::from(jwt));
        let media_type = HeaderValue::from_static("application/token-introspection+jwt");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        no_store(response)
    }

    /// Revokes a token. Unknown tokens are ignored (RFC 7009 §2).
    fn revoke(&mut self, headers: &HeaderMap, form: &Form) -> Result<Response<Bytes>, Refusal> {
        let client = authenticate(self, Endpoint::Revocation, headers, form)?;
        let token = form.get("token").ok_or(Refusal::invalid_request("no token"))?;
        if let Some(record) = self.tokens.get_mut(token) {
            if record.claims.get("client_id").is_some_and(|id| id != client.id()) {
                return Err(Refusal::Error(
                    "unauthorized_client",
                    "the token is of another client",
                ));
            }
            record.revoked = true;
        }
        Ok(bare(StatusCode::OK))
    }

    /// Issues a token by the client credentials grant (RFC 6749 §4.4).
    fn issue(&mut self, headers: &HeaderMap, form: &Form) -> Result<Response<Bytes>, Refusal> {
        let client = authenticate(self, Endpoint::Token, headers, form)?;
        match form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return Err(Refusal::Error("unsupported_grant_type", "not spoken here")),
            None => return Err(Refusal::invalid_request("no grant_type")),
        }
        let scope = granted(&client, form.get("scope"))?;
        let audience = audience(&client, form)?;
        let jwt = match form.get("token_format") {
            None => client.wants_jwt(),
            Some("jwt") => true,
            Some("opaque") => false,
            Some(_) => return Err(Refusal::invalid_request("token_format is jwt or opaque")),
        };

        let mut claims = self.usual_claims();
        claims.insert("sub".into(), client.id().into());
        claims.insert("client_id".into(), client.id().into());
        claims.insert("aud".into(), audience);
        if !scope.is_empty() {
            claims.insert("scope".into(), scope.as_str().into());
        }
        let token = if jwt { self.mint_jwt(claims) } else { self.mint_opaque(claims) };
        let mut body = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": super::token::LIFETIME.as_secs(),
        });
        if !scope.is_empty() {
            body["scope"] = scope.as_str().into();
        }
        Ok(json(StatusCode::OK, &body))
    }

    /// Returns the metadata of the server (RFC 8414 §2).
    pub(super) fn metadata(&self) -> Map<String, Value> {
        let at = |endpoint| self.url(endpoint);
        let auth = [
            "client_secret_basic",
            "client_secret_post",
            "client_secret_jwt",
            "private_key_jwt",
            "tls_client_auth",
        ];
        let signing = ["ES256", "RS256", "PS256", "EdDSA", "HS256"];
        let document = json!({
            "issuer": self.issuer,
            "jwks_uri": at(Endpoint::Jwks),
            "token_endpoint": at(Endpoint::Token),
            "introspection_endpoint": at(Endpoint::Introspection),
            "revocation_endpoint": at(Endpoint::Revocation),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "token_endpoint_auth_methods_supported": auth,
            "token_endpoint_auth_signing_alg_values_supported": signing,
            "introspection_endpoint_auth_methods_supported": auth,
            "introspection_signing_alg_values_supported": ["RS256"],
            "introspection_endpoint_auth_signing_alg_values_supported": signing,
            "revocation_endpoint_auth_methods_supported": auth,
            "revocation_endpoint_auth_signing_alg_values_supported": signing,
        });
        let Value::Object(mut document) = document else { unreachable!("it is an object") };
        for (name, value) in &self.metadata_changes {
            match value {
                Value::Null => drop(document.remove(name)),
                value => drop(document.insert(name.clone(), value.clone())),
            }
        }
        document
    }
}

/// Refuses requests that have no place at a public endpoint, such as those with credentials.
fn public(request: &Request<Bytes>) -> Result<(), Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::WrongMethod(Method::GET));
    }
    let headers = request.headers();
    if headers.contains_key(header::AUTHORIZATION) || headers.contains_key(header::COOKIE) {
        return Err(Refusal::invalid_request("credentials sent to a public document"));
    }
    if !request.body().is_empty() {
        return Err(Refusal::invalid_request("a GET with a body"));
    }
    Ok(())
}

/// Reads the parameters of a request to an endpoint that requires client authentication.
fn private(request: &Request<Bytes>, may_repeat: &[&str]) -> Result<Form, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::WrongMethod(Method::POST));
    }
    if request.uri().query().is_some() {
        // RFC 6749 §2.3.1: credentials must not be in the URI. A token in the URI ends up in logs.
        return Err(Refusal::invalid_request("parameters in the query"));
    }
    if request.headers().contains_key(header::COOKIE) {
        return Err(Refusal::invalid_request("a cookie"));
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let essence = content_type.and_then(|value| value.to_str().ok()).map(essence);
    if essence.as_deref() != Some("application/x-www-form-urlencoded") {
        return Err(Refusal::invalid_request("not application/x-www-form-urlencoded"));
    }
    let form = Form::parse(request.body())
        .ok_or(Refusal::invalid_request("parameters encoded wrongly"))?;
    if form.repeats(may_repeat) {
        return Err(Refusal::invalid_request("a parameter is repeated"));
    }
    Ok(form)
}

enum Accepted {
    Json,
    Jwt,
}

/// Returns the form of introspection response that the client accepts (RFC 9701 §4).
fn acceptable(headers: &HeaderMap) -> Result<Accepted, Refusal> {
    let lines = headers.get_all(header::ACCEPT).iter();
    let ranges: Vec<_> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(essence)
        .collect();
    let has = |wanted: &str| ranges.iter().any(|range| range == wanted);
    if has("application/token-introspection+jwt") {
        Ok(Accepted::Jwt)
    } else if ranges.is_empty() || ["application/json", "application/*", "*/*"].into_iter().any(has)
    {
        Ok(Accepted::Json)
    } else {
        Err(Refusal::NotAcceptable)
    }
}

/// Returns a media type without its parameters, in lower case.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns the requested scope if the client may have it, or all its scope if it requests none.
fn granted(client: &Client, asked: Option<&str>) -> Result<Scope, Refusal> {
    let invalid = Refusal::Error("invalid_scope", "not a scope of this client");
    let Some(asked) = asked else {
        return Ok(client.scope().map(Scope::parse).unwrap_or_default());
    };
    let scope = Scope::parse(asked);
    // The parser drops values that are not scope-tokens (RFC 6749 §3.3).
    if scope.as_str() != asked {
        return Err(invalid);
    }
    let Some(allowed) = client.scope().map(Scope::parse) else { return Ok(scope) };
    if scope.iter().all(|value| allowed.contains(value)) { Ok(scope) } else { Err(invalid) }
}

/// Returns the audience of a token: a string, or an array of several (RFC 7519 §4.1.3).
fn audience(client: &Client, form: &Form) -> Result<Value, Refusal> {
    let asked: Vec<_> = form.all("resource").chain(form.all("audience")).collect();
    // RFC 8707 §2: an absolute URI without a fragment.
    let absolute = |uri: &str| uri.contains(':') && !uri.contains('#');
    if !form.all("resource").all(absolute) {
        return Err(Refusal::Error("invalid_target", "resource is no absolute URI"));
    }
    match (asked.as_slice(), client.audience()) {
        ([], None) => Err(Refusal::Error("invalid_target", "neither resource nor audience")),
        ([], Some(own)) => Ok(own.into()),
        ([one], _) => Ok((*one).into()),
        (many, _) => Ok(json!(many)),
    }
}

fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    no_store(response)
}

fn bare(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    no_store(response)
}

fn no_store(mut response: Response<Bytes>) -> Response<Bytes> {
    let value = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}
