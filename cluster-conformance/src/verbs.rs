//! Verbs that are the same in every adapter.

/// The methods of [`TestNode`](crate::TestNode) that wait for nothing, for a type with a field that has methods of the
/// same names: those of every `Node` of this project. To be written within the `impl`, with the name of the field, before
/// the methods that wait.
///
/// These are `local_addr`, `id`, `try_send`, `broadcast`, `acknowledge`, `peers`, `disconnect`, `set_config`, `stats`.
///
/// ```
/// struct MyNode {
///     node: cluster_tokio::Node,
/// }
///
/// impl MyNode {
///     cluster_conformance::same_verbs!(node);
/// }
///
/// fn peers(node: &MyNode) -> usize {
///     node.peers().len()
/// }
/// ```
#[macro_export]
macro_rules! same_verbs {
    ($node:ident) => {
        fn local_addr(&self) -> ::std::net::SocketAddr {
            self.$node.local_addr()
        }

        fn id(&self) -> $crate::cluster_core::NodeId {
            self.$node.id()
        }

        fn try_send(
            &self,
            peer: $crate::cluster_core::NodeId,
            payload: $crate::cluster_core::Bytes,
        ) -> ::std::result::Result<(), $crate::cluster_core::SendError> {
            self.$node.try_send(peer, payload)
        }

        fn broadcast(
            &self,
            payload: $crate::cluster_core::Bytes,
        ) -> ::std::result::Result<$crate::cluster_core::Broadcast, $crate::cluster_core::SendError> {
            self.$node.broadcast(payload)
        }

        fn acknowledge(&self, receipt: $crate::cluster_core::Receipt) {
            self.$node.acknowledge(receipt);
        }

        fn peers(&self) -> ::std::vec::Vec<$crate::cluster_core::PeerInfo> {
            self.$node.peers()
        }

        fn disconnect(
            &self,
            peer: $crate::cluster_core::NodeId,
        ) -> ::std::result::Result<(), $crate::cluster_core::UnknownPeer> {
            self.$node.disconnect(peer)
        }

        fn set_config(
            &self,
            config: $crate::cluster_core::Config,
        ) -> ::std::result::Result<(), $crate::cluster_core::ConfigError> {
            self.$node.set_config(config)
        }

        fn stats(&self) -> $crate::cluster_core::Stats {
            self.$node.stats()
        }
    };
}

/// The same methods but `local_addr` and `id`, and `add_seed`, for a type that embeds [`cluster_core::Node`] and has a
/// method that calls it: `fn enter<T>(&self, call: impl FnOnce(&mut Node, Instant) -> T) -> T`. To be written within the
/// `impl`, with the name of that method. What it calls is `Send` and owns what it uses.
///
/// ```
/// use cluster_conformance::cluster_core::{Instant, Node};
/// use std::cell::RefCell;
///
/// struct MyNode {
///     core: RefCell<Node>,
/// }
///
/// impl MyNode {
///     fn enter<T>(&self, call: impl FnOnce(&mut Node, Instant) -> T) -> T {
///         call(&mut self.core.borrow_mut(), Instant::ZERO)
///     }
///
///     cluster_conformance::core_verbs!(enter);
/// }
///
/// fn peers(node: &MyNode) -> usize {
///     node.peers().len()
/// }
/// ```
#[macro_export]
macro_rules! core_verbs {
    ($enter:ident) => {
        fn add_seed(
            &self,
            target: $crate::cluster_core::Target,
        ) -> ::std::result::Result<(), $crate::cluster_core::JoinError> {
            self.$enter(move |core, now| core.add_seed(now, target))
        }

        fn try_send(
            &self,
            peer: $crate::cluster_core::NodeId,
            payload: $crate::cluster_core::Bytes,
        ) -> ::std::result::Result<(), $crate::cluster_core::SendError> {
            self.$enter(move |core, now| core.send(now, peer, payload))
        }

        fn broadcast(
            &self,
            payload: $crate::cluster_core::Bytes,
        ) -> ::std::result::Result<$crate::cluster_core::Broadcast, $crate::cluster_core::SendError> {
            self.$enter(move |core, now| core.broadcast(now, payload))
        }

        fn acknowledge(&self, receipt: $crate::cluster_core::Receipt) {
            self.$enter(move |core, now| core.acknowledge(now, receipt));
        }

        fn peers(&self) -> ::std::vec::Vec<$crate::cluster_core::PeerInfo> {
            self.$enter(|core, _| core.peers().collect())
        }

        fn disconnect(
            &self,
            peer: $crate::cluster_core::NodeId,
        ) -> ::std::result::Result<(), $crate::cluster_core::UnknownPeer> {
            self.$enter(move |core, now| core.disconnect(now, peer))
        }

        fn set_config(
            &self,
            config: $crate::cluster_core::Config,
        ) -> ::std::result::Result<(), $crate::cluster_core::ConfigError> {
            self.$enter(move |core, now| core.set_config(now, config))
        }

        fn stats(&self) -> $crate::cluster_core::Stats {
            self.$enter(|core, _| core.stats())
        }
    };
}
