//! The messages, the server and the client of `greeter.proto`.
//!
//! `tonic-prost-build` generates such a file from the `.proto`, but needs `protoc`. This file is
//! written by hand, and has only the parts that the example uses. Nothing in it is about
//! authorization.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use prost::{Message, Oneof};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client,
    codegen::http::{self, uri::PathAndQuery},
    server::{Grpc, NamedService},
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HelloRequest {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchRequest {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HelloReply {
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GreetingRequest {
    #[prost(string, tag = "1")]
    pub(crate) greeting: String,
    #[prost(string, tag = "2")]
    pub(crate) team: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GreetingReply {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GreetingsReply {
    #[prost(uint32, tag = "1")]
    pub(crate) count: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChatRequest {
    #[prost(oneof = "ChatWhat", tags = "1, 2")]
    pub(crate) what: Option<ChatWhat>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ChatWhat {
    #[prost(string, tag = "1")]
    Name(String),
    #[prost(string, tag = "2")]
    Token(String),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VersionRequest {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VersionReply {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
}

/// The result of a call.
pub(crate) type Reply<M> = Result<Response<M>, Status>;

/// A stream of replies.
pub(crate) type Replies<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// A reply that takes a while.
pub(crate) type Later<M> = Pin<Box<dyn Future<Output = Reply<M>> + Send>>;

/// The methods of the service.
pub(crate) trait Greeter: Send + Sync + 'static {
    fn say_hello(&self, request: Request<HelloRequest>) -> Reply<HelloReply>;
    fn watch_greeting(&self, request: Request<WatchRequest>) -> Reply<Replies<HelloReply>>;
    fn set_greeting(&self, request: Request<GreetingRequest>) -> Reply<GreetingReply>;
    fn set_greetings(&self, request: Request<Streaming<GreetingRequest>>) -> Later<GreetingsReply>;
    fn chat(&self, request: Request<Streaming<ChatRequest>>) -> Reply<Replies<HelloReply>>;
    fn version(&self, request: Request<VersionRequest>) -> Reply<VersionReply>;
}

/// A tonic service that serves a [`Greeter`].
#[derive(Debug)]
pub(crate) struct GreeterServer<T>(Arc<T>);

impl<T> GreeterServer<T> {
    pub(crate) fn new(greeter: T) -> Self {
        Self(Arc::new(greeter))
    }
}

impl<T> Clone for GreeterServer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> NamedService for GreeterServer<T> {
    const NAME: &'static str = "greeter.Greeter";
}

impl<T: Greeter> Service<http::Request<Body>> for GreeterServer<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let greeter = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/greeter.Greeter/SayHello" => {
                    unary(request, move |request| greeter.say_hello(request)).await
                }
                "/greeter.Greeter/WatchGreeting" => {
                    streaming(request, move |request| greeter.watch_greeting(request)).await
                }
                "/greeter.Greeter/SetGreeting" => {
                    unary(request, move |request| greeter.set_greeting(request)).await
                }
                "/greeter.Greeter/SetGreetings" => {
                    let method = service_fn(move |request| greeter.set_greetings(request));
                    Grpc::new(ProstCodec::default()).client_streaming(method, request).await
                }
                "/greeter.Greeter/Chat" => {
                    let chat = service_fn(move |request| std::future::ready(greeter.chat(request)));
                    Grpc::new(ProstCodec::default()).streaming(chat, request).await
                }
                "/greeter.Greeter/Version" => {
                    unary(request, move |request| greeter.version(request)).await
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

async fn unary<M, N>(
    request: http::Request<Body>,
    method: impl Fn(Request<M>) -> Reply<N>,
) -> http::Response<Body>
where
    M: Message + Default + Send + 'static,
    N: Message + Send + 'static,
{
    let method = service_fn(move |request| std::future::ready(method(request)));
    Grpc::new(ProstCodec::<N, M>::default()).unary(method, request).await
}

async fn streaming<M, N>(
    request: http::Request<Body>,
    method: impl Fn(Request<M>) -> Reply<Replies<N>>,
) -> http::Response<Body>
where
    M: Message + Default + Send + 'static,
    N: Message + Send + 'static,
{
    let method = service_fn(move |request| std::future::ready(method(request)));
    Grpc::new(ProstCodec::<N, M>::default()).server_streaming(method, request).await
}

/// A client of a [`Greeter`].
#[derive(Debug)]
pub(crate) struct GreeterClient(client::Grpc<Channel>);

impl GreeterClient {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(client::Grpc::new(channel))
    }

    pub(crate) async fn say_hello(&mut self, request: Request<HelloRequest>) -> Reply<HelloReply> {
        self.unary(request, "/greeter.Greeter/SayHello").await
    }

    pub(crate) async fn watch_greeting(
        &mut self,
        request: Request<WatchRequest>,
    ) -> Reply<Streaming<HelloReply>> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/greeter.Greeter/WatchGreeting");
        self.0.server_streaming(request, path, ProstCodec::default()).await
    }

    pub(crate) async fn set_greeting(
        &mut self,
        request: Request<GreetingRequest>,
    ) -> Reply<GreetingReply> {
        self.unary(request, "/greeter.Greeter/SetGreeting").await
    }

    pub(crate) async fn set_greetings(
        &mut self,
        request: Request<impl Stream<Item = GreetingRequest> + Send + 'static>,
    ) -> Reply<GreetingsReply> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/greeter.Greeter/SetGreetings");
        self.0.client_streaming(request, path, ProstCodec::default()).await
    }

    pub(crate) async fn chat(
        &mut self,
        request: Request<impl Stream<Item = ChatRequest> + Send + 'static>,
    ) -> Reply<Streaming<HelloReply>> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/greeter.Greeter/Chat");
        self.0.streaming(request, path, ProstCodec::default()).await
    }

    pub(crate) async fn version(
        &mut self,
        request: Request<VersionRequest>,
    ) -> Reply<VersionReply> {
        self.unary(request, "/greeter.Greeter/Version").await
    }

    async fn unary<M, N>(&mut self, request: Request<M>, path: &'static str) -> Reply<N>
    where
        M: Message + Send + Sync + 'static,
        N: Message + Default + Send + Sync + 'static,
    {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        self.0.unary(request, path, ProstCodec::<M, N>::default()).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}
