//! A timeline for a terminal.

use std::fmt::Write as _;

use cluster_core::{Instant, PeerState};

use crate::story::{Moment, MomentKind};
use crate::timeline::{HostState, Timeline};
use crate::units;

/// The narrowest view.
const NARROWEST: usize = 40;

/// The widest view.
const WIDEST: usize = 1_000;

/// How many moments of the story are listed.
const MOMENTS: usize = 40;

/// The shortest distance between two times at the axis, in columns.
const TICK: u64 = 10;

impl Timeline {
    /// The timeline for a terminal of this many columns (40 at the least, 1,000 at the most): a row that says how complete
    /// the mesh was, one that says when ways were cut, a lane per node with a character per slice of time, a legend, and
    /// the moments of its [`story`](Timeline::story), the last 40 if there are more.
    #[must_use]
    pub fn to_text(&self, width: usize) -> String {
        let width = width.clamp(NARROWEST, WIDEST);
        let margin = self.hosts.iter().map(|lane| lane.name.len()).max().unwrap_or(0).max("mesh".len()) + 1;
        let slices = Slices { begin: self.begin, end: self.end, count: width - margin };
        let mut text = self.heading(&slices, width);
        let mut row = |name: &str, cells: &[char]| {
            let line: String = cells.iter().collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<margin$}{}", line.trim_end());
        };
        row("", &axis(&slices));
        row("mesh", &self.mesh_row(&slices));
        row("cuts", &self.cuts_row(&slices));
        for (lane, cells) in self.hosts.iter().zip(self.lanes(&slices)) {
            row(&lane.name, &cells);
        }
        text.push('\n');
        text.push_str(&wrap(&LEGEND, "   ", width));
        self.tell(&mut text, width);
        text
    }

    fn heading(&self, slices: &Slices, width: usize) -> String {
        let nodes = match self.hosts.len() {
            1 => "1 host".to_owned(),
            count => format!("{count} hosts"),
        };
        let verdict = match self.violations.len() {
            0 => "no violation".to_owned(),
            _ => format!("VIOLATION at {}", units::time(self.violations[0].at)),
        };
        let seed = format!("seed {}", self.seed);
        let slice = format!("a column is {}", units::span((self.end - self.begin) / slices.count as u32));
        let parts = [&*seed, &nodes, &units::span(self.end - self.begin), &slice, &verdict];
        wrap(&parts, " · ", width) + "\n"
    }

    fn mesh_row(&self, slices: &Slices) -> Vec<char> {
        let mut cells = vec![' '; slices.count];
        for (index, span) in self.mesh.iter().enumerate() {
            let until = self.mesh.get(index + 1).map_or(self.end, |next| next.from);
            let cell = if span.nodes < 2 {
                ' '
            } else if span.is_whole() {
                '█'
            } else {
                '░'
            };
            // What is not whole shows even if it is shorter than a slice.
            for index in slices.cover(span.from, until) {
                if cells[index] != '░' {
                    cells[index] = cell;
                }
            }
        }
        cells
    }

    fn cuts_row(&self, slices: &Slices) -> Vec<char> {
        let mut cells = vec![' '; slices.count];
        for span in &self.splits {
            let cover = slices.cover(span.from, span.until.unwrap_or(self.end));
            cells[cover.clone()].fill('─');
            let (begin, room) = (cover.start, cover.len());
            if room >= span.text.chars().count() + 2 {
                cells[begin..].iter_mut().skip(1).zip(span.text.chars()).for_each(|(cell, letter)| *cell = letter);
            }
            cells[begin] = '├';
        }
        cells
    }

    fn lanes(&self, slices: &Slices) -> Vec<Vec<char>> {
        let others = self.hosts.len().saturating_sub(1);
        let mut seen = vec![vec![0_usize; slices.count]; self.hosts.len()];
        for span in self.peers.iter().filter(|span| span.state == PeerState::Up && span.peer.is_some()) {
            for index in slices.within(span.from, span.until.unwrap_or(self.end)) {
                seen[span.host.index()][index] += 1;
            }
        }
        let wanted = self.nodes_by_slice(slices);
        let mut lanes = vec![vec![' '; slices.count]; self.hosts.len()];
        for span in &self.states {
            let lane = &mut lanes[span.host.index()];
            for index in slices.cover(span.from, span.until.unwrap_or(self.end)) {
                let seen = seen[span.host.index()][index];
                let cell = match span.state {
                    HostState::Running if others > 0 && seen == 0 => '·',
                    HostState::Running if seen + 1 < wanted[index] => '╌',
                    HostState::Running => '━',
                    HostState::Paused => '‖',
                    HostState::Crashed => '×',
                    HostState::Puppet => '~',
                    HostState::Left | HostState::Idle => ' ',
                };
                // What is rarer than running shows even if it is shorter than a slice.
                if matches!(lane[index], ' ' | '·' | '╌' | '━') {
                    lane[index] = cell;
                }
            }
        }
        for breach in &self.violations {
            if let Some(host) = breach.host {
                lanes[host.index()][slices.slice(breach.at)] = '!';
            }
        }
        lanes
    }

    /// How many nodes were up, at the least, in each slice.
    fn nodes_by_slice(&self, slices: &Slices) -> Vec<usize> {
        let mut nodes = vec![usize::MAX; slices.count];
        for (index, span) in self.mesh.iter().enumerate() {
            let until = self.mesh.get(index + 1).map_or(self.end, |next| next.from);
            for slice in slices.cover(span.from, until) {
                nodes[slice] = nodes[slice].min(span.nodes);
            }
        }
        nodes
    }

    fn tell(&self, text: &mut String, width: usize) {
        let story = self.story();
        let skipped = story.len().saturating_sub(MOMENTS);
        let _ = writeln!(text);
        if skipped > 0 {
            let _ = writeln!(text, "{:>12}  {skipped} earlier moments are not shown", "...");
        }
        for Moment { at, kind, text: told, .. } in &story[skipped..] {
            let sign = match kind {
                MomentKind::Violation => '!',
                MomentKind::Whole => '█',
                MomentKind::Broken => '░',
                MomentKind::Split | MomentKind::Healed => '─',
                MomentKind::Host | MomentKind::Fault | MomentKind::Lost => ' ',
            };
            let line = format!("{:>12} {sign} {told}", units::time(*at));
            let _ = writeln!(text, "{}", shorten(&line, width));
        }
        for (list, count) in self.hidden.missing() {
            let _ = writeln!(text, "{:>12}  the oldest {count} {list} were not kept", "...");
        }
    }
}

/// The line, cut to so many columns with an ellipsis at the end.
fn shorten(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some(_) => line.chars().take(width - 1).chain(['…']).collect(),
    }
}

/// The signs, and what they mean.
const LEGEND: [&str; 9] = [
    "━ sees every other",
    "╌ sees some",
    "· sees nobody",
    "‖ paused",
    "× crashed",
    "~ puppet",
    "█ whole",
    "░ incomplete",
    "! violation",
];

/// The parts side by side, in as many lines of this width as they need.
fn wrap(parts: &[&str], between: &str, width: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for part in parts {
        let length = part.chars().count();
        if column > 0 && column + between.chars().count() + length > width {
            text.push('\n');
            column = 0;
        }
        if column > 0 {
            text.push_str(between);
            column += between.chars().count();
        }
        text.push_str(part);
        column += length;
    }
    text.push('\n');
    text
}

fn axis(slices: &Slices) -> Vec<char> {
    let mut cells = vec![' '; slices.count];
    let step = units::tick(slices.length().saturating_mul(TICK));
    let mut at = slices.begin.as_nanos().next_multiple_of(step);
    while at <= slices.end.as_nanos() {
        let label = units::short_time(Instant::from_nanos(at), step);
        let room = &mut cells[slices.slice(Instant::from_nanos(at))..];
        if label.chars().count() <= room.len() {
            room.iter_mut().zip(label.chars()).for_each(|(cell, letter)| *cell = letter);
        }
        at = at.saturating_add(step);
    }
    cells
}

/// The time from `begin` to `end`, in equal parts.
struct Slices {
    begin: Instant,
    end: Instant,
    count: usize,
}

impl Slices {
    fn length(&self) -> u64 {
        ((self.end - self.begin).as_nanos() as u64 / self.count as u64).max(1)
    }

    fn begins(&self, index: usize) -> Instant {
        let passed = u128::from(self.nanos()) * index as u128 / self.count as u128;
        Instant::from_nanos(self.begin.as_nanos() + passed as u64)
    }

    fn nanos(&self) -> u64 {
        self.end.as_nanos() - self.begin.as_nanos()
    }

    /// The slice that a time falls into.
    fn slice(&self, at: Instant) -> usize {
        let passed = u128::from(at.as_nanos().saturating_sub(self.begin.as_nanos()));
        let slice = passed * self.count as u128 / u128::from(self.nanos().max(1));
        usize::try_from(slice).unwrap_or(usize::MAX).min(self.count - 1)
    }

    /// The slices that a span touches.
    fn cover(&self, from: Instant, until: Instant) -> std::ops::Range<usize> {
        let (first, last) = (self.slice(from), self.slice(until));
        // A span that ends where a slice begins does not touch that slice.
        let touches = self.begins(last) < until || last == first;
        first..last + usize::from(touches)
    }

    /// The slices in whose middle a span lasts.
    fn within(&self, from: Instant, until: Instant) -> std::ops::Range<usize> {
        let half = self.length() / 2;
        let middle = |at: Instant| (at.as_nanos().saturating_sub(self.begin.as_nanos()) + half).min(self.nanos());
        let slice =
            |at: Instant| (u128::from(middle(at)) * self.count as u128 / u128::from(self.nanos().max(1))) as usize;
        let end = if until >= self.end { self.count } else { slice(until) };
        slice(from).min(end)..end
    }
}
