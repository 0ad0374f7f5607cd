// The panel beside the chart: details of what was clicked, and the story of the run.

const $ = (id) => document.getElementById(id);

// Texts go in as text, never as markup.
function element(name, props = {}, ...children) {
  const made = Object.assign(document.createElement(name), props);
  made.append(...children);
  return made;
}

const at = (time) => (time === null || time === undefined ? "—" : clock(time));
const yes = (is) => (is ? "yes" : "no");
const lasting = (item) => `${at(item.from)} – ${item.open ? "the end" : at(item.to)} (${span(item.to - item.from)})`;

// A title and lines for anything that can be clicked.
const DESCRIBE = {
  state: (item) => [`${hostName(item.host)}: ${item.state}`, {
    address: hosts[item.host].address, run: item.run || "—", when: lasting(item),
    sees: item.state === "running" && view.pointer ? `${stepAt(hosts[item.host].seen, timeAt(view.pointer[0]))} of ${Math.max(0, stepAt(nodeSteps, timeAt(view.pointer[0])) - 1)} others, at the pointer` : undefined,
  }],
  fault: (item) => [item.kind === "cut" ? `cut: nothing gets from ${hostName(item.host)} to ${hostName(item.other)}` : `${hostName(item.host)}: ${item.kind}`, {
    towards: item.other >= 0 ? hostName(item.other) : undefined, when: lasting(item),
  }],
  band: (item) => [`${hostName(item.host)} is cut off`, {
    from: hostList(item.others), ways: item.oneWay ? "some in one direction only" : "both directions", when: lasting(item),
  }],
  peer: (item) => [`${hostName(item.host)} takes ${hostName(item.peer)} for ${item.up ? "up" : "lost"}`, {
    when: lasting(item), "ended by": item.open ? undefined : item.why || "—",
  }],
  link: (item) => [`link of ${hostName(item.host)} with ${hostName(item.peer)}`, {
    "dialled by": item.outbound ? hostName(item.host) : hostName(item.peer), remote: item.remote,
    opened: at(item.from), handshake: at(item.connected), accepted: at(item.granted),
    ended: item.open ? "not yet" : at(item.ended), reason: item.why || undefined,
    connection: item.connection ?? undefined, link: item.link,
  }],
  message: (item) => [`message from ${hostName(item.source)} to ${hostName(item.target)}`, {
    bytes: item.bytes, sent: at(item.sent), taken: at(item.got),
    "on its way": item.got !== null && item.sent !== null ? span(item.got - item.sent) : undefined,
    "given up": item.got === null && item.lost !== null ? `${at(item.lost)}: the session was over` : undefined,
  }],
  frame: (item) => [`${item.kind} from ${hostName(item.source)} to ${hostName(item.target)}`, {
    content: item.text, sent: at(item.sent), arrived: at(item.got),
    "on its way": item.got !== null && item.sent !== null ? span(item.got - item.sent) : undefined,
    connection: item.connection,
  }],
  note: (item) => [item.host >= 0 ? `${hostName(item.host)}: ${item.text}` : item.text, {
    kind: { up: "event", down: "event", call: "call of the user", fault: "fault", condition: "lasting fault, or its end", notice: "notice", puppet: "puppet", app: "line of the application" }[item.kind] ?? item.kind,
    about: item.peer >= 0 ? hostName(item.peer) : undefined, at: at(item.at),
  }],
  mesh: (item) => [`mesh: ${meshWords(item)}`, {
    nodes: item.nodes, "see each other": `${item.seen} of ${item.pairs} ordered pairs`, "seen though gone": item.stale || undefined, when: lasting(item),
  }],
  split: (item) => [item.islands.length > 1 ? "the network is split" : "some ways are cut", {
    who: item.islands.length > 1 ? item.islands.map(hostList).join("\n✕ ") : item.text, when: lasting(item),
  }],
  moment: (item) => [item.text, { at: at(item.at), kind: item.kind }],
  violation: (item) => [`violation${item.host >= 0 ? ` at ${hostName(item.host)}` : ""}`, { what: item.text, at: at(item.at) }],
  name: (item) => [hosts[item.host].name, { address: hosts[item.host].address }],
};

const describe = (item) => DESCRIBE[item.type](item);

function select(item) {
  view.selected = item;
  const card = $("details");
  card.hidden = !item;
  card.replaceChildren();
  if (item) {
    const [title, lines] = describe(item);
    const list = element("dl");
    for (const [key, value] of Object.entries(lines)) {
      if (value !== undefined) list.append(element("dt", { textContent: key }), element("dd", { textContent: String(value) }));
    }
    const close = element("button", { className: "close", textContent: "✕", title: "Close (Esc)", onclick: () => select(null) });
    const go = element("button", { className: "go", textContent: "Zoom to it", onclick: () => zoomTo(item) });
    card.append(close, element("h3", { textContent: title }), list, go);
  }
  lightStory();
  refresh();
}

function zoomTo(item) {
  const from = item.from ?? item.at;
  const to = item.to ?? item.at;
  const pad = to > from ? (to - from) * 0.6 : Math.min(5e6, (T1 - T0) / 50);
  show(from - pad, to + pad);
}

const MOST_MOMENTS = 1000;
function fillStory() {
  const list = $("story");
  story.slice(0, MOST_MOMENTS).forEach((moment) => {
    const sign = element("i");
    sign.style.background = `var(--${MOMENT_COLOUR[moment.kind]})`;
    const line = element("li", { className: moment.kind, onclick: () => visit(moment) },
      element("time", { textContent: storyTime(moment.at) }), sign, element("b", { textContent: moment.text }));
    moment.line = line;
    list.append(line);
  });
  if (story.length > MOST_MOMENTS) list.append(element("li", { className: "more", textContent: `${story.length - MOST_MOMENTS} more are not listed` }));
  if (!story.length) list.append(element("li", { className: "more", textContent: "nothing worth telling" }));
  const missing = Object.entries(raw.hidden).filter(([, count]) => count > 0).map(([name, count]) => `${count.toLocaleString("en")} ${name}`);
  $("hidden").textContent = missing.length ? `Not kept, the oldest of their kind: ${missing.join(", ")}.` : "";
}

const storyTime = (time) => `${(time / 1e9).toFixed(3)} s`;

function lightStory() {
  for (const moment of story) moment.line?.classList.toggle("current", moment === view.selected);
}

function visit(moment) {
  select(moment);
  if (view.to - view.from > (T1 - T0) / 3) refresh(); else jump(moment.at, view.to - view.from);
  moment.line?.scrollIntoView({ block: "nearest" });
}

function step(direction) {
  if (!story.length) return;
  const here = view.selected?.type === "moment" ? story.indexOf(view.selected) : -1;
  const middle = (view.from + view.to) / 2;
  const next = here >= 0 ? here + direction : direction > 0 ? story.findIndex((moment) => moment.at >= middle) : story.findLastIndex((moment) => moment.at < middle);
  visit(story[Math.max(0, Math.min(next < 0 ? 0 : next, story.length - 1))]);
}

// Everything whose words match, ordered by time.
const MOST_MATCHES = 5000;
function search(query) {
  view.query = query.trim().toLowerCase();
  view.match = -1;
  view.matches = [];
  if (view.query) {
    const words = view.query.split(/\s+/);
    const matches = (item) => {
      const said = [item.type, item.kind, item.text, item.why, item.state, item.remote,
        item.host >= 0 ? hostName(item.host) : "", item.source >= 0 ? hostName(item.source) : "", item.target >= 0 ? hostName(item.target) : ""].join(" ").toLowerCase();
      return words.every((word) => said.includes(word));
    };
    for (const list of [violations, notes, states, faults, links, messages, frames]) {
      for (const item of list) {
        if (item.group && view.kinds[item.group] === false) continue;
        if (view.matches.length < MOST_MATCHES && matches(item)) view.matches.push(item);
      }
    }
    view.matches.sort((a, b) => (a.at ?? a.from) - (b.at ?? b.from));
  }
  showFound();
  refresh();
}

function showFound() {
  const count = view.matches.length;
  $("found").textContent = !view.query ? "" : view.match >= 0 ? `${view.match + 1}/${count}` : `${count}${count === MOST_MATCHES ? "+" : ""}`;
}

function nextMatch(direction) {
  const count = view.matches.length;
  if (!count) return;
  view.match = view.match < 0 ? (direction > 0 ? 0 : count - 1) : (view.match + direction + count) % count;
  const item = view.matches[view.match];
  const time = item.at ?? item.from;
  if (time < view.from || time > view.to || view.to - view.from > (T1 - T0) / 2) jump(time);
  showFound();
  select(item);
}
