//! Compares the transcripts in the two READMEs with the output of the program.

use serde_json::json;
use tower_introspect::{
    clock::UnixTime,
    jose::Algorithm,
    test_util::{AuthorizationServer, Jwt, TokenBuilder},
};

use crate::run::{AUDIENCE, ISSUER, NOW, at, run_in};

const README: &str = concat!(include_str!("../../../README.md"), include_str!("../../README.md"));

/// Returns the command and the output of the console block in the README that contains `text`. The
/// output is split where the README leaves lines out.
fn transcript(text: &str) -> (&'static str, Vec<&'static str>) {
    let blocks = README.split("```console\n").skip(1);
    let mut blocks = blocks.filter_map(|block| block.split("```").next());
    let block = blocks.find(|block| block.contains(text)).expect("the README has it");
    let (prompt, screen) = block.split_once('\n').unwrap();
    (prompt.strip_prefix("$ ").unwrap(), screen.split("  ...\n").collect())
}

/// Runs the command of a transcript against `server`, and compares the output.
async fn assert_transcript(
    text: &str,
    server: &AuthorizationServer,
    token: &str,
    words: &[(&str, &str)],
) {
    let (prompt, parts) = transcript(text);
    let prompt = prompt.replace(ISSUER, server.issuer());
    let (command, file) = prompt.split_once(" < ").unwrap();
    assert_eq!(file, "token");
    let mut arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let at = at();
    // As on a terminal.
    arguments.extend(["--at", &at, "--danger-allow-http-loopback", "--brief"]);
    let ran = run_in(&[("COLUMNS", "80")], &arguments, token).await;
    let mut screen = ran.out.replace(server.issuer(), ISSUER).replace("  (set by --at)", "");
    for (from, to) in words {
        screen = screen.replace(from, to);
    }
    let mut rest = &*screen;
    for part in parts {
        let found = rest.find(part);
        let at = found.unwrap_or_else(|| panic!("not in the output:\n{part}\nit is:\n{screen}"));
        rest = &rest[at + part.len()..];
    }
    assert_eq!(rest, "", "the end is not in the README:\n{screen}");
}

fn times(token: TokenBuilder<Jwt>) -> TokenBuilder<Jwt> {
    token.issued_at(UnixTime::from_secs(NOW)).expires_at(UnixTime::from_secs(NOW + 300))
}

#[tokio::test]
async fn an_id_token_sent_by_mistake() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let token = server.id_token().subject("alice").audience("webapp").claim("nonce", json!("n"));
    assert_transcript("id_token", &server, &times(token).mint(), &[]).await;
}

#[tokio::test]
async fn a_key_that_was_rotated() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let old = server.kid(Algorithm::ES256);
    let token = times(server.jwt().subject("alice").audience(AUDIENCE)).mint();
    server.rotate_keys();
    server.remove_old_keys();
    let new = server.kid(Algorithm::ES256);
    let published = server.jwks();
    for key in published["keys"].as_array().unwrap() {
        match key["kid"].as_str().unwrap() {
            kid if kid == new => {}
            other => server.remove_key(other),
        }
    }
    let words = [(&*old, "2029-11"), (&*new, "2029-12")];
    assert_transcript("rotated", &server, &token, &words).await;
}
