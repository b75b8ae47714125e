//! A resource server on a loopback port, and a client of it.

use std::fmt;

use axum::{Extension, Router, routing::get};
use tokio::{net::TcpListener, task::AbortHandle};
use tower_introspect::{IntrospectLayer, VerifiedToken, verify::Verifier};

/// A running resource server. Dropping it stops it.
pub(crate) struct Api {
    url: String,
    http: reqwest::Client,
    serving: AbortHandle,
}

/// What a client sees.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) challenge: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Api {
    /// Serves one route behind `layer`.
    pub(crate) async fn serve<V>(layer: IntrospectLayer<V>) -> Self
    where
        V: Verifier + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let app = Router::new().route("/", get(whoami)).layer(layer);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
        Self { url, http, serving: serving.abort_handle() }
    }

    /// Sends a request with `token`.
    pub(crate) async fn get(&self, token: &str) -> Answer {
        let response = self.http.get(&self.url).bearer_auth(token).send().await;
        let response = response.expect("the API answers");
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        Answer {
            status: response.status().as_u16(),
            challenge: header("www-authenticate"),
            retry_after: header("retry-after"),
            body: response.text().await.expect("the answer is complete"),
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn whoami(Extension(token): Extension<VerifiedToken>) -> String {
    format!("{} may {}", token.client_id().unwrap_or_default(), token.scope().as_str())
}

impl Answer {
    #[track_caller]
    pub(crate) fn is_admission(&self) {
        assert_eq!((self.status, &*self.body), (200, "svc may read"), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn is_invalid_token(&self) {
        assert_eq!(self.status, 401, "{self:?}");
        let challenge = self.challenge.as_deref().unwrap_or_default();
        assert!(challenge.contains("error=\"invalid_token\""), "{self:?}");
    }

    /// The client is not told that its token is bad.
    #[track_caller]
    pub(crate) fn is_not_the_clients_fault(&self, status: u16) {
        assert_eq!((self.status, &self.challenge), (status, &None), "{self:?}");
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, challenge, retry_after, body } = self;
        write!(f, "{status}, challenge {challenge:?}, retry after {retry_after:?}, {body:?}")
    }
}
