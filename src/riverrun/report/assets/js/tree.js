// The tree: a row for each node, its own stretch over tokens, a line down from where it forked.

const ROW = 24;
const MARGIN = 26;

// Nodes with each followed by its branches, merges last.
function inOrder(nodes) {
  const ordered = [];
  const add = (node) => {
    ordered.push(node);
    const branches = nodes.filter((other) => other.parent === node.id && other !== node);
    branches.sort((one, other) => (one.fork?.tokens ?? 0) - (other.fork?.tokens ?? 0)).forEach(add);
  };
  const names = new Set(nodes.map((node) => node.id));
  nodes.filter((node) => node.kind !== "merge" && !names.has(node.parent)).forEach(add);
  return [...ordered, ...nodes.filter((node) => !ordered.includes(node))];
}

function treeSection(facts) {
  if (!facts.nodes.length) return null;
  const nodes = inOrder(facts.nodes);
  const names = nodes.map((node) => node.id);
  const height = nodes.length * ROW + MARGIN;
  const canvas = drawn("svg", { class: "tree", role: "listbox", "aria-label": "Nodes of the tree", height });
  const box = element("div", { id: "tree" }, canvas);
  const details = element("div", { id: "node", "aria-live": "polite" });
  let focusable = names[0];

  const draw = () => {
    const width = Math.floor(box.clientWidth);
    if (!width) return;
    const focused = canvas.contains(document.activeElement);
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.replaceChildren(...treeDrawing(facts, nodes, width));
    for (const row of canvas.querySelectorAll(".row")) {
      row.setAttribute("tabindex", row.dataset.node === focusable ? 0 : -1);
      if (focused && row.dataset.node === focusable) row.focus();
    }
  };
  let told;
  const show = () => {
    draw();
    if (told === view.selected) return;
    told = view.selected;
    const node = facts.nodes.find((one) => one.id === view.selected);
    const hint = "Choose a node to see it everywhere, and what it is made of.";
    details.replaceChildren(node ? nodeDetails(facts, node) : element("p", { class: "quiet hint" }, hint));
  };
  canvas.addEventListener("focusin", ({ target }) => { focusable = rowOf(target) ?? focusable; });
  const rowOf = (target) => target.closest?.(".row")?.dataset.node;
  canvas.addEventListener("click", ({ target }) => {
    const name = rowOf(target);
    if (name == null) return;
    focusable = name;
    select(name);
  });
  canvas.addEventListener("keydown", (event) => {
    const name = rowOf(event.target);
    const place = names.indexOf(name);
    const moves = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: names.length - 1 };
    if (event.key === "Enter" || event.key === " ") select(name);
    else if (event.key in moves && names[moves[event.key]] != null) {
      focusable = names[moves[event.key]];
      draw();
    } else return;
    event.preventDefault();
  });
  const resized = new ResizeObserver(draw);
  resized.observe(box);
  charts.add({ build: draw, remove: () => resized.disconnect() });
  watch(show);
  show();
  return section("nodes", "The tree", box, details);
}

function treeDrawing(facts, nodes, width) {
  const labels = Math.min(220, Math.max(96, width * 0.24));
  const position = tokensPosition(nodes, labels + 12, width - 14);
  const rows = new Map(nodes.map((node, row) => [node.id, MARGIN + (row + 0.5) * ROW]));
  const bottom = MARGIN + nodes.length * ROW;
  const axis = position.ticks.flatMap((tokens) => [
    drawn("line", { class: "gridline", x1: position(tokens), x2: position(tokens), y1: MARGIN - 6, y2: bottom }),
    drawn("text", { class: "axis", x: position(tokens), y: 13, "text-anchor": "middle" }, tokensText(tokens)),
  ]);
  const layout = { labels, position, rows, width };
  return [drawn("g", { "aria-hidden": "true" }, ...axis), ...nodes.map((node) => treeRow(facts, node, layout))];
}

// A function from tokens to a place between two, with the `ticks` of its axis.
function tokensPosition(nodes, left, right) {
  const last = Math.max(...nodes.map((node) => node.tokens), 1);
  const starts = nodes.map((node) => node.fork?.tokens ?? 0).filter((tokens) => tokens > 0);
  const first = Math.min(last / 30, ...starts.map((tokens) => tokens / 2));
  const share = (tokens) =>
    view.log ? Math.log(Math.max(tokens, first) / first) / Math.log(last / first) : tokens / last;
  const position = (tokens) => left + (right - left) * share(tokens);
  position.ticks = last > 1 ? ticksBetween(view.log ? first : 0, last, view.log, (right - left) / 56) : [];
  return position;
}

function treeRow(facts, node, { labels, position, rows, width }) {
  const index = facts.nodes.indexOf(node);
  const y = rows.get(node.id);
  const colour = `var(${colourName(index)})`;
  const merge = node.kind === "merge";
  const from = merge ? node.tokens : (node.fork?.tokens ?? 0);
  const line = { fill: "none", stroke: colour, "stroke-width": node.kind === "trunk" ? 3 : 2 };
  const parts = [drawn("rect", { class: "back", x: 1, y: y - ROW / 2 + 1, width: width - 2, height: ROW - 2, rx: 3 })];
  for (const place of merge ? node.parents : node.fork ? [node.fork] : []) {
    if (!rows.has(place.node)) continue;
    const bend = merge ? `L${position(node.tokens)} ${y}` : `V${y}`;
    const joint = { ...line, "stroke-width": 1.3, "stroke-dasharray": merge ? "2 3" : "none" };
    parts.push(drawn("path", { ...joint, d: `M${position(place.tokens)} ${rows.get(place.node)}${bend}` }));
  }
  if (merge) {
    const x = position(node.tokens);
    parts.push(drawn("path", { fill: colour, d: `M${x - 6} ${y}L${x} ${y - 6}L${x + 6} ${y}L${x} ${y + 6}Z` }));
  } else {
    parts.push(drawn("path", { ...line, d: `M${position(from)} ${y}H${position(node.tokens)}` }));
    const mark = { cy: y, r: 2.6, fill: "var(--paper)", stroke: colour, "stroke-width": 1.4 };
    for (const { tokens } of node.checkpoints) {
      if (tokens >= from) parts.push(drawn("circle", { ...mark, cx: position(tokens) }));
    }
  }
  const best = facts.answer?.readout;
  if (best?.node === node.id) {
    const ring = { cy: y, r: 6.5, fill: "none", stroke: "var(--accent)", "stroke-width": 2 };
    parts.push(drawn("circle", { ...ring, cx: position(best.tokens) }));
  }
  parts.push(drawn("rect", { x: 4, y: y - 4, width: 8, height: 8, rx: 2, fill: colour }));
  const room = Math.floor((labels - 18) / 6.6);
  parts.push(drawn("text", { x: 18, y: y + 4 }, node.id.length > room ? `${node.id.slice(0, room - 1)}…` : node.id));
  const chosen = view.selected === node.id;
  const faded = (view.selected != null && !chosen) || view.hidden.has(node.id);
  return drawn(
    "g",
    {
      class: faded ? "row faded" : "row", role: "option", id: `row-${node.id}`, "data-node": node.id,
      "aria-selected": String(chosen), "aria-label": nodeSentence(node),
    },
    drawn("title", {}, nodeSentence(node)),
    ...parts,
  );
}
