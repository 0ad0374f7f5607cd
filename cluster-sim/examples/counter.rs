//! A replicated counter with a bug, the simulator that finds it, and the counter without it.
//!
//! Each node counts something of its own, and knows what the others have counted. What it counts it tells them at once,
//! as a difference; and whenever a peer comes up, it tells that peer everything, since that may have missed some.
//!
//! ```sh
//! cargo run -p cluster-sim --example counter
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_core::{Event, Message, NodeId};
use cluster_sim::{App, Builder, Ctx, Failure, Fault, Faults, Rate, Swarm, World};

/// The seeds that are tried.
const SEEDS: std::ops::Range<u64> = 0..100;

const COUNT: u64 = 0;

/// A counter of which each node has a part.
struct Counter {
    version: Version,
    /// What this node has counted, in all its lives.
    mine: u64,
    /// What the others have counted, as far as this node knows.
    others: BTreeMap<NodeId, u64>,
}

#[derive(Clone, Copy)]
enum Version {
    /// Messages are differences. What a peer is told when it comes up is added to what it knows, even if it was only
    /// cut off for a while and still knows everything.
    Differences,
    /// Messages are totals, of which the largest counts, however often and in whatever order they come.
    Totals,
}

impl Counter {
    fn start(ctx: &mut Ctx<'_>, version: Version) -> Counter {
        ctx.set_timer(COUNT, Duration::from_millis(500));
        Counter { version, mine: ctx.disk().read_u64("mine").unwrap_or(0), others: BTreeMap::new() }
    }

    fn total(&self) -> u64 {
        self.mine + self.others.values().sum::<u64>()
    }
}

impl App for Counter {
    fn on_timer(&mut self, ctx: &mut Ctx<'_>, _: u64) {
        let counted = 1 + ctx.draw(9);
        self.mine += counted;
        ctx.disk().write_u64("mine", self.mine);
        let told = match self.version {
            Version::Differences => counted,
            Version::Totals => self.mine,
        };
        // Whoever is not up now is told when it is.
        let _ = ctx.broadcast(told.to_be_bytes().to_vec());
        ctx.set_timer(COUNT, Duration::from_millis(500));
    }

    fn on_event(&mut self, ctx: &mut Ctx<'_>, event: Event) {
        if let Event::PeerUp(peer) = event {
            // If there is no room for it, the peer learns it when it comes up again.
            let _ = ctx.send(peer.run.id, self.mine.to_be_bytes().to_vec());
        }
    }

    fn on_message(&mut self, ctx: &mut Ctx<'_>, message: Message) {
        let Ok(bytes) = message.payload[..].try_into() else { return };
        let told = u64::from_be_bytes(bytes);
        let known = self.others.entry(message.from.id).or_insert(0);
        match self.version {
            Version::Differences => *known += told,
            Version::Totals => *known = told.max(*known),
        }
        ctx.log(format!("{:?} told {told}: the total is {}", message.from.id, self.total()));
    }
}

/// Nobody may know of more than was counted.
fn nothing_counts_twice(world: &World) -> Result<(), String> {
    let counted: u64 = world.hosts().map(|host| world.host(host).disk().read_u64("mine").unwrap_or(0)).sum();
    match world.apps::<Counter>().find(|(_, counter)| counter.total() > counted) {
        Some((host, counter)) => Err(format!("{host} has a total of {}, but {counted} were counted", counter.total())),
        None => Ok(()),
    }
}

fn scenario(version: Version) -> Builder {
    let faults = Faults::none()
        .with(Fault::Crash, Rate::LOW)
        .with(Fault::Cut, Rate::LOW)
        .with(Fault::Reset, Rate::LOW)
        .with(Fault::Pause, Rate::LOW);
    World::builder()
        .app(move |ctx| Counter::start(ctx, version))
        .duration(Duration::from_secs(60))
        .faults(faults)
        .invariant(nothing_counts_twice)
}

/// What is wrong with the lowest seed that fails.
fn search(version: Version) -> Option<Box<Failure>> {
    Swarm::new(SEEDS).run(|_| scenario(version)).err()
}

fn main() {
    match search(Version::Differences) {
        Some(failure) => println!("{failure}\n"),
        None => println!("the bug was not found\n"),
    }
    match search(Version::Totals) {
        Some(failure) => println!("The counter of totals is wrong, too: {failure}"),
        None => println!("The counter of totals is right with every seed of {SEEDS:?}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_bug_is_found_soon_and_its_schedule_is_short() {
        let begin = Instant::now();
        let failure = search(Version::Differences).expect("the bug is found");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert!(failure.to_string().contains("were counted"), "{failure}");
        assert!((1..=10).contains(&failure.schedule.steps.len()), "{failure}");
        let again = scenario(Version::Differences).schedule(failure.schedule.clone()).run().unwrap_err();
        assert_eq!(again.cause, failure.cause);
    }

    #[test]
    fn the_counter_without_it_is_right() {
        assert!(search(Version::Totals).is_none());
    }
}
