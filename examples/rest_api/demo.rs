//! Requests that demonstrate the application, and the expected responses.

use std::{error::Error, fmt::Write as _, time::Duration};

use reqwest::{Method, Response};
use serde_json::json;
use tower_introspect::{
    clock::{Clock as _, SystemClock},
    test_util::{AuthorizationServer, Client, Endpoint, Opaque, TokenBuilder},
};

use crate::app::{AUDIENCE, WEB_APP};

/// A request and the expected response.
pub(crate) struct Exchange {
    what: &'static str,
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    /// A form, sent with the credentials of the client that may revoke tokens.
    form: Option<String>,
    status: u16,
    /// A header that the response must have, or must not have.
    header: (&'static str, Option<String>),
    /// The body, where it is checked.
    body: Option<&'static str>,
}

impl Exchange {
    /// Expects a success without a challenge by default.
    fn new(method: Method, url: String, what: &'static str) -> Self {
        let (headers, header) = (Vec::new(), ("www-authenticate", None));
        Self { what, method, url, headers, form: None, status: 200, header, body: None }
    }

    fn token(self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Expects this status and a challenge with this text after the realm.
    fn challenged(self, status: u16, challenge: &str) -> Self {
        self.status(status)
            .header("www-authenticate", format!("Bearer realm=\"{AUDIENCE}\"{challenge}"))
    }

    fn header(self, name: &'static str, value: impl Into<String>) -> Self {
        Self { header: (name, Some(value.into())), ..self }
    }

    fn body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Returns a curl line for a shell, after two comment lines with the description and the
    /// response.
    pub(crate) fn curl(&self) -> String {
        let mut line = format!("# {}\n# {}", self.what, self.status);
        if let (name, Some(value)) = &self.header {
            // Writing to a string can't fail.
            let _ = write!(line, ", {name}: {value}");
        }
        line.push_str("\ncurl -i");
        match self.method {
            Method::GET => {}
            Method::HEAD => line.push_str(" --head"),
            // curl sends a form by POST.
            Method::POST if self.form.is_some() => {}
            _ => line.extend([" -X ", self.method.as_str()]),
        }
        for (name, value) in &self.headers {
            let _ = write!(line, " -H '{name}: {value}'");
        }
        if let Some(form) = &self.form {
            let _ = write!(line, " -u {CLIENT}:{SECRET} -d {form}");
        }
        line + " " + &self.url
    }

    /// Sends the request. Returns the difference of the response to the expected one, if there is
    /// any.
    async fn differs(&self, http: &reqwest::Client) -> Result<Option<String>, reqwest::Error> {
        let mut request = http.request(self.method.clone(), &self.url);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(form) = &self.form {
            let form = form.clone();
            request = request
                .basic_auth(CLIENT, Some(SECRET))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let (name, told) = &self.header;
        let header = header(&response, name);
        let body = response.text().await?;
        Ok(if status != self.status {
            Some(format!("the status is {status}"))
        } else if header != *told {
            Some(format!("{name} is {header:?} and not {told:?}"))
        } else if self.body.is_some_and(|told| told != body) {
            Some(format!("the body is {body:?}"))
        } else {
            None
        })
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Sends all requests, prints the outcome of each, and fails if a response is not as expected.
pub(crate) async fn check(exchanges: &[Exchange]) -> Result<(), Box<dyn Error>> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
    let mut wrong = 0;
    for exchange in exchanges {
        let told = exchange.status;
        let difference = exchange.differs(&http).await?;
        wrong += usize::from(difference.is_some());
        match difference {
            None => println!("{told}  {}", exchange.what),
            Some(difference) => println!("{told}  {}: WRONG, {difference}", exchange.what),
        }
    }
    if wrong > 0 {
        return Err(format!("{wrong} of {} answers are not as told", exchanges.len()).into());
    }
    println!("all {} answers are as told", exchanges.len());
    Ok(())
}

/// The client of the tokens, which may revoke them.
const CLIENT: &str = "client";
const SECRET: &str = "s3cret";

/// Issues the tokens, and returns the requests to `base` with them.
///
/// The order matters: one request revokes a token.
pub(crate) fn exchanges(base: &str, authority: &AuthorizationServer) -> Vec<Exchange> {
    authority.register(Client::new(CLIENT, SECRET));
    let customer = |token: TokenBuilder<Opaque>| {
        token.audience(AUDIENCE).claim("name", "A. Customer").claim("tenant", 7)
    };
    let alice = || customer(authority.opaque()).subject("alice").scope("payments:read");
    let now = SystemClock.now().as_secs();
    for token in [
        alice().text("alice"),
        alice().text("alice-mfa").claim("acr", "mfa").claim("auth_time", now),
        alice().text("alice-mfa-earlier").claim("acr", "mfa").claim("auth_time", now - 3600),
        customer(authority.opaque()).text("root").subject("root").scope("payments"),
        customer(authority.opaque()).text("carol").subject("carol").scope("payments:write"),
        authority.opaque().audience(AUDIENCE).text("bob").subject("bob"),
        authority.opaque().audience("https://other.example.com").text("elsewhere"),
    ] {
        let _ = token.mint();
    }
    let jwt = authority.jwt().audience(AUDIENCE).scope("payments:read").claim("acr", json!("pwd"));

    let get = |path: &str, what| Exchange::new(Method::GET, format!("{base}{path}"), what);
    let post = |path: &str, what| Exchange::new(Method::POST, format!("{base}{path}"), what);
    let scope = |scope: &str| format!(", error=\"insufficient_scope\", scope=\"{scope}\"");
    let invalid = ", error=\"invalid_token\"";
    let step_up = |what: &str| format!(", error=\"insufficient_user_authentication\", {what}");
    vec![
        get("/health", "a public route").body("ok"),
        get("/ready", "whether tokens can be verified"),
        get("/", "an optional token: none").body("hello, whoever you are"),
        get("/", "an optional token: that of alice").token("alice").body("hello, alice"),
        get("/", "an optional token: none that is known")
            .token("nonsense")
            .challenged(401, invalid),
        get("/payments", "a scope: no token").challenged(401, ""),
        get("/payments", "a scope: alice has it").token("alice").body("the payments of alice"),
        get("/payments", "a scope: in a JWT").token(&jwt.mint()).body("the payments of alice"),
        get("/payments", "a scope: root has one that implies it").token("root"),
        get("/payments", "a scope: bob has none")
            .token("bob")
            .challenged(403, &scope("payments:read"))
            .body(NO_SCOPE),
        get("/payments", "a token for another API").token("elsewhere").challenged(401, invalid),
        post("/payments", "a scope as a type: alice may only read")
            .token("alice")
            .challenged(403, &scope("payments:write")),
        post("/payments", "a scope as a type: root may").token("root").status(201),
        get("/me", "claims as a type").token("alice"),
        get("/me", "claims as a type: the token of bob has none of them").token("bob").status(403),
        get("/tenants/7", "a decision of the handler: alice is of this tenant")
            .token("alice")
            .body("the data of tenant 7"),
        get("/tenants/8", "a decision of the handler: not of this one")
            .token("alice")
            .status(403)
            .body(DENIED),
        get("/statements", "a second factor: alice has not shown it")
            .token("alice")
            .challenged(401, &step_up("acr_values=\"mfa\", max_age=\"300\"")),
        get("/statements", "a second factor: an hour ago")
            .token("alice-mfa-earlier")
            .challenged(401, &step_up("acr_values=\"mfa\", max_age=\"300\"")),
        get("/statements", "a second factor: now, good for five minutes").token("alice-mfa"),
        get("/export", "a scope to come: alice does not have it yet").token("alice"),
        post("/transfers", "the issuer is asked each time: carol may").token("carol").status(201),
        revoke(authority, "carol"),
        post("/transfers", "the issuer is asked each time: not any more")
            .token("carol")
            .challenged(401, invalid),
        Exchange::new(Method::OPTIONS, format!("{base}/payments"), "a browser asks beforehand")
            .with("origin", WEB_APP)
            .with("access-control-request-method", "GET")
            .with("access-control-request-headers", "authorization")
            .header("access-control-allow-headers", "authorization,content-type"),
        get("/payments", "a script may read the challenge")
            .with("origin", WEB_APP)
            .status(401)
            .header("access-control-expose-headers", "www-authenticate,retry-after"),
        Exchange::new(Method::HEAD, format!("{base}/payments"), "HEAD is like GET")
            .challenged(401, ""),
        get("/elsewhere", "no such route").status(404),
    ]
}

const NO_SCOPE: &str = concat!(
    r#"{"type":"about:blank","title":"Forbidden","status":403,"#,
    r#""detail":"insufficient scope","error":"insufficient_scope"}"#
);

const DENIED: &str =
    r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"permission denied"}"#;

/// Returns a revocation request to the issuer (RFC 7009).
fn revoke(authority: &AuthorizationServer, token: &str) -> Exchange {
    let url = authority.url(Endpoint::Revocation);
    let form = Some(format!("token={token}"));
    Exchange { form, ..Exchange::new(Method::POST, url, "the issuer revokes the token of carol") }
}
