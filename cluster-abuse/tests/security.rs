//! SECURITY.md names the test that proves each row: they are there, in the file that the row names, and they are run.

use std::path::{Path, PathBuf};

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The files with code below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// Whether a text has a function of this name that the test harness runs, by itself or on every adapter.
fn is_test(text: &str, name: &str) -> bool {
    let listed = text.split_once("\non_every_adapter!(").and_then(|(_, rest)| rest.split_once(')'));
    if listed.is_some_and(|(names, _)| names.split(',').any(|listed| listed.trim() == name)) {
        return text.contains(&format!("\nfn {name}(program: Program)"));
    }
    // A scenario that is not in the list of all scenarios would be dead code, which no build lets through.
    if text.contains(&format!("\npub(super) fn {name}(stage: &Stage<'_>) {{")) {
        return true;
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = |line: &str| {
        let rest = line.strip_prefix("async ").unwrap_or(line);
        rest.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    lines.iter().enumerate().filter(|(_, line)| begins(line)).any(|(at, _)| {
        let attributes = || lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        let runs = |line: &&str| *line == "#[test]" || line.starts_with("#[tokio::test");
        attributes().any(runs) && !attributes().any(|line| line.starts_with("#[ignore"))
    })
}

/// The names of tests in a text. Nothing else that is quoted there is as long as a sentence.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2)
}

/// Where the tests of a part of a row are: a folder for each crate that it names, and the end of a path.
fn place(part: &str) -> (Vec<&str>, String) {
    let (crates, rest) = part.split_once('`').unwrap();
    let file = rest.split('`').next().unwrap();
    let folders = crates.trim().split(", ").map(|name| match name {
        // The whole path is given, or the file is one of those here.
        "" if file.contains('/') => "",
        "" => "cluster-abuse",
        "core" => "cluster-core",
        "sim" => "cluster-sim",
        "namespaces" => "cluster-conformance/tests/namespaces",
        "std" => "cluster-std",
        "tokio" => "cluster-tokio",
        other => panic!("{other} is no crate: {part}"),
    });
    // What has no ending is a module, whose tests are in a file of their own.
    let file = if file.ends_with(".rs") { file.to_owned() } else { format!("{file}/tests.rs") };
    (folders.collect(), file)
}

fn rows(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.filter(|row| row[2..].starts_with(|first: char| first.is_ascii_digit())).collect()
}

#[test]
fn every_test_that_the_table_of_threats_names_is_in_the_file_that_it_names() {
    let text = std::fs::read_to_string(Path::new(TOP).join("SECURITY.md")).unwrap();
    let rows = rows(&text);
    assert_eq!(rows.len(), 29);
    for row in rows {
        let proof = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        assert!(tests(proof).next().is_some(), "no test: {row}");
        for part in proof.split("; ") {
            if let Some(target) = part.strip_prefix("fuzz target ") {
                let path = format!("fuzz/fuzz_targets/{}.rs", target.trim_matches('`'));
                assert!(Path::new(TOP).join(&path).exists(), "there is no {path}: {row}");
                continue;
            }
            assert!(tests(part).next().is_some(), "{part} names no test: {row}");
            let (folders, file) = place(part);
            for folder in folders {
                let mut found = Vec::new();
                sources(&Path::new(TOP).join(folder), &mut found);
                found.retain(|path| path.ends_with(&file));
                let texts: Vec<String> = found.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
                for test in tests(part) {
                    assert!(
                        texts.iter().any(|text| is_test(text, test)),
                        "{test} is no test in {folder} {file}: {row}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_other_test_that_the_page_on_security_names_exists() {
    let text = std::fs::read_to_string(Path::new(TOP).join("SECURITY.md")).unwrap();
    let rows = rows(&text);
    let mut found = Vec::new();
    sources(Path::new(TOP), &mut found);
    let texts: Vec<String> = found.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let others: Vec<&str> = text.lines().filter(|line| !rows.contains(line)).flat_map(tests).collect();
    assert!(!others.is_empty());
    for test in others {
        assert!(texts.iter().any(|text| is_test(text, test)), "{test} is no test");
    }
}

#[test]
fn what_the_harness_does_not_run_is_no_test() {
    let run = [
        "#[test]\nfn it()",
        "  #[tokio::test(flavor = \"x\")]\n  async fn it()",
        "#[test]\n#[cfg(unix)]\nfn it()",
        "//!\n\npub(super) fn it(stage: &Stage<'_>) {",
    ];
    for text in run {
        assert!(is_test(text, "it"), "{text}");
    }
    let other =
        ["fn it()", "#[test]\nfn item()", "#[test]\n\nfn it()", "// #[test]\nfn it()", "#[test]\n#[ignore]\nfn it()"];
    for text in other {
        assert!(!is_test(text, "it"), "{text}");
    }
    assert!(!is_test("#[test]\nfn other() {}\nfn it() {}\n// fn it()", "it"));
}
