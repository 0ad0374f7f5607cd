//! Nodes with a secret, and those who do not have it.

use cluster_std::{Config, Secret};

use crate::world::{bind_with, local, message, until_complete};

fn secure(byte: u8) -> Config {
    Config::new(Secret::from_bytes([byte; 32])).local()
}

#[test]
fn nodes_with_one_secret_meet_and_talk_and_nobody_else_does() {
    let [alice, bob] = [bind_with(secure(1)), bind_with(secure(1))];
    assert_eq!(alice.join(bob.local_addr()), Ok(bob.id()));
    until_complete(&[alice.clone(), bob.clone()]);
    for length in [0, 5, 1_000_000] {
        alice.send(bob.id(), vec![7; length]).unwrap();
        assert!(message(&bob).payload == vec![7; length]);
    }
    let short = std::time::Duration::from_millis(500);
    for config in [secure(2), local()] {
        let stranger = bind_with(config.probe_timeout(short / 2).handshake_timeout(short).join_timeout(short));
        assert!(stranger.join(alice.local_addr()).is_err());
        assert!(stranger.peers().is_empty());
    }
    until_complete(&[alice.clone(), bob.clone()]);
    assert!(alice.stats().failed_handshakes >= 2);
    assert_eq!(alice.leave(), 0);
}
