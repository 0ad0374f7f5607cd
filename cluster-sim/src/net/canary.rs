//! Words that must not be on any wire: if messages with them can be read there, the nodes keep no secret.

use std::collections::BTreeMap;

use crate::numbered::MAGIC;
use crate::socket::{ConnId, Side, Sock};

/// Looks at everything that is written, however it is cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Canary {
    /// The last bytes of each direction.
    ends: BTreeMap<(ConnId, Side), u64>,
    /// Where the words were first seen.
    seen: Option<Sock>,
}

impl Canary {
    pub(super) fn look(&mut self, sock: Sock, bytes: &[u8]) {
        let words = u64::from_be_bytes(*MAGIC);
        let end = self.ends.entry((sock.conn, sock.side)).or_default();
        let mut found = false;
        for &byte in bytes {
            *end = (*end << 8) | u64::from(byte);
            found |= *end == words;
        }
        if found {
            self.seen.get_or_insert(sock);
        }
    }

    /// A connection is over.
    pub(super) fn forget(&mut self, conn: ConnId) {
        for side in [Side::Dialer, Side::Listener] {
            self.ends.remove(&(conn, side));
        }
    }

    pub(super) fn seen(&self) -> Option<Sock> {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_seen_in_pieces_and_only_in_one_direction_of_one_connection() {
        let sock = |conn, side| Sock { conn: ConnId::nth(conn), side };
        let mut canary = Canary::default();
        for (sock, piece) in [
            (sock(0, Side::Dialer), "a numb"),
            (sock(0, Side::Listener), "ered"),
            (sock(1, Side::Dialer), "ered"),
            (sock(0, Side::Dialer), "ere"),
        ] {
            canary.look(sock, piece.as_bytes());
            assert_eq!(canary.seen(), None, "{piece}");
        }
        canary.look(sock(0, Side::Dialer), b"d one");
        assert_eq!(canary.seen(), Some(sock(0, Side::Dialer)));
        canary.forget(ConnId::nth(0));
        assert_eq!(canary.ends.len(), 1);
    }
}
