// Draws what is in view, and remembers where, so that it can be pointed at.

const canvas = document.getElementById("chart");
const overview = document.getElementById("overview");
const ctx = canvas.getContext("2d");
const octx = overview.getContext("2d");
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
const MOST_ARROWS = 3000;
const MOST_HITS = 30000;

let C = {};
function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["page", "card", "line", "text", "soft", "accent", "call", "whole", "some", "none", "crashed", "paused", "idle",
    "puppet", "lane", "lane-odd", "cut", "fault", "message", "data", "control", "heartbeat", "bad", "violation",
    "island-0", "island-1", "island-2", "island-3", "on-bar"];
  C = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  hatches.clear();
}

const island = (index) => C[`island-${index % 4}`];
const KIND_COLOUR = { event: "whole", call: "call", fault: "fault", notice: "soft", link: "text", message: "message", control: "control", data: "data", heartbeat: "heartbeat" };
const NOTE_COLOUR = { up: "whole", down: "none", event: "control", call: "call", fault: "fault", notice: "soft", puppet: "puppet" };
const MOMENT_COLOUR = { healed: "accent", split: "cut", host: "text", fault: "fault", lost: "none", broken: "some", whole: "whole", violation: "violation" };

const hatches = new Map();
function hatch(colour, gap = 7, weight = 2) {
  const key = `${colour} ${gap} ${weight}`;
  if (!hatches.has(key)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = gap;
    const t = tile.getContext("2d");
    t.strokeStyle = colour;
    t.lineWidth = weight;
    for (const shift of [-gap, 0, gap]) {
      t.beginPath();
      t.moveTo(shift - 1, gap + 1);
      t.lineTo(shift + gap + 1, -1);
      t.stroke();
    }
    hatches.set(key, ctx.createPattern(tile, "repeat"));
  }
  return hatches.get(key);
}

let hits = [];
function hit(item, left, top, width, height) {
  if (hits.length < MOST_HITS) hits.push({ item, left: width < 6 ? left - 3 : left, top, width: Math.max(width, 6), height });
}

function size(target, context) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = target;
  if (target.width !== Math.round(width * ratio) || target.height !== Math.round(height * ratio)) {
    target.width = Math.round(width * ratio);
    target.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [width, height];
}

function text(content, left, top, { colour = C.text, font = 11, weight = 400, align = "left", base = "middle" } = {}) {
  ctx.font = `${weight} ${font}px ${FONT}`;
  ctx.textAlign = align;
  ctx.textBaseline = base;
  ctx.fillStyle = colour;
  ctx.fillText(content, left, top);
}

// The text, if it fits into so many pixels, and else its short form, if that does.
function label(content, left, width, middle, options = {}, short = "") {
  ctx.font = `${options.weight ?? 400} ${options.font ?? 11}px ${FONT}`;
  for (const form of [content, short]) {
    if (form && ctx.measureText(form).width + 8 <= width) {
      text(form, left + 5, middle, options);
      return;
    }
  }
}

// A span in whole pixels, cut to what is in view.
function box(from, to) {
  const left = Math.max(Math.round(x(from)), view.gutter - 2);
  const right = Math.min(Math.round(x(to)), view.width + 2);
  return [left, Math.max(right - left, 1)];
}

function draw() {
  [view.width, view.height] = size(canvas, ctx);
  ctx.font = `600 12px ${FONT}`;
  const widest = Math.max(0, ...shown().slice(0, 400).map((host) => ctx.measureText(host.name).width));
  view.gutter = Math.max(64, Math.ceil(widest) + 34);
  layout();
  hits = [];
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, TOP, view.width, view.height - TOP);
  ctx.clip();
  for (const lane of view.lanes) {
    const top = laneTop(lane);
    if (top + lane.height >= TOP && top <= view.height) drawLane(lane);
  }
  drawFlights();
  drawSplitEdges();
  ctx.restore();
  drawHeader();
  drawNames();
  drawMatches();
  drawViolations();
  drawSelected();
  drawPointer();
  drawScrollbar();
  drawOverview();
}

function inPlot(paint) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(view.gutter, 0, plot(), view.height);
  ctx.clip();
  paint();
  ctx.restore();
}

function drawLane(lane) {
  const top = laneTop(lane);
  ctx.fillStyle = lane.order % 2 ? C["lane-odd"] : C.lane;
  ctx.fillRect(0, top, view.width, lane.height);
  inPlot(() => {
    drawBar(lane);
    if (lane.detailed) {
      lane.rows.forEach((peer, index) => drawRow(lane, peer, index));
      if (lane.band) drawBands(lane);
    }
    drawCut(lane);
    drawNotes(lane);
  });
}

const seenColour = (seen, wanted) => (wanted <= 0 || seen >= wanted ? C.whole : seen > 0 ? C.some : C.none);

// What the host does; while a node runs, how many of the others it sees.
function drawBar(lane) {
  const { host } = lane;
  const [top, height] = [barTop(lane), lane.bar];
  for (const span of visible(host.states, view.from, view.to)) {
    const [left, width] = box(span.from, span.to);
    if (span.state === "running") {
      drawSeen(lane, span, top, height);
    } else if (span.state === "idle" || span.state === "left") {
      ctx.fillStyle = C.idle;
      ctx.fillRect(left, top + height / 2 - 1, width, 2);
    } else {
      ctx.fillStyle = C[span.state];
      ctx.fillRect(left, top, width, height);
    }
    if (span.state === "crashed" && height >= 7) {
      ctx.fillStyle = hatch(C.none, 6, 1);
      ctx.fillRect(left, top, width, height);
    }
    const words = span.state === "running" ? (span.run > 1 ? `run ${span.run}` : "running") : span.state;
    if (height >= 12 && span.state !== "idle") {
      const colour = span.state === "left" ? C.soft : C["on-bar"];
      label(words, left, width, top + height / 2, { colour, font: Math.min(11, height - 3), weight: 600 });
    }
    hit(span, left, top, width, height);
  }
}

function drawSeen(lane, span, top, height) {
  const { host } = lane;
  const from = Math.max(span.from, view.from);
  const to = Math.min(span.to, view.to);
  const times = [from];
  for (const steps of [host.seen, nodeSteps]) {
    for (let i = lower(steps.at, from); i < steps.at.length && steps.at[i] < to; i++) times.push(steps.at[i]);
  }
  times.sort((a, b) => a - b);
  const paint = (from, to, { share, colour }) => {
    const left = Math.round(from);
    const width = Math.max(Math.round(to) - left, 1);
    ctx.fillStyle = colour;
    if (share < 1 && share > 0) {
      ctx.globalAlpha = 0.35;
      ctx.fillRect(left, top, width, height);
      ctx.globalAlpha = 1;
      const filled = Math.max(2, height * share);
      ctx.fillRect(left, top + height - filled, width, filled);
    } else {
      ctx.fillRect(left, top, width, height);
    }
  };
  // What is shorter than a pixel is drawn together, as the worst of it.
  let held = null;
  times.forEach((time, index) => {
    const [left, right] = [x(time), x(index + 1 < times.length ? times[index + 1] : to)];
    const seen = stepAt(host.seen, time);
    const wanted = stepAt(nodeSteps, time) - 1;
    const piece = { share: wanted > 0 ? Math.min(1, seen / wanted) : 1, colour: seenColour(seen, wanted) };
    if (right - left < 1) {
      if (!held) held = { left, piece };
      else if (piece.share < held.piece.share) held.piece = piece;
      if (right - held.left < 1) return;
    }
    if (held) paint(held.left, right - left < 1 ? right : left, held.piece);
    if (right - left >= 1) paint(left, right, piece);
    held = null;
  });
  if (held) paint(held.left, x(to), held.piece);
}

// What a node takes one peer for, its links with it, and whether the way between the two is cut.
function drawRow(lane, peer, index) {
  const top = rowsTop(lane) + index * lane.row;
  const height = Math.max(1.5, lane.row - (lane.row > 7 ? 2 : lane.row > 4 ? 1 : 0.5));
  if (top + height < TOP || top > view.height) return;
  ctx.fillStyle = C.idle;
  ctx.globalAlpha = 0.5;
  ctx.fillRect(view.gutter, top, plot(), height);
  for (const span of visible(lane.host.peers.get(peer) ?? [], view.from, view.to)) {
    const [left, width] = box(span.from, span.to);
    ctx.globalAlpha = span.up ? 0.5 : 0.75;
    ctx.fillStyle = span.up ? C.whole : C.none;
    ctx.fillRect(left, top, width, height);
    ctx.globalAlpha = 1;
    hit(span, left, top, width, height);
  }
  ctx.globalAlpha = 1;
  for (const [spans, other] of [[lane.host.cuts.get(peer), null], [hosts[peer].cuts.get(lane.host.index), peer]]) {
    for (const span of spans ? visible(spans, view.from, view.to) : []) {
      const [left, width] = box(span.from, span.to);
      ctx.fillStyle = hatch(C.cut, 7, 1.6);
      ctx.fillRect(left, top, width, height);
      if (other === null) hit(span, left, top + height - Math.min(3, height / 2), width, Math.min(3, height / 2));
    }
  }
  if (height >= 11) nameRow(lane, peer, top, height);
  if (view.kinds.link && lane.row >= 5) drawLinks(lane, peer, top, height);
}

function nameRow(lane, peer, top, height) {
  for (const span of visible(lane.host.peers.get(peer) ?? [], view.from, view.to)) {
    const [left, width] = box(span.from, span.to);
    const words = `${hostName(peer)} ${span.up ? "up" : "lost"}`;
    ctx.font = `400 10.5px ${FONT}`;
    const wide = ctx.measureText(words).width + 8;
    if (wide + 4 > width) continue;
    if (!span.up) {
      ctx.fillStyle = C.none;
      ctx.fillRect(left + 1, top + 1, wide, height - 5);
    }
    text(words, left + 5, top + height / 2 - 0.5, { colour: span.up ? C.text : C["on-bar"], font: 10.5 });
  }
}

function drawLinks(lane, peer, top, height) {
  const middle = top + height - Math.min(3, height / 4);
  for (const span of overlapping(lane.host.links.get(peer) ?? [], view.from, view.to)) {
    const line = (from, to, weight, dash) => {
      const [left, width] = box(from, to);
      ctx.strokeStyle = C.text;
      ctx.lineWidth = weight;
      ctx.setLineDash(dash);
      ctx.beginPath();
      ctx.moveTo(left, middle);
      ctx.lineTo(left + width, middle);
      ctx.stroke();
    };
    ctx.globalAlpha = 0.55;
    line(span.from, span.connected ?? span.to, 1, [2, 2]);
    if (span.connected !== null) line(span.connected, span.granted ?? span.to, 1, []);
    if (span.granted !== null) line(span.granted, span.to, 2, []);
    ctx.setLineDash([]);
    if (!span.open && x(span.to) - x(span.from) > 3) {
      const at = x(span.to);
      ctx.lineWidth = 1.2;
      ctx.beginPath();
      ctx.moveTo(at - 2.5, middle - 2.5);
      ctx.lineTo(at + 2.5, middle + 2.5);
      ctx.moveTo(at - 2.5, middle + 2.5);
      ctx.lineTo(at + 2.5, middle - 2.5);
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
    const [left, width] = box(span.from, span.to);
    hit(span, left, middle - 3, width, 6);
  }
}

// What else was wrong with the host.
function drawBands(lane) {
  if (!view.kinds.fault) return;
  const top = barTop(lane) + lane.bar + NOTES;
  for (const span of overlapping(lane.host.bands, view.from, view.to)) {
    const [left, width] = box(span.from, span.to);
    ctx.fillStyle = C.card;
    ctx.fillRect(left, top, width, 12);
    ctx.fillStyle = hatch(C.fault, 6, 1.5);
    ctx.globalAlpha = 0.4;
    ctx.fillRect(left, top, width, 12);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = C.fault;
    ctx.lineWidth = 1;
    ctx.strokeRect(left + 0.5, top + 0.5, width - 1, 11);
    const words = span.other >= 0 ? `${span.kind} → ${hostName(span.other)}` : span.kind;
    label(words, left, width, top + 6.5, { font: 10 });
    hit(span, left, top, width, 12);
  }
}

const islandOf = (split, host) => split.islands.findIndex((members) => members.includes(host));

// A stripe in the colour of the part of the network that the host was in.
function drawCut(lane) {
  if (!view.kinds.fault) return;
  const top = barTop(lane);
  for (const band of overlapping(lane.host.cutBands, view.from, view.to)) {
    const [left, width] = box(band.from, band.to);
    const split = splits.find((split) => split.from <= band.from && split.to > band.from);
    const side = split && split.islands.length > 1 ? islandOf(split, lane.host.index) : -1;
    const colour = side >= 0 ? island(side) : C.cut;
    ctx.fillStyle = colour;
    const edge = lane.detailed ? 4 : Math.max(3, lane.bar / 2.5);
    ctx.fillRect(left, top - (lane.detailed ? 4 : 0), width, edge);
    hit(band, left, top - 4, width, lane.detailed ? 6 : lane.bar / 2);
    if (lane.detailed && lane.bar >= 12) {
      const words = `cut off from ${hostList(band.others)}${band.oneWay ? " (one way)" : ""}`;
      ctx.font = `600 10px ${FONT}`;
      const wide = ctx.measureText(words).width + 12;
      if (wide + 70 < width) {
        const at = left + Math.max(70, width / 2 - wide / 2);
        ctx.fillStyle = colour;
        ctx.beginPath();
        ctx.roundRect(at, top + 2, wide, lane.bar - 4, 3);
        ctx.fill();
        text(words, at + 6, top + lane.bar / 2 + 0.5, { colour: "#fff", font: 10, weight: 600 });
      }
    }
  }
}

function sign(kind, at, middle, radius) {
  ctx.beginPath();
  if (kind === "up" || kind === "down") {
    const tip = kind === "up" ? -radius : radius;
    ctx.moveTo(at, middle + tip);
    ctx.lineTo(at - radius, middle - tip);
    ctx.lineTo(at + radius, middle - tip);
  } else if (kind === "fault" || kind === "event") {
    ctx.moveTo(at, middle - radius * 1.2);
    ctx.lineTo(at + radius * 1.2, middle);
    ctx.lineTo(at, middle + radius * 1.2);
    ctx.lineTo(at - radius * 1.2, middle);
  } else {
    ctx.arc(at, middle, radius * 0.9, 0, 7);
  }
  ctx.closePath();
}

function drawNotes(lane) {
  const { notes } = lane.host;
  const radius = lane.detailed ? 4 : Math.max(1.8, Math.min(4.5, lane.bar / 3.6));
  const top = barTop(lane);
  const first = lower(notes, view.from, (note) => note.at);
  const crowded = !lane.detailed && lane.bar < 14 && lower(notes, view.to, (note) => note.at) - first > 12;
  const last = {};
  for (let i = first; i < notes.length && notes[i].at <= view.to; i++) {
    const note = notes[i];
    if (!view.kinds[note.group]) continue;
    // In a low lane the colour of the bar says enough.
    if (crowded && note.group === "event" && note !== view.selected) continue;
    const at = x(note.at);
    // Of those that would lie on each other, one; what follows from an up or down, such as the end of a session, none.
    const near = (kind) => at - (last[kind] ?? -99) < radius * 1.2;
    if ((near(note.kind) || (note.kind === "event" && (near("up") || near("down")))) && note !== view.selected) continue;
    last[note.kind] = at;
    const middle = lane.detailed ? top + lane.bar + NOTES / 2 : top + lane.bar / 2;
    sign(note.kind, at, middle, radius);
    ctx.fillStyle = C[NOTE_COLOUR[note.kind]];
    ctx.fill();
    ctx.lineWidth = 1;
    ctx.strokeStyle = C.card;
    ctx.stroke();
    hit(note, at - radius, middle - radius, radius * 2, radius * 2);
  }
}

const groups = () => ["heartbeat", "data", "control", "message"].filter((group) => view.kinds[group]);

// Arrows from host to host: those that take long enough to be seen as such, unless there are too many.
function drawFlights() {
  const px = plot() / (view.to - view.from);
  inPlot(() => {
    for (const group of groups()) {
      const list = flights[group];
      const many = list.count(view.from, view.to);
      const few = group === "message" && many <= 80;
      let drawn = 0;
      const alpha = Math.max(0.25, Math.min(0.95, 500 / Math.max(1, many)));
      for (const item of many > MOST_ARROWS ? overlapping(list.long, view.from, view.to) : list.in(view.from, view.to)) {
        const long = (item.to - item.from) * px;
        if (long < 4 && !few && item !== view.selected) continue;
        if (drawn++ > MOST_ARROWS) break;
        drawArrow(item, group, alpha);
      }
    }
  });
  ctx.globalAlpha = 1;
}

function drawArrow(item, group, alpha) {
  const source = view.laneOf.get(item.source);
  const target = view.laneOf.get(item.target);
  if (!source && !target) return;
  const bad = (item.type === "message" && item.got === null && item.lost !== null) || item.kind === "reject";
  ctx.strokeStyle = ctx.fillStyle = bad ? C.bad : C[KIND_COLOUR[group]];
  ctx.globalAlpha = item === view.selected ? 1 : alpha;
  ctx.lineWidth = group === "message" ? 1.8 : 1.1;
  const left = x(item.from);
  const right = x(item.to);
  if (source && target && item.sent !== null && (item.got !== null || item.lost !== null)) {
    const [top, bottom] = [barMiddle(source), barMiddle(target)];
    const goes = item.got !== null ? bottom : top + (bottom - top) * 0.7;
    if (item.got === null) ctx.setLineDash([4, 3]);
    ctx.beginPath();
    ctx.moveTo(left, top);
    ctx.lineTo(right, goes);
    ctx.stroke();
    ctx.setLineDash([]);
    if (item.got !== null) head(left, top, right, goes, group === "message" ? 7 : 5);
    else cross(right, goes);
    if (hits.length < MOST_HITS) hits.push({ item, line: [left, top, right, goes] });
    const long = Math.hypot(right - left, goes - top);
    if (group !== "heartbeat" && long > 60 && (right - left > 60 || (alpha > 0.9 && right - left > 24))) {
      const words = item.type === "message" ? `${item.bytes} B` : item.kind;
      const [cx, cy] = [(left + right) / 2, (top + goes) / 2];
      ctx.globalAlpha = 1;
      ctx.font = `10px ${FONT}`;
      const wide = ctx.measureText(words).width + 6;
      ctx.fillStyle = C.card;
      ctx.fillRect(cx - wide / 2, cy - 7, wide, 14);
      text(words, cx, cy, { colour: ctx.strokeStyle, font: 10, align: "center" });
    }
  } else {
    // Only one end is known: a short stroke there.
    const lane = item.sent !== null ? source : target;
    if (!lane) return;
    const at = item.sent !== null ? left : right;
    const middle = barMiddle(lane);
    const down = item.sent !== null ? 1 : -1;
    ctx.beginPath();
    ctx.moveTo(at, middle);
    ctx.lineTo(at, middle + down * (lane.bar / 2 + 3));
    ctx.stroke();
    if (hits.length < MOST_HITS) hits.push({ item, line: [at, middle, at, middle + down * (lane.bar / 2 + 3)] });
  }
}

function head(fromX, fromY, toX, toY, length) {
  const angle = Math.atan2(toY - fromY, toX - fromX);
  ctx.beginPath();
  ctx.moveTo(toX, toY);
  ctx.lineTo(toX - length * Math.cos(angle - 0.4), toY - length * Math.sin(angle - 0.4));
  ctx.lineTo(toX - length * Math.cos(angle + 0.4), toY - length * Math.sin(angle + 0.4));
  ctx.closePath();
  ctx.fill();
}

function cross(at, middle) {
  ctx.lineWidth = 2;
  ctx.beginPath();
  ctx.moveTo(at - 4, middle - 4);
  ctx.lineTo(at + 4, middle + 4);
  ctx.moveTo(at - 4, middle + 4);
  ctx.lineTo(at + 4, middle - 4);
  ctx.stroke();
}

// Where the network was split and healed, through all lanes.
function drawSplitEdges() {
  if (!view.kinds.fault) return;
  inPlot(() => {
    ctx.setLineDash([3, 3]);
    ctx.lineWidth = 1;
    ctx.strokeStyle = C.cut;
    ctx.globalAlpha = 0.7;
    let last = -9;
    for (const split of overlapping(splits, view.from, view.to)) {
      for (const time of split.open ? [split.from] : [split.from, split.to]) {
        const at = Math.round(x(time)) + 0.5;
        if (Math.abs(at - last) < 2) continue;
        last = at;
        ctx.beginPath();
        ctx.moveTo(at, TOP);
        ctx.lineTo(at, view.height);
        ctx.stroke();
      }
    }
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  });
}

function drawHeader() {
  ctx.fillStyle = C.card;
  ctx.fillRect(0, 0, view.width, TOP);
  inPlot(() => {
    drawAxis();
    drawMesh(AXIS, MESH - 4);
    if (CUTS) drawSplits(AXIS + MESH, CUTS - 4);
    drawTraffic(AXIS + MESH + CUTS, TRAFFIC);
  });
  const names = [["mesh", AXIS + (MESH - 4) / 2], ["traffic", AXIS + MESH + CUTS + TRAFFIC / 2]];
  if (CUTS) names.push(["network", AXIS + MESH + (CUTS - 4) / 2]);
  for (const [name, middle] of names) text(name, view.gutter - 8, middle, { colour: C.soft, align: "right" });
  ctx.fillStyle = C.line;
  ctx.fillRect(0, TOP - 1, view.width, 1);
}

function drawAxis() {
  const step = tickStep(90);
  ctx.lineWidth = 1;
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    const at = Math.round(x(time)) + 0.5;
    ctx.strokeStyle = C.line;
    ctx.beginPath();
    ctx.moveTo(at, AXIS - 6);
    ctx.lineTo(at, TOP);
    ctx.stroke();
    text(tickLabel(time, step), at, AXIS / 2 - 1, { colour: C.soft, align: "center" });
  }
}

function meshWords(span) {
  if (span.nodes < 2) return span.nodes === 1 ? "one node" : "no node";
  if (span.whole) return `whole: ${span.nodes} nodes`;
  if (span.seen < span.pairs) return `incomplete: ${span.seen} of ${span.pairs}`;
  return "one that is gone is still taken for up";
}

const meshColour = (span) => (span.nodes < 2 ? C.idle : span.whole ? C.whole : span.seen > 0 || span.stale > 0 ? C.some : C.none);

// Spans shorter than a pixel are drawn together, as incomplete if one of them is.
function* merged(spans) {
  let held = null;
  for (const span of spans) {
    const [left, width] = box(span.from, span.to);
    if (held && left + width - held.left < 1) {
      held.width = left + width - held.left;
      if (held.span.whole) held.span = span;
      continue;
    }
    if (held) yield held;
    held = { span, left, width };
  }
  if (held) yield held;
}

function drawMesh(top, height) {
  let run = null;
  const close = (right) => {
    if (run) label(run.words, run.left, right - run.left, top + height / 2 + 0.5, { colour: run.colour, weight: 600 }, run.short);
  };
  for (const { span, left, width } of merged(visible(mesh, view.from, view.to))) {
    ctx.fillStyle = meshColour(span);
    ctx.fillRect(left, top, Math.max(width, 1), height);
    hit(span, left, top, width, height);
    close(left);
    run = { left, words: meshWords(span), short: span.whole ? "whole" : "", colour: span.nodes < 2 ? C.soft : C["on-bar"] };
  }
  close(x(Math.min(raw.end, view.to)));
}

function drawSplits(top, height) {
  for (const split of overlapping(splits, view.from, view.to)) {
    const [left, width] = box(split.from, split.to);
    ctx.globalAlpha = 0.16;
    ctx.fillStyle = C.cut;
    ctx.fillRect(left, top, width, height);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = C.cut;
    ctx.lineWidth = 1;
    ctx.strokeRect(left + 0.5, top + 0.5, Math.max(0, width - 1), height - 1);
    hit(split, left, top, width, height);
    drawSplitWords(split, left, width, top + height / 2 + 0.5);
  }
}

function drawSplitWords(split, left, width, middle) {
  const parts = split.islands.length > 1
    ? split.islands.flatMap((members, index) => [...(index ? [{ words: "✕", colour: C.cut }] : []), { words: hostList(members), colour: island(index), chip: true }])
    : [{ words: `cut: ${split.text}`, colour: C.cut }];
  ctx.font = `600 11px ${FONT}`;
  const sizes = parts.map((part) => ctx.measureText(part.words).width + (part.chip ? 12 : 0));
  const wide = sizes.reduce((sum, size) => sum + size + 6, 6);
  if (wide > width) return label("✕", left, width, middle, { colour: C.cut, weight: 700 });
  let at = left + Math.max(6, (width - wide) / 2);
  parts.forEach((part, index) => {
    if (part.chip) {
      ctx.fillStyle = part.colour;
      ctx.beginPath();
      ctx.roundRect(at, middle - 7.5, sizes[index], 15, 4);
      ctx.fill();
      text(part.words, at + 6, middle + 0.5, { colour: "#fff", weight: 600 });
    } else {
      text(part.words, at, middle, { colour: part.colour, weight: 700 });
    }
    at += sizes[index] + 6;
  });
}

// How many messages and frames begin in each two pixels.
function drawTraffic(top, height) {
  const wide = 3;
  const columns = Math.ceil(plot() / wide);
  const order = groups();
  const counts = Array.from({ length: columns }, (_, i) => {
    const [from, to] = [timeAt(view.gutter + i * wide), timeAt(view.gutter + (i + 1) * wide)];
    return order.map((group) => flights[group].count(from, to));
  });
  const most = Math.max(4, ...counts.map((list) => list.reduce((a, b) => a + b, 0)));
  const scale = (n) => (n ? 2 + (Math.log1p(n) / Math.log1p(most)) * (height - 6) : 0);
  counts.forEach((list, i) => {
    let total = 0;
    list.forEach((count, which) => {
      if (!count) return;
      const low = scale(total);
      total += count;
      const high = scale(total);
      ctx.fillStyle = C[KIND_COLOUR[order[which]]];
      ctx.fillRect(view.gutter + i * wide, top + height - high, wide - 0.5, high - low);
    });
  });
}

function drawNames() {
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, TOP, view.gutter, view.height - TOP);
  ctx.clip();
  for (const lane of view.lanes) {
    const top = laneTop(lane);
    if (top + lane.height < TOP || top > view.height) continue;
    ctx.fillStyle = lane.order % 2 ? C["lane-odd"] : C.lane;
    ctx.fillRect(0, top, view.gutter, lane.height);
    const font = Math.max(8, Math.min(13, lane.height - 1));
    text(lane.host.name, view.gutter - 12, barMiddle(lane) + 0.5, { font, weight: 600, align: "right" });
    if (!lane.detailed || view.open.has(lane.host.index)) {
      text(view.open.has(lane.host.index) ? "▾" : "▸", 6, barMiddle(lane), { colour: C.soft, font: Math.min(10, lane.bar + 1) });
    }
    if (lane.detailed && lane.row >= 8) {
      lane.rows.forEach((peer, index) => {
        const middle = rowsTop(lane) + (index + 0.5) * lane.row - 1;
        text(hostName(peer), view.gutter - 12, middle, { colour: C.soft, font: Math.min(10, lane.row - 1), align: "right" });
      });
    }
    hit({ type: "name", host: lane.host.index }, 0, top, view.gutter, lane.height);
  }
  ctx.restore();
  ctx.fillStyle = C.line;
  ctx.fillRect(view.gutter - 1, 0, 1, view.height);
}

function drawViolations() {
  for (const violation of violations) {
    const at = x(violation.at);
    if (at < view.gutter - 1 || at > view.width + 1) continue;
    ctx.fillStyle = C.violation;
    ctx.fillRect(at - 1, 4, 2, view.height);
    ctx.font = `700 11px ${FONT}`;
    const wide = ctx.measureText("violation").width + 12;
    const left = Math.min(at - 1, view.width - wide);
    ctx.beginPath();
    ctx.roundRect(left, 2, wide, 17, 3);
    ctx.fill();
    text("violation", left + 6, 11, { colour: "#fff", weight: 700 });
    hit(violation, left, 2, wide, 17);
    const lane = view.laneOf.get(violation.host);
    if (lane && barTop(lane) > TOP) {
      ctx.strokeStyle = C.violation;
      ctx.lineWidth = 2;
      ctx.strokeRect(at - 8, barTop(lane) - 2, 16, lane.bar + 4);
    }
  }
}

// Where the matches of the search are.
function drawMatches() {
  ctx.fillStyle = C.accent;
  let last = -9;
  for (const item of view.matches) {
    const at = x(item.at ?? item.from);
    if (at < view.gutter || at > view.width || at - last < 2) continue;
    last = at;
    ctx.beginPath();
    ctx.moveTo(at - 4, AXIS - 7);
    ctx.lineTo(at + 4, AXIS - 7);
    ctx.lineTo(at, AXIS);
    ctx.fill();
  }
}

function drawSelected() {
  const item = view.selected;
  if (!item) return;
  const found = hits.find((candidate) => candidate.item === item && !candidate.line);
  ctx.strokeStyle = C.accent;
  ctx.lineWidth = 2;
  if (found) {
    ctx.strokeRect(found.left - 1.5, found.top - 1.5, found.width + 3, found.height + 3);
    return;
  }
  const at = x(item.at ?? item.from);
  if (at < view.gutter || at > view.width) return;
  ctx.globalAlpha = 0.6;
  ctx.fillStyle = C.accent;
  ctx.fillRect(at - 0.75, AXIS, 1.5, view.height);
  ctx.globalAlpha = 1;
}

function drawPointer() {
  if (view.brush) {
    const [a, b] = [Math.min(...view.brush), Math.max(...view.brush)];
    ctx.globalAlpha = 0.18;
    ctx.fillStyle = C.accent;
    ctx.fillRect(a, 0, b - a, view.height);
    ctx.globalAlpha = 1;
    text(span(timeAt(b) - timeAt(a)), (a + b) / 2, AXIS / 2, { weight: 600, align: "center" });
    return;
  }
  if (!view.pointer || view.pointer[0] < view.gutter) return;
  const [at] = view.pointer;
  ctx.globalAlpha = 0.45;
  ctx.fillStyle = C.text;
  ctx.fillRect(at, AXIS, 1, view.height);
  ctx.globalAlpha = 1;
  const words = tickLabel(timeAt(at), tickStep(4));
  ctx.font = `600 11px ${FONT}`;
  const wide = ctx.measureText(words).width + 10;
  const left = Math.max(view.gutter, Math.min(at - wide / 2, view.width - wide));
  ctx.fillStyle = C.text;
  ctx.beginPath();
  ctx.roundRect(left, 2, wide, 18, 4);
  ctx.fill();
  text(words, left + 5, 11.5, { colour: C.card, weight: 600 });
}

function drawScrollbar() {
  const room = view.height - TOP;
  if (view.content <= room + 1) return;
  const length = Math.max(24, (room / view.content) * room);
  const top = TOP + (view.scroll / (view.content - room)) * (room - length);
  ctx.fillStyle = C.soft;
  ctx.globalAlpha = 0.5;
  ctx.beginPath();
  ctx.roundRect(view.width - 7, top, 5, length, 3);
  ctx.fill();
  ctx.globalAlpha = 1;
}

// The whole run on one strip, with a frame around what is in view.
function drawOverview() {
  const [width, height] = size(overview, octx);
  const [first, last] = whole();
  const at = (time) => view.gutter + ((time - first) / (last - first)) * (width - view.gutter);
  let held = -1;
  for (const piece of mesh) {
    const [left, right] = [at(piece.from), at(piece.to)];
    if (right < held + 0.5 && piece.whole) continue;
    octx.fillStyle = meshColour(piece);
    octx.fillRect(Math.round(left), 6, Math.max(Math.round(right) - Math.round(left), 1), 11);
    held = right;
  }
  for (const split of splits) {
    octx.fillStyle = C.cut;
    octx.fillRect(at(split.from), 19, Math.max(1, at(split.to) - at(split.from)), 4);
  }
  for (const moment of story) {
    if (moment.kind !== "host" && moment.kind !== "fault") continue;
    octx.fillStyle = moment.kind === "fault" ? C.fault : C.text;
    octx.fillRect(at(moment.at) - 0.5, 2, 1.5, 4);
  }
  octx.fillStyle = C.accent;
  for (const item of view.matches) octx.fillRect(at(item.at ?? item.from) - 0.5, 24, 1, 5);
  octx.fillStyle = C.violation;
  for (const violation of violations) octx.fillRect(at(violation.at) - 1, 0, 2, height);
  octx.fillStyle = C.soft;
  octx.font = `11px ${FONT}`;
  octx.textAlign = "right";
  octx.textBaseline = "middle";
  octx.fillText("all", view.gutter - 8, 12);
  const [left, right] = [Math.max(view.gutter, at(view.from)), Math.min(width, at(view.to))];
  octx.globalAlpha = 0.55;
  octx.fillStyle = C.card;
  octx.fillRect(view.gutter, 0, left - view.gutter, height);
  octx.fillRect(right, 0, width - right, height);
  octx.globalAlpha = 1;
  octx.strokeStyle = C.accent;
  octx.lineWidth = 1.5;
  octx.strokeRect(left + 0.75, 1, Math.max(3, right - left - 1.5), height - 2);
}

// What lies under a point: the last thing drawn there.
function under(px, py) {
  for (let i = hits.length - 1; i >= 0; i--) {
    const { item, line, left, top, width, height } = hits[i];
    if (line) {
      if (distance(px, py, line) < 5) return item;
    } else if (px >= left && px <= left + width && py >= top && py <= top + height) {
      if (item.type === "name" || item.type === "violation" || px >= view.gutter) return item;
    }
  }
  return null;
}

function distance(px, py, [ax, ay, bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = Math.max(0, Math.min(1, ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(px - ax - along * dx, py - ay - along * dy);
}
