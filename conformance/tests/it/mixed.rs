//! Meshes of all adapters of real sockets.

use cluster_conformance::{Arm, mixed};

use crate::threads::StdArm;
use crate::tokio::TokioArm;

#[test]
fn nine_nodes_of_all_adapters_form_one_mesh_lose_some_and_leave() {
    let arms: Vec<Box<dyn Arm>> =
        vec![Box::new(TokioArm::current_thread()), Box::new(StdArm), Box::new(TokioArm::multi_thread())];
    let arms: Vec<&dyn Arm> = arms.iter().map(|arm| &**arm).collect();
    // Three of each, and nine in all as soon as there are three adapters.
    mixed(&arms, 9_usize.div_ceil(arms.len()));
}
