//! A service under measurement, whatever its type.
//!
//! Types are erased around a batch of requests, not around each, so that the erasing costs nothing.

use std::{
    convert::Infallible,
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    time::{Duration, Instant},
};

use axum::http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt as _};

/// The `Authorization` of a request, if it has one.
pub type Credentials = Option<HeaderValue>;

pub type Answer = Pin<Box<dyn Future<Output = StatusCode> + Send>>;

pub trait Drive: Send {
    /// Sends these requests, one after the other, and tells how long it took.
    ///
    /// # Panics
    ///
    /// If any is answered with another status than `expected`: that would be another measurement.
    fn time(&mut self, runtime: &Runtime, batch: &[Credentials], expected: StatusCode) -> Duration;

    /// The allocations of one request. `None` if it is not answered at once.
    #[cfg(feature = "count")]
    fn allocations(&mut self, credentials: &Credentials) -> Option<u64>;

    /// Sends one request.
    fn ask(&self, credentials: &Credentials) -> Answer;
}

/// A [`Drive`] of a service that takes bodies of type `B`.
pub fn drive<S, B, R>(service: S) -> Box<dyn Drive>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Default + Send + 'static,
    R: Send + 'static,
{
    Box::new(Driven { service, body: PhantomData })
}

struct Driven<S, B> {
    service: S,
    body: PhantomData<fn(B)>,
}

impl<S, B, R> Drive for Driven<S, B>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Default + Send + 'static,
    R: Send + 'static,
{
    fn time(&mut self, runtime: &Runtime, batch: &[Credentials], expected: StatusCode) -> Duration {
        let requests: Vec<Request<B>> = batch.iter().map(request).collect();
        let service = &mut self.service;
        runtime.block_on(async {
            let mut others = 0;
            let start = Instant::now();
            for request in requests {
                let response = answer(service, request).await;
                others += usize::from(response.status() != expected);
                drop(black_box(response));
            }
            let taken = start.elapsed();
            assert_eq!(others, 0, "answers of another status than {expected}");
            taken
        })
    }

    #[cfg(feature = "count")]
    fn allocations(&mut self, credentials: &Credentials) -> Option<u64> {
        use std::{
            pin::pin,
            task::{Context, Poll, Waker},
        };

        let mut request = Some(request(credentials));
        let mut answered = false;
        let counted = allocation_counter::measure(|| {
            let request = request.take().expect("measured once");
            let mut context = Context::from_waker(Waker::noop());
            let answer = pin!(answer(&mut self.service, request)).poll(&mut context);
            answered = matches!(answer, Poll::Ready(_));
        });
        answered.then_some(counted.count_total)
    }

    fn ask(&self, credentials: &Credentials) -> Answer {
        let mut service = self.service.clone();
        let request = request(credentials);
        Box::pin(async move { answer(&mut service, request).await.status() })
    }
}

async fn answer<S, B>(service: &mut S, request: Request<B>) -> S::Response
where
    S: Service<Request<B>, Error = Infallible>,
{
    let Ok(service) = service.ready().await;
    let Ok(response) = service.call(request).await;
    response
}

/// A request as a server makes it: the bytes of the field value are shared already.
fn request<B: Default>(credentials: &Credentials) -> Request<B> {
    let mut request = Request::new(B::default());
    if let Some(value) = credentials {
        request.headers_mut().insert(AUTHORIZATION, value.clone());
    }
    request
}
