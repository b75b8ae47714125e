//! What stands between this machine and an authorization server.

use std::error::Error;

use hyper_util::client::proxy::matcher::Matcher;
use tower_introspect::{VerifyError, transport::HttpTransport};

use crate::report::{Failure, Report};

/// The variables that name a proxy, as `reqwest` reads them.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The transport of the library, which a service gets by default.
///
/// # Errors
///
/// If TLS can't be set up.
pub(crate) fn transport() -> Result<HttpTransport, Failure> {
    HttpTransport::reqwest().map_err(|problem| Failure::usage(problem.to_string()))
}

/// Tells of a proxy in the environment, and whether these URLs are reached through it.
pub(crate) fn tell_proxy(report: &mut Report, urls: &[&str]) {
    let said = proxies(urls);
    for line in &said {
        report.line(crate::report::Tone::Warning, line);
    }
    report.set("proxy", said);
}

/// Whether these URLs are reached through a proxy of the environment, if there is one.
pub(crate) fn proxies(urls: &[&str]) -> Vec<String> {
    let set: Vec<_> = VARIABLES
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        .collect();
    if set.is_empty() {
        return Vec::new();
    }
    let matcher = Matcher::from_system();
    let of = |url: &&str| {
        let url: http::Uri = url.parse().ok()?;
        let host = url.host()?;
        Some(match matcher.intercept(&url) {
            // Without its credentials.
            Some(proxy) => {
                let (scheme, proxy) = (proxy.uri().scheme_str(), proxy.uri().authority());
                let proxy =
                    proxy.map(|proxy| proxy.as_str().rsplit('@').next().unwrap_or_default());
                format!(
                    "Proxy: {host} is reached through {}://{}, named in the environment.",
                    scheme.unwrap_or("http"),
                    proxy.unwrap_or_default()
                )
            }
            None => format!("Proxy: {} is set, but is not used for {host}.", set.join(" and ")),
        })
    };
    let mut said: Vec<_> = urls.iter().filter_map(of).collect();
    said.dedup();
    said
}

/// An error with all its causes, on one line each, and what the causes hint at.
pub(crate) fn causes(error: &VerifyError) -> Vec<String> {
    let mut lines = vec![error.to_string()];
    let mut cause = error.source();
    // Bounded: an error may name itself as its source.
    for _ in 0..16 {
        let Some(error) = cause else { break };
        let line = error.to_string();
        if lines.last() != Some(&line) {
            lines.push(line);
        }
        cause = error.source();
    }
    lines
}

/// What to look at, by the words of the causes.
pub(crate) fn hints(causes: &[String]) -> Vec<&'static str> {
    let text = causes.join("\n").to_lowercase();
    [
        ("unknownissuer", "Its certificate is of an authority that this machine does not trust."),
        ("invalidcontenttype", "It does not speak TLS there: `https` for a port of `http`?"),
        ("expired", "Its certificate has expired, or the clock of this machine is wrong."),
        ("notvalidforname", "Its certificate is for another name than the URL has."),
        ("dns", "Its name can't be resolved here."),
        ("refused", "Nothing listens there, or a firewall rejects it."),
        ("elapsed", "It did not answer in time; a firewall may drop the packets."),
        ("timed out", "It did not answer in time; a firewall may drop the packets."),
    ]
    .into_iter()
    .filter(|(word, _)| text.contains(word))
    .map(|(_, hint)| hint)
    .fold(Vec::new(), |mut hints, hint| {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
        hints
    })
}
