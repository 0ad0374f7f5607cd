//! What this crate is built from.

use std::process::Command;

#[test]
fn no_async_runtime_is_in_the_dependency_tree() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["tree", "--offline", "--locked", "-p", "cluster-std", "-e", "normal"];
    let output = Command::new(cargo)
        .args(args)
        .args(["--all-features", "--prefix", "none", "--no-dedupe", "-f", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("text");
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for expected in ["cluster-std", "cluster-core", "bytes", "socket2"] {
        assert!(crates.contains(&expected), "{expected} is not among {crates:?}");
    }
    let is_async = |name: &&str| {
        let prefixes = ["tokio", "async-", "futures", "smol", "embassy", "monoio", "glommio", "compio"];
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || ["mio", "polling", "may"].contains(name)
    };
    let found: Vec<&str> = crates.into_iter().filter(is_async).collect();
    assert!(found.is_empty(), "{found:?}");
}
