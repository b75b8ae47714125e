//! Explains the causes of errors: certificates, TLS, host names and connections.

use std::error::Error;

/// Returns the messages of an error and of its causes.
pub(crate) fn chain(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut cause = error.source();
    // Bounded: an error may name itself as its source.
    for _ in 0..16 {
        let Some(error) = cause else { break };
        let message = error.to_string();
        // Wrappers repeat the message of what they wrap.
        if messages.last() != Some(&message) {
            messages.push(message);
        }
        cause = error.source();
    }
    messages
}

/// Returns sentences that explain these messages.
pub(crate) fn hints(chain: &[String]) -> Vec<String> {
    let text = chain.join("\n").to_lowercase();
    let connection =
        CONNECTION.iter().filter(|(word, _)| text.contains(word)).map(|(_, problem)| *problem);
    let tls = tls_problem(chain).map(|(problem, _)| problem);
    let mut problems: Vec<&str> = tls.into_iter().chain(connection).collect();
    problems.dedup();
    problems.into_iter().map(sentence).collect()
}

/// Returns the problem with TLS or a certificate, and the option that solves it, if there is one.
pub(crate) fn tls_problem(chain: &[String]) -> Option<(&'static str, Option<&'static str>)> {
    let text = chain.join("\n").to_lowercase().replace(' ', "");
    let (_, problem, option) = TLS.iter().find(|(word, ..)| text.contains(word))?;
    Some((problem, *option))
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

/// Words in errors of the TLS library, in lower case without spaces, with the problems and the
/// options that solve them. The first match counts.
const TLS: [(&str, &str, Option<&str>); 11] = [
    (
        "withoutcertificatesofauthorities",
        "this machine has no certificates of authorities, so no server can be verified",
        Some("`--ca` adds authorities"),
    ),
    (
        "expired",
        "the certificate of the server has expired, or the clock of this machine is wrong",
        None,
    ),
    (
        "notvalidyet",
        "the certificate of the server is not valid yet, or the clock of this machine is wrong",
        None,
    ),
    ("notvalidforname", "the certificate of the server is for another name than the URL has", None),
    (
        "unknownissuer",
        "the certificate of the server is from an authority that is not trusted, or the server \
         does not send an intermediate certificate",
        Some("`--ca` adds authorities"),
    ),
    (
        "causedasendentity",
        "the server shows the certificate of an authority as its own certificate",
        None,
    ),
    ("certificate:revoked", "the certificate of the server is revoked", None),
    ("invalidpeercertificate", "the certificate of the server is refused", None),
    (
        "certificaterequired",
        "the server requires a client certificate",
        Some("`--identity` adds one"),
    ),
    ("invalidcontenttype", "the server does not speak TLS on this port", None),
    ("receivedfatalalert", "the server refuses the TLS connection", None),
];

/// Words in errors of connections, in lower case, with the problems.
const CONNECTION: [(&str, &str); 4] = [
    ("dns", "the host name can't be resolved here"),
    ("refused", "nothing listens there, or a firewall rejects the connection"),
    ("elapsed", NO_RESPONSE),
    ("timed out", NO_RESPONSE),
];

const NO_RESPONSE: &str = "the server did not respond in time; a firewall may drop the packets";
