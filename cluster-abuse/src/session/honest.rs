//! Two honest nodes with a bad connection between them, on which a restart of one is the worst that can happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::{Acknowledge, Config, Disconnect, Frame, LinkId, Receipt};

use super::{MAX_STEPS, message, number};
use crate::driver::{Driver, at, id, small};
use crate::tape::Tape;

pub(super) fn run(shape: u8, tape: &mut Tape<'_>) {
    let mut pair = Pair::new(shape);
    pair.hosts[0].driver.join(at(2));
    for _ in 0..MAX_STEPS {
        if !pair.step(tape) {
            break;
        }
    }
    pair.heal();
    pair.end();
}

struct Pair {
    hosts: [Host; 2],
    wires: BTreeMap<usize, Wire>,
    next_wire: usize,
    config: Config,
}

struct Host {
    driver: Driver,
    incarnation: u64,
    /// The wire behind each of its links.
    ends: BTreeMap<LinkId, usize>,
    /// The number of the next message it sends; it counts on over restarts.
    next: u64,
    /// Accepted by the runs so far, and not by one that was stopped since.
    accepted: BTreeSet<u64>,
    /// What its application has taken, in order.
    taken: Vec<u64>,
    receipts: VecDeque<Receipt>,
}

/// A connection: the link at either end, as long as that end has not heard that it is over, and what is on its way.
#[derive(Debug, Default)]
struct Wire {
    links: [Option<LinkId>; 2],
    ways: [VecDeque<Frame>; 2],
    /// Nothing arrives any more, not even its end.
    cut: bool,
}

impl Host {
    fn new(host: u8, incarnation: u64, config: &Config) -> Host {
        Host {
            driver: Driver::new(host, incarnation, config.clone()),
            incarnation,
            ends: BTreeMap::new(),
            next: 0,
            accepted: BTreeSet::new(),
            taken: Vec::new(),
            receipts: VecDeque::new(),
        }
    }
}

fn address(host: usize) -> SocketAddr {
    at(host as u8 + 1)
}

impl Pair {
    fn new(shape: u8) -> Pair {
        let mut config = Config::insecure_plaintext().limits(small());
        if shape & 1 == 1 {
            config = config.acknowledge(Acknowledge::Manual);
        }
        let hosts = [Host::new(1, 1_000, &config), Host::new(2, 1_000, &config)];
        Pair { hosts, wires: BTreeMap::new(), next_wire: 0, config }
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> bool {
        let Some(kind) = tape.try_byte() else { return false };
        let host = usize::from(kind >> 7);
        match kind % 10 {
            0 | 1 => self.send(host, usize::from(tape.short()) % 2_100),
            2 | 3 => (0..=tape.choice(16)).for_each(|_| self.take(host)),
            4 | 5 => self.deliver(host, 1 + tape.choice(8)),
            6 => self.pass(Duration::from_millis(u64::from(tape.byte()) * 8)),
            7 => self.cut(tape),
            8 => {
                let receipts = tape.choice(4).min(self.hosts[host].receipts.len());
                for receipt in self.hosts[host].receipts.drain(..receipts).collect::<Vec<_>>() {
                    self.hosts[host].driver.user(|node, now| node.acknowledge(now, receipt));
                }
            }
            // A restart is rare, or little else would be seen.
            _ if tape.byte() >= 240 => self.restart(host),
            _ => self.settle(),
        }
        self.connect();
        true
    }

    fn send(&mut self, host: usize, length: usize) {
        let number = self.hosts[host].next;
        let to = id(2 - host as u8);
        if self.hosts[host].driver.send(to, message(number, length)) {
            self.hosts[host].next += 1;
            self.hosts[host].accepted.insert(number);
        }
    }

    fn take(&mut self, host: usize) {
        if let Some(message) = self.hosts[host].driver.take() {
            assert_eq!(message.from.id, id(2 - host as u8));
            let number = number(&message.payload);
            let last = self.hosts[host].taken.last();
            assert!(last.is_none_or(|last| *last < number), "{number} was taken after {last:?}");
            self.hosts[host].taken.push(number);
            self.hosts[host].receipts.push_back(message.receipt);
        }
    }

    /// Does for both hosts what they ask for: dials, closes, and what they write goes on its way.
    fn connect(&mut self) {
        for host in 0..2 {
            let other = 1 - host;
            let links: Vec<LinkId> = self.hosts[host].driver.links.keys().copied().collect();
            for link in links {
                let line = &self.hosts[host].driver.links[&link];
                let (dialled, closed) = (line.dialled, line.closed.is_some());
                match (dialled, self.hosts[host].ends.get(&link)) {
                    (Some(to), None) if to == address(other) && !closed => self.dial(host, link),
                    (Some(_), None) => self.hosts[host].driver.end(link, Disconnect::Unreachable),
                    _ => {}
                }
                self.write(host, link);
                if closed {
                    self.finish(host, link, Disconnect::Closed);
                }
            }
        }
    }

    fn dial(&mut self, host: usize, link: LinkId) {
        let other = 1 - host;
        let Some(theirs) = self.hosts[other].driver.accept(address(host)) else {
            return self.hosts[host].driver.end(link, Disconnect::Refused);
        };
        let mut links = [Some(link), Some(theirs)];
        if host == 1 {
            links.reverse();
        }
        let wire = self.next_wire;
        self.next_wire += 1;
        self.wires.insert(wire, Wire { links, ..Wire::default() });
        self.hosts[host].ends.insert(link, wire);
        self.hosts[other].ends.insert(theirs, wire);
        let runs = [0, 1].map(|host: usize| self.hosts[host].driver.node.run());
        self.hosts[other].driver.connect(theirs, runs[host], None);
        self.hosts[host].driver.connect(link, runs[other], None);
    }

    /// What a host has written on a link is on its way.
    fn write(&mut self, host: usize, link: LinkId) {
        let Some(line) = self.hosts[host].driver.links.get_mut(&link) else { return };
        let written = std::mem::take(&mut line.written);
        let wire = self.hosts[host].ends.get(&link).and_then(|wire| self.wires.get_mut(wire));
        if let Some(wire) = wire.filter(|wire| !wire.cut) {
            wire.ways[host].extend(written);
        }
    }

    /// One end of a wire is gone. What it wrote before still arrives, and then its end.
    fn finish(&mut self, host: usize, link: LinkId, cause: Disconnect) {
        self.write(host, link);
        if let Some(wire) = self.hosts[host].ends.remove(&link).and_then(|wire| self.wires.get_mut(&wire)) {
            wire.links[host] = None;
        }
        self.hosts[host].driver.end(link, cause);
    }

    /// So many frames arrive at a host, on each of its wires; then the end of the wire, if it has ended.
    fn deliver(&mut self, host: usize, count: usize) {
        let other = 1 - host;
        for wire in self.wires.keys().copied().collect::<Vec<_>>() {
            for _ in 0..count {
                let Some(Wire { links, ways, cut }) = self.wires.get_mut(&wire) else { break };
                let Some(link) = links[host] else { break };
                match ways[other].pop_front() {
                    Some(frame) => self.hosts[host].driver.frame(link, frame),
                    None if links[other].is_none() && !*cut => self.finish(host, link, Disconnect::Ended),
                    None => break,
                }
            }
        }
        self.wires.retain(|_, wire| wire.links != [None, None]);
    }

    /// A wire is cut: what was on its way is lost. Its ends hear of it now, or find out for themselves.
    fn cut(&mut self, tape: &mut Tape<'_>) {
        let wires: Vec<usize> = self.wires.keys().copied().collect();
        let Some(wire) = wires.get(tape.choice(wires.len())) else { return };
        let heard = tape.byte();
        let Some(Wire { links, ways, cut }) = self.wires.get_mut(wire) else { return };
        *cut = true;
        ways.iter_mut().for_each(VecDeque::clear);
        let links = *links;
        for (host, link) in links.into_iter().enumerate() {
            if let (Some(link), true) = (link, heard >> host & 1 == 0 || heard & 4 == 4) {
                self.finish(host, link, Disconnect::Reset);
            }
        }
    }

    fn restart(&mut self, host: usize) {
        self.connect();
        let links: Vec<LinkId> = self.hosts[host].driver.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.finish(host, link, Disconnect::Reset));
        let stopped = &self.hosts[host];
        let (incarnation, next, now) = (stopped.incarnation + 1, stopped.next, stopped.driver.now);
        let taken = stopped.taken.clone();
        self.hosts[host] = Host { next, taken, ..Host::new(host as u8 + 1, incarnation, &self.config) };
        self.hosts[host].driver.stall(now - self.hosts[host].driver.now);
        self.hosts[host].driver.join(address(1 - host));
    }

    fn pass(&mut self, span: Duration) {
        self.hosts.iter_mut().for_each(|host| host.driver.pass(span));
    }

    /// A few milliseconds in which everything arrives.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.connect();
            (0..2).for_each(|host| self.deliver(host, usize::from(u8::MAX)));
            self.pass(Duration::from_millis(5));
        }
    }

    /// The connection is good again, and both take what comes, until nothing is left that could come.
    fn heal(&mut self) {
        for _ in 0..150 {
            let idle = |host: &Host| (host.driver.node.memory().received, host.driver.node.memory().retained) == (0, 0);
            if self.hosts.iter().all(|host| idle(host) && host.receipts.is_empty()) {
                break;
            }
            for host in 0..2 {
                for receipt in std::mem::take(&mut self.hosts[host].receipts) {
                    self.hosts[host].driver.user(|node, now| node.acknowledge(now, receipt));
                }
                (0..64).for_each(|_| self.take(host));
            }
            self.settle();
            self.pass(Duration::from_secs(1));
        }
    }

    /// What each has accepted was taken by the other, or was reported, or both: then it was in doubt.
    fn end(mut self) {
        for host in 0..2 {
            let taken: BTreeSet<u64> = self.hosts[1 - host].taken.iter().copied().collect();
            let Host { driver, accepted, .. } = &mut self.hosts[host];
            let undelivered: BTreeSet<u64> = driver.undelivered.iter().map(|payload| number(payload)).collect();
            assert_eq!(undelivered.len(), driver.undelivered.len(), "nothing is reported twice");
            let settled: BTreeSet<u64> = taken.union(&undelivered).copied().collect();
            let lost: Vec<&u64> = accepted.difference(&settled).collect();
            assert!(lost.is_empty(), "{lost:?} have no outcome: {:?}", driver.node.usage());
            assert!(undelivered.is_subset(accepted), "{undelivered:?} of {accepted:?}");
            let certain: BTreeSet<u64> = driver.not_delivered.iter().map(|payload| number(payload)).collect();
            assert!(certain.is_disjoint(&taken), "not delivered, and taken");
        }
    }
}
