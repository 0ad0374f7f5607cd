//! The example `node` of an adapter as a program: its command line, its commands, and what it prints.
//!
//! Part of the tests of each adapter, whose crate root names the example in `NODE`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::Value;

use crate::world::DEADLINE;

/// The example, which `cargo test` builds beside this test, in target/<profile>/examples.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("the test is a file");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/it");
    let path = profile.join("examples").join(format!("{}{}", crate::NODE, std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path
}

/// A running example with `--json`.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    id: String,
    address: String,
}

impl Process {
    fn start(args: &[&str]) -> Process {
        let mut command = Command::new(example());
        command.args(["--listen", "127.0.0.1:0", "--insecure-plaintext", "--json"]).args(args);
        Process::spawn(command)
    }

    fn spawn(mut command: Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the example starts");
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let object = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                if sender.send(object).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut process = Process { child, stdin, lines, id: String::new(), address: String::new() };
        let listening = process.expect("listening");
        process.id = listening["id"].as_str().expect("an id").into();
        process.address = listening["address"].as_str().expect("an address").into();
        process
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin is open"), "{line}").expect("the example reads");
    }

    /// The next report of this kind; others are skipped.
    fn expect(&self, event: &str) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let object = self.lines.recv_timeout(left).unwrap_or_else(|error| panic!("no {event}: {error}"));
            if object["event"] == event {
                return object;
            }
        }
    }

    fn exit(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        // Whoever has exited says nothing more.
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("it is our child"),
                Err(RecvTimeoutError::Timeout) => panic!("the example does not exit"),
            }
        }
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill exists").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_nodes_meet_talk_and_part() {
    let mut alice = Process::start(&["--name", "alice"]);
    let mut bob = Process::start(&["--name", "bob", "--join", &alice.address]);
    let up = alice.expect("peer_up");
    assert_eq!((&up["id"], &up["name"], &up["address"]), (&bob.id[..].into(), &"bob".into(), &bob.address[..].into()));
    assert_eq!(bob.expect("peer_up")["id"], alice.id[..]);

    let prefix = bob.id[..8].to_owned();
    for (to, text) in [("bob", "by name"), (&bob.id.clone(), "by id"), (&prefix, "by prefix, with  spaces")] {
        alice.say(&format!("send {to} {text}"));
        let message = bob.expect("message");
        assert_eq!(message["from"], alice.id[..]);
        assert_eq!(message["name"], "alice");
        assert_eq!(message["text"], text);
    }
    bob.say("broadcast to all");
    assert_eq!(alice.expect("message")["text"], "to all");

    alice.say("peers");
    let peers = alice.expect("peers");
    assert_eq!(peers["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(peers["peers"][0]["name"], "bob");
    assert_eq!(peers["peers"][0]["state"], "up");
    alice.say("stats");
    assert_eq!(alice.expect("stats")["messages_sent"], 3);

    bob.say("leave");
    assert!(bob.expect("left")["undelivered"] == 0);
    assert_eq!(bob.exit().code(), Some(0));
    let down = alice.expect("peer_down");
    assert_eq!((&down["reason"], &down["transient"]), (&"Left".into(), &false.into()));
    assert_eq!(down["name"], "bob");
}

#[cfg(unix)]
#[test]
fn keys_are_made_and_only_those_who_have_them_are_let_in() {
    let directory = std::env::temp_dir().join(format!("cluster-node-keys-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = |name: &str| directory.join(name).to_str().expect("text").to_owned();
    let keygen = |args: &[&str]| {
        let output = Command::new(example()).arg("keygen").args(args).output().expect("the example starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    assert_eq!(keygen(&["--secret-file", &path("secret")]), "");
    let id = keygen(&["--identity", &path("alice")]);
    let other = keygen(&[]);
    assert_eq!(other.len(), 64);

    let start = |args: &[&str]| {
        let mut command = Command::new(example());
        command.args(["--listen", "127.0.0.1:0", "--json"]).args(args);
        Process::spawn(command)
    };
    let secret = path("secret");
    let alice = start(&["--secret-file", &secret, "--identity", &path("alice")]);
    assert_eq!(alice.id, id);
    let bob = start(&["--secret-file", &secret, "--allow", &id, "--join", &alice.address]);
    assert_eq!(bob.expect("peer_up")["id"], id[..]);
    assert_eq!(alice.expect("peer_up")["id"], bob.id[..]);
    // It has the secret, but is not on the list.
    let carol = start(&["--secret-file", &secret, "--join", &bob.address]);
    let stranger = start(&["--secret", &other, "--join", &alice.address]);
    carol.expect("join_failed");
    stranger.expect("join_failed");
    std::fs::remove_dir_all(directory).expect("it is ours");
}

#[test]
fn a_bad_command_is_an_error_and_the_node_goes_on() {
    let mut node = Process::start(&[]);
    for (line, word) in [
        ("fly", "fly"),
        ("send", "PEER"),
        ("send nobody hello", "nobody"),
        ("join nowhere", "port"),
        ("join 127.0.0.1:1 127.0.0.1:2", "only"),
        ("disconnect", "PEER"),
        ("disconnect ffffffffffffffffffffffffffffffff", "ffff"),
        ("broadcast", "TEXT"),
        ("peers now", "alone"),
        ("\u{1F980} \u{0}", "unknown"),
    ] {
        node.say(line);
        let message = node.expect("error")["message"].as_str().expect("a text").to_owned();
        assert!(message.contains(word), "{line}: {message}");
    }
    node.say("");
    node.say("join 127.0.0.1:1");
    let failed = node.expect("join_failed");
    assert_eq!(failed["address"], "127.0.0.1:1");
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("Refused")), "{failed}");
    node.say("peers");
    assert_eq!(node.expect("peers")["peers"], Value::Array(Vec::new()));
}

#[test]
fn the_end_of_input_keeps_the_node_running() {
    let mut alice = Process::start(&[]);
    alice.say("peers");
    alice.stdin = None;
    // What was said before the end is still heard.
    alice.expect("peers");
    let bob = Process::start(&["--seed", &alice.address]);
    assert_eq!(alice.expect("peer_up")["id"], bob.id[..]);
}

#[cfg(unix)]
#[test]
fn signals_leave_gracefully() {
    for name in ["INT", "TERM"] {
        let alice = Process::start(&[]);
        let mut bob = Process::start(&["--join", &alice.address]);
        bob.expect("peer_up");
        bob.signal(name);
        bob.expect("left");
        assert_eq!(bob.exit().code(), Some(0), "{name}");
        assert_eq!(alice.expect("peer_down")["reason"], "Left", "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_killed_node_is_reported_as_lost_and_a_disconnected_one_as_removed() {
    let mut alice = Process::start(&[]);
    let mut bob = Process::start(&["--join", &alice.address]);
    let mut carol = Process::start(&["--join", &alice.address, "--name", "carol"]);
    alice.expect("peer_up");
    alice.expect("peer_up");
    bob.signal("KILL");
    assert!(!bob.exit().success());
    let down = alice.expect("peer_down");
    assert_eq!((&down["id"], &down["transient"]), (&bob.id[..].into(), &true.into()));
    alice.say("peers");
    let peers = alice.expect("peers");
    let lost = peers["peers"].as_array().expect("a list").iter().find(|peer| peer["id"] == bob.id[..]);
    assert_eq!(lost.expect("bob is listed")["state"], "lost");

    alice.say("disconnect carol");
    assert_eq!(alice.expect("peer_down")["reason"], "LocalDisconnect");
    let removed = std::iter::repeat_with(|| carol.expect("peer_down")).find(|down| down["id"] == alice.id[..]);
    assert_eq!(removed.expect("it comes")["reason"], "Removed");
    carol.say("leave");
    assert_eq!(carol.exit().code(), Some(0));
}

#[test]
fn the_command_line_explains_itself_and_its_errors() {
    let run = |args: &[&str]| Command::new(example()).args(args).output().expect("the example starts");
    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).expect("text");
    for word in ["--listen HOST:PORT", "--insecure-plaintext", "broadcast TEXT"] {
        assert!(text.contains(word), "{word}");
    }
    assert!(text.lines().all(|line| line.len() <= 80));
    for (args, word) in [
        (&[][..], "--listen"),
        (&["--listen", "127.0.0.1:0"], "--insecure-plaintext"),
        (&["--listen"], "--listen"),
        (&["--fly"], "--fly"),
        (&["--join", "nowhere"], "port"),
        (&["--name", "two words"], "name"),
        (&["stray"], "stray"),
        (&["--listen", "127.0.0.1:0", "--secret", "00"], "secret"),
        (&["--listen", "127.0.0.1:0", "--secret-file", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["--listen", "0.0.0.0:0", "--insecure-plaintext"], "secret"),
        (&["--listen", "127.0.0.1:0", "--insecure-plaintext", "--allow", "00"], "--allow"),
        (&["--listen", "256.0.0.1:0", "--insecure-plaintext"], "256.0.0.1:0"),
    ] {
        let output = run(args);
        assert!(!output.status.success(), "{args:?}");
        assert!(output.stdout.is_empty());
        let error = String::from_utf8(output.stderr).expect("text");
        assert!(error.contains(word), "{args:?}: {error}");
    }
}

#[test]
fn a_node_without_a_secret_that_others_can_reach_says_so_whatever_is_logged() {
    let warning = |args: &[&str]| {
        let mut command = Command::new(example());
        command.args(args).env("RUST_LOG", "off").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the example starts");
        writeln!(child.stdin.take().expect("it is piped"), "leave").expect("the example reads");
        let output = child.wait_with_output().expect("it is our child");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let everywhere = warning(&["--listen", "0.0.0.0:0", "--insecure-plaintext", "--beyond-loopback"]);
    assert!(everywhere.contains("WARNING: no secret at 0.0.0.0:"), "{everywhere}");
    for quiet in [
        &["--listen", "127.0.0.1:0", "--insecure-plaintext"][..],
        &["--listen", "127.0.0.1:0", "--insecure-plaintext", "--beyond-loopback"],
        &["--listen", "0.0.0.0:0", "--secret", &"7a".repeat(32)],
    ] {
        assert_eq!(warning(quiet), "", "{quiet:?}");
    }
}

/// With no descriptor left for another connection the node neither spins nor gives up accepting.
#[cfg(target_os = "linux")]
#[test]
fn a_full_descriptor_table_pauses_accepting() {
    let mut command = Command::new("sh");
    let script = r#"ulimit -n 20; exec "$0" --listen 127.0.0.1:0 --insecure-plaintext --json"#;
    command.arg("-c").arg(script).arg(example());
    let node = Process::spawn(command);
    let mut silent: Vec<_> =
        (0..40).map(|_| std::net::TcpStream::connect(&node.address).expect("the backlog takes it")).collect();
    let (before, begin) = (processor_ticks(node.child.id()), Instant::now());
    // The first is given up when its handshake has taken too long. Up to then others wait for a descriptor.
    silent[0].set_read_timeout(Some(DEADLINE)).expect("a socket option");
    let _ = std::io::Read::read_to_end(&mut silent[0], &mut Vec::new());
    let (used, took) = (processor_ticks(node.child.id()) - before, begin.elapsed());
    assert!(took < DEADLINE, "nobody is given up");
    // A spinning task would use about all of these hundredths of a second.
    assert!(10 * u128::from(used) < took.as_millis() * 3 / 10, "{used} ticks in {took:?}");
    drop(silent);
    let peer = Process::start(&["--seed", &node.address]);
    assert_eq!(node.expect("peer_up")["id"], peer.id[..]);
}

/// User and system time of a process, in ticks of usually 10 ms.
#[cfg(target_os = "linux")]
fn processor_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process lives");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12].iter().map(|index| fields[*index].parse::<u64>().expect("a number")).sum()
}
