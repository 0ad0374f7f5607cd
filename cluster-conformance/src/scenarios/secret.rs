//! Who has the secret, and who is on the list, is a peer, and nobody else.

use std::rc::Rc;
use std::time::Duration;

use cluster_core::{Config, Identity, Keyring, Secret};

use super::session::messages_survive_a_cut;
use crate::stage::{Member, Stage, locked, swift};

fn secret(byte: u8) -> Secret {
    Secret::from_bytes([byte; 32])
}

fn identity(byte: u8) -> Identity {
    Identity::from_bytes([byte; 32])
}

/// Each can talk to each.
fn talk(nodes: &[Rc<Member<'_>>]) {
    for from in nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            let long = vec![7; 100_000];
            from.send(to, "short");
            from.send(to, long.clone());
            to.expect(from, "short");
            to.expect(from, long);
        }
    }
}

pub(super) fn who_has_the_same_secret_is_a_peer(stage: &Stage<'_>) {
    let nodes = stage.mesh_with([(); 3].map(|()| locked(secret(1))));
    talk(&nodes);
    let carol = stage.node_with(locked(secret(1)).identity(identity(9)));
    carol.join(&nodes[1]);
    assert_eq!(carol.id(), identity(9).id());
    let [alice, bob, dave] = nodes;
    let all = [alice, bob, dave, carol];
    stage.until_complete(&all);
    talk(&all);
}

pub(super) fn who_has_another_secret_or_none_is_no_peer_and_is_told_nothing(stage: &Stage<'_>) {
    let second = Duration::from_secs(1);
    let [alice, bob] = stage.mesh_with([(); 2].map(|()| locked(secret(1)).join_timeout(second)));
    alice.events();
    let before = alice.node().peers();
    for config in [locked(secret(2)), swift(), locked(secret(1)).cluster("another".parse().expect("a name"))] {
        let stranger = stage.node_with(config.join_timeout(second));
        assert!(stranger.join_at(alice.address()).is_err());
        assert!(alice.node().stats().failed_handshakes > 0);
        assert!(stranger.up().is_empty() && stranger.node().peers().is_empty());
        assert!(alice.join_at(stranger.address()).is_err());
    }
    let told = alice.events();
    assert!(told.iter().all(|event| matches!(event, cluster_core::Event::JoinFailed { .. })), "{told:?}");
    assert_eq!(alice.node().peers(), before);
    talk(&[alice, bob]);
}

pub(super) fn who_is_taken_off_the_list_is_a_peer_no_more(stage: &Stage<'_>) {
    let only = |number: u8, listed: &[u8]| -> Config {
        let listed = listed.iter().map(|listed| identity(*listed).id());
        locked(secret(1)).identity(identity(number)).allow(listed).join_timeout(Duration::from_secs(2))
    };
    let [alice, bob, carol] = stage.mesh_with([1, 2, 3].map(|number| only(number, &[1, 2, 3])));
    let dave = stage.node_with(locked(secret(1)).join_timeout(Duration::from_secs(1)));
    assert!(dave.join_at(alice.address()).is_err());
    alice.node().set_config(only(1, &[2])).expect("the list can change");
    alice.until_down(&carol);
    assert_eq!(alice.up(), [bob.id()].into());
    stage.until("who was taken off sees it", || carol.up() == [bob.id()].into());
    assert!(carol.join_at(alice.address()).is_err());
    assert_eq!(bob.up(), [alice.id(), carol.id()].into());
}

pub(super) fn a_secret_is_changed_under_traffic_and_no_message_is_lost(stage: &Stage<'_>) {
    let numbers = [1, 2, 3];
    let with = |keyring: Keyring| numbers.map(|number| locked(keyring.clone()).identity(identity(number)));
    let (old, new) = (secret(1), secret(2));
    let nodes = stage.mesh_with(with(Keyring::new(old.clone())));
    let mut round = 0;
    for keyring in [
        Keyring::new(old.clone()).accept(new.clone()),
        Keyring::new(new.clone()).accept(old.clone()),
        Keyring::new(new.clone()),
    ] {
        for (node, config) in nodes.iter().zip(with(keyring)) {
            node.node().set_config(config).expect("the secret can change");
            for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                nodes[from].send(&nodes[to], format!("{round}"));
            }
            round += 1;
        }
    }
    for expected in 0..round {
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            nodes[to].expect(&nodes[from], format!("{expected}"));
        }
    }
    stage.until_complete(&nodes);
    talk(&nodes);
    let outdated = stage.node_with(locked(old).join_timeout(Duration::from_secs(1)));
    assert!(outdated.join_at(nodes[0].address()).is_err());
}

pub(super) fn what_is_sent_with_a_secret_survives_the_cut_of_its_connection(stage: &Stage<'_>) {
    messages_survive_a_cut(stage, || locked(secret(1)));
}
