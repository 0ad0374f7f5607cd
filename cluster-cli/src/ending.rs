//! How the process ends: always, and within [`LIMIT`] of the first command or signal that asks for it.
//!
//! | asked | the process |
//! |---|---|
//! | `leave`, or a first signal | says goodbye to its peers, writes the lines that wait while something reads them, exits with 0 |
//! | a signal before it listens, or while it is leaving | exits at once with 128 + the number of the signal |
//!
//! Some calls cannot be ended: a look-up of a name, a write to a pipe. They run in threads that nothing waits for, which
//! is why the process ends by [`std::process::exit`] and not by returning from `main`, where a runtime waits for them.

use std::error::Error;
use std::io::{self, Write};
use std::process::exit;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::queue::{Full, Queue};

/// The longest time from the first request to the end. A node leaves within 5 s.
const LIMIT: Duration = Duration::from_millis(5_900);

/// The part of [`LIMIT`] that is kept for stderr, after stdout was given up.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The most lines that wait for stdout until the node takes no more messages and events. Default 1,024. A few that were
/// under way when the last place was taken come on top.
const OUTPUT_LINES: usize = 1_024;

/// The most bytes that wait for stdout until the node takes no more messages and events. Default 1 MiB, and the message
/// that exceeds it.
const OUTPUT_BYTES: usize = 1 << 20;

/// The most log lines that wait for stderr; more are dropped and counted. Default 8,192.
const LOG_LINES: usize = 8_192;

/// The most bytes of log that wait for stderr; more are dropped and counted. Default 1 MiB.
const LOG_BYTES: usize = 1 << 20;

pub(crate) static STDOUT: Queue = Queue::new(OUTPUT_LINES, OUTPUT_BYTES);
static STDERR: Queue = Queue::new(LOG_LINES, LOG_BYTES);

static ENDING: Mutex<Ending> = Mutex::new(Ending { deadline: None, stop: None });

struct Ending {
    /// When the process must have ended.
    deadline: Option<Instant>,
    /// Reaches the thread that asks the node to leave.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no signals"))]
    stop: Option<SyncSender<()>>,
}

impl Ending {
    fn lock() -> MutexGuard<'static, Ending> {
        ENDING.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where log lines go: stderr, without ever blocking the thread that logs. Every write is a line, or several.
#[derive(Clone, Copy, Debug)]
pub struct Log(());

/// The writer for a logger. A line that finds 1 MiB waiting is dropped, and the log says how many were.
#[must_use]
pub fn log() -> Log {
    Log(())
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(lines) = STDERR.take_unreported() {
            STDERR.push(format!("node: {lines} log lines were dropped\n").into_bytes(), Full::Drop);
        }
        STDERR.push(bytes.to_vec(), Full::Drop);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line to stderr.
pub(crate) fn tell(line: &str) {
    STDERR.push(format!("node: {line}\n").into_bytes(), Full::Drop);
}

/// Starts the threads that write to stdout and stderr.
pub(crate) fn start_output() -> io::Result<()> {
    STDOUT.start("stdout", || io::stdout().lock())?;
    STDERR.start("stderr", || io::stderr().lock())
}

/// Handles signals from now on.
///
/// # Errors
///
/// The operating system does not let signals be handled.
pub(crate) fn handle_signals() -> io::Result<()> {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut wanted = vec![SIGINT, SIGTERM];
        if !ignores_hangup() {
            wanted.push(SIGHUP);
        }
        let mut signals = signal_hook::iterator::Signals::new(wanted)?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                let leaving = begin();
                let stop = Ending::lock().stop.take();
                match stop {
                    Some(stop) if leaving => drop(stop.send(())),
                    _ => exit(128 + signal),
                }
            }
        })?;
    }
    Ok(())
}

/// Whether this process was started to survive its terminal, as by `nohup`. Linux reports it; elsewhere SIGHUP keeps its
/// default.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 == 1)
}

/// Calls `stop` at the first SIGINT, SIGTERM or SIGHUP from now on, in a thread of its own. Up to then, and while the node
/// is leaving, a signal ends the process at once: without a node there is no goodbye to say, and making one can take a
/// look-up that never ends. Where there are no signals, the process just ends.
///
/// # Errors
///
/// The operating system has no more threads.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (sender, asked) = sync_channel(1);
    thread::Builder::new().name("stop".into()).spawn(move || {
        if asked.recv().is_ok() {
            stop();
        }
    })?;
    Ending::lock().stop = Some(sender);
    Ok(())
}

/// The process ends within [`LIMIT`]. Returns whether this is news.
pub(crate) fn begin() -> bool {
    let mut ending = Ending::lock();
    if ending.deadline.is_some() {
        return false;
    }
    ending.deadline = Some(Instant::now() + LIMIT);
    drop(ending);
    STDOUT.end();
    // The node leaves within its own timeout. This is for a defect that keeps it from that.
    let _ = thread::Builder::new().name("deadline".into()).spawn(|| {
        thread::sleep(LIMIT);
        tell("the node did not leave in time");
        STDERR.drain(Instant::now() + LAST_WORDS / 4);
        exit(1);
    });
    true
}

/// Ends a process that was a node. Lines that wait for stdout are written first, as long as something reads it; if some
/// are dropped, stderr says how many. The exit code is 0, or 1 with an error.
pub fn end(result: Result<(), Box<dyn Error>>) -> ! {
    begin();
    let deadline = Ending::lock().deadline.unwrap_or_else(Instant::now);
    let dropped = STDOUT.drain(deadline - 2 * LAST_WORDS);
    if dropped.lines > 0 {
        let why = dropped.error.map_or_else(|| "stdout is not read".into(), |error| error.to_string());
        tell(&format!("{} lines of output were dropped: {why}", dropped.lines));
    }
    if let Err(error) = &result {
        tell(&error.to_string());
    }
    STDERR.drain(Instant::now() + LAST_WORDS);
    exit(i32::from(result.is_err()))
}
