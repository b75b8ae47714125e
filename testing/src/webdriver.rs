//! Chromium, driven by `chromedriver` (<https://www.w3.org/TR/webdriver2/>).

use std::{cell::RefCell, path::Path, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    host::{self, Process, ScratchDir},
    proxy::until,
};

/// The keys that have no text.
pub const TAB: &str = "\u{e004}";
pub const CONTROL: &str = "\u{e009}";
pub const ENTER: &str = "\u{e007}";
pub const RIGHT: &str = "\u{e014}";
pub const SPACE: &str = " ";

/// A window of a browser with a profile of its own.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    _driver: Process,
    _profile: ScratchDir,
}

impl Browser {
    /// Runs a test with a browser. It is skipped if there is none.
    pub async fn run(test: impl AsyncFnOnce(&Self)) {
        let Some(missing) =
            ["chromedriver", "chromium"].into_iter().find(|program| !host::has(program))
        else {
            let browser = Self::start().await;
            test(&browser).await;
            browser.command(Method::DELETE, "", None).await;
            return;
        };
        host::skip(missing);
    }

    async fn start() -> Self {
        let profile = ScratchDir::new("chromium");
        let port = host::free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", profile.path());
        let mut driver = Process::start(&mut command);
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let url = format!("http://127.0.0.1:{port}");
        driver.is_ready(&command, &http, &format!("{url}/status")).await;
        // As root Chromium runs without a sandbox only.
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            // It ends with the driver.
            "--remote-debugging-pipe".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let created =
            send(&http, Method::POST, &format!("{url}/session"), Some(capabilities)).await;
        let id = text(&created["sessionId"]);
        let session = format!("{url}/session/{id}");
        Self { http, session, _driver: driver, _profile: profile }
    }

    async fn command(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        send(&self.http, method, &format!("{}{path}", self.session), body).await
    }

    pub async fn open(&self, url: &str) {
        self.command(Method::POST, "/url", Some(json!({"url": url}))).await;
    }

    /// Runs the body of a function.
    pub async fn script(&self, text: &str) -> Value {
        let body = json!({"script": text, "args": []});
        self.command(Method::POST, "/execute/sync", Some(body)).await
    }

    /// Waits until an expression is true.
    pub async fn waits_for(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        until(async || self.script(&script).await == true, || format!("never: {expression}")).await;
    }

    /// Waits until the page shows this text.
    pub async fn shows(&self, text: &str) {
        let shown = RefCell::new(String::new());
        let found = async || {
            let now = self.script("return document.body.innerText").await;
            let found = now.as_str().is_some_and(|now| now.contains(text));
            shown.replace(now.as_str().unwrap_or_default().to_owned());
            found
        };
        until(found, || format!("no {text:?} in: {}", shown.borrow())).await;
    }

    /// Presses keys one after another, as a person does.
    pub async fn types(&self, text: &str) {
        let keys = text.chars().flat_map(|key| {
            let key = key.to_string();
            [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
        });
        self.keys(keys.collect()).await;
    }

    /// Presses a key while another is held.
    pub async fn chord(&self, held: &str, key: &str) {
        self.keys(vec![
            json!({"type": "keyDown", "value": held}),
            json!({"type": "keyDown", "value": key}),
            json!({"type": "keyUp", "value": key}),
            json!({"type": "keyUp", "value": held}),
        ])
        .await;
    }

    async fn keys(&self, actions: Vec<Value>) {
        let keyboard = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.command(Method::POST, "/actions", Some(keyboard)).await;
    }

    /// Pastes text into the focused element: as a whole, other than [`Self::types`].
    pub async fn pastes(&self, text: &str) {
        self.devtools("Input.insertText", json!({"text": text})).await;
    }

    /// Sets the size of the window and the colours that the person prefers.
    pub async fn looks(&self, width: u32, height: u32, colours: &str) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!([{"name": "prefers-color-scheme", "value": colours}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({"cmd": command, "params": parameters});
        self.command(Method::POST, "/goog/cdp/execute", Some(body)).await;
    }

    /// Writes a screenshot of the window to a file.
    pub async fn screenshot(&self, file: &Path) {
        let image = self.command(Method::GET, "/screenshot", None).await;
        let image = BASE64_STANDARD.decode(text(&image)).expect("base64");
        std::fs::write(file, image).expect("the directory exists");
    }

    /// Returns what the console shows since the last call: errors of scripts, of requests and of the
    /// policy of the page.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        entries.iter().map(|entry| text(&entry["message"]).to_owned()).collect()
    }

    /// Returns the URLs of all requests since the last call.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.log("performance").await;
        let events = entries.iter().map(|entry| {
            serde_json::from_str::<Value>(text(&entry["message"])).expect("an event in JSON")
        });
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        sent.map(|event| text(&event["message"]["params"]["request"]["url"]).to_owned())
            // Its first window is a page of its own.
            .filter(|url: &String| !url.starts_with("chrome:") && !url.starts_with("data:"))
            .collect()
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.command(Method::POST, "/se/log", Some(json!({"type": kind}))).await;
        log.as_array().expect("a log").clone()
    }
}

/// Sends a command and returns its value. It must succeed.
async fn send(http: &reqwest::Client, method: Method, url: &str, body: Option<Value>) -> Value {
    let mut request = http.request(method, url);
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let response = request.send().await.expect("the driver answers");
    let status = response.status();
    let answer = response.bytes().await.expect("the answer is complete");
    let mut answer: Value = serde_json::from_slice(&answer).expect("an answer in JSON");
    assert!(status.is_success(), "{url}: {answer}");
    answer["value"].take()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
