//! What can be printed holds nothing that a terminal or a log would take for more than text.

use alloc::format;
use alloc::string::String;

use proptest::prelude::*;

use super::*;
use crate::channel::{Channel, Hello};
use crate::credentials::Role;
use crate::wire::{Name, arbitrary};

#[track_caller]
fn is_plain(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// Everything that the node asks for and tells, as text, and what it shows of its peers.
fn printed(node: &mut Node, now: Instant) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(action) = node.poll_action() {
        texts.push(format!("{action:?}"));
        match action {
            Action::Event(event) => match event {
                Event::PeerDown { peer, name, reason } => {
                    texts.push(format!("{peer} {name:?} {reason} {reason:?}"));
                    texts.extend(name.map(|name| format!("{name}")));
                }
                Event::JoinFailed { target, error, .. } => texts.push(format!("{target} {error}")),
                other => texts.push(format!("{other:?}")),
            },
            Action::Close { link, reason, .. } => {
                texts.push(format!("{reason}"));
                node.handle(now, Input::Disconnected { link, cause: Disconnect::Closed });
            }
            Action::Notice(notice) => texts.push(format!("{} {}", notice.source, notice.reason)),
            Action::Send { link } => {
                while let Some(frame) = node.poll_frame(link) {
                    texts.push(format!("{frame:?}"));
                }
            }
            _ => {}
        }
    }
    while let Some(message) = node.poll_message(now) {
        texts.push(format!("{message:?}"));
    }
    texts.extend(node.peers().map(|peer| format!("{peer:?}")));
    texts.push(format!("{:?} {:?} {:?}", node.stats(), node.usage(), node.memory()));
    texts
}

proptest! {
    #[test]
    fn whatever_a_member_says_no_control_character_of_it_is_printed(
        frames in proptest::collection::vec(arbitrary::frame(), 1..20),
        metadata: Vec<u8>,
    ) {
        let mut bench = Bench::new(lan());
        let link = bench.inbound(run(1, 1));
        let profile = Profile { metadata: metadata.into(), ..profile(at(1)) };
        bench.frame(link, Frame::Claim(Claim { generation: 1, rejoin: false, profile }));
        bench.frame(link, Frame::Resume(Resume { offer: offer() }));
        for frame in frames {
            is_plain(&format!("{frame:?}"));
            bench.node.handle(bench.now, Input::Frame { link, frame });
            for text in printed(&mut bench.node, bench.now) {
                is_plain(&text);
            }
        }
        for event in &bench.events {
            is_plain(&format!("{event:?}"));
        }
    }

    #[test]
    fn whatever_a_stranger_says_no_control_character_of_it_is_printed(bytes: Vec<u8>, whole: bool) {
        let cluster: Name = "default".parse().unwrap();
        for role in [Role::Initiator, Role::Responder] {
            let hello = Hello { run: run(1, 1), cluster: cluster.clone(), versions: 1..=1, features: 0, nonce: [9; 16] };
            let mut channel = Channel::new(role, hello);
            let preamble: &[u8] = if whole { b"\xf5clu\x01\x01\0\0\0\0\0\0" } else { b"" };
            channel.receive([preamble, &bytes].concat().into());
            let outcome = channel.poll();
            is_plain(&format!("{outcome:?} {channel:?}"));
            if let Err(error) = outcome {
                is_plain(&format!("{error} {}", Reason::Channel(error.clone())));
            }
        }
    }

    #[test]
    fn whatever_a_text_holds_no_control_character_of_it_becomes_part_of_a_name(text: String) {
        if let Ok(name) = text.parse::<Name>() {
            is_plain(&format!("{name} {name:?}"));
        }
        if let Ok(target) = text.parse::<crate::Target>() {
            is_plain(&format!("{target} {target:?}"));
        }
    }
}

#[test]
fn what_the_resolver_says_is_printed_as_plain_text_of_bounded_length() {
    let mut bench = Bench::new(lan());
    let target: crate::Target = "node.example:7000".parse().unwrap();
    bench.node.join(bench.now, target.clone()).unwrap();
    bench.act();
    let words = String::from("no such host\r\n\x1b[31m") + &"x".repeat(10_000);
    bench.input(Input::Resolved { target, outcome: Err(words) });
    bench.pass(Duration::from_secs(6));
    let failed = bench.events.iter().find_map(|event| match event {
        Event::JoinFailed { error, .. } => Some(format!("{error}")),
        _ => None,
    });
    let failed = failed.unwrap();
    is_plain(&failed);
    assert!(failed.contains("no such host") && failed.len() < 1_000, "{failed}");
}

#[test]
fn what_a_node_shows_of_itself_is_not_what_its_keys_are_made_of() {
    let start = Start { seed: [0xa7; 32], incarnation: Incarnation(1), listen: None };
    let config = Config::new(crate::Secret::from_bytes([0xb6; 32])).identity(crate::Identity::from_bytes([0xc5; 32]));
    let node = Node::new(config, start.clone(), Instant::ZERO).unwrap();
    let shown = format!("{start:?} {node:?} {node:#?} {:?}", node.config());
    for byte in [0xa7, 0xb6, 0xc5] {
        for found in [format!("{byte}, {byte}"), format!("{byte},\n"), format!("{byte:02x}{byte:02x}")] {
            assert!(!shown.contains(&found), "{found} in {shown}");
        }
    }
}
