//! Thin means thin: the adapters are small, and what they must not hold is not there.
//!
//! Counted is every line of `src` up to the tests of its file, but comments and empty lines.

use std::fs;
use std::path::Path;

/// The most lines of an adapter, and of what both are built on.
const LINES: usize = 1_100;

/// Where the code of adapters is.
const ADAPTERS: [&str; 3] = ["cluster-tokio", "cluster-std", "cluster-host"];

/// What belongs in the core: a retry, an interval, a policy for addresses, a table of peers.
const DECISIONS: [&str; 12] = [
    "retry",
    "retries",
    "backoff",
    "jitter",
    "heartbeat",
    "interval",
    "is_loopback",
    "is_private",
    "is_multicast",
    "is_link_local",
    "Map<NodeId, Peer",
    "Map<Run",
];

/// The lines of code of a crate, each with its file.
fn code(adapter: &str) -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(adapter).join("src");
    let mut lines = Vec::new();
    for entry in fs::read_dir(src).expect("the adapter is beside the suite") {
        let path = entry.expect("it can be read").path();
        let text = fs::read_to_string(&path).expect("src has files only");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().lines().map(str::trim);
        let code = code.filter(|line| !line.is_empty() && !line.starts_with("//"));
        lines.extend(code.map(|line| (path.display().to_string(), line.to_owned())));
    }
    lines
}

#[test]
fn the_adapters_are_thin() {
    for adapter in ADAPTERS {
        let lines = code(adapter);
        println!("{adapter}: {} lines", lines.len());
        assert!(lines.len() < LINES, "{adapter} has {} lines", lines.len());
        assert!(lines.len() > LINES / 4, "{adapter} is not counted");
    }
}

#[test]
fn no_decision_is_in_an_adapter() {
    for (file, line) in ADAPTERS.into_iter().flat_map(code) {
        for word in DECISIONS {
            assert!(!line.contains(word), "{file}: {line}");
        }
    }
}
