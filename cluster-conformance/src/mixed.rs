//! Meshes of nodes of several adapters: on the wire they are the same.

use std::rc::Rc;

use cluster_core::Reason;

use crate::arm::Arm;
use crate::stage::{Member, Stage, swift};

/// A mesh of `each` nodes of each of the arms: it becomes complete, a broadcast of each node reaches every other, a node
/// of each arm crashes and returns, and all of them leave one after the other, delivering what was sent last.
///
/// All arms must be of one network and one time: adapters of real sockets.
///
/// # Panics
///
/// If anything goes another way.
pub fn mixed(arms: &[&dyn Arm], each: usize) {
    let Some(first) = arms.first() else { return };
    let stage = Stage::new(*first);
    let mut nodes: Vec<Rc<Member<'_>>> = Vec::new();
    // In turns, so that nodes of different arms are next to each other.
    for _ in 0..each {
        for &arm in arms {
            let node = stage.node_of(arm, arm.anywhere(), swift());
            if let Some(known) = nodes.last() {
                node.join(known);
            }
            nodes.push(node);
        }
    }
    stage.until_complete(&nodes);
    everybody_hears_everybody(&nodes);
    for (at, &arm) in arms.iter().enumerate() {
        let lost = nodes.remove(at);
        lost.crash();
        for node in &nodes {
            assert!(node.until_down(&lost).is_transient());
        }
        // It knows one of them, and comes back as itself.
        let reborn = stage.node_of(arm, arm.anywhere(), swift().node_id(lost.id()));
        reborn.join(&nodes[at]);
        nodes.insert(at, reborn);
        stage.until_complete(&nodes);
    }
    everybody_hears_everybody(&nodes);
    while let Some(leaving) = nodes.pop() {
        let goodbye = format!("goodbye from {:?}", leaving.id());
        for node in &nodes {
            leaving.send(node, goodbye.clone());
            node.expect(&leaving, &goodbye);
        }
        assert_eq!(leaving.leave(), 0);
        for node in &nodes {
            assert_eq!(node.until_down(&leaving), Reason::Left);
        }
    }
    stage.finish();
}

fn everybody_hears_everybody(nodes: &[Rc<Member<'_>>]) {
    for from in nodes {
        let payload = format!("to all, from {:?}", from.id());
        match from.node().broadcast(payload.clone().into()) {
            Ok(report) => assert!(report.is_complete() && report.queued.len() == nodes.len() - 1, "{report:?}"),
            Err(error) => panic!("a broadcast of {:?}: {error}", from.id()),
        }
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            to.expect(from, &payload);
        }
    }
}
