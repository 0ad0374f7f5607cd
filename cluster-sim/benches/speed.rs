//! How fast the simulator is: `cargo bench -p cluster-sim`, with words after `--` to run only the figures whose names
//! contain one of them.
//!
//! Each figure is the best of several runs on one core, in processor time where the system tells it (Linux), so that
//! other processes on the machine disturb little, and in real time elsewhere. It depends on the machine all the same:
//! compare figures of one sitting.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster_core::Config;
use cluster_sim::{Crash, HostId, Restart, World};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!(
        "A step is one entry of the queue of virtual time (an arrival, a tick of a node, ...) with all that follows"
    );
    println!(
        "from it at that instant. A message is one that a user sent and another took. Checks are on unless said.\n"
    );
    for figure in figures() {
        if words.is_empty() || words.iter().any(|word| figure.name.contains(word.as_str())) {
            let best = (0..figure.runs).map(|_| (figure.run)()).min_by(|a, b| a.span.cmp(&b.span)).unwrap();
            let rate = best.count as f64 / best.span.as_secs_f64();
            println!("{:<28} {rate:>12.1} {} in {:?}: {}", figure.name, figure.unit, best.span, figure.definition);
        }
    }
}

struct Figure {
    name: &'static str,
    unit: &'static str,
    definition: &'static str,
    runs: u32,
    run: Box<dyn Fn() -> Measured>,
}

/// So many things took so long.
struct Measured {
    count: u64,
    span: Duration,
}

fn figures() -> Vec<Figure> {
    let figure = |name, unit, definition, runs, run| Figure { name, unit, definition, runs, run };
    vec![
        figure("idle of 3", "steps/s", "3 connected nodes and their heartbeats", 5, Box::new(|| idle(3))),
        figure("idle of 16", "steps/s", "16 connected nodes and their heartbeats", 5, Box::new(|| idle(16))),
        figure("idle of 64", "steps/s", "64 connected nodes and their heartbeats", 5, Box::new(|| idle(64))),
        figure("talk of 3", "steps/s", "10,000 messages a second of up to 1,000 bytes", 5, Box::new(|| talk(3, true))),
        figure("talk of 16", "steps/s", "the same among 16 nodes", 5, Box::new(|| talk(16, true))),
        figure("talk of 64", "steps/s", "the same among 64 nodes", 5, Box::new(|| talk(64, true))),
        figure("talk of 16, unchecked", "steps/s", "the same with the checks off", 5, Box::new(|| talk(16, false))),
        figure(
            "messages, unchecked",
            "messages/s",
            "64 bytes each from one node to another, with the checks off and bytes never split",
            5,
            Box::new(|| messages(false, false)),
        ),
        figure(
            "messages, unchecked, split",
            "messages/s",
            "bytes split at random",
            5,
            Box::new(|| messages(false, true)),
        ),
        figure(
            "messages",
            "messages/s",
            "with the checks, bytes split at random",
            5,
            Box::new(|| messages(true, true)),
        ),
        figure(
            "all to all of 10, unchecked",
            "messages/s",
            "each sends 64 bytes to each other every millisecond, 1 ms away, with the checks off",
            5,
            Box::new(|| all_to_all(false)),
        ),
        figure("all to all of 10", "messages/s", "the same with the checks", 5, Box::new(|| all_to_all(true))),
        figure("seeds", "seeds/s", "3 nodes for 60 virtual seconds, with faults and messages", 5, Box::new(seeds)),
        figure("mesh of 100 forms", "meshes/s", "100 nodes join one of them at once", 2, Box::new(|| forms(100))),
        figure("mesh of 100 heals", "meshes/s", "the same, then cut in two for 60 s and healed", 1, Box::new(heals)),
        figure("mesh of 300 forms", "meshes/s", "300 nodes join one of them at once", 1, Box::new(|| forms(300))),
    ]
}

fn idle(nodes: usize) -> Measured {
    let (mut world, _) = mesh(World::new(1), nodes);
    world.settle();
    let span = Duration::from_secs(86_400 / (nodes * (nodes - 1)) as u64);
    measure(|| {
        let before = world.steps();
        world.run_for(span);
        world.steps() - before
    })
}

fn talk(nodes: usize, checks: bool) -> Measured {
    let mut world = World::new(1);
    world.set_checks(checks);
    let (mut world, hosts) = mesh(world, nodes);
    world.settle();
    measure(|| {
        let before = world.steps();
        for _ in 0..40_000 {
            let from = hosts[world.draw(nodes as u64) as usize];
            let to = hosts[world.draw(nodes as u64) as usize];
            if from != to {
                let length = world.draw(1_000) as usize;
                world.node(from).send_numbered(to, length).unwrap();
            }
            world.run_for(Duration::from_micros(100));
        }
        world.steps() - before
    })
}

fn messages(checks: bool, chunked: bool) -> Measured {
    const MESSAGES: u64 = 300_000;
    let mut world = World::new(1);
    world.set_checks(checks);
    world.net_mut().set_chunked(chunked);
    let (mut world, hosts) = mesh(world, 2);
    let id = world.host(hosts[1]).id();
    let payload = Bytes::from_static(&[7; 64]);
    measure(|| {
        while world.host(hosts[1]).taken() < MESSAGES {
            for _ in 0..1_000 {
                world.node(hosts[0]).send(id, payload.clone()).unwrap();
            }
            world.run_for(Duration::from_millis(2));
        }
        MESSAGES
    })
}

/// The traffic by which other simulators were measured: nothing that could be sent as one.
fn all_to_all(checks: bool) -> Measured {
    let mut world = World::new(1);
    world.set_checks(checks);
    world.net_mut().set_chunked(false);
    world.net_mut().set_latency(Duration::from_millis(1));
    let (mut world, hosts) = mesh(world, 10);
    let ids: Vec<_> = hosts.iter().map(|&host| world.host(host).id()).collect();
    let payload = Bytes::from_static(&[7; 64]);
    let taken = |world: &World| hosts.iter().map(|&host| world.host(host).taken()).sum::<u64>();
    measure(|| {
        let before = taken(&world);
        for _ in 0..1_000 {
            for &host in &hosts {
                let me = world.host(host).id();
                for &to in ids.iter().filter(|&&to| to != me) {
                    world.node(host).send(to, payload.clone()).unwrap();
                }
            }
            world.run_for(Duration::from_millis(1));
        }
        taken(&world) - before
    })
}

fn seeds() -> Measured {
    const SEEDS: u64 = 50;
    measure(|| {
        black_box((0..SEEDS).map(minute).fold(0, |all, hash| all ^ hash));
        SEEDS
    })
}

/// A fault or a message of up to 10 kB every 50 ms.
fn minute(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.keep_lines(0);
    let config = Config::insecure_plaintext().seed("10.0.0.1:7000".parse().unwrap());
    let hosts = world.add_many(3, &config);
    for _ in 0..1_200 {
        let from = hosts[world.draw(3) as usize];
        let to = hosts[world.draw(3) as usize];
        match world.draw(100) {
            0 => world.net_mut().cut(from, to),
            1 => world.net_mut().cut_one_way(from, to),
            2..4 => world.net_mut().heal_all(),
            4 => drop(world.net_mut().reset_connections(from, to)),
            5 if world.host(from).is_running() => world.host_mut(from).crash(Crash::Power),
            5..7 if !world.host(from).is_running() => world.host_mut(from).restart(Restart::default()),
            _ if from != to && world.host(from).is_running() => {
                let length = world.draw(10_000) as usize;
                let _ = world.node(from).send_numbered(to, length);
            }
            _ => {}
        }
        world.run_for(Duration::from_millis(50));
    }
    world.trace_hash()
}

fn forms(nodes: usize) -> Measured {
    measure(|| {
        black_box(mesh(World::new(1), nodes));
        1
    })
}

fn heals() -> Measured {
    measure(|| {
        let (mut world, hosts) = mesh(World::new(1), 100);
        let (one, other) = hosts.split_at(50);
        world.net_mut().partition(one, other);
        world.run_for(Duration::from_secs(60));
        assert!(!world.host(one[0]).sees(other[0]));
        world.net_mut().heal_all();
        world.expect("the mesh is whole again", Duration::from_secs(120), World::is_complete);
        1
    })
}

/// A complete mesh, of whose trace nothing is kept.
fn mesh(mut world: World, nodes: usize) -> (World, Vec<HostId>) {
    world.keep_lines(0);
    let hosts = world.add_many(nodes, &Config::insecure_plaintext());
    for &host in &hosts {
        world.host_mut(host).keep_messages(false);
    }
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", Duration::from_secs(60), World::is_complete);
    (world, hosts)
}

fn measure(work: impl FnOnce() -> u64) -> Measured {
    let (processor, real) = (processor_time(), Instant::now());
    let count = work();
    let real = real.elapsed();
    let span = processor.and_then(|before| processor_time().map(|after| after - before)).unwrap_or(real);
    Measured { count, span }
}

/// How long this thread has run so far.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
