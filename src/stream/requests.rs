//! The ways to guard the body of a request.

use crate::lease::{body::GuardedBody, lease::Lease};

/// A way to guard the body of a request.
pub trait GuardRequest<B>: sealed::Sealed {
    /// The body that the inner service gets.
    type Body;

    /// Guards the body, if the request has a lease.
    fn guard(lease: Option<&Lease>, body: B) -> Self::Body;
}

/// The body of a request is not guarded.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unguarded {}

/// The body of a request is guarded, and boxed so that it keeps its type.
#[derive(Debug)]
#[non_exhaustive]
pub enum Boxed {}

/// The body of a request is guarded, and is a [`GuardedBody`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Typed {}

impl<B> GuardRequest<B> for Unguarded {
    type Body = B;

    fn guard(_: Option<&Lease>, body: B) -> B {
        body
    }
}

impl<B> GuardRequest<B> for Boxed
where
    B: http_body::Body + From<GuardedBody<B>> + Send + 'static,
{
    type Body = B;

    fn guard(lease: Option<&Lease>, body: B) -> B {
        match lease {
            Some(lease) if !body.is_end_stream() => {
                GuardedBody::of_request(lease.clone(), body).into()
            }
            _ => body,
        }
    }
}

impl<B: http_body::Body + Send + 'static> GuardRequest<B> for Typed {
    type Body = GuardedBody<B>;

    fn guard(lease: Option<&Lease>, body: B) -> GuardedBody<B> {
        match lease {
            Some(lease) => GuardedBody::of_request(lease.clone(), body),
            None => GuardedBody::plain(body),
        }
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {}

    impl Sealed for super::Unguarded {}
    impl Sealed for super::Boxed {}
    impl Sealed for super::Typed {}
}
