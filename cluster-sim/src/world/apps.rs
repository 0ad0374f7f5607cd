//! The applications on the nodes of a world.

use std::any::type_name;

use cluster_timeline::record::HostId;

use super::World;
use crate::app::{App, Ctx, Disk, Factory};

/// Applications.
impl World {
    /// Every node that starts from now on runs an application, which `make` makes when the node has just started. It may
    /// set timers, and read the disk.
    pub fn set_app<A: App>(&mut self, make: impl Fn(&mut Ctx<'_>) -> A + 'static) {
        self.set_factory(Some(Factory::new(make)));
    }

    /// The application on `host`, to look at.
    ///
    /// # Panics
    ///
    /// If none of this type runs there.
    #[must_use]
    #[track_caller]
    pub fn app<A: App>(&self, host: HostId) -> &A {
        self.find_app(host).unwrap_or_else(|| panic!("no {} runs on {host}", type_name::<A>()))
    }

    /// Every application of this type that runs, in the order of hosts.
    pub fn apps<A: App>(&self) -> impl Iterator<Item = (HostId, &A)> {
        self.hosts().filter_map(|host| Some((host, self.find_app(host)?)))
    }

    /// Calls a function with the application on `host`, as a client of the program would. What it asks for has happened
    /// when this returns.
    ///
    /// # Panics
    ///
    /// If no application of this type runs there, or it is paused.
    #[track_caller]
    pub fn with_app<A: App, T>(&mut self, host: HostId, act: impl FnOnce(&mut A, &mut Ctx<'_>) -> T) -> T {
        assert!(!self.machine(host).paused, "{host} is paused: its process does not run");
        assert!(self.find_app::<A>(host).is_some(), "no {} runs on {host}", type_name::<A>());
        self.with_driver(host, |driver, io| driver.with_app(io, act)).expect("it was found")
    }

    /// What the applications of `host` have kept.
    #[must_use]
    #[track_caller]
    pub fn disk(&self, host: HostId) -> &Disk {
        &self.machine(host).disk
    }

    #[track_caller]
    fn find_app<A: App>(&self, host: HostId) -> Option<&A> {
        self.machine(host).process.driver()?.app()?.downcast_ref()
    }
}
