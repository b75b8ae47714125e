//! Malformed input, wrong command lines and closed pipes.

use std::process::Stdio;

use crate::run::{at, command, file, good, jwks, run, run_in};

#[tokio::test]
async fn a_pasted_token_is_cleaned_and_the_cleanup_reported() {
    let at = at();
    for (pasted, code) in [
        (format!("Bearer {}", good()), "scheme"),
        (format!("\"{}\"", good()), "quotes"),
        (good().replace('.', ".\n    "), "white_space"),
        (good().replace('.', "%2E"), "percent_encoding"),
        (good().replacen('.', "=.", 1), "padding"),
        (format!("{{\"access_token\": \"{}\"}}", good()), "token_response"),
    ] {
        let ran = run(&["decode", "--at", &at, "--json"], &pasted).await;
        let json = ran.json();
        assert_eq!(json["cleaned"], serde_json::json!([code]), "{pasted}");
        assert_eq!(json["kind"], "access_token");
        let ran = run(&["decode", "--at", &at], &pasted).await;
        ran.tells_at_once(&[
            "NOT VERIFIED",
            "access token",
            "Taken off (a service would refuse it as pasted): ",
        ]);
    }
}

/// A script that pipes a response on gets the reason, whichever command it uses.
#[tokio::test]
async fn what_is_no_token_is_named_by_every_command() {
    let keys = jwks();
    let config = format!("mode = \"jwt\"\njwks_file = \"{keys}\"");
    let config =
        format!("audience = \"a\"\n[[issuer]]\nissuer = \"https://as.example.com\"\n{config}");
    let config = file("no-token.toml", config);
    let commands: [&[&str]; 4] = [
        &["decode"],
        &["verify", "--jwks", &keys, "--audience", "a"],
        &["explain", "--config", &config],
        &[
            "introspect",
            "--issuer",
            "https://as.example.com",
            "--client-id",
            "a",
            "--secret-env",
            "S",
        ],
    ];
    for (text, said) in [
        ("null", "its variable was not set"),
        ("Bearer ", "the scheme (`Bearer`) has no token after it"),
        ("<html>hunter2</html>", "this is an HTML or XML page"),
        (
            r#"{"error":"invalid_client","error_description":"hunter2"}"#,
            "this is an error response, `invalid_client`, and not a token",
        ),
    ] {
        for command in commands {
            let ran = run_in(&[("S", "s")], command, text).await;
            assert_eq!(ran.code, 2, "{}", ran.screen());
            ran.tells_at_once(&["standard input: ", said]);
            assert!(!ran.screen().contains("hunter2"), "{}", ran.screen());
        }
    }
}

#[tokio::test]
async fn garbage_is_refused_and_not_shown() {
    let garbage: Vec<u8> = (0..=255).collect();
    let ran = run(&["decode"], &garbage).await;
    ran.shows("bad-garbage");
    run(&["decode"], "").await.shows("bad-nothing");
    let ran = run(&["decode", "--json"], &garbage).await;
    assert_eq!((ran.code, ran.json()["outcome"].as_str()), (2, Some("usage")));
    let endless = vec![b'a'; 3 << 20];
    let ran = run(&["decode"], &endless).await;
    assert_eq!((ran.code, ran.err.contains("longer than any token")), (2, true), "{}", ran.err);
}

#[tokio::test]
async fn wrong_command_lines_are_refused() {
    for arguments in [
        &["decode", "--what"][..],
        &["verify"],
        &["verify", "--issuer", "https://as.example.com"],
        &["explain"],
        &["decode", "--at", "soon"],
        &["decode", "--timeout", "0"],
        &["decode", "--token-file", "a", "--token-env", "b"],
        &["decode", "--token-env", "NOT_SET"],
        &["decode", "--token-file", "/nonexistent"],
        &["verify", "--issuer", "not a URL", "--audience", "a"],
        &["verify", "--jwks", "/nonexistent", "--audience", "a"],
        &["verify", "--pem", "Cargo.toml", "--audience", "a"],
        &[],
    ] {
        let ran = run(arguments, "token").await;
        assert_eq!((ran.code, &*ran.out), (2, ""), "{arguments:?}: {}", ran.err);
        assert!(!ran.err.contains("panicked") && !ran.err.is_empty(), "{}", ran.err);
    }
}

/// A reader such as `head` may close the pipe early.
#[tokio::test]
async fn a_closed_pipe_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command(&["man"])
        .stdin(Stdio::null())
        .stdout(Stdio::from(writer))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn output_is_coloured_only_on_request_without_a_terminal() {
    let ran = run(&["decode", "--at", &at()], good()).await;
    assert!(!ran.out.contains('\u{1b}'));
    let ran = run(&["decode", "--at", &at(), "--color", "always"], good()).await;
    assert!(ran.out.contains('\u{1b}'));
    let ran = run(&["decode", "--at", &at(), "--color", "always", "--json"], good()).await;
    assert!(!ran.out.contains('\u{1b}'));
}
