//! How often a driver says that bytes moved.

use crate::limits::PULSE_INTERVAL;
use crate::time::Instant;

/// Says when the node is to hear that [bytes were read](crate::Input::BytesRead) or
/// [written](crate::Input::BytesWritten): at once, and then once each [`PULSE_INTERVAL`]. A driver keeps one for each
/// direction of a link.
///
/// ```
/// use cluster_core::adapter::Pulse;
/// use cluster_core::{Instant, limits::PULSE_INTERVAL};
///
/// let (mut pulse, now) = (Pulse::default(), Instant::from_nanos(7));
/// assert!(pulse.beat(now) && !pulse.beat(now));
/// assert!(pulse.beat(now + PULSE_INTERVAL));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse(Option<Instant>);

impl Pulse {
    /// Bytes moved. Returns whether the node is to hear of it.
    #[must_use]
    pub fn beat(&mut self, now: Instant) -> bool {
        let due = self.0.is_none_or(|told| now - told >= PULSE_INTERVAL);
        if due {
            self.0 = Some(now);
        }
        due
    }
}
