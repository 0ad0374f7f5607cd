// Hands, keys, and the start.

const KINDS = [
  ["event", "events"], ["call", "calls"], ["fault", "faults"], ["link", "links"], ["message", "messages"],
  ["control", "control frames"], ["data", "data frames"], ["heartbeat", "heartbeats"], ["notice", "notices"],
];

function kindCount(kind) {
  if (flights[kind]) return flights[kind].all.length;
  if (kind === "link") return links.length;
  return notes.filter((note) => note.group === kind).length;
}

function fillKinds() {
  for (const [kind, words] of KINDS) {
    const dot = element("i");
    dot.style.background = `var(--${KIND_COLOUR[kind]})`;
    const count = element("small", { textContent: kindCount(kind).toLocaleString("en") });
    const button = element("button", { type: "button" }, dot, words, count);
    const set = () => button.setAttribute("aria-pressed", view.kinds[kind]);
    button.onclick = () => {
      view.kinds[kind] = !view.kinds[kind];
      set();
      search($("search").value);
    };
    set();
    $("kinds").append(button);
  }
}

function fillSigns() {
  const signs = [
    ["background: var(--whole)", "a node that sees every other"],
    ["background: linear-gradient(transparent 50%, var(--some) 50%); box-shadow: inset 0 0 0 1px var(--some)", "sees some; the fuller, the more"],
    ["background: var(--none)", "sees nobody; in a row: this peer is lost"],
    ["background: var(--crashed)", "crashed"],
    ["background: var(--paused)", "paused"],
    ["background: repeating-linear-gradient(135deg, var(--cut) 0 2px, transparent 2px 6px)", "nothing gets through"],
    ["background: linear-gradient(90deg, var(--island-0) 50%, var(--island-1) 50%)", "the two sides of a split"],
    ["background: repeating-linear-gradient(135deg, var(--fault) 0 2px, transparent 2px 6px)", "another fault of the host"],
    ["height: 2px; background: var(--text)", "a link; dashed: not accepted yet"],
    ["height: 2px; background: var(--message)", "a message, from user to user"],
    ["height: 2px; background: var(--control)", "a frame, from node to node"],
    ["background: var(--violation); width: 3px; height: 16px", "a violation"],
  ];
  for (const [style, words] of signs) {
    const sign = element("i");
    sign.style.cssText += style;
    $("signs").append(element("span", {}, sign, words));
  }
}

// "0-3 7" or "n0 n2": the hosts that are meant; null: all.
function parseNodes(words) {
  const wanted = new Set();
  for (const part of words.split(/[\s,]+/).filter(Boolean)) {
    const range = part.match(/^n?(\d+)(?:[-–]n?(\d+))?$/);
    if (range) {
      const [first, last] = [Number(range[1]), Number(range[2] ?? range[1])];
      for (const host of hosts) if (host.index >= first && host.index <= last) wanted.add(host.index);
    }
  }
  return wanted.size ? wanted : null;
}

function showVerdict() {
  const button = $("verdict");
  if (violations.length) {
    button.className = "bad";
    button.textContent = `Violation at ${clock(violations[0].at)}: ${violations[0].text.split("\n")[0]}`;
    button.title = "Go there (V)";
    button.onclick = goToViolation;
  } else {
    button.textContent = "no violation";
    button.tabIndex = -1;
  }
}

function goToViolation() {
  if (!violations.length) return;
  const wide = Math.max(Math.min(20e9, T1 - T0), (T1 - T0) / 20);
  show(violations[0].at - wide * 0.8, violations[0].at + wide * 0.2);
  select(violations[0]);
}

function clickName(host) {
  view.open.has(host) ? view.open.delete(host) : view.open.add(host);
  refresh();
}

function tip(event) {
  const box = $("tip");
  const item = view.pointer && !dragging ? under(...view.pointer) : null;
  box.hidden = !item || item.type === "name";
  canvas.classList.toggle("pointing", Boolean(item));
  if (box.hidden) return;
  const [title, lines] = describe(item);
  const more = lines.when ?? (lines.taken ? `${lines.sent} → ${lines.taken}` : lines.arrived ? `${lines.sent} → ${lines.arrived}` : lines.at);
  box.textContent = [title, lines.reason ?? lines["ended by"], more].filter(Boolean).join("\n");
  const stage = $("stage").getBoundingClientRect();
  const [px, py] = [event.clientX - stage.left, event.clientY - stage.top];
  box.style.left = `${Math.max(4, Math.min(px + 14, stage.width - box.offsetWidth - 6))}px`;
  box.style.top = `${py + 18 + box.offsetHeight > stage.height ? py - box.offsetHeight - 10 : py + 18}px`;
}

let dragging = null;
const spot = (event) => {
  const edge = canvas.getBoundingClientRect();
  return [event.clientX - edge.left, event.clientY - edge.top];
};

function listen() {
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const at = spot(event);
    dragging = { start: at, last: at, moved: false, brush: event.shiftKey && at[0] > view.gutter };
    canvas.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    view.pointer = spot(event);
    if (dragging) {
      const [px, py] = view.pointer;
      if (Math.hypot(px - dragging.start[0], py - dragging.start[1]) > 4) dragging.moved = true;
      if (dragging.brush) {
        view.brush = [dragging.start[0], px];
      } else if (dragging.moved) {
        canvas.classList.add("grabbed");
        pan(dragging.last[0] - px);
        scrollTo(view.scroll + dragging.last[1] - py);
      }
      dragging.last = [px, py];
    }
    tip(event);
    drawPointer();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!dragging) return;
    const { moved, brush, start } = dragging;
    const [px, py] = spot(event);
    dragging = null;
    view.brush = null;
    canvas.classList.remove("grabbed");
    if (moved && brush) {
      show(timeAt(Math.min(start[0], px)), timeAt(Math.max(start[0], px)));
    } else if (!moved) {
      const item = under(px, py);
      if (item?.type === "name") clickName(item.host); else select(item);
    }
    refresh();
  });
  canvas.addEventListener("pointercancel", () => {
    dragging = view.brush = null;
    refresh();
  });
  canvas.addEventListener("pointerleave", () => {
    view.pointer = null;
    $("tip").hidden = true;
    drawPointer();
  });
  canvas.addEventListener("dblclick", (event) => {
    const [px] = spot(event);
    if (px > view.gutter) zoom(0.3, px);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [px] = spot(event);
    const unit = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
    const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
    if (px < view.gutter) scrollTo(view.scroll + dy);
    else if (event.shiftKey) pan(dy || dx);
    else if (Math.abs(dx) > Math.abs(dy)) pan(dx);
    else zoom(Math.exp(Math.max(-300, Math.min(300, dy)) * 0.0022), px);
    $("tip").hidden = true;
  }, { passive: false });

  const lookAt = (event) => {
    const edge = overview.getBoundingClientRect();
    const [first, last] = whole();
    const time = first + ((event.clientX - edge.left - view.gutter) / (edge.width - view.gutter)) * (last - first);
    show(time - (view.to - view.from) / 2, time + (view.to - view.from) / 2);
  };
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    lookAt(event);
  });
  overview.addEventListener("pointermove", (event) => event.buttons & 1 && lookAt(event));

  $("fit").onclick = fit;
  $("in").onclick = () => zoom(0.5);
  $("out").onclick = () => zoom(2);
  $("ask").onclick = () => $("help").showModal();
  $("nodes").oninput = (event) => {
    view.only = parseNodes(event.target.value);
    view.scroll = 0;
    refresh();
  };
  $("search").oninput = (event) => search(event.target.value);
  $("search").onkeydown = (event) => {
    if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1);
  };
  document.addEventListener("keydown", key);
  new ResizeObserver(refresh).observe($("stage"));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => {
    colours();
    refresh();
  });
}

const KEYS = {
  ArrowLeft: () => pan(-plot() * 0.15),
  ArrowRight: () => pan(plot() * 0.15),
  ArrowUp: () => scrollTo(view.scroll - 60),
  ArrowDown: () => scrollTo(view.scroll + 60),
  PageUp: () => scrollTo(view.scroll - view.height / 2),
  PageDown: () => scrollTo(view.scroll + view.height / 2),
  "+": () => zoom(0.6, view.pointer?.[0]),
  "=": () => zoom(0.6, view.pointer?.[0]),
  "-": () => zoom(1 / 0.6, view.pointer?.[0]),
  "−": () => zoom(1 / 0.6, view.pointer?.[0]),
  f: fit, F: fit, Home: fit, 0: fit,
  n: () => step(1), N: () => step(1),
  p: () => step(-1), P: () => step(-1),
  v: goToViolation, V: goToViolation,
  "?": () => $("help").showModal(),
};

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    select(null);
  } else if (!typing && event.key === "/") {
    event.preventDefault();
    $("search").focus();
  } else if (!typing && KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
}

colours();
$("run").textContent = `seed ${raw.seed} · ${hosts.length} ${hosts.length === 1 ? "host" : "hosts"} · ${raw.length}`;
$("run").title = `trace hash ${raw.hash}`;
showVerdict();
fillKinds();
fillSigns();
fillStory();
listen();
[view.from, view.to] = whole();
if (violations.length) goToViolation();
refresh();
