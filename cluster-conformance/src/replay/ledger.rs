//! What was sent, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut as _, Bytes, BytesMut};

/// One node between its start and its end. Many may run at one place, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life(u32);

/// Every message that was accepted, by who sent it and where to.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lives: Vec<Record>,
    streams: BTreeMap<(Life, usize), Stream>,
}

#[derive(Debug)]
struct Record {
    place: usize,
    /// How many messages it made. Each has the number of its turn.
    made: u64,
    crashed: bool,
}

/// The messages of one life to one place.
#[derive(Debug, Default)]
struct Stream {
    accepted: BTreeSet<u64>,
    taken: BTreeSet<u64>,
    not_delivered: BTreeSet<u64>,
    in_doubt: BTreeSet<u64>,
}

/// What every message begins with: who sent it, and its number.
const HEAD: usize = 4 + 8;

impl Ledger {
    pub(super) fn begin(&mut self, place: usize) -> Life {
        let life = Life(self.lives.len() as u32);
        self.lives.push(Record { place, made: 0, crashed: false });
        life
    }

    /// Nobody hears any more what became of what it sent.
    pub(super) fn crashed(&mut self, life: Life) {
        self.lives[life.0 as usize].crashed = true;
    }

    /// A message that says whose it is, of this length, or as much longer as that takes.
    pub(super) fn payload(&mut self, life: Life, length: usize) -> Bytes {
        let record = &mut self.lives[life.0 as usize];
        record.made += 1;
        let mut payload = BytesMut::with_capacity(length.max(HEAD));
        payload.put_u32(life.0);
        payload.put_u64(record.made);
        payload.resize(length.max(HEAD), record.made as u8);
        payload.freeze()
    }

    /// The message that was made last is accepted for this place.
    pub(super) fn accepted(&mut self, life: Life, to: usize) {
        let number = self.lives[life.0 as usize].made;
        self.stream(life, to).accepted.insert(number);
    }

    /// A message was taken at a place.
    pub(super) fn taken(&mut self, at: usize, from: Option<usize>, payload: &[u8]) -> Result<(), String> {
        let (life, number) = self.read(payload)?;
        if from != Some(self.lives[life.0 as usize].place) {
            return Err(format!("message {number} of {life:?} came from another node: {from:?}"));
        }
        let stream = self.stream(life, at);
        let last = stream.taken.last().copied();
        if !stream.accepted.contains(&number) {
            Err(format!("message {number} of {life:?} was taken, and was not sent here"))
        } else if stream.not_delivered.contains(&number) {
            Err(format!("message {number} of {life:?} was taken, and was reported as not delivered"))
        } else if last.is_some_and(|last| number <= last) {
            Err(format!("message {number} of {life:?} was taken after message {last:?}"))
        } else {
            stream.taken.insert(number);
            Ok(())
        }
    }

    /// Messages were given back to who sent them.
    pub(super) fn reported(
        &mut self,
        life: Life,
        to: Option<usize>,
        not_delivered: &[Bytes],
        in_doubt: &[Bytes],
    ) -> Result<(), String> {
        let Some(to) = to else { return Err("messages to nobody are reported".into()) };
        for (payloads, certain) in [(not_delivered, true), (in_doubt, false)] {
            for payload in payloads {
                let (sender, number) = self.read(payload)?;
                let stream = self.stream(life, to);
                let known = sender == life && stream.accepted.contains(&number);
                let again = stream.not_delivered.contains(&number) || stream.in_doubt.contains(&number);
                if !known || again {
                    return Err(format!("message {number} of {sender:?} is reported wrongly, or again"));
                }
                if certain && stream.taken.contains(&number) {
                    return Err(format!("message {number} to node {to} is not delivered, but was taken"));
                }
                let reported = if certain { &mut stream.not_delivered } else { &mut stream.in_doubt };
                reported.insert(number);
            }
        }
        Ok(())
    }

    /// Whether every message has its outcome.
    pub(super) fn check(&self) -> Result<(), String> {
        for ((life, to), stream) in &self.streams {
            let record = &self.lives[life.0 as usize];
            let outcome = |number: &&u64| {
                [&stream.taken, &stream.not_delivered, &stream.in_doubt].iter().any(|known| known.contains(*number))
            };
            if !record.crashed && !stream.accepted.iter().all(|number| outcome(&number)) {
                let without = stream.accepted.iter().filter(|number| !outcome(number)).collect::<Vec<_>>();
                return Err(format!("{life:?} at node {}: no outcome of {without:?} to node {to}", record.place));
            }
        }
        Ok(())
    }

    /// How many messages were accepted, taken, and reported.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let count = |of: fn(&Stream) -> usize| self.streams.values().map(|stream| of(stream) as u64).sum();
        (
            count(|stream| stream.accepted.len()),
            count(|stream| stream.taken.len()),
            count(|stream| stream.not_delivered.len() + stream.in_doubt.len()),
        )
    }

    fn stream(&mut self, life: Life, to: usize) -> &mut Stream {
        self.streams.entry((life, to)).or_default()
    }

    /// Whose message this is, and which. It is whole.
    fn read(&self, payload: &[u8]) -> Result<(Life, u64), String> {
        let foreign = || format!("a message of {} bytes was sent by nobody", payload.len());
        let (life, rest) = payload.split_first_chunk().ok_or_else(foreign)?;
        let (number, filling) = rest.split_first_chunk().ok_or_else(foreign)?;
        let (life, number) = (Life(u32::from_be_bytes(*life)), u64::from_be_bytes(*number));
        let made = self.lives.get(life.0 as usize).is_some_and(|record| (1..=record.made).contains(&number));
        if made && filling.iter().all(|&byte| byte == number as u8) { Ok((life, number)) } else { Err(foreign()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice;

    /// A ledger with three messages from place 0 to place 1.
    fn three() -> (Ledger, Life, [Bytes; 3]) {
        let mut ledger = Ledger::default();
        let life = ledger.begin(0);
        let payloads = [0, 100, 30].map(|length| {
            let payload = ledger.payload(life, length);
            ledger.accepted(life, 1);
            payload
        });
        (ledger, life, payloads)
    }

    #[test]
    fn each_message_needs_one_outcome() {
        let (mut ledger, life, [first, second, third]) = three();
        assert_eq!(ledger.taken(1, Some(0), &first), Ok(()));
        assert!(ledger.check().is_err());
        assert_eq!(ledger.reported(life, Some(1), slice::from_ref(&third), slice::from_ref(&second)), Ok(()));
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(ledger.counts(), (3, 1, 2));
        assert!(ledger.taken(1, Some(0), &third).is_err(), "it was not delivered");
        assert_eq!(ledger.taken(1, Some(0), &second), Ok(()), "it was in doubt");
        assert!(ledger.reported(life, Some(1), &[], &[second]).is_err(), "it was reported before");
    }

    #[test]
    fn what_a_crashed_node_sent_needs_none() {
        let (mut ledger, life, _) = three();
        ledger.crashed(life);
        assert_eq!(ledger.check(), Ok(()));
    }

    #[test]
    fn messages_that_come_twice_or_late_or_elsewhere_or_changed_are_wrong() {
        let (mut ledger, _, [first, second, third]) = three();
        assert!(ledger.taken(2, Some(0), &first).is_err(), "it was not sent there");
        assert!(ledger.taken(1, Some(2), &first).is_err(), "it is of another");
        assert!(ledger.taken(1, Some(0), &second[..second.len() - 1]).is_ok(), "its length is not known");
        let mut changed = third.to_vec();
        changed[20] ^= 1;
        assert!(ledger.taken(1, Some(0), &changed).is_err(), "it was changed");
        assert!(ledger.taken(1, Some(0), &second).is_err(), "it came before");
        assert!(ledger.taken(1, Some(0), &first).is_err(), "it is late");
        assert_eq!(ledger.taken(1, Some(0), &third), Ok(()));
    }
}
