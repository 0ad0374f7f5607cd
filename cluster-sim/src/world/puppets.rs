//! The puppets of a world, and what a test has them do.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::wire::Profile;
use cluster_core::{Advertised, Config, Frame, Identity, Incarnation, NodeId, Run};
use cluster_timeline::record::HostId;

use super::World;
use crate::io::Io;
use crate::machine::{Process, Spec};
use crate::puppet::{Puppet, PuppetLink, PuppetState, Script};
use crate::rng::{Purpose, Rng};

/// A puppet, to do something with.
#[derive(Debug)]
pub struct PuppetMut<'w> {
    world: &'w mut World,
    host: HostId,
}

impl World {
    /// Adds a host at `ip` on which a puppet listens at port 7000.
    ///
    /// # Panics
    ///
    /// If the text is no IP address, or the address is taken.
    pub fn add_puppet(&mut self, ip: &str, script: Script) -> HostId {
        let spec = Spec::new(Config::insecure_plaintext()).ip(ip).port(7_000).stopped();
        let host = self.add_machine(spec, Process::Absent);
        let address = self.host(host).addr();
        self.net.listen(host, address, None);
        let mut rng = Rng::new(self.seed, Purpose::Puppet, host.0, 0);
        let drawn = Run { id: NodeId::from_bytes(rng.bytes()), incarnation: Incarnation(self.wall_clock()) };
        let identity = Identity::from_bytes(Rng::new(self.seed, Purpose::Identity, host.0, 0).bytes());
        let mut run = script.run.unwrap_or(drawn);
        if script.secrets.is_some() {
            run.id = identity.id();
        }
        let profile = script.profile.clone().unwrap_or_else(|| Profile {
            name: None,
            metadata: Bytes::new(),
            addresses: vec![Advertised::Socket(address)],
            max_message: 16 << 20,
            window: 256 << 10,
        });
        let machine = &mut self.machines[host.index()];
        machine.life = 1;
        machine.run = Some(run);
        machine.listen = Some(address);
        machine.process = Process::Puppet(Box::new(Puppet::new(script, run, identity, profile, rng)));
        self.trace.name(run.id, host);
        host
    }

    /// The puppet on `host`, to do something with.
    ///
    /// # Panics
    ///
    /// If it is no host of this world. Its methods panic if there is no puppet on it.
    #[track_caller]
    pub fn puppet(&mut self, host: HostId) -> PuppetMut<'_> {
        self.assert_here(host);
        PuppetMut { world: self, host }
    }

    /// The links of a puppet that are not over, in the order in which they began.
    pub(crate) fn open_puppet_links(&self, host: HostId) -> Vec<(PuppetLink, PuppetState)> {
        self.host(host).puppet().alive().collect()
    }
}

impl PuppetMut<'_> {
    /// Dials an address. The answer is the name of the link.
    pub fn dial(&mut self, to: SocketAddr) -> PuppetLink {
        let run = self.world.host(self.host).puppet().run();
        self.dial_as(to, run)
    }

    /// Dials an address, and says there that it is this run. The answer is the name of the link.
    pub fn dial_as(&mut self, to: SocketAddr, run: Run) -> PuppetLink {
        self.act(|puppet, io| puppet.dial(io, to, run))
    }

    /// Is the next run of itself from now on, on links that are opened later.
    pub fn age(&mut self) {
        self.act(Puppet::age);
    }

    /// Sends a frame on the latest link.
    pub fn send(&mut self, frame: Frame) {
        let Some(link) = self.world.host(self.host).puppet().latest() else {
            panic!("the puppet on {} has no link", self.host)
        };
        self.send_on(link, frame);
    }

    /// Sends a frame on a link, which must be connected.
    pub fn send_on(&mut self, link: PuppetLink, frame: Frame) {
        self.act(|puppet, io| puppet.send(io, link, frame));
    }

    /// Sends a message as a member would: the next bytes of the link's stream, without regard to credit.
    pub fn say_on(&mut self, link: PuppetLink, payload: &[u8]) {
        self.act(|puppet, io| puppet.say(io, link, payload));
    }

    /// Ends this direction of a link.
    pub fn shutdown(&mut self, link: PuppetLink) {
        self.act(|puppet, io| puppet.shutdown(io, link));
    }

    /// Closes a link without a goodbye.
    pub fn close(&mut self, link: PuppetLink) {
        self.act(|puppet, io| puppet.close(io, link));
    }

    /// Resets a link.
    pub fn reset(&mut self, link: PuppetLink) {
        self.act(|puppet, io| puppet.reset(io, link));
    }

    /// Changes what the puppet does by itself. What it is stays as it was.
    pub fn script(&mut self, change: impl FnOnce(&mut Script)) {
        self.act(|puppet, io| puppet.change(io, change));
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Puppet, &mut Io<'_>) -> T) -> T {
        let host = self.host;
        let result = self.world.with_process(host, |process, io, _| match process {
            Process::Puppet(puppet) => act(puppet, io),
            Process::Absent | Process::Node(_) => panic!("there is no puppet on {host}"),
        });
        self.world.wake_all();
        result
    }
}
