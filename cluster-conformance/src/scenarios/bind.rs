//! How nodes are made, and what is refused.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use cluster_core::{JoinError, Reason, SendErrorKind, Target};

use crate::arm::{BindFailure, Flushed, Nothing};
use crate::stage::{PATIENCE, Stage, swift};

pub(super) fn a_node_listens_at_a_port_of_its_own(stage: &Stage<'_>) {
    let [alice, bob] = [stage.node(), stage.node()];
    assert_ne!(alice.address().port(), 0);
    assert_ne!(alice.address(), bob.address());
    assert_ne!(alice.id(), bob.id());
    assert!(alice.up().is_empty() && alice.node().peers().is_empty());
    assert_eq!(alice.node().stats().messages_sent, 0);
    let id = "000102030405060708090a0b0c0d0e0f".parse().expect("it has 32 digits");
    assert_eq!(stage.node_with(swift().node_id(id)).id(), id);
}

pub(super) fn an_address_in_use_is_an_error_that_names_it(stage: &Stage<'_>) {
    let alice = stage.node();
    let address = alice.address().to_string();
    match stage.try_node_of(stage.arm(), &address, swift()) {
        Err(BindFailure::Listen(words)) => assert!(words.contains(&address), "{words}"),
        Err(other) => panic!("{other:?} is no error of listening"),
        Ok(_) => panic!("two nodes listen at {address}"),
    }
    let bob = stage.node();
    bob.join(&alice);
}

pub(super) fn a_config_that_contradicts_itself_makes_no_node_and_changes_none(stage: &Stage<'_>) {
    let wrong = || swift().heartbeat(Duration::from_secs(3_600));
    let made = stage.try_node_of(stage.arm(), stage.arm().anywhere(), wrong());
    assert!(matches!(made, Err(BindFailure::Config(_))), "{:?}", made.err());
    let [alice, bob] = stage.mesh();
    assert!(alice.node().set_config(wrong()).is_err());
    alice.send(&bob, "undisturbed");
    bob.expect(&alice, "undisturbed");
}

pub(super) fn settings_change_while_the_node_runs(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    let quick = swift().heartbeat(Duration::from_millis(20));
    assert_eq!(alice.node().set_config(quick), Ok(()));
    let before = alice.node().stats().frames_sent;
    // A silent peer is pinged so often that this takes a tenth of a second, and minutes without the change.
    stage.until("heartbeats are more frequent", || alice.node().stats().frames_sent >= before + 5);
    assert!(alice.up().contains(&bob.id()));
}

pub(super) fn only_the_given_host_is_bound(stage: &Stage<'_>) {
    let alice = stage.node();
    assert!(alice.address().ip().is_loopback());
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], alice.address().port()));
    assert!(TcpStream::connect(elsewhere).is_err());
}

pub(super) fn a_name_that_cannot_be_resolved_fails_the_join_with_the_reason(stage: &Stage<'_>) {
    let alice = stage.node_with(swift().join_timeout(Duration::from_secs(1)));
    let target: Target = "no-such-host.invalid:7000".parse().expect("it looks like a name");
    match alice.join_at(target) {
        Err(JoinError::Unresolved(words)) => assert!(!words.is_empty()),
        other => panic!("joining an unknown name: {other:?}"),
    }
}

pub(super) fn a_join_where_nobody_listens_fails_with_the_reason(stage: &Stage<'_>) {
    let alice = stage.node_with(swift().join_timeout(Duration::from_millis(300)));
    // The port of a node that has left is free for other programs: one of them may answer there now and then.
    let outcomes = (0..5).map(|_| {
        let bob = stage.node();
        bob.leave();
        alice.join_at(bob.address())
    });
    let refused = Err(JoinError::Failed(Reason::Refused));
    let seen: Vec<_> = outcomes.take_while(|outcome| *outcome != refused).collect();
    assert!(seen.len() < 5, "{seen:?}");
}

pub(super) fn a_node_that_joins_itself_is_told_so(stage: &Stage<'_>) {
    let alice = stage.node();
    assert_eq!(alice.join_at(alice.address()), Err(JoinError::SelfConnection));
    assert!(alice.node().peers().is_empty());
}

pub(super) fn strangers_are_no_peers_and_get_no_answer(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    let mut stranger = TcpStream::connect(alice.address()).expect("it listens");
    let mut talk = || -> std::io::Result<Vec<u8>> {
        stranger.set_read_timeout(Some(PATIENCE))?;
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let mut answer = Vec::new();
        stranger.read_to_end(&mut answer)?;
        Ok(answer)
    };
    // The connection ends, in one way or the other, and nothing that could be an answer was said.
    let answer = talk().unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP"));
    alice.send(&bob, "undisturbed");
    bob.expect(&alice, "undisturbed");
    assert_eq!(alice.up().len(), 1);
}

pub(super) fn after_leaving_every_verb_refuses(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    assert_eq!(alice.leave(), 0);
    assert_eq!(alice.try_send(&bob, "late"), Err(SendErrorKind::Leaving));
    let late = alice.node().send(bob.id(), "late".into());
    assert_eq!(alice.within("a send", late).map_err(|error| error.kind), Err(SendErrorKind::Leaving));
    assert_eq!(alice.node().broadcast("late".into()).map_err(|error| error.kind), Err(SendErrorKind::Leaving));
    assert_eq!(alice.join_at(bob.address()), Err(JoinError::Leaving));
    assert!(alice.node().add_seed(bob.address().into()).is_err());
    assert!(alice.node().disconnect(bob.id()).is_err());
    let flushing = alice.node().flush(bob.id());
    assert!(matches!(alice.within("a flush", flushing), Flushed::Refused(_) | Flushed::Closed));
    assert!(alice.up().is_empty());
    assert_eq!(alice.node().recv(PATIENCE), Err(Nothing::Ended));
    alice.events();
    assert_eq!(alice.node().event(PATIENCE), Err(Nothing::Ended));
    // Leaving again is no mistake.
    assert_eq!(alice.leave(), 0);
}
