//! Reports the proxies of the environment.

use hyper_util::client::proxy::matcher::Matcher;
use tower_introspect::inspect::Settings;

use crate::report::{Report, Tone};

/// The variables that name a proxy, as `reqwest` reads them.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Reports the proxy of the environment, and whether requests to these URLs use it.
pub(crate) fn report_proxies(report: &mut Report, urls: &[&str]) {
    let lines = proxies(urls);
    for line in &lines {
        report.line(Tone::Warning, line);
    }
    report.set("proxy", lines);
}

/// Describes the proxy that requests of a service to these URLs use, if there is one.
pub(crate) fn proxies_of_service(settings: &Settings, urls: &[&str]) -> Vec<String> {
    match &settings.proxy {
        Some(url) => {
            let line = format!("Proxy: all requests go through {url}, the `proxy` of [transport].");
            vec![line]
        }
        None if settings.without_proxy => Vec::new(),
        None => proxies(urls),
    }
}

/// Describes whether requests to these URLs use a proxy of the environment, if there is one.
pub(crate) fn proxies(urls: &[&str]) -> Vec<String> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let set: Vec<_> = VARIABLES.into_iter().filter(is_set).collect();
    if set.is_empty() {
        return Vec::new();
    }
    let matcher = Matcher::from_system();
    let describe = |url: &&str| {
        let url: http::Uri = url.parse().ok()?;
        let host = url.host()?;
        let Some(proxy) = matcher.intercept(&url) else {
            let set = set.join(" and ");
            return Some(format!("Proxy: {set} is set, but is not used for {host}."));
        };
        let scheme = proxy.uri().scheme_str().unwrap_or("http");
        let authority = proxy.uri().authority()?.as_str();
        // Without its credentials.
        let proxy = authority.rsplit('@').next()?;
        let named = "named in the environment";
        Some(format!("Proxy: {host} is reached through {scheme}://{proxy}, {named}."))
    };
    let mut lines: Vec<_> = urls.iter().filter_map(describe).collect();
    lines.dedup();
    lines
}
