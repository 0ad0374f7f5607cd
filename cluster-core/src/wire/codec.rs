//! Frames to bytes and back.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::FrameError;
use super::field::{Id, KnownStream, Label, Many, Metadata, Open, Place, Socket};
use super::frame::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, Frame, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};
use super::head::{ARRAY, BYTES, Head, UINT};
use super::item::{self, ItemError};
use crate::id::{Incarnation, Run};
use crate::limits::{
    MAX_ADDRESSES, MAX_CHUNK, MAX_DATA_HEAD, MAX_LIST, MAX_LIST_FRAME, MAX_NESTING, MAX_PROFILE_FRAME, MAX_SMALL_FRAME,
};
use crate::wire::RejectCode;

const DATA: u64 = 0;
const PING: u64 = 1;
const PONG: u64 = 2;
const ACK: u64 = 3;
const CLAIM: u64 = 4;
const ACCEPT: u64 = 5;
const REJECT: u64 = 6;
const RESUME: u64 = 7;
const CLOSE: u64 = 8;
const DIGEST: u64 = 9;
const LIST: u64 = 10;
const ANNOUNCE: u64 = 11;
const UPDATE: u64 = 12;

/// Frames from this type on may be skipped by who does not know them.
const FIRST_SKIPPED: u64 = 64;

const REJECT_STALE: u8 = 2;

/// The fewest bytes of an entry: array head, id, incarnation, and no address.
const MIN_ENTRY: usize = 1 + 17 + 1 + 1;

type ProfileItem = Open<(Option<Label>, Metadata, Many<Place, MAX_ADDRESSES>, u64, u64)>;
type OfferItem = Open<(u64, u64, Option<KnownStream>)>;
type EntryItem = Open<(Id, u64, Many<Socket, MAX_ADDRESSES>)>;
type Entries = Many<EntryItem, MAX_LIST>;

impl Frame {
    /// The bytes of the frame. A frame that breaks the limits its types state has bytes that nobody decodes.
    ///
    /// ```
    /// use cluster_core::Frame;
    ///
    /// let frame = Frame::Ping { token: 7 };
    /// assert_eq!(frame.encode(), [0x82, 1, 7]);
    /// assert_eq!(Frame::decode(frame.encode().into()), Ok(frame));
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write(self, &mut out);
        out
    }

    /// The frame that these bytes are. Of a data frame, the chunk is a slice of them.
    ///
    /// # Errors
    ///
    /// The bytes are not exactly one frame of a known type within its limits.
    pub fn decode(mut bytes: Bytes) -> Result<Frame, FrameError> {
        let kind = kind(&bytes)?;
        let size = bytes.len();
        let frame = next(&mut bytes, size)?.ok_or(FrameError::UnknownType(kind))?;
        if bytes.is_empty() { Ok(frame) } else { Err(FrameError::Trailing) }
    }

    /// The type number that the frame has on the wire.
    #[must_use]
    pub const fn kind(&self) -> u64 {
        match self {
            Frame::Data(_) => DATA,
            Frame::Ping { .. } => PING,
            Frame::Pong { .. } => PONG,
            Frame::Ack(_) => ACK,
            Frame::Claim(_) => CLAIM,
            Frame::Accept(_) => ACCEPT,
            Frame::Reject(_) => REJECT,
            Frame::Resume(_) => RESUME,
            Frame::Close(_) => CLOSE,
            Frame::Digest(_) => DIGEST,
            Frame::List(_) => LIST,
            Frame::Announce(_) => ANNOUNCE,
            Frame::Update(_) => UPDATE,
        }
    }
}

/// The most bytes of a frame of this type, except a data frame.
pub(crate) const fn cap(kind: u64) -> usize {
    match kind {
        CLAIM | ACCEPT | UPDATE => MAX_PROFILE_FRAME,
        LIST | ANNOUNCE => MAX_LIST_FRAME,
        _ => MAX_SMALL_FRAME,
    }
}

/// Everything of a data frame that comes before its chunk, and how long that is.
pub(crate) fn data_head(data: &Data) -> ([u8; MAX_DATA_HEAD], usize) {
    let mut out = [0; MAX_DATA_HEAD];
    let mut length = 0;
    let chunk = data.bytes.len() as u64;
    for (major, argument) in [(ARRAY, 3), (UINT, DATA), (UINT, data.offset), (BYTES, chunk)] {
        let head = Head::new(major, argument);
        // A chunk beyond any limit has a head that does not fit; it is not sent, see `Output::send`.
        let size = head.size.min(MAX_DATA_HEAD - length);
        out[length..length + size].copy_from_slice(&head.encode()[..size]);
        length += size;
    }
    (out, length)
}

/// Appends the bytes of a frame.
pub(crate) fn write(frame: &Frame, out: &mut Vec<u8>) {
    let kind = frame.kind();
    match frame {
        Frame::Data(data) => {
            let (head, length) = data_head(data);
            out.extend_from_slice(&head[..length]);
            out.extend_from_slice(&data.bytes);
        }
        Frame::Ping { token } | Frame::Pong { token } => put(&(kind, token), out),
        Frame::Ack(ack) => put(&(kind, ack.received, ack.consumed, ack.consumed_messages, ack.granted), out),
        Frame::Claim(claim) => put(&(kind, claim.generation, claim.rejoin, from_profile(&claim.profile)), out),
        Frame::Accept(accept) => put(&(kind, from_profile(&accept.profile), from_offer(accept.offer)), out),
        Frame::Reject(reject) => match reject.code {
            RejectCode::Stale { known } => put(&(kind, REJECT_STALE, known.0), out),
            code => put(&(kind, from_reject_code(code)), out),
        },
        Frame::Resume(resume) => put(&(kind, from_offer(resume.offer)), out),
        Frame::Close(close) => put(&(kind, from_close(*close)), out),
        Frame::Digest(digest) => put(&(kind, digest.buckets), out),
        Frame::List(list) => put(&(kind, list.buckets, list.reply, from_entries(&list.entries)), out),
        Frame::Announce(announce) => put(&(kind, from_entries(&announce.entries)), out),
        Frame::Update(update) => put(&(kind, from_profile(&update.profile)), out),
    }
}

fn put(elements: &impl Serialize, out: &mut Vec<u8>) {
    let written = ciborium::into_writer(elements, out);
    debug_assert!(written.is_ok(), "a vector takes everything, and every element can be written");
}

/// Takes the next frame off the front of `rest`, the remaining plaintext of a record; `None` if it was one to skip.
///
/// A chunk is copied if it is shorter than half of `backing`, the size of the buffer behind `rest`, and is no full chunk,
/// so that who fills records with what counts for nothing has little of them kept: of a record by itself, which is what
/// a sealed one is opened to, twice as much as counts.
pub(crate) fn next(rest: &mut Bytes, backing: usize) -> Result<Option<Frame>, FrameError> {
    let kind = kind(rest)?;
    match kind {
        DATA => return read_data(rest, backing).map(Frame::Data).map(Some),
        PING..=UPDATE | FIRST_SKIPPED.. => {}
        _ => return Err(FrameError::UnknownType(kind)),
    }
    let cap = cap(kind);
    let end = item::end(&rest[..rest.len().min(cap)]).map_err(|error| match error {
        ItemError::Truncated if rest.len() > cap => FrameError::TooLong { kind, cap },
        ItemError::Truncated | ItemError::Malformed => FrameError::Malformed,
        ItemError::TooDeep => FrameError::TooDeep,
    })?;
    let frame = if kind < FIRST_SKIPPED { Some(read_control(kind, &rest[..end])?) } else { None };
    rest.advance(end);
    Ok(frame)
}

/// The type number of the frame that `bytes` begins with.
fn kind(bytes: &[u8]) -> Result<u64, FrameError> {
    if bytes.is_empty() {
        return Err(FrameError::Empty);
    }
    let array = expect(bytes, ARRAY)?;
    if array.argument == 0 {
        return Err(FrameError::Malformed);
    }
    Ok(expect(&bytes[array.size..], UINT)?.argument)
}

fn expect(bytes: &[u8], major: u8) -> Result<Head, FrameError> {
    Head::decode(bytes).ok().filter(|head| head.major == major).ok_or(FrameError::Malformed)
}

fn read_data(rest: &mut Bytes, backing: usize) -> Result<Data, FrameError> {
    let array = expect(rest, ARRAY)?;
    if array.argument != 3 {
        return Err(FrameError::Malformed);
    }
    let at = array.size + expect(&rest[array.size..], UINT)?.size;
    let offset = expect(&rest[at..], UINT)?;
    let at = at + offset.size;
    let chunk = expect(&rest[at..], BYTES)?;
    let begin = at + chunk.size;
    if chunk.argument == 0 {
        return Err(FrameError::Empty);
    }
    if chunk.argument > MAX_CHUNK as u64 {
        return Err(FrameError::TooLong { kind: DATA, cap: MAX_CHUNK });
    }
    let end = begin + chunk.argument as usize;
    // No stream is longer than 2^64 - 1 bytes, so nobody after this has to fear an overflow.
    if end > rest.len() || offset.argument.checked_add(chunk.argument).is_none() {
        return Err(FrameError::Malformed);
    }
    let few = end - begin < (backing / 2).min(MAX_CHUNK);
    let bytes = if few { Bytes::copy_from_slice(&rest[begin..end]) } else { rest.slice(begin..end) };
    rest.advance(end);
    Ok(Data { offset: offset.argument, bytes })
}

/// Reads the elements of a frame whose form and size were checked.
fn read_control(kind: u64, frame: &[u8]) -> Result<Frame, FrameError> {
    Ok(match kind {
        PING => Frame::Ping { token: elements::<(u64, u64)>(frame)?.1 },
        PONG => Frame::Pong { token: elements::<(u64, u64)>(frame)?.1 },
        ACK => {
            let (_, received, consumed, consumed_messages, granted) = elements::<(u64, u64, u64, u64, u64)>(frame)?;
            Frame::Ack(Ack { received, consumed, consumed_messages, granted })
        }
        CLAIM => {
            let (_, generation, rejoin, profile) = elements::<(u64, u64, bool, ProfileItem)>(frame)?;
            Frame::Claim(Claim { generation, rejoin, profile: to_profile(profile) })
        }
        ACCEPT => {
            let (_, profile, offer) = elements::<(u64, ProfileItem, OfferItem)>(frame)?;
            Frame::Accept(Accept { profile: to_profile(profile), offer: to_offer(offer) })
        }
        REJECT => {
            let (_, code) = elements::<(u64, u8)>(frame)?;
            let known = if code == REJECT_STALE { elements::<(u64, u8, u64)>(frame)?.2 } else { 0 };
            Frame::Reject(Reject { code: to_reject_code(code, Incarnation(known)) })
        }
        RESUME => Frame::Resume(Resume { offer: to_offer(elements::<(u64, OfferItem)>(frame)?.1) }),
        CLOSE => Frame::Close(to_close(elements::<(u64, u8)>(frame)?.1)),
        DIGEST => {
            let (_, Open(buckets)) = elements::<(u64, Open<[u64; 16]>)>(frame)?;
            Frame::Digest(Digest { buckets })
        }
        LIST => {
            check_entries(frame, 3)?;
            let (_, buckets, reply, entries) = elements::<(u64, u16, bool, Entries)>(frame)?;
            Frame::List(List { buckets, reply, entries: to_entries(entries) })
        }
        ANNOUNCE => {
            check_entries(frame, 1)?;
            Frame::Announce(Announce { entries: to_entries(elements::<(u64, Entries)>(frame)?.1) })
        }
        UPDATE => Frame::Update(Update { profile: to_profile(elements::<(u64, ProfileItem)>(frame)?.1) }),
        _ => return Err(FrameError::UnknownType(kind)),
    })
}

/// Refuses a frame whose entries, which follow so many other elements, cannot all be entries: it is too short for them.
/// Otherwise many small items of another kind would have memory allocated as if they were entries.
fn check_entries(frame: &[u8], before: usize) -> Result<(), FrameError> {
    let mut at = expect(frame, ARRAY)?.size;
    for _ in 0..before {
        at += item::end(&frame[at..]).map_err(|_| FrameError::Malformed)?;
    }
    let entries = expect(&frame[at..], ARRAY)?;
    if entries.argument > (frame.len() / MIN_ENTRY) as u64 { Err(FrameError::Malformed) } else { Ok(()) }
}

fn elements<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let Open(elements) = ciborium::de::from_reader_with_recursion_limit::<Open<T>, _>(frame, MAX_NESTING)
        .map_err(|_| FrameError::Malformed)?;
    Ok(elements)
}

fn from_profile(profile: &Profile) -> ProfileItem {
    let name = profile.name.clone().map(Label);
    let addresses = profile.addresses.iter().copied().map(Place).collect();
    Open((name, Metadata(profile.metadata.clone()), Many(addresses), profile.max_message, profile.window))
}

fn to_profile(Open((name, metadata, addresses, max_message, window)): ProfileItem) -> Profile {
    Profile {
        name: name.map(|label| label.0),
        metadata: metadata.0,
        addresses: addresses.0.into_iter().map(|place| place.0).collect(),
        max_message,
        window,
    }
}

fn from_offer(offer: Offer) -> OfferItem {
    Open((offer.stream.0, offer.next, KnownStream::new(offer.peer)))
}

fn to_offer(Open((stream, next, peer)): OfferItem) -> Offer {
    let peer: PeerStream = KnownStream::into_stream(peer);
    Offer { stream: StreamId(stream), next, peer }
}

fn from_entries(entries: &[Entry]) -> Entries {
    let addresses = |entry: &Entry| Many(entry.addresses.iter().copied().map(Socket).collect());
    let item = |entry: &Entry| Open((Id(entry.run.id), entry.run.incarnation.0, addresses(entry)));
    Many(entries.iter().map(item).collect())
}

fn to_entries(entries: Entries) -> Vec<Entry> {
    let entry = |Open((id, incarnation, addresses)): EntryItem| Entry {
        run: Run { id: id.0, incarnation: Incarnation(incarnation) },
        addresses: addresses.0.into_iter().map(|socket| socket.0).collect(),
    };
    entries.0.into_iter().map(entry).collect()
}

fn from_reject_code(code: RejectCode) -> u8 {
    match code {
        RejectCode::Outranked => 0,
        RejectCode::DuplicateIdentity => 1,
        RejectCode::Stale { .. } => REJECT_STALE,
        RejectCode::Removed => 3,
        RejectCode::Leaving => 4,
        RejectCode::Full => 5,
        RejectCode::Other(code) => code,
    }
}

fn to_reject_code(code: u8, known: Incarnation) -> RejectCode {
    match code {
        0 => RejectCode::Outranked,
        1 => RejectCode::DuplicateIdentity,
        REJECT_STALE => RejectCode::Stale { known },
        3 => RejectCode::Removed,
        4 => RejectCode::Leaving,
        5 => RejectCode::Full,
        code => RejectCode::Other(code),
    }
}

fn from_close(close: Close) -> u8 {
    match close {
        Close::Leaving => 0,
        Close::Removed => 1,
        Close::Other(code) => code,
    }
}

fn to_close(code: u8) -> Close {
    match code {
        0 => Close::Leaving,
        1 => Close::Removed,
        code => Close::Other(code),
    }
}

#[cfg(test)]
mod tests;
