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
    health::{Conclusion, NOT_JUDGED, PermitDecision},
    introspection::{
        Introspection, IntrospectionResult, Judgement, Refusal, RegistrationId, quarter,
    },
    origin::{CanarySender, Origin, Origins},
    recent::Id,
    registration::RegistrationSettings,
};
use crate::{
    credentials::token::Token,
    error::{
        failure::{Failure, Fault},
        kind::ErrorKind,
        refusal::VerifyError,
    },
    telemetry::{events, server_state::ServerState},
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

/// The `Retry-After` of a refusal for lack of a permit, or because the server is overloaded.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(1);

/// Returns a token of this service for canaries, if there is one at present.
pub(crate) type CanaryToken = Arc<dyn Fn() -> Option<Token> + Send + Sync>;

/// The server that a verifier sends tokens to.
pub(crate) struct Target {
    /// The scheme, host and port.
    pub(crate) origin: String,
    pub(crate) issuer: Arc<str>,
    /// The time limit of a verification.
    pub(crate) timeout: Duration,
    pub(crate) canary_token: Option<CanaryToken>,
}

/// A verifier that keeps the tokens of one client from using up the server for the tokens of others.
///
/// # Cancellation
///
/// Dropping the future drops the introspection and gives its permit back. In a `ResourceServer` the
/// future belongs to the task of `Coalesce`, so a client that leaves does not drop it.
pub(crate) struct Guard<V>(Arc<Guarded<V>>);

struct Guarded<V> {
    verifier: V,
    timeout: Duration,
    server: RegistrationHandle,
    sent: Counter,
    broken: Counter,
    shed: Counter,
}

/// A registration at an origin, which is removed on drop.
struct RegistrationHandle {
    origin: Arc<Origin>,
    registration: RegistrationId,
}

impl Drop for RegistrationHandle {
    fn drop(&mut self) {
        self.origin.remove(self.registration);
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
        let settings = RegistrationSettings { timeout, known_tokens };
        let send = canary_sender(verifier.clone(), canary_token);
        let registration = origin.add(settings, CanarySender { issuer, send });
        let (sent, broken, shed) = Default::default();
        let server = RegistrationHandle { origin, registration };
        Self(Arc::new(Guarded { verifier, timeout, server, sent, broken, shed }))
    }
}

/// Returns a function that introspects a token of this service, or else a random one.
fn canary_sender<V>(
    verifier: V,
    own: Option<CanaryToken>,
) -> Box<dyn Fn() -> (bool, BoxFuture) + Send + Sync>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    let (random, count) = (RandomState::new(), AtomicU64::new(0));
    Box::new(move || {
        let own = own.as_ref().and_then(|own| own());
        let is_own = own.is_some();
        let token = own.or_else(|| {
            // Never one that was sent before, so that no cache responds for the server.
            let count = count.fetch_add(1, Ordering::Relaxed);
            let (first, second) = (random.hash_one((0, count)), random.hash_one((1, count)));
            Token::bearer(&format!("tower-introspect-canary-{first:016x}{second:016x}"))
        });
        let sending = match token {
            Some(token) => {
                let request = VerifyRequest::new(token).with_freshness(Freshness::Live);
                BoxFuture::new(verifier.verify(request))
            }
            None => BoxFuture::new(std::future::ready(Err(ErrorKind::Misconfigured.into()))),
        };
        (is_own, sending)
    })
}

impl<V> Guard<V> {
    /// Returns the state of the breaker, and how many introspections were sent and refused.
    pub(crate) fn stats(&self) -> Stats {
        let Guarded { server, sent, broken, shed, .. } = &*self.0;
        let is_open = server.origin.is_open(server.registration);
        Stats {
            upstream_calls: sent.get(),
            canaries: server.origin.canaries_sent(server.registration),
            broken: broken.get(),
            shed: shed.get(),
            breaker: if is_open { BreakerState::Open } else { BreakerState::Closed },
            ..Stats::default()
        }
    }

    /// Returns the state of the server, as the last canary found it.
    pub(crate) fn server_state(&self) -> ServerState {
        let RegistrationHandle { origin, registration } = &self.0.server;
        origin.server_state(*registration)
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
        let RegistrationHandle { origin, registration } = &self.0.server;
        let token = Id::of(request.token().secret_bytes());
        let (introspection, decision) = origin.update(|health, now| {
            let introspection = health.new_introspection(*registration, token, request.peer(), now);
            (introspection, health.admit(&introspection, now))
        });
        let permit = match decision {
            PermitDecision::Refused(refusal) => {
                return Verifying::done(Err(self.0.refuse(refusal)));
            }
            PermitDecision::Granted => PermitRequest::new(origin, introspection, None),
            PermitDecision::Waiting(granted) => {
                PermitRequest::new(origin, introspection, Some(granted))
            }
        };
        let this = Arc::clone(&self.0);
        Verifying::pending(BoxFuture::new(async move { this.introspect(permit, request).await }))
    }
}

impl<V: Verifier> Guarded<V> {
    fn refuse(&self, refusal: Refusal) -> VerifyError {
        let unavailable = VerifyError::new(ErrorKind::Unavailable);
        let (error, wait, allows_stale) = match refusal {
            Refusal::Open { rejects_credentials } => {
                self.broken.add_one();
                let kind = if rejects_credentials {
                    ErrorKind::CredentialsRejected
                } else {
                    ErrorKind::Unavailable
                };
                let context = "the circuit breaker is open after failures of the server";
                (VerifyError::new(kind).with_context(context), RETRY_AFTER_OPEN, true)
            }
            Refusal::Overloaded => {
                self.shed.add_one();
                let context = "the server is overloaded, so no unknown token is verified";
                (unavailable.with_context(context), RETRY_AFTER_FULL, false)
            }
            Refusal::NoPermit { allows_stale } => {
                self.shed.add_one();
                let context = "too many verifications are under way";
                (unavailable.with_context(context), RETRY_AFTER_FULL, allows_stale)
            }
        };
        error
            .with_retry_after(wait)
            .with_fault(Fault::NotToken { allows_stale, charges_peer: false })
    }

    async fn introspect(&self, mut permit: PermitRequest, request: VerifyRequest) -> Outcome {
        if let Err(refusal) = permit.wait(quarter(self.timeout)).await {
            return Err(self.refuse(refusal));
        }
        if request.waiters().is_some_and(Waiters::give_up_if_unused) {
            return Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("no request waits for the verification")
                .with_fault(Fault::NotToken { allows_stale: false, charges_peer: false }));
        }
        let PermitRequest { origin, introspection, .. } = &permit;
        let sent_at = origin.update(|health, now| {
            health.note_sent(introspection, now);
            now
        });
        self.sent.add_one();
        let verifying = self.verifier.verify(request);
        tokio::pin!(verifying);
        let outcome = match timeout(quarter(self.timeout), &mut verifying).await {
            Ok(outcome) => outcome,
            Err(_) => {
                origin.update(|health, _| health.note_slow(introspection, sent_at));
                verifying.await
            }
        };
        let result = IntrospectionResult::of(&outcome, introspection.token);
        let (conclusion, is_one_peer) = origin.update(|health, now| {
            let conclusion = health.take_result(introspection, sent_at, result, now);
            (conclusion, health.peers.take_news())
        });
        if is_one_peer {
            events::one_peer_sends_nearly_all();
        }
        drop(permit);
        let judgement = match conclusion {
            Conclusion::Final => return outcome,
            Conclusion::Judged(judgement) => judgement,
            Conclusion::Waiting(receiver) => {
                let received = timeout(self.timeout, receiver).await;
                received.ok().and_then(Result::ok).unwrap_or(NOT_JUDGED)
            }
        };
        outcome.map_err(|error| judged(error, judgement))
    }
}

/// Returns the error with the judgement applied.
fn judged(error: VerifyError, judgement: Judgement) -> VerifyError {
    match judgement {
        Judgement::TokenAtFault { is_invalid } => {
            let kind = if is_invalid { ErrorKind::Inactive } else { ErrorKind::FailsOnToken };
            let context = error.context().map(str::to_owned).unwrap_or_default();
            // Drops `Retry-After`: the token fails later too, and other tokens need not wait.
            VerifyError::new(kind).with_context(context).with_fault(Fault::Token)
        }
        Judgement::RejectsCredentials => {
            error.with_fault(Fault::NotToken { allows_stale: true, charges_peer: false })
        }
        Judgement::NotTokenAtFault { allows_stale, charges_peer } => {
            let is_refusal = matches!(
                error.failure(),
                Some(Failure::RejectsCredentials | Failure::InvalidToken | Failure::Refused)
            );
            let error = if is_refusal { error.with_kind(ErrorKind::Unavailable) } else { error };
            error.with_fault(Fault::NotToken { allows_stale, charges_peer })
        }
    }
}

/// The permit of an introspection, or its position in the queue for one.
struct PermitRequest {
    origin: Arc<Origin>,
    introspection: Introspection,
    /// `None` once the introspection has a permit.
    granted: Option<oneshot::Receiver<()>>,
    has_left: bool,
}

impl PermitRequest {
    fn new(
        origin: &Arc<Origin>,
        introspection: Introspection,
        granted: Option<oneshot::Receiver<()>>,
    ) -> Self {
        Self { origin: Arc::clone(origin), introspection, granted, has_left: false }
    }

    /// Waits for the permit, for at most `limit`.
    async fn wait(&mut self, limit: Duration) -> Result<(), Refusal> {
        let Some(granted) = &mut self.granted else { return Ok(()) };
        if !matches!(timeout(limit, granted).await, Ok(Ok(()))) {
            let refusal =
                self.origin.update(|health, now| health.give_up(&self.introspection, now));
            if let Some(refusal) = refusal {
                self.has_left = true;
                return Err(refusal);
            }
        }
        self.granted = None;
        Ok(())
    }
}

impl Drop for PermitRequest {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let waits = self.granted.is_some();
        self.origin.update(|health, _| {
            // The permit may have been granted in this moment.
            if !(waits && health.leave_queue(&self.introspection)) {
                health.give_permit_back(&self.introspection);
            }
        });
    }
}
