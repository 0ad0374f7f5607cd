//! The example `node` of an adapter as a program: its command line, its commands, and what it prints.
//!
//! Part of the tests of each adapter, whose crate root names the example in `NODE`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;
#[cfg(target_os = "linux")]
use std::{
    io::{PipeReader, PipeWriter},
    time::Duration,
};

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

/// The longest that a node may take from a signal or `leave` to its end.
#[cfg(target_os = "linux")]
const LEAVES_WITHIN: Duration = Duration::from_secs(6);

/// The capacity of a pipe on Linux.
#[cfg(target_os = "linux")]
const PIPE: usize = 64 << 10;

/// All of it but one page: the reports of the start fit in, and no large message.
#[cfg(target_os = "linux")]
const NEARLY_FULL: usize = PIPE - (4 << 10);

/// More than one page, so that [`NEARLY_FULL`] and this fill a pipe.
#[cfg(target_os = "linux")]
const LARGE: usize = 100_000;

/// A node with a stream that nothing reads, beside one that is read.
#[cfg(target_os = "linux")]
struct Unread {
    alice: Process,
    bob: Child,
    /// Stays open and unread.
    reader: Option<PipeReader>,
}

#[cfg(target_os = "linux")]
impl Unread {
    /// Starts `bob` beside `alice`. `streams` connects its streams to the pipe, of which one page is empty.
    fn start(streams: impl FnOnce(&mut Command, PipeWriter)) -> Unread {
        let alice = Process::start(&["--name", "alice"]);
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(&[b'\n'; NEARLY_FULL]).expect("the pipe has room");
        let mut command = Command::new(example());
        command.args(["--listen", "127.0.0.1:0", "--insecure-plaintext", "--json", "--name", "bob"]);
        command.args(["--join", &alice.address]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        streams(&mut command, writer);
        let bob = command.spawn().expect("the example starts");
        // The command holds another end of the pipe.
        drop(command);
        assert_eq!(alice.expect("peer_up")["name"], "bob");
        Unread { alice, bob, reader: Some(reader) }
    }

    /// Sends `bob` a large message and waits until its application has taken that.
    fn send_large(&mut self) {
        self.alice.say(&format!("send bob {}", "x".repeat(LARGE)));
        let end = Instant::now() + DEADLINE;
        while self.delivered() == 0 {
            assert!(Instant::now() < end, "bob does not take the message");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn delivered(&mut self) -> u64 {
        self.alice.say("stats");
        self.alice.expect("stats")["messages_delivered"].as_u64().expect("a number")
    }

    fn stop(&mut self, how: &str) {
        if how == "leave" {
            writeln!(self.bob.stdin.as_mut().expect("stdin is piped"), "peers\nleave").expect("bob reads");
        } else {
            signal(self.bob.id(), how);
        }
    }

    /// Checks that `bob` ends in time, with a goodbye.
    fn check_end(&mut self, how: &str) {
        assert_eq!(exit_code(&mut self.bob, LEAVES_WITHIN), Some(0), "{how}");
        assert_eq!(self.alice.expect("peer_down")["reason"], "Left", "{how}");
    }

    fn stderr(&mut self) -> String {
        std::io::read_to_string(self.bob.stderr.take().expect("stderr is piped")).expect("text")
    }
}

#[cfg(target_os = "linux")]
impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.bob.kill();
        let _ = self.bob.wait();
    }
}

#[cfg(target_os = "linux")]
fn signal(id: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &id.to_string()]).status();
    assert!(status.expect("kill exists").success());
}

/// Waits for the end of a process whose output may be read by nothing.
#[cfg(target_os = "linux")]
fn exit_code(child: &mut Child, limit: Duration) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the process is our child") {
            return status.code();
        }
        assert!(begin.elapsed() < limit, "the example did not end within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn unread_output_keeps_no_node_from_leaving() {
    for how in ["leave", "INT", "TERM", "HUP"] {
        let mut pair = Unread::start(|command, pipe| {
            command.stdout(pipe).stderr(Stdio::piped());
        });
        pair.send_large();
        pair.stop(how);
        pair.check_end(how);
        let stderr = pair.stderr();
        assert!(stderr.contains("lines of output were dropped: stdout is not read"), "{how}: {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn refused_output_keeps_no_node_from_leaving() {
    for (how, reason) in [("leave", "Broken pipe"), ("TERM", "Broken pipe"), ("leave", "No space"), ("INT", "No space")]
    {
        let mut pair = Unread::start(|command, pipe| {
            command.stderr(Stdio::piped());
            if reason == "No space" {
                command.stdout(std::fs::File::create("/dev/full").expect("Linux has it"));
            } else {
                command.stdout(pipe);
            }
        });
        pair.reader = None;
        pair.send_large();
        pair.stop(how);
        pair.check_end(how);
        let stderr = pair.stderr();
        assert!(stderr.contains("lines of output were dropped") && stderr.contains(reason), "{how}: {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn unread_log_holds_up_no_node() {
    for how in ["leave", "TERM"] {
        let mut pair = Unread::start(|command, mut pipe| {
            // Not even the first line of the log finds room.
            pipe.write_all(&[b'\n'; PIPE - NEARLY_FULL]).expect("the pipe has room");
            command.env("RUST_LOG", "trace").stderr(pipe);
        });
        pair.send_large();
        pair.stop(how);
        pair.check_end(how);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn unread_output_slows_senders_and_loses_nothing() {
    let mut pair = Unread::start(|command, pipe| {
        command.stdout(pipe);
    });
    const MESSAGES: usize = 40;
    for number in 0..MESSAGES {
        pair.alice.say(&format!("send bob {number} {}", "x".repeat(LARGE)));
    }
    pair.send_large();
    std::thread::sleep(Duration::from_millis(300));
    // 1 MiB waits for the output, and a few messages were on their way there.
    let delivered = pair.delivered();
    assert!((5..MESSAGES as u64 - 5).contains(&delivered), "{delivered} of {MESSAGES} messages were taken");

    let reader = BufReader::new(pair.reader.take().expect("it was unread"));
    let lines = reader.lines().map(|line| line.expect("text")).filter(|line| !line.is_empty());
    let mut reports = lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
    let mut texts = Vec::new();
    while texts.len() < MESSAGES + 1 {
        let report = reports.next().expect("bob runs");
        if report["event"] == "message" {
            texts.push(report["text"].as_str().expect("text").to_owned());
        }
    }
    for (number, text) in texts[..MESSAGES].iter().enumerate() {
        assert!(text.len() > LARGE && text.starts_with(&format!("{number} ")), "{number}: {}", &text[..10]);
    }
    // Answers come in the order of their commands, and all of them.
    let stdin = pair.bob.stdin.as_mut().expect("stdin is piped");
    stdin.write_all("peers\nstats\nfly\n".repeat(1_000).as_bytes()).expect("bob reads");
    for number in 0..1_000 {
        let kinds: Vec<Value> = reports.by_ref().take(3).map(|report| report["event"].clone()).collect();
        assert_eq!(kinds, ["peers", "stats", "error"], "{number}");
    }
    pair.stop("leave");
    let last: Vec<Value> = reports.map(|report| report["event"].clone()).collect();
    assert_eq!((last.first(), last.last()), (Some(&"peers".into()), Some(&"left".into())));
    pair.check_end("leave");
}

#[cfg(target_os = "linux")]
#[test]
fn unread_answers_are_dropped_and_reported() {
    let mut pair = Unread::start(|command, pipe| {
        command.stdout(pipe).stderr(Stdio::piped());
    });
    let stdin = pair.bob.stdin.as_mut().expect("stdin is piped");
    // Its answers are more than the queue takes.
    stdin.write_all("peers\n".repeat(3_000).as_bytes()).expect("bob reads");
    pair.stop("leave");
    pair.check_end("leave");
    assert!(pair.stderr().contains("lines of output were dropped: stdout is not read"));
}

#[cfg(target_os = "linux")]
#[test]
fn second_signal_ends_a_leaving_node_at_once() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut pair = Unread::start(|_, _| {});
        // A message to a stopped peer keeps the node from leaving.
        pair.alice.signal("STOP");
        writeln!(pair.bob.stdin.as_mut().expect("stdin is piped"), "send alice x\nleave").expect("bob reads");
        let begin = Instant::now();
        let status = loop {
            std::thread::sleep(Duration::from_millis(300));
            signal(pair.bob.id(), name);
            std::thread::sleep(Duration::from_millis(300));
            if let Some(status) = pair.bob.try_wait().expect("the process is our child") {
                break status;
            }
            assert!(begin.elapsed() < Duration::from_secs(4), "{name}");
        };
        assert_eq!(status.code(), Some(code));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn stopped_peer_delays_the_end_by_the_leave_timeout() {
    let mut pair = Unread::start(|command, pipe| {
        command.stdout(pipe);
    });
    pair.send_large();
    pair.alice.signal("STOP");
    writeln!(pair.bob.stdin.as_mut().expect("stdin is piped"), "send alice x").expect("bob reads");
    pair.stop("TERM");
    assert_eq!(exit_code(&mut pair.bob, LEAVES_WITHIN), Some(0));
}
