//! One direction of a simulated TCP connection: a send buffer, segments on their way, and a receive buffer.
//!
//! A pipe knows nothing of hosts. Whoever owns it ([`Net`](crate::net::Net)) says what the way is like and schedules
//! the arrivals that the pipe asks for.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::rng::Rng;

/// The largest segment, and the most that one read returns.
const SEGMENT: usize = 64 << 10;

/// The arrival time of what cannot arrive at present.
const HELD: u64 = u64::MAX;

/// What the way from one host to another is like at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Nanoseconds that everything takes.
    pub(crate) latency: u64,
    /// The most nanoseconds on top of that.
    pub(crate) jitter: u64,
    /// Nothing gets through.
    pub(crate) cut: bool,
}

/// One direction of one connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    rng: Rng,
    chunked: bool,
    send_limit: usize,
    receive_limit: usize,
    /// Written, and not yet sent because the receiver's window is full.
    unsent: VecDeque<Bytes>,
    unsent_len: usize,
    flight: VecDeque<Segment>,
    flight_len: usize,
    /// Arrived, and not yet read.
    arrived: VecDeque<Bytes>,
    arrived_len: usize,
    /// Sent, and not yet known to have arrived.
    unacked: usize,
    /// When how many bytes become known to have arrived.
    acks: VecDeque<(u64, usize)>,
    /// Arrived, but the way back is cut.
    acks_held: usize,
    fin: Fin,
    fin_arrived: bool,
    last_arrival: u64,
    /// When the arrival of the first segment is scheduled.
    pub(crate) scheduled: Option<u64>,
    /// Whether the writer was told that there is no room, and waits to hear otherwise.
    pub(crate) blocked: bool,
    /// Whether a window update is on its way to the writer.
    pub(crate) window_scheduled: bool,
    /// Counts the times that something was held, so that a late give-up is recognised.
    pub(crate) hold: u32,
}

#[derive(Debug)]
struct Segment {
    arrive: u64,
    body: Body,
}

/// What arrives.
#[derive(Debug)]
pub(crate) enum Body {
    /// Bytes.
    Data(Bytes),
    /// The end of the stream.
    Fin,
    /// The end of the connection.
    Rst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    No,
    Queued,
    Sent,
}

impl Pipe {
    pub(crate) fn new(rng: Rng, chunked: bool, send_limit: usize, receive_limit: usize) -> Pipe {
        Pipe {
            rng,
            chunked,
            send_limit,
            receive_limit,
            unsent: VecDeque::new(),
            unsent_len: 0,
            flight: VecDeque::new(),
            flight_len: 0,
            arrived: VecDeque::new(),
            arrived_len: 0,
            unacked: 0,
            acks: VecDeque::new(),
            acks_held: 0,
            fin: Fin::No,
            fin_arrived: false,
            last_arrival: 0,
            scheduled: None,
            blocked: false,
            window_scheduled: false,
            hold: 0,
        }
    }

    pub(crate) fn set_limits(&mut self, send: usize, receive: usize) {
        (self.send_limit, self.receive_limit) = (send, receive);
    }

    /// Takes as much of `bytes` into the send buffer as fits.
    pub(crate) fn write(&mut self, now: u64, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room(now));
        if taken > 0 {
            self.unsent.push_back(Bytes::copy_from_slice(&bytes[..taken]));
            self.unsent_len += taken;
        }
        self.blocked |= taken < bytes.len();
        taken
    }

    /// How many bytes the send buffer takes.
    pub(crate) fn room(&mut self, now: u64) -> usize {
        while let Some(&(_, bytes)) = self.acks.front().filter(|&&(at, _)| at <= now) {
            self.unacked -= bytes;
            self.acks.pop_front();
        }
        self.send_limit.saturating_sub(self.unsent_len + self.unacked)
    }

    /// When the writer next learns that something has arrived.
    pub(crate) fn next_ack(&self) -> Option<u64> {
        self.acks.front().map(|&(at, _)| at)
    }

    /// Ends the stream after what is written.
    pub(crate) fn finish(&mut self) {
        if self.fin == Fin::No {
            self.fin = Fin::Queued;
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.fin != Fin::No
    }

    /// Sends what the window allows. Says whether anything had to be held.
    pub(crate) fn pump(&mut self, now: u64, way: Way) -> bool {
        let mut held = false;
        while self.unsent_len > 0 && self.flight_len + self.arrived_len < self.receive_limit {
            let window = self.receive_limit - self.flight_len - self.arrived_len;
            let front = self.unsent.front().map_or(0, Bytes::len);
            let size = self.chunk(front.min(window).min(SEGMENT));
            let Some(piece) = self.unsent.front_mut() else { break };
            let segment = piece.split_to(size);
            if piece.is_empty() {
                self.unsent.pop_front();
            }
            self.unsent_len -= size;
            self.flight_len += size;
            self.unacked += size;
            held |= self.launch(now, way, Body::Data(segment));
        }
        if self.unsent_len == 0 && self.fin == Fin::Queued {
            self.fin = Fin::Sent;
            held |= self.launch(now, way, Body::Fin);
        }
        held
    }

    /// Ends the connection: nothing that was not yet sent ever is. Lost if nothing gets through.
    pub(crate) fn send_rst(&mut self, now: u64, way: Way) {
        self.drop_unsent();
        self.fin = Fin::Sent;
        if !way.cut {
            self.launch(now, way, Body::Rst);
        }
    }

    /// When the first segment arrives, if it can.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.flight.front().map(|segment| segment.arrive).filter(|&at| at != HELD)
    }

    /// Takes the next segment off the way if it is due.
    pub(crate) fn land(&mut self, now: u64) -> Option<Body> {
        if self.flight.front()?.arrive > now {
            return None;
        }
        let segment = self.flight.pop_front()?;
        if let Body::Data(bytes) = &segment.body {
            self.flight_len -= bytes.len();
        }
        Some(segment.body)
    }

    /// Puts bytes that have landed where they can be read, and acknowledges them by the way back.
    pub(crate) fn arrive(&mut self, now: u64, bytes: Bytes, back: Way) {
        if back.cut {
            self.acks_held += bytes.len();
        } else {
            self.acks.push_back((now + back.latency, bytes.len()));
        }
        self.arrived_len += bytes.len();
        self.arrived.push_back(bytes);
    }

    pub(crate) fn arrive_fin(&mut self) {
        self.fin_arrived = true;
    }

    /// Takes bytes that have arrived. `Ok(None)`: none at present. `Err(())`: none ever again.
    pub(crate) fn read(&mut self, limit: usize) -> Result<Option<Bytes>, ()> {
        let front = self.arrived.front().map_or(0, Bytes::len).min(limit);
        if front == 0 {
            return if self.is_ended() { Err(()) } else { Ok(None) };
        }
        let size = if self.chunked && self.rng.below(4) == 0 { self.chunk(front) } else { front };
        let Some(piece) = self.arrived.front_mut() else { return Ok(None) };
        let bytes = piece.split_to(size);
        if piece.is_empty() {
            self.arrived.pop_front();
        }
        self.arrived_len -= size;
        Ok(Some(bytes))
    }

    /// Whether everything was read that will ever arrive.
    pub(crate) fn is_ended(&self) -> bool {
        self.fin_arrived && self.arrived.is_empty()
    }

    /// Whether the writer waits for the reader to make room.
    pub(crate) fn is_clogged(&self) -> bool {
        self.unsent_len > 0
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Whether nothing is left that would still have to be carried.
    pub(crate) fn is_empty(&self) -> bool {
        self.unsent_len == 0 && self.flight.is_empty()
    }

    pub(crate) fn drop_unread(&mut self) {
        self.arrived.clear();
        self.arrived_len = 0;
    }

    pub(crate) fn drop_unsent(&mut self) {
        self.unsent.clear();
        self.unsent_len = 0;
    }

    /// Nothing gets through any more: what is on its way waits, except what nobody would send again. Says whether
    /// anything is held.
    pub(crate) fn hold(&mut self) -> bool {
        self.flight.retain(|segment| !matches!(segment.body, Body::Rst));
        for segment in &mut self.flight {
            segment.arrive = HELD;
        }
        !self.flight.is_empty()
    }

    /// Drops what is held: whoever would have sent it again is gone.
    pub(crate) fn drop_held(&mut self) {
        self.flight.retain(|segment| segment.arrive != HELD);
        self.flight_len =
            self.flight.iter().map(|segment| if let Body::Data(bytes) = &segment.body { bytes.len() } else { 0 }).sum();
    }

    /// The way is open again: what was held arrives in a burst.
    pub(crate) fn release(&mut self, now: u64, way: Way) {
        self.hold += 1;
        let at = self.last_landing(now).max(now + way.latency);
        for segment in self.flight.iter_mut().filter(|segment| segment.arrive == HELD) {
            segment.arrive = at;
            self.last_arrival = at;
        }
    }

    /// The way back is open again.
    pub(crate) fn release_acks(&mut self, now: u64, back: Way) {
        if self.acks_held > 0 {
            self.acks.push_back((now + back.latency, self.acks_held));
            self.acks_held = 0;
        }
    }

    /// Nothing may overtake what arrives at `at`.
    pub(crate) fn not_before(&mut self, at: u64) {
        self.last_arrival = self.last_arrival.max(at);
    }

    fn launch(&mut self, now: u64, way: Way, body: Body) -> bool {
        let jitter = if way.jitter == 0 { 0 } else { self.rng.below(way.jitter + 1) };
        let arrive = if way.cut { HELD } else { self.last_landing(now).max(now + way.latency + jitter) };
        if !way.cut {
            self.last_arrival = arrive;
        }
        self.flight.push_back(Segment { arrive, body });
        way.cut
    }

    fn last_landing(&self, now: u64) -> u64 {
        self.last_arrival.max(now)
    }

    /// How much of `available` bytes travels, or is read, together.
    fn chunk(&mut self, available: usize) -> usize {
        if !self.chunked || available <= 1 {
            return available;
        }
        let most = match self.rng.below(8) {
            0 => return 1,
            1 => 8,
            2 => 64,
            3 | 4 => 1_460,
            _ => SEGMENT as u64,
        };
        available.min(1 + self.rng.below(most) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    const WAY: Way = Way { latency: 1_000, jitter: 700, cut: false };

    fn pipe(seed: u64, chunked: bool, send: usize, receive: usize) -> Pipe {
        Pipe::new(Rng::new(seed, Purpose::Pipe, 0, 0), chunked, send, receive)
    }

    proptest! {
        #[test]
        fn bytes_arrive_in_order_whatever_the_chunks_jitter_and_buffers(
            seed: u64,
            chunked: bool,
            writes in vec(vec(any::<u8>(), 0..300), 1..20),
            send in 1_usize..500,
            receive in 1_usize..500,
        ) {
            let mut pipe = pipe(seed, chunked, send, receive);
            let expected: Vec<u8> = writes.concat();
            let (mut sent, mut got, mut now) = (0, Vec::new(), 0);
            pipe.pump(now, WAY);
            while got.len() < expected.len() {
                sent += pipe.write(now, &expected[sent..(sent + 97).min(expected.len())]);
                pipe.pump(now, WAY);
                while let Some(Body::Data(bytes)) = pipe.land(now) {
                    pipe.arrive(now, bytes, WAY);
                }
                while let Ok(Some(bytes)) = pipe.read(50) {
                    got.extend_from_slice(&bytes);
                }
                now += 500;
                prop_assert!(now < 100_000_000, "stuck at {} of {}", got.len(), expected.len());
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_full_send_buffer_takes_nothing_until_the_acknowledgement_is_back() {
        let way = Way { jitter: 0, ..WAY };
        let mut pipe = pipe(1, false, 10, 100);
        assert_eq!(pipe.write(0, &[0; 12]), 10);
        assert!(pipe.blocked);
        pipe.pump(0, way);
        let Some(Body::Data(bytes)) = pipe.land(1_000) else { panic!("nothing landed") };
        pipe.arrive(1_000, bytes, way);
        assert_eq!((pipe.room(1_999), pipe.room(2_000)), (0, 10));
    }

    #[test]
    fn what_a_cut_holds_arrives_in_a_burst_and_in_order_after_it() {
        let cut = Way { cut: true, ..WAY };
        let mut pipe = pipe(1, false, 100, 100);
        pipe.write(0, b"ab");
        pipe.pump(0, WAY);
        assert!(pipe.hold());
        pipe.write(10, b"cd");
        assert!(pipe.pump(10, cut));
        assert_eq!(pipe.next_arrival(), None);
        pipe.release(5_000, WAY);
        let mut got = Vec::new();
        while let Some(Body::Data(bytes)) = pipe.land(6_000) {
            got.extend_from_slice(&bytes);
        }
        assert_eq!(got, b"abcd");
    }
}
