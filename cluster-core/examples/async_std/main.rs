//! A node for a terminal and for scripts, on async-std: `cargo run -p cluster-core --example async_std -- --help`.
//!
//! `node.rs` is the example; this file gives it the command line that the adapters have.

#[allow(dead_code, unreachable_pub, reason = "it is written to be copied, and has what others need, too")]
mod node;

#[path = "../host/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is written to be copied, and has what others need, too")]
mod host;

use std::sync::Arc;
use std::time::Duration;

use async_std::channel::bounded;
use async_std::task;
use cluster_cli::{Args, Cluster, Terminal};
use cluster_core::{Broadcast, Event, Message, NodeId, PeerInfo, SendError, Stats, Target, UnknownPeer};
use futures_lite::future::or;

use crate::node::Node;

fn main() {
    let Some(args) = cluster_cli::start() else { return };
    cluster_cli::end(task::block_on(run(args)))
}

/// What can happen.
enum Happening {
    Line(String),
    Event(Event),
    Message(Message),
    Stop,
    Nothing,
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let terminal = Terminal::new(&args);
    let (sender, heard) = bounded(16);
    let to = sender.clone();
    cluster_cli::lines(move |line| to.send_blocking(Happening::Line(line)).is_ok());
    let bound = Node::bind(&args.listen, args.config).await;
    let node = Arc::new(bound.map_err(|error| format!("cannot listen at {}: {error}", args.listen))?);
    cluster_cli::on_stop(move || {
        // Without a receiver the node is leaving already.
        let _ = sender.send_blocking(Happening::Stop);
    })?;
    let (more, room) = bounded(1);
    // One that waits to be seen is enough.
    terminal.on_room(move || {
        let _ = more.try_send(());
    });
    terminal.listening(node.enter(|host, _| host.core.run().id), node.local_addr());
    let shown = Shown { node: node.clone(), terminal };

    args.joins.into_iter().for_each(|target| shown.join(target));
    loop {
        let event = async { node.event().await.map_or(Happening::Nothing, Happening::Event) };
        let message = async { node.recv().await.map_or(Happening::Nothing, Happening::Message) };
        let outside = async { heard.recv().await.unwrap_or(Happening::Stop) };
        let has_room = terminal.has_room();
        let inside = async {
            if !has_room {
                let _ = room.recv().await;
                return Happening::Nothing;
            }
            or(event, message).await
        };
        // Lines and signals first: a flood of messages must not keep the node from leaving.
        match or(outside, inside).await {
            Happening::Event(event) => terminal.event(&shown, event),
            Happening::Message(message) => terminal.message(&shown, &message),
            Happening::Line(line) if terminal.line(&shown, &line) => {}
            Happening::Line(_) | Happening::Stop => break,
            Happening::Nothing => {}
        }
    }
    let undelivered = node.leave(Duration::from_secs(5)).await;
    // What came in until the end is still told.
    while let Some(message) = node.recv().await {
        terminal.message(&shown, &message);
    }
    while let Some(event) = node.event().await {
        terminal.event(&shown, event);
    }
    terminal.left(undelivered);
    Ok(())
}

/// A node, and where what it does is shown.
struct Shown {
    node: Arc<Node>,
    terminal: Terminal,
}

impl Cluster for Shown {
    fn join(&self, target: Target) {
        let (node, terminal) = (self.node.clone(), self.terminal);
        task::spawn(async move {
            if let Err(error) = node.join(target.clone()).await {
                terminal.join_failed(&target, error);
            }
        });
    }

    fn try_send(&self, peer: NodeId, text: String) -> Result<(), SendError> {
        self.node.enter(|host, now| host.core.send(now, peer, text.into()))
    }

    fn broadcast(&self, text: String) -> Result<Broadcast, SendError> {
        self.node.enter(|host, now| host.core.broadcast(now, text.into()))
    }

    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.node.enter(|host, now| host.core.disconnect(now, peer))
    }

    fn peers(&self) -> Vec<PeerInfo> {
        self.node.enter(|host, _| host.core.peers().collect())
    }

    fn stats(&self) -> Stats {
        self.node.enter(|host, _| host.core.stats())
    }
}
