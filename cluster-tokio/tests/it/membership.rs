//! Many nodes in one runtime.

use cluster_tokio::Config;

use crate::world::{bind_with, text, until_complete, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_in_one_process_form_a_mesh() {
    let config = Config::insecure_plaintext;
    let first = bind_with(config()).await;
    let mut nodes = vec![first.clone()];
    for _ in 1..50 {
        nodes.push(bind_with(config().seed(first.local_addr().into())).await);
    }
    until_complete(&nodes).await;
    let dials: u64 = nodes.iter().map(|node| node.stats().dials).sum();
    let pairs = 50 * 49 / 2;
    assert!(dials <= 2 * pairs, "{dials} dials for {pairs} pairs");

    let report = first.broadcast("everyone").unwrap();
    assert_eq!(report.queued.len(), 49);
    for node in &nodes[1..] {
        assert_eq!(text(node).await, "everyone");
    }
    let mut leaving = tokio::task::JoinSet::new();
    for node in nodes {
        leaving.spawn(async move { node.leave().await });
    }
    assert_eq!(within("leave", leaving.join_all()).await, [0; 50]);
}
