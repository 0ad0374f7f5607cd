//! The checks are worth the bugs they find: the core is built with bugs on purpose, and the simulator has to find a few
//! of them. `examples/mutants.rs` hunts all of them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One whose damage is told by the events of one node, one that only a second node sees, and one that takes a fault and
/// its recovery.
const BUGS: [&str; 4] = ["EndsByPeer", "BelieveHearsay", "GreaterIdWins", "SilentLoss"];

#[test]
fn a_few_bugs_on_purpose_are_found() {
    // Only a build of its own can contain them. It has the features of the whole workspace, so that it
    // builds less of their dependencies anew.
    let [_, target] = folder();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--workspace", "--example", "mutants"]).args(folder());
    // It runs for a second even so.
    for name in ["cluster-core", "cluster-sim"] {
        cargo.arg("--config").arg(format!("profile.dev.package.{name}.opt-level=0"));
    }
    let built = with_bugs(&mut cargo).current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.expect("cargo, which runs this test, can be run").success());
    let hunt = target.join("debug/examples").join(format!("mutants{}", std::env::consts::EXE_SUFFIX));
    let output = Command::new(hunt).args(BUGS).output().expect("the example is built");
    let told = String::from_utf8_lossy(&output.stdout);
    let found = told.lines().filter(|line| line.contains("found by seed")).count();
    assert!(output.status.success() && found == BUGS.len(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

/// On Unix the compiler is called through a script that adds the bugs to the crates of this workspace alone: what they
/// depend on is there already.
#[cfg(unix)]
fn with_bugs(cargo: &mut Command) -> &mut Command {
    use std::os::unix::fs::PermissionsExt as _;

    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rustc-with-mutants");
    std::fs::write(&script, "#!/bin/sh\nexec \"$@\" --cfg cluster_mutants\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    cargo.env("RUSTC_WORKSPACE_WRAPPER", script)
}

#[cfg(unix)]
fn folder() -> [PathBuf; 2] {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    ["--target-dir".into(), target.into()]
}

#[cfg(not(unix))]
fn with_bugs(cargo: &mut Command) -> &mut Command {
    cargo.env("RUSTFLAGS", "--cfg cluster_mutants").env_remove("CARGO_ENCODED_RUSTFLAGS")
}

/// One of its own, so that nothing that other builds share is built again each time.
#[cfg(not(unix))]
fn folder() -> [PathBuf; 2] {
    ["--target-dir".into(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants")]
}
