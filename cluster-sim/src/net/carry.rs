//! What connections carry: segments, acknowledgements, window updates, resets.

use super::{EndState, Holder, Net, Sock, Wake};
use crate::pipe::Body;
use crate::queue::{Due, Queue};

impl Net {
    /// What `writer` sent has arrived.
    pub(super) fn segments(&mut self, queue: &mut Queue, writer: Sock) {
        let now = queue.now();
        let pipe = self.pipe_mut(writer);
        if pipe.scheduled == Some(now) {
            pipe.scheduled = None;
        }
        while let Some(body) = self.conns.get_mut(writer.conn).and_then(|conn| {
            let pipe = &mut conn.pipes[writer.side as usize];
            pipe.land(now)
        }) {
            self.land(queue, writer, body);
        }
        if self.conns.get(writer.conn).is_some() {
            self.schedule(queue, writer);
            self.reap(writer.conn);
        }
    }

    fn land(&mut self, queue: &mut Queue, writer: Sock, body: Body) {
        let reader = writer.peer();
        if self.state(reader) == EndState::Dialing {
            self.open(reader);
        }
        let (state, holder) = (self.state(reader), self.end(reader).holder);
        match (state, body) {
            (EndState::Open, Body::Data(bytes)) => {
                let back = self.back(reader);
                self.pipe_mut(writer).arrive(queue.now(), bytes, back);
                self.await_ack(queue, writer);
                self.wake(reader, Wake::Readable(reader));
            }
            (EndState::Open, Body::Fin) => {
                self.pipe_mut(writer).arrive_fin();
                self.wake(reader, Wake::Readable(reader));
                if holder == Holder::Nobody {
                    self.close(queue, reader);
                }
            }
            (EndState::Open, Body::Rst) => self.fail(reader),
            // Nobody is there to read it, and the kernel says so.
            (_, Body::Data(bytes)) => {
                self.pipe_mut(writer).refuse(bytes);
                self.send_rst(queue, reader);
            }
            (_, Body::Fin | Body::Rst) => {}
        }
    }

    /// The connection is dead as far as this end knows, and neither end's data survive it.
    pub(super) fn fail(&mut self, sock: Sock) {
        self.end_mut(sock).state = EndState::Reset;
        self.pipe_mut(sock.peer()).drop_unread();
        self.pipe_mut(sock).drop_unsent();
        self.wake(sock, Wake::Readable(sock));
    }

    /// Has a writer that waits for room told when there is some.
    pub(super) fn await_ack(&mut self, queue: &mut Queue, writer: Sock) {
        let pipe = self.pipe_mut(writer);
        if pipe.blocked
            && !pipe.ack_scheduled
            && let Some(at) = pipe.next_ack()
        {
            pipe.ack_scheduled = true;
            queue.push(at, Due::Acked { conn: writer.conn, side: writer.side });
        }
    }

    pub(super) fn acked(&mut self, queue: &mut Queue, writer: Sock) {
        let now = queue.now();
        let pipe = self.pipe_mut(writer);
        pipe.ack_scheduled = false;
        if pipe.blocked && pipe.room(now) > 0 {
            pipe.blocked = false;
            self.wake(writer, Wake::Writable(writer));
        } else {
            self.await_ack(queue, writer);
        }
    }

    pub(super) fn give_up(&mut self, writer: Sock, epoch: u32) {
        if self.pipe_mut(writer).hold != epoch {
            return;
        }
        if self.state(writer) == EndState::Open {
            self.fail(writer);
        }
        self.pipe_mut(writer).drop_held();
        self.reap(writer.conn);
    }

    pub(super) fn pump(&mut self, queue: &mut Queue, writer: Sock) {
        if self.conns[writer.conn].ends.len() < 2 {
            return;
        }
        if self.with_way(writer, |pipe, way| pipe.pump(queue.now(), way)) {
            self.await_give_up(queue, writer);
        }
        self.schedule(queue, writer);
    }

    /// TCP does not send again for ever what it cannot get through.
    pub(super) fn await_give_up(&mut self, queue: &mut Queue, writer: Sock) {
        let give_up = self.give_up;
        let pipe = self.pipe_mut(writer);
        if !std::mem::replace(&mut pipe.give_up_scheduled, true) {
            let epoch = pipe.hold;
            queue.push_after(give_up, Due::GiveUp { conn: writer.conn, side: writer.side, epoch });
        }
    }

    pub(super) fn send_rst(&mut self, queue: &mut Queue, writer: Sock) {
        if self.conns[writer.conn].ends.len() == 2 {
            self.with_way(writer, |pipe, way| pipe.send_rst(queue.now(), way));
            self.schedule(queue, writer);
        }
    }

    pub(super) fn schedule(&mut self, queue: &mut Queue, writer: Sock) {
        let pipe = self.pipe_mut(writer);
        if let Some(at) = pipe.next_arrival().filter(|&at| pipe.scheduled != Some(at)) {
            pipe.scheduled = Some(at);
            queue.push(at, Due::Segments { conn: writer.conn, side: writer.side });
        }
    }
}
