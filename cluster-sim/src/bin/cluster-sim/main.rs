//! `cluster-sim`: runs simulated meshes from the command line. `cluster-sim --help` says how.

mod args;
mod bar;
mod run;

use std::process::ExitCode;

use args::{Ask, Request};

/// Something was wrong in a run.
const VIOLATION: u8 = 1;

/// The arguments, or a file that they name, were.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let asked = match args::parse(std::env::args_os()) {
        Ok(Request::Help) => {
            print!("{}", args::help());
            return ExitCode::SUCCESS;
        }
        Ok(Request::Version) => {
            println!("cluster-sim {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(Request::Run(asked)) => asked,
        Err(error) => return misuse(&format!("{error}; see cluster-sim --help")),
    };
    match run(&asked) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(VIOLATION),
        Err(error) => misuse(&error),
    }
}

/// Whether everything was well.
fn run(asked: &Ask) -> Result<bool, String> {
    match asked.mode {
        args::Mode::One => run::one(asked),
        args::Mode::Swarm(count) => run::swarm(asked, count),
        args::Mode::Hashes(count) => run::hashes(asked, count),
    }
}

fn misuse(error: &str) -> ExitCode {
    eprintln!("cluster-sim: {error}");
    ExitCode::from(MISUSE)
}
