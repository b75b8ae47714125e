//! A running `introspect ui`, and requests to it.

use std::process::Stdio;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use testing::host::PATIENCE;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout},
    time::timeout,
};

use crate::run;

/// Every response has these headers, and no others but those that its content needs.
const HEADERS: [(&str, &str); 6] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// A running program. Dropping it ends it.
pub(crate) struct Ui {
    /// The secret URL of the page.
    pub(crate) url: String,
    /// Its host and port.
    pub(crate) host: String,
    http: reqwest::Client,
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Ui {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let at = run::at();
        let arguments = [&["ui", "--json", "--at", &at], arguments].concat();
        let mut child = run::command(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.ends_with("}\n") {
            let read = timeout(PATIENCE, out.read_line(&mut text)).await.unwrap().unwrap();
            assert!(read > 0, "it ended: {text}");
        }
        let address: Value = serde_json::from_str(&text).unwrap();
        let url = address["url"].as_str().unwrap().to_owned();
        let host = url.split('/').nth(2).unwrap().to_owned();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, host, http, child, out }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.host)
    }

    pub(crate) fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.http.get(url.as_ref())
    }

    /// Returns a request as the page sends it.
    pub(crate) fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.bare_post(body).header("content-type", "application/json")
    }

    /// Returns a request without the headers of a browser.
    pub(crate) fn bare_post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.http.post(format!("{}run", self.url)).body(body)
    }

    /// Runs a command as the page does, and returns what it shows.
    pub(crate) async fn call(&self, command: &str, token: &str, options: Value) -> Value {
        let call = json!({"command": command, "token": token, "options": options});
        let response = self.post(call.to_string()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_guarded(&response);
        assert_eq!(response.headers()["content-type"], "application/json");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    /// Ends the program, and returns all that it printed after its address.
    pub(crate) async fn output(mut self) -> String {
        self.child.start_kill().unwrap();
        let mut text = String::new();
        self.out.read_to_string(&mut text).await.unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut text).await.unwrap();
        text
    }
}

/// Sends a request that must be refused with this status, without content.
#[track_caller]
pub(crate) fn refused(request: RequestBuilder, status: StatusCode) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{place}");
        assert_guarded(&response);
        assert!(!response.headers().contains_key("content-type"), "{place}");
        assert_eq!(response.bytes().await.unwrap(), "", "{place}");
    }
}

#[track_caller]
pub(crate) fn assert_guarded(response: &Response) {
    let of_content = ["connection", "content-length", "content-type", "date"];
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| !of_content.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    assert_eq!(headers, HEADERS);
}

/// Returns all texts that the page shows, one a line.
pub(crate) fn texts(shown: &Value) -> String {
    const TONES: [&str; 6] = ["plain", "good", "bad", "warning", "faint", "strong"];
    match shown {
        Value::String(tone) if TONES.contains(&&**tone) => String::new(),
        Value::String(text) => format!("{text}\n"),
        Value::Array(parts) => parts.iter().map(texts).collect(),
        Value::Object(members) => {
            let shown = members.iter().filter(|(name, _)| *name != "outcome");
            shown.map(|(_, part)| texts(part)).collect()
        }
        _ => String::new(),
    }
}
