//! A node for a terminal and for scripts: `cargo run -p cluster-std --example node-std -- --help`.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use cluster_cli::{Args, Cluster, Terminal};
use cluster_std::{
    Broadcast, Event, JoinError, Message, Node, NodeId, PeerInfo, SendError, Stats, Target, UnknownPeer,
};

fn main() {
    let Some(args) = cluster_cli::start() else { return };
    // Logs go to stderr, so that stdout has nothing but reports: RUST_LOG=cluster=debug shows what happens.
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(cluster_cli::log)
        .init();
    cluster_cli::end(run(args))
}

/// What can happen, from whichever thread.
enum Happening {
    Line(String),
    Event(Event),
    /// The node has left, and every event was told.
    EventsEnded,
    Message(Message),
    /// The node has left, and every message was told.
    MessagesEnded,
    Stop,
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let terminal = Terminal::new(&args);
    // One thread for each source, and one channel from all of them.
    let (sender, happenings) = sync_channel(16);
    let to = sender.clone();
    cluster_cli::lines(move |line| to.send(Happening::Line(line)).is_ok());
    let node = Node::bind(args.listen, args.config)?;
    let to = sender.clone();
    cluster_cli::on_stop(move || {
        // Without a receiver the node is leaving already.
        let _ = to.send(Happening::Stop);
    })?;
    terminal.listening(node.id(), node.local_addr());
    let shown = Shown { node: node.clone(), terminal };

    let (events, to) = (node.events(), sender.clone());
    thread::spawn(move || {
        let mut all = events.map(Happening::Event).chain([Happening::EventsEnded]);
        send_all(terminal, &mut all, &to);
    });
    let from = node.clone();
    thread::spawn(move || {
        let mut all = from.iter().map(Happening::Message).chain([Happening::MessagesEnded]);
        send_all(terminal, &mut all, &sender);
    });

    args.joins.into_iter().for_each(|target| shown.join(target));
    let leaving = until_leave(&shown, &happenings);
    // What comes in until the end is still told.
    let mut open = 2;
    while open > 0 {
        match happenings.recv()? {
            Happening::Event(event) => terminal.event(&shown, event),
            Happening::Message(message) => terminal.message(&shown, &message),
            Happening::EventsEnded | Happening::MessagesEnded => open -= 1,
            Happening::Line(_) | Happening::Stop => {}
        }
    }
    terminal.left(leaving.join().unwrap_or_default());
    Ok(())
}

/// Hands over everything from a source, each time after waiting for room to show it.
fn send_all(terminal: Terminal, source: &mut dyn Iterator<Item = Happening>, to: &SyncSender<Happening>) {
    loop {
        terminal.wait_for_room();
        let Some(happening) = source.next() else { return };
        if to.send(happening).is_err() {
            return;
        }
    }
}

/// Shows and does what happens until the node is to leave. The end of input keeps it running.
fn until_leave(shown: &Shown, happenings: &Receiver<Happening>) -> thread::JoinHandle<u64> {
    for happening in happenings {
        match happening {
            Happening::Line(line) if shown.terminal.line(shown, &line) => {}
            Happening::Event(event) => shown.terminal.event(shown, event),
            Happening::Message(message) => shown.terminal.message(shown, &message),
            Happening::Line(_) | Happening::Stop => break,
            Happening::EventsEnded | Happening::MessagesEnded => {}
        }
    }
    let node = shown.node.clone();
    thread::spawn(move || node.leave())
}

/// A node, and where what it does is shown.
struct Shown {
    node: Node,
    terminal: Terminal,
}

impl Cluster for Shown {
    fn join(&self, target: Target) {
        let (node, terminal) = (self.node.clone(), self.terminal);
        thread::spawn(move || match node.join(&target) {
            Ok(_) => {}
            Err(JoinError::Failed { error, .. }) => terminal.join_failed(&target, error),
            Err(error) => terminal.join_failed(&target, error),
        });
    }

    fn try_send(&self, peer: NodeId, text: String) -> Result<(), SendError> {
        self.node.try_send(peer, text)
    }

    fn broadcast(&self, text: String) -> Result<Broadcast, SendError> {
        self.node.broadcast(text)
    }

    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.node.disconnect(peer)
    }

    fn peers(&self) -> Vec<PeerInfo> {
        self.node.peers()
    }

    fn stats(&self) -> Stats {
        self.node.stats()
    }
}
