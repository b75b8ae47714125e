//! Checks the structure of the library. docs/design.md, section "Modules", lists the levels of the
//! modules.
//!
//! * No upward import: a module imports only from modules on lower levels.
//! * No circle: no file uses definitions of a file that, directly or through others, uses its own.
//! * A face (`lib.rs` and every `mod.rs`) declares modules and re-exports names, and defines nothing.
//! * No import goes through a face: a path names the file that defines the item.
//!
//! Tests of the library (`#[cfg(test)]`) are left out. What `pub use` re-exports in a face counts only
//! for the levels.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

mod reader;

#[test]
fn the_library_keeps_its_structure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = Library::read(&|file| fs::read_to_string(root.join("src").join(file)).ok());
    let levels = levels(&fs::read_to_string(root.join("docs/design.md")).unwrap());
    let faults = library.faults(&levels);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Returns the rank of each module in the table of section "Modules", 0 for the top.
fn levels(design: &str) -> BTreeMap<String, usize> {
    let section = design.split("\n## ").find(|section| section.starts_with("Modules")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let names = rows.map(|row| row.split('|').nth(2).unwrap().split(','));
    let ranked = names.enumerate().flat_map(|(rank, names)| names.map(move |name| (name, rank)));
    ranked.map(|(name, rank)| (name.trim().trim_matches('`').to_owned(), rank)).collect()
}

/// The path of a module or of an item, from the root of the crate where it isn't as written.
type Segments = Vec<String>;

#[derive(Default)]
struct Module {
    files: BTreeSet<String>,
    /// The files that define a name; two of them under different `cfg`s.
    definitions: BTreeMap<String, BTreeSet<String>>,
    /// The names that `use` brings, and the paths it has them from.
    imports: BTreeMap<String, Segments>,
}

/// A path in the code of a file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Mention {
    file: String,
    module: Segments,
    path: Segments,
    glob: bool,
    re_export: bool,
}

enum Target<'a> {
    Definition(&'a BTreeSet<String>),
    Module(&'a Module),
    /// The module on the way doesn't define the name.
    Missing,
}

#[derive(Default)]
struct Library {
    modules: BTreeMap<Segments, Module>,
    mentions: BTreeSet<Mention>,
    /// Faces, and what they define.
    in_faces: BTreeSet<(String, String)>,
}

impl Library {
    fn read(source: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut library = Self::default();
        reader::Reader::file(&mut library, source, "lib.rs".into(), "".into(), Vec::new());
        library
    }

    fn faults(&self, levels: &BTreeMap<String, usize>) -> Vec<String> {
        let mut faults = Vec::new();
        let tops: BTreeSet<_> = self.modules.keys().map(|module| self.top(module)).collect();
        for top in tops.iter().filter(|top| !levels.contains_key(**top)) {
            faults.push(format!("`{top}` has no level: add it to the table in docs/design.md"));
        }
        for level in levels.keys().filter(|level| !tops.contains(level.as_str())) {
            faults.push(format!("docs/design.md gives `{level}` a level, but there is none"));
        }
        for (face, item) in &self.in_faces {
            let text = format!("{face} defines {item}: a face only declares and re-exports");
            faults.push(text);
        }
        let mut edges = BTreeMap::<&str, BTreeMap<&str, String>>::new();
        for mention in &self.mentions {
            let Some(path) = self.absolute(mention) else { continue };
            let Mention { file, module, .. } = mention;
            let written = mention.path.join("::") + if mention.glob { "::*" } else { "" };
            let (from, to) = (self.top(module), self.top(&path));
            if from != to
                && levels.get(from).zip(levels.get(to)).is_some_and(|(from, to)| from >= to)
            {
                let text = format!(
                    "{file}: `{written}` is an upward import: `{to}` is not below `{from}`"
                );
                faults.push(text);
            }
            if mention.re_export {
                continue;
            }
            let files = match self.resolve(&path) {
                Target::Definition(files) => files,
                Target::Module(module) if !module.files.iter().any(|file| is_facade(file)) => {
                    &module.files
                }
                Target::Module(_) if !mention.glob => continue,
                _ => {
                    let text = format!("{file}: `{written}` doesn't name the file that defines it");
                    faults.push(text);
                    continue;
                }
            };
            for to in files.iter().filter(|to| *to != file) {
                edges.entry(file).or_default().insert(to, written.clone());
            }
        }
        for circle in circles(&edges) {
            let within = |file: &&str| circle.contains(file);
            let imports = circle.iter().flat_map(|from| {
                let inner = edges[from].iter().filter(|(to, _)| within(to));
                inner.map(move |(to, path)| format!("\n  {from} uses {to}: `{path}`"))
            });
            let text =
                format!("a circle of {} files:{}", circle.len(), imports.collect::<String>());
            faults.push(text);
        }
        faults
    }

    /// Returns the top-level module that `path` leads into; the root is named after its file.
    fn top<'a>(&self, path: &'a [String]) -> &'a str {
        path.first()
            .filter(|name| self.modules.contains_key(&[(*name).clone()][..]))
            .map_or("lib.rs", |name| name)
    }

    /// Returns the path from the root of the crate, or `None` if it leads nowhere in it.
    fn absolute(&self, mention: &Mention) -> Option<Segments> {
        let Mention { module, path, .. } = mention;
        let (first, rest) = path.split_first()?;
        self.keyed(module, path).or_else(|| {
            // Only modules have names to go on from. Other imports count where they are imported.
            let import = self.keyed(module, self.modules[module].imports.get(first)?)?;
            let is_module = !rest.is_empty() && matches!(self.resolve(&import), Target::Module(_));
            is_module.then(|| [&import, rest].concat())
        })
    }

    /// As [`absolute`](Self::absolute), for a path that begins with a keyword or a module beside it.
    fn keyed(&self, module: &[String], path: &[String]) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let (_, outer) = module.split_last()?;
                let up = rest.first().is_some_and(|next| next == "super");
                if up { self.keyed(outer, rest) } else { Some([outer, rest].concat()) }
            }
            _ => {
                let inner = [module, &path[..1]].concat();
                (!rest.is_empty() && self.modules.contains_key(&inner))
                    .then(|| [module, path].concat())
            }
        }
    }

    fn resolve(&self, path: &[String]) -> Target<'_> {
        for (at, name) in path.iter().enumerate() {
            let is_module = self.modules.contains_key(&path[..=at]);
            match self.modules[&path[..at]].definitions.get(name) {
                Some(files) if !is_module || at + 1 == path.len() => {
                    return Target::Definition(files);
                }
                _ if is_module => {}
                _ => return Target::Missing,
            }
        }
        Target::Module(&self.modules[path])
    }
}

/// Returns the strongly connected components of more than one file.
fn circles<'a>(edges: &BTreeMap<&'a str, BTreeMap<&'a str, String>>) -> BTreeSet<Vec<&'a str>> {
    let reached = |from: &'a str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            let next = edges.get(file).into_iter().flat_map(|next| next.keys().copied());
            open.extend(next.filter(|next| reached.insert(*next)));
        }
        reached
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|file| (*file, reached(file))).collect();
    let on_circle = reached.iter().filter(|(file, to)| to.contains(**file));
    on_circle
        .map(|(file, to)| {
            let back = |to: &&str| reached.get(to).is_some_and(|reached| reached.contains(file));
            to.iter().copied().filter(back).collect()
        })
        .collect()
}

fn is_facade(file: &str) -> bool {
    matches!(Path::new(file).file_name().and_then(|name| name.to_str()), Some("lib.rs" | "mod.rs"))
}

/// Returns the faults in invented sources. `high` is above `low`.
fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    let levels = levels(
        "\n## Modules\n| level | modules |\n|---|---|\n| 2 | `lib.rs` |\n| 1 | `high` |\n| 0 | `low` |",
    );
    let read = |file: &str| {
        files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
    };
    Library::read(&read).faults(&levels)
}

const LIB: (&str, &str) = ("lib.rs", "mod high; mod low; pub use self::high::a::A;");
const HIGH: (&str, &str) = ("high/mod.rs", "mod a; mod b; pub(crate) use self::a::A;");
const A: (&str, &str) = ("high/a.rs", "pub(crate) struct A; use crate::low::{L, P};");
const B: (&str, &str) =
    ("high/b.rs", "use super::a::A; #[cfg(test)] mod tests { use super::super::A; }");
const LOW: (&str, &str) =
    ("low.rs", "pub(crate) enum L {} pin_project! { pub(crate) struct P {} }");

#[test]
fn valid_sources_have_no_fault() {
    assert_eq!(faults_of(&[LIB, HIGH, A, B, LOW]), [""; 0]);
    // Two files under different `cfg`s may stand for one module.
    let high = ("high/mod.rs", "mod a; #[path = \"b.rs\"] mod c; #[path = \"d.rs\"] mod c;");
    let d = ("high/d.rs", "fn d() {}");
    assert_eq!(faults_of(&[LIB, high, A, B, d, LOW]), [""; 0]);
}

#[test]
fn upward_import_is_found() {
    for text in
        ["use crate::high::a::A; struct L; struct P;", "struct L; given! { P [crate::high::a::A] }"]
    {
        let found = faults_of(&[LIB, HIGH, ("high/a.rs", "struct A;"), B, ("low.rs", text)]);
        assert_eq!(
            found,
            ["low.rs: `crate::high::a::A` is an upward import: `high` is not below `low`"]
        );
    }
}

#[test]
fn module_without_a_level_is_found() {
    let lib = ("lib.rs", "mod high; mod low; mod new {}");
    let found = faults_of(&[lib, HIGH, A, B, LOW]);
    assert_eq!(found, ["`new` has no level: add it to the table in docs/design.md"]);
}

#[test]
fn circular_import_is_found() {
    let a = ("high/a.rs", "struct A; fn a() { super::b::b() }");
    let b = ("high/b.rs", "use crate::high::a; fn b(_: a::A) {}");
    let found = faults_of(&[LIB, HIGH, a, b, LOW]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("a circle of 2 files:\n  high/a.rs uses high/b.rs: `super::b::b`"),
        "{found:?}"
    );
}

#[test]
fn definition_in_a_facade_is_found() {
    for (text, item) in [("fn f() {}", "`f`"), ("mod inner { impl A {} }", "an `impl`")] {
        let high = [HIGH.1, text].concat();
        let found = faults_of(&[LIB, ("high/mod.rs", &high), A, B, LOW]);
        assert_eq!(
            found,
            [format!("high/mod.rs defines {item}: a face only declares and re-exports")]
        );
    }
}

#[test]
fn import_through_a_facade_is_found() {
    let uses = [
        "use super::A;",
        "fn b(_: super::A) {}",
        "use crate::high; fn b(_: high::A) {}",
        "use super::*;",
    ];
    for (text, path) in uses.into_iter().zip(["super::A", "super::A", "high::A", "super::*"]) {
        let found = faults_of(&[LIB, HIGH, A, ("high/b.rs", text), LOW]);
        assert_eq!(found, [format!("high/b.rs: `{path}` doesn't name the file that defines it")]);
    }
}
