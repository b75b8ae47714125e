//! The verifier that asks the health of the server before and after each introspection.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    health::{Admission, Conclusion},
    origin::{CanarySender, Origin, Origins},
    question::{Answer, Question, Refusal, TenantId, Verdict, quarter},
    recent::Id,
    tenant::TenantSettings,
};
use crate::{
    credentials::token::Token,
    error::{
        failure::{Failure, Fault},
        kind::ErrorKind,
        refusal::VerifyError,
    },
    telemetry::server_state::ServerState,
    verify::{
        boxed::BoxFuture,
        request::{Freshness, VerifyRequest},
        stats::{BreakerState, Counter, Stats},
        verifier::{Outcome, Verifier, Verifying},
        waiters::Waiters,
    },
};

/// The `Retry-After` while the breaker is open.
const RETRY_AFTER_OPEN: Duration = Duration::from_secs(5);

/// The `Retry-After` of a refusal for lack of a permit, or because the server has too much to do.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(1);

/// A token of the service's own for canaries, if it has one at present.
pub(crate) type CanaryToken = Arc<dyn Fn() -> Option<Token> + Send + Sync>;

/// The server that a verifier asks.
pub(crate) struct Target {
    /// The scheme, host and port.
    pub(crate) origin: String,
    pub(crate) issuer: Arc<str>,
    /// The time limit of a verification.
    pub(crate) timeout: Duration,
    pub(crate) canary_token: Option<CanaryToken>,
}

/// A verifier whose questions can't keep the server from answering those of other clients.
///
/// # Cancellation
///
/// Dropping the future of a verification drops the question, and gives its permit back.
pub(crate) struct Guard<V>(Arc<Guarded<V>>);

struct Guarded<V> {
    verifier: V,
    timeout: Duration,
    server: Server,
    asked: Counter,
    broken: Counter,
    shed: Counter,
}

/// One issuer and client at an origin, until it is dropped.
struct Server {
    origin: Arc<Origin>,
    tenant: TenantId,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.origin.remove(self.tenant);
    }
}

impl<V> Guard<V>
where
    V: Verifier + Clone + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    pub(crate) fn new(verifier: V, target: Target, origins: &Origins) -> Self {
        let Target { origin, issuer, timeout, canary_token } = target;
        let (origin, known_tokens) = (origins.get(&origin), origins.known_tokens());
        let has_own_canary = canary_token.is_some();
        let settings = TenantSettings { timeout, known_tokens, has_own_canary };
        let send = canaries(verifier.clone(), canary_token);
        let tenant = origin.add(settings, CanarySender { issuer, send });
        let (asked, broken, shed) = Default::default();
        let server = Server { origin, tenant };
        Self(Arc::new(Guarded { verifier, timeout, server, asked, broken, shed }))
    }
}

/// Returns a function that introspects the service's own token, or else a random one.
fn canaries<V>(verifier: V, own: Option<CanaryToken>) -> Box<dyn Fn() -> BoxFuture + Send + Sync>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    let (random, count) = (RandomState::new(), AtomicU64::new(0));
    Box::new(move || {
        let token = own.as_ref().and_then(|own| own()).or_else(|| {
            // Never one that was sent before, so that no cache answers for the server.
            let count = count.fetch_add(1, Ordering::Relaxed);
            let (first, second) = (random.hash_one((0, count)), random.hash_one((1, count)));
            Token::bearer(&format!("tower-introspect-canary-{first:016x}{second:016x}"))
        });
        match token {
            Some(token) => {
                let request = VerifyRequest::new(token).with_freshness(Freshness::Live);
                BoxFuture::new(verifier.verify(request))
            }
            None => BoxFuture::new(std::future::ready(Err(ErrorKind::Misconfigured.into()))),
        }
    })
}

impl<V> Guard<V> {
    /// Returns the state of the breaker, and how many questions were asked and refused.
    pub(crate) fn stats(&self) -> Stats {
        let Guarded { server, asked, broken, shed, .. } = &*self.0;
        let is_open = server.origin.is_open(server.tenant);
        Stats {
            upstream_calls: asked.get(),
            canaries: server.origin.canaries_sent(server.tenant),
            broken: broken.get(),
            shed: shed.get(),
            breaker: if is_open { BreakerState::Open } else { BreakerState::Closed },
            ..Stats::default()
        }
    }

    /// Returns the state of the server, as the last canary found it.
    pub(crate) fn server_state(&self) -> ServerState {
        let Server { origin, tenant } = &self.0.server;
        origin.server_state(*tenant)
    }
}

impl<V> Clone for Guard<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for Guard<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("server", &self.server_state()).finish_non_exhaustive()
    }
}

impl<V> Verifier for Guard<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        let Server { origin, tenant } = &self.0.server;
        let token = Id::of(request.token().secret_bytes());
        let (question, admission) = origin.update(|health, now| {
            let question = health.question(*tenant, token, request.peer(), now);
            (question, health.admit(&question, now))
        });
        let permit = match admission {
            Admission::Refused(refusal) => return Verifying::done(Err(self.0.refuse(refusal))),
            Admission::Granted => Place::new(origin, question, None),
            Admission::Waiting(granted) => Place::new(origin, question, Some(granted)),
        };
        let this = Arc::clone(&self.0);
        Verifying::pending(BoxFuture::new(async move { this.ask(permit, request).await }))
    }
}

impl<V: Verifier> Guarded<V> {
    fn refuse(&self, refusal: Refusal) -> VerifyError {
        let unavailable = VerifyError::new(ErrorKind::Unavailable);
        let (error, wait, serves_stale) = match refusal {
            Refusal::Open { rejects_us } => {
                self.broken.add_one();
                let kind = if rejects_us {
                    ErrorKind::CredentialsRejected
                } else {
                    ErrorKind::Unavailable
                };
                let context = "the circuit breaker is open after failures of the server";
                (VerifyError::new(kind).with_context(context), RETRY_AFTER_OPEN, true)
            }
            Refusal::Overloaded => {
                self.shed.add_one();
                let context = "the server has too much to do, so no unknown token is verified";
                (unavailable.with_context(context), RETRY_AFTER_FULL, false)
            }
            Refusal::NoPermit { serves_stale } => {
                self.shed.add_one();
                let context = "too many verifications are under way";
                (unavailable.with_context(context), RETRY_AFTER_FULL, serves_stale)
            }
        };
        error.with_retry_after(wait).with_fault(Fault::Nobody { serves_stale })
    }

    async fn ask(&self, mut place: Place, request: VerifyRequest) -> Outcome {
        if let Err(refusal) = place.wait(quarter(self.timeout)).await {
            return Err(self.refuse(refusal));
        }
        if request.waiters().is_some_and(Waiters::give_up) {
            return Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("no request waits for the verification"));
        }
        let Place { origin, question, .. } = &place;
        let asked = origin.update(|health, now| {
            health.ask(question, now);
            now
        });
        self.asked.add_one();
        let verifying = self.verifier.verify(request);
        tokio::pin!(verifying);
        let outcome = match timeout(quarter(self.timeout), &mut verifying).await {
            Ok(outcome) => outcome,
            Err(_) => {
                origin.update(|health, _| health.is_slow(question, asked));
                verifying.await
            }
        };
        let answer = Answer::of(&outcome, question.token);
        let conclusion = origin.update(|health, now| health.answer(question, asked, answer, now));
        drop(place);
        let verdict = match conclusion {
            Conclusion::Answered => return outcome,
            Conclusion::Judged(verdict) => verdict,
            Conclusion::Waiting(verdict) => {
                let not_judged = Verdict::NobodyAtFault { serves_stale: false };
                let verdict = timeout(self.timeout, verdict).await;
                verdict.ok().and_then(Result::ok).unwrap_or(not_judged)
            }
        };
        outcome.map_err(|error| judged(error, verdict))
    }
}

/// Returns the error after it was found out whose fault it was.
fn judged(error: VerifyError, verdict: Verdict) -> VerifyError {
    match verdict {
        Verdict::TokenAtFault { named } => {
            let kind = if named { ErrorKind::Inactive } else { ErrorKind::FailsOnToken };
            let context = error.context().map(str::to_owned).unwrap_or_default();
            // Without a `Retry-After`, which is no word about this service.
            VerifyError::new(kind).with_context(context).with_fault(Fault::Token)
        }
        Verdict::RejectsUs => error.with_fault(Fault::Nobody { serves_stale: true }),
        Verdict::NobodyAtFault { serves_stale } => {
            let is_refusal = matches!(
                error.failure(),
                Some(Failure::RejectsUs | Failure::NamesToken | Failure::Refused)
            );
            let error = if is_refusal { error.with_kind(ErrorKind::Unavailable) } else { error };
            error.with_fault(Fault::Nobody { serves_stale })
        }
    }
}

/// The permit of a question, or its place among those that wait for one.
struct Place {
    origin: Arc<Origin>,
    question: Question,
    /// `None` once the question has a permit.
    granted: Option<oneshot::Receiver<()>>,
    has_left: bool,
}

impl Place {
    fn new(
        origin: &Arc<Origin>,
        question: Question,
        granted: Option<oneshot::Receiver<()>>,
    ) -> Self {
        Self { origin: Arc::clone(origin), question, granted, has_left: false }
    }

    /// Waits for the permit, for at most `limit`.
    async fn wait(&mut self, limit: Duration) -> Result<(), Refusal> {
        let Some(granted) = &mut self.granted else { return Ok(()) };
        if !matches!(timeout(limit, granted).await, Ok(Ok(()))) {
            let refusal = self.origin.update(|health, now| health.give_up(&self.question, now));
            if let Some(refusal) = refusal {
                self.has_left = true;
                return Err(refusal);
            }
        }
        self.granted = None;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let waits = self.granted.is_some();
        self.origin.update(|health, _| {
            // The permit may have been granted in this moment.
            if !(waits && health.leave(&self.question)) {
                health.end(&self.question);
            }
        });
    }
}
