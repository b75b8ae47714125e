//! Checks `docs/conformance.md`: it has one row for every requirement, and the tests that it names
//! exist.

use std::{collections::BTreeMap, fs, path::Path};

/// The groups of requirements, and the number of requirements in each.
const GROUPS: [(&str, u32); 27] = [
    ("A", 12),
    ("B", 23),
    ("C", 12),
    ("D", 9),
    ("E", 13),
    ("F", 10),
    ("G", 11),
    ("H", 16),
    ("I", 20),
    ("J", 33),
    ("K", 5),
    ("L", 11),
    ("M", 13),
    ("N", 10),
    ("O", 3),
    ("P", 12),
    ("Q", 5),
    ("R", 9),
    ("S", 6),
    ("T", 7),
    ("U", 4),
    ("V", 4),
    ("W", 10),
    ("X", 29),
    ("Y", 6),
    ("Z", 2),
    // Promises of this crate instead of requirements of a specification.
    ("PROMISE-", 13),
];

/// The beginnings of a row without a test.
const REASONS: [&str; 4] = ["by construction: ", "does not apply: ", "documented: ", "not yet: "];

struct Row {
    id: String,
    proof: String,
}

fn rows() -> Vec<Row> {
    let text = read("docs/conformance.md").expect("the document is there");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let (id, _, proof) = (cells.next()?, cells.next()?, cells.next()?);
        assert_eq!(cells.next(), None, "three cells: {line}");
        id.ends_with(|last: char| last.is_ascii_digit())
            .then(|| Row { id: id.to_owned(), proof: proof.to_owned() })
    };
    text.lines().filter_map(row).collect()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// True if `source` has a test of this name.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim_start).collect();
    let wanted = format!("fn {name}(");
    lines.iter().enumerate().filter(|(_, line)| line.contains(&wanted)).any(|(at, _)| {
        let attributes = lines.iter().take(at).rev().take_while(|line| line.starts_with("#["));
        attributes.into_iter().any(|line| line.contains("test]") || line.contains("test("))
    })
}

#[test]
fn every_requirement_has_one_row() {
    let mut seen = BTreeMap::<String, u32>::new();
    for row in rows() {
        *seen.entry(row.id).or_default() += 1;
    }
    let wanted: BTreeMap<_, _> = GROUPS
        .into_iter()
        .flat_map(|(group, count)| (1..=count).map(move |at| (format!("{group}{at}"), 1)))
        .collect();
    let missing: Vec<_> = wanted.keys().filter(|id| !seen.contains_key(*id)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    assert_eq!(seen, wanted, "repeated or unknown row");
}

#[test]
fn every_row_names_a_test_or_a_reason() {
    for Row { id, proof } in rows() {
        let reason = REASONS
            .into_iter()
            .any(|start| proof.strip_prefix(start).is_some_and(|reason| reason.trim().len() > 3));
        assert!(reason || proof.contains(".rs::"), "{id}: {proof:?}");
    }
}

#[test]
fn every_named_test_exists() {
    for Row { id, proof } in rows() {
        for name in proof.split('`').filter(|name| name.contains(".rs::")) {
            let (path, test) = name.split_once("::").expect("contains `::`");
            let source = read(path).unwrap_or_else(|| panic!("{id}: no file {path}"));
            assert!(has_test(&source, test), "{id}: no test {test} in {path}");
        }
    }
}

#[test]
fn every_file_named_in_the_documentation_exists() {
    let documents = ["CONTRIBUTING.md", "README.md", "SECURITY.md"].map(str::to_owned);
    let docs = ["conformance", "design", "layers", "operations", "platforms", "security"];
    for document in documents.into_iter().chain(docs.map(|name| format!("docs/{name}.md"))) {
        let text = read(&document).unwrap_or_else(|| panic!("no {document}"));
        let in_repository = |name: &&str| {
            ["src/", "tests/", "docs/", "forward_auth/", ".ci/"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        for name in text.split(['`', '(', ')']).filter(in_repository) {
            let path = name.split(['#', ':']).next().unwrap_or(name);
            let found = Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
            assert!(found, "{document} names {path}");
        }
    }
}

#[test]
fn missing_test_is_found() {
    let source = "#[test]\nfn here() {}\nfn helper() {}\n// fn comment()\n";
    assert!(has_test(source, "here"));
    for name in ["helper", "comment", "her", "gone"] {
        assert!(!has_test(source, name), "{name}");
    }
}
