//! Many nodes in one process.

use cluster_std::Config;

use crate::world::{bind_with, text, until_complete, waiting};

#[test]
fn thirty_nodes_in_one_process_form_a_mesh() {
    const NODES: usize = 30;
    let config = Config::insecure_plaintext;
    let first = bind_with(config());
    let mut nodes = vec![first.clone()];
    nodes.extend((1..NODES).map(|_| bind_with(config().seed(first.local_addr().into()))));
    until_complete(&nodes);
    let dials: u64 = nodes.iter().map(|node| node.stats().dials).sum();
    let pairs = (NODES * (NODES - 1) / 2) as u64;
    assert!(dials <= 2 * pairs, "{dials} dials for {pairs} pairs");

    let report = first.broadcast("everyone").unwrap();
    assert_eq!(report.queued.len(), NODES - 1);
    for node in &nodes[1..] {
        assert_eq!(text(node), "everyone");
    }
    let leaving: Vec<_> = nodes.into_iter().map(|node| waiting(move || node.leave())).collect();
    for leaving in leaving {
        assert_eq!(leaving.end("leave"), 0);
    }
}
