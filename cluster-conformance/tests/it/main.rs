//! The suite on every arm, a suite that fails who deserves it, mixed meshes, and schedules of the simulator on sockets.
//!
//! An arm is a file of its own: a type that is an [`Arm`](cluster_conformance::Arm), and at its end `conformance!`.

mod async_std;
mod broken;
#[path = "../../../cluster-core/examples/host/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is written to be copied, and each example needs a part of it")]
mod host;
mod mixed;
mod poll_loop;
mod replay;
mod sim;
mod structure;
mod thin;
mod threads;
mod tokio;
