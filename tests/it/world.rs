//! A resource server with the authorization server of the test kit.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    clock::UnixTime,
    resource_server::ResourceServerBuilder,
    test_util::{AuthorizationServer, Client, Endpoint, TestClock},
};

use crate::support::{AUDIENCE, ISSUER, ask, request};

pub(crate) struct World {
    pub(crate) server: AuthorizationServer,
    pub(crate) api: ResourceServer,
    /// The clock of both, unless the resource server has its own.
    pub(crate) clock: TestClock,
}

pub(crate) fn auth() -> ClientAuth {
    ClientAuth::basic("api", "s3cret")
}

pub(crate) fn remote() -> Issuer {
    Issuer::introspect(ISSUER, auth())
}

impl World {
    pub(crate) fn new(issuer: Issuer) -> Self {
        Self::with(|api| api.issuer(issuer))
    }

    pub(crate) fn with(
        change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
    ) -> Self {
        let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
        let server = AuthorizationServer::new(ISSUER)
            .with_clock(clock.clone())
            .with_client(Client::new("api", "s3cret"));
        let builder =
            ResourceServer::builder(AUDIENCE).transport(server.transport()).clock(clock.clone());
        Self { api: change(builder).build().unwrap(), server, clock }
    }

    pub(crate) fn opaque(&self) -> String {
        self.server.opaque().subject("alice").audience(AUDIENCE).mint()
    }

    pub(crate) fn jwt(&self) -> String {
        self.server
            .jwt()
            .subject("alice")
            .audience(AUDIENCE)
            .expires_in(Duration::from_secs(36_000))
            .mint()
    }

    pub(crate) fn asked(&self) -> usize {
        self.server.calls(Endpoint::Introspection)
    }

    pub(crate) async fn status(&self, token: &str) -> u16 {
        self.present(token).await.status().as_u16()
    }

    pub(crate) async fn present(&self, token: &str) -> Response<Bytes> {
        ask(&self.api.layer(), bearer(token)).await
    }
}

pub(crate) fn bearer(token: &str) -> Request<Bytes> {
    request(&[("authorization", &format!("Bearer {token}"))])
}
