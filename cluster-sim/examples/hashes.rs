//! Prints the hashes of 64 random runs. They are the same in every profile and on every platform:
//!
//! ```sh
//! diff <(cargo run --example hashes) <(cargo run --release --example hashes)
//! ```

use std::process::ExitCode;

use cluster_sim::{Schedule, World};

fn main() -> ExitCode {
    for seed in 0..64 {
        match World::builder().schedule(Schedule::random(seed)).run() {
            Ok(summary) => println!("{seed} {:016x}", summary.hash),
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
