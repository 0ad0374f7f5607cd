//! Each scenario from S01 to S52 has a test whose name begins with its number, and `INVARIANTS.md` lists all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tests of this program, with their files.
fn sources() -> Vec<(String, String)> {
    let files = std::fs::read_dir(package().join("tests/it")).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

fn list() -> String {
    std::fs::read_to_string(package().join("INVARIANTS.md")).unwrap()
}

#[test]
fn every_scenario_has_a_test_that_is_named_after_it() {
    let sources = sources();
    let is_tested =
        |number: u32| sources.iter().any(|(_, text)| text.contains(&format!("\n#[test]\nfn s{number:02}_")));
    let missing: Vec<u32> = (1..=52).filter(|&number| !is_tested(number)).collect();
    assert!(missing.is_empty(), "without a test: {missing:?}");
}

#[test]
fn tests_of_the_list_exist() {
    let sources = sources();
    let rows: Vec<String> = list().lines().filter(|line| line.starts_with("| S")).map(str::to_owned).collect();
    assert_eq!(rows.len(), 52);
    for row in rows {
        let quoted: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let [file, test] = quoted[..] else { panic!("one file and one test: {row}") };
        let found = sources.iter().any(|(name, text)| name == file && text.contains(&format!("\n#[test]\nfn {test}(")));
        assert!(found, "{test} is no test of {file}");
    }
}

#[test]
fn tests_of_the_dial_policy_exist() {
    let (sources, list) = (sources(), list());
    let (_, table) = list.split_once("\n| policy | tests |\n").unwrap();
    let mut tests = 0;
    for row in table.lines().take_while(|line| line.starts_with('|')).filter(|line| line.contains('`')) {
        let mut quoted = row.split('`').skip(1).step_by(2);
        let file = quoted.next().unwrap();
        let (_, text) = sources.iter().find(|(name, _)| name == file).unwrap_or_else(|| panic!("no file: {row}"));
        for test in quoted {
            assert!(text.contains(&format!("\n#[test]\nfn {test}(")), "{test} is no test of {file}");
            tests += 1;
        }
    }
    assert_eq!(tests, 5);
}

/// Words like O7, L3 and S05 in a text.
fn references(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_one = |word: &&str| {
        let (letter, digits) = word.split_at(word.len().min(1));
        let numbered = !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        numbered && (matches!(letter, "O" | "L") || letter == "S" && digits.len() == 2)
    };
    words.filter(is_one).map(str::to_owned).collect()
}

#[test]
fn no_reference_to_an_invariant_dangles() {
    let list = list();
    let known: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).collect();
    let mut folders: Vec<PathBuf> = ["src", "tests", "examples"].map(|folder| package().join(folder)).into();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("scenarios.rs") {
                for reference in references(&std::fs::read_to_string(&path).unwrap()) {
                    assert!(known.contains(reference.as_str()), "{}: {reference} is not in the list", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 40, "the references are not found: {seen}");
}
