// Messages and frames, as arrows from lane to lane.

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
