//! `keys`: what is wrong with published keys.

pub(crate) mod jwk;
pub(crate) mod known;
pub(crate) mod set;

use std::path::Path;

use http::{Response, StatusCode, Uri, header};
use serde_json::json;

use self::{jwk::Key, set::Set};
use crate::{
    Context,
    finding::{self, Findings},
    input,
    net::{Exchange, NetArgs, Wire},
    report::{Failure, Field, Report, Tone},
    when,
};

/// The most bytes of a JWK Set that the library takes.
pub(crate) const LIMIT: usize = 512 * 1024;

/// What is asked for, as the library does.
pub(crate) const ACCEPT: &str = "application/jwk-set+json, application/json";

/// Look at keys.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Lint(LintArgs),
}

/// Check a JWK Set, a JWK, or keys and certificates in PEM.
///
/// Says which keys the library uses and why not the others, and what is dangerous about them.
#[derive(clap::Args)]
struct LintArgs {
    /// A file, an https URL, or `-` for standard input.
    #[arg(value_name = "FILE|URL")]
    from: String,
    /// Warn of what expires within so many days.
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    warn_days: u32,
    /// Let warnings count.
    #[arg(long)]
    strict: bool,
    /// Take `http` URLs of this machine.
    #[arg(long)]
    danger_allow_http_loopback: bool,
    #[command(flatten)]
    net: NetArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    match &args.command {
        Command::Lint(args) => lint(args, cx),
    }
}

fn lint(args: &LintArgs, cx: &Context) -> Result<Report, Failure> {
    let mut findings = Findings::default();
    let text = if args.from.contains("://") {
        let fetched = fetch(args, cx)?;
        answered(&fetched, &mut findings);
        fetched.response().map(|response| response.body().to_vec())
    } else if args.from == "-" {
        Some(input::all_of_standard_input()?)
    } else {
        Some(input::file(Path::new(&args.from))?)
    };
    let fetched = finding::exit([&findings], false) == crate::report::Exit::Accepted;
    let set = match text {
        Some(text) if fetched => Set::read(&text, cx.now(), args.warn_days),
        _ => Set::default(),
    };

    let exit = finding::exit([&findings].into_iter().chain(set.all()), args.strict);
    let mut report = Report::new("keys lint", exit);
    report.line(Tone::Plain, format!("Keys of {}", crate::net::public(&args.from)));
    findings.tell(&mut report);
    tell(&mut report, &set, cx);
    report.set("source", crate::net::public(&args.from));
    report.set("fetching", findings.to_json());
    report.set("findings", set.findings.to_json());
    report.set("keys", set.keys.iter().map(Key::to_json).collect::<Vec<_>>());
    Ok(report)
}

/// Shows the keys, each with what is wrong with it.
pub(crate) fn tell(report: &mut Report, set: &Set, cx: &Context) {
    set.findings.tell(report);
    for key in &set.keys {
        report.heading(key.title());
        let mut fields: Vec<_> =
            key.facts.iter().map(|(name, value)| Field::new(*name, value)).collect();
        if let Some(certificate) = &key.certificate {
            let until = certificate.not_after;
            let field = Field::new("certificate until", when::date(until));
            fields.push(field.remark(Tone::Faint, when::relative(until, cx.now())));
        }
        report.fields(fields);
        key.findings.tell(report);
    }
}

fn fetch(args: &LintArgs, cx: &Context) -> Result<Exchange, Failure> {
    let uri: Uri = args.from.parse().map_err(|_| Failure::usage("it is no URL"))?;
    let host = uri.host().unwrap_or_default().to_owned();
    let local = ["127.0.0.1", "localhost", "[::1]"].contains(&&*host);
    let taken = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => local && args.danger_allow_http_loopback,
        _ => false,
    };
    if !taken {
        return Err(Failure::usage("keys are fetched from https URLs")
            .hint("`http` is taken for this machine only, with --danger-allow-http-loopback"));
    }
    let wire = Wire::new(&args.net)?;
    cx.wait(&format!("fetching keys from {host}"), wire.get(uri, ACCEPT, LIMIT))?;
    wire.take().pop().ok_or_else(|| Failure::usage("nothing was fetched"))
}

/// What the answer to a request for keys says, before the keys themselves.
pub(crate) fn answered(exchange: &Exchange, findings: &mut Findings) {
    let response = match &exchange.outcome {
        Some(Ok(response)) => response,
        Some(Err(trouble)) if trouble.is_tls() => {
            return findings.bad("tls", trouble.words());
        }
        Some(Err(trouble))
            if trouble.kind == tower_introspect::transport::TransportErrorKind::TooLarge =>
        {
            return findings.bad("keys_too_large", format!("it is larger than {LIMIT} bytes"));
        }
        Some(Err(trouble)) => return findings.unknown("unreachable", trouble.words()),
        None => return findings.unknown("unreachable", "no answer in time"),
    };
    let status = response.status();
    if status.is_redirection() {
        let to = text(response, &header::LOCATION);
        return findings.bad(
            "keys_redirect",
            format!(
                "it answers {} and sends elsewhere ({to}): redirects are not followed",
                status.as_u16()
            ),
        );
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return findings.unknown("keys_status", format!("it answers {status}"));
    }
    if status != StatusCode::OK {
        return findings.bad("keys_status", format!("it answers {status}"));
    }
    let millis = exchange.millis();
    findings.good(
        "keys_fetched",
        format!("it answers with {} bytes in {millis} ms", response.body().len()),
    );
    caching(response, findings);
}

fn caching(response: &Response<bytes::Bytes>, findings: &mut Findings) {
    let cache_control = text(response, &header::CACHE_CONTROL);
    let etag = response.headers().contains_key(header::ETAG);
    let kind = text(response, &header::CONTENT_TYPE);
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/jwk-set+json", "application/json"].contains(&&*essence) {
        let kind = if kind.is_empty() { "none" } else { &kind };
        findings.note(
            "keys_content_type",
            format!("its content type is {kind}; the library does not mind"),
        );
    }
    if cache_control.is_empty() {
        let has =
            if etag { "no Cache-Control, but an ETag" } else { "neither Cache-Control nor ETag" };
        findings.note(
            "keys_no_cache_headers",
            format!("its answer has {has}: the library fetches keys every 10 min"),
        );
        return;
    }
    findings.note("keys_cache_control", format!("Cache-Control: {cache_control}"));
    let age = cache_control
        .split(',')
        .filter_map(|part| part.trim().strip_prefix("max-age="))
        .find_map(|age| age.parse::<u64>().ok());
    if let Some(age) = age.filter(|age| *age > 86_400) {
        findings.warn(
            "keys_cached_long",
            format!(
                "keys may be kept for {}: the library keeps them for 24 h at most, others may be \
                 slow to notice a withdrawn key",
                when::span(age.into())
            ),
        );
    }
}

pub(crate) fn text(response: &Response<bytes::Bytes>, name: &http::HeaderName) -> String {
    let value = response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.map(|value| value.chars().take(256).collect()).unwrap_or_default()
}

impl Key {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let facts: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect();
        json!({
            "kid": self.kid,
            "thumbprint": self.thumbprint,
            "used": self.used,
            "certificate_expires": self.certificate.as_ref().map(|one| when::date(one.not_after)),
            "facts": facts,
            "findings": self.findings.to_json(),
        })
    }
}
