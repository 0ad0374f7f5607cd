//! Who may be a peer, among those who have the secret.

use alloc::vec::Vec;

use super::Node;
use crate::action::CloseMode;
use crate::channel::Proven;
use crate::id::{LinkId, NodeId};
use crate::reason::Reason;

impl Node {
    /// Why a link on which this was proven cannot stay.
    pub(super) fn distrusts(&self, proven: &Proven) -> Option<Reason> {
        let known = self.cx.config.security.keyring().is_none_or(|ring| ring.ids().any(|id| Some(id) == proven.secret));
        if !known {
            return Some(Reason::SecretRetired);
        }
        // Who meets itself is told so, whoever is allowed.
        let allowed = proven.run.id == self.cx.run.id || self.cx.config.allows(proven.run.id);
        (!allowed).then_some(Reason::NotAllowed)
    }

    /// The secrets or the list of nodes that are allowed have changed: whoever may not be a peer any more is not.
    pub(super) fn distrust_links(&mut self) {
        let open = self.pairs.links().filter(|link| !link.is_closing());
        let distrusted = open.filter_map(|link| Some((link.id, self.distrusts(link.proven.as_ref()?)?)));
        for (link, reason) in distrusted.collect::<Vec<(LinkId, Reason)>>() {
            self.turn_out(link, reason);
        }
        let expelled = self.pairs.peers().map(|peer| peer.run.id).filter(|id| !self.cx.config.allows(*id));
        for id in expelled.collect::<Vec<NodeId>>() {
            self.displace(id);
        }
    }

    /// Ends a link that cannot stay. The other side learns nothing.
    pub(super) fn turn_out(&mut self, link: LinkId, reason: Reason) {
        self.cx.stats.not_allowed += u64::from(reason == Reason::NotAllowed);
        self.drop_link(link, CloseMode::Abort, reason);
    }
}
