//! What connections carry: segments, acknowledgements, window updates, resets.

use super::{EndState, Net, Sock, Wake};
use crate::pipe::Body;
use crate::queue::{Due, Queue};

impl Net {
    /// What `writer` sent has arrived.
    pub(super) fn segments(&mut self, queue: &mut Queue, writer: Sock) {
        let now = queue.now();
        let pipe = &mut self.conns[writer.conn].pipes[writer.side as usize];
        if pipe.scheduled == Some(now) {
            pipe.scheduled = None;
        }
        while let Some(body) = self.conns[writer.conn].pipes[writer.side as usize].land(now) {
            self.land(queue, writer, body);
        }
        self.schedule(queue, writer);
        self.reap(writer.conn);
    }

    pub(super) fn land(&mut self, queue: &mut Queue, writer: Sock, body: Body) {
        let reader = writer.peer();
        if self.end(reader).state == EndState::Dialing {
            self.open(reader);
        }
        let back = self.way_from(reader);
        let state = self.end(reader).state;
        let pipe = &mut self.conns[writer.conn].pipes[writer.side as usize];
        match (state, body) {
            (EndState::Open, Body::Data(bytes)) => {
                pipe.arrive(queue.now(), bytes, back);
                if let Some(at) = pipe.next_ack().filter(|_| pipe.blocked) {
                    queue.push(at, Due::Acked { conn: writer.conn, side: writer.side });
                }
                self.wake(reader, Wake::Readable(reader));
            }
            (EndState::Open, Body::Fin) => {
                pipe.arrive_fin();
                self.wake(reader, Wake::Readable(reader));
            }
            (EndState::Open, Body::Rst) => self.fail(reader),
            // Nobody is there to read it, and the kernel says so.
            (_, Body::Data(_)) => self.send_rst(queue, reader),
            (_, Body::Fin | Body::Rst) => {}
        }
    }

    /// The connection is dead as far as this end knows, and neither end's data survive it.
    pub(super) fn fail(&mut self, sock: Sock) {
        self.end_mut(sock).state = EndState::Reset;
        let pipes = &mut self.conns[sock.conn].pipes;
        pipes[sock.peer().side as usize].drop_unread();
        pipes[sock.side as usize].drop_unsent();
        self.wake(sock, Wake::Readable(sock));
    }

    pub(super) fn acked(&mut self, queue: &mut Queue, writer: Sock) {
        let now = queue.now();
        let pipe = &mut self.conns[writer.conn].pipes[writer.side as usize];
        if pipe.blocked && pipe.room(now) > 0 {
            pipe.blocked = false;
            self.wake(writer, Wake::Writable(writer));
        } else if let Some(at) = pipe.next_ack().filter(|_| pipe.blocked) {
            queue.push(at, Due::Acked { conn: writer.conn, side: writer.side });
        }
    }

    pub(super) fn give_up(&mut self, writer: Sock, epoch: u32) {
        let held = self.conns[writer.conn].pipes[writer.side as usize].hold == epoch;
        if held && self.end(writer).state == EndState::Open {
            self.fail(writer);
        }
        if held {
            self.conns[writer.conn].pipes[writer.side as usize].drop_held();
            self.reap(writer.conn);
        }
    }

    pub(super) fn pump(&mut self, queue: &mut Queue, writer: Sock) {
        if self.conns[writer.conn].ends.len() < 2 {
            return;
        }
        let way = self.way_from(writer);
        let pipe = &mut self.conns[writer.conn].pipes[writer.side as usize];
        if pipe.pump(queue.now(), way) {
            let epoch = pipe.hold;
            queue.push_after(self.give_up, Due::GiveUp { conn: writer.conn, side: writer.side, epoch });
        }
        self.schedule(queue, writer);
    }

    pub(super) fn send_rst(&mut self, queue: &mut Queue, writer: Sock) {
        if self.conns[writer.conn].ends.len() == 2 {
            let way = self.way_from(writer);
            self.conns[writer.conn].pipes[writer.side as usize].send_rst(queue.now(), way);
            self.schedule(queue, writer);
        }
    }

    pub(super) fn schedule(&mut self, queue: &mut Queue, writer: Sock) {
        let pipe = &mut self.conns[writer.conn].pipes[writer.side as usize];
        if let Some(at) = pipe.next_arrival().filter(|&at| pipe.scheduled != Some(at)) {
            pipe.scheduled = Some(at);
            queue.push(at, Due::Segments { conn: writer.conn, side: writer.side });
        }
    }
}
