//! `decode` shows the contents of a token without verifying it.

use serde_json::{Map, Value, json};
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
    report.line(Tone::Plain, "");
    pasted.report_cleanups(&mut report);
    if !pasted.cleanups.is_empty() {
        report.line(Tone::Plain, "");
    }
    let form = Form::of(&pasted.token);
    report_kind(&mut report, &Kind::of(&pasted.token, &form));
    match &form {
        Form::Jws(jws) => report_jws(&mut report, jws, cx.now()),
        Form::Jwe(header) => {
            report_part(&mut report, "Header", header, cx.now());
            report_next_steps(
                &mut report,
                &[
                    "The middleware refuses encrypted tokens.",
                    "Have the authorization server issue signed or opaque tokens to this service.",
                ],
            );
        }
        Form::Opaque => report_next_steps(
            &mut report,
            &[
                "Introspect it at its authorization server (RFC 7662): `introspect introspect`.",
                "A service that verifies only JWTs refuses it: check the `mode` of the issuer.",
            ],
        ),
    }
    report.line(Tone::Plain, "");
    report.line(
        Tone::Warning,
        match form {
            Form::Jws(_) => "NOT VERIFIED: `introspect verify` verifies it.",
            Form::Jwe(_) => "NOT VERIFIED: only its recipient can decrypt it.",
            Form::Opaque => "NOT VERIFIED: only its authorization server can verify it.",
        },
    );
    Ok(report)
}

fn report_kind(report: &mut Report, kind: &Kind) {
    report.line(Tone::Plain, format!("This is {}:", kind.description));
    for evidence in &kind.evidence {
        report.item(Tone::Plain, "-", evidence);
    }
    report.set("kind", kind.code);
    report.set("evidence", kind.evidence.clone());
}

fn report_next_steps(report: &mut Report, lines: &[&str]) {
    report.heading("Next steps");
    for line in lines {
        report.item(Tone::Plain, "-", *line);
    }
    report.set("next", lines);
}

fn report_jws(report: &mut Report, jws: &Jws, now: UnixTime) {
    report_part(report, "Header", &jws.header, now);
    report_part(report, "Claims", &jws.payload, now);
    report.heading("Signature");
    let length = jws.signature.map_or("not readable".to_owned(), |n| format!("{n} bytes"));
    report.fields([Field::new("length", length).remark(Tone::Warning, "not verified")]);
    report.set("signature_bytes", jws.signature);
    let findings = findings(jws, now);
    if !findings.is_empty() {
        report.heading("Findings");
        for finding in &findings {
            report.item(Tone::Bad, "!", finding);
        }
    }
    report.set("findings", findings);
}

fn report_part(report: &mut Report, title: &str, part: &Part, now: UnixTime) {
    report.heading(title);
    report.fields(part.members.iter().map(|(name, value)| {
        let field = Field::new(name, unquoted(value.get()));
        match time_claim(name, value.get()) {
            Some(time) => field.remark(Tone::Faint, describe_time(name, time, now)),
            None => field,
        }
    }));
    if let Some(problem) = &part.problem {
        report.line(Tone::Bad, format!("  The rest can't be read: {problem}"));
    }
    let members: Map<String, Value> = part
        .members
        .iter()
        .map(|(name, value)| (name.clone(), serde_json::from_str(value.get()).unwrap_or_default()))
        .collect();
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
        let repeated = repeated(&part.members);
        found.extend(repeated.map(|name| {
            format!("`{name}` is repeated in the {title}: the middleware refuses that.")
        }));
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
    for name in ["crit", "b64"] {
        if header.has(name) {
            found.push(format!("The header has `{name}`: the middleware refuses that."));
        }
    }
    for name in ["jwk", "jku", "x5u", "x5c"] {
        if header.has(name) {
            found.push(format!("The header has its own key (`{name}`), which is ignored."));
        }
    }
    if claims.problem.is_some() {
        return found;
    }
    if let Err(error) = Claims::from_json(claims.text.as_bytes()) {
        found.push(format!("The middleware refuses the claims: {error}."));
    }
    for name in ["iss", "aud", "exp"] {
        if !claims.has(name) {
            found.push(format!("There is no `{name}`, which an access token must have."));
        }
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
        found.push(
            "The token is bound to a key (`cnf`): requests with it must prove possession of that \
             key."
                .to_owned(),
        );
    }
    found
}
