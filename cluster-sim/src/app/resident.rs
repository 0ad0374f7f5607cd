//! An application in the process of a node.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;

use cluster_core::{Event, Instant, Message, Node, NodeId};

use super::ctx::{Ctx, Desk};
use super::timers::Timers;
use super::{App, Factory};
use crate::calls::Calls;
use crate::io::Io;
use crate::rng::Rng;

/// An application, and what it is still to be told.
pub(crate) struct Resident {
    app: Box<dyn App>,
    desk: Desk,
    /// What the node has told since the application had its last turn: no more than one drain of the node.
    told: VecDeque<Told>,
}

/// Something that a node tells its user.
#[derive(Debug)]
pub(crate) enum Told {
    Event(Event),
    Message(Message),
    Writable(NodeId),
}

impl Resident {
    /// Has the factory make an application for a node that has just started.
    pub(crate) fn start(factory: &Factory, rng: Rng, node: &mut Node, io: &mut Io<'_>) -> Resident {
        let mut desk = Desk { timers: Timers::default(), rng };
        let app = factory.make(&mut Ctx { calls: Calls { node, io: io.reborrow() }, desk: &mut desk });
        Resident { app, desk, told: VecDeque::new() }
    }

    pub(crate) fn app(&self) -> &dyn Any {
        &*self.app
    }

    /// When it next wants to run without being told anything.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.desk.timers.next()
    }

    pub(crate) fn tell(&mut self, told: Told) {
        self.told.push_back(told);
    }

    /// Tells the application one thing. Says whether there was one.
    pub(crate) fn turn(&mut self, node: &mut Node, io: &mut Io<'_>) -> bool {
        let told = self.told.pop_front();
        let timer = if told.is_none() { self.desk.timers.pop(io.clock()) } else { None };
        let mut ctx = Ctx { calls: Calls { node, io: io.reborrow() }, desk: &mut self.desk };
        match (told, timer) {
            (Some(Told::Event(event)), _) => self.app.on_event(&mut ctx, event),
            (Some(Told::Message(message)), _) => self.app.on_message(&mut ctx, message),
            (Some(Told::Writable(peer)), _) => self.app.on_writable(&mut ctx, peer),
            (None, Some(key)) => self.app.on_timer(&mut ctx, key),
            (None, None) => return false,
        }
        true
    }

    /// Calls a function with the application, if it is one of this type.
    pub(crate) fn with<A: App, T>(
        &mut self,
        node: &mut Node,
        io: &mut Io<'_>,
        act: impl FnOnce(&mut A, &mut Ctx<'_>) -> T,
    ) -> Option<T> {
        let app: &mut dyn Any = &mut *self.app;
        let app = app.downcast_mut()?;
        Some(act(app, &mut Ctx { calls: Calls { node, io: io.reborrow() }, desk: &mut self.desk }))
    }
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident").field("desk", &self.desk).field("told", &self.told).finish_non_exhaustive()
    }
}
