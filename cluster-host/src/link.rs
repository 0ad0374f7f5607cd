//! One connection: its status, which needs no lock, and its channel, under the link's io lock.
//!
//! # Why no output is left behind
//!
//! Frames of a link are pulled from the core, sealed by its channel and written to its socket under the io lock, in one
//! go: out of order they would break the stream. Any task or thread may do so ([`Io::write`]), without blocking.
//!
//! The core announces output once ([`Action::Send`](cluster_core::Action::Send)) and again only after `poll_frame`
//! has returned `None`. Under the node's lock the announcement is stored in the link's status
//! (`LinkStatus::announce`). Then:
//!
//! 1. A caller that has stored an announcement either takes the io lock and calls `write`, or wakes the link's writer,
//!    which must remember that ([`Runtime::write`]). If `write` ends otherwise than with
//!    [`Written::Drained`], the caller wakes the writer as well. (Exempt are the writer, which looks again anyway, and a
//!    caller that is inside `write`, because of 2.)
//! 2. `write` clears the announcement *before* it pulls, remembers (under the io lock) if it stopped pulling before
//!    `None`, and returns `Drained` only if nothing was left in the channel, nothing more must be pulled, and nothing was
//!    announced meanwhile.
//! 3. The writer calls `write` each time it was woken and before it rests again, and rests only after `Drained`.
//!
//! So when the writer rests, its last `write` left nothing; output announced since then was either written completely
//! by another caller, or there is a wake-up that the writer has not consumed.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster_core::adapter::Pulse;
use cluster_core::{Channel, ChannelError, CloseMode, Frame, Input, Instant, LinkId, Output};

use crate::clock::Clock;
use crate::lock;
use crate::pulled::{Pulled, SEND};
use crate::shell::{Caller, Runtime, Shell};

/// A sender does not write by itself if the link was last written to less than this ago: less than a round trip on
/// loopback, more than the time between the sends of a tight loop.
const INLINE_GAP: Duration = Duration::from_micros(10);

/// How far the frames pulled are ahead of the bytes written, at most and about.
const PULL_AHEAD: usize = 1 << 20;

/// The most pieces of one vectored write.
const PIECES: usize = 64;

/// The most inputs handed to the core under one lock.
const INPUTS: usize = 256;

/// The core has asked for an end, after what is left is written.
const FLUSH: u8 = 2;
/// The core has asked for an end at once, or the node has stopped.
const ABORT: u8 = 4;

/// What the node, the senders and the task or threads of a link see of it without its io lock.
#[derive(Debug)]
pub struct LinkStatus {
    id: LinkId,
    flags: AtomicU8,
    /// When the link was last written to.
    written: AtomicU64,
}

impl LinkStatus {
    pub(crate) fn new(id: LinkId) -> LinkStatus {
        LinkStatus { id, flags: AtomicU8::new(0), written: AtomicU64::new(0) }
    }

    /// Returns the link's id.
    #[must_use]
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// Returns how the core wants the link to end, if it does. An abort overrules a flush.
    #[must_use]
    pub fn closing(&self) -> Option<CloseMode> {
        match self.flags.load(Ordering::Acquire) {
            flags if flags & ABORT != 0 => Some(CloseMode::Abort),
            flags if flags & FLUSH != 0 => Some(CloseMode::Flush),
            _ => None,
        }
    }

    /// Returns whether the last write is long enough ago for a sender to write by itself.
    #[must_use]
    pub fn has_rested(&self, now: Instant) -> bool {
        now - Instant::from_nanos(self.written.load(Ordering::Relaxed)) >= INLINE_GAP
    }

    /// Stores, under the node's lock, that the core has announced output. The link must be written to, or its writer
    /// woken.
    pub(crate) fn announce(&self) {
        self.flags.fetch_or(SEND, Ordering::AcqRel);
    }

    /// Stores, under the node's lock, that the core wants an end. The link's task or threads must be woken.
    pub fn close(&self, mode: CloseMode) {
        let flag = match mode {
            CloseMode::Flush => FLUSH,
            CloseMode::Abort => ABORT,
        };
        self.flags.fetch_or(flag, Ordering::AcqRel);
    }
}

/// What [`Io::write`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing.
    Drained,
    /// Something that the socket may take at once.
    More,
    /// Something that the socket does not take now.
    Blocked,
}

/// What the io lock of a link guards. `S` is the part of the socket that is written to.
#[derive(Debug)]
pub struct Io<S> {
    /// Where to write: from when the connection stands until this direction has ended.
    pub socket: Option<S>,
    channel: Channel,
    pulled: Pulled,
    /// How often the core hears of reads without a whole frame, and of writes that took only a part.
    read: Pulse,
    written: Pulse,
    /// Empty between calls; kept for its capacity.
    frames: Vec<Frame>,
}

impl<S> Io<S> {
    /// Keeps the channel of a link, and the socket if the connection stands already.
    #[must_use]
    pub fn new(channel: Channel, socket: Option<S>) -> Io<S> {
        let (read, written) = (Pulse::default(), Pulse::default());
        Io { socket, channel, pulled: Pulled::default(), read, written, frames: Vec::new() }
    }

    /// Pulls, seals and writes once. `write` does not block: the socket takes as much as it can at once. See the head of
    /// this file for what the caller must do after it.
    ///
    /// # Errors
    ///
    /// That of `write`, unless it means that the socket is full or the call was interrupted.
    pub fn write<R: Runtime>(
        &mut self,
        shell: &Arc<Shell<R>>,
        link: &LinkStatus,
        write: impl FnOnce(&S, &[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Written> {
        // Before the connection stands there is nothing to write to, and it is written to once it does. After this
        // direction has ended nothing is written.
        if self.socket.is_none() {
            return Ok(Written::Drained);
        }
        // Pulling while earlier output waits would look to the core as if the socket took some.
        if self.channel.output().is_empty() {
            self.pull(shell, link);
        }
        if let Some((written, length)) = self.write_once(write) {
            let written = match written {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Written::More),
                Err(error) => return Err(error),
            };
            link.written.store(shell.clock.now().as_nanos(), Ordering::Relaxed);
            self.channel.output().advance(written);
            if written < length {
                self.report_partial_write(shell, link);
                return Ok(Written::Blocked);
            }
        }
        let left = self.pulled.is_left(&link.flags) || !self.channel.output().is_empty();
        Ok(if left { Written::More } else { Written::Drained })
    }

    /// Tries once more to write what the channel has, before the socket is closed.
    pub fn write_last(&mut self, write: impl FnOnce(&S, &[IoSlice<'_>]) -> io::Result<usize>) {
        let _ = self.write_once(write);
        self.socket = None;
    }

    /// Returns what waits to be written, for a caller that writes it by other means and then calls
    /// [`advance`](Io::advance).
    pub fn output(&mut self) -> &Output {
        self.channel.output()
    }

    /// Removes what such a caller has written, and tells the core that the socket takes some.
    pub fn advance<R: Runtime>(&mut self, written: usize, shell: &Arc<Shell<R>>, link: &LinkStatus) {
        self.channel.output().advance(written);
        if written > 0 {
            // A sender in a tight loop must not take this for a link at rest.
            link.written.store(shell.clock.now().as_nanos(), Ordering::Relaxed);
        }
        if written > 0 && !self.channel.output().is_empty() {
            self.report_partial_write(shell, link);
        }
    }

    /// Gives `write` the first pieces of the output. Returns its result and how much that could have been, or `None`
    /// without anything to write or anywhere to write to.
    fn write_once(
        &mut self,
        write: impl FnOnce(&S, &[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Option<(io::Result<usize>, usize)> {
        let socket = self.socket.as_ref()?;
        let mut slices = [IoSlice::new(&[]); PIECES];
        let (mut pieces, mut length) = (0, 0);
        for (slice, piece) in slices.iter_mut().zip(self.channel.output().pieces()) {
            *slice = IoSlice::new(piece);
            pieces += 1;
            length += piece.len();
        }
        (pieces > 0).then(|| (write(socket, &slices[..pieces]), length))
    }

    fn report_partial_write<R: Runtime>(&mut self, shell: &Arc<Shell<R>>, link: &LinkStatus) {
        if self.written.beat(shell.clock.now()) {
            shell.enter(Caller::Puller(link.id), |state, now| {
                state.core.handle(now, Input::BytesWritten { link: link.id });
            });
        }
    }

    fn pull<R: Runtime>(&mut self, shell: &Arc<Shell<R>>, link: &LinkStatus) {
        let frames = &mut self.frames;
        self.pulled.pull(&link.flags, || {
            shell.enter(Caller::Puller(link.id), |state, _| state.core.poll_frames(link.id, PULL_AHEAD, frames))
        });
        for frame in self.frames.drain(..) {
            self.channel.send(frame);
        }
        self.frames.shrink_to(PIECES);
    }

    /// Takes what the channel has understood, a bounded number at a time.
    fn parse(
        &mut self,
        link: LinkId,
        local: SocketAddr,
        clock: &Clock,
        inputs: &mut Vec<Input>,
    ) -> Result<(), ChannelError> {
        while inputs.len() < INPUTS {
            match self.channel.poll()? {
                Some(received) => inputs.push(Input::received(link, local, received)),
                None if inputs.is_empty() && self.read.beat(clock.now()) => inputs.push(Input::BytesRead { link }),
                None => break,
            }
        }
        Ok(())
    }
}

impl<R: Runtime> Shell<R> {
    /// Hands what was read from a socket whose own address is `local` to the link's channel, and what that understands
    /// to the core. The channel may have answered, so the link must be written to afterwards.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] if the bytes break the protocol; the link is over.
    pub fn receive<S>(
        self: &Arc<Self>,
        link: &LinkStatus,
        io: &Mutex<Io<S>>,
        local: SocketAddr,
        bytes: Bytes,
    ) -> Result<(), ChannelError> {
        lock(io).channel.receive(bytes);
        let mut inputs = Vec::new();
        loop {
            let parsed = lock(io).parse(link.id, local, &self.clock, &mut inputs);
            let last = inputs.len() < INPUTS;
            self.enter(Caller::Reader(link.id), |state, now| state.core.handle_all(now, inputs.drain(..)));
            parsed?;
            // Once the core has closed the link it ignores whatever comes; do not even parse that.
            if last || link.closing().is_some() {
                return Ok(());
            }
        }
    }
}
