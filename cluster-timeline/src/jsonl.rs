//! A timeline as lines of JSON.

use std::io::{self, Write};

use cluster_core::Instant;
use serde_json::{Value, json};

use crate::record::HostId;
use crate::timeline::{Lane, Timeline};

impl Timeline {
    /// Writes the timeline as JSON, one object a line, ordered by time.
    ///
    /// Times are nanoseconds since the world began, hosts are names, and `null` stands for what does not exist or has
    /// not happened. The first line has `"type": "run"` and says what the file is: `version` (1), `seed` and `hash`
    /// (texts), `begin`, `end`, `hosts` (each with `name` and `address`) and `hidden` (how many of the oldest entries
    /// are missing, by list). Each other line has `at` and one of these types:
    ///
    /// | `type` | fields besides `at` |
    /// |---|---|
    /// | `state` | `host`, `state`, `run`, `until` |
    /// | `fault` | `host`, `to`, `kind`, `until` |
    /// | `peer` | `host`, `peer`, `run`, `state` (`up` or `lost`), `until`, `ended` (why) |
    /// | `link` | `host`, `peer`, `link`, `connection`, `outbound`, `remote`, `connected`, `granted`, `ended`, `reason` |
    /// | `message` | `from`, `to`, `bytes`, `sent`, `taken`, `given_up` |
    /// | `frame` | `from`, `to`, `kind`, `connection`, `sent`, `got`, `text` |
    /// | `note` | `host`, `peer`, `kind`, `text` |
    /// | `mesh` | `nodes`, `seen`, `stale`, `whole` |
    /// | `split` | `until`, `islands`, `text` |
    /// | `violation` | `host`, `text` |
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_jsonl(&self, mut out: impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.run_line())?;
        let mut lines: Vec<(Instant, Value)> = self.span_lines();
        lines.extend(self.path_lines());
        lines.extend(self.moment_lines());
        lines.sort_by_key(|(at, _)| *at);
        for (at, mut line) in lines {
            line["at"] = json!(at.as_nanos());
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn run_line(&self) -> Value {
        let host = |lane: &Lane| json!({ "name": lane.name, "address": lane.address.to_string() });
        json!({
            "type": "run",
            "version": 1,
            "seed": self.seed.to_string(),
            "hash": self.hash.to_string(),
            "begin": self.begin.as_nanos(),
            "end": self.end.as_nanos(),
            "hosts": self.hosts.iter().map(host).collect::<Vec<_>>(),
            "hidden": {
                "spans": self.hidden.spans,
                "messages": self.hidden.messages,
                "frames": self.hidden.frames,
                "heartbeats": self.hidden.heartbeats,
                "notes": self.hidden.notes,
            },
        })
    }

    fn span_lines(&self) -> Vec<(Instant, Value)> {
        let states = self.states.iter().map(|span| {
            let run = span.run.map(|run| run.to_string());
            let (host, state) = (name(Some(span.host)), span.state.name());
            (
                span.from,
                json!({ "type": "state", "host": host, "state": state, "run": run, "until": nanos(span.until) }),
            )
        });
        let faults = self.faults.iter().map(|span| {
            let (host, to) = (name(Some(span.host)), name(span.to));
            let kind = span.kind.name();
            (span.from, json!({ "type": "fault", "host": host, "to": to, "kind": kind, "until": nanos(span.until) }))
        });
        let peers = self.peers.iter().map(|span| {
            let line = json!({
                "type": "peer",
                "host": name(Some(span.host)),
                "peer": name(span.peer),
                "run": span.run.to_string(),
                "state": if span.state == cluster_core::PeerState::Up { "up" } else { "lost" },
                "until": nanos(span.until),
                "ended": span.ended,
            });
            (span.from, line)
        });
        let links = self.links.iter().map(|span| {
            let line = json!({
                "type": "link",
                "host": name(Some(span.host)),
                "peer": name(span.peer),
                "link": span.link.as_u64(),
                "connection": span.connection,
                "outbound": span.outbound,
                "remote": span.remote.to_string(),
                "connected": nanos(span.connected),
                "granted": nanos(span.granted),
                "ended": nanos(span.ended),
                "reason": span.reason,
            });
            (span.opened, line)
        });
        states.chain(faults).chain(peers).chain(links).collect()
    }

    fn path_lines(&self) -> Vec<(Instant, Value)> {
        let messages = self.messages.iter().map(|path| {
            let line = json!({
                "type": "message",
                "from": name(path.from),
                "to": name(path.to),
                "bytes": path.bytes,
                "sent": nanos(path.sent),
                "taken": nanos(path.taken),
                "given_up": nanos(path.given_up),
            });
            (path.sent.or(path.taken).unwrap_or(self.begin), line)
        });
        let frames = self.frames.iter().map(|path| {
            let line = json!({
                "type": "frame",
                "from": name(path.from),
                "to": name(path.to),
                "kind": path.kind.name(),
                "connection": path.connection,
                "sent": nanos(path.sent),
                "got": nanos(path.got),
                "text": path.text,
            });
            (path.sent.or(path.got).unwrap_or(self.begin), line)
        });
        messages.chain(frames).collect()
    }

    fn moment_lines(&self) -> Vec<(Instant, Value)> {
        let notes = self.notes.iter().map(|note| {
            let (host, peer, kind) = (name(note.host), name(note.peer), note.kind.name());
            (note.at, json!({ "type": "note", "host": host, "peer": peer, "kind": kind, "text": note.text }))
        });
        let mesh = self.mesh.iter().map(|span| {
            let (nodes, seen, stale) = (span.nodes, span.seen, span.stale);
            let line =
                json!({ "type": "mesh", "nodes": nodes, "seen": seen, "stale": stale, "whole": span.is_whole() });
            (span.from, line)
        });
        let splits = self.splits.iter().map(|span| {
            let islands: Vec<Vec<String>> =
                span.islands.iter().map(|island| island.iter().map(HostId::to_string).collect()).collect();
            (span.from, json!({ "type": "split", "until": nanos(span.until), "islands": islands, "text": span.text }))
        });
        let violations = self
            .violations
            .iter()
            .map(|breach| (breach.at, json!({ "type": "violation", "host": name(breach.host), "text": breach.text })));
        notes.chain(mesh).chain(splits).chain(violations).collect()
    }
}

fn name(host: Option<HostId>) -> Option<String> {
    host.map(|host| host.to_string())
}

fn nanos(at: Option<Instant>) -> Option<u64> {
    at.map(Instant::as_nanos)
}
