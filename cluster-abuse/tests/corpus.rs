//! What fuzzers have found before is tried again on every run: each corpus, each input that once broke something, and a
//! few thousand that are nearly the same.

use std::path::{Path, PathBuf};

use cluster_abuse::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn inputs(folder: &str, target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join(target.name);
    let Ok(files) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// Runs every file, and says which one it was that broke something.
fn replay(name: &str) {
    let target = target(name);
    let corpus = inputs("corpus", &target);
    assert!(corpus.len() >= 5, "{name} has no corpus");
    for (path, bytes) in corpus.into_iter().chain(inputs("regressions", &target)) {
        let run = std::panic::catch_unwind(|| (target.run)(&bytes));
        assert!(run.is_ok(), "{} breaks a promise", path.display());
    }
}

/// A change to an input of the corpus.
#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    /// The rest is that of another input.
    Cross(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    use Mutation::*;
    let some = || any::<u16>().prop_map(usize::from);
    prop_oneof![
        (some(), prop_oneof![any::<u8>(), Just(0x40), Just(0xff), Just(0)]).prop_map(|(at, byte)| Set(at, byte)),
        (some(), 0_u32..8).prop_map(|(at, bit)| Flip(at, 1 << bit)),
        (some(), prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Insert(at, bytes)),
        (some(), 1_usize..16).prop_map(|(at, count)| Remove(at, count)),
        (some(), 1_usize..40).prop_map(|(at, count)| Repeat(at, count)),
        (some(), some()).prop_map(|(at, other)| Cross(at, other)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)], mutation: Mutation) {
    let within = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
    match mutation {
        Mutation::Set(at, new) => {
            let at = within(at, bytes);
            bytes[at..].iter_mut().take(1).for_each(|byte| *byte = new);
        }
        Mutation::Flip(at, bit) => {
            let at = within(at, bytes);
            bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= bit);
        }
        Mutation::Insert(at, new) => {
            let at = within(at, bytes);
            bytes.splice(at..at, new);
        }
        Mutation::Remove(at, count) => {
            let at = within(at, bytes);
            bytes.drain(at..(at + count).min(bytes.len()));
        }
        Mutation::Repeat(at, count) => {
            let at = within(at, bytes);
            let part = bytes[at..(at + count).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
        Mutation::Cross(at, other) => {
            let at = within(at, bytes);
            let other = &corpus[other % corpus.len()].1;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
}

fn mutated(name: &str, cases: u32) {
    let target = target(name);
    let corpus = inputs("corpus", &target);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let strategy = (any::<prop::sample::Index>(), prop::collection::vec(mutation(), 1..6));
    let run = TestRunner::new(config).run(&strategy, |(index, mutations)| {
        let mut bytes = index.get(&corpus).1.clone();
        mutations.into_iter().for_each(|mutation| mutate(&mut bytes, &corpus, mutation));
        bytes.truncate(target.max_len);
        (target.run)(&bytes);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

macro_rules! tests {
    ($($target:ident, $cases:literal;)*) => {$(
        mod $target {
            #[test]
            fn what_was_found_before_breaks_nothing() {
                super::replay(stringify!($target));
            }

            #[test]
            fn what_is_nearly_the_same_breaks_nothing() {
                super::mutated(stringify!($target), $cases);
            }
        }
    )*};
}

tests! {
    record, 2_000;
    preamble, 4_000;
    handshake, 1_000;
    frame, 8_000;
    node, 3_000;
    session, 3_000;
}

#[test]
fn every_target_is_replayed() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, ["record", "preamble", "handshake", "frame", "node", "session"]);
}
