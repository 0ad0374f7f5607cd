//! What the two ends of a link have told each other in its handshake, as far as the checks of sessions need it.

use std::collections::BTreeMap;

use cluster_core::wire::{Offer, PeerStream, StreamId};
use cluster_core::{Frame, LinkId};

/// The handshakes of the links of one node.
#[derive(Debug, Default)]
pub(super) struct Talks(BTreeMap<LinkId, Talk>);

/// One handshake.
#[derive(Clone, Copy, Debug, Default)]
struct Talk {
    /// The window that each has stated for a new stream.
    ours: u64,
    theirs: u64,
    our_offer: Option<Offer>,
    their_offer: Option<Offer>,
    /// What the handshake means for the streams, and was not carried out yet.
    sending: Option<Sending>,
    receiving: Option<Receiving>,
}

/// How our stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    /// What the peer knows of it.
    pub(super) known: PeerStream,
    /// The peer goes on with the stream that we know, so that if it knows nothing of ours, nothing has got there.
    pub(super) same: bool,
    /// The credit of a new one.
    pub(super) credit: u64,
}

/// How the peer's stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receiving {
    /// What we have said that we know of it.
    pub(super) said: PeerStream,
    /// Which one the peer has offered, and where it would go on.
    pub(super) offered: (StreamId, u64),
    /// The window of a new one.
    pub(super) window: u64,
}

impl Talks {
    /// A frame is about to reach the node, which receives the stream `current` of this peer.
    pub(super) fn got(&mut self, link: LinkId, frame: &Frame, current: Option<StreamId>) {
        let talk = match frame {
            Frame::Claim(_) | Frame::Accept(_) | Frame::Resume(_) => self.0.entry(link).or_default(),
            _ => return,
        };
        match frame {
            Frame::Claim(claim) => talk.theirs = claim.profile.window,
            Frame::Accept(accept) => {
                talk.theirs = accept.profile.window;
                talk.their_offer = Some(accept.offer);
                let same = current == Some(accept.offer.stream);
                talk.sending = Some(Sending { known: accept.offer.peer, same, credit: talk.theirs });
            }
            Frame::Resume(resume) => {
                let offered = (resume.offer.stream, resume.offer.next);
                talk.sending = Some(Sending { known: resume.offer.peer, same: false, credit: talk.theirs });
                talk.receiving = talk.our_offer.map(|ours| match ours.peer {
                    // The peer goes on exactly where we are, or begins.
                    PeerStream::Live { id, ack } if (id, ack.received) != offered => {
                        Receiving { said: PeerStream::None, offered, window: talk.ours }
                    }
                    PeerStream::Closed { .. } => Receiving { said: PeerStream::None, offered, window: talk.ours },
                    said => Receiving { said, offered, window: talk.ours },
                });
            }
            _ => {}
        }
    }

    /// The node has handed out a frame. Returns the stream that it names, and the credit that a new one has.
    pub(super) fn sent(&mut self, link: LinkId, frame: &Frame) -> Option<(StreamId, u64)> {
        match frame {
            Frame::Claim(claim) => {
                self.0.entry(link).or_default().ours = claim.profile.window;
                None
            }
            Frame::Accept(accept) => {
                let talk = self.0.entry(link).or_default();
                talk.ours = accept.profile.window;
                talk.our_offer = Some(accept.offer);
                Some((accept.offer.stream, talk.theirs))
            }
            Frame::Resume(resume) => {
                let talk = self.0.entry(link).or_default();
                talk.receiving = talk.their_offer.map(|theirs| Receiving {
                    said: resume.offer.peer,
                    offered: (theirs.stream, theirs.next),
                    window: talk.ours,
                });
                Some((resume.offer.stream, talk.theirs))
            }
            _ => None,
        }
    }

    /// What the handshake means for our stream, once.
    pub(super) fn sending(&mut self, link: LinkId) -> Option<Sending> {
        self.0.get_mut(&link)?.sending.take()
    }

    /// What the handshake means for the peer's stream, once.
    pub(super) fn receiving(&mut self, link: LinkId) -> Option<Receiving> {
        self.0.get_mut(&link)?.receiving.take()
    }

    /// The link is over.
    pub(super) fn over(&mut self, link: LinkId) {
        self.0.remove(&link);
    }
}
