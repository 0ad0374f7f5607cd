//! How many seeds it takes to find each of the bugs that the core can be built with:
//!
//! ```sh
//! RUSTFLAGS="--cfg cluster_mutants" cargo run --release -p cluster-sim --example mutants -- [NAME]...
//! ```
//!
//! Without names all of them are tried. The exit status is 1 if one is not found within 2,000 seeds.

use std::process::ExitCode;

#[cfg(cluster_mutants)]
fn main() -> ExitCode {
    use std::time::Instant;

    use cluster_core::Mutant;
    use cluster_sim::{Schedule, Swarm, World};

    let names: Vec<String> = std::env::args().skip(1).collect();
    let named = |mutant: &&Mutant| names.is_empty() || names.iter().any(|name| *name == format!("{mutant:?}"));
    let mutants: Vec<Mutant> = Mutant::ALL.iter().filter(named).copied().collect();
    if mutants.len() < names.len() || mutants.is_empty() {
        eprintln!("mutants: the bugs are {:?}", Mutant::ALL);
        return ExitCode::from(2);
    }
    let mut missed = 0;
    for mutant in mutants {
        let begin = Instant::now();
        let found = Swarm::new(0..SEEDS).shrink(false).run(|seed| {
            Mutant::choose(Some(mutant));
            World::builder().schedule(Schedule::random(seed))
        });
        let took = begin.elapsed().as_secs();
        match found {
            Err(failure) => {
                let (seed, steps) = (failure.schedule.seed, failure.schedule.steps.len());
                let text = failure.cause.to_string();
                let text = text.lines().next().unwrap_or_default();
                println!("{mutant:?}: found by seed {seed}, whose schedule has {steps} steps, {took} s: {text}");
            }
            Ok(_) => {
                missed += 1;
                println!("{mutant:?}: NOT FOUND within {SEEDS} seeds, {took} s");
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Within so many seeds each must be found.
#[cfg(cluster_mutants)]
const SEEDS: u64 = 2_000;

#[cfg(not(cluster_mutants))]
fn main() -> ExitCode {
    eprintln!("mutants: build with RUSTFLAGS=\"--cfg cluster_mutants\", or the core has no bugs to find");
    ExitCode::from(2)
}
