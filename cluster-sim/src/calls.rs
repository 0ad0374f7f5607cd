//! The verbs of a node, as the test or an application calls them: traced, recorded, and noted by the checks.

use std::time::Duration;

use bytes::Bytes;
use cluster_core::{
    Broadcast, Config, ConfigError, FlushError, FlushId, Instant, JoinError, JoinId, Node, NodeId, Receipt, Run,
    SendError, Target, UnknownPeer,
};
use cluster_timeline::record::Record;

use crate::io::Io;

/// A node whose verbs are called. Whoever calls them then [drains](crate::host::Driver::drain) the node.
#[derive(Debug)]
pub(crate) struct Calls<'a> {
    pub(crate) node: &'a mut Node,
    pub(crate) io: Io<'a>,
}

impl Calls<'_> {
    pub(crate) fn join(&mut self, target: Target) -> Result<JoinId, JoinError> {
        self.trace(format!("join {target}"));
        let joined = self.node.join(self.io.clock(), target.clone());
        if let Ok(join) = joined {
            self.io.oracle.joined(self.io.host, join, target, self.io.when());
        }
        joined
    }

    pub(crate) fn add_seed(&mut self, target: Target) -> Result<(), JoinError> {
        self.trace(format!("add_seed {target}"));
        let added = self.node.add_seed(self.io.clock(), target.clone());
        if added.is_ok() {
            self.io.oracle.seeded(self.io.host, target);
        }
        added
    }

    pub(crate) fn send(&mut self, to: NodeId, payload: Bytes) -> Result<(), SendError> {
        self.io.trace(Record::Send(to, payload.len()));
        self.node.send(self.io.clock(), to, payload.clone())?;
        self.accepted(to, payload);
        Ok(())
    }

    pub(crate) fn broadcast(&mut self, payload: Bytes) -> Result<Broadcast, SendError> {
        self.io.trace(Record::Broadcast(payload.len()));
        let report = self.node.broadcast(self.io.clock(), payload.clone())?;
        for &to in &report.queued {
            self.accepted(to, payload.clone());
        }
        Ok(report)
    }

    pub(crate) fn flush(&mut self, peer: NodeId) -> Result<FlushId, FlushError> {
        self.trace(format!("flush {peer:?}"));
        let to = self.node.peer(peer).map(|info| info.run);
        let flush = self.node.flush(self.io.clock(), peer)?;
        if let Some(to) = to {
            self.io.oracle.flush_called(self.io.host, flush, to);
        }
        Ok(flush)
    }

    pub(crate) fn acknowledge(&mut self, receipt: Receipt) {
        self.trace(format!("acknowledge {receipt:?}"));
        self.io.oracle.acknowledged(self.io.host, receipt);
        self.node.acknowledge(self.io.clock(), receipt);
    }

    pub(crate) fn disconnect(&mut self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.trace(format!("disconnect {peer:?}"));
        let run: Option<Run> = self.node.peer(peer).map(|info| info.run);
        self.node.disconnect(self.io.clock(), peer)?;
        if let Some(run) = run {
            self.io.oracle.disconnected_by_user(self.io.host, run, self.io.when());
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self, timeout: Duration) {
        self.trace(format!("leave {timeout:?}"));
        self.node.leave(self.io.clock(), timeout);
    }

    pub(crate) fn set_config(&mut self, config: Config) -> Result<(), ConfigError> {
        self.trace("set_config".to_owned());
        self.node.set_config(self.io.clock(), config)?;
        self.io.oracle.configured(self.io.host, self.node);
        Ok(())
    }

    /// The node has accepted a message for a peer.
    fn accepted(&mut self, to: NodeId, payload: Bytes) {
        let Some(peer) = self.node.peer(to) else { return };
        let at = Instant::from_nanos(self.io.queue.now());
        if let Some(recorder) = self.io.trace.recording() {
            recorder.message_sent(at, self.node.run().id, peer.run, &payload);
        }
        self.io.oracle.accepted(self.io.host, peer.run, payload);
    }

    fn trace(&mut self, text: String) {
        self.io.trace(Record::Verb(text));
    }
}
