//! O15: when a node says that it has nothing more to say, it has not; and once it has left, it wants nothing any more.
//! That it leaves no deadline in the past is seen by the host's own turn, which would not come to an end.

use cluster_core::Node;

use super::Verdict;

/// The queue of actions was drained.
pub(super) fn nothing_left(node: &mut Node) -> Verdict {
    match node.poll_action() {
        Some(action) => Err(format!("poll_action returned None, and then {action:?}")),
        None => Ok(()),
    }
}

/// The node has told its user that it has left.
pub(super) fn nothing_after_left(node: &Node, links: usize) -> Verdict {
    let next = node.next_tick();
    if next.is_none() && links == 0 {
        return Ok(());
    }
    Err(format!("after Left there are {links} links, and the next tick is {next:?}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster_core::Instant;

    use super::super::tests::node;
    use super::*;

    #[test]
    fn a_node_that_still_has_something_to_say_is_found() {
        let mut node = node();
        nothing_left(&mut node).unwrap();
        node.join(Instant::ZERO, "10.0.0.9:1".parse().unwrap()).unwrap();
        nothing_left(&mut node).unwrap_err();
    }

    #[test]
    fn whoever_has_left_wants_nothing() {
        let mut node = node();
        nothing_after_left(&node, 0).unwrap_err();
        node.leave(Instant::ZERO, Duration::ZERO);
        nothing_after_left(&node, 0).unwrap();
        nothing_after_left(&node, 1).unwrap_err();
    }
}
