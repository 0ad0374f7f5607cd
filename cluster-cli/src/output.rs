//! Reports to stdout: a readable line or a JSON object each. None of this blocks.

use std::net::SocketAddr;

use cluster_core::{Name, NodeId, PeerInfo, PeerState, Reason, Stats, Target};
use serde_json::{Map, Value, json};

use crate::ending::STDOUT;
use crate::queue::Full;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

/// Something to tell.
#[derive(Debug)]
pub(crate) enum Report<'a> {
    Listening { id: NodeId, address: SocketAddr },
    PeerUp(&'a PeerInfo),
    PeerDown { id: NodeId, name: Option<&'a Name>, reason: &'a Reason },
    Message { from: NodeId, name: Option<&'a Name>, text: &'a str },
    Peers(&'a [PeerInfo]),
    Undelivered { id: NodeId, messages: usize, certainty: &'a str },
    Stats(&'a Stats),
    JoinFailed { address: &'a Target, reason: String },
    Error { message: String },
    Left { undelivered: u64 },
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        Output { json }
    }

    /// Reports the failure of a command.
    pub(crate) fn error(self, message: String) {
        self.answer(Report::Error { message });
    }

    /// Reports an act of the node. The caller has asked for room before it took the message or event.
    pub(crate) fn report(self, report: Report<'_>) {
        self.push(report, Full::Keep);
    }

    /// Reports the answer to a command. A user may give more commands than anything reads answers to.
    pub(crate) fn answer(self, report: Report<'_>) {
        self.push(report, Full::DropIfUnread);
    }

    fn push(self, report: Report<'_>, full: Full) {
        if let Some(lines) = STDOUT.take_unreported() {
            let message = format!("{lines} answers to commands were dropped: the output was not read");
            STDOUT.push(self.line(Report::Error { message }), Full::Keep);
        }
        STDOUT.push(self.line(report), full);
    }

    fn line(self, report: Report<'_>) -> Vec<u8> {
        let mut line = if self.json { report.json().to_string() } else { report.text() };
        line.push('\n');
        line.into_bytes()
    }
}

impl Report<'_> {
    fn json(&self) -> Value {
        match self {
            Report::Listening { id, address } => {
                json!({ "event": "listening", "id": id.to_string(), "address": address.to_string() })
            }
            Report::PeerUp(peer) => json!({
                "event": "peer_up",
                "id": peer.run.id.to_string(),
                "name": text(peer.name.as_ref()),
                "address": peer.address.map(|address| address.to_string()),
            }),
            Report::PeerDown { id, name, reason } => json!({
                "event": "peer_down",
                "id": id.to_string(),
                "name": text(*name),
                "reason": reason.to_string(),
                "transient": reason.is_transient(),
            }),
            Report::Message { from, name, text: content } => {
                json!({ "event": "message", "from": from.to_string(), "name": text(*name), "text": content })
            }
            Report::Peers(peers) => {
                json!({ "event": "peers", "peers": peers.iter().map(peer_json).collect::<Vec<_>>() })
            }
            Report::Undelivered { id, messages, certainty } => json!({
                "event": "undelivered", "id": id.to_string(), "messages": messages, "certainty": certainty,
            }),
            Report::Stats(stats) => {
                let counters = stats.counters().map(|(name, count)| (name.to_owned(), count.into()));
                let mut object: Map<String, Value> = counters.collect();
                object.insert("event".into(), "stats".into());
                Value::Object(object)
            }
            Report::JoinFailed { address, reason } => {
                json!({ "event": "join_failed", "address": address.as_str(), "reason": reason })
            }
            Report::Error { message } => json!({ "event": "error", "message": message }),
            Report::Left { undelivered } => json!({ "event": "left", "undelivered": undelivered }),
        }
    }

    fn text(&self) -> String {
        match self {
            Report::Listening { id, address } => format!("listening at {address} as {id}"),
            Report::PeerUp(peer) => format!("+ {}", peer_text(peer)),
            Report::PeerDown { id, name, reason } => {
                let then = if reason.is_transient() { "reconnecting" } else { "gone" };
                format!("- {}: {reason}, {then}", who(*id, *name))
            }
            Report::Message { from, name, text } => format!("{}> {}", who(*from, *name), shown(text)),
            Report::Peers(peers) => {
                let lines = peers.iter().map(|peer| format!("\n  {} {}", peer_text(peer), state(peer.state)));
                format!("{} peers{}", peers.len(), lines.collect::<String>())
            }
            Report::Undelivered { id, messages, certainty } => format!("! {messages} messages to {id} {certainty}"),
            Report::Stats(stats) => {
                let reached = stats.counters().filter(|(_, count)| *count > 0);
                let lines: String = reached.map(|(name, count)| format!("\n  {name} {count}")).collect();
                format!("counters above zero{lines}")
            }
            Report::JoinFailed { address, reason } => format!("! cannot join {address}: {reason}"),
            Report::Error { message } => format!("! {message}"),
            Report::Left { undelivered } => format!("left, {undelivered} messages undelivered"),
        }
    }
}

fn peer_json(peer: &PeerInfo) -> Value {
    json!({
        "id": peer.run.id.to_string(),
        "name": text(peer.name.as_ref()),
        "address": peer.address.map(|address| address.to_string()),
        "state": state(peer.state),
    })
}

fn peer_text(peer: &PeerInfo) -> String {
    let address = peer.address.map_or_else(|| "no known address".into(), |address| address.to_string());
    format!("{} at {address}", who(peer.run.id, peer.name.as_ref()))
}

fn who(id: NodeId, name: Option<&Name>) -> String {
    name.map_or_else(|| id.to_string(), |name| format!("{name} ({id:?})"))
}

fn text(name: Option<&Name>) -> Option<&str> {
    name.map(Name::as_str)
}

/// What others wrote, in one line that a terminal shows as it is: what could move the cursor, change the colours, begin
/// a line that looks like one of ours or turn the order of the letters around is written as an escape.
fn shown(text: &str) -> String {
    let acts = |char: char| {
        let invisible =
            matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        char.is_control() || invisible
    };
    text.chars().fold(String::with_capacity(text.len()), |mut shown, char| {
        if acts(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
        shown
    })
}

fn state(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        _ => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_text_that_does_nothing_to_the_terminal() {
        let from = NodeId::from_bytes([7; 16]);
        let line = |text: &str| Report::Message { from, name: None, text }.text();
        let fake = "\n\u{1b}[31m+ bob\r\t\u{7}\u{7f}\u{85}\u{9b}2J\u{202e}\u{2066}\u{2028}";
        let harmless = r"\n\u{1b}[31m+ bob\r\t\u{7}\u{7f}\u{85}\u{9b}2J\u{202e}\u{2066}\u{2028}";
        assert_eq!(line(fake), format!("{from}> {harmless}"));
        let readable = r#"grüße, "你好" \ 🦀"#;
        assert_eq!(line(readable), format!("{from}> {readable}"));
        for char in
            ('\0'..=' ').chain('\u{7f}'..='\u{9f}').chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}')
        {
            assert_eq!(shown(&char.to_string()).contains(char), char == ' ', "{char:?}");
        }
    }

    #[test]
    fn stats_tell_every_counter_and_as_text_those_above_zero() {
        let mut stats = Stats::default();
        (stats.not_allowed, stats.takeovers) = (2, 1);
        let json = Report::Stats(&stats).json();
        assert!(stats.counters().all(|(name, count)| json[name] == count), "{json}");
        assert_eq!((&json["event"], &json["not_allowed"]), (&"stats".into(), &2.into()));
        assert_eq!(Report::Stats(&stats).text(), "counters above zero\n  takeovers 1\n  not_allowed 2");
    }
}
