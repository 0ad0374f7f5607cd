//! A line on a terminal that says how far a long run is.

use std::io::{IsTerminal, Write as _, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster_sim::Progress;

/// How often the line changes, at the most.
const EVERY: Duration = Duration::from_millis(100);

/// How wide the bar itself is.
const WIDTH: u64 = 30;

/// The line. Shown on the standard error stream, if that is a terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: bool,
    begin: Instant,
    /// Milliseconds after the beginning.
    last: AtomicU64,
}

impl Bar {
    pub(crate) fn new() -> Bar {
        Bar { shown: stderr().is_terminal(), begin: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Another run is done.
    pub(crate) fn tell(&self, progress: Progress) {
        let passed = self.begin.elapsed();
        let (now, last) = (passed.as_millis() as u64, self.last.load(Ordering::Relaxed));
        let due = now >= last + EVERY.as_millis() as u64;
        if self.shown && due && self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            eprint!("\r{}\x1b[K", line(progress, passed));
            // A terminal that is gone is no reason to stop.
            let _ = stderr().flush();
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

fn line(Progress { done, total, .. }: Progress, passed: Duration) -> String {
    let full = WIDTH * done / total.max(1);
    let bar: String = (0..WIDTH).map(|at| if at < full { '█' } else { '░' }).collect();
    let rate = done as f64 / passed.as_secs_f64().max(0.001);
    let left = Duration::from_secs_f64(total.saturating_sub(done) as f64 / rate.max(0.001));
    format!("{bar} {done}/{total} seeds, {rate:.0} a second, {} s left", left.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_is_done_and_left() {
        let line = line(Progress { done: 50, total: 200 }, Duration::from_secs(5));
        assert!(line.starts_with("███████░") && line.ends_with(" 50/200 seeds, 10 a second, 15 s left"), "{line}");
    }
}
