//! The suite on every arm, a suite that fails who deserves it, mixed meshes, and schedules of the simulator on sockets.
//!
//! An arm is a file of its own: a type that is an [`Arm`](cluster_conformance::Arm), and at its end `conformance!`.

mod async_std;
mod broken;
mod mixed;
mod poll_loop;
mod replay;
mod sim;
mod structure;
mod thin;
mod threads;
mod tokio;
