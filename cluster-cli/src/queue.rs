//! An output stream of this process behind a bounded queue, written by a thread of its own.
//!
//! A pipe with no reader blocks its writer for as long as it is full. Were that the loop of a node, neither a command nor a
//! signal would end the process, and its peers would see a reset (`unread_output_keeps_no_node_from_leaving`). Here only
//! the writing thread blocks. The queue is bounded by asking first: the loop takes a message from its node only while there
//! is room, so messages wait in the node, which slows their senders down.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the stream takes nothing until it counts as unread.
const PATIENCE: Duration = Duration::from_millis(500);

/// The bytes of one write. A blocking pipe accepts a write as a whole, so a longer one would hide that its reader is alive.
const CHUNK: usize = 4096;

/// The pause before another write to a stream that blocks nothing and has no room.
const PAUSE: Duration = Duration::from_millis(10);

/// A queue of lines, and the state of the stream that they go to.
pub(crate) struct Queue {
    max_lines: usize,
    max_bytes: usize,
    state: Mutex<State>,
    /// Signalled with every step of the writing thread, and with every line that comes.
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Vec<u8>>,
    /// The lines that wait, and the one being written.
    lines: usize,
    /// Their bytes.
    bytes: usize,
    /// When the stream last took something, or the first line came.
    moved: Option<Instant>,
    /// The process ends: an unread stream no longer holds it up.
    ending: bool,
    /// The lines that were dropped, and those of them that no line in the stream has reported.
    dropped: u64,
    unreported: u64,
    /// Why the stream last refused a line.
    error: Option<io::Error>,
    on_room: Option<Box<dyn Fn() + Send>>,
}

/// The fate of a line that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The caller asked for room before it took the message or event of this line. The line is dropped only if the process ends
    /// and the stream is unread.
    Keep,
    /// The line is dropped if the stream is unread.
    DropIfUnread,
    /// The line is dropped.
    Drop,
}

/// The lines dropped up to the end.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) lines: u64,
    /// The last error of the stream, if it refused lines.
    pub(crate) error: Option<io::Error>,
}

impl Queue {
    pub(crate) const fn new(max_lines: usize, max_bytes: usize) -> Queue {
        let state = State {
            waiting: VecDeque::new(),
            lines: 0,
            bytes: 0,
            moved: None,
            ending: false,
            dropped: 0,
            unreported: 0,
            error: None,
            on_room: None,
        };
        Queue { max_lines, max_bytes, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Starts the thread that writes to the stream.
    ///
    /// # Errors
    ///
    /// The operating system has no more threads.
    pub(crate) fn start<W: Write>(
        &'static self,
        name: &str,
        open: impl FnOnce() -> W + Send + 'static,
    ) -> io::Result<()> {
        thread::Builder::new().name(name.into()).spawn(move || self.write_to(open())).map(drop)
    }

    /// Adds a line, with its end, or drops it. Never blocks.
    pub(crate) fn push(&self, line: Vec<u8>, full: Full) {
        let mut state = self.lock();
        let drop = self.is_full(&state)
            && match full {
                Full::Keep => state.ending && state.is_unread(),
                Full::DropIfUnread => state.is_unread(),
                Full::Drop => true,
            };
        if drop {
            state.dropped += 1;
            state.unreported += 1;
            return;
        }
        if state.lines == 0 {
            state.moved = Some(Instant::now());
        }
        state.lines += 1;
        state.bytes += line.len();
        state.waiting.push_back(line);
        self.changed.notify_all();
    }

    /// Whether the user of this queue may take more that makes lines. Once the process ends there is room as well if the
    /// stream is unread: new lines are dropped then.
    pub(crate) fn has_room(&self) -> bool {
        self.is_open(&self.lock())
    }

    /// Waits for room.
    pub(crate) fn wait_for_room(&self) {
        drop(self.wait_until(|state| self.is_open(state)));
    }

    /// Waits for room, but only while something reads the stream.
    pub(crate) fn wait_while_read(&self) {
        drop(self.wait_until(|state| !self.is_full(state) || state.is_unread()));
    }

    /// Calls this whenever there is room again.
    pub(crate) fn on_room(&self, call: impl Fn() + Send + 'static) {
        self.lock().on_room = Some(Box::new(call));
    }

    /// The number of lines dropped since this was asked last, once there is room to report it in the stream.
    pub(crate) fn take_unreported(&self) -> Option<u64> {
        let mut state = self.lock();
        let lines = if self.is_full(&state) { 0 } else { std::mem::take(&mut state.unreported) };
        (lines > 0).then_some(lines)
    }

    /// From now on an unread stream holds up nothing.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ending = true;
        self.changed.notify_all();
        if let Some(call) = &state.on_room {
            call();
        }
    }

    /// Waits until everything is written, but no longer than something reads the stream, and not beyond `end`. Returns
    /// the lines dropped since the start, with those that wait now.
    pub(crate) fn drain(&self, end: Instant) -> Dropped {
        let mut state = self.wait_until(|state| state.lines == 0 || state.is_unread() || Instant::now() >= end);
        Dropped { lines: state.dropped + state.lines as u64, error: state.error.take() }
    }

    fn wait_until(&self, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !done(&state) {
            // The passing of time changes the answer, too.
            state = self.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn is_full(&self, state: &State) -> bool {
        state.lines >= self.max_lines || state.bytes >= self.max_bytes
    }

    fn is_open(&self, state: &State) -> bool {
        !self.is_full(state) || (state.ending && state.is_unread())
    }

    /// The body of the writing thread. It holds the stream permanently, so the end of the process flushes no buffer of it,
    /// which could block.
    fn write_to(&self, mut stream: impl Write) {
        loop {
            let mut state = self.lock();
            let line = loop {
                match state.waiting.pop_front() {
                    Some(line) => break line,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            let written = line.chunks(CHUNK).try_for_each(|chunk| {
                write_all(&mut stream, chunk)?;
                self.lock().moved = Some(Instant::now());
                Ok(())
            });
            let written = written.and_then(|()| stream.flush());
            let mut state = self.lock();
            let was_full = self.is_full(&state);
            state.lines -= 1;
            state.bytes -= line.len();
            state.moved = Some(Instant::now());
            if let Err(error) = written {
                state.dropped += 1;
                state.error = Some(error);
            }
            self.changed.notify_all();
            if was_full
                && !self.is_full(&state)
                && let Some(call) = &state.on_room
            {
                call();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lines wait, and the stream has taken nothing for a while.
    fn is_unread(&self) -> bool {
        self.lines > 0 && self.moved.is_some_and(|moved| moved.elapsed() >= PATIENCE)
    }
}

/// Writes everything, also to a stream whose other users made it non-blocking.
fn write_all(stream: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

    use super::*;

    /// A pipe that holds one write at a time.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue of two lines, and its reader.
    fn queue() -> (&'static Queue, Receiver<Vec<u8>>) {
        let queue: &'static Queue = Box::leak(Box::new(Queue::new(2, 1_000_000)));
        let (sender, reader) = sync_channel(0);
        queue.start("writer", move || Pipe(sender)).unwrap();
        (queue, reader)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn read(reader: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(reader.recv_timeout(Duration::from_secs(20)).unwrap()).unwrap()
    }

    #[test]
    fn kept_lines_arrive_in_order_beyond_the_bound() {
        let (queue, reader) = queue();
        (0..10).for_each(|number| queue.push(format!("{number}").into_bytes(), Full::Keep));
        assert!(!queue.has_room());
        (0..10).for_each(|number| assert_eq!(read(&reader), number.to_string()));
        assert_eq!(queue.drain(later()).lines, 0);
        assert!(queue.has_room());
    }

    #[test]
    fn room_is_announced_once_it_is_back() {
        let (queue, reader) = queue();
        let (sender, room) = channel();
        queue.on_room(move || sender.send(()).unwrap());
        (0..2).for_each(|_| queue.push(b"line".to_vec(), Full::Keep));
        assert!(!queue.has_room() && room.try_recv().is_err());
        read(&reader);
        room.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(queue.has_room());
    }

    #[test]
    fn unread_stream_drops_answers_and_reports_them() {
        let (queue, reader) = queue();
        (0..2).for_each(|_| queue.push(b"line".to_vec(), Full::DropIfUnread));
        // A reader may just be slow.
        queue.push(b"early".to_vec(), Full::DropIfUnread);
        queue.wait_while_read();
        (0..3).for_each(|_| queue.push(b"late".to_vec(), Full::DropIfUnread));
        queue.push(b"kept".to_vec(), Full::Keep);
        assert_eq!(queue.take_unreported(), None);
        let lines: Vec<String> = (0..4).map(|_| read(&reader)).collect();
        assert_eq!(lines, ["line", "line", "early", "kept"]);
        queue.wait_for_room();
        assert_eq!((queue.take_unreported(), queue.take_unreported()), (Some(3), None));
    }

    #[test]
    fn ending_process_waits_for_a_reader_and_drops_unread_lines() {
        let (queue, reader) = queue();
        (0..4).for_each(|_| queue.push(b"line".to_vec(), Full::Keep));
        queue.end();
        assert!(!queue.has_room());
        read(&reader);
        let begin = Instant::now();
        queue.wait_for_room();
        assert!(begin.elapsed() >= PATIENCE / 2, "{:?}", begin.elapsed());
        queue.push(b"late".to_vec(), Full::Keep);
        assert_eq!(queue.drain(later()).lines, 4);
    }

    #[test]
    fn reader_that_takes_a_little_is_waited_for() {
        let (queue, reader) = queue();
        queue.push(vec![b'x'; 8 * CHUNK], Full::Keep);
        queue.end();
        let reader = thread::spawn(move || {
            let chunk = |_| {
                thread::sleep(PATIENCE / 4);
                reader.recv().unwrap().len()
            };
            (0..8).map(chunk).sum::<usize>()
        });
        assert_eq!(queue.drain(later()).lines, 0);
        assert_eq!(reader.join().unwrap(), 8 * CHUNK);
    }

    #[test]
    fn refused_lines_are_counted_with_their_error() {
        let (queue, reader) = queue();
        drop(reader);
        (0..3).for_each(|_| queue.push(b"line".to_vec(), Full::Keep));
        let dropped = queue.drain(later());
        assert_eq!((dropped.lines, dropped.error.unwrap().kind()), (3, ErrorKind::BrokenPipe));
    }

    #[test]
    fn log_drops_what_finds_no_room() {
        let (queue, reader) = queue();
        (0..5).for_each(|_| queue.push(b"line".to_vec(), Full::Drop));
        (0..2).for_each(|_| drop(read(&reader)));
        queue.wait_for_room();
        assert_eq!(queue.take_unreported(), Some(3));
    }

    #[test]
    fn waiting_thread_wakes_when_room_is_back() {
        let (queue, reader) = queue();
        (0..2).for_each(|_| queue.push(b"line".to_vec(), Full::Keep));
        let woken = Arc::new(Mutex::new(false));
        let waiting = thread::spawn({
            let woken = Arc::clone(&woken);
            move || {
                queue.wait_for_room();
                *woken.lock().unwrap() = true;
            }
        });
        assert!(!*woken.lock().unwrap());
        read(&reader);
        waiting.join().unwrap();
        assert!(*woken.lock().unwrap());
    }
}
