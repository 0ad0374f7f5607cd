//! Nodes that are known from others only.

use super::*;

#[test]
fn a_candidate_is_dialled_at_every_address_that_anyone_names() {
    let mut bench = Bench::new(lan());
    let (liar, honest) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
    let list = |entries| Frame::List(List { buckets: u16::MAX, reply: false, entries });
    bench.frame(liar, list(Vec::from([entry(run(3, u64::MAX), &[50, 51, 52, 53])])));
    bench.frame(honest, list(Vec::from([entry(run(3, 1), &[3, 4])])));
    let dialled = bench.pass_alive(&[liar, honest], MINUTE * 5);
    assert!([50, 51, 52, 53, 3, 4].iter().all(|host| dialled.contains(&at(*host))), "{dialled:?}");
}

#[test]
fn a_candidate_whose_address_answers_as_another_is_dialled_elsewhere() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    let entries = Vec::from([entry(run(3, 1), &[4, 3])]);
    bench.frame(link, Frame::Announce(Announce { entries }));
    while bench.dials.is_empty() {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
    }
    let (dial, address) = bench.dials.pop().unwrap();
    assert_eq!(address, at(4));
    bench.connect(dial, run(4, 1));
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(4)), offer: offer() }));
    assert_eq!(bench.word(run(4, 1).id), ["up"]);
    assert!(bench.pass_alive(&[link, dial], MINUTE).contains(&at(3)));
}

#[test]
fn a_candidate_that_nobody_names_any_more_is_given_up_when_its_address_answers_as_another() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    let entries = Vec::from([entry(run(3, 1), &[4])]);
    bench.frame(link, Frame::Announce(Announce { entries }));
    bench.pass_alive(&[link], 2 * MINUTE);
    while bench.dials.is_empty() {
        bench.frame(link, Frame::Ping { token: 0 });
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
    }
    let (dial, address) = bench.dials.pop().unwrap();
    assert_eq!(address, at(4));
    bench.connect(dial, run(4, 1));
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(4)), offer: offer() }));
    assert_eq!(bench.pass_alive(&[link, dial], 10 * MINUTE), []);
}

#[test]
fn made_up_runs_do_not_make_us_dial_faster() {
    let mut bench = Bench::new(lan());
    let lost = bench.up(run(2, 1));
    let liar = bench.up(run(1, 1));
    bench.end(lost);
    let mut dialled = 0;
    for step in 0..600 {
        let entries = Vec::from([entry(run(2, 2 + step), &[2]), entry(run(3, step), &[3])]);
        bench.frame(liar, Frame::Announce(Announce { entries }));
        dialled += bench.pass(Duration::from_millis(100)).len();
    }
    // Two nodes, each in back-off: about nine tries in a minute.
    assert!(dialled < 40, "{dialled}");
}
