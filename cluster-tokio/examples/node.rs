//! A node for a terminal and for scripts: `cargo run -p cluster-tokio --example node -- --help`.

use std::sync::Arc;

use cluster_cli::{Args, Cluster, Terminal};
use cluster_tokio::{Broadcast, JoinError, Node, NodeId, PeerInfo, SendError, Stats, Target, UnknownPeer};
use tokio::sync::{Notify, mpsc};

#[tokio::main]
async fn main() {
    let Some(args) = cluster_cli::start() else { return };
    // Logs go to stderr, so that stdout has nothing but reports: RUST_LOG=cluster=debug shows what happens.
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(cluster_cli::log)
        .init();
    cluster_cli::end(run(args).await)
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let terminal = Terminal::new(&args);
    let (sender, mut lines) = mpsc::channel(16);
    cluster_cli::lines(move |line| sender.blocking_send(line).is_ok());
    let node = Node::bind(args.listen, args.config).await?;
    let (stopped, room) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stop, more) = (stopped.clone(), room.clone());
    cluster_cli::on_stop(move || stop.notify_one())?;
    terminal.on_room(move || more.notify_one());
    terminal.listening(node.id(), node.local_addr());
    let shown = Shown { node: node.clone(), terminal };

    let mut events = node.events();
    let mut input = true;
    args.joins.into_iter().for_each(|target| shown.join(target));
    loop {
        let has_room = terminal.has_room();
        tokio::select! {
            Some(event) = events.next(), if has_room => terminal.event(&shown, event),
            Ok(message) = node.recv(), if has_room => terminal.message(&shown, &message),
            () = room.notified(), if !has_room => {}
            line = lines.recv(), if input => match line {
                Some(line) if terminal.line(&shown, &line) => {}
                Some(_) => break,
                // The end of input keeps the node running.
                None => input = false,
            },
            () = stopped.notified() => break,
        }
    }
    let undelivered = node.leave().await;
    // What came in until the end is still told.
    while let Ok(Some(message)) = node.try_recv() {
        terminal.message(&shown, &message);
    }
    while let Some(event) = events.next().await {
        terminal.event(&shown, event);
    }
    terminal.left(undelivered);
    Ok(())
}

/// A node, and where what it does is shown.
struct Shown {
    node: Node,
    terminal: Terminal,
}

impl Cluster for Shown {
    fn join(&self, target: Target) {
        let (node, terminal) = (self.node.clone(), self.terminal);
        tokio::spawn(async move {
            match node.join(&target).await {
                Ok(_) => {}
                Err(JoinError::Failed { error, .. }) => terminal.join_failed(&target, error),
                Err(error) => terminal.join_failed(&target, error),
            }
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
