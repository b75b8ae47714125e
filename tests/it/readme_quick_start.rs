//! The quick start compiles as pasted. What does not compile says what to do.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOURCE: &str = "--path ../tower-introspect";

/// Returns the contents of the first code block of `language` in the section "Quick start".
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, section) = page.split_once("# Quick start\n").expect("a quick start");
    let (_, block) = section.split_once(&format!("```{language}\n")).expect("a block");
    block.split_once("```").expect("an end").0
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Returns the front page of the documentation.
fn front_page() -> String {
    let source = read("src/lib.rs");
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

#[test]
fn the_front_page_has_the_quick_start_of_the_readme() {
    let (readme, front_page) = (read("README.md"), front_page());
    assert_eq!(block(&front_page, "sh"), block(&readme, "sh"));
    assert_eq!(block(&front_page, "no_run"), block(&readme, "rust,no_run"));
}

/// Checks `source` as the `main.rs` of a fresh crate, after the commands of the quick start.
///
/// Only the path of the crate is replaced. Dependencies come from the lock file of the workspace, and
/// their builds from its target directory as far as the features agree.
fn check(name: &str, source: &str) -> Output {
    let readme = read("README.md");
    let commands = block(&readme, "sh");
    assert_eq!(commands.matches(SOURCE).count(), 1, "{commands}");

    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let package = temporary.join(name);
    fs::create_dir_all(package.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/main.rs"), source).unwrap();
    fs::copy(Path::new(ROOT).join("Cargo.lock"), package.join("Cargo.lock")).unwrap();

    let cargo = |arguments: &[&str]| {
        Command::new(env!("CARGO"))
            .args(arguments)
            .args(["--quiet", "--offline"])
            .current_dir(&package)
            .env("CARGO_TARGET_DIR", temporary.parent().expect("the target directory"))
            .output()
            .unwrap()
    };
    for line in commands.lines() {
        let arguments: Vec<_> = line.split(' ').collect();
        let ["cargo", "add", arguments @ ..] = &arguments[..] else { panic!("{line}") };
        let here = |argument| if argument == "../tower-introspect" { ROOT } else { argument };
        let arguments: Vec<_> =
            ["add"].into_iter().chain(arguments.iter().copied().map(here)).collect();
        let added = cargo(&arguments);
        assert!(added.status.success(), "{line}: {}", String::from_utf8_lossy(&added.stderr));
    }
    cargo(&["check"])
}

#[test]
fn the_quick_start_compiles_in_a_fresh_crate() {
    let check = check("pasted", block(&read("README.md"), "rust,no_run"));
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn the_compiler_says_which_trait_is_missing_and_what_to_do() {
    let check = check(
        "unmet",
        r#"
            use tower_introspect::*;

            struct Mine;

            fn main() {
                verify::BoxVerifier::new(Mine);
                Policy::new("https://api.example.com").clock(Mine);
                fn extractor<E: ::axum::extract::FromRequestParts<()>>() {}
                extractor::<axum::Scoped<Mine>>();
                fn responder(_: impl respond::Respond<Mine>) {}
                responder(respond::Auto::new());
                fn store(_: impl proof::ReplayStore) {}
                store(Mine);
            }
        "#,
    );
    assert!(!check.status.success());
    let errors = String::from_utf8_lossy(&check.stderr);
    for text in [
        "`Mine` is not a `Verifier`",
        "wrap a `tower::Service<VerifyRequest>` in `verify::FromService`",
        "`Mine` is not a `Clock`",
        "implement `clock::Clock` for a type that is",
        "`Mine` does not say which scope is required",
        "implement `axum::ScopeSet` for it",
        "`Auto` does not render refusals as responses with the body `Mine`",
        "`respond::HttpOnly` need a body that is `Default`",
        "`Mine` is not a `ReplayStore`",
        "use `proof::MemoryReplay`",
    ] {
        assert!(errors.contains(text), "{text} is not in\n{errors}");
    }
}
