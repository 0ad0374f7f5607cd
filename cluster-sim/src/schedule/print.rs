//! Writes a schedule as a Rust test that calls the verbs of a world.

use std::fmt::Write as _;
use std::time::Duration;

use super::apply::public;
use super::{Identity, Op, Pace, Profile, Schedule, Setting};
use crate::Latency;
use crate::net::Buffers;
use crate::numbered::SHORTEST;

impl Schedule {
    /// The text of a Rust test that does what the steps do, by calling the verbs of a [`World`](crate::World), and then
    /// heals the same core. To paste; it needs only the types of this crate and `Duration`.
    #[must_use]
    pub fn to_test(&self) -> String {
        let mut text = head(self);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    let mut world = World::new({});", self.seed);
        let _ = writeln!(text, "    let profile = {};", profile(&self.profile));
        if self.profile.buffers() != Buffers::default() {
            let _ = writeln!(text, "    world.net_mut().set_buffers(profile.buffers());");
        }
        let _ = writeln!(text, "    let n = world.add_many({0}, &profile.config({0}));", self.nodes);
        if self.profile.acknowledge > 0 {
            let _ = writeln!(
                text,
                "    for &host in &n {{\n        world.host_mut(host).set_acknowledging(profile.acknowledge);\n    }}"
            );
        }
        if self.profile.seeds == 0 && self.nodes > 1 {
            let _ =
                writeln!(text, "    for &host in &n[1..] {{\n        world.node(host).join(n[0]).unwrap();\n    }}");
        }
        let mut now = Duration::ZERO;
        for step in &self.steps {
            pass(&mut text, step.at - now);
            now = step.at;
            let _ = writeln!(text, "    {}", verb(&step.op));
        }
        pass(&mut text, self.duration - now);
        if self.nodes > 1 {
            let hosts: Vec<String> = self.core().iter().map(|host| format!("n[{}]", host.index())).collect();
            let _ = writeln!(text, "    let core = [{}];\n    world.recover(&core);", hosts.join(", "));
        }
        if self.nodes > 1 && self.is_watched() {
            let _ = writeln!(text, "    world.stay_quiet(&core, {});", duration(self.quiet));
        }
        text.push_str("}\n");
        text
    }
}

/// A test that runs the schedule with whatever else the user's builder has.
pub(crate) fn test_of_builder(schedule: &Schedule) -> String {
    let mut text = head(schedule);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "    // What the seeds were checked with.\n    let builder = World::builder();");
    let _ = writeln!(text, "    let schedule = Schedule::from_json(\n        r#\"{}\"#,\n    );", schedule.to_json());
    let _ = writeln!(text, "    if let Err(failure) = builder.schedule(schedule.unwrap()).run() {{");
    let _ = writeln!(text, "        panic!(\"{{failure}}\");\n    }}\n}}");
    text
}

fn head(schedule: &Schedule) -> String {
    format!("#[test]\nfn seed_{}() {{\n", schedule.seed)
}

fn pass(text: &mut String, span: Duration) {
    if !span.is_zero() {
        let _ = writeln!(text, "    world.run_for({});", duration(span));
    }
}

fn duration(span: Duration) -> String {
    let nanos = span.as_nanos();
    let (unit, count) = match nanos {
        0 => return "Duration::ZERO".to_owned(),
        _ if nanos.is_multiple_of(1_000_000_000) => ("secs", nanos / 1_000_000_000),
        _ if nanos.is_multiple_of(1_000_000) => ("millis", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => ("micros", nanos / 1_000),
        _ => ("nanos", nanos),
    };
    format!("Duration::from_{unit}({})", grouped(count))
}

/// A number as `rustfmt` and people like it.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join("_")
}

fn profile(profile: &Profile) -> String {
    let default = Profile::default();
    let mut fields = Vec::new();
    let mut field = |name: &str, differs: bool, value: String| {
        if differs {
            fields.push(format!("{name}: {value}"));
        }
    };
    let number = |number: u64| grouped(u128::from(number));
    field("secure", profile.secure, "true".to_owned());
    field("pace", profile.pace != default.pace, pace(profile.pace));
    field("seeds", profile.seeds != default.seeds, number(u64::from(profile.seeds)));
    field("max_message", profile.max_message != default.max_message, number(profile.max_message));
    field("send_window", profile.send_window != default.send_window, number(profile.send_window));
    field("initial_window", profile.initial_window != default.initial_window, number(profile.initial_window));
    field("recv_window", profile.recv_window != default.recv_window, number(profile.recv_window));
    field("max_peers", profile.max_peers != default.max_peers, number(profile.max_peers as u64));
    field("spare_credit", profile.spare_credit != default.spare_credit, number(profile.spare_credit));
    field("buffer", profile.buffer != default.buffer, number(profile.buffer as u64));
    field("write_stall", profile.write_stall != default.write_stall, duration(profile.write_stall));
    field("forget_after", profile.forget_after != default.forget_after, duration(profile.forget_after));
    field("tombstone_ttl", profile.tombstone_ttl != default.tombstone_ttl, duration(profile.tombstone_ttl));
    field("session_ttl", profile.session_ttl != default.session_ttl, duration(profile.session_ttl));
    field("acknowledge", profile.acknowledge != default.acknowledge, number(profile.acknowledge));
    if fields.is_empty() {
        return "Profile::default()".to_owned();
    }
    format!("Profile {{ {}, ..Profile::default() }}", fields.join(", "))
}

fn pace(pace: Pace) -> String {
    format!("Pace::{pace:?}")
}

/// The call that an operation stands for.
fn verb(op: &Op) -> String {
    let list = |hosts: &[u32]| hosts.iter().map(|host| format!("n[{host}]")).collect::<Vec<_>>().join(", ");
    match op {
        Op::Latency { latency } => format!("world.net_mut().set_latency({});", shape(*latency)),
        Op::LatencyFrom { from, to, latency } => {
            format!("world.net_mut().set_latency_from(n[{from}], n[{to}], {});", shape(*latency))
        }
        Op::Bandwidth { from, to, bytes_per_second } => {
            let rate =
                bytes_per_second.map_or_else(|| "None".to_owned(), |rate| format!("Some({})", grouped(rate.into())));
            format!("world.net_mut().set_bandwidth_from(n[{from}], n[{to}], {rate});")
        }
        Op::Clog { from, to, open, shut } => {
            format!("world.net_mut().clog(n[{from}], n[{to}], {}, {});", duration(*open), duration(*shut))
        }
        Op::Cut { a, b } => format!("world.net_mut().cut(n[{a}], n[{b}]);"),
        Op::CutOneWay { from, to } => format!("world.net_mut().cut_one_way(n[{from}], n[{to}]);"),
        Op::Partition { one, other } => format!("world.net_mut().partition(&[{}], &[{}]);", list(one), list(other)),
        Op::Isolate { host } => format!("world.net_mut().isolate(n[{host}]);"),
        Op::Heal { a, b } => format!("world.net_mut().heal(n[{a}], n[{b}]);"),
        Op::HealAll => "world.net_mut().heal_all();".to_owned(),
        Op::BlockDials { from, to, how } => format!("world.net_mut().block_dials(n[{from}], n[{to}], Block::{how:?});"),
        Op::AllowDials { from, to } => format!("world.net_mut().allow_dials(n[{from}], n[{to}]);"),
        Op::DialFate { host, fate } => {
            let fate = fate.map_or_else(|| "None".to_owned(), |fate| format!("Some(Fate::{fate:?})"));
            format!("let address = world.host(n[{host}]).addr();\n    world.net_mut().set_fate(address, {fate});")
        }
        Op::Reset { a, b } => format!("world.net_mut().reset_connections(n[{a}], n[{b}]);"),
        Op::ResetOneSide { at, peer } => format!("world.net_mut().reset_one_side(n[{at}], n[{peer}]);"),
        Op::HalfOpen { at, peer } => format!("world.net_mut().half_open(n[{at}], n[{peer}]);"),
        Op::Sever { a, b } => format!("world.net_mut().sever_connections(n[{a}], n[{b}]);"),
        Op::Crash { host, how } => format!("world.host_mut(n[{host}]).crash(Crash::{how:?});"),
        Op::Restart { host, identity, moved } => restart(*host, *identity, *moved),
        Op::Renumber { host } => format!("world.host_mut(n[{host}]).renumber();"),
        Op::Pause { host } => format!("world.host_mut(n[{host}]).pause();"),
        Op::Resume { host } => format!("world.host_mut(n[{host}]).resume();"),
        Op::Late { host, up_to } => format!("world.host_mut(n[{host}]).set_late({});", duration(*up_to)),
        Op::Drift { host, ppm } => format!("world.host_mut(n[{host}]).set_drift({ppm});"),
        Op::ClockForward { host, by } => format!("world.host_mut(n[{host}]).clock_forward({});", duration(*by)),
        Op::ClockBack { host, by } => format!("world.host_mut(n[{host}]).clock_back({});", duration(*by)),
        Op::ClockStop { host, stopped } => format!("world.host_mut(n[{host}]).clock_stop({stopped});"),
        Op::Consuming { host, consuming } => format!("world.host_mut(n[{host}]).set_consuming({consuming});"),
        Op::Consume { host, count } => format!("world.host_mut(n[{host}]).consume({count});"),
        Op::ConsumeInBursts { host, count, every } => {
            format!("world.host_mut(n[{host}]).consume_in_bursts({count}, {});", duration(*every))
        }
        Op::Reading { host, reading } => format!("world.host_mut(n[{host}]).set_reading({reading});"),
        Op::Read { host, bytes } => format!("world.host_mut(n[{host}]).read({bytes});"),
        Op::Exhaust { host, exhausted } => format!("world.host_mut(n[{host}]).exhaust({exhausted});"),
        Op::Outsider { attack, tempo } => {
            format!("world.add_outsider(&[Attack::{attack:?}], Tempo::{tempo:?});")
        }
        Op::Insider { abuse, tempo } => format!("world.add_insider(&[Abuse::{abuse:?}], Tempo::{tempo:?});"),
        _ => user_verb(op),
    }
}

fn shape(latency: Latency) -> String {
    match latency {
        Latency::Constant(base) => duration(base),
        Latency::Uniform { base, jitter } => {
            format!("Latency::Uniform {{ base: {}, jitter: {} }}", duration(base), duration(jitter))
        }
        Latency::LongTail { base, half, cap } => {
            let (base, half, cap) = (duration(base), duration(half), duration(cap));
            format!("Latency::LongTail {{ base: {base}, half: {half}, cap: {cap} }}")
        }
        Latency::Spikes { base, jitter, one_in, spike } => {
            let (base, jitter, spike) = (duration(base), duration(jitter), duration(spike));
            format!("Latency::Spikes {{ base: {base}, jitter: {jitter}, one_in: {one_in}, spike: {spike} }}")
        }
    }
}

/// A call with what it needs from the world: a handle to a host leaves no room for another.
fn restart(host: u32, identity: Identity, moved: bool) -> String {
    let moved = if moved { ".moved()" } else { "" };
    let run = |of: u32| format!("let run = world.host(n[{of}]).run();\n    ");
    let (before, how) = match identity {
        Identity::Same => (String::new(), String::new()),
        Identity::New => (String::new(), ".new_id()".to_owned()),
        Identity::Twin { of, run: twin } => (run(of), format!(".twin(run, Twin::{twin:?})")),
        Identity::Stale => (run(host), ".incarnation(run.incarnation.0 - 10_000_000)".to_owned()),
    };
    format!("{before}world.host_mut(n[{host}]).restart(Restart::default(){moved}{how});")
}

/// The verbs of nodes. What they return is no matter.
fn user_verb(op: &Op) -> String {
    match op {
        Op::Leave { host, timeout } => format!("world.node(n[{host}]).leave({});", duration(*timeout)),
        Op::Disconnect { host, peer } => {
            format!("let id = world.host(n[{peer}]).id();\n    let _ = world.node(n[{host}]).disconnect(id);")
        }
        Op::Join { host, to } => format!("let _ = world.node(n[{host}]).join(n[{to}]);"),
        Op::JoinThrough { host, to } => {
            let inner = format!("let inner = world.host(n[{to}]).addr();");
            let public = format!("let public = world.net_mut().forward(\"{}\", inner);", public(*to));
            format!("{inner}\n    {public}\n    let _ = world.node(n[{host}]).join(public);")
        }
        Op::AddSeed { host, to } => format!("let _ = world.node(n[{host}]).add_seed(n[{to}]);"),
        Op::Forget { host } => format!("world.node(n[{host}]).forget_lost();"),
        Op::SetConfig { host, setting } => {
            let change = match setting {
                Setting::Metadata(length) => format!("config.metadata(vec![0; {length}])"),
                Setting::Pace(of) => format!("{}.of(config)", pace(*of)),
            };
            format!(
                "let config = world.node(n[{host}]).config();\n    let _ = world.node(n[{host}]).set_config({change});"
            )
        }
        Op::Send { from, to, length, count } if *length < SHORTEST as u64 => {
            let id = format!("let id = world.host(n[{to}]).id();");
            let send = format!("let _ = world.node(n[{from}]).send(id, vec![0; {length}]);");
            format!("{id}\n    {}", repeated(*count, &send))
        }
        Op::Send { from, to, length, count } => {
            let length = grouped(u128::from(*length));
            repeated(*count, &format!("let _ = world.node(n[{from}]).send_numbered(n[{to}], {length});"))
        }
        Op::Broadcast { from, length } => {
            format!("let _ = world.node(n[{from}]).broadcast(vec![0; {}]);", grouped(u128::from(*length)))
        }
        Op::Flush { from, to } => {
            format!("let id = world.host(n[{to}]).id();\n    let _ = world.node(n[{from}]).flush(id);")
        }
        _ => String::new(),
    }
}

fn repeated(count: u32, line: &str) -> String {
    if count == 1 { line.to_owned() } else { format!("for _ in 0..{count} {{\n        {line}\n    }}") }
}
