//! The recording for people: that it tells what happened, and changes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster_core::{Instant, PeerState};
use cluster_sim::timeline::{FaultKind, HostState, MomentKind, NoteKind, Timeline};
use cluster_sim::{Crash, FrameKind, HostId, Restart, Script, World};

use crate::harness::*;

/// A partition that lasts until everybody has noticed it, a crash, messages on the way, and everything healed.
pub(crate) fn eventful(count: usize, record: bool) -> World {
    let mut world = World::new(7);
    if record {
        world.record();
    }
    let hosts = world.add_many(count, &config().session_ttl(secs(1)));
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.run_for(secs(5));
    let (one, other) = hosts.split_at(count - 1 - (count - 2) / 2);
    world.net_mut().partition(one, other);
    world.node(hosts[0]).send_numbered(other[0], 1_000).unwrap();
    world.run_for(secs(12));
    world.net_mut().heal_all();
    world.expect("the mesh is whole again", secs(70), World::is_complete);
    world.node(hosts[1]).send_numbered(hosts[0], 20_000).unwrap();
    world.run_for(secs(2));
    world.host_mut(hosts[1]).crash(Crash::Power);
    world.run_for(secs(9));
    world.host_mut(hosts[1]).restart(Restart::default());
    world.node(hosts[1]).join(hosts[0]).unwrap();
    world.expect("the mesh is whole again", secs(70), World::is_complete);
    world.host_mut(hosts[0]).set_consuming(false);
    world.host_mut(hosts[count - 1]).pause();
    world.run_for(secs(2));
    world.host_mut(hosts[0]).set_consuming(true);
    world.host_mut(hosts[count - 1]).resume();
    world.run_for(secs(5));
    world
}

fn states(timeline: &Timeline, host: HostId) -> Vec<HostState> {
    timeline.states.iter().filter(|span| span.host == host).map(|span| span.state).collect()
}

#[test]
fn recording_changes_nothing() {
    assert_eq!(eventful(4, true).trace_hash(), eventful(4, false).trace_hash());
}

#[test]
fn a_split_shows_with_its_two_sides_and_when_the_mesh_was_whole_again() {
    let (mut world, hosts) = mesh(1, 3);
    world.record();
    world.run_for(secs(1));
    let cut = world.now();
    world.net_mut().partition(&hosts[..2], &hosts[2..]);
    world.run_for(secs(20));
    let healed = world.now();
    world.net_mut().heal_all();
    world.expect("whole", secs(60), World::is_complete);
    let whole = world.now();
    world.run_for(secs(1));
    world.host_mut(hosts[0]).resume();
    world.host_mut(hosts[0]).exhaust(false);

    let timeline = world.timeline();
    let [split] = &timeline.splits[..] else { panic!("{:?}", timeline.splits) };
    assert_eq!((split.from, split.until, &*split.text), (cut, Some(healed), "n0 n1 | n2"));
    assert_eq!(split.islands, [vec![hosts[0], hosts[1]], vec![hosts[2]]]);
    let cuts = timeline.faults.iter().filter(|span| span.kind == FaultKind::Cut && span.until == Some(healed));
    assert_eq!(cuts.count(), 4);
    let [first, .., last] = &timeline.mesh[..] else { panic!("{:?}", timeline.mesh) };
    assert!(first.is_whole() && last.is_whole());
    assert_eq!(last.from, whole);
    let lost = timeline.peers.iter().find(|span| span.host == hosts[0] && span.state == PeerState::Lost).unwrap();
    assert!(lost.peer == Some(hosts[2]) && lost.from > cut && lost.until.is_some_and(|until| until > healed));
    let told: Vec<MomentKind> = timeline.story().iter().map(|moment| moment.kind).collect();
    for kind in [MomentKind::Split, MomentKind::Healed, MomentKind::Lost, MomentKind::Broken, MomentKind::Whole] {
        assert!(told.contains(&kind), "{told:?}");
    }
    assert!(!told.contains(&MomentKind::Fault), "what changes nothing is not worth telling: {told:?}");
}

#[test]
fn what_hosts_did_shows_as_states_and_their_links_and_peers_end_with_them() {
    let timeline = eventful(3, true).timeline();
    let host = |index: usize| timeline.states.iter().map(|span| span.host).find(|host| host.index() == index).unwrap();
    let running = HostState::Running;
    assert_eq!(states(&timeline, host(1)), [running, HostState::Crashed, running]);
    assert_eq!(states(&timeline, host(2)), [running, HostState::Paused, running]);
    let crash = timeline.states.iter().find(|span| span.state == HostState::Crashed).unwrap();
    let during = |at: Instant, until: Option<Instant>| {
        at > crash.from && crash.until.is_some_and(|end| at < end) || at < crash.from && until > Some(crash.from)
    };
    assert!(timeline.peers.iter().all(|span| span.host != host(1) || !during(span.from, span.until)));
    assert!(timeline.links.iter().all(|span| span.host != host(1) || !during(span.opened, span.ended)));
    let consuming = timeline.faults.iter().find(|span| span.kind == FaultKind::NotConsuming).unwrap();
    assert_eq!((consuming.host, consuming.until.map(|until| until - consuming.from)), (host(0), Some(secs(2))));
}

#[test]
fn messages_go_from_who_sent_them_to_who_took_them_or_are_given_up() {
    let timeline = eventful(3, true).timeline();
    let [lost, taken] = &timeline.messages[..] else { panic!("{:?}", timeline.messages) };
    assert_eq!((lost.from.map(HostId::index), lost.to.map(HostId::index), lost.bytes), (Some(0), Some(2), 1_000));
    assert!(lost.taken.is_none() && lost.given_up > lost.sent);
    assert_eq!((taken.from.map(HostId::index), taken.to.map(HostId::index), taken.bytes), (Some(1), Some(0), 20_000));
    assert!(taken.taken > taken.sent && taken.given_up.is_none());
}

#[test]
fn a_frame_that_arrives_is_the_one_that_was_sent() {
    let timeline = eventful(3, true).timeline();
    let claims = timeline.frames.iter().filter(|path| path.kind == FrameKind::Claim).count();
    let arrived: Vec<_> = timeline.frames.iter().filter(|path| path.got.is_some()).collect();
    assert!(claims >= 3 && arrived.len() > 100);
    for path in arrived {
        assert!(path.sent.is_some() && path.got > path.sent && path.from.is_some() && path.from != path.to, "{path:?}");
    }
    let ends = |conn| timeline.links.iter().filter(move |span| span.connection == Some(conn));
    for path in &timeline.frames {
        assert!(ends(path.connection).any(|span| Some(span.host) == path.from && span.peer == path.to), "{path:?}");
    }
}

#[test]
fn a_recording_that_begins_late_knows_how_things_stand() {
    let (mut world, hosts) = mesh(2, 3);
    world.net_mut().cut_one_way(hosts[0], hosts[1]);
    world.record();
    let begin = world.now();
    world.run_for(secs(1));
    let timeline = world.timeline();
    assert_eq!((timeline.begin, timeline.peers.len(), timeline.links.len()), (begin, 6, 6));
    assert!(timeline.links.iter().all(|span| span.granted.is_some() && span.peer.is_some()));
    assert_eq!(timeline.splits.iter().map(|split| &*split.text).collect::<Vec<_>>(), ["n0 ↛ n1"]);
    assert!(timeline.mesh[0].is_whole());
}

#[test]
fn what_a_puppet_says_shows_where_it_arrives() {
    let mut world = World::new(3);
    world.record();
    let a = world.add(config());
    let puppet = world.add_puppet("10.0.9.1", Script::default());
    let address = world.host(a).addr();
    world.puppet(puppet).dial(address);
    world.run_for(secs(1));
    world.puppet(puppet).say_on(0, b"hello");
    world.run_for(secs(1));
    let timeline = world.timeline();
    assert_eq!(states(&timeline, puppet), [HostState::Puppet]);
    let claim = timeline.frames.iter().find(|path| path.kind == FrameKind::Claim).unwrap();
    assert_eq!((claim.from, claim.to, claim.sent), (Some(puppet), Some(a), None));
    let [message] = timeline.messages[..] else { panic!("{:?}", timeline.messages) };
    assert_eq!((message.from, message.to, message.sent), (Some(puppet), Some(a), None));
    assert!(timeline.notes.iter().any(|note| note.kind == NoteKind::Puppet));
}

#[test]
fn a_violation_is_part_of_the_timeline_of_the_world_that_it_ended() {
    let (mut world, _) = mesh(4, 2);
    world.record();
    world.run_for(secs(1));
    let failed = catch_unwind(AssertUnwindSafe(|| world.fail("no </script> here")));
    assert!(failed.is_err());
    let timeline = world.timeline();
    let [breach] = &timeline.violations[..] else { panic!("{:?}", timeline.violations) };
    assert_eq!((breach.at, &*breach.text), (world.now(), "no </script> here"));
    assert!(timeline.to_text(80).contains("VIOLATION at"));
    let page = timeline.to_html();
    assert_eq!(page.matches("</script>").count(), 2, "only those of the page itself");
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = eventful(3, true).timeline().to_html();
    for outside in ["http:", "https:", "src=", "href=", "@import", "fetch(", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("{{"), "every part is in its place");
}

#[test]
fn the_text_fits_the_width_it_was_asked_for() {
    for (count, width) in [(3, 40), (3, 80), (3, 160), (16, 80)] {
        let text = eventful(count, true).timeline().to_text(width);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        for index in 0..count {
            let lane = format!("n{index} ");
            assert_eq!(text.lines().filter(|line| line.starts_with(&lane)).count(), 1, "{text}");
        }
    }
}

#[test]
fn the_lines_of_json_come_in_the_order_of_time_and_say_what_they_are() {
    let timeline = eventful(3, true).timeline();
    let mut bytes = Vec::new();
    timeline.write_jsonl(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["type"].as_str(), lines[0]["seed"].as_str()), (Some("run"), Some("7")));
    let times: Vec<u64> = lines[1..].iter().map(|line| line["at"].as_u64().unwrap()).collect();
    assert!(times.is_sorted());
    for kind in ["state", "fault", "peer", "link", "message", "frame", "note", "mesh", "split"] {
        assert!(lines.iter().any(|line| line["type"] == kind), "{kind}");
    }
}
