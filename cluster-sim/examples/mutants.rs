//! How many seeds it takes to find each of the bugs that the core can be built with:
//!
//! ```sh
//! RUSTFLAGS="--cfg cluster_mutants" cargo run --release -p cluster-sim --example mutants -- [NAME]...
//! ```
//!
//! Without names all of them are tried. The exit status is 1 if one is not found within 2,000 seeds.
//!
//! A bug in how often a node dials breaks its policy and no promise to others, so no check of a schedule finds it. It is
//! found by the scenario that checks this policy. A grant that comes too late is rare in schedules, and has a scenario too.

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
        if let Mutant::BackoffResetAtConnect = mutant {
            Mutant::choose(Some(mutant));
            let dials = dials_for_links_that_never_last();
            let found = dials > MOST_DIALS;
            missed += usize::from(!found);
            let verdict = if found { "found by a scenario" } else { "NOT FOUND by a scenario" };
            println!("{mutant:?}: {verdict}: {dials} dials where no link lasts");
            continue;
        }
        if let Mutant::OutdatedAccept = mutant {
            Mutant::choose(Some(mutant));
            std::panic::set_hook(Box::new(|_| ()));
            let found = (0..SEEDS).find(|seed| std::panic::catch_unwind(|| dials_that_cross(*seed)).is_err());
            drop(std::panic::take_hook());
            missed += usize::from(found.is_none());
            match found {
                Some(seed) => println!("{mutant:?}: found by a scenario with seed {seed}"),
                None => println!("{mutant:?}: NOT FOUND by a scenario with {SEEDS} seeds"),
            }
            continue;
        }
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

/// So many dials are made in twenty minutes at the most if no link lasts: the bound of the scenario
/// `s35_link_that_never_lasts_is_dialled_ever_more_rarely`.
#[cfg(cluster_mutants)]
const MOST_DIALS: usize = 400;

/// Two nodes, and every link between them breaks within half a second.
#[cfg(cluster_mutants)]
fn dials_for_links_that_never_last() -> usize {
    use std::time::Duration;

    use cluster_core::Config;
    use cluster_sim::World;

    let mut world = World::new(1);
    let hosts = world.add_many(2, &Config::insecure_plaintext());
    let (a, b) = (hosts[0], hosts[1]);
    world.node(a).join(b).expect("the first join is accepted");
    world.run_for(Duration::from_secs(1));
    for _ in 0..2 * 1_200 {
        world.run_for(Duration::from_millis(500));
        if world.linked(a, b) {
            world.net_mut().reset_connections(a, b);
        }
    }
    world.net().dials().len()
}

/// Two nodes whose connections break all the time, at one end first, so that their dials cross: the scenario
/// `grant_that_outlives_its_link_is_void_where_dials_cross`. Panics if a promise is broken.
#[cfg(cluster_mutants)]
fn dials_that_cross(seed: u64) {
    use std::time::Duration;

    use cluster_core::Config;
    use cluster_sim::{Latency, World};

    let millis = Duration::from_millis;
    let swift = Config::insecure_plaintext().reconnect(millis(1), millis(100)).stable_after(Duration::ZERO);
    let mut world = World::new(seed);
    let (a, b) = (world.add(swift.clone()), world.add(swift));
    world.net_mut().set_latency(Latency::Uniform { base: millis(20), jitter: millis(60) });
    world.node(a).join(b).expect("the first join is accepted");
    world.node(b).join(a).expect("the first join is accepted");
    for _ in 0..1_000 {
        let wait = world.draw(200);
        world.run_for(millis(wait));
        let (at, peer) = if world.draw(2) == 0 { (a, b) } else { (b, a) };
        world.net_mut().abort_oldest(at, peer);
        for (from, to) in [(a, b), (b, a)] {
            // The send fails until the two have met for the first time.
            let _ = world.node(from).send_numbered(to, 10);
        }
    }
}

#[cfg(not(cluster_mutants))]
fn main() -> ExitCode {
    eprintln!("mutants: build with RUSTFLAGS=\"--cfg cluster_mutants\", or the core has no bugs to find");
    ExitCode::from(2)
}
