use super::*;
use std::time::Duration;

use cluster_core::Config;

use crate::{Cause, Crash, Fault, Faults, HostId, Rate, Restart, Swarm, World, check_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// Greets everyone once a second, and remembers what it was told.
#[derive(Debug, Default)]
struct Greeter {
    /// Which life of its host this is.
    life: u64,
    greeted: Vec<cluster_core::Instant>,
    heard: u64,
    ups: usize,
    downs: usize,
    writable: usize,
}

impl Greeter {
    fn start(ctx: &mut Ctx<'_>) -> Greeter {
        let life = ctx.disk().read_u64("lives").unwrap_or(0) + 1;
        ctx.disk().write_u64("lives", life);
        ctx.set_timer(1, SECOND);
        let drawn = ctx.draw(1_000_000);
        ctx.log(format!("life {life}, drawn {drawn}"));
        Greeter { life, ..Greeter::default() }
    }
}

impl App for Greeter {
    fn on_event(&mut self, ctx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::PeerUp(info) => {
                assert_eq!(ctx.peer(info.run.id).map(|peer| peer.run), Some(info.run));
                self.ups += 1;
            }
            Event::PeerDown { .. } => self.downs += 1,
            _ => {}
        }
    }

    fn on_message(&mut self, _: &mut Ctx<'_>, message: Message) {
        assert!(message.payload.starts_with(b"hello"));
        self.heard += 1;
    }

    fn on_timer(&mut self, ctx: &mut Ctx<'_>, key: u64) {
        self.greeted.push(ctx.now());
        let _ = ctx.broadcast("hello");
        ctx.set_timer(key, SECOND);
    }

    fn on_writable(&mut self, _: &mut Ctx<'_>, _: NodeId) {
        self.writable += 1;
    }
}

fn mesh(nodes: u32) -> (World, Vec<HostId>) {
    let mut world = World::builder().seed(3).nodes(nodes).app(Greeter::start).build().unwrap();
    world.expect("a mesh", 5 * SECOND, World::is_complete);
    let hosts = world.hosts().collect();
    (world, hosts)
}

#[test]
fn an_app_is_told_events_and_messages_and_has_timers() {
    let (mut world, hosts) = mesh(3);
    world.run_for(10 * SECOND);
    for &host in &hosts {
        let greeter: &Greeter = world.host(host).app();
        assert_eq!((greeter.ups, greeter.downs), (2, 0));
        let pauses = greeter.greeted.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(greeter.greeted.len() >= 10 && pauses.clone().all(|pause| pause == SECOND), "{greeter:?}");
        assert!(greeter.heard >= 18, "{greeter:?}");
        assert_eq!(greeter.heard, world.host(host).taken());
    }
    assert!(world.dump(10_000).contains("life 1, drawn"));
}

#[test]
fn a_crash_loses_an_app_and_what_it_wrote_to_disk_is_found_by_the_next_one() {
    let (mut world, hosts) = mesh(2);
    world.run_for(5 * SECOND);
    world.host_mut(hosts[1]).crash(Crash::Power);
    assert_eq!(world.apps::<Greeter>().map(|(host, _)| host).collect::<Vec<_>>(), [hosts[0]]);
    world.host_mut(hosts[1]).restart(Restart::default());
    let greeter: &Greeter = world.host(hosts[1]).app();
    assert_eq!((greeter.life, greeter.heard), (2, 0));
    assert_eq!(world.host(hosts[1]).disk().read_u64("lives"), Some(2));
    world.expect("a mesh", 60 * SECOND, World::is_complete);
    assert_eq!(world.host(hosts[0]).app::<Greeter>().downs, 1);
}

#[test]
fn an_app_that_is_paused_is_told_nothing_and_its_timer_comes_late_once() {
    let (mut world, hosts) = mesh(2);
    world.run_for(SECOND);
    let before = world.host(hosts[0]).app::<Greeter>().greeted.len();
    let heard = world.host(hosts[0]).app::<Greeter>().heard;
    world.host_mut(hosts[0]).pause();
    world.run_for(4 * SECOND);
    assert_eq!(world.host(hosts[0]).app::<Greeter>().greeted.len(), before);
    assert_eq!(world.host(hosts[0]).app::<Greeter>().heard, heard);
    world.host_mut(hosts[0]).resume();
    assert_eq!(world.host(hosts[0]).app::<Greeter>().greeted.len(), before + 1);
    assert!(world.host(hosts[0]).app::<Greeter>().heard >= heard + 3);
}

#[test]
fn a_slow_user_is_given_no_messages() {
    let (mut world, hosts) = mesh(2);
    world.host_mut(hosts[0]).set_consuming(false);
    let heard = world.host(hosts[0]).app::<Greeter>().heard;
    world.run_for(5 * SECOND);
    assert_eq!(world.host(hosts[0]).app::<Greeter>().heard, heard);
    world.host_mut(hosts[0]).set_consuming(true);
    assert!(world.host(hosts[0]).app::<Greeter>().heard >= heard + 4);
}

#[test]
fn an_app_that_found_no_room_is_told_when_there_is_some() {
    let (mut world, hosts) = mesh(2);
    let peer = world.host(hosts[1]).id();
    let long = [b"hello".to_vec(), vec![0; 1 << 20]].concat();
    let (full, before) = world.host_mut(hosts[0]).with_app(|greeter: &mut Greeter, ctx| {
        let full = (0..100).any(|_| ctx.send(peer, long.clone()).is_err());
        (full, greeter.writable)
    });
    assert_eq!((full, before), (true, 0));
    world.expect("room", 5 * SECOND, |world| world.host(hosts[0]).app::<Greeter>().writable > 0);
}

#[test]
fn a_client_can_ask_an_app_for_something() {
    let (mut world, hosts) = mesh(2);
    let heard = world.host(hosts[1]).app::<Greeter>().heard;
    let sent = world.host_mut(hosts[0]).with_app(|greeter: &mut Greeter, ctx| {
        greeter.greeted.clear();
        ctx.cancel_timer(1);
        ctx.broadcast("hello").unwrap().queued.len()
    });
    world.run_for(5 * SECOND);
    assert_eq!((sent, world.host(hosts[0]).app::<Greeter>().greeted.len()), (1, 0));
    assert_eq!(world.host(hosts[1]).app::<Greeter>().heard, heard + 1);
}

#[test]
fn an_app_can_be_set_in_a_world_made_by_hand() {
    let mut world = World::new(1);
    let plain = world.add(Config::insecure_plaintext());
    world.set_app(Greeter::start);
    let host = world.add(Config::insecure_plaintext());
    assert_eq!(world.apps::<Greeter>().map(|(host, _)| host).collect::<Vec<_>>(), [host]);
    world.node(plain).join(host).unwrap();
    world.expect("it greets", 5 * SECOND, |world| world.host(plain).taken() == 3);
}

#[test]
fn equal_seeds_are_equal_runs_of_an_app_under_faults() {
    let builder = |seed| World::builder().seed(seed).random_faults().app(Greeter::start);
    let hash = |seed| builder(seed).run().map(|summary| summary.hash).unwrap();
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), World::builder().seed(5).random_faults().run().unwrap().hash);
    check_seeds(0..20, builder);
}

#[test]
fn each_process_draws_from_a_stream_of_its_own() {
    let (mut world, hosts) = mesh(2);
    let draw = |world: &mut World, host| world.host_mut(host).with_app(|_: &mut Greeter, ctx| ctx.draw(u64::MAX));
    let (first, other) = (draw(&mut world, hosts[0]), draw(&mut world, hosts[1]));
    world.host_mut(hosts[0]).crash(Crash::Kill);
    world.host_mut(hosts[0]).restart(Restart::default());
    let again = draw(&mut world, hosts[0]);
    assert!(first != other && first != again);
}

/// Panics when it sees a peer go.
struct Fragile;

impl App for Fragile {
    fn on_event(&mut self, _: &mut Ctx<'_>, event: Event) {
        assert!(!matches!(event, Event::PeerDown { .. }), "a peer is gone");
    }
}

#[test]
fn a_panic_of_an_app_is_told_with_its_seed_and_a_short_schedule() {
    let faults = Faults::none().with(Fault::Crash, Rate::HIGH).with(Fault::Cut, Rate::HIGH);
    let builder = |_| World::builder().faults(faults.clone()).app(|_| Fragile);
    let failure = Swarm::new(7..9).run(builder).unwrap_err();
    let shown = failure.to_string();
    assert!(shown.starts_with("seed 7 fails: panicked at") && shown.contains("a peer is gone"), "{shown}");
    assert!(failure.schedule.steps.len() <= 2, "{shown}");
    let Cause::Panic(words) = &failure.cause else { panic!("{shown}") };
    assert!(words.contains("app/tests.rs"), "{words}");
    assert!(failure.test.contains("World::builder()"), "an app is no part of a schedule: {shown}");
}

#[test]
fn a_panic_of_the_factory_is_told_with_its_seed() {
    let builder = World::builder().seed(9).app(|ctx| {
        assert!(ctx.host().index() < 2, "no room on {}", ctx.host());
        Fragile
    });
    let shown = builder.run().unwrap_err().to_string();
    assert!(shown.starts_with("seed 9 fails: panicked at") && shown.contains("no room on n2"), "{shown}");
}

#[test]
fn time_passes_between_two_timers() {
    struct Restless;
    impl App for Restless {
        fn on_timer(&mut self, ctx: &mut Ctx<'_>, key: u64) {
            ctx.set_timer(key, Duration::ZERO);
        }
    }
    let builder = World::builder().nodes(1).app(|ctx| {
        ctx.set_timer(0, Duration::ZERO);
        Restless
    });
    let mut world = builder.build().unwrap();
    let before = world.steps();
    world.run_for(Duration::from_millis(1));
    assert!(world.steps() - before >= 1_000);
}

#[test]
#[should_panic = "no cluster_sim::app::tests::Fragile runs on n0"]
fn an_app_of_another_type_is_not_there() {
    let (world, hosts) = mesh(1);
    let _: &Fragile = world.host(hosts[0]).app();
}
