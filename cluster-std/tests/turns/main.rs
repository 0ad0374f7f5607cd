//! Orders in which the threads of a link can take their steps: whatever it is, what was sent is written.
//!
//! The code is that of `src/turn.rs` and of `pulled.rs` in `cluster-host` itself, on locks of `shuttle`, which runs threads one step at a time in an order drawn
//! from a seed, and says so when all of them wait. A failure prints how to repeat it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread;

use crate::pulled::{Pulled, SEND};
use crate::sync::{AtomicU8, Condvar, Mutex};
use crate::turn::{LINGER, Turn};

#[path = "../../../cluster-host/src/pulled.rs"]
mod pulled;

#[path = "../../src/turn.rs"]
#[allow(dead_code, reason = "ends of links are not modelled")]
mod turn;

/// Locks under which threads take turns. Nobody is woken by luck, which would hide that somebody was to be woken; but time
/// passes when it likes: a wait that has an end may be over at once.
mod sync {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    use shuttle::rand::{Rng as _, thread_rng};
    pub(crate) use shuttle::sync::atomic::AtomicU8;
    use shuttle::sync::mpsc::{Sender, channel};
    pub(crate) use shuttle::thread::JoinHandle;

    type LockResult<T> = Result<T, std::sync::PoisonError<T>>;

    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        guard: Option<shuttle::sync::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            Ok(MutexGuard { mutex: self, guard: self.0.lock().ok() })
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            Some(MutexGuard { mutex: self, guard: Some(self.0.try_lock().ok()?) })
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.guard.as_deref().expect("no thread panics")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.guard.as_deref_mut().expect("no thread panics")
        }
    }

    #[derive(Default)]
    pub(crate) struct Condvar(shuttle::sync::Mutex<VecDeque<Sender<Infallible>>>);

    impl Condvar {
        pub(crate) fn notify_one(&self) {
            drop(self.0.lock().unwrap().pop_front());
        }

        pub(crate) fn notify_all(&self) {
            self.0.lock().unwrap().clear();
        }

        pub(crate) fn wait_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            mut condition: impl FnMut(&mut T) -> bool,
        ) -> LockResult<MutexGuard<'a, T>> {
            while condition(&mut guard) {
                let (sender, notified) = channel();
                self.0.lock().unwrap().push_back(sender);
                let mutex = guard.mutex;
                drop(guard);
                // To be dropped is to be notified.
                assert!(notified.recv().is_err());
                guard = mutex.lock()?;
            }
            Ok(guard)
        }

        pub(crate) fn wait_timeout_while<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _: Duration,
            condition: impl FnMut(&mut T) -> bool,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            if thread_rng().gen_bool(0.5) {
                return Ok((guard, ()));
            }
            Ok((self.wait_while(guard, condition).unwrap_or_else(|error| error.into_inner()), ()))
        }
    }
}

/// Tries orders in which each step is anybody's, and such in which some threads come before others but for a few times.
/// Only the latter have a writer that rests while there is still to be sent.
fn check(play: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(play.clone(), 1_000);
    shuttle::check_pct(play, 5_000, 3);
}

/// How many messages each sender sends.
const MESSAGES: usize = 3;

/// The output of one link, as the core has it.
#[derive(Default)]
struct Core {
    waiting: usize,
    /// It was announced, and not yet pulled to the end.
    armed: bool,
}

#[derive(Default)]
struct Link {
    flags: AtomicU8,
    core: Mutex<Core>,
    io: Mutex<Pulled>,
    turn: Turn,
    written: Mutex<usize>,
    wrote: Condvar,
}

impl Link {
    /// A user who sends: the link is written to at once, or its writer is woken.
    fn send(self: &Arc<Self>) {
        let announced = {
            let mut core = self.core.lock().unwrap();
            core.waiting += 1;
            let announced = !std::mem::replace(&mut core.armed, true);
            if announced {
                self.flags.fetch_or(SEND, Ordering::AcqRel);
            }
            announced
        };
        if !announced {
            return;
        }
        let all = thread_rng().gen_bool(0.5) && self.io.try_lock().is_some_and(|mut io| self.write(&mut io));
        if !all {
            self.wake_writer();
        }
    }

    fn wake_writer(self: &Arc<Self>) {
        let start = || {
            let link = Arc::clone(self);
            thread::Builder::new().spawn(move || {
                while link.turn.wait() {
                    while !link.write(&mut link.io.lock().unwrap()) {}
                }
            })
        };
        self.turn.want(start).unwrap();
    }

    /// Writes one message, and says whether nothing is left.
    fn write(&self, io: &mut Pulled) -> bool {
        let mut taken = 0;
        io.pull(&self.flags, || {
            let mut core = self.core.lock().unwrap();
            taken = core.waiting.min(1);
            core.waiting -= taken;
            core.armed = taken > 0;
            core.armed
        });
        *self.written.lock().unwrap() += taken;
        self.wrote.notify_all();
        !io.is_left(&self.flags)
    }

    fn until_written(&self, messages: usize) {
        let written = self.wrote.wait_while(self.written.lock().unwrap(), |written| *written < messages);
        assert_eq!(*written.unwrap(), messages);
    }
}

#[test]
fn whatever_is_sent_is_written_and_the_writer_ends() {
    check(|| {
        let link = Arc::new(Link::default());
        let senders = [(); 2].map(|()| {
            let link = Arc::clone(&link);
            thread::spawn(move || (0..MESSAGES).for_each(|_| link.send()))
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        link.until_written(2 * MESSAGES);
        link.turn.end();
        assert_eq!(link.core.lock().unwrap().waiting, 0);
    });
}

#[test]
fn a_writer_that_is_ended_is_joined_whoever_wants_it_meanwhile() {
    check(|| {
        let link = Arc::new(Link::default());
        let sender = Arc::clone(&link);
        let sending = thread::spawn(move || (0..MESSAGES).for_each(|_| sender.send()));
        link.turn.end();
        sending.join().unwrap();
        // Nobody but this holds it: no writer runs.
        assert_eq!(Arc::strong_count(&link), 1);
    });
}

#[test]
fn a_writer_that_cannot_be_started_is_an_error_and_can_be_wanted_again() {
    check(|| {
        let link = Arc::new(Link::default());
        assert!(link.turn.want(|| Err(io::ErrorKind::WouldBlock.into())).is_err());
        link.send();
        link.until_written(1);
        link.turn.end();
        assert!(LINGER > std::time::Duration::ZERO);
    });
}
