//! SECURITY.md names the test that proves each row: they are there.

use std::collections::BTreeSet;
use std::path::Path;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The names of all functions in the files below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            functions(&path, names);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let after = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            names.extend(after.map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_the_table_of_threats_names_exists() {
    let mut names = BTreeSet::new();
    functions(Path::new(TOP), &mut names);
    let text = std::fs::read_to_string(Path::new(TOP).join("SECURITY.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let numbered = rows.iter().filter(|row| row[2..].starts_with(|first: char| first.is_ascii_digit()));
    assert_eq!(numbered.clone().count(), 26);
    for row in numbered {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests: Vec<&str> =
            proof.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            assert!(names.contains(test), "{test} is no test: {row}");
        }
    }
}
