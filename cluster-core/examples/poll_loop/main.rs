//! A node for a terminal and for scripts in a single loop: `cargo run -p cluster-core --example poll_loop -- --help`.
//!
//! `node.rs` is the example; this file gives it the command line that the adapters have.

#[allow(unreachable_pub, reason = "it is written to be copied")]
mod node;

#[path = "../host/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is written to be copied, and has what others need, too")]
mod host;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::task::Poll;
use std::time::Duration;

use cluster_cli::{Args, Cluster, Terminal};
use cluster_core::{Broadcast, Event, Instant, NodeId, PeerInfo, SendError, Stats, Target, UnknownPeer};
use mio::Waker;

use crate::node::Node;

/// How often a loop that waits for room in the output looks for it.
const LOOK: Duration = Duration::from_millis(50);

fn main() {
    let Some(args) = cluster_cli::start() else { return };
    cluster_cli::end(run(args))
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let terminal = Terminal::new(&args);
    let node = Node::bind(&args.listen, args.config)?;
    let outside = outside(node.waker())?;
    let waker = node.waker();
    terminal.on_room(move || drop(waker.wake()));
    terminal.listening(node.host.core.run().id, node.local_addr());
    let shown = Shown(RefCell::new(node));
    args.joins.into_iter().for_each(|target| shown.join(target));
    let mut wait = Duration::MAX;
    loop {
        shown.0.borrow_mut().turn(wait)?;
        let all = shown.tell(terminal);
        if all && shown.0.borrow().host.has_left().is_some() {
            return Ok(());
        }
        // No wake announces that output has counted as unread for long enough to be dropped.
        wait = if all { Duration::MAX } else { LOOK };
        // What the user wants.
        for line in outside.try_iter().take(16) {
            if !line.is_some_and(|line| terminal.line(&shown, &line)) {
                shown.enter(|core, now| core.leave(now, Duration::from_secs(5)));
            }
        }
    }
}

/// Lines of stdin, and `None` for a signal to stop. Each ends the wait of a turn.
fn outside(waker: Arc<Waker>) -> std::io::Result<Receiver<Option<String>>> {
    let (sender, outside) = sync_channel(16);
    let (to, wake) = (sender.clone(), waker.clone());
    cluster_cli::lines(move |line| to.send(Some(line)).is_ok() && wake.wake().is_ok());
    cluster_cli::on_stop(move || {
        // If nobody listens any more, it is leaving already.
        let _ = sender.send(None).map(|()| waker.wake());
    })?;
    Ok(outside)
}

/// A node whose terminal calls back.
struct Shown(RefCell<Node>);

impl Shown {
    fn enter<T>(&self, call: impl FnOnce(&mut cluster_core::Node, Instant) -> T) -> T {
        let mut node = self.0.borrow_mut();
        let now = node.now();
        call(&mut node.host.core, now)
    }

    /// Shows the messages and events that wait, while there is room. Returns whether these were all.
    fn tell(&self, terminal: Terminal) -> bool {
        loop {
            if !terminal.has_room() {
                return false;
            }
            let message = self.0.borrow_mut().message();
            let Poll::Ready(Some(message)) = message else { break };
            terminal.message(self, &message);
        }
        loop {
            if !terminal.has_room() {
                return false;
            }
            let event = self.0.borrow_mut().event();
            let Poll::Ready(Some(event)) = event else { break };
            match event {
                Event::JoinFailed { target, error, .. } => terminal.join_failed(&target, error),
                Event::Left { undelivered } => terminal.left(undelivered),
                event => terminal.event(self, event),
            }
        }
        true
    }
}

impl Cluster for Shown {
    fn join(&self, target: Target) {
        // Its outcome is an event; that there are too many is none.
        let _ = self.enter(|core, now| core.join(now, target));
    }

    fn try_send(&self, peer: NodeId, text: String) -> Result<(), SendError> {
        self.enter(|core, now| core.send(now, peer, text.into()))
    }

    fn broadcast(&self, text: String) -> Result<Broadcast, SendError> {
        self.enter(|core, now| core.broadcast(now, text.into()))
    }

    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.enter(|core, now| core.disconnect(now, peer))
    }

    fn peers(&self) -> Vec<PeerInfo> {
        self.enter(|core, _| core.peers().collect())
    }

    fn stats(&self) -> Stats {
        self.enter(|core, _| core.stats())
    }
}
