// Draws what is in view, and remembers where, so that it can be pointed at.

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

// On a layer of its own, so that following the pointer redraws nothing else.
function drawPointer() {
  size(layer, lctx);
  if (view.brush) {
    const [a, b] = [Math.min(...view.brush), Math.max(...view.brush)];
    lctx.globalAlpha = 0.18;
    lctx.fillStyle = C.accent;
    lctx.fillRect(a, 0, b - a, view.height);
    lctx.globalAlpha = 1;
    text(span(timeAt(b) - timeAt(a)), (a + b) / 2, AXIS / 2, { weight: 600, align: "center", on: lctx });
    return;
  }
  if (!view.pointer || view.pointer[0] < view.gutter) return;
  const [at] = view.pointer;
  lctx.globalAlpha = 0.45;
  lctx.fillStyle = C.text;
  lctx.fillRect(at, AXIS, 1, view.height);
  lctx.globalAlpha = 1;
  const words = tickLabel(timeAt(at), tickStep(4));
  lctx.font = `600 11px ${FONT}`;
  const wide = lctx.measureText(words).width + 10;
  const left = Math.max(view.gutter, Math.min(at - wide / 2, view.width - wide));
  lctx.fillStyle = C.text;
  lctx.beginPath();
  lctx.roundRect(left, 2, wide, 18, 4);
  lctx.fill();
  text(words, left + 5, 11.5, { colour: C.card, weight: 600, on: lctx });
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
