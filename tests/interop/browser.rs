//! The page of the example `rest_api` in Chromium: what a page sees of streams that end with their
//! token.

use std::{path::PathBuf, process::Command};

use serde_json::Value;
use testing::{
    host::{self, Process},
    webdriver::Browser,
};

/// The example, and the page of it that a browser shows.
struct Page<'a> {
    browser: &'a Browser,
    url: String,
    _service: Process,
}

impl<'a> Page<'a> {
    /// Starts the example, in its last build.
    async fn of(browser: &'a Browser) -> Self {
        let test = std::env::current_exe().expect("a path");
        let builds: PathBuf = test.ancestors().nth(2).expect("a directory of builds").into();
        let program = builds.join("examples/rest_api");
        assert!(program.is_file(), "cargo build --workspace --all-features --examples");
        let port = host::free_port();
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string()]);
        let mut service = Process::start(&mut command);
        let url = format!("http://127.0.0.1:{port}/page");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        service.is_ready(&command, &http, &url).await;
        Self { browser, url, _service: service }
    }

    /// Opens all streams with a token that is good for so long.
    async fn open(&self, seconds: u32) {
        self.browser.open(&self.url).await;
        self.token_for(seconds).await;
        self.click("open").await;
    }

    async fn token_for(&self, seconds: u32) {
        self.browser.script(&format!("document.getElementById('seconds').value = {seconds}")).await;
    }

    async fn click(&self, button: &str) {
        self.browser.script(&format!("document.getElementById('{button}').click()")).await;
    }

    /// Waits until a list has a line that starts so, this many times.
    async fn shows(&self, list: &str, text: &str, times: usize) {
        let lines = format!("[...document.querySelectorAll('#{list} li')]");
        let found = format!("{lines}.filter((line) => line.innerText.startsWith('{text}'))");
        self.browser.waits_for(&format!("{found}.length >= {times}")).await;
    }

    /// Returns the lines of a list, but for its payments.
    async fn lines(&self, list: &str) -> Vec<String> {
        let script = format!("return document.getElementById('{list}').innerText");
        let text = self.browser.script(&script).await;
        let lines = text.as_str().expect("a text").lines().filter(|line| !line.is_empty());
        lines.filter(|line| !line.contains("a payment of dora")).map(str::to_owned).collect()
    }

    /// Checks that every request for a stream was refused in the end, and none came after it.
    async fn is_refused_with(&self, reason: &str) {
        self.shows("socket", "closed", 1).await;
        self.shows("fetch", "refused", 1).await;
        self.shows("source", "refused", 1).await;
        let speaks = "open, and speaks access_token";
        let closed = format!("closed with 1008 {reason}");
        assert_eq!(self.lines("socket").await, [speaks, &closed]);
        assert_eq!(self.lines("fetch").await, ["open", "the stream ends", "refused with 401"]);
        let ends = "the stream ends, and it asks again";
        assert_eq!(self.lines("source").await, ["open", ends, "refused, and stops"]);
        let requests = self.browser.requests().await;
        let events = requests.iter().filter(|url| url.ends_with("/payments/events"));
        assert_eq!(events.count(), 4, "two by each: {requests:?}");
        for complaint in self.browser.console().await {
            assert!(complaint.contains("401"), "{complaint}");
        }
    }
}

#[tokio::test]
async fn chromium_page_sees_its_streams_end_when_the_user_signs_out() {
    Browser::run(async |browser| {
        let page = Page::of(browser).await;
        page.open(600).await;
        page.shows("fetch", "a payment of dora", 1).await;
        page.shows("source", "a payment of dora", 1).await;
        page.shows("socket", "{\"payment\"", 1).await;
        page.click("sign-out").await;
        page.is_refused_with("revoked").await;
        let cookies = browser.script("return document.cookie").await;
        assert_eq!(cookies, Value::from(""), "scripts can't read the token of the cookie");
    })
    .await;
}

#[tokio::test]
async fn chromium_page_sees_its_streams_end_when_the_token_expires() {
    Browser::run(async |browser| {
        let page = Page::of(browser).await;
        // A longer time if the machine was so slow that the token had expired before it was used.
        for seconds in [3, 9, 27, 81] {
            browser.requests().await;
            browser.console().await;
            page.open(seconds).await;
            page.shows("socket", "closed", 1).await;
            let was_open = async |list| {
                page.lines(list).await.first().is_some_and(|line| line.starts_with("open"))
            };
            if was_open("socket").await && was_open("fetch").await && was_open("source").await {
                break;
            }
        }
        page.is_refused_with("expired").await;
    })
    .await;
}

#[tokio::test]
async fn chromium_page_renews_its_token() {
    Browser::run(async |browser| {
        let page = Page::of(browser).await;
        // As above.
        for seconds in [4, 12, 36, 108] {
            page.open(seconds).await;
            page.token_for(600).await;
            page.click("renew").await;
            let decided =
                "/renewed_until|closed/.test(document.getElementById('socket').innerText)";
            browser.waits_for(decided).await;
            if page.lines("socket").await.iter().any(|line| line.contains("renewed_until")) {
                break;
            }
        }
        // The events end with the old token, and go on with the new one.
        page.shows("fetch", "open", 2).await;
        page.shows("source", "open", 2).await;
        assert_eq!(page.lines("fetch").await, ["open", "the stream ends", "open"]);
        let ends = "the stream ends, and it asks again";
        assert_eq!(page.lines("source").await, ["open", ends, "open"]);
        // The WebSocket goes on without an end.
        let lines = page.lines("socket").await;
        assert!(
            matches!(&lines[..], [_, renewed] if renewed.contains("renewed_until")),
            "{lines:?}"
        );
        assert_eq!(browser.console().await, Vec::<String>::new());
    })
    .await;
}
