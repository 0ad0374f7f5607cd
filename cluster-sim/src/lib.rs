//! A deterministic world that runs the real cluster protocol.
//!
//! The nodes of a [`World`] are real [`cluster_core::Node`]s with real [`cluster_core::Channel`]s and real bytes between
//! them. Only time, the wires, the names and the randomness are simulated, and all of that comes from one seed: the same
//! seed and the same test give the same bytes at the same virtual nanoseconds, on every machine. Ten virtual minutes of
//! a small mesh take milliseconds.
//!
//! # Example
//!
//! A partition, and what becomes of the mesh when it heals. This is a whole test, to paste between the braces of one:
//!
//! ```
//! use cluster_sim::World;
//! use std::time::Duration;
//!
//! let mut world = World::builder().seed(42).nodes(5).build().expect("a world of five nodes");
//! let n: Vec<_> = world.hosts().collect();
//! world.expect("a complete mesh", Duration::from_secs(10), World::is_complete);
//!
//! world.net_mut().partition(&n[..2], &n[2..]);
//! world.expect("two meshes", Duration::from_secs(10), |world| world.is_mesh(&n[..2]) && world.is_mesh(&n[2..]));
//! assert_eq!(world.host(n[0]).downs(n[4]), 1);
//!
//! world.net_mut().heal_all();
//! world.expect("one mesh again", Duration::from_secs(60), World::is_complete);
//! assert_eq!(world.host(n[0]).ups(n[4]), 2);
//! ```
//!
//! With hosts that are added one by one: three nodes form a mesh, one of them loses power, and comes back as a later run
//! of itself.
//!
//! ```
//! use cluster_core::{Config, Event, Reason};
//! use cluster_sim::{Crash, Restart, World};
//! use std::time::Duration;
//!
//! let mut world = World::new(42);
//! let alice = world.add(Config::insecure_plaintext()); // 10.0.0.1:7000
//! let bob = world.add(Config::insecure_plaintext()); // 10.0.0.2:7000
//! let carol = world.add(Config::insecure_plaintext());
//!
//! world.node(bob).join(alice).unwrap();
//! world.node(carol).join(alice).unwrap();
//! world.expect("a complete mesh", Duration::from_secs(2), World::is_complete);
//!
//! // The checks see to it that numbered messages come in order, once, and to nobody else.
//! world.node(bob).send_numbered(carol, 100_000).unwrap();
//! world.expect("it arrives", Duration::from_secs(1), |world| world.host(carol).numbered(bob) == 1);
//!
//! world.host_mut(carol).crash(Crash::Power);
//! world.expect("the others notice", Duration::from_secs(7), |world| {
//!     world.host(alice).downs(carol) == 1 && world.host(bob).downs(carol) == 1
//! });
//! let timeout = |event: &Event| matches!(event, Event::PeerDown { reason: Reason::Timeout, .. });
//! assert_eq!(world.host(alice).count_events(timeout), 1);
//!
//! world.host_mut(carol).restart(Restart::default());
//! world.expect("the mesh is whole again", Duration::from_secs(60), World::is_complete);
//! assert_eq!(world.host(alice).ups(carol), 2);
//! ```
//!
//! # Testing your own program
//!
//! An [`App`] is one process of a distributed program: it is told events and messages, sets timers, and sends. Every node
//! of the world runs one; [`World::builder`] says how it is made, what happens to the nodes, and what must hold.
//!
//! ```
//! use cluster_core::{Event, Message};
//! use cluster_sim::{App, Ctx, World, check_seeds};
//! use std::time::Duration;
//!
//! /// Knows the largest number that anybody has drawn.
//! struct Largest(u64);
//!
//! impl App for Largest {
//!     fn on_event(&mut self, ctx: &mut Ctx<'_>, event: Event) {
//!         if let Event::PeerUp(peer) = event {
//!             let _ = ctx.send(peer.run.id, self.0.to_be_bytes().to_vec());
//!         }
//!     }
//!
//!     fn on_message(&mut self, ctx: &mut Ctx<'_>, message: Message) {
//!         let Ok(bytes) = message.payload[..].try_into() else { return };
//!         let told = u64::from_be_bytes(bytes);
//!         if told > self.0 {
//!             self.0 = told;
//!             ctx.log(format!("{told} is larger"));
//!             let _ = ctx.broadcast(message.payload);
//!         }
//!     }
//! }
//!
//! // By hand: what is to happen, and what is to come of it.
//! let builder = World::builder().nodes(3).app(|ctx| Largest(ctx.draw(1_000)));
//! let mut world = builder.seed(42).build()?;
//! world.expect("all know the largest", Duration::from_secs(5), |world| {
//!     let mut known = world.apps::<Largest>().map(|(_, app)| app.0);
//!     let first = known.next();
//!     known.all(|number| Some(number) == first)
//! });
//!
//! // Or with many seeds, each of which has other faults: what must hold after every step.
//! let small = |world: &World| match world.apps::<Largest>().find(|(_, app)| app.0 >= 1_000) {
//!     Some((host, app)) => Err(format!("{host} knows {}, which nobody can have drawn", app.0)),
//!     None => Ok(()),
//! };
//! check_seeds(0..10, |_| {
//!     World::builder().random_faults().app(|ctx| Largest(ctx.draw(1_000))).invariant(small)
//! });
//! # Ok::<(), cluster_sim::ScheduleError>(())
//! ```
//!
//! A seed that fails, be it that an invariant does not hold or that the program panics, is told with the shortest
//! schedule of faults that shows it. `examples/counter.rs` is a replicated counter with a bug that is found so.
//!
//! # Map
//!
//! | to do | with |
//! |---|---|
//! | make a world and hosts with nodes | [`World::new`], [`add`](World::add), [`add_many`](World::add_many), [`Spec`] |
//! | let time pass | [`run_for`](World::run_for), [`run_until`](World::run_until), [`expect`](World::expect), [`settle`](World::settle) |
//! | use a node as its user does | [`World::node`] → [`NodeMut`] |
//! | run a program of yours on every node | [`App`], [`Ctx`], [`Disk`]; [`Builder::app`], [`set_app`](World::set_app), [`apps`](World::apps), [`Host::app`], [`HostMut::with_app`] |
//! | run many seeds, each with other faults | [`World::builder`] → [`Builder`], [`check_seeds`], [`Swarm`], [`Schedule`] |
//! | look at a host: its node, events, messages, links | [`World::host`] → [`Host`] |
//! | end, start, pause and move a node, turn its clock, slow its user down | [`World::host_mut`] → [`HostMut`] with [`Crash`], [`Restart`], [`Twin`] |
//! | look at the network: dials, connections | [`World::net`] → [`Net`] |
//! | cut and heal ways, slow them down, break connections, forward ports, give names | [`World::net_mut`] → [`NetMut`] with [`Latency`], [`Block`], [`Fate`], [`Buffers`] |
//! | ask whether nodes form a mesh | [`linked`](World::linked), [`is_mesh`](World::is_mesh), [`is_complete`](World::is_complete) |
//! | strangers, byte by byte | [`raw_dial`](NetMut::raw_dial), [`raw_listen`](NetMut::raw_listen), [`raw_accept`](NetMut::raw_accept), [`raw`](World::raw) → [`RawMut`] |
//! | members that misbehave | [`add_puppet`](World::add_puppet) with a [`Script`], [`puppet`](World::puppet) → [`PuppetMut`], [`heard`](Host::heard) |
//! | hosts that mean harm, by themselves | [`add_outsider`](World::add_outsider) with [`Attack`]s, [`add_insider`](World::add_insider) with [`Abuse`]s |
//! | see what happened | [`record`](World::record), [`timeline`](World::timeline) → [`Timeline`]: a page, a text, lines of JSON |
//! | demand that what is healed recovers | [`heal_and_converge`](World::heal_and_converge), [`recover`](World::recover), [`heal_core`](World::heal_core), [`converge`](World::converge), [`stay_quiet`](World::stay_quiet), [`bound`](World::bound), [`are_linked`](World::are_linked) |
//! | choose what is checked | [`set_checks`](World::set_checks), [`sweep`](World::sweep) |
//! | compare and explain runs | [`trace_hash`](World::trace_hash), [`dump`](World::dump), [`fail`](World::fail) |
//!
//! Verbs and faults act at the present virtual time, and what they cause at once has happened when they return;
//! everything that takes a way to another host needs time to pass.
//!
//! # What is checked all the time
//!
//! After every step of a node, without being asked (and the test then fails with the seed, the time and the last lines
//! of the trace; the environment variable `CLUSTER_SIM_LINES` says how many):
//!
//! * **Events.** Those of each peer form the promised word, see [`cluster_core::Event`], and `peers()` says the same at
//!   the moment they are seen; each join has one outcome; nothing comes after `Left`.
//! * **Links.** At most one connects a node with each peer, nothing goes over one that is closed, and both ends agree
//!   which one it is. Nobody is turned away for a link that is dead.
//! * **Handshakes.** No `PeerUp` without one that was really completed; what strangers do changes nothing.
//! * **Messages.** None is taken of a run that was never up, nor of an old run after one of its successor. Each that was
//!   accepted has one outcome, and that is true: it was taken, or it was not, or nobody can tell. Numbered messages come
//!   once, in order, to the run they were meant for, and without a gap as long as the session lasts.
//! * **Credit.** Nobody grants more than it has room for, takes a grant back, or sends beyond one.
//! * **Bounds.** Every table and every byte that is kept is within what [`Limits`](cluster_core::Limits) says.
//! * **Departed peers.** Who left or was disconnected is not up again, nor dialled, before it may be.
//! * **Dials.** Only addresses that the node was given or heard of are dialled, and not more often than is allowed.
//! * **Runs.** Incarnations and generations only grow.
//! * **The contract of the core.** When the queue of actions is drained it is empty; a tick leaves no deadline due, or at
//!   least not a hundred times in a row.
//!
//! [`recover`](World::recover), with which every run of a [`Builder`] ends, then demands what has to come to pass: nodes
//! between which nothing is wrong find each other in time, what they have accepted for each other is delivered, and the
//! dead are down. Equal seeds give equal traces: [`Swarm`] runs its first seed twice, and then one in ten.
//!
//! # What the world is like
//!
//! Hosts have addresses `10.0.0.x`, ports 7000, and monotonic clocks that start about ten days apart from the world's.
//! Everything takes 1 ms plus up to 0.2 ms from host to host. TCP is reliable and ordered per connection, and splits
//! reads and segments anywhere, often after a single byte. Each direction has a send buffer and a receive buffer of
//! 256 KiB. A dial to an address where nobody is hangs, and is repeated after 1, 2, 4 ... seconds; one to a host that does
//! not listen there is refused. A cut is silent: what is sent during it arrives in a burst when it heals, unless TCP has
//! given up by then (15 minutes).

mod app;
mod builder;
mod calls;
mod catch;
mod driver;
mod explain;
mod failure;
mod faults;
mod hostile;
mod io;
mod liveness;
mod log;
mod machine;
mod marks;
mod net;
mod numbered;
mod oracle;
mod pipe;
mod puppet;
mod queue;
mod restart;
mod rng;
mod schedule;
mod socket;
mod swarm;
mod trace;
mod violation;
mod way;
mod world;

pub use app::{App, Ctx, Disk};
pub use builder::{Builder, Summary};
pub use cluster_core;
pub use cluster_timeline as timeline;
pub use cluster_timeline::Timeline;
pub use cluster_timeline::record::{FrameKind, HostId};
pub use failure::{Cause, Failure};
pub use hostile::{Abuse, Attack, Tempo};
pub use log::{Closed, Dialled, Ended, LinkView, Logged, Noticed, Taken, Wire};
pub use machine::Spec;
pub use marks::{Mark, Marks};
pub use net::{Block, Buffers, Fate, Greeting};
pub use puppet::{Heard, PuppetLink, PuppetState, Script};
pub use restart::{Crash, Restart, Twin};
pub use schedule::{
    Fault, Faults, Identity, Op, Pace, Profile, Rate, Schedule, ScheduleError, Setting, Step, UnknownFault, WorldError,
};
#[cfg(feature = "proptest")]
pub use schedule::{ScheduleTree, Schedules, schedules};
pub use swarm::{Progress, Swarm, Tally, check_seeds};
pub use violation::Violation;
pub use way::Latency;
pub use world::{Dest, Host, HostMut, Net, NetMut, NodeMut, PuppetMut, RawConn, RawMut, RawState, World};
