//! What happened, as a running hash that two runs can be compared by and as the last lines for people.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use cluster_core::{Instant, NodeId};
use cluster_timeline::Recorder;
use cluster_timeline::record::{HostId, Record};

/// How many lines are kept for people unless the test wants more.
const LINES: usize = 4_000;

#[derive(Clone, Debug)]
struct Line {
    at: u64,
    host: Option<HostId>,
    what: Record,
}

/// The hash of everything, and the last lines.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: Hash,
    lines: VecDeque<Line>,
    keep: usize,
    /// Names for the ids that appear in lines, in the order in which they were given.
    names: Vec<(NodeId, HostId)>,
    recorder: Option<Box<Recorder>>,
}

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace { hash: Hash::new(), lines: VecDeque::new(), keep: LINES, names: Vec::new(), recorder: None }
    }

    /// Keeps this many lines from now on.
    pub(crate) fn keep(&mut self, lines: usize) {
        self.keep = lines;
        while self.lines.len() > lines {
            self.lines.pop_front();
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.0
    }

    /// Tells this recorder everything from now on.
    pub(crate) fn set_recorder(&mut self, recorder: Recorder) {
        self.recorder = Some(Box::new(recorder));
    }

    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_deref()
    }

    pub(crate) fn recording(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_deref_mut()
    }

    /// Lines show `id` by the name of its host.
    pub(crate) fn name(&mut self, id: NodeId, host: HostId) {
        if !self.names.iter().any(|&(known, _)| known == id) {
            self.names.push((id, host));
        }
    }

    pub(crate) fn add(&mut self, at: u64, host: Option<HostId>, what: Record) {
        self.hash.word(at);
        self.hash.word(host.map_or(u64::MAX, |host| u64::from(host.0)));
        match &what {
            // Their bytes are in the hash already.
            Record::Sent(link, _) => self.hash.words([1, link.as_u64()]),
            Record::Got(link, _) => self.hash.words([2, link.as_u64()]),
            Record::Send(to, length) => {
                self.hash.words([3, *length as u64]);
                self.hash.bytes(to.as_bytes());
            }
            Record::Broadcast(length) => self.hash.words([4, *length as u64]),
            Record::Message(from, length) => {
                self.hash.words([5, from.incarnation.0, *length as u64]);
                self.hash.bytes(from.id.as_bytes());
            }
            // Writing to a hash cannot fail.
            other => drop(write!(self.hash, "{other:?}")),
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.see(Instant::from_nanos(at), host, &what);
        }
        if self.keep > 0 {
            if self.lines.len() == self.keep {
                self.lines.pop_front();
            }
            self.lines.push_back(Line { at, host, what });
        }
    }

    /// Bytes that were written to a connection: part of the hash, no line.
    pub(crate) fn bytes(&mut self, at: u64, conn: u32, bytes: &[u8]) {
        self.hash.word(at);
        self.hash.word(conn.into());
        self.hash.bytes(bytes);
    }

    /// The last `count` lines.
    pub(crate) fn dump(&self, count: usize) -> String {
        let mut text = String::new();
        let skip = self.lines.len().saturating_sub(count);
        for line in self.lines.iter().skip(skip) {
            let host = line.host.map_or_else(|| "--".to_owned(), |host| host.to_string());
            let at = (line.at / 1_000_000_000, line.at % 1_000_000_000);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>6}.{:09} {host:>4}  {:?}", at.0, at.1, line.what);
        }
        self.named(text)
    }

    /// The text, with the names of hosts for ids.
    pub(crate) fn named(&self, mut text: String) -> String {
        for (id, host) in &self.names {
            text = text.replace(&id.to_string(), &host.to_string()).replace(&format!("{id:?}"), &host.to_string());
        }
        text
    }
}

/// A hash that is the same on every platform and in every release of this crate's dependencies.
#[derive(Clone, Debug)]
struct Hash(u64);

impl Hash {
    fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn words<const N: usize>(&mut self, words: [u64; N]) {
        for word in words {
            self.word(word);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks();
        // Four lanes that do not wait for each other.
        let (blocks, words) = words.as_chunks();
        if !blocks.is_empty() {
            let mut lanes = [0, 1, 2, 3].map(|lane| Hash(self.0 ^ lane));
            for block in blocks {
                let block: &[[u8; 8]; 4] = block;
                for (lane, word) in lanes.iter_mut().zip(block) {
                    lane.word(u64::from_le_bytes(*word));
                }
            }
            self.words(lanes.map(|lane| lane.0));
        }
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word));
        }
    }
}

impl fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
