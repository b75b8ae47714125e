//! The help, the manual and the completions.

use crate::run::run;

const COMMANDS: [&str; 10] = [
    "decode",
    "verify",
    "explain",
    "introspect",
    "doctor",
    "signals",
    "keys",
    "mint",
    "serve-as",
    "ui",
];

#[tokio::test]
async fn screens() {
    run(&["--help"], "").await.shows("help");
    for command in COMMANDS {
        run(&[command, "--help"], "").await.shows(&format!("help-{command}"));
    }
    for command in ["status", "verify"] {
        let ran = run(&["signals", command, "--help"], "").await;
        ran.shows(&format!("help-signals-{command}"));
    }
}

#[tokio::test]
async fn exit_codes_are_in_the_help_and_in_the_manual() {
    for page in [&["--help"][..], &["man"]] {
        let ran = run(page, "").await;
        assert!(ran.out.contains("Exit codes"), "{}", ran.out);
    }
}

#[tokio::test]
async fn every_command_has_a_manual_page_and_completions() {
    for command in COMMANDS {
        let page = run(&["man", command], "").await;
        assert!(page.out.contains(".TH") && page.code == 0, "{}", page.screen());
    }
    assert_eq!(run(&["man", "nothing"], "").await.code, 2);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&["completions", shell], "").await;
        assert!(ran.out.contains("explain") && ran.code == 0, "{}", ran.screen());
    }
}
