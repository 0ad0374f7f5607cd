//! A timeline as one HTML page that needs nothing but a browser.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use cluster_core::{Instant, PeerState, Run};
use serde_json::{Value, json};

use crate::record::HostId;
use crate::story::Moment;
use crate::timeline::{StateSpan, Timeline};
use crate::units;

/// The page, with `{{name}}` where the parts go.
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 9] = [
    include_str!("page/model.js"),
    include_str!("page/view.js"),
    include_str!("page/paint.js"),
    include_str!("page/header.js"),
    include_str!("page/lanes.js"),
    include_str!("page/arrows.js"),
    include_str!("page/draw.js"),
    include_str!("page/panel.js"),
    include_str!("page/main.js"),
];

/// Columns of the text that is shown where no script runs.
const TEXT: usize = 120;

impl Timeline {
    /// The timeline as one HTML page: it works offline, loads nothing, and holds everything that it shows.
    #[must_use]
    pub fn to_html(&self) -> String {
        let title = format!("cluster-sim, seed {}", self.seed);
        let parts = [
            ("title", escape(&title)),
            ("style", STYLE.to_owned()),
            ("text", escape(&self.to_text(TEXT))),
            ("data", inert(&self.data().to_string())),
            ("script", SCRIPTS.concat()),
        ];
        fill(PAGE, &parts)
    }

    /// Writes [`to_html`](Timeline::to_html) to a file.
    ///
    /// # Errors
    ///
    /// Those of writing a file.
    pub fn write_html(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.to_html())
    }

    /// What the page shows: arrays instead of objects where there are many, times in nanoseconds, hosts as numbers,
    /// texts as numbers of `texts`, and -1 or `null` for none. `model.js` gives the columns their names.
    fn data(&self) -> Value {
        let mut texts = Texts::default();
        let mut runs = Runs::default();
        let states = self.states.iter().map(|span| {
            json!([span.host.0, span.state.name(), span.from.as_nanos(), nanos(span.until), runs.number(span)])
        });
        let states: Vec<Value> = states.collect();
        let faults = self.faults.iter();
        let faults: Vec<Value> = faults
            .map(|span| json!([span.kind.name(), span.host.0, host(span.to), span.from.as_nanos(), nanos(span.until)]))
            .collect();
        let peers = self.peers.iter().map(|span| {
            let up = u8::from(span.state == PeerState::Up);
            let why = texts.number(span.ended.as_deref().unwrap_or_default());
            json!([span.host.0, host(span.peer), up, span.from.as_nanos(), nanos(span.until), why])
        });
        let peers: Vec<Value> = peers.collect();
        let links = self.links.iter().map(|span| {
            let times = [Some(span.opened), span.connected, span.granted, span.ended].map(nanos);
            let why = texts.number(span.reason.as_deref().unwrap_or_default());
            let remote = texts.number(&span.remote.to_string());
            let (outbound, link) = (u8::from(span.outbound), span.link.as_u64());
            json!([span.host.0, host(span.peer), span.connection, outbound, times, why, link, remote])
        });
        let links: Vec<Value> = links.collect();
        let messages = self.messages.iter().map(|path| {
            let times = [path.sent, path.taken, path.given_up].map(nanos);
            json!([host(path.from), host(path.to), path.bytes, times])
        });
        let messages: Vec<Value> = messages.collect();
        let frames = self.frames.iter().map(|path| {
            let (kind, text) = (path.kind.name(), texts.number(&path.text));
            json!([host(path.from), host(path.to), kind, nanos(path.sent), nanos(path.got), path.connection, text])
        });
        let frames: Vec<Value> = frames.collect();
        let notes = self.notes.iter().map(|note| {
            json!([note.at.as_nanos(), host(note.host), host(note.peer), note.kind.name(), texts.number(&note.text)])
        });
        let notes: Vec<Value> = notes.collect();
        json!({
            "seed": self.seed.to_string(),
            "hash": format!("{:016x}", self.hash),
            "begin": self.begin.as_nanos(),
            "end": self.end.as_nanos(),
            "length": units::span(self.end - self.begin),
            "hosts": self.hosts.iter().map(|lane| json!([lane.name, lane.address.to_string()])).collect::<Vec<_>>(),
            "states": states,
            "faults": faults,
            "peers": peers,
            "links": links,
            "messages": messages,
            "frames": frames,
            "notes": notes,
            "mesh": self.mesh.iter().map(|span| json!([span.from.as_nanos(), span.nodes, span.seen, span.stale])).collect::<Vec<_>>(),
            "splits": self.splits.iter().map(|span| {
                let islands: Vec<Vec<u32>> =
                    span.islands.iter().map(|island| island.iter().map(|host| host.0).collect()).collect();
                json!([span.from.as_nanos(), nanos(span.until), span.text, islands])
            }).collect::<Vec<_>>(),
            "story": self.story().iter().map(|Moment { at, kind, host: of, text }| {
                json!([at.as_nanos(), kind.name(), host(*of), text])
            }).collect::<Vec<_>>(),
            "violations": self.violations.iter().map(|breach| {
                json!([breach.at.as_nanos(), host(breach.host), breach.text])
            }).collect::<Vec<_>>(),
            "hidden": {
                "spans": self.hidden.spans,
                "messages": self.hidden.messages,
                "frames": self.hidden.frames,
                "heartbeats": self.hidden.heartbeats,
                "notes": self.hidden.notes,
            },
            "texts": texts.texts,
        })
    }
}

/// Counts the runs of each host.
#[derive(Default)]
struct Runs(BTreeMap<HostId, (Option<Run>, u32)>);

impl Runs {
    /// Which of the runs of its host the next state belongs to, 1 for the first, 0 for none.
    fn number(&mut self, span: &StateSpan) -> u32 {
        let (last, count) = self.0.entry(span.host).or_default();
        if span.run.is_some() && span.run != *last {
            (*last, *count) = (span.run, *count + 1);
        }
        if span.run.is_some() { *count } else { 0 }
    }
}

/// Texts that occur again and again, each once.
#[derive(Default)]
struct Texts {
    texts: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        self.numbers.insert(text.to_owned(), self.texts.len());
        self.texts.push(text.to_owned());
        self.texts.len() - 1
    }
}

fn host(host: Option<HostId>) -> i64 {
    host.map_or(-1, |host| i64::from(host.0))
}

fn nanos(at: Option<Instant>) -> Option<u64> {
    at.map(Instant::as_nanos)
}

/// The template with its parts in their places. What a part says is never looked at.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        if let Some((_, part)) = parts.iter().find(|(known, _)| *known == name) {
            page.push_str(part);
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// JSON that may stand in a `script` element: nothing in it can end the element.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_look_like_places_are_left_alone() {
        let parts = [("a", "{{b}}".to_owned()), ("b", "two".to_owned())];
        assert_eq!(fill("<{{a}}|{{b}}|{{c}}>", &parts), "<{{b}}|two|>");
    }

    #[test]
    fn no_text_ends_the_element_it_stands_in() {
        let text = "</script><!--<script>&\"";
        let json = inert(&json!({ "text": text }).to_string());
        assert!(!json.contains('<'));
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["text"], text);
        assert_eq!(escape(text), "&lt;/script&gt;&lt;!--&lt;script&gt;&amp;&quot;");
    }
}
