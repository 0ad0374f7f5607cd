//! The surroundings of every part of a node: settings, clock, and the queue of actions.

use alloc::collections::VecDeque;

use super::timer::Timer;
use crate::action::Action;
use crate::config::Config;
use crate::event::Event;
use crate::id::Run;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::time::Instant;
use crate::timers::Timers;

/// The surroundings of the parts. Each part gets it with every call.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) run: Run,
    pub(super) now: Instant,
    /// When this process was last found to have stood still; deadlines from before say nothing new.
    pub(super) stalled: Instant,
    pub(super) actions: VecDeque<Action>,
    pub(super) timers: Timers<Timer>,
    pub(super) rng: Rng,
    pub(super) stats: Stats,
}

impl Context {
    pub(super) fn new(config: Config, run: Run, rng: Rng, now: Instant) -> Context {
        Context {
            config,
            run,
            now,
            stalled: Instant::ZERO,
            actions: VecDeque::new(),
            timers: Timers::new(),
            rng,
            stats: Stats::default(),
        }
    }

    /// Queues an event for the user.
    pub(super) fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }
}
