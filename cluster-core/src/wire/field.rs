//! The elements of control frames, as serde sees them.
//!
//! Everything that is an array asks the decoder for *any* item and takes only a sequence: asked for a sequence, it
//! would also pass off a byte string as an array of integers.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::frame::{Ack, PeerStream, StreamId};
use super::name::Name;
use crate::address::Advertised;
use crate::id::NodeId;

/// An array with the elements of the tuple `T`, and possibly more, which a later version may have added.
pub(super) struct Open<T>(pub(super) T);

impl<T: Serialize> Serialize for Open<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Open<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Open<T>, D::Error> {
        struct Elements<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = Open<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Open<T>, A::Error> {
                let known = T::deserialize(SeqAccessDeserializer::new(&mut elements))?;
                skip_rest(elements)?;
                Ok(Open(known))
            }
        }

        deserializer.deserialize_any(Elements(PhantomData))
    }
}

fn skip_rest<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<(), A::Error> {
    while elements.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn required<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(elements: &mut A) -> Result<T, A::Error> {
    elements.next_element()?.ok_or_else(|| Error::custom("too few elements"))
}

/// An array of at most `MAX` items.
///
/// Only of an array that is there whole, which is to be made sure of before: its declared length is what is allocated.
pub(super) struct Many<T, const MAX: usize>(pub(super) Vec<T>);

impl<T: Serialize, const MAX: usize> Serialize for Many<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Many<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Many<T, MAX>, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Many<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                // Exactly as many as there are: a vector that grows holds everything twice while it does.
                let mut items = Vec::with_capacity(elements.size_hint().unwrap_or(0).min(MAX));
                while let Some(item) = elements.next_element()? {
                    if items.len() == MAX {
                        return Err(Error::custom("too many items"));
                    }
                    items.push(item);
                }
                Ok(Many(items))
            }
        }

        deserializer.deserialize_any(Items(PhantomData))
    }
}

/// Defines a field that is a byte string on the wire, from `fn(&[u8]) -> Option<Field>`.
macro_rules! from_byte_string {
    ($field:ident, $what:literal, $read:expr) => {
        impl<'de> Deserialize<'de> for $field {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$field, D::Error> {
                struct Content;

                impl Visitor<'_> for Content {
                    type Value = $field;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<$field, E> {
                        let read: fn(&[u8]) -> Option<$field> = $read;
                        read(bytes).ok_or_else(|| E::custom(concat!("expected ", $what)))
                    }
                }

                deserializer.deserialize_bytes(Content)
            }
        }
    };
}

/// A node id: its 16 bytes.
pub(super) struct Id(pub(super) NodeId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_bytes())
    }
}

from_byte_string!(Id, "16 bytes", |bytes| Some(Id(NodeId::from_bytes(bytes.try_into().ok()?))));

/// Metadata: at most [`MAX_METADATA`](crate::limits::MAX_METADATA) bytes.
pub(super) struct Metadata(pub(super) Bytes);

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

from_byte_string!(Metadata, "at most 4,096 bytes", |bytes| {
    (bytes.len() <= crate::limits::MAX_METADATA).then(|| Metadata(Bytes::copy_from_slice(bytes)))
});

/// A complete address: 4 or 16 bytes of IP and 2 of port. The flow label and scope of an IPv6 address stay at home.
pub(super) struct Socket(pub(super) SocketAddr);

impl Serialize for Socket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; 18];
        let length = match self.0.ip() {
            IpAddr::V4(ip) => {
                bytes[..4].copy_from_slice(&ip.octets());
                6
            }
            IpAddr::V6(ip) => {
                bytes[..16].copy_from_slice(&ip.octets());
                18
            }
        };
        bytes[length - 2..length].copy_from_slice(&self.0.port().to_be_bytes());
        serializer.serialize_bytes(&bytes[..length])
    }
}

fn socket(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk()?;
    let ip: IpAddr = match ip.len() {
        4 => <[u8; 4]>::try_from(ip).ok()?.into(),
        16 => <[u8; 16]>::try_from(ip).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

from_byte_string!(Socket, "6 or 18 bytes", |bytes| socket(bytes).map(Socket));

/// An address as advertised: a complete one, or 2 bytes of port.
pub(super) struct Place(pub(super) Advertised);

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Advertised::Socket(address) => Socket(address).serialize(serializer),
            Advertised::Port(port) => serializer.serialize_bytes(&port.to_be_bytes()),
        }
    }
}

from_byte_string!(Place, "2, 6 or 18 bytes", |bytes| match bytes {
    [high, low] => Some(Place(Advertised::Port(u16::from_be_bytes([*high, *low])))),
    _ => socket(bytes).map(Advertised::Socket).map(Place),
});

/// A name: text.
pub(super) struct Label(pub(super) Name);

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Label, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Label, E> {
                text.parse().map(Label).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// A stream that is not unknown: `[0, id, ack...]` or `[1, id, consumed]`. An unknown one is null.
pub(super) struct KnownStream(PeerStream);

impl KnownStream {
    pub(super) fn new(stream: PeerStream) -> Option<KnownStream> {
        (stream != PeerStream::None).then_some(KnownStream(stream))
    }

    pub(super) fn into_stream(known: Option<KnownStream>) -> PeerStream {
        known.map_or(PeerStream::None, |known| known.0)
    }
}

const LIVE: u64 = 0;
const CLOSED: u64 = 1;

impl Serialize for KnownStream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            PeerStream::None => serializer.serialize_none(),
            PeerStream::Live { id, ack } => {
                let mut array = serializer.serialize_tuple(6)?;
                for number in [LIVE, id.0, ack.received, ack.consumed, ack.consumed_messages, ack.granted] {
                    array.serialize_element(&number)?;
                }
                array.end()
            }
            PeerStream::Closed { id, consumed } => (CLOSED, id.0, consumed).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for KnownStream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KnownStream, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = KnownStream;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the state of a stream")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<KnownStream, A::Error> {
                let kind = required(&mut elements)?;
                let id = StreamId(required(&mut elements)?);
                let stream = match kind {
                    LIVE => PeerStream::Live {
                        id,
                        ack: Ack {
                            received: required(&mut elements)?,
                            consumed: required(&mut elements)?,
                            consumed_messages: required(&mut elements)?,
                            granted: required(&mut elements)?,
                        },
                    },
                    CLOSED => PeerStream::Closed { id, consumed: required(&mut elements)? },
                    _ => return Err(Error::custom("unknown state of a stream")),
                };
                skip_rest(elements)?;
                Ok(KnownStream(stream))
            }
        }

        deserializer.deserialize_any(Elements)
    }
}
