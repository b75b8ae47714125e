//! `decode`: what a token says, verified or not. It is not.

use serde_json::{Map, Value, json};
use tower_introspect::{claims::Claims, clock::UnixTime};

use crate::{
    Context,
    input::TokenArgs,
    report::{Exit, Failure, Field, Report, Tone},
    token::{Form, Jws, Kind, Part},
    when,
};

/// Show what a token says, without verifying anything.
///
/// Sends nothing anywhere.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
}

const NOT_VERIFIED: &str = "NOT VERIFIED: nothing below is proven, anyone can write it.";

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let pasted = args.token.read(cx)?;
    let mut report = Report::new("decode", Exit::Accepted);
    report.set("verified", false);
    report.line(Tone::Warning, NOT_VERIFIED);
    report.line(Tone::Plain, "");
    pasted.tell(&mut report);
    if !pasted.remarks.is_empty() {
        report.line(Tone::Plain, "");
    }
    let form = Form::of(&pasted.token);
    tell_kind(&mut report, &Kind::of(&pasted.token, &form));
    match &form {
        Form::Jws(jws) => tell_jws(&mut report, jws, cx.now()),
        Form::Jwe(header) => {
            tell_part(&mut report, "Header", header, cx.now());
            next(
                &mut report,
                &[
                    "The middleware refuses encrypted tokens.",
                    "Have the authorization server issue signed or opaque ones to this service.",
                ],
            );
        }
        Form::Opaque => next(
            &mut report,
            &[
                "Ask its authorization server about it (RFC 7662): `introspect introspect`.",
                "A service that verifies only JWTs refuses it: look at the mode of the issuer.",
            ],
        ),
    }
    report.line(Tone::Plain, "");
    report.line(
        Tone::Warning,
        match form {
            Form::Jws(_) => "NOT VERIFIED: `introspect verify` checks it.",
            Form::Jwe(_) => "NOT VERIFIED: only its recipient can open it.",
            Form::Opaque => "NOT VERIFIED: only its authorization server can tell.",
        },
    );
    Ok(report)
}

pub(crate) fn tell_kind(report: &mut Report, kind: &Kind) {
    report.line(Tone::Plain, format!("It is {}:", kind.words));
    for evidence in &kind.evidence {
        report.item(Tone::Plain, "-", evidence);
    }
    report.set("kind", kind.code);
    report.set("evidence", kind.evidence.clone());
}

fn next(report: &mut Report, lines: &[&str]) {
    report.heading("What next");
    for line in lines {
        report.item(Tone::Plain, "-", *line);
    }
    report.set("next", lines);
}

fn tell_jws(report: &mut Report, jws: &Jws, now: UnixTime) {
    tell_part(report, "Header", &jws.header, now);
    tell_part(report, "Claims", &jws.payload, now);
    report.heading("Signature");
    let length = jws.signature.map_or("none that can be read".to_owned(), |n| format!("{n} bytes"));
    report.fields([Field::new("length", length).remark(Tone::Warning, "not verified")]);
    report.set("signature_bytes", jws.signature);
    let findings = findings(jws, now);
    if !findings.is_empty() {
        report.heading("What stands out");
        for finding in &findings {
            report.item(Tone::Bad, "!", finding);
        }
    }
    report.set("findings", findings);
}

fn tell_part(report: &mut Report, title: &str, part: &Part, now: UnixTime) {
    report.heading(title);
    report.fields(part.members.iter().map(|(name, value)| {
        let field = Field::new(name, shown(value.get()));
        match time_of(name, value.get()) {
            Some(time) => field.remark(Tone::Faint, in_words(name, time, now)),
            None => field,
        }
    }));
    if let Some(problem) = &part.problem {
        report.line(Tone::Bad, format!("  It can't be read further: {problem}"));
    }
    let members: Map<String, Value> = part
        .members
        .iter()
        .map(|(name, value)| (name.clone(), serde_json::from_str(value.get()).unwrap_or_default()))
        .collect();
    report.set(&title.to_lowercase(), json!({ "members": members, "problem": part.problem }));
}

/// A string without its quotes, anything else as it stands.
fn shown(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

/// The claims that are times (RFC 7519 §4.1, OpenID Connect Core 1.0 §2).
fn time_of(name: &str, json: &str) -> Option<UnixTime> {
    let time = ["exp", "nbf", "iat", "auth_time", "updated_at"].contains(&name);
    let seconds = time.then(|| json.parse::<f64>().ok())??;
    // Saturates, as the library does.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    Some(UnixTime::from_secs(seconds as i64))
}

fn in_words(name: &str, time: UnixTime, now: UnixTime) -> String {
    let (date, relative) = (when::date(time), when::relative(time, now));
    let past = time <= now;
    let verb = match name {
        "exp" if past => "expired ",
        "exp" => "expires ",
        "nbf" if past => "valid since ",
        "nbf" => "valid only ",
        "iat" if past => "issued ",
        "iat" => "issued in the future, ",
        "auth_time" => "logged in ",
        _ => "",
    };
    format!("{date}, {verb}{relative}")
}

/// What whoever looks for a fault should see first.
fn findings(jws: &Jws, now: UnixTime) -> Vec<String> {
    let mut found = Vec::new();
    let (header, claims) = (&jws.header, &jws.payload);
    if let Some(cut) = jws.cut {
        found.push(format!("It looks cut off: {cut}."));
    }
    for (title, part) in [("header", header), ("claims", claims)] {
        let mut seen: Vec<&str> = Vec::new();
        for (name, _) in &part.members {
            if seen.contains(&&**name) {
                found.push(format!("The {title} repeat `{name}`: the middleware refuses that."));
            }
            seen.push(name);
        }
    }
    match header.text("alg").as_deref() {
        Some(alg) if alg.eq_ignore_ascii_case("none") => {
            found.push("It is not signed at all (alg none).".to_owned());
        }
        Some(alg) if alg.starts_with("HS") => found.push(format!(
            "{alg} is a shared secret: whoever can verify it can also forge it. Published keys \
             never verify it."
        )),
        None if header.problem.is_none() => found.push("The header names no alg.".to_owned()),
        _ => {}
    }
    for name in ["crit", "b64"] {
        if header.has(name) {
            found.push(format!("The header has `{name}`: the middleware refuses that."));
        }
    }
    for name in ["jwk", "jku", "x5u", "x5c"] {
        if header.has(name) {
            found.push(format!("The header brings its own key (`{name}`), which is ignored."));
        }
    }
    if claims.problem.is_some() {
        return found;
    }
    if let Err(error) = Claims::from_json(claims.text.as_bytes()) {
        found.push(format!("The middleware can't read the claims: {error}."));
    }
    for name in ["iss", "aud", "exp"] {
        if !claims.has(name) {
            found.push(format!("There is no `{name}`, which an access token must have."));
        }
    }
    for name in ["exp", "nbf", "iat"] {
        let Some(time) = claims.get(name).and_then(|value| time_of(name, value.get())) else {
            continue;
        };
        // A thousand times a date of these centuries.
        if time.as_secs() > 100_000_000_000 {
            found.push(format!("`{name}` seems to be in milliseconds; it is in seconds."));
        } else if name == "exp" && time <= now {
            found.push(format!("It expired {}.", when::relative(time, now)));
        } else if name != "exp" && time > now {
            found.push(format!("`{name}` is in the future, {}.", when::relative(time, now)));
        }
    }
    if claims.has("cnf") {
        found.push("It is bound to a key (`cnf`): useless without a proof of that key.".to_owned());
    }
    found
}
