//! Credentials of this service that are read again when their files change.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use tower::service_fn;
use tower_introspect::{
    ClientAuth, ConfigError, ErrorKind,
    config::Config,
    introspection::IntrospectionVerifier,
    jose::{Algorithm, SigningKey},
    jwt::{JwtVerifier, KeySet},
    transport::HttpTransport,
    verify::Verifier,
};

use crate::{
    scripted::{kind, token},
    support::{File, ask, with_token},
};

/// A server that keeps the `Authorization` fields and the bodies of its requests.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<(String, String)>>>);

impl Server {
    fn transport(&self) -> HttpTransport {
        let server = self.clone();
        HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            let field = request.headers().get(AUTHORIZATION);
            let field = field.map(|field| field.to_str().unwrap().to_owned());
            let body = String::from_utf8(request.body().to_vec()).unwrap();
            server.0.lock().unwrap().push((field.unwrap_or_default(), body));
            let response = Response::builder().header("content-type", "application/json");
            let body = Bytes::from_static(b"{\"active\":false}");
            async move { Ok::<_, std::convert::Infallible>(response.body(body).unwrap()) }
        }))
    }

    fn last(&self) -> (String, String) {
        self.0.lock().unwrap().last().cloned().unwrap()
    }
}

/// Returns the credentials in a file: the method, the client identifier and the secret.
fn read(file: &Path) -> Result<ClientAuth, ConfigError> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    match text.split(' ').collect::<Vec<_>>()[..] {
        ["bearer", token] => Ok(ClientAuth::bearer(token)),
        ["post", id, secret] => Ok(ClientAuth::post(id, secret)),
        _ => {
            let mut problems = ConfigError::new();
            problems.push("file", "no credentials");
            Err(problems)
        }
    }
}

fn renewed(file: &File) -> ClientAuth {
    let path = file.0.clone();
    ClientAuth::renewed([&file.0], move || read(&path)).unwrap()
}

fn verifier(auth: ClientAuth, server: &Server) -> IntrospectionVerifier {
    IntrospectionVerifier::builder("https://as.example.com", auth)
        .endpoint("https://as.example.com/introspect")
        .transport(server.transport())
        .build()
        .unwrap()
}

async fn introspect(verifier: &IntrospectionVerifier) {
    assert_eq!(kind(&verifier.verify(token("opaque")).await), Some(ErrorKind::Inactive));
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn rotated_secret_is_sent_after_at_most_a_minute() {
    let (file, server) = (File::new("rotated", "post api old"), Server::default());
    let verifier = verifier(renewed(&file), &server);
    introspect(&verifier).await;
    assert!(server.last().1.contains("client_secret=old"));
    file.put("post api newer");
    tokio::time::advance(MINUTE - Duration::from_secs(1)).await;
    introspect(&verifier).await;
    assert!(server.last().1.contains("client_secret=old"));
    tokio::time::advance(Duration::from_secs(1)).await;
    introspect(&verifier).await;
    assert!(server.last().1.contains("client_secret=newer"));
}

#[tokio::test(start_paused = true)]
async fn unusable_file_keeps_the_credentials_and_is_tried_again() {
    let (file, server) = (File::new("unusable", "post api old"), Server::default());
    let verifier = verifier(renewed(&file), &server);
    // Nothing, an empty secret, another client, another method.
    for text in ["", "post api ", "post another secret", "bearer token"] {
        file.put(text);
        tokio::time::advance(MINUTE).await;
        introspect(&verifier).await;
        let (field, body) = server.last();
        assert_eq!(field, "", "{text}");
        assert!(body.contains("client_id=api&client_secret=old"), "{text}: {body}");
    }
    file.put("post api good-again");
    tokio::time::advance(MINUTE).await;
    introspect(&verifier).await;
    assert!(server.last().1.contains("client_secret=good-again"));
}

#[test]
fn first_problem_is_returned() {
    let file = File::new("first-problem", "nothing");
    let path = file.0.clone();
    let problems = ClientAuth::renewed([&file.0], move || read(&path)).unwrap_err();
    assert_eq!(problems.to_string(), "file: no credentials");
    // The builder reports credentials that are wrong.
    file.put("post api ");
    let auth = renewed(&file);
    let built = IntrospectionVerifier::builder("https://as.example.com", auth).build();
    assert_eq!(built.unwrap_err().to_string(), "client_auth: the client secret is empty");
}

/// Returns the last request of a service with this client, after its secret was rotated.
async fn after_rotation(name: &str, client: &str, old: &str, new: &str) -> [(String, String); 2] {
    let (file, server) = (File::new(name, old), Server::default());
    let client = client.replace("FILE", &file.0.display().to_string());
    let text = format!(
        "audience = 'https://api.example.com'\nmax_age_seconds = 0\n[[issuer]]\n\
         issuer = 'https://as.example.com'\nmode = 'introspect'\n\
         introspection_endpoint = 'https://as.example.com/introspect'\nclient = {{ {client} }}\n"
    );
    let config = Config::from_toml(&text).unwrap();
    let api = config
        .build_with(|builder| {
            builder.negative_max_age(Duration::ZERO).transport(server.transport())
        })
        .unwrap();
    let request = async || {
        assert_eq!(ask(&api.layer(), with_token()).await.status(), 401);
        server.last()
    };
    let before = request().await;
    file.put(new);
    tokio::time::advance(MINUTE).await;
    [before, request().await]
}

#[tokio::test(start_paused = true)]
async fn secret_file_of_a_configuration_is_read_again() {
    let client = "method = 'post', id = 'api', secret_file = 'FILE'";
    let [before, after] = after_rotation("toml-post", client, "old\n", "newer\n").await;
    assert!(before.1.ends_with("client_secret=old"), "{before:?}");
    assert!(after.1.ends_with("client_secret=newer"), "{after:?}");

    let client = "method = 'bearer', token_file = 'FILE'";
    let [before, after] = after_rotation("toml-bearer", client, "old", "newer").await;
    assert_eq!([&*before.0, &*after.0], ["Bearer old", "Bearer newer"]);
}

#[tokio::test(start_paused = true)]
async fn key_file_of_a_configuration_is_read_again() {
    let client = "method = 'private_key_jwt', id = 'api', algorithm = 'ES256', key_file = 'FILE', \
                  assertion_audience = 'https://as.example.com/token'";
    let old = include_str!("keys/p256.pem");
    let new = format!("\n{}", include_str!("keys/p256-other.pem"));
    let assertions = after_rotation("toml-key", client, old, &new).await.map(|(_, body)| {
        let (_, assertion) = body.split_once("client_assertion=").unwrap();
        assertion.split('&').next().unwrap().to_owned()
    });
    for (assertion, [good, bad]) in assertions.iter().zip([[old, &*new], [&*new, old]]) {
        assert!(is_signed_by(assertion, good).await);
        assert!(!is_signed_by(assertion, bad).await);
        let claims = claims(assertion);
        assert!(claims.contains("https://as.example.com/token"), "{claims}");
    }
}

/// Returns true if the key in `pem` signed this assertion.
async fn is_signed_by(assertion: &str, pem: &str) -> bool {
    let key = SigningKey::from_pem(Algorithm::ES256, pem.as_bytes()).unwrap();
    let keys = KeySet::from_jwk(key.public_jwk().unwrap().to_string().as_bytes()).unwrap();
    // The assertion is no access token. Only its signature matters here.
    let verifier = JwtVerifier::builder("api").keys(keys).danger_accept_unmarked_jwts();
    kind(&verifier.build().unwrap().verify(token(assertion)).await) != Some(ErrorKind::BadSignature)
}

fn claims(assertion: &str) -> String {
    let part = assertion.split('.').nth(1).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
