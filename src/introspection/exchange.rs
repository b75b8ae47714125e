//! Sends one introspection request and reads the response.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method as HttpMethod, Request, Response,
    header::{ACCEPT, CONTENT_TYPE},
};

#[cfg(feature = "jwt")]
use super::signed::{self, SignedResponseVerifier};
use super::{
    auth::ClientAuth,
    auth_method::AuthMethod,
    form::Form,
    response::{self, ClaimSettings},
};
#[cfg(feature = "_crypto")]
use crate::upstream::guard::verifier::CanaryToken;
use crate::{
    checks::{
        check::Check,
        detail::{Detail, seen},
        record::record,
    },
    claims::claims_set::Claims,
    clock::{Clock, Moment},
    credentials::token::Token,
    error::{failure::Failure, kind::ErrorKind, refusal::VerifyError},
    refresh::source::RefreshState,
    transport::{
        calls::{Call, CallRecorder, LastCall},
        common::Location,
        discovery::discover::Discovery,
        endpoint::Endpoint,
        error::{TransportError, TransportErrorKind},
        http_transport::HttpTransport,
        new_connection::NewConnection,
    },
    verify::{
        active::{ActiveToken, Method},
        readiness::Readiness,
        verifier::Outcome,
    },
};

/// The maximum size of a response, in bytes. Real responses stay below 4 KiB.
const MAX_RESPONSE: usize = 256 * 1024;

/// The parts of an introspection that are the same for all requests.
pub(super) struct Exchange {
    pub(super) issuer: Arc<str>,
    pub(super) calls: CallRecorder,
    pub(super) auth: ClientAuth,
    pub(super) location: Location,
    pub(super) transport: HttpTransport,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) connection_per_request: bool,
    pub(super) claim_settings: ClaimSettings,
    /// The responses about JWTs are combined with these.
    #[cfg(feature = "cache")]
    pub(super) confirms_jwts: bool,
    pub(super) format: ResponseFormat,
    /// A token of the service's own for canaries.
    #[cfg(feature = "_crypto")]
    pub(super) canary_token: Option<CanaryToken>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The form of a response. No other form is requested or accepted.
pub(super) enum ResponseFormat {
    Json,
    #[cfg(feature = "jwt")]
    Signed(SignedResponseVerifier),
}

impl ResponseFormat {
    const fn media_type(&self) -> &'static str {
        match self {
            Self::Json => "application/json",
            #[cfg(feature = "jwt")]
            Self::Signed(_) => signed::MEDIA_TYPE,
        }
    }
}

impl Exchange {
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Introspects `token`. One timeout bounds discovery, the request and its retry.
    pub(super) async fn introspect(&self, token: &Token, start: Moment) -> Outcome {
        let mut call = None;
        let claims = tokio::time::timeout(self.timeout, self.claims(token, &mut call));
        let claims = claims.await.unwrap_or_else(|_| {
            let late = VerifyError::new(ErrorKind::Unavailable).with_failure(Failure::Unreachable);
            let late = Err(late.with_context("introspection timed out"));
            record(Check::Answer, Detail::default, late)
        });
        if let Some(call) = call {
            call.end(&claims);
        }
        let issuer = Arc::clone(&self.issuer);
        let active = ActiveToken::new(issuer, claims?, Method::Introspection, start);
        #[cfg(feature = "cache")]
        if self.confirms_jwts && token.secret_str().split('.').count() == 3 {
            return Ok(active.confirming(token.secret_bytes().len()));
        }
        Ok(active)
    }

    /// Discovers the endpoint, unless it is configured.
    pub(super) async fn warm(&self) -> Result<(), VerifyError> {
        if let Some(discovery) = self.location.discovery() {
            let metadata = discovery.metadata().await?;
            metadata.require_introspection_endpoint(self.auth.method.is_mtls())?;
            self.auth.method.for_offered_methods(&metadata.introspection_auth_methods)?;
        }
        Ok(())
    }

    /// Starts to fetch missing metadata and keys, without waiting.
    pub(super) fn start_fetching(&self) {
        if let Some(discovery) = self.location.discovery() {
            discovery.start_fetching();
        }
        #[cfg(feature = "jwt")]
        if let ResponseFormat::Signed(verifier) = &self.format {
            verifier.start_fetching();
        }
    }

    /// Returns the state of the endpoint and of the keys of signed responses. Sends nothing.
    pub(super) fn readiness(&self) -> Readiness {
        let issuer = Arc::clone(&self.issuer);
        let endpoint = match self.location.discovery() {
            None => Readiness::always_ready(issuer),
            Some(discovery) => {
                let RefreshState { value, failing, .. } = discovery.state();
                let mtls = self.auth.method.is_mtls();
                let missing = value.as_ref().and_then(|(metadata, at)| {
                    let error = metadata.require_introspection_endpoint(mtls).err()?;
                    Some((error.kind(), *at))
                });
                let ready = value.is_some() && missing.is_none();
                Readiness::new(issuer, ready, failing.or(missing))
            }
        };
        let found = self.location.discovery().and_then(Discovery::last_call);
        let endpoint = endpoint.with_last_call(LastCall::later(self.calls.last_call(), found));
        match &self.format {
            ResponseFormat::Json => endpoint,
            #[cfg(feature = "jwt")]
            ResponseFormat::Signed(verifier) => endpoint.merge(&verifier.readiness()),
        }
    }

    /// Introspects `token` and returns its claims.
    ///
    /// `call` begins once the endpoint is known: discovery is a call of its own.
    async fn claims(&self, token: &Token, call: &mut Option<Call>) -> Result<Claims, VerifyError> {
        let metadata;
        let current = self.auth.current().await;
        let (endpoint, auth) = match &self.location {
            Location::Discovered(discovery) => {
                let found = discovery.metadata().await;
                let found = found.map_err(|error| error.with_failure(Failure::NoEndpoint));
                metadata = record(Check::Endpoint, Detail::default, found)?;
                let endpoint = metadata.require_introspection_endpoint(self.auth.method.is_mtls());
                let endpoint = record(Check::Endpoint, Detail::default, endpoint)?;
                let auth = current.for_offered_methods(&metadata.introspection_auth_methods);
                (endpoint, record(Check::Endpoint, Detail::default, auth)?)
            }
            Location::Fixed(endpoint) => (endpoint, &*current),
        };
        let endpoint =
            record(Check::Endpoint, || seen(endpoint.uri()), Ok::<_, VerifyError>(endpoint))?;
        let request = IntrospectionRequest { token, endpoint, auth };
        *call = Some(self.calls.start());
        // A retry has an assertion of its own: a server refuses one that it has seen (RFC 7523 §3).
        let make = || self.http_request(request).map_err(SendError::NotSent);
        let response = self.transport.send(make, self.timeout, MAX_RESPONSE).await;
        if let Some(discovery) = self.location.discovery()
            && may_have_moved(&response)
        {
            discovery.renew_after_failure();
        }
        let response = response.map_err(|error| match error {
            SendError::NotSent(error) => error,
            SendError::Transport(error) => VerifyError::from(error).with_context("introspection"),
        });
        let response = record(Check::Answer, Detail::default, response)?;
        let now = self.clock.now();
        let body = response::body(&response, self.format.media_type(), now);
        let body =
            record(Check::Answer, || response::detail(&response, self.format.media_type()), body)?;
        let (settings, secret) = (&self.claim_settings, token.secret_str());
        let claims = match &self.format {
            ResponseFormat::Json => settings.claims(body, secret, &self.issuer)?,
            #[cfg(feature = "jwt")]
            ResponseFormat::Signed(verifier) => {
                let read = |response: &[u8]| settings.claims(response, secret, &self.issuer);
                let claims = verifier.claims(body, now, read).await;
                // The server did respond, even if the keys of its response can't be fetched.
                claims.map_err(|error| match error.failure() {
                    Some(_) => error.with_failure(Failure::Broken),
                    None => error,
                })?
            }
        };
        settings.with_default_audience(claims, secret)
    }

    fn http_request(
        &self,
        request: IntrospectionRequest<'_>,
    ) -> Result<Request<Bytes>, VerifyError> {
        let IntrospectionRequest { token, endpoint, auth } = request;
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = HttpMethod::POST;
        *request.uri_mut() = endpoint.uri().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static(self.format.media_type()));
        let mut form = Form::new("token", token.secret_str());
        for (name, value) in &self.parameters {
            form.push(name, value);
        }
        auth.apply(&mut form, headers, &self.issuer, self.clock.now())?;
        *request.body_mut() = form.into_bytes();
        if self.connection_per_request {
            request.extensions_mut().insert(NewConnection);
        }
        Ok(request)
    }
}

/// An introspection request: the token, the endpoint and the credentials.
#[derive(Clone, Copy)]
struct IntrospectionRequest<'a> {
    token: &'a Token,
    endpoint: &'a Endpoint,
    auth: &'a AuthMethod,
}

/// The reason why there is no response.
enum SendError {
    /// The request could not be created, so nothing was sent.
    NotSent(VerifyError),
    Transport(TransportError),
}

impl From<TransportError> for SendError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

/// Returns true if the metadata that named this endpoint may be out of date.
fn may_have_moved(result: &Result<Response<Bytes>, SendError>) -> bool {
    match result {
        Ok(response) => {
            response.status().is_redirection()
                || matches!(response.status().as_u16(), 404 | 405 | 410)
        }
        Err(SendError::Transport(error)) => error.kind() == TransportErrorKind::Connect,
        Err(SendError::NotSent(_)) => false,
    }
}
