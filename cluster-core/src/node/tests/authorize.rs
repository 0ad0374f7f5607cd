//! Secrets that are retired, and nodes that are not allowed.

use super::*;
use crate::identity::Identity;
use crate::secret::{Keyring, Secret};

fn secret(byte: u8) -> Secret {
    Secret::from_bytes([byte; 32])
}

fn secure(config: Config) -> Bench {
    Bench::with(config.identity(Identity::from_bytes([100; 32])))
}

/// Who has proven to have this secret.
fn proven(run: Run, secret: &Secret) -> Proven {
    Proven { run, version: 1, features: 0, secret: Some(secret.id()) }
}

impl Bench {
    /// A peer that is up by a link that was made with this secret.
    fn up_by(&mut self, run: Run, secret: &Secret) -> LinkId {
        let link = self.node.accept(self.now, at(run.id.as_bytes()[0])).unwrap();
        self.input(Input::Connected { link, proven: proven(run, secret), local: at(100) });
        self.input(Input::Frame { link, frame: claim(run.id.as_bytes()[0], 1) });
        self.input(Input::Frame { link, frame: Frame::Resume(Resume { offer: offer() }) });
        assert!(self.node.peers().any(|peer| peer.run == run && peer.state == PeerState::Up));
        link
    }

    fn reconfigure(&mut self, change: impl FnOnce(Config) -> Config) {
        let config = change(self.node.config().clone());
        self.node.set_config(self.now, config).unwrap();
        self.act();
    }
}

#[test]
fn the_id_is_that_of_the_identity_and_without_one_it_is_new() {
    let identity = Identity::from_bytes([7; 32]);
    let node = |config, seed| {
        let start = Start { seed: [seed; 32], incarnation: Incarnation(1), listen: None };
        Node::new(config, start, Instant::ZERO).unwrap().run().id
    };
    let config = Config::new(secret(1));
    assert_eq!(node(config.clone().identity(identity.clone()), 1), identity.id());
    assert_ne!(node(config.clone(), 1), node(config.clone(), 2));
    assert_eq!(node(config.clone(), 1), node(config, 1));
}

#[test]
fn who_is_not_allowed_is_turned_out_without_a_word_and_leaves_only_a_count() {
    let mut bench = secure(Config::new(secret(1)).allow([run(1, 0).id]));
    bench.up_by(run(1, 1), &secret(1));
    let link = bench.node.accept(bench.now, at(2)).unwrap();
    bench.input(Input::Connected { link, proven: proven(run(2, 1), &secret(1)), local: at(100) });
    assert!(bench.sent_on(link).is_empty());
    assert_eq!((bench.node.peers().count(), bench.node.stats().not_allowed), (1, 1));
    assert_eq!(bench.node.usage().links, 1);
}

#[test]
fn an_answer_from_a_node_that_is_not_allowed_is_not_claimed_and_fails_the_join() {
    let mut bench = secure(Config::new(secret(1)).allow([run(1, 0).id]));
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    let (link, _) = bench.dials[0];
    bench.input(Input::Connected { link, proven: proven(run(2, 1), &secret(1)), local: at(100) });
    assert!(bench.sent_on(link).is_empty());
    let failed =
        |event: &Event| matches!(event, Event::JoinFailed { error: JoinError::Failed(Reason::NotAllowed), .. });
    assert!(bench.events.iter().any(failed));
}

#[test]
fn a_node_that_is_taken_off_the_list_is_gone_at_once_and_not_dialled() {
    let mut bench = secure(Config::new(secret(1)));
    bench.up_by(run(1, 1), &secret(1));
    bench.up_by(run(2, 1), &secret(1));
    bench.reconfigure(|config| config.allow([run(2, 0).id]));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
    assert_eq!(bench.down_reasons(), [Reason::NotAllowed]);
    assert_eq!(bench.node.peers().map(|peer| peer.run).collect::<Vec<_>>(), [run(2, 1)]);
    assert!(!bench.pass(MINUTE).contains(&at(1)));
}

#[test]
fn hearsay_of_a_node_that_is_not_allowed_is_not_followed_until_it_is() {
    let mut bench = secure(Config::new(secret(1)).allow([run(1, 0).id]));
    let link = bench.up_by(run(1, 1), &secret(1));
    let entries = Vec::from([entry(run(3, 1), &[3])]);
    bench.input(Input::Frame { link, frame: Frame::Announce(Announce { entries }) });
    assert!(!bench.pass(Duration::from_secs(4)).contains(&at(3)));
    bench.reconfigure(Config::allow_all);
    assert!(bench.pass(MINUTE).contains(&at(3)));
}

#[test]
fn a_lost_peer_that_is_taken_off_the_list_is_forgotten() {
    let mut bench = secure(Config::new(secret(1)));
    let link = bench.up_by(run(1, 1), &secret(1));
    bench.end(link);
    bench.reconfigure(|config| config.allow([run(2, 0).id]));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
    assert!(bench.pass(MINUTE).is_empty());
}

#[test]
fn a_link_of_a_secret_that_is_dropped_ends_and_its_session_lives_on() {
    let mut bench = secure(Config::new(Keyring::new(secret(2)).accept(secret(1))));
    bench.up_by(run(1, 1), &secret(1));
    bench.up_by(run(2, 1), &secret(2));
    bench.send(run(1, 1), "kept");
    bench.reconfigure(|config| config.keyring(secret(2)));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down"]);
    assert_eq!(bench.down_reasons(), [Reason::SecretRetired]);
    assert_eq!(bench.word(run(2, 1).id), ["up"]);
    assert!(bench.pass(Duration::from_secs(4)).contains(&at(1)));
}

#[test]
fn a_handshake_that_ends_after_its_secret_was_dropped_came_too_late() {
    let mut bench = secure(Config::new(Keyring::new(secret(2)).accept(secret(1))));
    let link = bench.node.accept(bench.now, at(1)).unwrap();
    bench.reconfigure(|config| config.keyring(secret(2)));
    bench.input(Input::Connected { link, proven: proven(run(1, 1), &secret(1)), local: at(100) });
    assert_eq!((bench.node.usage().links, bench.node.usage().peers), (0, 0));
}

#[test]
fn identity_and_mode_cannot_change_while_the_node_runs() {
    let mut bench = secure(Config::new(secret(1)));
    let now = bench.now;
    let changes: [fn(Config) -> Config; 2] =
        [|config| config.identity(Identity::from_bytes([1; 32])), |_| Config::insecure_plaintext()];
    for change in changes {
        let config = change(bench.node.config().clone());
        assert!(bench.node.set_config(now, config).is_err());
    }
    let mut plain = Bench::new(lan());
    let config = plain.node.config().clone();
    assert!(plain.node.set_config(now, Config { node_id: None, ..config.keyring(secret(1)) }).is_err());
}
