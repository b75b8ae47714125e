//! Decides on requests of support staff, and answers them.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::{Method, Response, StatusCode, request::Parts};
use http_body::Body;
use serde_json::{Value, json};

use super::{
    listing::{Query, covering},
    name::{Fault, Name},
    order::Order,
};
use crate::{
    clock::{Clock, Moment},
    credentials::token::Token,
    error::refusal::VerifyError,
    policy::verified_token::VerifiedToken,
    revocation::revocations::Revocations,
    signals::{
        answer::{Answer, NOT_SHARED},
        body,
        settling::Settling,
    },
    telemetry::{
        audit::{ChangeByHand, changed_by_hand},
        signals::{Outcome, Receiver, signal, signal_refused},
    },
    transport::response::is_media_type,
};

/// The longest time by which the clock of an issuer may be ahead. A later time is refused: it may be in
/// milliseconds.
const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(300);

/// The relation of a resource server to an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was given to the builder.
    Configured,
    /// A resolver found it.
    Resolved,
    Unknown,
}

/// Finds out how an issuer is known.
pub(crate) type FindIssuer = dyn Fn(&str) -> Finding + Send + Sync;

/// The future of [`FindIssuer`].
pub(crate) type Finding = Pin<Box<dyn Future<Output = Result<Known, VerifyError>> + Send>>;

/// Removes a token from the caches. Returns true if it was there.
pub(crate) type Evict = dyn Fn(&Token) -> bool + Send + Sync;

/// The parts of a resource server that revocation by hand needs.
pub(crate) struct Desk {
    pub(crate) revocations: Revocations,
    pub(crate) settling: Settling,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) find_issuer: Box<FindIssuer>,
    pub(crate) evict: Box<Evict>,
    /// True if events may show the subject, session or client that is revoked.
    pub(crate) log_subjects: bool,
}

impl Desk {
    /// Answers a request whose caller meets the requirement.
    pub(super) async fn answer<B: Body>(&self, head: Parts, body: B) -> Response<bytes::Bytes> {
        let Some(caller) = head.extensions.get::<VerifiedToken>() else {
            // The layer around it lets no request through without a token.
            return Answer::empty(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        };
        let answer = match head.method {
            Method::POST => self.revoke(caller, &head, body).await,
            Method::GET => self.list(caller, head.uri.query().unwrap_or_default()).await,
            _ => Err(Answer::method_not_allowed("GET, POST")),
        };
        answer.unwrap_or_else(|refused| refused).into_response()
    }

    async fn revoke<B: Body>(
        &self,
        caller: &VerifiedToken,
        head: &Parts,
        body: B,
    ) -> Result<Answer, Answer> {
        if !is_media_type(&head.headers, "application/json") {
            return Err(refuse("the body is not JSON"));
        }
        let body = body::read(body).await.map_err(Answer::empty)?;
        let order = Order::read(&body).map_err(refuse)?;
        let now = Moment::now(&*self.clock).wall();
        let latest = now.saturating_add(MAX_CLOCK_AHEAD);
        if order.at.is_some_and(|at| at > latest) && self.clock.can_be_right(now) {
            return Err(refuse("at is in the future"));
        }
        match &order.name {
            Some(name) => self.check_issuer(caller, &name.issuer).await?,
            // The token may be of any issuer.
            None => self.check_every_issuer(caller).await?,
        }
        let answer = self.apply(&order);
        self.record(caller, &order);
        match self.settling.flush().await {
            Ok(()) => Ok(Answer::json(StatusCode::OK, &answer)),
            Err(_) => Err(Answer::unavailable(NOT_SHARED, None)),
        }
    }

    fn apply(&self, order: &Order) -> Value {
        let mut in_force = json!([]);
        if let Some(name) = &order.name {
            self.settling.apply(&order.effect(name));
            in_force = covering(name, &self.revocations);
        }
        let mut answer = json!({ "in_force": in_force });
        // After the cutoff, which covers the verifications that are under way.
        if let Some(token) = &order.token {
            answer["evicted"] = (self.evict)(token).into();
        }
        answer
    }

    fn record(&self, caller: &VerifiedToken, order: &Order) {
        let name = order.name.as_ref();
        changed_by_hand(&ChangeByHand {
            effect: match name {
                Some(_) if order.ask_anew => "ask_anew",
                Some(_) => "revoke",
                None => "evict",
            },
            kind: name.map_or("token", Name::kind),
            issuer: name.map(|name| &*name.issuer),
            value: name.and_then(Name::loggable_value).filter(|_| self.log_subjects),
            by_issuer: caller.issuer(),
            by_subject: caller.subject(),
            by_client: caller.client_id().as_deref(),
        });
        signal(Receiver::Operator, Outcome::Applied);
    }

    async fn list(&self, caller: &VerifiedToken, query: &str) -> Result<Answer, Answer> {
        let mut query = Query::read(query).map_err(refuse)?;
        match &query.name {
            Some(name) => self.check_issuer(caller, &name.issuer).await?,
            None if self.may_name_every_issuer(caller).await? => {}
            None => query.name = Some(Name::issuer(caller.issuer().to_owned())),
        }
        let list = query.list(&self.revocations);
        Ok(Answer::json(StatusCode::OK, &json!({ "in_force": list })))
    }

    /// Checks that the caller may name the tokens of an issuer, and that the issuer is trusted.
    async fn check_issuer(&self, caller: &VerifiedToken, issuer: &str) -> Result<(), Answer> {
        if issuer == caller.issuer() {
            return Ok(());
        }
        self.check_every_issuer(caller).await?;
        match self.find(issuer).await? {
            Known::Configured | Known::Resolved => Ok(()),
            Known::Unknown => Err(refuse("the issuer is not trusted")),
        }
    }

    async fn check_every_issuer(&self, caller: &VerifiedToken) -> Result<(), Answer> {
        if self.may_name_every_issuer(caller).await? {
            return Ok(());
        }
        let fault = "the caller may only name its own issuer";
        signal_refused(Receiver::Operator, fault);
        let body = json!({ "error": "access_denied", "error_description": fault });
        Err(Answer::json(StatusCode::FORBIDDEN, &body))
    }

    /// Returns false for callers of an issuer that a resolver found, such as one of many tenants: that
    /// issuer could give any scope to its users.
    async fn may_name_every_issuer(&self, caller: &VerifiedToken) -> Result<bool, Answer> {
        Ok(self.find(caller.issuer()).await? == Known::Configured)
    }

    async fn find(&self, issuer: &str) -> Result<Known, Answer> {
        (self.find_issuer)(issuer).await.map_err(|error| {
            Answer::unavailable("the issuer can't be looked up", error.retry_after())
        })
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("revocations", &self.revocations).finish_non_exhaustive()
    }
}

fn refuse(fault: Fault) -> Answer {
    signal_refused(Receiver::Operator, fault);
    Answer::oauth_error("invalid_request", fault)
}
