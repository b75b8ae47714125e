//! `keys lint` checks published keys.

pub(crate) mod jwk;
mod known;
pub(crate) mod set;

use std::{collections::BTreeMap, path::Path};

use http::{Response, StatusCode, Uri, header};
use serde_json::json;
use tower_introspect::{inspect, transport::TransportErrorKind};

use self::{
    jwk::Key,
    set::{Set, Settings},
};
use crate::{
    Context,
    exchange::header_text,
    finding::{self, Findings, Today},
    input,
    net::{Exchange, LOOPBACK_HINT, NetArgs, RecordingTransport, is_allowed, redact_userinfo},
    report::{Exit, Failure, Field, Report, Tone},
    when,
};

/// The most bytes of a JWK Set that the library accepts.
const LIMIT: usize = 512 * 1024;

/// The interval in seconds below which keys are fetched often.
const OFTEN: u64 = 120;

/// The header `Accept` of the library's requests for keys.
const ACCEPT: &str = "application/jwk-set+json, application/json";

/// The byte order mark, in UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The problem of a text that begins with one.
const MARKED: &str = "it begins with a byte order mark, which JSON does not allow (RFC 8259 §8.1): \
                      the library refuses it";

/// Check keys.
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
/// Shows which keys the library uses, why it does not use the others, and which are unsafe.
#[derive(clap::Args)]
struct LintArgs {
    /// A file, an https URL, or `-` for standard input.
    #[arg(value_name = "FILE|URL")]
    from: String,
    /// Warn of keys and certificates that expire within this many days.
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    warn_days: u32,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    strict: bool,
    /// Allow `http` URLs of this machine.
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
        check_response(&fetched, &mut findings);
        fetched.response().map(|response| response.body().to_vec())
    } else if args.from == "-" {
        Some(input::standard_input()?)
    } else {
        Some(input::file(Path::new(&args.from))?)
    };
    let fetched = finding::exit([&findings], false) == Exit::Accepted;
    let today = Today { now: cx.now(), warn_days: args.warn_days };
    let set = match text {
        Some(text) if fetched => Set::read(&text, today, Settings::default()),
        _ => Set::default(),
    };

    let exit = finding::exit([&findings].into_iter().chain(set.all_findings()), args.strict);
    let mut report = Report::new("keys lint", exit);
    let source = redact_userinfo(&args.from);
    report.line(Tone::Plain, format!("Keys from {source}"));
    findings.report_to(&mut report);
    report_keys(&mut report, &set, cx);
    report.set("source", source);
    report.set("fetching", json!(findings));
    report.set("findings", json!(set.findings));
    report.set("keys", set.keys.iter().map(Key::to_json).collect::<Vec<_>>());
    Ok(report)
}

/// Reports the keys, each with its findings.
fn report_keys(report: &mut Report, set: &Set, cx: &Context) {
    set.findings.report_to(report);
    for key in &set.keys {
        report.heading(key.title());
        let certificate = key.certificate.as_ref().map(|certificate| {
            let until = certificate.not_after;
            let field = Field::new("certificate until", when::date(until));
            field.remark(Tone::Faint, when::relative(until, cx.now()))
        });
        let facts = key.facts.iter().map(|(name, value)| Field::new(*name, value));
        report.fields(facts.chain(certificate));
        key.findings.report_to(report);
    }
}

fn fetch(args: &LintArgs, cx: &Context) -> Result<Exchange, Failure> {
    let uri: Uri = args.from.parse().map_err(|_| Failure::usage("this is not a URL"))?;
    if !is_allowed(&uri, args.danger_allow_http_loopback) {
        return Err(Failure::usage("keys are fetched from https URLs only").hint(LOOPBACK_HINT));
    }
    let host = uri.host().unwrap_or_default().to_owned();
    let transport = RecordingTransport::new(&args.net, None)?;
    cx.wait(&format!("fetching keys from {host}"), transport.get(uri, ACCEPT, LIMIT))?;
    transport.take().pop().ok_or_else(|| Failure::usage("nothing was fetched"))
}

/// Checks the status and the headers of a response with keys.
pub(crate) fn check_response(exchange: &Exchange, findings: &mut Findings) {
    let response = match &exchange.outcome {
        Some(Ok(response)) => response,
        Some(Err(error)) if error.is_tls() => return findings.bad("tls").text(error.describe()),
        Some(Err(error)) if error.kind == TransportErrorKind::TooLarge => {
            let text = format!("the response is larger than {LIMIT} bytes");
            return findings.bad("keys_too_large").text(text);
        }
        Some(Err(error)) => return findings.unknown("unreachable").text(error.describe()),
        None => return findings.unknown("unreachable").text("no response in time"),
    };
    let status = response.status();
    if status.is_redirection() {
        let to = header_text(response, &header::LOCATION);
        return findings.bad("keys_redirect").text(format!(
            "the response is a redirect ({}) to {to}: redirects are not followed",
            status.as_u16()
        ));
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return findings.unknown("keys_status").text(format!("the response is {status}"));
    }
    if status != StatusCode::OK {
        return findings.bad("keys_status").text(format!("the response is {status}"));
    }
    let millis = exchange.millis();
    let text = format!("the response has {} bytes and took {millis} ms", response.body().len());
    findings.good("keys_fetched").text(text);
    if let Some(problem) = encoding_problem(response) {
        findings.bad("keys_encoded").text(problem);
    }
    check_caching(response, findings);
}

/// Returns the problem of a body with a content coding or a byte order mark, which the library refuses.
pub(crate) fn encoding_problem(response: &Response<bytes::Bytes>) -> Option<String> {
    let coding = header_text(response, &header::CONTENT_ENCODING);
    if !coding.is_empty() && !coding.trim().eq_ignore_ascii_case("identity") {
        return Some(format!(
            "the response has the content coding `{coding}`, although none was asked for: the \
             library refuses it"
        ));
    }
    response.body().starts_with(BYTE_ORDER_MARK.as_bytes()).then(|| MARKED.to_owned())
}

fn check_caching(response: &Response<bytes::Bytes>, findings: &mut Findings) {
    let cache_control = header_text(response, &header::CACHE_CONTROL);
    let etag = response.headers().contains_key(header::ETAG);
    let kind = header_text(response, &header::CONTENT_TYPE);
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/jwk-set+json", "application/json"].contains(&&*essence) {
        let kind = if kind.is_empty() { "none" } else { &kind };
        let text = format!("the content type is {kind}; the library accepts any");
        findings.note("keys_content_type").text(text);
    }
    let every = inspect::keys_fetched_again_after(response.headers()).as_secs();
    let span = when::span(every.into());
    if cache_control.is_empty() {
        let has =
            if etag { "no Cache-Control, but an ETag" } else { "neither Cache-Control nor ETag" };
        let text = format!("the response has {has}: the library fetches keys in use every {span}");
        findings.note("keys_no_cache_headers").text(text);
        return;
    }
    let said = format!("`Cache-Control: {cache_control}`");
    if every < OFTEN {
        let cost = match etag {
            true => "which costs little, because they have an ETag",
            false => "each time in full",
        };
        findings.warn("keys_fetched_often").text(format!(
            "{said}: the library fetches keys in use every {span}, {} times a day for each \
             process, {cost}",
            86_400 / every.max(1)
        ));
        findings.change(
            "`Cache-Control: max-age=600` for the keys, at the authorization server. If it can't, \
             nothing: the service works, and there is no setting for this",
        );
        return;
    }
    let text = format!("{said}: the library fetches keys in use every {span}");
    findings.note("keys_cache_control").text(text);
    let ages = cache_control.split(',').filter_map(|part| part.trim().strip_prefix("max-age="));
    let age = ages.filter_map(|age| age.parse::<u64>().ok()).next();
    if let Some(age) = age.filter(|age| *age > 86_400) {
        findings.warn("keys_cached_long").text(format!(
            "keys may be cached for {}: the library caches them for at most 24 h, but other \
             services may trust a withdrawn key for that long",
            when::span(age.into())
        ));
    }
}

impl Key {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({
            "kid": self.kid,
            "thumbprint": self.thumbprint,
            "used": self.used,
            "certificate_expires": self.certificate.as_ref().map(|one| when::date(one.not_after)),
            "facts": BTreeMap::from_iter(self.facts.clone()),
            "findings": self.findings,
        })
    }
}
