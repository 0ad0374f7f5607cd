// The canvas, its colours, and what is drawn with again and again.

const canvas = document.getElementById("chart");
const overview = document.getElementById("overview");
const ctx = canvas.getContext("2d");
const octx = overview.getContext("2d");
const layer = document.getElementById("pointer");
const lctx = layer.getContext("2d");
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
const NOTE_COLOUR = { up: "whole", down: "none", event: "control", call: "call", fault: "fault", condition: "fault", notice: "soft", puppet: "puppet", app: "call" };
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

function text(content, left, top, { colour = C.text, font = 11, weight = 400, align = "left", rim = null, on = ctx } = {}) {
  on.font = `${weight} ${font}px ${FONT}`;
  on.textAlign = align;
  on.textBaseline = "middle";
  if (rim) {
    on.strokeStyle = rim;
    on.lineWidth = 2.5;
    on.lineJoin = "round";
    on.strokeText(content, left, top);
  }
  on.fillStyle = colour;
  on.fillText(content, left, top);
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
