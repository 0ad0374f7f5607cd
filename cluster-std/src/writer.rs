//! The writing of a link. The rules by which no output is left behind are those of `cluster_host`'s `link.rs`.
//!
//! Anyone may write, without blocking ([`Outlet::write`]): a sender, the link's reader, the event loop. That saves the
//! hop to another thread, about half of a round trip.
//!
//! A thread of its own, the link's *writer*, exists while there is more to write than that: when the socket is full,
//! and when a sender sends in a tight loop, which would otherwise pay one system call per message. It finds all
//! that came together meanwhile and writes up to a mebibyte at once. It ends when it had nothing to do for [`LINGER`](crate::turn::LINGER).
//! When the socket is full it waits in a blocking write of a small piece ([`PATIENT`]), without any lock: the io lock is
//! also needed for reading, and two nodes that both cannot read because they cannot write would wait forever.
//!
//! [`Link::wake_writer`] leaves a mark under the turn lock, and starts the writer if none runs. The writer takes the mark
//! away before it calls `write`, calls it until it returns [`Written::Drained`], and ends only under the turn lock and
//! without a mark. The reader never wakes the writer before it writes: it always writes after it has handed over what it
//! read. So when no writer runs, the last `write` left nothing, or a caller is about to call `wake_writer`.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;

use cluster_core::{CloseMode, Disconnect};
use cluster_host::{Io, LinkStatus, Written};
use socket2::Socket;

use crate::link::Link;
use crate::threads::{STACK, Shell};

/// The most bytes of one blocking write, which are copied for it.
const PATIENT: usize = 16 << 10;

/// The part of a link's socket that is written to, under the io lock.
pub(crate) struct Outlet {
    socket: Arc<Socket>,
    /// The writer is writing a copy of the first bytes of the output, so no other caller may write.
    copied: bool,
}

impl Outlet {
    pub(crate) fn new(socket: Arc<Socket>) -> Outlet {
        Outlet { socket, copied: false }
    }

    /// [`Io::write`], without blocking.
    pub(crate) fn write(io: &mut Io<Outlet>, shell: &Arc<Shell>, link: &LinkStatus) -> io::Result<Written> {
        if io.socket.as_ref().is_some_and(|outlet| outlet.copied) {
            return Ok(Written::Blocked);
        }
        io.write(shell, link, write_now)
    }

    /// Tries once more to write what the channel has, before the end.
    pub(crate) fn write_last(io: &mut Io<Outlet>) {
        // Behind a half-written copy it would be garbage.
        io.socket.take_if(|outlet| outlet.copied);
        io.write_last(write_now);
    }

    /// Copies the first bytes of the output, which are then the caller's to write.
    fn copy(io: &mut Io<Outlet>, into: &mut Vec<u8>) -> Option<Arc<Socket>> {
        into.clear();
        for piece in io.output().pieces() {
            let length = piece.len().min(PATIENT - into.len());
            into.extend_from_slice(&piece[..length]);
        }
        let outlet = io.socket.as_mut()?;
        outlet.copied = !into.is_empty();
        outlet.copied.then(|| Arc::clone(&outlet.socket))
    }

    /// The socket took this many of the copied bytes.
    fn copy_written(io: &mut Io<Outlet>, written: usize, shell: &Arc<Shell>, link: &LinkStatus) {
        if let Some(outlet) = &mut io.socket {
            outlet.copied = false;
        }
        io.advance(written, shell, link);
    }

    /// Ends our direction of the stream.
    fn end_direction(io: &Io<Outlet>) {
        if let Some(outlet) = &io.socket {
            let _ = outlet.socket.shutdown(Shutdown::Write);
        }
    }
}

/// Writes what the socket takes now.
#[cfg(unix)]
fn write_now(outlet: &Outlet, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    outlet.socket.send_vectored_with_flags(pieces, libc::MSG_DONTWAIT | QUIET)
}

/// Leaves everything to the writer: a single write cannot be kept from blocking here.
#[cfg(not(unix))]
fn write_now(_: &Outlet, _: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// A write to a connection that is gone is an error, and no signal.
#[cfg(all(unix, not(target_vendor = "apple")))]
const QUIET: i32 = libc::MSG_NOSIGNAL;
/// Sockets are made quiet when they are made.
#[cfg(any(not(unix), target_vendor = "apple"))]
const QUIET: i32 = 0;

impl Link {
    /// Makes the link's writer look at everything, in a thread that is started if there is none.
    pub(crate) fn wake_writer(self: &Arc<Self>, shell: &Arc<Shell>) {
        let start = || {
            let (shell, link) = (Arc::clone(shell), Arc::clone(self));
            let run = move || link.run_writer(&shell);
            thread::Builder::new().name("cluster-write".into()).stack_size(STACK).spawn(run)
        };
        if self.turn.want(start).is_err() {
            self.fail(Disconnect::Exhausted);
        }
    }

    fn run_writer(&self, shell: &Arc<Shell>) {
        let mut copy = Vec::new();
        while self.turn.wait() {
            match self.write_all(shell, &mut copy) {
                Ok(Then::Wait) => {}
                Ok(Then::End) => {
                    // The reader waits for the end of the other direction.
                    self.turn.close();
                    return Outlet::end_direction(&self.io());
                }
                Err(_) => {
                    self.turn.close();
                    return self.fail(Disconnect::Reset);
                }
            }
        }
    }

    /// Writes until nothing is left, blocking while the socket is full.
    fn write_all(&self, shell: &Arc<Shell>, copy: &mut Vec<u8>) -> io::Result<Then> {
        loop {
            // Before writing: of what is announced after the link was closed there is nothing.
            let closing = self.status.closing();
            if closing == Some(CloseMode::Abort) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let mut io = self.io();
            match Outlet::write(&mut io, shell, &self.status)? {
                Written::Drained => return Ok(if closing.is_some() { Then::End } else { Then::Wait }),
                Written::More => {}
                Written::Blocked => {
                    if let Some(socket) = Outlet::copy(&mut io, copy) {
                        drop(io);
                        let written = socket.send_with_flags(copy, QUIET);
                        Outlet::copy_written(&mut self.io(), *written.as_ref().unwrap_or(&0), shell, &self.status);
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
