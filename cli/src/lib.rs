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
//! // The loop of the example: what comes from stdin, from the node, and from the system.
//! let goes_on = terminal.line(&*node, "broadcast hello");
//! ```
//!
//! # Map
//!
//! * [`Args`]: the arguments, with [`HELP`]; [`start`] takes them and explains what is wrong with them.
//! * [`Terminal`]: what is shown, as readable lines or as JSON.
//! * [`lines`], [`on_stop`]: what comes from outside, each from a thread of its own.
//! * [`Cost`], [`allow_descriptors`]: what this process uses and may open, for examples that measure.

mod args;
mod command;
mod cost;
mod output;
mod terminal;

use std::io::BufRead as _;
use std::path::Path;
use std::process::ExitCode;

use args::Job;
pub use args::{Args, HELP};
use cluster_keys as keys;
pub use cost::{Cost, allow_descriptors};
pub use terminal::{Cluster, Terminal};

/// The arguments of this process; `None` if it is over, because help or keys were asked for. Does not return if they
/// are wrong.
#[must_use]
pub fn start() -> Option<Args> {
    match Args::parse() {
        Ok(Job::Run(args)) => Some(*args),
        Ok(Job::Help) => {
            print!("{HELP}");
            None
        }
        Ok(Job::Keygen { secret, identity }) => {
            if let Err(error) = keygen(secret.as_deref(), identity.as_deref()) {
                eprintln!("node: {error}");
                std::process::exit(1);
            }
            None
        }
        Err(error) => {
            eprintln!("node: {error}\nTry node --help.");
            std::process::exit(2);
        }
    }
}

/// Makes keys. What stays secret is printed only if there is nowhere else for it to go.
fn keygen(secret: Option<&Path>, identity: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = secret {
        keys::write_secret(path, &keys::generate_secret()?)?;
    }
    if let Some(path) = identity {
        let identity = keys::generate_identity()?;
        keys::write_identity(path, &identity)?;
        println!("{}", identity.id());
    }
    if secret.is_none() && identity.is_none() {
        println!("{}", keys::generate_secret()?.reveal());
    }
    Ok(())
}

/// How a process ends that was a node.
pub fn end(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Hands over the lines of stdin until it ends, or `take` says that it wants no more. A thread of its own reads them,
/// because a blocked read cannot be ended.
pub fn lines(mut take: impl FnMut(String) -> bool + Send + 'static) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n').map_while(Result::ok) {
            if !take(String::from_utf8_lossy(&line).into_owned()) {
                return;
            }
        }
    });
}

/// Calls `stop` at the first SIGINT or SIGTERM. Where there are no signals, the process just ends.
///
/// # Errors
///
/// The operating system does not let signals be handled.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                stop();
            }
        });
    }
    #[cfg(not(unix))]
    drop(stop);
    Ok(())
}
