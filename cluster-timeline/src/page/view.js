// What part of the run is looked at, and where on the canvas things are.

const AXIS = 24;
const MESH = 26;
const CUTS = splits.length ? 24 : 0;
const TRAFFIC = 26;
const TOP = AXIS + MESH + CUTS + TRAFFIC + 6;
const NOTES = 12;
const NARROWEST = 200; // nanoseconds

const view = {
  from: T0, to: T1, scroll: 0, width: 0, height: 0, gutter: 60,
  lanes: [], content: 0,
  open: new Set(), only: null,
  kinds: { event: true, call: true, fault: true, notice: false, link: true, message: true, control: true, data: false, heartbeat: false },
  selected: null, pointer: null, brush: null, matches: [], match: -1, query: "",
};

const PAD = 0.015;
const whole = () => {
  const pad = (T1 - T0) * PAD;
  return [T0 - pad, T1 + pad];
};

const plot = () => Math.max(10, view.width - view.gutter);
const x = (time) => view.gutter + ((time - view.from) / (view.to - view.from)) * plot();
const timeAt = (px) => view.from + ((px - view.gutter) / plot()) * (view.to - view.from);

function show(from, to) {
  const [first, last] = whole();
  let width = Math.min(Math.max(to - from, NARROWEST), last - first);
  let start = from + (to - from - width) / 2;
  start = Math.max(first, Math.min(start, last - width));
  view.from = start;
  view.to = start + width;
  refresh();
}

const fit = () => show(...whole());

function zoom(factor, px = view.gutter + plot() / 2) {
  const fixed = timeAt(px);
  show(fixed - (fixed - view.from) * factor, fixed + (view.to - fixed) * factor);
}

function pan(pixels) {
  const by = (pixels / plot()) * (view.to - view.from);
  show(view.from + by, view.to + by);
}

// Looks at a time so closely that what happens around it can be told apart, or not at all nearer than it is looked at now.
function jump(time, width = Math.min(view.to - view.from, Math.max(2e9, (T1 - T0) / 30))) {
  show(time - width / 2, time + width / 2);
}

function scrollTo(value) {
  view.scroll = Math.max(0, Math.min(value, view.content - (view.height - TOP)));
  refresh();
}

const shown = () => hosts.filter((host) => (view.only ? view.only.has(host.index) : true));

// Gives every lane its place: roomy ones have a row per peer, others only a bar.
function layout() {
  const list = shown();
  const room = view.height - TOP - 4;
  const each = room / Math.max(1, list.length);
  const bands = (host) => (host.bands.length ? 14 : 0);
  const rowsOf = (host) => (view.only ? host.rows.filter((peer) => view.only.has(peer)) : host.rows);
  const roomy = list.every((host) => 10 + 14 + NOTES + bands(host) + rowsOf(host).length * 3 <= each);
  let y = 0;
  view.lanes = list.map((host, order) => {
    const open = view.open.has(host.index);
    const rows = open && !roomy ? host.rows : rowsOf(host);
    let height, bar;
    let row = 0;
    if (roomy || open) {
      bar = roomy ? Math.max(14, Math.min(22, each / 6)) : 14;
      const free = each - bar - NOTES - bands(host) - 14;
      row = rows.length ? Math.min(30, Math.max(open ? 9 : 3, free / rows.length)) : 0;
      height = bar + NOTES + bands(host) + row * rows.length + 14;
    } else {
      height = Math.max(8, Math.min(30, each));
      bar = Math.max(6, height - (height > 16 ? 6 : 2));
    }
    const lane = { host, order, rows, y, height, bar, row, band: row || roomy || open ? bands(host) : 0, detailed: roomy || open };
    y += height;
    return lane;
  });
  view.content = y + 4;
  view.laneOf = new Map(view.lanes.map((lane) => [lane.host.index, lane]));
  view.scroll = Math.max(0, Math.min(view.scroll, view.content - (view.height - TOP)));
}

const laneTop = (lane) => TOP + lane.y - view.scroll;
const barTop = (lane) => laneTop(lane) + (lane.detailed ? 6 : (lane.height - lane.bar) / 2);
const barMiddle = (lane) => barTop(lane) + lane.bar / 2;
const rowsTop = (lane) => barTop(lane) + lane.bar + NOTES + lane.band;

// The steps of the axis: 1, 2 or 5 of a power of ten, at least so many pixels apart.
function tickStep(pixels) {
  const least = (pixels / plot()) * (view.to - view.from);
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least);
}

function tickLabel(time, step) {
  const decimals = Math.min(9, Math.max(0, -Math.floor(Math.log10(step / 1e9) + 1e-9)));
  return `${(time / 1e9).toFixed(decimals)} s`;
}

let pending = false;
function refresh() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    draw();
  });
}
