//! Links that are dead or were never authenticated, seen from one side only: scenarios S03, S05 and S06, and the races
//! between a link that is being set up and its end.

use cluster_core::{Event, Frame, Incarnation, Instant, Reason, RejectCode, Run};
use cluster_sim::{Crash, Greeting, HostId, Latency, PuppetState, RawState, Restart, Script, World};

use crate::harness::*;

/// When `host` told for the first time of a peer that is down.
fn first_down(world: &World, host: HostId) -> Option<Instant> {
    let down = |event: &Event| matches!(event, Event::PeerDown { .. });
    world.host(host).events().iter().find(|logged| down(&logged.event)).map(|logged| logged.at)
}

fn later(run: Run, by: u64) -> Run {
    Run { incarnation: Incarnation(run.incarnation.0 + by), ..run }
}

#[test]
fn s03_whoever_does_not_finish_its_handshake_displaces_nothing() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let (run, address) = (world.host(b).run(), world.host(a).addr());
        let (link, events) = (world.host(a).links()[0].connection, world.host(a).events().len());
        // Who says that it is b, or a later run of b, and then says nothing more; and one of another cluster.
        let silent = |run| Script { run: Some(run), claim: None, ..Script::default() };
        let other = Script { cluster: "other".parse().unwrap(), ..silent(run) };
        let scripts = [silent(run), silent(later(run, 1)), Script { run: Some(run), ..other.clone() }, other];
        let puppets: Vec<HostId> = scripts
            .into_iter()
            .enumerate()
            .map(|(index, script)| world.add_puppet(&format!("10.0.9.{}", index + 1), script))
            .collect();
        for &puppet in &puppets {
            world.puppet(puppet).dial(address);
        }
        let mute = world.net_mut().raw_dial("10.0.9.9", address);
        world.run_for(secs(1));
        assert_eq!(world.host(puppets[0]).puppet_links(), [PuppetState::Connected], "seed {seed}");
        assert_eq!(world.host(a).links().len(), 4, "seed {seed}: b, two that are silent, and one that is mute");
        world.run_for(secs(5));
        assert!(matches!(world.net().raw_state(mute), RawState::Ended | RawState::Reset), "seed {seed}");
        for puppet in puppets {
            assert_eq!(world.host(puppet).puppet_links(), [PuppetState::Over], "seed {seed}");
        }
        let links = world.host(a).links();
        assert_eq!((links.len(), links[0].connection), (1, link), "seed {seed}");
        assert_eq!((world.host(a).events().len(), world.host(b).downs(a)), (events, 0), "seed {seed}");
        assert!(world.linked(a, b));
    }
}

#[test]
fn s03_a_dial_that_finds_someone_who_never_accepts_leaves_the_good_link() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let (run, link) = (world.host(b).run(), world.host(a).links()[0].connection);
        let b_again = Script { run: Some(run), accept: false, ..Script::default() };
        let stranger = Script { accept: false, ..Script::default() };
        let puppets = [world.add_puppet("10.0.9.1", b_again), world.add_puppet("10.0.9.2", stranger)];
        let mute = world.net_mut().raw_listen("10.0.9.3:7000", Greeting::Wait);
        for puppet in puppets {
            world.node(a).join(puppet).unwrap();
        }
        world.node(a).join(mute).unwrap();
        world.run_for(secs(12));
        assert!(world.linked(a, b));
        assert_eq!(world.host(a).links().iter().filter(|link| link.peer == Some(run)).count(), 1, "seed {seed}");
        assert!(world.host(a).links().iter().any(|view| view.connection == link), "seed {seed}");
        assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (0, 0), "seed {seed}");
        assert!(!world.host(a).sees(puppets[1]), "seed {seed}: it has not accepted");
    }
}

#[test]
fn s05_a_restarted_node_is_not_kept_out_by_what_is_left_of_it() {
    let mut restarted = 0;
    for seed in 0..40 {
        let (mut world, a, b) = pair(seed);
        let old = world.host(b).run();
        let lag = world.draw(1_000);
        world.run_for(ms(lag));
        world.host_mut(b).crash(Crash::Power);
        let pause = 50 + world.draw(if seed % 2 == 0 { 600 } else { 3_000 });
        world.run_for(ms(pause));
        assert!(world.host(a).sees(b), "seed {seed}: nobody has noticed yet");
        world.host_mut(b).restart(Restart::default());
        let new = world.host(b).run();
        world.node(b).join(a).unwrap();
        world.expect("it is back", ms(1_200), |world| world.linked(a, b));
        let (was, is) = (old.incarnation.0, new.incarnation.0);
        let expected = [("up", was), ("down", was), ("gone", was), ("up", is)];
        assert_eq!(word(&world, a, new.id), expected, "seed {seed}");
        let reasons = down_reasons(&world, a, b);
        // The kernel of the new b may reset the old link before the new b is heard of.
        assert!(matches!(reasons[..], [Reason::Restarted | Reason::Reset]), "seed {seed}: {reasons:?}");
        restarted += usize::from(reasons == [Reason::Restarted]);
        world.settle();
        assert!(world.linked(a, b));
        assert_eq!(world.host(b).ups(a), 2, "seed {seed}: once for each run of it");
        let rejected = |event: &Event| matches!(event, Event::DuplicateIdentity { .. });
        assert_eq!(world.host(a).count_events(rejected) + world.host(b).count_events(rejected), 0, "seed {seed}");
    }
    assert!(restarted >= 5, "{restarted}");
}

#[test]
fn s05_an_old_link_that_does_not_answer_makes_room_within_the_probe() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let address = world.host(a).addr();
        let old = world.add_puppet("10.0.9.1", Script::default());
        world.puppet(old).dial(address);
        world.expect("it is up", ms(50), |world| world.host(a).sees(old));
        let lag = world.draw(3_000);
        world.run_for(ms(1_000 + lag));
        world.puppet(old).script(|script| {
            script.pong = false;
            script.read = false;
        });
        let before = world.host(old).run();
        let now = later(before, 1_000);
        let new = world.add_puppet("10.0.9.2", Script { run: Some(now), ..Script::default() });
        let asked = world.now();
        world.puppet(new).dial(address);
        world.run_for(ms(900));
        assert!(world.host(a).sees(old) && !world.host(a).sees(new), "seed {seed}: the old one has a second to answer");
        world.expect("it has taken its place", ms(200), |world| world.host(a).sees(new));
        assert!(world.now() - asked <= ms(1_020), "seed {seed}: {:?}", world.now() - asked);
        let (was, is) = (before.incarnation.0, now.incarnation.0);
        assert_eq!(word(&world, a, now.id), [("up", was), ("down", was), ("gone", was), ("up", is)], "seed {seed}");
        assert_eq!(down_reasons(&world, a, new), [Reason::Restarted], "seed {seed}");
    }
}

#[test]
fn s05_a_dial_of_the_same_run_over_a_half_open_link_takes_its_place_unnoticed_or_by_a_probe() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        // b gives up earlier than a does.
        let (a, b) = (world.add(config()), world.add(config().heartbeat(ms(300)).peer_timeout(secs(1))));
        world.node(a).join(b).unwrap();
        world.expect("both are linked", secs(1), |world| world.linked(a, b));
        world.settle();
        world.net_mut().cut(a, b);
        world.expect("b gives up", secs(3), |world| world.host(b).downs(a) == 1);
        assert!(world.host(a).sees(b), "seed {seed}");
        // What b said at the end is lost; a has a link that nobody else has.
        world.net_mut().heal(a, b);
        world.expect("they are linked again", ms(2_500), |world| world.linked(a, b));
        world.settle();
        assert!(world.linked(a, b));
        assert_eq!(world.host(b).downs(a), 1, "seed {seed}");
        assert!(world.host(a).downs(b) <= 1, "seed {seed}");
        assert_eq!(world.host(a).ups(b), 1 + world.host(a).downs(b), "seed {seed}");
    }
}

#[test]
fn s06_silence_is_noticed_at_both_ends_although_every_write_succeeds() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let lag = world.draw(1_500);
        world.run_for(ms(lag));
        world.net_mut().cut(a, b);
        let cut = world.now();
        let mut sent = 0;
        for _ in 0..70 {
            if world.host(a).sees(b) {
                sent = world.node(a).send_numbered(b, 200).unwrap();
            }
            world.run_for(ms(100));
        }
        for (host, peer) in [(a, b), (b, a)] {
            assert_eq!(down_reasons(&world, host, peer), [Reason::Timeout], "seed {seed}");
            let after = first_down(&world, host).unwrap() - cut;
            assert!(after > ms(3_900) && after < ms(5_100), "seed {seed}: {after:?}");
        }
        assert!(sent > 30 && world.host(b).numbered(a) == 0, "seed {seed}: {sent}");
        world.net_mut().heal(a, b);
        world.expect("they are linked again", secs(20), |world| world.linked(a, b));
        world.settle();
        assert_eq!(world.host(b).numbered(a), sent, "seed {seed}: what was sent into the silence arrives after it");
        assert_eq!(world.host(a).count_events(|event| matches!(event, Event::Undelivered(_))), 0, "seed {seed}");
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (2, 2), "seed {seed}");
    }
}

#[test]
fn a_handshake_that_one_end_finishes_after_the_other_gave_up_connects_nobody() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let b = world.add(config().probe_timeout(ms(500)).handshake_timeout(ms(2_500)));
        // So slow that a is told Accept in time, and b is told Resume when its time is over.
        world.net_mut().set_latency(ms(600));
        world.node(a).join(b).unwrap();
        world.expect("a is told that it is accepted", secs(5), |world| world.host(a).ups(b) == 1);
        assert!(!world.host(b).sees(a), "seed {seed}");
        world.expect("a learns that b gave up", secs(2), |world| world.host(a).downs(b) == 1);
        assert_eq!(world.host(b).ups(a), 0, "seed {seed}: nothing came in time");
        assert!(world.host(b).closes().iter().any(|closed| closed.reason == Reason::HandshakeTimeout), "seed {seed}");
        world.run_for(secs(60));
        assert_eq!(world.host(b).ups(a), 0, "seed {seed}");
        assert!(world.host(a).dials_since(Instant::ZERO) < 30, "seed {seed}: {} dials", world.net().dials().len());
        world.net_mut().set_latency(Latency::Uniform { base: ms(1), jitter: ms(1) });
        world.expect("they are linked", secs(40), |world| world.linked(a, b));
        world.settle();
        assert_eq!((world.host(b).ups(a), world.host(b).downs(a)), (1, 0), "seed {seed}");
    }
}

#[test]
fn a_handshake_that_the_dialler_gave_up_is_forgotten_by_the_other() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config().probe_timeout(ms(500)).handshake_timeout(ms(1_700)).join_timeout(secs(1)));
        let b = world.add(config());
        // a gives up when its claim has just been granted.
        world.net_mut().set_latency(ms(300));
        world.node(a).join(b).unwrap();
        world.run_for(secs(10));
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (0, 0), "seed {seed}");
        assert_eq!((world.host(a).links().len(), world.host(b).links().len()), (0, 0), "seed {seed}");
        assert!(world.node(b).peers().is_empty(), "seed {seed}: hearing of a node makes no peer");
        world.net_mut().set_latency(Latency::Uniform { base: ms(1), jitter: ms(1) });
        world.node(a).join(b).unwrap();
        world.expect("they are linked", secs(1), |world| world.linked(a, b));
    }
}

#[test]
fn a_claim_outranked_by_a_link_that_is_half_open_is_told_so_and_tries_again() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let (address, run) = (world.host(a).addr(), world.host(a).run());
        let old = world.add_puppet("10.0.9.1", Script { claim: Some(50), ..Script::default() });
        world.puppet(old).dial(address);
        world.expect("it is up", ms(50), |world| world.host(a).sees(old));
        world.puppet(old).script(|script| script.pong = false);
        // The same run comes again, and knows nothing of the generations before.
        let again = Script { run: Some(world.host(old).run()), claim: Some(1), ..Script::default() };
        let new = world.add_puppet("10.0.9.2", again);
        world.puppet(new).dial(address);
        world.run_for(ms(100));
        let refused = world
            .host(new)
            .heard()
            .iter()
            .any(|heard| matches!(&heard.frame, Frame::Reject(reject) if reject.code == RejectCode::Outranked));
        assert!(refused, "seed {seed}: {:?}", world.host(new).heard());
        assert!(world.host(a).sees(old), "seed {seed}");
        world.expect("the old link does not survive the probe", ms(1_100), |world| world.host(a).downs(old) == 1);
        assert_eq!(down_reasons(&world, a, old), [Reason::Timeout], "seed {seed}");
        let link = world.puppet(new).dial(address);
        world.expect("it is up again", ms(50), |world| {
            world.host(new).puppet_links()[link] == PuppetState::Up && world.host(a).sees(new)
        });
        assert_eq!((world.host(a).ups(new), run), (2, world.host(a).run()), "seed {seed}");
    }
}

#[test]
fn grant_that_outlives_its_link_is_void_where_dials_cross() {
    let swift = config().reconnect(ms(1), ms(100)).stable_after(ms(0));
    for seed in 0..100 {
        let mut world = World::new(seed);
        let (a, b) = (world.add(swift.clone()), world.add(swift.clone()));
        world.net_mut().set_latency(Latency::Uniform { base: ms(20), jitter: ms(60) });
        world.node(a).join(b).unwrap();
        world.node(b).join(a).unwrap();
        // One end of a connection is gone while the other still reads a grant of its claim, perhaps after the two have
        // used another connection. The oracle checks that neither node blames the other.
        for _ in 0..1_000 {
            let wait = world.draw(200);
            world.run_for(ms(wait));
            let (at, peer) = if world.draw(2) == 0 { (a, b) } else { (b, a) };
            world.net_mut().abort_oldest(at, peer);
            for (from, to) in [(a, b), (b, a)] {
                // The send fails until the two have met for the first time.
                let _ = world.node(from).send_numbered(to, 10);
            }
        }
        world.settle();
        assert!(world.linked(a, b), "seed {seed}");
    }
}
