//! A name server that never answers: the system retries for minutes, in calls that nothing can end. A signal must end the
//! process all the same.

use std::time::Duration;

use crate::lab::{Host, Lab, NAME_SERVER};
use crate::process::Process;
use crate::program::Program;

/// The longest that a node may take from a signal or `leave` to its end.
const LEAVES_WITHIN: Duration = Duration::from_secs(6);

on_every_node!(unanswered_look_ups_keep_no_node_from_leaving, signal_ends_a_process_that_looks_up_its_own_address,);

/// A host whose look-ups take longer than any test.
fn host_without_answers(lab: &mut Lab) -> Host {
    let host = lab.host();
    host.silence_name_server();
    host
}

fn unanswered_look_ups_keep_no_node_from_leaving(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let mut alice = Process::start(program, &lab.host(), "alice", &[]);
    let lonely = host_without_answers(&mut lab);
    for how in ["leave", "TERM", "INT"] {
        let names = ["--join", "one.cluster.test:7000", "--seed", "two.cluster.test:7000", "--join", &alice.address];
        let mut bob = Process::start(program, &lonely, "bob", &names);
        bob.say("join three.cluster.test:7000");
        assert_eq!(alice.expect("peer_up")["name"], "bob");
        if how == "leave" {
            bob.say("leave");
        } else {
            bob.signal(how);
        }
        assert_eq!(bob.exit_within(LEAVES_WITHIN).code(), Some(0), "{how}");
        assert_eq!(alice.expect("peer_down")["reason"], "Left", "{how}");
    }
}

fn signal_ends_a_process_that_looks_up_its_own_address(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let lonely = host_without_answers(&mut lab);
    for own in ["--listen", "--advertise"] {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let listen = if own == "--listen" { "own.cluster.test:7000" } else { "127.0.0.1:7000" };
            let mut arguments = vec!["--listen", listen, "--secret", crate::process::SECRET];
            if own == "--advertise" {
                arguments.extend(["--advertise", "own.cluster.test:7000"]);
            }
            let mut bob = Process::spawn(program, &lonely, "bob", &arguments);
            bob.await_question(NAME_SERVER);
            bob.signal(signal);
            assert_eq!(bob.exit_within(LEAVES_WITHIN).code(), Some(code), "{own} {signal}");
        }
    }
}
