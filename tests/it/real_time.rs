//! No test depends on the time of day or the load of the machine.
//!
//! Tests use a clock that stands still or runs with Tokio's paused time. `clippy.toml` refuses most
//! functions that read a clock; this test searches the sources of the tests for the others.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names that depend on real time anywhere, and the files that may use them.
const CLOCKS: [(&str, &[(&str, &str)]); 2] = [
    (
        "SystemClock",
        &[
            ("src/clock.rs", "it is what is tested"),
            ("tests/interop/clock.rs", "foreign servers go by real time"),
        ],
    ),
    ("SystemTime::now", &[]),
];

/// Names that depend on real time unless the test pauses it, and the files that may use them.
const PAUSED: [(&str, &[(&str, &str)]); 2] = [
    (
        "Instant::now",
        &[
            ("src/clock.rs", "it is what is tested"),
            ("tests/it/health/town.rs", "for tests that pause time"),
            ("tests/it/refused_body.rs", "for tests that pause time"),
        ],
    ),
    (
        "sleep(",
        &[
            ("tests/it/health/town.rs", "for tests that pause time"),
            ("tests/it/refused_body.rs", "for tests that pause time"),
            ("tests/it/scripted.rs", "for tests that pause time"),
            ("testing/src/host.rs", "it asks a process until that is ready"),
            ("testing/src/proxy.rs", "it asks a process until that is ready"),
        ],
    ),
];

/// The constructor of a prover with the system clock, and the files that may keep that clock.
const PROVERS: (&str, &[(&str, &str)]) = (
    "Prover::new(",
    &[
        (
            "forward_auth/tests/forward_auth/proxies.rs",
            "it asks a process, with the longest window",
        ),
        ("tests/interop/proxies/proofs.rs", "it asks a process, which goes by nonces"),
    ],
);

/// The sources below a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "node_modules" && name != ".venv" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the test code of a file, without comments and indentation.
fn of_tests(path: &str, text: &str) -> String {
    let start = match path.split('/').any(|part| part == "src")
        && !path.starts_with("testing/")
        && !path.ends_with("/tests.rs")
    {
        true => text.find("mod tests {").unwrap_or(text.len()),
        false => 0,
    };
    let lines = text[start..].lines().map(str::trim_start);
    lines.filter(|line| !line.starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// Returns true if `name` is used only where time is paused: in or below a test that pauses it, or above
/// tests that all do.
fn is_paused(text: &str, name: &str) -> bool {
    let whole = text.contains("start_paused") && !text.contains("#[tokio::test]");
    text.match_indices(name).all(|(at, _)| {
        let before = &text[..at];
        let paused = before.rfind("(start_paused = true)]").max(before.rfind("start_paused(true)"));
        let other = before.rfind("#[tokio::test]").max(before.rfind("#[test]"));
        paused > other || (other.is_none() && whole)
    })
}

/// Returns true if each call of `made` is followed by `with_clock`.
fn is_given_a_clock(text: &str, made: &str) -> bool {
    text.match_indices(made).all(|(at, _)| {
        let rest = &text[at + made.len()..];
        let call = rest.find(')').map_or("", |end| &rest[end + 1..]);
        call.trim_start().starts_with(".with_clock(")
    })
}

#[test]
fn tests_do_not_depend_on_real_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests", "testing/src", "cli/src", "cli/tests", "forward_auth"] {
        sources(&root.join(directory), &mut files);
    }
    let (mut wrong, mut read) = (Vec::new(), Vec::new());
    for file in files {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let text = of_tests(&path, &fs::read_to_string(&file).unwrap());
        if path == file!() {
            continue;
        }
        let mut check = |name: &str, reasons: &[(&str, &str)], is_bad: bool| {
            if is_bad && !reasons.iter().any(|(known, _)| *known == path) {
                wrong.push(format!("{path}: {name}"));
            }
        };
        for (name, reasons) in CLOCKS {
            check(name, reasons, text.contains(name));
        }
        for (name, reasons) in PAUSED {
            check(name, reasons, text.contains(name) && !is_paused(&text, name));
        }
        let (name, reasons) = PROVERS;
        check(name, reasons, !is_given_a_clock(&text, name));
        read.push((path, text));
    }
    assert!(wrong.is_empty(), "tests depend on real time, see tests/it/real_time.rs: {wrong:#?}");
    // Each listed exception is still used.
    for (name, reasons) in CLOCKS.into_iter().chain(PAUSED).chain([PROVERS]) {
        for (known, _) in reasons {
            let is_there = read.iter().any(|(path, text)| path == known && text.contains(name));
            assert!(is_there, "{known} has no {name} any more");
        }
    }
}

#[test]
fn use_of_real_time_is_found() {
    let source = "fn a() { SystemClock }\n#[cfg(test)]\nmod tests {\n// sleep(\n    b();\n}\n";
    assert_eq!(of_tests("src/a.rs", source), "mod tests {\nb();\n}\n");
    assert_eq!(of_tests("src/b.rs", "fn a() { SystemClock }"), "");
    assert!(of_tests("tests/it/a.rs", source).contains("SystemClock"));
    assert!(of_tests("src/a/tests.rs", source).contains("SystemClock"));
    let paused = "#[tokio::test(start_paused = true)]";
    for (text, expected) in [
        (format!("{paused} sleep("), true),
        (format!("sleep( {paused}"), true),
        (format!("#[tokio::test] {paused} sleep("), true),
        ("#[test] runtime.start_paused(true) sleep(".to_owned(), true),
        (format!("{paused} #[tokio::test] sleep("), false),
        (format!("{paused} sleep( #[test] sleep("), false),
        (format!("sleep( #[tokio::test] {paused}"), false),
        ("#[test] sleep(".to_owned(), false),
        ("sleep(".to_owned(), false),
    ] {
        assert_eq!(is_paused(&text, "sleep("), expected, "{text}");
    }
    let made = PROVERS.0;
    assert!(is_given_a_clock(
        &format!("{made}\"a\").with_clock(b); {made}\"a\")\n.with_clock(b)"),
        made
    ));
    assert!(!is_given_a_clock(&format!("{made}\"a\").with_clock(b); {made}\"a\").proof()"), made));
}
