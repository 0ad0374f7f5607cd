//! Programs of users, which run on the nodes of a world.

mod ctx;
mod disk;
mod resident;
mod timers;

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use cluster_core::{Event, Message, NodeId};

pub use self::ctx::Ctx;
pub use self::disk::Disk;
pub(crate) use self::resident::{Resident, Told};

/// A distributed program under test: what one process of it does with what its node tells it.
///
/// There is one for each process: a crash loses it, and a restart has the factory of the [`World`](crate::World) make
/// another, which finds on the [`Disk`] what the ones before have kept there. A process that is paused is told nothing,
/// and its timers come late. It takes messages as they come, unless a fault makes it slow
/// ([`set_consuming`](crate::HostMut::set_consuming)).
///
/// Everything it is told comes in the order in which its node told it, at the time of the step that caused it. What it
/// asks for with the [`Ctx`] is done when the method returns.
///
/// ```
/// use cluster_sim::{App, Ctx, World};
/// use cluster_core::Message;
/// use std::time::Duration;
///
/// /// Says "hello" once a second, and counts how often others do.
/// #[derive(Default)]
/// struct Greeter {
///     heard: u64,
/// }
///
/// impl App for Greeter {
///     fn on_timer(&mut self, ctx: &mut Ctx<'_>, key: u64) {
///         // Without a peer there is nobody to greet.
///         let _ = ctx.broadcast("hello");
///         ctx.set_timer(key, Duration::from_secs(1));
///     }
///
///     fn on_message(&mut self, _: &mut Ctx<'_>, _: Message) {
///         self.heard += 1;
///     }
/// }
///
/// let builder = World::builder().app(|ctx| {
///     ctx.set_timer(0, Duration::from_secs(1));
///     Greeter::default()
/// });
/// let mut world = builder.seed(7).nodes(3).build()?;
/// world.run_for(Duration::from_secs(10));
/// assert!(world.apps::<Greeter>().all(|(_, greeter)| greeter.heard >= 2 * 8));
/// # Ok::<(), cluster_sim::ScheduleError>(())
/// ```
pub trait App: Any {
    /// The node tells something about peers, or about itself. By default nothing is done with it.
    fn on_event(&mut self, ctx: &mut Ctx<'_>, event: Event) {
        let _ = (ctx, event);
    }

    /// A message has come. By default nothing is done with it.
    fn on_message(&mut self, ctx: &mut Ctx<'_>, message: Message) {
        let _ = (ctx, message);
    }

    /// A [timer](Ctx::set_timer) is due, and is not set any more. By default nothing is done about it.
    fn on_timer(&mut self, ctx: &mut Ctx<'_>, key: u64) {
        let _ = (ctx, key);
    }

    /// There is room again for messages to a peer, after one was refused for lack of it. By default nothing is done
    /// about it.
    fn on_writable(&mut self, ctx: &mut Ctx<'_>, peer: NodeId) {
        let _ = (ctx, peer);
    }
}

/// Makes the application of each process.
#[derive(Clone)]
pub(crate) struct Factory(Rc<Make>);

type Make = dyn Fn(&mut Ctx<'_>) -> Box<dyn App>;

impl Factory {
    pub(crate) fn new<A: App>(make: impl Fn(&mut Ctx<'_>) -> A + 'static) -> Factory {
        Factory(Rc::new(move |ctx| Box::new(make(ctx))))
    }

    fn make(&self, ctx: &mut Ctx<'_>) -> Box<dyn App> {
        (self.0)(ctx)
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory")
    }
}

#[cfg(test)]
mod tests;
