//! A verifier with scripted outcomes, in Tokio's time.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tower_introspect::{
    ErrorKind, VerifyError,
    claims::Claims,
    clock::{Clock, Moment, UnixTime},
    credentials::Token,
    test_util::TestClock,
    verify::{ActiveToken, Freshness, Method, Outcome, Verifier, VerifyRequest, Verifying},
};

use crate::support::ISSUER;

/// The outcome of one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Accept(&'static str),
    Refuse(VerifyError),
    Panic,
    Hang,
}

impl Act {
    pub(crate) fn alice() -> Self {
        Self::Accept(r#"{"sub":"alice","aud":"https://api.example.com","jti":"1","sid":"s"}"#)
    }

    pub(crate) fn refuse(kind: ErrorKind) -> Self {
        Self::Refuse(kind.into())
    }
}

/// A scripted verifier. Clones share their state.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) clock: TestClock,
    state: Arc<Mutex<State>>,
}

struct State {
    method: Method,
    delay: Option<Duration>,
    acts: VecDeque<Act>,
    default: Act,
    calls: usize,
    under_way: usize,
    requested_freshness: Vec<Freshness>,
}

impl Scripted {
    /// Creates a verifier that accepts every token as alice's at once.
    pub(crate) fn new() -> Self {
        let state = State {
            method: Method::Introspection,
            delay: None,
            acts: VecDeque::new(),
            default: Act::alice(),
            calls: 0,
            under_way: 0,
            requested_freshness: Vec::new(),
        };
        let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Delays every outcome from now on.
    pub(crate) fn takes(self, delay: Duration) -> Self {
        self.state().delay = Some(delay);
        self
    }

    pub(crate) fn by(self, method: Method) -> Self {
        self.state().method = method;
        self
    }

    /// Gives this outcome from now on.
    pub(crate) fn always(&self, act: Act) {
        self.state().default = act;
    }

    /// Gives this outcome once, after those given before.
    pub(crate) fn once(&self, act: Act) {
        self.state().acts.push_back(act);
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    /// The number of verifications that are neither finished nor dropped.
    pub(crate) fn under_way(&self) -> usize {
        self.state().under_way
    }

    /// The freshness of each request.
    pub(crate) fn requested_freshness(&self) -> Vec<Freshness> {
        self.state().requested_freshness.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Counts a verification as pending until it is dropped.
struct UnderWay(Scripted);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

impl Verifier for Scripted {
    type Future = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        let start = Moment::now(&self.clock as &dyn Clock);
        let mut state = self.state();
        state.calls += 1;
        state.requested_freshness.push(request.freshness());
        let act = state.acts.pop_front().unwrap_or_else(|| state.default.clone());
        let (delay, method) = (state.delay, state.method);
        let outcome = match &act {
            Act::Accept(claims) => {
                let claims = Claims::from_json(claims.as_bytes()).unwrap();
                Ok(ActiveToken::new(ISSUER, claims, method, start))
            }
            Act::Refuse(error) => Err(error.clone()),
            Act::Panic | Act::Hang => Err(ErrorKind::Misconfigured.into()),
        };
        if let (None, Act::Accept(_) | Act::Refuse(_)) = (delay, &act) {
            return Verifying::done(outcome);
        }
        state.under_way += 1;
        drop(state);
        let under_way = UnderWay(self.clone());
        Verifying::pending(Box::pin(async move {
            let _under_way = under_way;
            match (delay, act) {
                (_, Act::Hang) => std::future::pending().await,
                (Some(delay), _) => tokio::time::sleep(delay).await,
                (None, _) => tokio::task::yield_now().await,
            }
            assert!(
                !matches!(outcome, Err(ref e) if e.kind() == ErrorKind::Misconfigured),
                "scripted panic"
            );
            outcome
        }))
    }
}

pub(crate) fn token(text: &str) -> VerifyRequest {
    VerifyRequest::new(Token::bearer(text).unwrap())
}

pub(crate) fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    outcome.as_ref().err().map(VerifyError::kind)
}

/// Returns the outcome, which must be ready at once.
pub(crate) fn at_once<V: Verifier>(verifier: &V, request: VerifyRequest) -> Outcome {
    let Ok(outcome) = verifier.verify(request).now_or_later() else {
        panic!("the outcome is not ready")
    };
    outcome
}
