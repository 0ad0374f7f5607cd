//! A mesh of all adapters of real sockets.

use cluster_conformance::{Arm, mixed};

use crate::async_std::AsyncStdArm;
use crate::poll_loop::PollArm;
use crate::threads::StdArm;
use crate::tokio::TokioArm;

#[test]
fn three_nodes_of_each_adapter_form_one_mesh_lose_some_and_leave() {
    let (one, many) = (TokioArm::current_thread(), TokioArm::multi_thread());
    let arms: [&dyn Arm; 5] = [&one, &StdArm, &AsyncStdArm, &many, &PollArm];
    mixed(&arms, 3);
}
