//! Obtains an access token by the client credentials grant (RFC 6749 §4.4).

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use tokio::sync::Mutex;

use super::{
    error::{TransmitterError, TransmitterErrorKind},
    via::Via,
};
use crate::{
    claims::json::Object,
    clock::Moment,
    credentials::token::Token,
    error::config::ConfigError,
    introspection::{auth::ClientAuth, auth_method::AuthMethod, form::Form},
    transport::{
        endpoint::Endpoint,
        response::{is_media_type, plain_body, unavailable_error},
    },
};

/// The maximum length of a token response in bytes.
const MAX_RESPONSE: usize = 256 * 1024;

/// The time limit for one token request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The time for which a token is used if its response has no `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

/// The longest time for which a token is used.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time before its end at which a token is no longer used.
const MAX_MARGIN: Duration = Duration::from_secs(60);

/// A token endpoint, the credentials of this service there, and the token obtained last.
pub(super) struct ClientCredentials {
    endpoint: String,
    client: ClientAuth,
    scope: Option<Box<str>>,
    /// Locked during a request, so that callers wait for one token instead of asking for several.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Token,
    since: Moment,
    used_for: Duration,
}

impl ClientCredentials {
    pub(super) fn new(endpoint: String, client: ClientAuth, scope: Option<&str>) -> Self {
        Self { endpoint, client, scope: scope.map(Into::into), kept: Mutex::default() }
    }

    pub(super) fn check(&self, loopback_http: bool, problems: &mut ConfigError) {
        if let Err(problem) = Endpoint::parse(&self.endpoint, loopback_http) {
            problems.push("auth.token_endpoint", problem);
        }
        self.client.check(problems);
    }

    /// Returns the token obtained last, or a new one if that expires soon or was rejected.
    pub(super) async fn token(
        &self,
        rejected: Option<&Token>,
        via: Via<'_>,
    ) -> Result<Token, TransmitterError> {
        let mut kept = self.kept.lock().await;
        let now = Moment::now(via.clock);
        if let Some(Kept { token, since, used_for }) = &*kept {
            let is_rejected = rejected.is_some_and(|it| it.secret_str() == token.secret_str());
            if !is_rejected && now.since(*since) < *used_for {
                return Ok(token.clone());
            }
        }
        *kept = None;
        let (token, used_for) = self.request(via).await?;
        *kept = Some(Kept { token: token.clone(), since: now, used_for });
        Ok(token)
    }

    async fn request(&self, via: Via<'_>) -> Result<(Token, Duration), TransmitterError> {
        let endpoint = Endpoint::parse(&self.endpoint, via.loopback_http).map_err(|problem| {
            TransmitterError::new(TransmitterErrorKind::Unsupported)
                .with_context(format!("the token endpoint is {problem}"))
        })?;
        let client = self.client.current().await;
        // Each has an assertion of its own: a server refuses one that it has seen (RFC 7523 §3).
        let make = || self.http_request(&endpoint, &client, via);
        let response = via.transport.send(make, TIMEOUT, MAX_RESPONSE).await;
        let response =
            response.map_err(|error: TransmitterError| error.with_context("token request"));
        read(&response?, via)
    }

    fn http_request(
        &self,
        endpoint: &Endpoint,
        client: &AuthMethod,
        via: Via<'_>,
    ) -> Result<Request<Bytes>, TransmitterError> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.uri().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut form = Form::new("grant_type", "client_credentials");
        if let Some(scope) = &self.scope {
            form.push("scope", scope);
        }
        client.apply(&mut form, headers, &self.endpoint, via.clock.now())?;
        *request.body_mut() = form.into_bytes();
        Ok(request)
    }
}

/// Reads a token response (RFC 6749 §5). Returns the token, and how long it is used.
fn read(response: &Response<Bytes>, via: Via<'_>) -> Result<(Token, Duration), TransmitterError> {
    if let Some(error) = unavailable_error(response, via.clock.now()) {
        return Err(error.into());
    }
    let status = response.status();
    if status.is_client_error() {
        let context = format!("the token endpoint responded with status {}", status.as_u16());
        return Err(TransmitterError::new(TransmitterErrorKind::Unauthorized).with_context(context));
    }
    if status != StatusCode::OK || !is_media_type(response.headers(), "application/json") {
        return Err(TransmitterError::bad("the token response is not application/json with 200"));
    }
    let object = Object::parse(plain_body(response)?)
        .map_err(|_| TransmitterError::bad("the token response is not one JSON object"))?
        .without_unset(&[]);
    // Another type is used in another way (RFC 6749 §7.1).
    let is_bearer = matches!(object.string("token_type"), Ok(Some(kind)) if kind.eq_ignore_ascii_case("bearer"));
    if !is_bearer {
        return Err(TransmitterError::bad("the token response has no `token_type` `Bearer`"));
    }
    let token = object.string("access_token").ok().flatten();
    let token = token.and_then(|text| Token::bearer(&text));
    let token = token.ok_or_else(|| TransmitterError::bad("the token response has no token"))?;
    let lifetime = match object.get("expires_in") {
        None => DEFAULT_LIFETIME,
        // Some servers write a string.
        Some(value) => match value.get().trim_matches('"').parse() {
            Ok(seconds) => Duration::from_secs(seconds).min(MAX_LIFETIME),
            Err(_) => return Err(TransmitterError::bad("`expires_in` is not a number of seconds")),
        },
    };
    Ok((token, lifetime - (lifetime / 10).min(MAX_MARGIN)))
}
