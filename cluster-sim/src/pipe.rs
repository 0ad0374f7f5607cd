//! One direction of a simulated TCP connection: a send buffer, segments on their way, and a receive buffer.
//!
//! A pipe knows nothing of hosts. Whoever owns it ([`Net`](crate::net::Net)) says what the way is like and schedules
//! the arrivals that the pipe asks for.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::rng::Small;
use crate::way::Transit;

/// The largest segment.
const SEGMENT: usize = 64 << 10;

/// The arrival time of what cannot arrive at present.
const HELD: u64 = u64::MAX;

/// One direction of one connection.
///
/// ```text
///   bytes:   arrived │ in flight │ unsent
///            ◄─ read                 write ◄─
/// ```
#[derive(Debug)]
pub(crate) struct Pipe {
    rng: Small,
    chunked: bool,
    send_limit: usize,
    receive_limit: usize,
    /// Everything that was written and not yet read.
    bytes: BytesMut,
    arrived: usize,
    in_flight: usize,
    flight: VecDeque<Segment>,
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
    /// Whether the next acknowledgement is scheduled, for a writer that waits for it.
    pub(crate) ack_scheduled: bool,
    /// Whether a window update is on its way to the writer.
    pub(crate) window_scheduled: bool,
    /// Whether the time is running after which what is held is given up.
    pub(crate) give_up_scheduled: bool,
    /// Counts the times that something was held, so that a late give-up is recognised.
    pub(crate) hold: u32,
}

#[derive(Debug)]
struct Segment {
    arrive: u64,
    body: Body,
}

/// What arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes.
    Data(usize),
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
    pub(crate) fn new(rng: Small, chunked: bool, send_limit: usize, receive_limit: usize) -> Pipe {
        Pipe {
            rng,
            chunked,
            send_limit,
            receive_limit,
            bytes: BytesMut::new(),
            arrived: 0,
            in_flight: 0,
            flight: VecDeque::new(),
            unacked: 0,
            acks: VecDeque::new(),
            acks_held: 0,
            fin: Fin::No,
            fin_arrived: false,
            last_arrival: 0,
            scheduled: None,
            blocked: false,
            ack_scheduled: false,
            window_scheduled: false,
            give_up_scheduled: false,
            hold: 0,
        }
    }

    pub(crate) fn set_limits(&mut self, send: usize, receive: usize) {
        (self.send_limit, self.receive_limit) = (send, receive);
    }

    /// Takes as much of `bytes` into the send buffer as fits.
    pub(crate) fn write(&mut self, now: u64, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room(now));
        self.bytes.extend_from_slice(&bytes[..taken]);
        self.blocked |= taken < bytes.len();
        taken
    }

    /// How many bytes the send buffer takes.
    pub(crate) fn room(&mut self, now: u64) -> usize {
        while let Some(&(_, bytes)) = self.acks.front().filter(|&&(at, _)| at <= now) {
            self.unacked -= bytes;
            self.acks.pop_front();
        }
        self.send_limit.saturating_sub(self.unsent() + self.unacked)
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
    pub(crate) fn pump(&mut self, now: u64, way: &mut Transit<'_>) -> bool {
        let mut held = false;
        loop {
            let window = self.receive_limit.saturating_sub(self.in_flight + self.arrived);
            let most = self.unsent().min(window).min(way.segment()).min(SEGMENT);
            if most == 0 {
                break;
            }
            let size = self.chunk(most);
            self.in_flight += size;
            self.unacked += size;
            held |= self.launch(now, way, Body::Data(size));
        }
        if self.unsent() == 0 && self.fin == Fin::Queued {
            self.fin = Fin::Sent;
            held |= self.launch(now, way, Body::Fin);
        }
        held
    }

    /// Ends the connection: nothing that was not yet sent ever is. Lost if nothing gets through.
    pub(crate) fn send_rst(&mut self, now: u64, way: &mut Transit<'_>) {
        self.drop_unsent();
        self.fin = Fin::Sent;
        if !way.is_cut() {
            self.launch(now, way, Body::Rst);
        }
    }

    /// When the first segment arrives, if it can.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.flight.front().map(|segment| segment.arrive).filter(|&at| at != HELD)
    }

    /// Takes the next segment off the way if it is due. Bytes are then to be [taken in](Pipe::arrive) or
    /// [dropped](Pipe::refuse).
    pub(crate) fn land(&mut self, now: u64) -> Option<Body> {
        let segment = self.flight.pop_front_if(|segment| segment.arrive <= now)?;
        if let Body::Data(bytes) = segment.body {
            self.in_flight -= bytes;
        }
        Some(segment.body)
    }

    /// Puts bytes that have landed where they can be read, and acknowledges them by the way back, which takes
    /// `back` nanoseconds unless it is cut.
    pub(crate) fn arrive(&mut self, now: u64, bytes: usize, back: Option<u64>) {
        match back {
            Some(latency) => self.acknowledge(now + latency, bytes),
            None => self.acks_held += bytes,
        }
        self.arrived += bytes;
    }

    /// Drops bytes that have landed, and whatever was there to be read: nobody is left to do so.
    pub(crate) fn refuse(&mut self, bytes: usize) {
        self.bytes.advance(self.arrived + bytes);
        self.arrived = 0;
        self.tidy();
    }

    pub(crate) fn arrive_fin(&mut self) {
        self.fin_arrived = true;
    }

    /// Takes bytes that have arrived. `Ok(None)`: none at present. `Err(())`: none ever again.
    pub(crate) fn read(&mut self, limit: usize) -> Result<Option<Bytes>, ()> {
        let most = self.arrived.min(limit);
        if most == 0 {
            return if self.is_ended() { Err(()) } else { Ok(None) };
        }
        let size = if self.chunked && self.rng.below(4) == 0 { self.chunk(most) } else { most };
        let bytes = self.bytes.split_to(size).freeze();
        self.arrived -= size;
        self.tidy();
        Ok(Some(bytes))
    }

    /// Whether everything was read that will ever arrive.
    pub(crate) fn is_ended(&self) -> bool {
        self.fin_arrived && self.arrived == 0
    }

    /// Whether the writer waits for the reader to make room.
    pub(crate) fn is_clogged(&self) -> bool {
        self.unsent() > 0
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.arrived > 0
    }

    /// Whether nothing is left that would still have to be carried.
    pub(crate) fn is_empty(&self) -> bool {
        self.unsent() == 0 && self.flight.is_empty()
    }

    pub(crate) fn drop_unread(&mut self) {
        self.refuse(0);
    }

    pub(crate) fn drop_unsent(&mut self) {
        self.bytes.truncate(self.arrived + self.in_flight);
        self.tidy();
    }

    /// Nothing gets through any more: what is on its way waits, except what nobody would send again. Says whether
    /// anything is held.
    pub(crate) fn hold(&mut self) -> bool {
        self.flight.retain(|segment| segment.body != Body::Rst);
        for segment in &mut self.flight {
            segment.arrive = HELD;
        }
        !self.flight.is_empty()
    }

    /// Drops what is held, and what is not sent: whoever would have sent it is gone.
    pub(crate) fn drop_held(&mut self) {
        self.drop_unsent();
        while let Some(segment) = self.flight.pop_back_if(|segment| segment.arrive == HELD) {
            if let Body::Data(bytes) = segment.body {
                self.in_flight -= bytes;
            }
        }
        self.drop_unsent();
    }

    /// The way is open again: what was held arrives, in a burst if the way is wide.
    pub(crate) fn release(&mut self, now: u64, way: &mut Transit<'_>) {
        self.hold = self.hold.wrapping_add(1);
        self.give_up_scheduled = false;
        for segment in std::mem::take(&mut self.flight) {
            if segment.arrive != HELD {
                self.flight.push_back(segment);
                continue;
            }
            // A wide way carries more at once than a narrow one.
            let mut rest = segment.body.len();
            loop {
                let size = rest.min(way.segment());
                let at = way.departure(now, size).saturating_add(way.latency());
                self.last_arrival = self.last_arrival.max(at);
                let body = if let Body::Data(_) = segment.body { Body::Data(size) } else { segment.body };
                self.flight.push_back(Segment { arrive: self.last_arrival, body });
                rest -= size;
                if rest == 0 {
                    break;
                }
            }
        }
    }

    /// The way is as wide as `way` says from now on, and what is under way goes through it once more.
    pub(crate) fn relaunch(&mut self, now: u64, way: &mut Transit<'_>) {
        if !way.is_cut() {
            self.last_arrival = now;
            for segment in &mut self.flight {
                segment.arrive = HELD;
            }
            self.release(now, way);
        }
    }

    /// The way back is open again, and takes `back` nanoseconds.
    pub(crate) fn release_acks(&mut self, now: u64, back: u64) {
        let held = std::mem::take(&mut self.acks_held);
        if held > 0 {
            self.acknowledge(now + back, held);
        }
    }

    /// Nothing may overtake what arrives at `at`.
    pub(crate) fn not_before(&mut self, at: u64) {
        self.last_arrival = self.last_arrival.max(at);
    }

    fn launch(&mut self, now: u64, way: &mut Transit<'_>, body: Body) -> bool {
        if way.is_cut() {
            self.flight.push_back(Segment { arrive: HELD, body });
            return true;
        }
        let at = way.departure(now, body.len()).saturating_add(way.draw(&mut self.rng));
        let arrive = self.last_arrival.max(at).min(HELD - 1);
        self.last_arrival = arrive;
        match (self.flight.back_mut(), body) {
            // They arrive as one.
            (Some(Segment { arrive: before, body: Body::Data(last) }), Body::Data(size)) if *before == arrive => {
                *last += size;
            }
            _ => self.flight.push_back(Segment { arrive, body }),
        }
        false
    }

    fn acknowledge(&mut self, at: u64, bytes: usize) {
        match self.acks.back_mut() {
            Some((last, more)) if *last >= at => *more += bytes,
            _ => self.acks.push_back((at, bytes)),
        }
    }

    fn unsent(&self) -> usize {
        self.bytes.len() - self.arrived - self.in_flight
    }

    /// Gives the memory back when nothing is left in it.
    fn tidy(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
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

impl Body {
    fn len(self) -> usize {
        match self {
            Body::Data(bytes) => bytes,
            Body::Fin | Body::Rst => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use crate::way::{Latency, Throttle};
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use std::time::Duration;

    const BACK: Option<u64> = Some(1_000);

    fn way(jitter: u64) -> Transit<'static> {
        let latency = Latency::Uniform { base: Duration::from_nanos(1_000), jitter: Duration::from_nanos(jitter) };
        Transit::open(latency.into())
    }

    fn pipe(seed: u64, chunked: bool, send: usize, receive: usize) -> Pipe {
        Pipe::new(Small::new(seed, Purpose::Pipe, 0, 0), chunked, send, receive)
    }

    fn land_all(pipe: &mut Pipe, now: u64) -> Vec<u8> {
        while let Some(Body::Data(bytes)) = pipe.land(now) {
            pipe.arrive(now, bytes, BACK);
        }
        let mut got = Vec::new();
        while let Ok(Some(bytes)) = pipe.read(50) {
            got.extend_from_slice(&bytes);
        }
        got
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
            pipe.pump(now, &mut way(700));
            while got.len() < expected.len() {
                sent += pipe.write(now, &expected[sent..(sent + 97).min(expected.len())]);
                pipe.pump(now, &mut way(700));
                got.extend(land_all(&mut pipe, now));
                now += 500;
                prop_assert!(now < 100_000_000, "stuck at {} of {}", got.len(), expected.len());
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_full_send_buffer_takes_nothing_until_the_acknowledgement_is_back() {
        let mut pipe = pipe(1, false, 10, 100);
        assert_eq!(pipe.write(0, &[0; 12]), 10);
        assert!(pipe.blocked);
        pipe.pump(0, &mut way(0));
        let Some(Body::Data(bytes)) = pipe.land(1_000) else { panic!("nothing landed") };
        pipe.arrive(1_000, bytes, BACK);
        assert_eq!((pipe.room(1_999), pipe.room(2_000)), (0, 10));
    }

    #[test]
    fn what_a_cut_holds_arrives_in_a_burst_and_in_order_after_it() {
        let mut pipe = pipe(1, false, 100, 100);
        pipe.write(0, b"ab");
        pipe.pump(0, &mut way(0));
        assert!(pipe.hold());
        pipe.write(10, b"cd");
        assert!(pipe.pump(10, &mut Transit::cut()));
        assert_eq!(pipe.next_arrival(), None);
        pipe.release(5_000, &mut way(0));
        assert_eq!(land_all(&mut pipe, 6_000), b"abcd");
    }

    #[test]
    fn a_narrow_way_delivers_so_many_bytes_a_second_and_not_one_early() {
        let mut throttle = Throttle::default();
        let mut pipe = pipe(1, false, 1_000, 1_000);
        pipe.write(0, &[7; 900]);
        let mut narrow = Transit::narrow(Latency::Constant(Duration::ZERO).into(), &mut throttle, 3_000);
        pipe.pump(0, &mut narrow);
        let mut got = 0;
        for ms in 1..=300 {
            got += land_all(&mut pipe, ms * 1_000_000).len() as u64;
            assert!(got <= ms * 3 && got + 30 >= ms * 3, "{got} bytes in {ms} ms");
        }
        assert_eq!(got, 900);
    }

    #[test]
    fn a_way_that_becomes_wider_speeds_up_what_is_under_way() {
        let mut throttle = Throttle::default();
        let mut pipe = pipe(1, false, 1_000, 1_000);
        pipe.write(0, &[7; 900]);
        pipe.pump(0, &mut Transit::narrow(Latency::Constant(Duration::ZERO).into(), &mut throttle, 1));
        assert_eq!(land_all(&mut pipe, 2_000_000_000).len(), 2);
        pipe.relaunch(2_000_000_000, &mut way(0));
        assert_eq!(land_all(&mut pipe, 2_000_001_000).len(), 898);
    }

    #[test]
    fn an_emptied_pipe_holds_no_memory() {
        let mut pipe = pipe(1, false, 1 << 20, 1 << 20);
        pipe.write(0, &[7; 1 << 20]);
        pipe.pump(0, &mut way(0));
        while let Some(Body::Data(bytes)) = pipe.land(1_000) {
            pipe.arrive(1_000, bytes, BACK);
        }
        assert!(pipe.read(usize::MAX).is_ok());
        assert_eq!(pipe.bytes.capacity(), 0);
    }
}
