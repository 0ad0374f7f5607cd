//! The oracle of liveness, on cases where the answer is known: what must recover does, and what does not is found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster_core::{Config, Event};
use cluster_sim::{Block, Crash, Fate, HostId, World};

use crate::harness::*;

/// What the failure says that `act` ends in.
fn failure(act: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(act)).expect_err("it fails");
    let text = payload.downcast_ref::<String>().expect("a failure has words");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Everything that a test can do to a host, or to the ways between some.
fn ruin(world: &mut World, hosts: &[HostId]) {
    let [a, b, c, d, e, f] = hosts[..] else { panic!("six hosts") };
    world.net_mut().partition(&[a, b], &[c, d]);
    world.net_mut().cut_one_way(a, e);
    world.host_mut(b).pause();
    world.host_mut(c).crash(Crash::Power);
    world.host_mut(d).set_reading(false);
    world.host_mut(e).exhaust(true);
    world.net_mut().block_dials(e, a, Block::Drop);
    world.net_mut().block_dials(a, e, Block::Refuse);
    world.host_mut(f).set_consuming(false);
    let address = world.host(f).addr();
    world.net_mut().set_fate(address, Some(Fate::Hang));
    let id = world.host(e).id();
    world.node(f).disconnect(id).unwrap();
}

#[test]
fn whatever_was_done_to_it_a_mesh_that_is_healed_is_whole_within_the_bound_and_quiet() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 6);
        ruin(&mut world, &hosts);
        world.run_for(secs(1 + seed * 3));
        let bound = world.bound(&[hosts[0], hosts[1]]);
        assert_eq!(bound, ms(90_400));
        let took = world.heal_and_converge(&hosts);
        assert!(took <= world.bound(&hosts), "seed {seed}: {took:?}");
        assert!(world.is_complete());
    }
}

#[test]
fn a_core_recovers_though_everything_else_stays_as_bad_as_it_was() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 6);
        ruin(&mut world, &hosts);
        world.run_for(secs(7));
        let [a, b, c, d, ..] = hosts[..] else { unreachable!() };
        world.heal_and_converge(&[b, d]);
        assert!(world.are_linked(&[b, d]) && !world.host(a).sees(c) && !world.host(c).is_running(), "seed {seed}");
        world.heal_and_converge(&[a, b, d]);
        assert!(world.are_linked(&[a, b, d]));
    }
}

#[test]
fn nodes_that_know_no_way_to_each_other_are_introduced() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 4);
        world.heal_and_converge(&hosts);
        assert!(world.is_complete(), "seed {seed}");
    }
}

#[test]
fn a_pair_that_cannot_meet_is_found() {
    let (mut world, a, b) = pair(1);
    world.net_mut().cut(a, b);
    world.run_for(secs(10));
    let text = failure(|| _ = world.converge(&[a, b]));
    assert!(text.starts_with("L1: n0 and n1 are not linked"), "{text}");
}

#[test]
fn a_mesh_that_is_not_quiet_is_found() {
    let (mut world, a, b) = pair(2);
    world.net_mut().cut_one_way(a, b);
    let text = failure(|| world.stay_quiet(&[a, b], secs(60)));
    assert!(text.starts_with("L5: ") && text.contains("dials"), "{text}");
}

#[test]
fn a_dead_peer_has_as_long_as_the_most_patient_of_the_core_gives_it() {
    let patient = config().peer_timeout(secs(600));
    let mut world = World::new(3);
    let (a, b, c) = (world.add(config()), world.add(config()), world.add(patient));
    world.node(b).join(a).unwrap();
    world.node(c).join(a).unwrap();
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.host_mut(b).crash(Crash::Power);
    world.run_for(secs(20));
    assert!(!world.host(a).sees(b) && world.host(c).sees(b));
    world.heal_and_converge(&[a, c]);
    assert!(!world.host(c).sees(b), "it is waited for as long as its own timeout");
}

/// L4: nobody dials a dead node any more once it is forgotten.
#[test]
fn who_never_comes_back_is_forgotten_and_not_dialled_any_more() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let hosts = world.add_many(4, &config().forget_after(Some(secs(60))));
        for &host in &hosts[1..] {
            world.node(host).join(hosts[0]).unwrap();
        }
        world.expect("a complete mesh", secs(20), World::is_complete);
        let (dead, core) = hosts.split_last().unwrap();
        world.host_mut(*dead).crash(Crash::Power);
        world.heal_and_converge(core);
        let address = world.host(*dead).addr();
        assert!(world.net().dials_to(address, cluster_core::Instant::ZERO) > 0);
        let later = world.now();
        world.run_for(secs(3_600));
        assert_eq!(world.net().dials_to(address, later), 0, "seed {seed}");
    }
}

/// L7: a user that takes no messages delays only what is meant for it.
#[test]
fn a_stopped_consumer_does_not_delay_the_others_recovery_or_their_messages() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4);
        let (stopped, core) = hosts.split_last().unwrap();
        world.host_mut(*stopped).set_consuming(false);
        for &host in core {
            while world.node(host).send_numbered(*stopped, 1 << 20).is_ok() {}
        }
        world.net_mut().isolate(core[0]);
        world.run_for(secs(8));
        for &a in &core[1..] {
            for &b in core[1..].iter().filter(|&&b| b != a) {
                world.node(a).send_numbered(b, 300_000).unwrap();
            }
        }
        world.heal_and_converge(core);
        assert_eq!(world.host(*stopped).taken(), 0);
        for &a in core {
            for &b in core.iter().filter(|&&b| b != a) {
                let number = world.node(a).send_numbered(b, 1_000).unwrap();
                world.expect("it arrives", ms(50), |world| world.host(b).numbered(a) == number);
            }
        }
    }
}

#[test]
fn a_core_that_makes_no_sense_is_refused_in_words() {
    let mut world = World::new(4);
    let a = world.add(Config::insecure_plaintext());
    let b = world.add(Config::insecure_plaintext());
    let other = World::new(5).add(Config::insecure_plaintext());
    let puppet = world.add_puppet("10.0.9.9", cluster_sim::Script::default());
    let stranger = {
        let mut far = World::new(6);
        (0..9).map(|_| far.add(Config::insecure_plaintext())).last().unwrap()
    };
    assert_eq!(other, a, "hosts are numbers");
    for core in [&[a][..], &[], &[a, a], &[a, puppet], &[b, stranger]] {
        let refused = catch_unwind(AssertUnwindSafe(|| world.heal_core(core)));
        assert!(refused.is_err(), "{core:?}");
    }
    assert_eq!(world.host(a).count_events(|event| matches!(event, Event::PeerUp(_))), 0);
}
