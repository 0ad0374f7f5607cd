//! What a node shows, and what it is told.

use std::fmt::Display;
use std::net::SocketAddr;

use cluster_core::{Broadcast, Event, Message, Name, NodeId, PeerInfo, SendError, Stats, Target, UnknownPeer};

use crate::args::Args;
use crate::command::Command;
use crate::ending::{self, STDOUT};
use crate::output::{Output, Report};

/// A running node, as far as commands need it. None of these waits.
pub trait Cluster {
    /// Begins to join; what fails is told to [`Terminal::join_failed`].
    fn join(&self, target: Target);
    /// Sends what can be queued at once.
    ///
    /// # Errors
    ///
    /// As the node's own method.
    fn try_send(&self, peer: NodeId, text: String) -> Result<(), SendError>;
    /// Sends to all.
    ///
    /// # Errors
    ///
    /// As the node's own method.
    fn broadcast(&self, text: String) -> Result<Broadcast, SendError>;
    /// Closes the connection to a peer for good.
    ///
    /// # Errors
    ///
    /// As the node's own method.
    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer>;
    /// The peers that are up or lost.
    fn peers(&self) -> Vec<PeerInfo>;
    /// The counters.
    fn stats(&self) -> Stats;
}

/// Where reports go: stdout.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    output: Output,
    /// The node has no secret.
    insecure: bool,
}

impl Terminal {
    /// A terminal that reports in the form that was asked for.
    #[must_use]
    pub fn new(args: &Args) -> Terminal {
        Terminal { output: Output::new(args.json), insecure: !args.config.is_secure() }
    }

    /// Whether to take another event or message from the node. The bound is 1,024 lines or 1 MiB of output that nothing has
    /// read yet; messages that the node keeps meanwhile slow down their senders. Lines of stdin and signals must be served all the
    /// same. Once the node is to leave, unread output no longer counts: it is dropped.
    #[must_use]
    pub fn has_room(self) -> bool {
        STDOUT.has_room()
    }

    /// Waits until there is [room](Terminal::has_room).
    pub fn wait_for_room(self) {
        STDOUT.wait_for_room();
    }

    /// Calls this, in another thread, whenever there is [room](Terminal::has_room) again.
    pub fn on_room(self, call: impl Fn() + Send + 'static) {
        STDOUT.on_room(call);
    }

    /// The node listens. If it has no secret and others than this machine can reach the address, stderr says what that
    /// means, whatever is logged.
    pub fn listening(self, id: NodeId, address: SocketAddr) {
        if self.insecure && !address.ip().to_canonical().is_loopback() {
            ending::tell(&format!(
                "WARNING: no secret at {address}: whoever reaches this port can join, listen and speak as anyone"
            ));
        }
        self.output.report(Report::Listening { id, address });
    }

    /// The node has left.
    pub fn left(self, undelivered: u64) {
        self.output.report(Report::Left { undelivered });
    }

    /// A join came to nothing.
    pub fn join_failed(self, target: &Target, reason: impl Display) {
        self.output.answer(Report::JoinFailed { address: target, reason: reason.to_string() });
    }

    /// An event of the node.
    pub fn event(self, node: &(impl Cluster + ?Sized), event: Event) {
        match event {
            Event::PeerUp(peer) => self.output.report(Report::PeerUp(&peer)),
            Event::PeerDown { peer, name, reason } => {
                self.output.report(Report::PeerDown { id: peer.id, name: name.as_ref(), reason: &reason });
            }
            Event::Undelivered(lost) => {
                for (messages, certainty) in [(&lost.not_delivered, "not_delivered"), (&lost.in_doubt, "in_doubt")] {
                    if !messages.is_empty() {
                        let (id, messages) = (lost.peer.id, messages.len());
                        self.output.report(Report::Undelivered { id, messages, certainty });
                    }
                }
            }
            Event::DuplicateIdentity { newcomer, .. } => {
                let message = format!("two live nodes use the id {}", newcomer.id);
                self.output.report(Report::Error { message });
            }
            Event::Lagged { missed } => {
                let message = format!("{missed} events were missed; these are the peers now");
                self.output.report(Report::Error { message });
                self.output.report(Report::Peers(&node.peers()));
            }
            _ => {}
        }
    }

    /// A message that the node has received.
    pub fn message(self, node: &(impl Cluster + ?Sized), message: &Message) {
        let peers = node.peers();
        let sender = peers.iter().find(|peer| peer.run.id == message.from.id);
        let text = String::from_utf8_lossy(&message.payload);
        let name = sender.and_then(|peer| peer.name.as_ref());
        self.output.report(Report::Message { from: message.from.id, name, text: &text });
    }

    /// Does what a line says. Returns whether the node goes on; if not, it is to leave.
    #[must_use]
    pub fn line(self, node: &(impl Cluster + ?Sized), line: &str) -> bool {
        match Command::parse(line) {
            Ok(Some(Command::Leave)) => {
                ending::begin();
                return false;
            }
            Ok(Some(command)) => {
                if let Err(error) = self.command(node, command) {
                    self.output.error(error);
                }
            }
            Ok(None) => {}
            Err(error) => self.output.error(error),
        }
        true
    }

    fn command(self, node: &(impl Cluster + ?Sized), command: Command) -> Result<(), String> {
        match command {
            Command::Join(target) => node.join(target),
            Command::Send(peer, text) => {
                let id = find(&node.peers(), &peer)?;
                node.try_send(id, text).map_err(|error| format!("cannot send to {peer}: {error}"))?;
            }
            Command::Broadcast(text) => {
                let report = node.broadcast(text).map_err(|error| format!("cannot broadcast: {error}"))?;
                let refused: Vec<_> = report.refused.iter().map(|(id, why)| format!("{id}: {why}")).collect();
                if !refused.is_empty() {
                    return Err(format!("not sent to {}", refused.join(", ")));
                }
            }
            Command::Peers => self.output.answer(Report::Peers(&node.peers())),
            Command::Disconnect(peer) => {
                let id = find(&node.peers(), &peer)?;
                node.disconnect(id).map_err(|error| error.to_string())?;
            }
            Command::Stats => self.output.answer(Report::Stats(&node.stats())),
            Command::Leave => {}
        }
        Ok(())
    }
}

/// The one peer that `text` means: by id, by the beginning of its id, or by name.
fn find(peers: &[PeerInfo], text: &str) -> Result<NodeId, String> {
    let prefix = text.to_ascii_lowercase();
    let named = peers.iter().filter(|peer| peer.name.as_ref().map(Name::as_str) == Some(text));
    let with_prefix = peers.iter().filter(|peer| peer.run.id.to_string().starts_with(&prefix));
    let mut found: Vec<NodeId> = named.chain(with_prefix).map(|peer| peer.run.id).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [id] => Ok(id),
        [] => Err(format!("no peer has the id or name {text}")),
        _ => Err(format!("{} peers match {text}; give more digits of the id", found.len())),
    }
}
