// What stands above the lanes: the axis, the mesh as a whole, the network, the traffic, and the strip of the whole run.

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
    if (run && right - run.left > 40) label(run.words, run.left, right - run.left, top + height / 2 + 0.5, { colour: run.colour, rim: run.rim, weight: 600 }, run.short);
  };
  for (const { span, left, width } of merged(visible(mesh, view.from, view.to))) {
    ctx.fillStyle = meshColour(span);
    ctx.fillRect(left, top, Math.max(width, 1), height);
    hit(span, left, top, width, height);
    close(left);
    run = { left, words: meshWords(span), short: span.whole ? "whole" : "", colour: span.nodes < 2 ? C.soft : C["on-bar"], rim: span.nodes < 2 ? null : "rgb(0 0 0 / .25)" };
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
  ctx.font = `600 11px ${FONT}`;
  const measure = (parts) => parts.map((part) => ctx.measureText(part.words).width + (part.chip ? 12 : 0));
  const total = (sizes) => sizes.reduce((sum, size) => sum + size + 6, 6);
  const sides = (name) => split.islands.flatMap((members, index) =>
    [...(index ? [{ words: "✕", colour: C.cut }] : []), { words: name(members), colour: island(index), chip: true }]);
  let parts = [{ words: `cut: ${split.text}`, colour: C.cut }];
  if (split.islands.length > 1) {
    parts = sides(hostList);
    if (total(measure(parts)) > width) parts = sides((members) => `${members.length}`);
  }
  const sizes = measure(parts);
  const wide = total(sizes);
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
