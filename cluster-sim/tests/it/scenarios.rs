//! Each scenario from S01 to S52 has a test whose name begins with its number.

use std::path::Path;

#[test]
fn every_scenario_has_a_test_that_is_named_after_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let sources: Vec<String> = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let is_tested = |number: u32| sources.iter().any(|text| text.contains(&format!("\n#[test]\nfn s{number:02}_")));
    let missing: Vec<u32> = (1..=52).filter(|&number| !is_tested(number)).collect();
    assert!(missing.is_empty(), "without a test: {missing:?}");
}
