//! What someone on the path has recorded: the first words of those who dialled.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::socket::{ConnId, Side, Sock};

/// Connections that are recorded at most; the oldest makes room.
const MAX_FLIGHTS: usize = 32;

/// Bytes that are recorded of each.
const MAX_LENGTH: usize = 1_024;

/// The recordings, oldest first.
#[derive(Debug, Default)]
pub(super) struct Tape(VecDeque<(ConnId, Vec<u8>)>);

impl Tape {
    pub(super) fn record(&mut self, conn: ConnId, bytes: &[u8]) {
        let known = self.0.iter_mut().rev().find(|(of, _)| *of == conn);
        let Some((_, flight)) = known else {
            if self.0.back().is_none_or(|(latest, _)| *latest < conn) {
                self.0.push_back((conn, bytes[..bytes.len().min(MAX_LENGTH)].to_vec()));
            }
            if self.0.len() > MAX_FLIGHTS {
                self.0.pop_front();
            }
            return;
        };
        let room = MAX_LENGTH.saturating_sub(flight.len());
        flight.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// One of the recordings.
    pub(super) fn pick(&self, choice: u64) -> Option<Bytes> {
        let place = choice.checked_rem(self.0.len() as u64)?;
        self.0.get(place as usize).map(|(_, flight)| Bytes::copy_from_slice(flight))
    }
}

/// Everything that was written into connections, by connection and direction.
#[derive(Debug, Default)]
pub(super) struct Wiretap(BTreeMap<(ConnId, Side), Vec<u8>>);

impl Wiretap {
    pub(super) fn record(&mut self, sock: Sock, bytes: &[u8]) {
        self.0.entry((sock.conn, sock.side)).or_default().extend_from_slice(bytes);
    }

    /// Everything, one direction of one connection after the other.
    pub(super) fn kept(&self) -> impl Iterator<Item = &[u8]> {
        self.0.values().map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_the_latest_connections_are_kept() {
        let mut tape = Tape::default();
        for conn in 0..40 {
            tape.record(ConnId::nth(conn), b"one ");
            tape.record(ConnId::nth(conn), &[7; 2_000]);
        }
        tape.record(ConnId::nth(0), b"late");
        assert_eq!((tape.0.len(), tape.0[0].0), (MAX_FLIGHTS, ConnId::nth(8)));
        assert!(tape.0.iter().all(|(_, flight)| flight.len() == MAX_LENGTH && flight.starts_with(b"one \x07")));
    }
}
