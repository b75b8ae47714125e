//! A resource server on a loopback port, and a client of it.

use std::fmt;

use axum::{Extension, Router, routing};
use tokio::{net::TcpListener, task::AbortHandle};
use tower_introspect::{IntrospectLayer, VerifiedToken, verify::Verifier};

use testing::host::PATIENCE;

/// A running resource server. Dropping it stops it.
pub(crate) struct Api {
    url: String,
    http: reqwest::Client,
    serving: AbortHandle,
}

/// The response that a client gets.
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
        Self::serve_beside(layer, Router::new()).await
    }

    /// Serves one route behind `layer`, and other routes, which need no token.
    pub(crate) async fn serve_beside<V>(layer: IntrospectLayer<V>, others: Router) -> Self
    where
        V: Verifier + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let app = Router::new().route("/", routing::get(whoami)).layer(layer).merge(others);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
        Self { url, http, serving: serving.abort_handle() }
    }

    /// Returns the URL of a path without its first slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Sends a request with `token`.
    pub(crate) async fn get(&self, token: &str) -> Answer {
        request(&self.http, &self.url, token).await
    }

    /// Sends requests with `token` until one is refused, while the keys are fetched in the
    /// background.
    pub(crate) async fn refuses_eventually(&self, token: &str) {
        let refused = async {
            while self.get(token).await.status != 401 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("refused");
    }

    /// Sends requests with `token` until one is admitted, to an API that may time out before its
    /// server responds.
    pub(crate) async fn admits_eventually(&self, token: &str) {
        let admitted = async {
            loop {
                let answer = self.get(token).await;
                if answer.status == 200 {
                    return answer.is_admission();
                }
                answer.is_not_blamed_on_the_client(503);
            }
        };
        tokio::time::timeout(PATIENCE, admitted).await.expect("admitted");
    }

    /// Sends requests with `token`, one after the other, until stopped.
    pub(crate) fn keep_sending(&self, token: String) -> BusyClient {
        let (http, url) = (self.http.clone(), self.url.clone());
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let asking = tokio::spawn(async move {
            let mut answers = 0;
            while stopped.try_recv().is_err() {
                request(&http, &url, &token).await.is_admission();
                answers += 1;
            }
            answers
        });
        BusyClient { stop, asking }
    }
}

/// A client that sends requests continuously.
pub(crate) struct BusyClient {
    stop: tokio::sync::oneshot::Sender<()>,
    asking: tokio::task::JoinHandle<u32>,
}

impl BusyClient {
    /// Asserts that every request was admitted, and that there were some.
    pub(crate) async fn was_always_admitted(self) {
        let _ = self.stop.send(());
        let answers = self.asking.await.expect("every request was admitted");
        assert!(answers > 0, "no request was sent");
    }
}

async fn request(http: &reqwest::Client, url: &str, token: &str) -> Answer {
    let response = http.get(url).bearer_auth(token).send().await;
    let response = response.expect("the API answers");
    Answer::of(response).await
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        Self {
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

    /// Asserts that the response has this status and no challenge.
    #[track_caller]
    pub(crate) fn is_not_blamed_on_the_client(&self, status: u16) {
        assert_eq!((self.status, &self.challenge), (status, &None), "{self:?}");
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, challenge, retry_after, body } = self;
        write!(f, "{status}, challenge {challenge:?}, retry after {retry_after:?}, {body:?}")
    }
}
