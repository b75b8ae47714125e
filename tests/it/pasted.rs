//! The quick start compiles as pasted.

use std::{fs, path::Path, process::Command};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOURCE: &str = "path = \"../tower-introspect\"";

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
    assert_eq!(block(&front_page, "toml"), block(&readme, "toml"));
    assert_eq!(block(&front_page, "no_run"), block(&readme, "rust,no_run"));
}

/// Only the path of the crate is replaced. Dependencies come from the lock file of the workspace, and
/// their builds from its target directory as far as the features agree.
#[test]
fn the_quick_start_compiles_in_a_fresh_crate() {
    let readme = read("README.md");
    let dependencies = block(&readme, "toml");
    assert_eq!(dependencies.matches(SOURCE).count(), 1, "{dependencies}");
    let dependencies = dependencies.replace(SOURCE, &format!("path = {ROOT:?}"));

    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let package = temporary.join("pasted");
    fs::create_dir_all(package.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"pasted\"\nedition = \"2024\"\n\n{dependencies}\n[workspace]\n\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/main.rs"), block(&readme, "rust,no_run")).unwrap();
    fs::copy(Path::new(ROOT).join("Cargo.lock"), package.join("Cargo.lock")).unwrap();

    let check = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", temporary.parent().expect("the target directory"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
