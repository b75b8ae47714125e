//! The requests of a client that knows nothing but a URL and its own credentials, and the responses
//! that they must get.

use std::{error::Error, time::Duration};

use reqwest::Response;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Goes from the challenge to a tool, and then to a tool that needs more scope. Then it listens until
/// its tokens are cut off.
pub(crate) async fn run(
    url: &str,
    client: &str,
    secret: &str,
    cut_off: impl FnOnce(),
) -> Outcome<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
    let caller = Caller { http, url };
    let (client, add) = ((client, secret), json!({"name": "add", "arguments": {"a": 2, "b": 3}}));

    let refused = caller.call("tools/call", &add, None).await?;
    refused.expect("a call without a token", 401)?;
    let scope = refused.parameter("scope")?;
    let metadata = caller.get(&refused.parameter("resource_metadata")?).await?;
    let about = metadata.expect("the metadata that the challenge names", 200)?;
    if about["resource"] != url {
        return Err("the metadata is about another resource".into());
    }
    let issuer = about["authorization_servers"][0].as_str().ok_or("no authorization server")?;
    let path = "/.well-known/oauth-authorization-server";
    let server = caller.get(&format!("{issuer}{path}")).await?;
    let server = server.expect("the metadata of the authorization server", 200)?;
    let endpoint = server["token_endpoint"].as_str().ok_or("no token endpoint")?;

    let token = caller.token(endpoint, client, &scope).await?;
    let hello = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "check", "version": "0"},
    });
    let hello = caller.call("initialize", &hello, Some(&token)).await?;
    hello.expect("initialize", 200)?;
    let tools = caller.call("tools/list", &json!({}), Some(&token)).await?;
    tools.expect("tools/list", 200)?;
    let sum = caller.call("tools/call", &add, Some(&token)).await?;
    let sum = sum.expect("add, with a token", 200)?;
    if sum["result"]["content"][0]["text"] != "5" {
        return Err(format!("2 + 3 is {sum}").into());
    }

    let reset = json!({"name": "reset", "arguments": {}});
    let refused = caller.call("tools/call", &reset, Some(&token)).await?;
    refused.expect("reset, with the same token", 403)?;
    if refused.parameter("error")? != "insufficient_scope" {
        return Err("the challenge is another one".into());
    }
    let more = caller.token(endpoint, client, &refused.parameter("scope")?).await?;
    let reset = caller.call("tools/call", &reset, Some(&more)).await?;
    reset.expect("reset, with all it needs", 200)?;

    let unknown = json!({"name": "divide", "arguments": {}});
    let unknown = caller.call("tools/call", &unknown, Some(&more)).await?;
    if unknown.expect("a tool that there is not", 200)?["error"].is_null() {
        return Err("it was called all the same".into());
    }

    let mut stream = caller.listen(&more).await?;
    println!("{:<52}{}", "listening, with a token", stream.status().as_u16());
    let mut first = Vec::new();
    while !first.ends_with(b"\n\n") {
        first.extend_from_slice(&stream.chunk().await?.ok_or("the stream has no event")?);
    }
    if !String::from_utf8_lossy(&first).contains("notifications/subscriptions/acknowledged") {
        return Err("the stream begins with another event".into());
    }
    cut_off();
    while let Some(more) = stream.chunk().await? {
        if more.starts_with(b"data:") {
            return Err("the stream goes on".into());
        }
    }
    println!("{:<52}ended", "the stream, after a cutoff");
    let refused = caller.listen(&more).await?;
    told(refused).await?.expect("listening, with the same token", 401)?;
    Ok(())
}

struct Caller<'a> {
    http: reqwest::Client,
    url: &'a str,
}

struct Answer {
    status: u16,
    challenge: String,
    body: Value,
}

impl Caller<'_> {
    /// Sends one message of the protocol.
    async fn call(&self, method: &str, params: &Value, token: Option<&str>) -> Outcome<Answer> {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self
            .http
            .post(self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(message.to_string());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        answer(request).await
    }

    /// Asks for what changes, as in the revision 2026-07-28. The response stays open.
    async fn listen(&self, token: &str) -> reqwest::Result<Response> {
        let (version, method) = ("2026-07-28", "subscriptions/listen");
        let params = json!({
            "notifications": {"toolsListChanged": true},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        });
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self
            .http
            .post(self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", version)
            .header("mcp-method", method)
            .bearer_auth(token);
        request.body(message.to_string()).send().await
    }

    async fn get(&self, url: &str) -> Outcome<Answer> {
        answer(self.http.get(url)).await
    }

    /// Requests a token for the server with this scope (RFC 6749 §4.4, RFC 8707).
    async fn token(
        &self,
        endpoint: &str,
        (id, secret): (&str, &str),
        scope: &str,
    ) -> Outcome<String> {
        let form = format!(
            "grant_type=client_credentials&scope={}&resource={}",
            encoded(scope),
            encoded(self.url)
        );
        let request = self
            .http
            .post(endpoint)
            .basic_auth(id, Some(secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let granted = answer(request).await?;
        let granted = granted.expect(&format!("a token with the scope {scope}"), 200)?;
        Ok(granted["access_token"].as_str().ok_or("no access token")?.to_owned())
    }
}

impl Answer {
    /// Prints the response, and fails if it has another status.
    fn expect(&self, what: &str, status: u16) -> Outcome<&Value> {
        println!("{what:<52}{} {}", self.status, self.challenge);
        if self.status == status {
            return Ok(&self.body);
        }
        Err(format!("{what}: {} instead of {status}: {}", self.status, self.body).into())
    }

    /// Returns a parameter of the challenge.
    fn parameter(&self, name: &str) -> Outcome<String> {
        let start = format!("{name}=\"");
        let mut parameters = self.challenge.split(", ");
        let value = parameters.find_map(|text| {
            text.trim_start_matches("Bearer ").strip_prefix(&start)?.strip_suffix('"')
        });
        Ok(value.ok_or_else(|| format!("the challenge has no {name}"))?.to_owned())
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Outcome<Answer> {
    told(request.send().await?).await
}

async fn told(response: Response) -> Outcome<Answer> {
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate");
    let challenge =
        challenge.map(|value| value.to_str()).transpose()?.unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    Ok(Answer { status, challenge, body })
}

/// Encodes a form value. The values here have no other characters to encode.
fn encoded(text: &str) -> String {
    text.replace(':', "%3A").replace('/', "%2F").replace(' ', "+")
}
