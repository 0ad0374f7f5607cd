//! What a test does to one host.

use std::any::type_name;

use cluster_timeline::record::HostId;

use super::World;
use crate::app::{App, Ctx};
use crate::machine::parse;
use crate::net::Buffers;

/// A host, to do something to. What can be seen of it is in [`Host`](crate::Host), the verbs of its node in
/// [`NodeMut`](crate::NodeMut).
#[derive(Debug)]
pub struct HostMut<'w> {
    pub(crate) world: &'w mut World,
    pub(crate) host: HostId,
}

impl World {
    /// Returns a handle through which a test does something to a host.
    ///
    /// # Panics
    ///
    /// If it is no host of this world.
    #[track_caller]
    pub fn host_mut(&mut self, host: HostId) -> HostMut<'_> {
        self.assert_here(host);
        HostMut { world: self, host }
    }
}

impl HostMut<'_> {
    /// Whether messages are kept for [`Host::messages`](crate::Host::messages). Default: yes.
    #[track_caller]
    pub fn keep_messages(&mut self, keep: bool) {
        let host = self.host;
        self.world.machines[host.index()].log.keep_messages = keep;
    }

    /// Dials of the host seem to come from this address; `None`: from its own.
    #[track_caller]
    pub fn masquerade(&mut self, ip: Option<&str>) {
        let host = self.host;
        self.world.net.masquerade(host, ip.map(parse));
    }

    /// The buffers of new connections of this host: its send buffer for what it writes, its receive buffer for what
    /// it reads.
    #[track_caller]
    pub fn set_buffers(&mut self, buffers: Buffers) {
        let host = self.host;
        self.world.net.set_buffers(host, buffers);
    }

    /// Calls a function with the application on the host, as a client of the program would. What it asks for has
    /// happened when this returns.
    ///
    /// # Panics
    ///
    /// If no application of this type runs there, or it is paused.
    #[track_caller]
    pub fn with_app<A: App, T>(&mut self, act: impl FnOnce(&mut A, &mut Ctx<'_>) -> T) -> T {
        let host = self.host;
        assert!(!self.world.machines[host.index()].paused, "{host} is paused: its process does not run");
        assert!(self.world.host(host).find_app::<A>().is_some(), "no {} runs on {host}", type_name::<A>());
        self.world.with_driver(host, |driver, io| driver.with_app(io, act)).expect("it was found")
    }
}
