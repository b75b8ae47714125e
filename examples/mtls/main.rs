//! Mutual TLS on both sides of an API (RFC 8705).
//!
//! ```text
//! cargo run --example mtls
//! ```
//!
//! *Towards the authorization server*, the API authenticates by its certificate when it introspects
//! tokens (`tls_client_auth`, §2), and sends no secret. *Towards its clients*, the API admits a
//! token only over a connection with the certificate that the token is bound to (§3), so a stolen
//! token is of no use.
//!
//! All servers run in this process, on free ports of this machine. Copy `api.rs`, and `tls.rs` if
//! your API terminates TLS by itself. `authority.rs` and `pki.rs` stand for your authorization
//! server and your certificate authority.

mod api;
mod authority;
mod pki;
mod tls;

use std::{
    collections::HashMap,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_introspect::test_util::Endpoint;

use self::{
    api::{AUDIENCE, CLIENT},
    authority::Authority,
    pki::{Certified, Clients, Pki},
    tls::{Connection, TlsListener},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("usage: mtls");
        return ExitCode::from(2);
    }
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mtls: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let pki = Pki::new()?;
    let own = pki.client(CLIENT)?;
    let (app, other) = (pki.client("app")?, pki.client("other")?);

    // The authorization server knows the API and another client, each by its certificate.
    let mut clients = HashMap::new();
    for (id, certified) in [(CLIENT, &own), ("other", &other)] {
        clients.insert(id.to_owned(), certified.peer().ok_or("no certificate")?);
    }
    let authority = Authority::start(&pki, clients).await?;

    // The API reads its certificate from files.
    let directory = Directory::new()?;
    std::fs::write(directory.path().join("ca.pem"), pki.pem())?;
    std::fs::write(directory.path().join("api.pem"), own.pem())?;
    let api = api::api(authority.server.issuer(), directory.path()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("https://localhost:{}", listener.local_addr()?.port());
    let listener = TlsListener::new(listener, pki.server(Clients::Asked)?)?;
    let api = api.into_make_service_with_connect_info::<Connection>();
    tokio::spawn(async move { axum::serve(listener, api).await });

    println!("authorization server  {}", authority.server.issuer());
    println!("  with certificates   {}", authority.alias);
    println!("API                   {base}\n");
    let bound = app.peer().ok_or("no certificate")?.thumbprint();
    let token = |cnf: Option<&str>| {
        let token = authority.server.opaque().audience(AUDIENCE);
        match cnf {
            Some(thumbprint) => token.claim("cnf", json!({ "x5t#S256": thumbprint })).mint(),
            None => token.mint(),
        }
    };
    let (its_own, unbound) = (token(Some(&bound)), token(None));
    let (by_app, by_other, by_nobody) =
        (client(&pki, Some(&app))?, client(&pki, Some(&other))?, client(&pki, None)?);

    heading("GET /payments: token, certificate");
    let url = format!("{base}/payments");
    for (what, client, token) in [
        ("bound to a certificate, that one", &by_app, &its_own),
        ("bound to a certificate, another", &by_other, &its_own),
        ("bound to a certificate, none", &by_nobody, &its_own),
        ("bound to nothing, any", &by_app, &unbound),
    ] {
        row(what, client.get(&url).bearer_auth(token)).await?;
    }
    // A certificate in a header counts for nothing, since no proxy is trusted.
    let written = by_nobody.get(&url).bearer_auth(&its_own).header("client-cert", app.field());
    row("bound, and written in a header", written).await?;
    let about = format!("{base}/.well-known/oauth-protected-resource");
    let about = by_nobody.get(about).send().await?.bytes().await?;
    let about: Value = serde_json::from_slice(&about)?;
    let bound = &about["tls_client_certificate_bound_access_tokens"];
    println!("\nIts metadata say tls_client_certificate_bound_access_tokens: {bound}\n");

    heading("POST /introspect as the API: certificate");
    // Neither value needs form encoding.
    let question = format!("client_id={CLIENT}&token={its_own}");
    let ask = |client: &reqwest::Client, url: &str| {
        let form = "application/x-www-form-urlencoded";
        client.post(url).header("content-type", form).body(question.clone())
    };
    let by_api = client(&pki, Some(&own))?;
    let open = authority.server.url(Endpoint::Introspection);
    row("its own", ask(&by_api, &authority.alias)).await?;
    row("that of another client", ask(&by_other, &authority.alias)).await?;
    row("none", ask(&by_nobody, &authority.alias)).await?;
    row("its own, where none is asked for", ask(&by_api, &open)).await?;
    Ok(())
}

/// Creates a client that trusts the authority, with this certificate if there is one.
fn client(pki: &Pki, own: Option<&Certified>) -> Result<reqwest::Client, Box<dyn Error>> {
    let authority = reqwest::Certificate::from_pem(pki.pem().as_bytes())?;
    let builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(60))
        .tls_certs_only([authority]);
    let builder = match own {
        Some(own) => builder.identity(reqwest::Identity::from_pem(own.pem().as_bytes())?),
        None => builder,
    };
    Ok(builder.build()?)
}

fn heading(what: &str) {
    println!("{what:<44}answer\n{}", "-".repeat(100));
}

/// Sends a request and prints the outcome.
async fn row(what: &str, request: reqwest::RequestBuilder) -> Result<(), Box<dyn Error>> {
    let response = match request.send().await {
        Ok(response) => response,
        // The error depends on which side ends the connection first.
        Err(_) => {
            println!("{what:<44}no connection");
            return Ok(());
        }
    };
    let status = response.status();
    let challenge = response.headers().get("www-authenticate").cloned();
    let text = match &challenge {
        // Realm and metadata URL are the same in all challenges.
        Some(challenge) => challenge
            .to_str()?
            .split(", ")
            .find(|part| part.starts_with("error="))
            .unwrap_or_default()
            .to_owned(),
        None => response.text().await?,
    };
    let text = text.split_once(",\"aud\"").map_or(&*text, |(start, _)| start);
    println!("{what:<44}{:<5}{text}", status.as_str());
    Ok(())
}

/// A directory for this user alone, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("mtls-example-{}", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // An error is ignored: the keys in it are worthless after the process has ended.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
