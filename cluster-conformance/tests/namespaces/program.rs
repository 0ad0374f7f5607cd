//! The examples that the tests run, built where necessary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

/// The example `node` of an adapter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    package: &'static str,
    example: &'static str,
}

pub(crate) const TOKIO: Program = Program { package: "cluster-tokio", example: "node" };
pub(crate) const STD: Program = Program { package: "cluster-std", example: "node-std" };
pub(crate) const ASYNC_STD: Program = Program { package: "cluster-core", example: "async_std" };
pub(crate) const POLL_LOOP: Program = Program { package: "cluster-core", example: "poll_loop" };

impl Program {
    /// Returns the file of the example in target/<profile>/examples. `cargo test --workspace` builds it beside this test.
    /// `cargo test -p cluster-conformance` does not: it is built here then, also if a file of its source is newer.
    pub(crate) fn path(self) -> PathBuf {
        static BUILD: Mutex<()> = Mutex::new(());
        let test = std::env::current_exe().expect("the test is a file");
        let profile = test.ancestors().nth(2).expect("target/<profile>/deps/namespaces");
        let path = profile.join("examples").join(self.example);
        let _one_at_a_time = BUILD.lock();
        if !is_current(&path) {
            self.build(profile);
        }
        path
    }

    /// Builds the example with the profile of this test.
    fn build(self, profile: &Path) {
        let name = profile.file_name().and_then(|name| name.to_str()).expect("a profile has a name");
        let name = if name == "debug" { "dev" } else { name };
        let target = profile.parent().expect("target/<profile>");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", self.package, "--example", self.example, "--profile", name]);
        cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        let status = cargo.arg("--target-dir").arg(target).status().expect("cargo starts");
        assert!(status.success(), "cannot build the example: {cargo:?}");
    }
}

/// Whether a program exists, and no file of its source is newer. Cargo names these in a file beside it.
fn is_current(program: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let (Some(built), Ok(rule)) = (changed(program), std::fs::read_to_string(program.with_extension("d"))) else {
        return false;
    };
    let source = rule.split_once(": ").map(|(_, source)| source).unwrap_or_default();
    // A space in a path is escaped, and such a path is not looked at.
    source.split_whitespace().all(|file| changed(Path::new(file)).is_none_or(|changed: SystemTime| changed <= built))
}
