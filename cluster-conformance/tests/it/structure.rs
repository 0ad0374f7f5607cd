//! The structure of the workspace, counted from its sources.
//!
//! Modules are files. One imports another if it has a `use` or a path that leads there, through re-exports too. Tests do
//! not count, and neither does a file that only adds an `impl` to the type of its parent.
//!
//! `cargo test -p cluster-conformance structure:: -- --nocapture` prints all counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of the core, the lowest first. A file imports its own layer and lower ones. Every file may import files
/// that are in no layer, as long as that makes no circle.
const LAYERS: [&[&str]; 4] =
    [&["wire", "secret", "identity", "credentials"], &["session", "channel"], &["node"], &["adapter"]];

/// The most fields that a node and each of its parts have.
const NODE_FIELDS: usize = 8;
const PART_FIELDS: usize = 12;

/// Fewer lines than this stand in both adapters in runs of three or more: signatures of the handle, most of them.
const REPEATED_LINES: usize = 120;

/// The parts of a node: a file each, which has the type.
const PARTS: [(&str, &str); 6] = [
    ("context", "Context"),
    ("dialling", "Dialling"),
    ("gate", "Gate"),
    ("mail", "Mail"),
    ("me", "Me"),
    ("pairs", "Pairs"),
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A module: the names that lead to it.
type Module = Vec<String>;

/// The sources of a crate.
#[derive(Default)]
struct Sources {
    modules: BTreeMap<Module, String>,
    /// Re-exported names, and their origins.
    reexports: BTreeMap<(Module, String), Vec<String>>,
}

impl Sources {
    fn of(name: &str) -> Sources {
        let mut sources = Sources::default();
        let src = top().join(name).join("src");
        sources.read(&src, &src);
        let modules = sources.modules.clone();
        for (module, text) in &modules {
            for (public, path) in uses(text) {
                if public && let Some(last) = path.last().cloned() {
                    let path = absolute(module, &path);
                    sources.reexports.insert((module.clone(), last), path);
                }
            }
        }
        sources
    }

    fn read(&mut self, src: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a crate has sources") {
            let path = entry.expect("it can be read").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("names are text");
            if name == "tests" || name == "bin" {
                continue;
            }
            if path.is_dir() {
                self.read(src, &path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let within = path.strip_prefix(src).expect("it is in there").with_extension("");
            let module = within.iter().map(|part| part.to_str().expect("names are text").to_owned());
            let module: Module = module.filter(|part| part != "lib").collect();
            let text = fs::read_to_string(&path).expect("sources are text");
            if !text.contains("#![cfg(test)]") {
                self.modules.insert(module, without_tests(&text));
            }
        }
        // Files that only tests have.
        let only = |text: &str, name: &str| text.contains(&format!("#[cfg(test)]\nmod {name};"));
        let parents = self.modules.clone();
        self.modules.retain(|module, _| {
            let parent = module.split_last().and_then(|(last, rest)| Some((last, parents.get(rest)?)));
            !parent.is_some_and(|(last, text)| only(text, last))
        });
    }

    /// The module that a path leads to.
    fn target(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let module =
                (0..path.len()).rev().map(|length| &path[..length]).find(|part| self.modules.contains_key(*part));
            let module = if self.modules.contains_key(&path) { Some(&path[..]) } else { module };
            let module = module?.to_vec();
            let Some(name) = path.get(module.len()) else { return Some(module) };
            match self.reexports.get(&(module.clone(), name.clone())) {
                Some(origin) if *origin != path => path.clone_from(origin),
                _ => return Some(module),
            }
        }
        None
    }

    /// Which modules each module imports.
    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let of = |(module, text): (&Module, &String)| {
            let used = uses(text).into_iter().filter(|(public, _)| !public).map(|(_, path)| absolute(module, &path));
            let found = used.chain(paths(text)).filter_map(|path| self.target(&path));
            (module.clone(), found.filter(|found| found != module && !found.is_empty()).collect())
        };
        self.modules.iter().map(of).collect()
    }
}

/// The text of a file up to its tests.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// Every name that a file imports from its own crate, and whether it hands it on.
fn uses(text: &str) -> Vec<(bool, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = rest[line..at].trim();
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        let tree = rest[at + 4..end].to_owned();
        let own = ["crate::", "self::", "super::"].iter().any(|start| tree.starts_with(start));
        if own && (before.is_empty() || before.starts_with("pub")) {
            let public = before.starts_with("pub");
            found.extend(leaves(&[], &tree).into_iter().map(|path| (public, path)));
        }
        rest = &rest[at + 4..];
    }
    found
}

/// The paths of a tree like `a::{b, c::{d, e as f}}`.
fn leaves(before: &[String], tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let tree = tree.split(" as ").next().unwrap_or_default();
        let names =
            tree.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty() && name != "self");
        return vec![before.iter().cloned().chain(names).collect()];
    };
    let names = tree[..open].split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let prefix: Vec<String> = before.iter().cloned().chain(names).collect();
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    found.extend(leaves(&prefix, &inner[start..at]));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Paths in the code that begin with `crate::`, without those of `use` and of visibilities.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let mut found = Vec::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let before = &line[..at];
            if before.ends_with("use ") || before.ends_with("in ") || before.ends_with('$') {
                continue;
            }
            let path = line[at + 7..].split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
            let names = path.take(1).flat_map(|path| path.split("::")).filter(|name| !name.is_empty());
            found.push(names.map(str::to_owned).collect());
        }
    }
    found
}

/// A path from the root of the crate.
fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let mut base = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        _ => module.to_vec(),
    };
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "crate" | "self" => {}
            "super" => _ = base.pop(),
            _ => break,
        }
        rest = others;
    }
    base.extend(rest.iter().cloned());
    base
}

/// Sets of modules each of which leads to all others, the largest first.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<&Module>> {
    let reached = |from: &Module| {
        let mut found = BTreeSet::new();
        let mut next = vec![from.clone()];
        while let Some(module) = next.pop() {
            for other in imports.get(&module).into_iter().flatten() {
                if found.insert(other.clone()) {
                    next.push(other.clone());
                }
            }
        }
        found
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = imports.keys().map(|module| (module, reached(module))).collect();
    let circle = |of: &Module| -> BTreeSet<&Module> {
        let both = reached.iter().filter(|(other, theirs)| reached[of].contains(**other) && theirs.contains(of));
        both.map(|(other, _)| *other).collect()
    };
    let mut all: Vec<BTreeSet<&Module>> = imports.keys().map(circle).filter(|circle| circle.len() > 1).collect();
    all.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    all.dedup();
    all
}

fn name(module: &[String]) -> String {
    if module.is_empty() { "lib".to_owned() } else { module.join("::") }
}

/// The number of fields of a struct.
fn fields(text: &str, of: &str) -> usize {
    let start = text.find(&format!("struct {of} {{")).unwrap_or_else(|| panic!("there is no struct {of}"));
    let body = text[start..].split("\n}").next().unwrap_or_default();
    let is_field = |line: &&str| line.starts_with("    ") && !line.trim().starts_with("//") && line.contains(": ");
    body.lines().filter(is_field).count()
}

#[test]
fn core_and_simulator_have_no_import_circle() {
    for (crate_name, least) in [("cluster-core", 60), ("cluster-sim", 60), ("cluster-timeline", 12)] {
        let imports = Sources::of(crate_name).imports();
        assert!(imports.len() > least, "{crate_name} is not counted: {}", imports.len());
        if let Some(circle) = circles(&imports).first() {
            let edge = |from: &Module| {
                let to = imports[from].iter().filter(|to| circle.contains(to)).map(|to| name(to));
                format!("{} -> {}", name(from), to.collect::<Vec<_>>().join(", "))
            };
            let edges: Vec<String> = circle.iter().map(|module| edge(module)).collect();
            panic!("{} files of {crate_name} import each other:\n{}", circle.len(), edges.join("\n"));
        }
    }
}

#[test]
fn core_depends_downwards() {
    let layer = |module: &Module| LAYERS.iter().position(|names| names.contains(&module[0].as_str()));
    for (from, to) in Sources::of("cluster-core").imports() {
        if from.is_empty() {
            continue;
        }
        for to in &to {
            if let (Some(low), Some(high)) = (layer(&from), layer(to)) {
                assert!(low >= high, "{} imports {}, which is above it", name(&from), name(to));
            }
        }
    }
}

#[test]
fn node_and_its_parts_are_small() {
    let src = top().join("cluster-core/src");
    let text = |file: &str| fs::read_to_string(src.join(file)).expect("the core has this file");
    let node = fields(&text("node.rs"), "Node");
    println!("Node: {node} fields");
    assert!(node <= NODE_FIELDS && node > 3, "Node has {node} fields");
    for (file, part) in PARTS {
        let count = fields(&text(&format!("node/{file}.rs")), part);
        println!("{part}: {count} fields");
        assert!(count <= PART_FIELDS && count > 0, "{part} has {count} fields");
    }
}

#[test]
fn structure_is_counted() {
    const CRATES: [&str; 8] = [
        "cluster-check",
        "cluster-core",
        "cluster-host",
        "cluster-sim",
        "cluster-std",
        "cluster-timeline",
        "cluster-tokio",
        "cluster-conformance",
    ];
    for crate_name in CRATES {
        let sources = Sources::of(crate_name);
        let sizes: Vec<usize> = circles(&sources.imports()).iter().map(BTreeSet::len).collect();
        println!("{crate_name}: {} files, import circles of {sizes:?}", sources.modules.len());
    }
}

#[test]
fn adapters_share_code_and_do_not_repeat_it() {
    let (tokio, threads) = (adapter_lines("cluster-tokio"), adapter_lines("cluster-std"));
    for (ours, theirs) in [(&tokio, &threads), (&threads, &tokio)] {
        let repeated = repeated_lines(ours, theirs);
        println!("{repeated} of {} lines of one adapter stand in the other in runs of three or more", ours.len());
        assert!(repeated < REPEATED_LINES && repeated > 0, "{repeated} lines are in both adapters");
    }
}

/// The lines of an adapter, without blank ones. The handles mirror each other, and so do their docs: the doc comments of
/// `node.rs` do not count.
fn adapter_lines(crate_name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (module, text) in Sources::of(crate_name).modules {
        let is_handle = module == ["node"];
        let counts =
            |line: &&str| !line.is_empty() && !(is_handle && (line.starts_with("///") || line.starts_with("//!")));
        lines.extend(text.lines().map(str::trim).filter(counts).map(str::to_owned));
    }
    lines
}

/// How many of our lines stand in theirs in identical runs of three or more. Closing braces alone are no run.
fn repeated_lines(ours: &[String], theirs: &[String]) -> usize {
    let runs: BTreeSet<&[String]> = theirs.windows(3).collect();
    let mut repeated = vec![false; ours.len()];
    for (at, run) in ours.windows(3).enumerate() {
        if runs.contains(run) && run.iter().any(|line| line.len() > 1) {
            repeated[at..at + 3].fill(true);
        }
    }
    repeated.into_iter().filter(|repeated| *repeated).count()
}
