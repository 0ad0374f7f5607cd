//! How far a link's output was pulled from the core: what was announced and is not yet pulled. The rules are in
//! [`crate::link`]; `cluster-std/tests/turns` tries the orders in which threads can follow them.

use std::sync::atomic::Ordering;

use crate::sync::AtomicU8;

/// The flag that says that the core has announced output.
pub(crate) const SEND: u8 = 1;

/// How far a link's output was pulled from the core.
#[derive(Debug, Default)]
pub(crate) struct Pulled {
    /// Frames were pulled, but not until `None`.
    more: bool,
}

impl Pulled {
    /// Pulls, if there is anything to pull. `pull` returns whether there may be more.
    pub(crate) fn pull(&mut self, flags: &AtomicU8, pull: impl FnOnce() -> bool) {
        // Cleared before: what is announced from here on is announced for the next time.
        let announced = flags.fetch_and(!SEND, Ordering::AcqRel) & SEND != 0;
        if announced || self.more {
            self.more = pull();
        }
    }

    /// Returns whether there may be something to pull.
    pub(crate) fn is_left(&self, flags: &AtomicU8) -> bool {
        self.more || flags.load(Ordering::Acquire) & SEND != 0
    }
}
