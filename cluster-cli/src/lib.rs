//! The command line of a node, for the examples of all adapters: they differ in how they wait, and in nothing that is
//! seen. An example implements [`Cluster`] for its node and tells a [`Terminal`] of every line, event and message.
//!
//! ```no_run
//! use cluster_cli::{Args, Cluster, Terminal};
//! # fn bind(_: &str, _: cluster_core::Config) -> Box<dyn Cluster> { unimplemented!() }
//!
//! let Some(args) = cluster_cli::start() else { return };
//! let node = bind(&args.listen, args.config.clone());
//! let terminal = Terminal::new(&args);
//! // The loop of the example: lines of stdin, signals, and, while there is room, messages and events of the node.
//! let goes_on = terminal.line(&*node, "broadcast hello");
//! assert!(terminal.has_room());
//! cluster_cli::end(Ok(()));
//! ```
//!
//! Output never blocks the loop, and the process always ends: `ending.rs` has how, and within which time.
//!
//! # Map
//!
//! * [`Args`]: the arguments, with [`HELP`]; [`start`] takes them and explains what is wrong with them.
//! * [`Terminal`]: reports, as readable lines or as JSON, and whether there is room for more.
//! * [`log()`]: where the log goes.
//! * [`lines`], [`on_stop`]: what comes from outside, each from a thread of its own.
//! * [`end`]: how the process ends.
//! * [`Cost`], [`allow_descriptors`]: what this process uses and may open, for examples that measure.

mod args;
mod command;
mod cost;
mod ending;
mod output;
mod queue;
mod terminal;

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;

use args::Job;
pub use args::{Args, HELP};
use cluster_host::keys;
pub use cost::{Cost, allow_descriptors};
use ending::STDOUT;
pub use ending::{Log, end, log, on_stop};
pub use terminal::{Cluster, Terminal};
use zeroize::Zeroizing;

/// Returns the arguments of this process; `None` if it is over, because help or keys were asked for. Does not return if
/// they are wrong. From here on signals end the process, at once up to [`on_stop`].
#[must_use]
pub fn start() -> Option<Args> {
    if let Err(error) = ending::handle_signals() {
        fail(1, &error.to_string());
    }
    match Args::parse() {
        Ok(Job::Run(args)) => match ending::start_output() {
            Ok(()) => return Some(*args),
            Err(error) => fail(1, &error.to_string()),
        },
        Ok(Job::Help) => {
            if let Err(error) = print(HELP) {
                fail(1, &error.to_string());
            }
        }
        Ok(Job::Keygen { secret, identity }) => {
            if let Err(error) = keygen(secret.as_deref(), identity.as_deref()) {
                fail(1, &error.to_string());
            }
        }
        Err(error) => fail(2, &format!("{error}\nTry node --help.")),
    }
    None
}

/// Ends a process that never was a node.
fn fail(code: i32, error: &str) -> ! {
    // There is no other place to report that this fails.
    let _ = writeln!(io::stderr(), "node: {error}");
    std::process::exit(code)
}

/// Makes keys. What stays secret is printed only if there is nowhere else for it to go.
fn keygen(secret: Option<&Path>, identity: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = secret {
        keys::write_secret(path, &keys::generate_secret()?)?;
    }
    if let Some(path) = identity {
        let identity = keys::generate_identity()?;
        keys::write_identity(path, &identity)?;
        print(&format!("{}\n", identity.id()))?;
    }
    if secret.is_none() && identity.is_none() {
        print(&Zeroizing::new(format!("{}\n", keys::generate_secret()?.reveal())))?;
    }
    Ok(())
}

/// Writes to stdout. An error is an error here: a key that was not printed is lost.
///
/// Only before the output of a node is started, which takes the stream permanently.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Hands over the lines of stdin until it ends, or `take` returns that it wants no more. A thread of its own reads them,
/// because a blocked read cannot be ended.
///
/// A command waits for room in the output, which its answer may need. One that finds the output unread is done without: its
/// answer is dropped, and `leave` behind it is still reached.
pub fn lines(mut take: impl FnMut(String) -> bool + Send + 'static) {
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
            STDOUT.wait_while_read();
            if !take(String::from_utf8_lossy(&line).into_owned()) {
                return;
            }
        }
    });
}
