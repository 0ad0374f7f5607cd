//! The checks are worth the bugs they find: the core is built with bugs on purpose, and the simulator has to find a few
//! of them. `examples/mutants.rs` hunts all of them.

use std::path::Path;
use std::process::Command;

/// One whose damage is told by the events of one node, one that only a second node sees, and one that takes a fault and
/// its recovery.
const BUGS: [&str; 4] = ["EndsByPeer", "BelieveHearsay", "GreaterIdWins", "SilentLoss"];

#[test]
fn a_few_bugs_on_purpose_are_found() {
    // Only a build of its own can contain them, in a folder of its own.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--package", "cluster-sim", "--example", "mutants", "--target-dir"])
        .arg(folder)
        .arg("--")
        .args(BUGS)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", "--cfg cluster_mutants")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo, which runs this test, can be run");
    let told = String::from_utf8_lossy(&output.stdout);
    let found = told.lines().filter(|line| line.contains("found by seed")).count();
    assert!(output.status.success() && found == BUGS.len(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}
