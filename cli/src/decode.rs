//! `decode` shows the contents of a token without verifying it.

use serde_json::{Map, Value, json, value::RawValue};
use tower_introspect::{claims::Claims, clock::UnixTime};

use crate::{
    Context,
    input::TokenArgs,
    json::repeated,
    report::{Exit, Failure, Field, Report, Tone},
    token::{Form, Jws, Kind, Part},
    when,
};

/// Show the contents of a token without verifying it.
///
/// Sends no requests.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
}

const NOT_VERIFIED: &str = "NOT VERIFIED: anyone can write a token with these contents.";

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let pasted = args.token.read(cx)?;
    let mut report = Report::new("decode", Exit::Accepted);
    report.set("verified", false);
    report.line(Tone::Warning, NOT_VERIFIED);
    let kind = Kind::of(&pasted.token);
    let form = &kind.form;
    let this = if let Form::Jws(_) = form { "If it is genuine, this is" } else { "This is" };
    report.line(Tone::Plain, format!("{this} {}:", kind.description));
    for evidence in &kind.evidence {
        report.item(Tone::Plain, "-", evidence);
    }
    let next = match form {
        Form::Jws(jws) if jws.cut.is_some() || kind.code == "jwt" => {
            "paste the whole token: this one is cut off or damaged."
        }
        _ => next_step(kind.code),
    };
    report.line(Tone::Plain, format!("Next: {next}"));
    pasted.report_cleanups(&mut report);
    report.set("kind", kind.code);
    report.set("evidence", &*kind.evidence);
    report.set("next", next);
    match form {
        Form::Jws(jws) => report_jws(&mut report, jws, cx.now()),
        Form::Jwe(header) => report_part(&mut report, "Header", header, cx.now()),
        Form::Opaque => {}
    }
    report.line(Tone::Plain, "");
    report.line(Tone::Warning, NOT_VERIFIED);
    Ok(report)
}

/// Returns what to do with a token of this kind.
fn next_step(kind: &str) -> &'static str {
    match kind {
        "access_token" => "`introspect verify` verifies it.",
        "dpop_proof" => {
            "it goes into the header `DPoP`, beside the access token in `Authorization`."
        }
        "unmarked" => {
            "have the client send an access token. A service that verifies JWTs refuses this one, unless \
             `danger_accept_unmarked_jwts` or the profile `service_identity` is set for its issuer."
        }
        "opaque" | "jwe" => {
            "`introspect introspect` asks its authorization server. The modes `introspect`, `hybrid` and \
             `jwt_and_introspect` do so too, and can admit it; mode `jwt` refuses it."
        }
        "refresh_token" => "have the client send the access token that came with it.",
        _ => "have the client send an access token instead.",
    }
}

fn report_jws(report: &mut Report, jws: &Jws, now: UnixTime) {
    let findings = findings(jws, now);
    for finding in &findings {
        report.item(Tone::Bad, "!", finding);
    }
    report.set("findings", findings);
    report_part(report, "Header", &jws.header, now);
    report_part(report, "Claims", &jws.payload, now);
    report.heading("Signature");
    let length = jws.signature.map_or("not readable".to_owned(), |n| format!("{n} bytes"));
    report.fields([Field::new("length", length).remark(Tone::Warning, "not verified")]);
    report.set("signature_bytes", jws.signature);
}

fn report_part(report: &mut Report, title: &str, part: &Part, now: UnixTime) {
    report.heading(title);
    report.fields(part.members.iter().map(|(name, value)| {
        let time = time_claim(name, value.get()).map(|time| describe_time(name, time, now));
        let remark = time.map(|time| (Tone::Faint, time));
        Field { remark, ..Field::new(name, unquoted(value.get())) }
    }));
    if let Some(problem) = &part.problem {
        report.line(Tone::Bad, format!("  The rest can't be read: {problem}"));
    }
    // No number of a token is too large for `RawValue`, but some are for `Value`.
    let value = |value: &RawValue| serde_json::from_str::<Value>(value.get()).unwrap_or_default();
    let members: Map<_, _> =
        part.members.iter().map(|(name, text)| (name.clone(), value(text))).collect();
    report.set(&title.to_lowercase(), json!({ "members": members, "problem": part.problem }));
}

/// Returns the value of a JSON string, and other JSON unchanged.
fn unquoted(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

/// Returns the value of a claim that is a time (RFC 7519 §4.1, OpenID Connect Core 1.0 §2).
fn time_claim(name: &str, json: &str) -> Option<UnixTime> {
    let time = ["exp", "nbf", "iat", "auth_time", "updated_at"].contains(&name);
    let seconds = time.then(|| json.parse::<f64>().ok())??;
    // Saturates, as the library does.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    Some(UnixTime::from_secs(seconds as i64))
}

fn describe_time(name: &str, time: UnixTime, now: UnixTime) -> String {
    let (date, relative) = (when::date(time), when::relative(time, now));
    let past = time <= now;
    let verb = match name {
        "exp" if past => "expired ",
        "exp" => "expires ",
        "nbf" if past => "valid since ",
        "nbf" => "not valid before then, ",
        "iat" if past => "issued ",
        "iat" => "issued in the future, ",
        "auth_time" => "logged in ",
        _ => "",
    };
    format!("{date}, {verb}{relative}")
}

/// Returns the likely reasons for a refusal.
fn findings(jws: &Jws, now: UnixTime) -> Vec<String> {
    let mut found = Vec::new();
    let (header, claims) = (&jws.header, &jws.payload);
    if let Some(cut) = jws.cut {
        found.push(format!("The token looks cut off: {cut}."));
    }
    for (title, part) in [("header", header), ("claims", claims)] {
        for name in repeated(&part.members) {
            found
                .push(format!("`{name}` is repeated in the {title}: the middleware refuses that."));
        }
    }
    match header.text("alg").as_deref() {
        Some(alg) if alg.eq_ignore_ascii_case("none") => {
            found.push("The token is not signed (alg none).".to_owned());
        }
        Some(alg) if alg.starts_with("HS") => found.push(format!(
            "{alg} uses a shared secret: a service that can verify such tokens can also forge \
             them. Published keys never verify them."
        )),
        None if header.problem.is_none() => found.push("The header names no alg.".to_owned()),
        _ => {}
    }
    for name in ["crit", "b64"].into_iter().filter(|name| header.has(name)) {
        found.push(format!("The header has `{name}`: the middleware refuses that."));
    }
    for name in ["jwk", "jku", "x5u", "x5c"].into_iter().filter(|name| header.has(name)) {
        found.push(format!("The header has its own key (`{name}`), which is ignored."));
    }
    if claims.problem.is_some() {
        return found;
    }
    if let Err(error) = Claims::from_json(claims.text.as_bytes()) {
        found.push(format!("The middleware refuses the claims: {error}."));
    }
    for name in ["iss", "aud", "exp"].into_iter().filter(|name| !claims.has(name)) {
        found.push(format!("There is no `{name}`, which an access token must have."));
    }
    for name in ["exp", "nbf", "iat"] {
        let Some(time) = claims.get(name).and_then(|value| time_claim(name, value.get())) else {
            continue;
        };
        // The year 5138 in seconds, the year 1973 in milliseconds.
        if time.as_secs() > 100_000_000_000 {
            found.push(format!("`{name}` seems to be in milliseconds, but must be in seconds."));
        } else if name == "exp" && time <= now {
            found.push(format!("The token expired {}.", when::relative(time, now)));
        } else if name != "exp" && time > now {
            found.push(format!("`{name}` is in the future, {}.", when::relative(time, now)));
        }
    }
    if claims.has("cnf") {
        let text = "The token is bound to a key (`cnf`): requests with it must prove possession of \
                    that key.";
        found.push(text.to_owned());
    }
    found
}
