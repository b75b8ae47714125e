//! The receiver of logout tokens.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{
    settings::Settings,
    token::{Fault, LogoutToken},
};
use crate::{
    clock::Moment,
    refresh::asker::Asker,
    signals::{
        answer::{Answer, NOT_SHARED},
        body,
        host::Host,
        intake::{Intake, NotApplied},
        liveness::Liveness,
        statement::Statement,
    },
    telemetry::signals::{
        Outcome, Receiver, signal, signal_lost, signal_refused, signal_without_effect,
    },
    transport::response::is_media_type,
};

/// A service that receives the logouts of the users of this service's client (OpenID Connect
/// Back-Channel Logout 1.0).
///
/// Its URL is the `backchannel_logout_uri` of the client at the authorization server. It must not be
/// covered by [`layer`](crate::ResourceServer::layer): the authorization server has no access token.
/// See the [module docs](crate::signals) for an example.
///
/// | response | reason |
/// |---|---|
/// | 200, empty | the logout is in force, or was before |
/// | 400, JSON with `error` and `error_description` | the request or the token is not acceptable |
/// | 405 | another method than POST |
/// | 408, 413 | the body took longer than ten seconds, or is longer than 16 KiB |
/// | 503 | the keys of the issuer can't be had just now: the token is kept until they can. Or the logout is in force here, and the other instances of the service can't be told just now. Or the issuer can't be looked up by a resolver, or the clock of this service is wrong: the token is not kept |
///
/// A token is acceptable if one of the issuer's keys signed it, its audience is the client identifier, it
/// is recent and not expired, it has `jti`, the event, and `sub` or `sid`, and it has no `nonce` (§2.6).
/// A token with `sid` ends that session alone. A token without it ends all sessions of the subject (§2.4).
///
/// # Security
///
/// Anyone can reach it. A request costs at most a signature check; a token of an unknown key causes a key
/// fetch under the same limits as an access token. A token that can't be verified just now has no effect
/// and takes one of 256 places, half of which are for peers that delivered a verified one before.
///
/// The `sid` of the token is compared with the `sid` of access tokens. Many authorization servers put
/// none into introspection responses; [`cut_by_subject`](Self::cut_by_subject) helps if the logout token
/// has both.
///
/// # Clone
///
/// Clones share the queue. Settings that are changed later are those of one clone.
pub struct LogoutService<B> {
    receiver: Arc<LogoutReceiver>,
    settings: Arc<Settings>,
    body: fn(Bytes) -> B,
}

struct LogoutReceiver {
    host: Host,
    intake: Arc<Intake>,
}

impl<B> LogoutService<B> {
    pub(crate) fn new(host: Host, client_id: String, body: fn(Bytes) -> B) -> Self {
        Self::with(host, Settings::new(client_id), body)
    }

    fn with(host: Host, settings: Settings, body: fn(Bytes) -> B) -> Self {
        let liveness = Liveness::of_logouts(Arc::clone(&host.clock));
        let intake = host.intake(Receiver::Logout, liveness);
        let receiver = Arc::new(LogoutReceiver { host, intake });
        Self { receiver, settings: Arc::new(settings), body }
    }

    /// Returns a service with other settings. It shares nothing with clones made before: what has been
    /// applied by other settings may have had another effect.
    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = (*self.settings).clone();
        change(&mut settings);
        Self::with(self.receiver.host.clone(), settings, self.body)
    }

    /// Returns the same service, with another function that builds the body.
    #[cfg(feature = "config")]
    pub(crate) fn with_body<C>(&self, body: fn(Bytes) -> C) -> LogoutService<C> {
        let (receiver, settings) = (Arc::clone(&self.receiver), Arc::clone(&self.settings));
        LogoutService { receiver, settings, body }
    }

    /// Sets the client identifier at one issuer, in place of the one that was given first.
    #[must_use]
    pub fn client_at(self, issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        self.change(|settings| settings.set_client(issuer.into(), client_id.into()))
    }

    /// Ends all sessions of the subject if a token names both a session and its subject.
    ///
    /// Use it if access tokens or introspection responses have no `sid`.
    #[must_use]
    pub fn cut_by_subject(self) -> Self {
        self.change(|settings| settings.cut_by_subject = true)
    }

    /// Refuses tokens whose `typ` is not `logout+jwt` (§2.4). By default `JWT` and a missing one are accepted too.
    #[must_use]
    pub fn strict_typ(self) -> Self {
        self.change(|settings| settings.strict_typ = true)
    }

    /// Sets the maximum age of a token, by its `iat`. The default is 5 minutes; 30 seconds more are
    /// tolerated for clocks that differ.
    #[must_use]
    pub fn max_age(self, age: Duration) -> Self {
        self.change(|settings| settings.max_age = age)
    }

    /// Returns the number of tokens that wait for the keys of their issuer.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.receiver.intake.pending()
    }
}

impl LogoutReceiver {
    async fn answer<Q: Body>(
        &self,
        settings: &Settings,
        (method, headers, asker): (Method, HeaderMap, Asker),
        body: Q,
    ) -> Answer {
        if method != Method::POST {
            return Answer::method_not_allowed("POST");
        }
        if !is_media_type(&headers, "application/x-www-form-urlencoded") {
            return refuse("the body is not a form");
        }
        let form = match body::read(body).await {
            Ok(form) => form,
            Err(status) => return Answer::empty(status),
        };
        let Some(text) = logout_token(&form) else {
            return refuse("the form does not have exactly one logout_token");
        };
        let now = Moment::now(&*self.host.clock);
        if !self.host.clock.can_be_right(now.wall()) {
            signal(Receiver::Logout, Outcome::Lost);
            return Answer::unavailable("the clock of this service is wrong", None);
        }
        let token = match LogoutToken::read(&text, settings, now.wall()) {
            Ok(token) => token,
            Err(fault) => return refuse(fault),
        };
        let keys = match self.host.issuers.keys_of(&token.issuer).await {
            Ok(Some(keys)) => keys,
            Ok(None) => return refuse("its iss is not trusted"),
            Err(error) => {
                signal_lost(Receiver::Logout, &token.issuer, "its issuer can't be looked up");
                return Answer::unavailable("the issuer can't be looked up", error.retry_after());
            }
        };
        let Some(algorithm) = keys.algorithm(&token.alg) else {
            return refuse("its algorithm is not allowed");
        };
        let LogoutToken { issued_at, kid, effect, is_for_us, .. } = token;
        let settling = self.host.settling.clone();
        let statement = Statement {
            text: text.into(),
            keys,
            algorithm,
            kid: kid.map(Into::into),
            issued_at,
            arrived: now,
            apply: Arc::new(move || {
                settling.apply(&effect);
                Outcome::Applied
            }),
        };
        if !is_for_us {
            let fault = "its aud is another client";
            // Anyone can write that. If the issuer did, a setting is wrong.
            if matches!(statement.verify(asker).await, Ok(Ok(()))) {
                signal_without_effect(Receiver::Logout, statement.keys.issuer(), fault);
            }
            return refuse(fault);
        }
        match self.intake.accept(&statement, asker).await {
            Ok(_) => Answer::empty(StatusCode::OK),
            Err(NotApplied::Refused(_)) => refuse("its signature does not verify"),
            Err(NotApplied::NoKeys(error)) => {
                Answer::unavailable("the keys of the issuer can't be had", error.retry_after())
            }
            Err(NotApplied::NotShared) => Answer::unavailable(NOT_SHARED, None),
        }
    }
}

fn refuse(fault: Fault) -> Answer {
    signal_refused(Receiver::Logout, fault);
    Answer::oauth_error("invalid_request", fault)
}

/// Returns the value of the one parameter `logout_token`. Others are ignored.
fn logout_token(form: &[u8]) -> Option<String> {
    let mut tokens = form_urlencoded::parse(form)
        .filter(|(name, _)| name == "logout_token")
        .map(|(_, text)| text);
    let one = tokens.next()?;
    tokens.next().is_none().then(|| one.into_owned())
}

impl<Q, B> Service<Request<Q>> for LogoutService<B>
where
    Q: Body + Send + 'static,
    Q::Data: Send,
    Q::Error: Send,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (receiver, settings) = (Arc::clone(&self.receiver), Arc::clone(&self.settings));
        let asker = receiver.host.asker(&request);
        let (parts, body) = request.into_parts();
        let respond = self.body;
        Box::pin(async move {
            let head = (parts.method, parts.headers, asker);
            Ok(receiver.answer(&settings, head, body).await.into_response().map(respond))
        })
    }
}

impl<B> Clone for LogoutService<B> {
    fn clone(&self) -> Self {
        Self {
            receiver: Arc::clone(&self.receiver),
            settings: Arc::clone(&self.settings),
            body: self.body,
        }
    }
}

impl<B> fmt::Debug for LogoutService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutService").field("settings", &self.settings).finish_non_exhaustive()
    }
}
