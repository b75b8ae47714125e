//! One question to the introspection endpoint, at most asked twice.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method as HttpMethod, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use tower::retry::budget::{Budget as _, TpsBudget};

use super::{auth::ClientAuth, form::Form, response};
use crate::{
    claims::{Audience, Claims},
    clock::{Clock, Moment},
    credentials::Token,
    error::{ErrorKind, VerifyError},
    http::{Endpoint, HttpTransport, TransportError, TransportErrorKind},
    verify::{ActiveToken, Method, Outcome},
};

/// Answers longer than this are refused: real ones stay below 4 KiB.
const MAX_ANSWER: usize = 256 * 1024;

const JSON: &str = "application/json";

/// All that does not change from one question to the next.
pub(super) struct Exchange {
    pub(super) issuer: Arc<str>,
    pub(super) auth: ClientAuth,
    pub(super) target: Target,
    pub(super) transport: HttpTransport,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) default_audience: Option<String>,
    pub(super) budget: TpsBudget,
    pub(super) clock: Arc<dyn Clock>,
}

/// Where the endpoint is.
pub(super) enum Target {
    Fixed(Endpoint),
}

impl Exchange {
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What the server says of `token`, all within one timeout.
    pub(super) async fn ask(&self, token: &Token, start: Moment) -> Outcome {
        let asking = tokio::time::timeout(self.timeout, self.claims(token));
        let claims = asking.await.map_err(|_| {
            VerifyError::new(ErrorKind::Unavailable).with_context("introspection took too long")
        })??;
        Ok(ActiveToken::new(Arc::clone(&self.issuer), claims, Method::Introspection, start))
    }

    async fn claims(&self, token: &Token) -> Result<Claims, VerifyError> {
        let endpoint = match &self.target {
            Target::Fixed(endpoint) => endpoint,
        };
        let answer = self.answer(token, endpoint).await?;
        let body = response::body(&answer, JSON, self.clock.now())?;
        let claims = response::claims(body, &self.issuer)?;
        Ok(match &self.default_audience {
            Some(audience) if claims.raw("aud").is_none() => {
                claims.with_audience(Audience::one(audience))
            }
            _ => claims,
        })
    }

    /// Any answer, the second if the first attempt failed in a way that a second may not.
    async fn answer(
        &self,
        token: &Token,
        endpoint: &Endpoint,
    ) -> Result<Response<Bytes>, VerifyError> {
        let first = self.attempt(token, endpoint).await?;
        if first.as_ref().is_ok_and(|answer| !answer.status().is_server_error()) {
            self.budget.deposit();
        }
        let last = if is_worth_a_retry(&first) && self.budget.withdraw() {
            self.attempt(token, endpoint).await?
        } else {
            first
        };
        last.map_err(|error| VerifyError::from(error).with_context("introspection"))
    }

    /// Sends the question once. The outer error is ours: nothing was sent.
    async fn attempt(
        &self,
        token: &Token,
        endpoint: &Endpoint,
    ) -> Result<Result<Response<Bytes>, TransportError>, VerifyError> {
        let request = self.request(token, endpoint)?;
        Ok(self.transport.send(request, self.timeout, MAX_ANSWER).await)
    }

    fn request(&self, token: &Token, endpoint: &Endpoint) -> Result<Request<Bytes>, VerifyError> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = HttpMethod::POST;
        *request.uri_mut() = endpoint.uri().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        let mut form = Form::new("token", token.secret_str());
        for (name, value) in &self.parameters {
            form.push(name, value);
        }
        self.auth.apply(&mut form, headers, &self.issuer, self.clock.now())?;
        *request.body_mut() = form.into_bytes();
        Ok(request)
    }
}

/// Whether a second attempt can do no harm and may help: the server saw nothing of the first, or
/// a gateway answered in its place. A server that names a time to come back is taken at its word.
fn is_worth_a_retry(outcome: &Result<Response<Bytes>, TransportError>) -> bool {
    match outcome {
        Ok(response) => {
            let status = response.status();
            let passing = [
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            passing.contains(&status) && !response.headers().contains_key(RETRY_AFTER)
        }
        Err(error) => error.kind() == TransportErrorKind::Connect,
    }
}
