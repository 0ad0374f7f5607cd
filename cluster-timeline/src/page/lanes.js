// A lane for each host: what it does, whom it sees, what is wrong with it.

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
      const rim = span.state === "left" ? null : "rgb(0 0 0 / .4)";
      label(words, left, width, top + height / 2, { colour, rim, font: Math.min(11, height - 3), weight: 600 });
    }
    hit(span, left, top, width, height);
  }
}

function drawSeen(lane, span, top, height) {
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
  for (const [from, to, seen, nodes] of sights(lane.host, Math.max(span.from, view.from), Math.min(span.to, view.to))) {
    const [left, right] = [x(from), x(to)];
    const piece = { share: nodes > 1 ? Math.min(1, seen / (nodes - 1)) : 1, colour: seenColour(seen, nodes - 1) };
    if (right - left < 1) {
      if (!held) held = { left, piece };
      else if (piece.share < held.piece.share) held.piece = piece;
      held.right = right;
      if (right - held.left < 1) continue;
    }
    if (held) paint(held.left, held.right, held.piece);
    if (right - left >= 1) paint(left, right, piece);
    held = null;
  }
  if (held) paint(held.left, held.right, held.piece);
}

// What a node takes one peer for, its links with it, and whether the way between the two is cut.
function drawRow(lane, peer, index) {
  const top = rowsTop(lane) + index * lane.row;
  const height = Math.max(1.5, lane.row - (lane.row > 7 ? 2 : lane.row > 4 ? 1 : 0.5));
  if (top + height < TOP || top > view.height) return;
  ctx.fillStyle = C.idle;
  ctx.globalAlpha = 0.5;
  ctx.fillRect(view.gutter, top, plot(), height);
  // A host may be lost under one id and up under another: up is what counts.
  for (const span of peerSpans(lane.host, peer)) {
    const [left, width] = box(span.from, span.to);
    ctx.fillStyle = C.card;
    ctx.globalAlpha = 1;
    ctx.fillRect(left, top, width, height);
    ctx.globalAlpha = span.up ? 0.5 : 0.75;
    ctx.fillStyle = span.up ? C.whole : C.none;
    ctx.fillRect(left, top, width, height);
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

function* peerSpans(host, peer) {
  for (const spans of [host.lost.get(peer), host.peers.get(peer)]) {
    if (spans) yield* overlapping(spans, view.from, view.to);
  }
}

function nameRow(lane, peer, top, height) {
  for (const span of peerSpans(lane.host, peer)) {
    const [left, width] = box(span.from, span.to);
    const words = `${hostName(peer)} ${span.up ? "up" : "lost"}`;
    ctx.font = `400 10.5px ${FONT}`;
    const wide = ctx.measureText(words).width + 8;
    if (wide + 4 > width) continue;
    if (!span.up) {
      const up = (lane.host.peers.get(peer) ?? []).some((other) => other.from <= span.from && other.to > span.from);
      if (up) continue;
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
    const edge = lane.detailed ? 4 : Math.max(3, lane.bar / 2.5);
    let colour = C.cut;
    for (const split of visible(splits, Math.max(band.from, view.from), Math.min(band.to, view.to))) {
      const [begun, wide] = box(Math.max(band.from, split.from), Math.min(band.to, split.to));
      ctx.fillStyle = colour = split.islands.length > 1 ? island(islandOf(split, lane.host.index)) : C.cut;
      ctx.fillRect(begun, top - (lane.detailed ? 4 : 0), wide, edge);
    }
    hit(band, left, top - 4, width, lane.detailed ? 6 : lane.bar / 2);
    if (lane.detailed && lane.bar >= 12) {
      const names = band.others.length > 12 ? `${band.others.length} hosts` : hostList(band.others);
      const words = `cut off from ${names}${band.oneWay ? " (one way)" : ""}`;
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
  } else if (kind === "fault" || kind === "condition" || kind === "event") {
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
