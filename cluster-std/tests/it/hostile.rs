//! A peer that blocks the thread that writes to it.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use cluster_std::{Limits, Reason};

use crate::world::{DEADLINE, bind_with, local, until_down};

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_nothing_hangs() {
    // It says hello and then reads no more: the socket fills, and the writer waits in it.
    let mut limits = Limits::default();
    (limits.max_peers, limits.send_window) = (2, 64 << 20);
    (limits.initial_window, limits.recv_window) = (64 << 20, 64 << 20);
    let config = local().limits(limits).heartbeat(Duration::from_secs(60)).peer_timeout(Duration::from_secs(120));
    let bob = bind_with(config.clone());
    let alice = bind_with(config.write_stall(Duration::from_millis(500)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = bob.local_addr();
    thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        let far = TcpStream::connect(target).unwrap();
        let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut (&near).take(4_096), &mut &far);
        // Answers go on; what comes is not read any more.
        thread::sleep(DEADLINE);
    });
    alice.join(address).unwrap();
    let mut events = alice.events();
    for _ in 0..60 {
        alice.try_send(bob.id(), vec![0; 1 << 20]).unwrap();
    }
    assert_eq!(until_down(&mut events, bob.id()), Reason::WriteStalled);
    alice.leave_within(Duration::ZERO);
}
