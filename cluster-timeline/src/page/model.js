"use strict";

// What happened, as the page was given it, with names for the columns and with what drawing needs to be quick.

const raw = JSON.parse(document.getElementById("data").textContent);

const T0 = raw.begin;
const T1 = Math.max(raw.end, raw.begin + 1);

const hosts = raw.hosts.map(([name, address], index) => ({
  index, name, address,
  states: [], bands: [], cuts: new Map(), peers: new Map(), lost: new Map(), links: new Map(), notes: [], seen: null, cutBands: [],
}));

const until = (at) => at ?? raw.end;
const hostName = (index) => (index < 0 || index === undefined || index === null ? "unknown" : hosts[index].name);

const add = (map, key, value) => {
  const list = map.get(key);
  if (list) list.push(value); else map.set(key, [value]);
};

const states = raw.states.map(([host, state, from, to, run]) =>
  ({ type: "state", host, state, from, to: until(to), open: to === null, run }));
for (const span of states) hosts[span.host].states.push(span);

const faults = raw.faults.map(([kind, host, other, from, to]) =>
  ({ type: "fault", kind, host, other, from, to: until(to), open: to === null }));
for (const span of faults) {
  if (span.kind === "cut") add(hosts[span.host].cuts, span.other, span);
  else hosts[span.host].bands.push(span);
}

const peers = raw.peers.map(([host, peer, up, from, to, why]) =>
  ({ type: "peer", host, peer, up: up === 1, from, to: until(to), open: to === null, why: raw.texts[why] }));
for (const span of peers) if (span.peer >= 0) add(hosts[span.host][span.up ? "peers" : "lost"], span.peer, span);

const links = raw.links.map(([host, peer, connection, outbound, [from, connected, granted, ended], why, link, remote]) =>
  ({
    type: "link", host, peer, connection, outbound: outbound === 1, from, connected, granted, ended, to: until(ended),
    open: ended === null, why: raw.texts[why], link, remote: raw.texts[remote],
  }));
for (const span of links) if (span.peer >= 0) add(hosts[span.host].links, span.peer, span);

const messages = raw.messages.map(([from, to, bytes, [sent, taken, lost]]) =>
  ({ type: "message", kind: "message", source: from, target: to, bytes, sent, got: taken, lost }));

const HEARTBEATS = new Set(["ping", "pong"]);
const BULK = new Set(["data", "ack"]);
const frames = raw.frames.map(([from, to, kind, sent, got, connection, text]) => ({
  type: "frame", kind, source: from, target: to, sent, got, connection, text: raw.texts[text],
  group: HEARTBEATS.has(kind) ? "heartbeat" : BULK.has(kind) ? "data" : "control",
}));

const NOTE_GROUPS = { up: "event", down: "event", event: "event", call: "call", fault: "fault", condition: "fault", notice: "notice", puppet: "notice", app: "call" };
const notes = raw.notes.map(([at, host, peer, kind, text]) =>
  ({ type: "note", at, host, peer, kind, text: raw.texts[text], group: NOTE_GROUPS[kind] }));
for (const note of notes) if (note.host >= 0) hosts[note.host].notes.push(note);

const mesh = raw.mesh.map(([from, nodes, seen, stale], index, all) => ({
  type: "mesh", from, to: index + 1 < all.length ? all[index + 1][0] : raw.end, nodes, seen, stale,
  pairs: nodes * (nodes - 1),
  whole: nodes > 1 && seen === nodes * (nodes - 1) && stale === 0,
}));

const splits = raw.splits.map(([from, to, text, islands]) =>
  ({ type: "split", from, to: until(to), open: to === null, text, islands }));

const story = raw.story.map(([at, kind, host, text]) => ({ type: "moment", at, kind, host, text }));
const violations = raw.violations.map(([at, host, text]) => ({ type: "violation", at, host, text }));

// The first index at which `key` of a sorted list is at least `value`.
function lower(list, value, key = (item) => item) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) < value) low = middle + 1; else high = middle;
  }
  return low;
}

// The first index at which a sorted list of numbers is above `value`.
function upper(list, value) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= value) low = middle + 1; else high = middle;
  }
  return low;
}

// Spans that follow each other: those in view are neighbours.
function* visible(spans, from, to) {
  for (let i = Math.max(0, lower(spans, from, (span) => span.from) - 1); i < spans.length && spans[i].from <= to; i++) {
    if (spans[i].to >= from) yield spans[i];
  }
}

// Spans that may overlap, ordered by their beginnings.
function* overlapping(spans, from, to) {
  const end = lower(spans, to, (span) => span.from);
  for (let i = 0; i < end; i++) if (spans[i].to >= from) yield spans[i];
}

// What flies from host to host: most for a moment, some for long. Ordered by beginnings, so that those in view are found
// without looking at all of them.
const LONG = 50e6;
class Flights {
  constructor(items) {
    for (const item of items) {
      item.from = item.sent ?? item.got;
      item.to = item.got ?? item.lost ?? item.from;
    }
    this.all = items.sort((a, b) => a.from - b.from);
    this.short = this.all.filter((item) => item.to - item.from <= LONG);
    this.long = this.all.filter((item) => item.to - item.from > LONG);
    this.starts = Float64Array.from(this.all, (item) => item.from);
  }

  // How many begin in a span of time.
  count(from, to) {
    return lower(this.starts, to) - lower(this.starts, from);
  }

  *in(from, to) {
    yield* overlapping(this.long, from, to);
    for (let i = lower(this.short, from - LONG, (item) => item.from); i < this.short.length && this.short[i].from <= to; i++) {
      if (this.short[i].to >= from) yield this.short[i];
    }
  }
}

const flights = {
  message: new Flights(messages),
  data: new Flights(frames.filter((frame) => frame.group === "data")),
  control: new Flights(frames.filter((frame) => frame.group === "control")),
  heartbeat: new Flights(frames.filter((frame) => frame.group === "heartbeat")),
};

// How many peers a host had up, as steps.
function steps(spans) {
  const changes = [];
  for (const span of spans) changes.push([span.from, 1], [span.to, span.open ? 0 : -1]);
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const at = [T0], count = [0];
  let now = 0;
  for (const [time, change] of changes) {
    now += change;
    if (at[at.length - 1] === time) count[count.length - 1] = now;
    else { at.push(time); count.push(now); }
  }
  return { at, count };
}

// When a host was cut off from any other: bands with the set of those others.
function cutBands(host) {
  const changes = new Map();
  const note = (time, other, way, on) => add(changes, time, { other, way, on });
  for (const [other, spans] of host.cuts) {
    for (const span of spans) {
      note(span.from, other, "to", true);
      if (!span.open) note(span.to, other, "to", false);
    }
  }
  for (const other of hosts) {
    for (const span of other.cuts.get(host.index) ?? []) {
      note(span.from, other.index, "from", true);
      if (!span.open) note(span.to, other.index, "from", false);
    }
  }
  const now = { to: new Set(), from: new Set() };
  const bands = [];
  for (const time of [...changes.keys()].sort((a, b) => a - b)) {
    for (const { other, way, on } of changes.get(time)) on ? now[way].add(other) : now[way].delete(other);
    const last = bands[bands.length - 1];
    if (last?.live) { last.to = time; last.live = false; }
    if (now.to.size + now.from.size > 0) {
      const others = [...new Set([...now.to, ...now.from])].sort((a, b) => a - b);
      const oneWay = others.some((other) => !now.to.has(other) || !now.from.has(other));
      bands.push({ type: "band", host: host.index, from: time, to: raw.end, live: true, others, oneWay });
    }
  }
  return bands;
}

for (const host of hosts) {
  host.seen = steps([...host.peers.values()].flat());
  host.cutBands = cutBands(host);
  host.rows = hosts.filter((other) => other !== host && (host.peers.has(other.index) || host.lost.has(other.index) || host.links.has(other.index) || host.cuts.has(other.index)))
    .map((other) => other.index);
  host.used = host.states.some((span) => span.state !== "idle");
}

// How many nodes there were, as steps.
const counts = mesh.filter((span, index) => !index || span.nodes !== mesh[index - 1].nodes);
const nodeSteps = { at: counts.map((span) => span.from), count: counts.map((span) => span.nodes) };

function stepAt({ at, count }, time) {
  const index = upper(at, time);
  return index ? count[index - 1] : 0;
}

// How many peers a host had up and how many nodes there were, piece by piece of a span of time.
function* sights(host, from, to) {
  let [a, b] = [host.seen, nodeSteps].map((steps) => Math.max(0, upper(steps.at, from) - 1));
  while (from < to) {
    const next = Math.min(host.seen.at[a + 1] ?? Infinity, nodeSteps.at[b + 1] ?? Infinity, to);
    yield [from, next, host.seen.count[a] ?? 0, nodeSteps.count[b] ?? 0];
    if (host.seen.at[a + 1] === next) a++;
    if (nodeSteps.at[b + 1] === next) b++;
    from = next;
  }
}

// Hosts by name, several in a row as a range.
function hostList(list) {
  const ranges = [];
  for (const host of list) {
    const last = ranges[ranges.length - 1];
    if (last && last[1] + 1 === host) last[1] = host; else ranges.push([host, host]);
  }
  return ranges.map(([a, b]) => (a === b ? hostName(a) : b === a + 1 ? `${hostName(a)} ${hostName(b)}` : `${hostName(a)}–${hostName(b)}`)).join(" ");
}

// A span of time in the unit that suits it.
function span(nanos) {
  for (const [unit, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
    if (nanos >= unit) return `${+(nanos / unit).toFixed(nanos / unit >= 100 ? 1 : 3)} ${name}`;
  }
  return `${Math.round(nanos)} ns`;
}

// A time in seconds, to the microsecond at the most.
const clock = (nanos) => `${(nanos / 1e9).toFixed(6).replace(/\.?0+$/, "")} s`;
