//! Writes a schedule as a Rust test that calls the verbs of a world.

use std::fmt::Write as _;
use std::time::Duration;

use super::words::{duration, grouped, pace};
use super::{Profile, Schedule};
use crate::faults;
use crate::net::Buffers;

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
            let _ = writeln!(text, "    {}", faults::print(&step.op));
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
