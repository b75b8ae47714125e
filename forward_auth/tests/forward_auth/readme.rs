//! The README shows what is so: settings that work, and lines of the files of docs/operations.

use testing::program::output;

use crate::{forward_auth, recipes::recipe};

const README: &str = include_str!("../../README.md");

/// Returns the language, the text and what stands before each block of code.
fn blocks() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut parts = README.split("```");
    let mut blocks = Vec::new();
    while let (Some(before), Some(block)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        blocks.push((language, text, before));
    }
    blocks
}

#[test]
fn excerpts_are_lines_of_the_files_that_tests_run() {
    const START: &str = "](../docs/operations/";
    let mut files = Vec::new();
    for (_, text, before) in
        blocks().into_iter().filter(|block| ["nginx", "caddy", "yaml"].contains(&block.0))
    {
        let (_, link) = before.rsplit_once(START).expect("a link to the file");
        let file = link.split(')').next().unwrap();
        let lines =
            |text: &str| text.lines().map(|line| format!("{}\n", line.trim())).collect::<String>();
        let whole = lines(&recipe(file));
        // `...` stands for lines that are left out.
        for part in lines(text).split("...\n") {
            assert!(whole.contains(part), "{file} has not:\n{part}");
        }
        files.push(file);
    }
    assert_eq!(
        files,
        ["nginx.conf", "nginx.conf", "Caddyfile", "traefik-routes.yaml", "envoy.yaml"]
    );
}

#[tokio::test]
async fn settings_are_right() {
    let secret = std::env::temp_dir().join(format!("forward-auth-readme-{}", std::process::id()));
    std::fs::write(&secret, "s3cret").unwrap();
    let settings = secret.with_extension("toml");
    let (_, text, _) = blocks().into_iter().find(|(language, ..)| *language == "toml").unwrap();
    std::fs::write(&settings, text.replace("/run/secrets/api", secret.to_str().unwrap())).unwrap();
    let (ok, _, err) = output(forward_auth().arg("--check").arg(&settings)).await;
    assert!(ok, "{err}");
    std::fs::remove_file(secret).unwrap();
    std::fs::remove_file(settings).unwrap();
}

#[tokio::test]
async fn options_and_variables_are_those_of_the_program() {
    let (_, help, _) = output(forward_auth().arg("--help")).await;
    for option in help.split_whitespace().filter(|word| word.starts_with("--")) {
        let option = option.trim_end_matches(',');
        assert!(README.contains(&format!("`{option}")), "{option}");
    }
    for variable in help.split(|char: char| !char.is_ascii_uppercase() && char != '_') {
        let is_variable = variable.starts_with("FORWARD_AUTH_")
            || variable.starts_with('_') && variable.len() > 1;
        assert!(!is_variable || README.contains(variable), "{variable}");
    }
}
