//! Who writes a link, and why no output is left behind.
//!
//! Frames of a link are pulled from the core, sealed by its channel and written to its socket under the link's io
//! lock, in one go: out of order they would break the stream. Anyone may do so, without blocking ([`Io::write`]): a
//! sender, the link's reader, the event loop. That saves the hop to another thread, about half of a round trip.
//!
//! A thread of its own, the link's *writer*, exists while there is more to write than that: when the socket is full,
//! and when a sender sends in a tight loop, which would otherwise pay one system call per message. It finds all
//! that came together meanwhile and writes up to a mebibyte at once. It ends when it had nothing to do for [`LINGER`](crate::turn::LINGER).
//! When the socket is full it waits in a blocking write of a small piece ([`PATIENT`]), without any lock: the io lock is
//! also needed for reading, and two nodes that both cannot read because they cannot write would wait for ever.
//!
//! The core announces output once ([`Action::Send`](cluster_core::Action::Send)) and again only after `poll_frame`
//! has returned `None`. Under the node's lock the announcement is stored in the flag `SEND`. Then:
//!
//! 1. Whoever has stored the flag takes the io lock and calls [`Io::write`], or calls [`Link::wake_writer`]. If it gets
//!    the lock but `write` ends otherwise than with [`Written::All`], it calls `wake_writer` as well. (Exempt are the
//!    reader, which always writes after it has handed over what it read, and whoever is in `write`, because of 2.)
//! 2. `write` clears the flag *before* it pulls, remembers in [`Pulled`] (under the io lock) if it stopped pulling
//!    before `None`, and returns `All` only if nothing was left in the channel, in `Pulled`, and in the flag.
//! 3. `wake_writer` leaves a mark under the turn lock, and starts the writer if none runs. The writer takes the mark
//!    away before it calls `write`, calls it until it says `All`, and ends only under the turn lock and without a mark.
//!
//! So when no writer runs, the last `write` left nothing, or somebody is about to call `wake_writer`.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use cluster_core::adapter::Pulse;
use cluster_core::{Channel, Disconnect, Frame, Input, Output};
use socket2::Socket;

use crate::driver::{Caller, STACK, Shared};
use crate::link::{ABORT, FLUSH, Link};
use crate::turn::Pulled;

/// How far the frames pulled are ahead of the bytes written, at most and about.
const PULL_AHEAD: usize = 1 << 20;

/// The most pieces of one vectored write.
const PIECES: usize = 64;

/// The most bytes of one blocking write, which are copied for it.
const PATIENT: usize = 16 << 10;

/// What the io lock guards.
pub(crate) struct Io {
    pub(crate) channel: Channel,
    /// From when the connection stands to its end.
    pub(crate) socket: Option<Arc<Socket>>,
    pulled: Pulled,
    /// The writer is writing a copy of the first bytes of the output: nobody else may write.
    copied: bool,
    /// How often the core hears of reads without a whole frame, and of writes that took only a part.
    pub(crate) read: Pulse,
    written: Pulse,
    /// Empty between calls; kept for its capacity.
    frames: Vec<Frame>,
}

/// What [`Io::write`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing.
    All,
    /// Something that the socket may take at once.
    Some,
    /// Something that the socket does not take now.
    Full,
}

impl Io {
    pub(crate) fn new(channel: Channel) -> Io {
        Io {
            channel,
            socket: None,
            pulled: Pulled::default(),
            copied: false,
            read: Pulse::default(),
            written: Pulse::default(),
            frames: Vec::new(),
        }
    }

    /// Pulls, seals and writes once, without blocking. See the head of this file for what it owes to whom.
    pub(crate) fn write(&mut self, shared: &Arc<Shared>, link: &Link) -> io::Result<Written> {
        // Before the connection stands there is nothing to write to; who opens it writes. Afterwards nobody does.
        let Some(socket) = self.socket.clone() else { return Ok(Written::All) };
        if self.copied {
            return Ok(Written::Full);
        }
        // Pulling while earlier output waits would look to the core as if the socket took some.
        if self.channel.output().is_empty() {
            self.pull(shared, link);
        }
        if !self.channel.output().is_empty() {
            let before = self.channel.output().len();
            let took_all = write_now(&socket, self.channel.output())?;
            link.written.store(shared.clock.now().as_nanos(), Ordering::Relaxed);
            if !took_all {
                self.tell_of(before, shared, link);
                return Ok(Written::Full);
            }
        }
        let left = self.pulled.is_left(&link.flags) || !self.channel.output().is_empty();
        Ok(if left { Written::Some } else { Written::All })
    }

    /// Tells the core that the socket has taken a part of the output, which was so long `before`.
    fn tell_of(&mut self, before: usize, shared: &Arc<Shared>, link: &Link) {
        let left = self.channel.output().len();
        if left > 0 && left < before && self.written.beat(shared.clock.now()) {
            shared.enter(Caller::Puller(link.id()), |state, now| {
                state.core.handle(now, Input::BytesWritten { link: link.id() });
            });
        }
    }

    /// One more try to write what the channel has, before the end.
    pub(crate) fn write_last(&mut self) {
        if let Some(socket) = self.socket.take().filter(|_| !self.copied) {
            let _ = write_now(&socket, self.channel.output());
        }
    }

    fn pull(&mut self, shared: &Arc<Shared>, link: &Link) {
        let frames = &mut self.frames;
        self.pulled.pull(&link.flags, || shared.pull(link.id(), PULL_AHEAD, frames));
        for frame in self.frames.drain(..) {
            self.channel.send(frame);
        }
        self.frames.shrink_to(PIECES);
    }

    /// Ends our direction of the stream.
    fn end_direction(&self) {
        if let Some(socket) = &self.socket {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// Copies the first bytes of the output, which are then the caller's to write.
    fn copy(&mut self, into: &mut Vec<u8>) -> Option<Arc<Socket>> {
        into.clear();
        for piece in self.channel.output().pieces() {
            let length = piece.len().min(PATIENT - into.len());
            into.extend_from_slice(&piece[..length]);
        }
        self.copied = !into.is_empty();
        self.socket.clone().filter(|_| self.copied)
    }

    /// The socket took this many of the copied bytes.
    fn copy_written(&mut self, written: usize, shared: &Arc<Shared>, link: &Link) {
        self.copied = false;
        let before = self.channel.output().len();
        self.channel.output().advance(written);
        self.tell_of(before, shared, link);
    }
}

/// Writes once, without blocking; says whether the socket took all that one write can be given.
#[cfg(unix)]
fn write_now(socket: &Socket, output: &mut Output) -> io::Result<bool> {
    let mut slices = [io::IoSlice::new(&[]); PIECES];
    let (mut pieces, mut length) = (0, 0);
    for (slice, piece) in slices.iter_mut().zip(output.pieces()) {
        *slice = io::IoSlice::new(piece);
        pieces += 1;
        length += piece.len();
    }
    match socket.send_vectored_with_flags(&slices[..pieces], libc::MSG_DONTWAIT | QUIET) {
        Ok(written) => {
            output.advance(written);
            Ok(written == length)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Not here: it cannot be said of a single write.
#[cfg(not(unix))]
fn write_now(_: &Socket, output: &mut Output) -> io::Result<bool> {
    Ok(output.is_empty())
}

/// A write to a connection that is gone is an error, and no signal.
#[cfg(all(unix, not(target_vendor = "apple")))]
const QUIET: i32 = libc::MSG_NOSIGNAL;
/// Sockets are made quiet when they are made.
#[cfg(any(not(unix), target_vendor = "apple"))]
const QUIET: i32 = 0;

impl Link {
    /// Makes the link's writer look at everything, in a thread that is started if there is none.
    pub(crate) fn wake_writer(self: &Arc<Self>, shared: &Arc<Shared>) {
        let start = || {
            let (shared, link) = (Arc::clone(shared), Arc::clone(self));
            let run = move || link.run_writer(&shared);
            thread::Builder::new().name("cluster-write".into()).stack_size(STACK).spawn(run)
        };
        if self.turn.want(start).is_err() {
            self.fail(Disconnect::Exhausted);
        }
    }

    fn run_writer(&self, shared: &Arc<Shared>) {
        let mut copy = Vec::new();
        while self.turn.wait() {
            match self.write_all(shared, &mut copy) {
                Ok(Then::Wait) => {}
                Ok(Then::End) => {
                    // The reader waits for the end of the other direction.
                    self.turn.close();
                    return self.io().end_direction();
                }
                Err(_) => {
                    self.turn.close();
                    return self.fail(Disconnect::Reset);
                }
            }
        }
    }

    /// Writes until nothing is left, blocking while the socket is full.
    fn write_all(&self, shared: &Arc<Shared>, copy: &mut Vec<u8>) -> io::Result<Then> {
        loop {
            // Before writing: of what is announced after the link was closed there is nothing.
            let flags = self.flags.load(Ordering::Acquire);
            if flags & ABORT != 0 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let mut io = self.io();
            match io.write(shared, self)? {
                Written::All => return Ok(if flags & FLUSH != 0 { Then::End } else { Then::Wait }),
                Written::Some => {}
                Written::Full => {
                    if let Some(socket) = io.copy(copy) {
                        drop(io);
                        let written = socket.send_with_flags(copy, QUIET);
                        self.io().copy_written(*written.as_ref().unwrap_or(&0), shared, self);
                        match written {
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            written => drop(written?),
                        }
                    }
                }
            }
        }
    }
}

/// What a writer does when everything is written.
enum Then {
    Wait,
    End,
}
