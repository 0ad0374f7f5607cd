//! The three messages of the handshake in plain mode, each the body of one record.

use alloc::vec::Vec;

use super::name::Name;
use crate::id::{Incarnation, NodeId, Run};

pub(crate) type Nonce = [u8; 16];

const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;

/// From the initiator: which cluster it looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) nonce: Nonce,
    pub(crate) cluster: Name,
}

/// From the responder: which cluster it is of, and if that is the initiator's, who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Second {
    pub(crate) cluster: Name,
    pub(crate) answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) nonce: Nonce,
    /// The nonce of the first message.
    pub(crate) echo: Nonce,
    pub(crate) run: Run,
    pub(crate) version: u8,
    pub(crate) features: u32,
}

/// From the initiator: who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Third {
    /// The nonce of the second message.
    pub(crate) echo: Nonce,
    pub(crate) run: Run,
}

/// Whether this is a first message. Where a second one is due, it can only be the receiver's own, sent back to it.
pub(crate) fn is_first(body: &[u8]) -> bool {
    First::decode(body).is_some()
}

impl First {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = alloc::vec![FIRST];
        body.extend_from_slice(&self.nonce);
        put_name(&mut body, &self.cluster);
        body
    }

    pub(crate) fn decode(mut body: &[u8]) -> Option<First> {
        let body = &mut body;
        expect(body, FIRST)?;
        let first = First { nonce: array(body)?, cluster: name(body)? };
        body.is_empty().then_some(first)
    }
}

impl Second {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = alloc::vec![SECOND];
        put_name(&mut body, &self.cluster);
        if let Some(answer) = &self.answer {
            body.extend_from_slice(&answer.nonce);
            body.extend_from_slice(&answer.echo);
            put_run(&mut body, answer.run);
            body.push(answer.version);
            body.extend_from_slice(&answer.features.to_be_bytes());
        }
        body
    }

    pub(crate) fn decode(mut body: &[u8]) -> Option<Second> {
        let body = &mut body;
        expect(body, SECOND)?;
        let cluster = name(body)?;
        if body.is_empty() {
            return Some(Second { cluster, answer: None });
        }
        let answer = Answer {
            nonce: array(body)?,
            echo: array(body)?,
            run: run(body)?,
            version: u8::from_be_bytes(array(body)?),
            features: u32::from_be_bytes(array(body)?),
        };
        body.is_empty().then_some(Second { cluster, answer: Some(answer) })
    }
}

impl Third {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = alloc::vec![THIRD];
        body.extend_from_slice(&self.echo);
        put_run(&mut body, self.run);
        body
    }

    pub(crate) fn decode(mut body: &[u8]) -> Option<Third> {
        let body = &mut body;
        expect(body, THIRD)?;
        let third = Third { echo: array(body)?, run: run(body)? };
        body.is_empty().then_some(third)
    }
}

fn put_name(body: &mut Vec<u8>, name: &Name) {
    // A name is at most 64 bytes.
    body.push(name.as_str().len() as u8);
    body.extend_from_slice(name.as_str().as_bytes());
}

fn put_run(body: &mut Vec<u8>, run: Run) {
    body.extend_from_slice(run.id.as_bytes());
    body.extend_from_slice(&run.incarnation.0.to_be_bytes());
}

fn array<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(*array)
}

fn expect(body: &mut &[u8], number: u8) -> Option<()> {
    (array(body)? == [number]).then_some(())
}

fn name(body: &mut &[u8]) -> Option<Name> {
    let [length] = array(body)?;
    let (name, rest) = body.split_at_checked(usize::from(length))?;
    *body = rest;
    core::str::from_utf8(name).ok()?.parse().ok()
}

fn run(body: &mut &[u8]) -> Option<Run> {
    let id = NodeId::from_bytes(array(body)?);
    Some(Run { id, incarnation: Incarnation(u64::from_be_bytes(array(body)?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cut_or_prolonged_anywhere_is_refused() {
        let run = Run { id: NodeId::from_bytes([7; 16]), incarnation: Incarnation(8) };
        let cluster: Name = "prod".parse().unwrap();
        let first = First { nonce: [1; 16], cluster: cluster.clone() };
        let answer = Answer { nonce: [2; 16], echo: [1; 16], run, version: 1, features: 3 };
        let second = Second { cluster: cluster.clone(), answer: Some(answer) };
        let refusal = Second { cluster, answer: None };
        let third = Third { echo: [2; 16], run };
        assert_eq!(First::decode(&first.encode()), Some(first.clone()));
        assert_eq!(Second::decode(&second.encode()), Some(second.clone()));
        assert_eq!(Second::decode(&refusal.encode()), Some(refusal.clone()));
        assert_eq!(Third::decode(&third.encode()), Some(third));
        for mut body in [first.encode(), second.encode(), third.encode()] {
            body.push(0);
            let known = |body: &[u8]| {
                let second = Second::decode(body).is_some_and(|second| second != refusal);
                First::decode(body).is_some() || second || Third::decode(body).is_some()
            };
            assert!(!known(&body));
            assert!((0..body.len() - 1).all(|length| !known(&body[..length])));
        }
    }
}
