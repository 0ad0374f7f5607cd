// Appended to a page by its test: uses the page as a reader would, and writes down what the reader sees.

// Long enough for the page to draw.
const settle = () => new Promise((done) => setTimeout(done, 100));
const pixel = (left, top) => [...ctx.getImageData(left * devicePixelRatio, top * devicePixelRatio, 1, 1).data].join();

// A lane counts as drawn if its name can be clicked and its bar has another colour than its background.
function isDrawn(lane) {
  const named = hits.some(({ item }) => item.type === "name" && item.host === lane.host.index);
  const state = lane.host.states.find((span) => span.state === "running");
  const middle = x((state.from + state.to) / 2);
  return named && pixel(middle, barMiddle(lane)) !== pixel(middle, laneTop(lane) + 1);
}

function click(target, left, top) {
  const edge = target.getBoundingClientRect();
  const at = { button: 0, pointerId: 1, bubbles: true, clientX: edge.left + left, clientY: edge.top + top };
  // No real pointer is down that could be captured.
  target.setPointerCapture = () => {};
  for (const type of ["pointermove", "pointerdown", "pointerup"]) target.dispatchEvent(new PointerEvent(type, at));
}

async function read() {
  await settle();
  const lanes = view.lanes.filter(isDrawn).map((lane) => lane.host.name);

  $("search").value = "is down";
  $("search").dispatchEvent(new Event("input"));
  const found = $("found").textContent;
  $("search").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  await settle();
  const match = $("details").innerText;

  fit();
  await settle();
  // Where no arrow lies over the bar.
  const lane = view.lanes[0];
  const state = lane.host.states[0];
  const middle = barMiddle(lane);
  const shares = Array.from({ length: 99 }, (_, index) => (index + 1) / 100);
  const left = shares.map((share) => x(state.from + share * (state.to - state.from))).find((px) => under(px, middle) === state);
  click(canvas, left, middle);
  await settle();
  const details = $("details").hidden ? "" : $("details").innerText;
  return { lanes: lanes.join(" "), story: $("story").children.length, found, match, details };
}

read().catch((error) => ({ failed: error.stack })).then((seen) => {
  const report = document.createElement("pre");
  report.id = "report";
  const line = ([name, value]) => `${name}: ${String(value).replaceAll("\n", " / ")}`;
  report.textContent = Object.entries({ ...seen, errors: errors.join("; ") }).map(line).join("\n");
  document.body.append(report);
});
