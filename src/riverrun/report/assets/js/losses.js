// Loss against tokens, the learning rate below, and the table that is legend, switch and reading of the cursor.

function lossSection(facts) {
  const curves = fromForks(facts, lossCurves(facts));
  if (!curves.length) return null;
  const kinds = lossKinds(facts);
  const envelope = envelopeCurve(facts);
  const all = envelope.tokens.length ? [...curves, envelope] : curves;
  const rates = curvesOf(facts, "lr", { width: 1.4 });
  const extent = [...all, ...rates];
  const legend = lossLegend(facts, kinds);
  const moved = (tokens) => legend.read(tokens);
  return section(
    "losses",
    "Loss against tokens",
    axisControls(envelope.tokens.length > 0),
    chart({
      id: "loss-chart",
      label: "Loss in nats per token over tokens: raw solid, averages dashed, the best at each budget bold",
      curves: all, text: lossText, tick: lossTick, height: 380, extent, moved, logValues: () => view.logLoss,
      paint: (plot, pen) => budgetLine(facts, plot, pen),
    }),
    rates.length
      ? chart({
          id: "lr-chart", label: "Learning rate over tokens",
          curves: rates, text: rateText, height: 130, extent, moved, zero: true,
        })
      : null,
    facts.nodes.length > 2 ? nodesSwitch(facts) : null,
    legend.element,
  );
}

// A vertical line where the slider of the budget stands.
function budgetLine(facts, plot, pen) {
  if (view.budget == null) return;
  const x = plot.valToPos(view.budget, "x", true);
  pen.strokeStyle = resolved("--accent");
  pen.lineWidth = devicePixelRatio;
  pen.beginPath();
  pen.moveTo(x, plot.bbox.top);
  pen.lineTo(x, plot.bbox.top + plot.bbox.height);
  pen.stroke();
}

function axisSwitch(id, title, choice) {
  const button = element("button", { type: "button", id }, title);
  const show = () => button.setAttribute("aria-pressed", view[choice]);
  button.addEventListener("click", () => {
    view[choice] = !view[choice];
    redrawCharts();
    changeView(() => {});
  });
  watch(show);
  show();
  return button;
}

function axisControls(hasEnvelope) {
  const whole = element("button", { type: "button", id: "whole" }, "reset zoom");
  const show = () => { whole.disabled = view.zoom == null; };
  whole.addEventListener("click", () => changeView(() => { view.zoom = null; }));
  watch(show);
  show();
  const envelope = hasEnvelope ? kindSwitch("envelope", "best at each budget") : null;
  const help = element("span", { class: "quiet" }, "Drag over a chart to zoom.");
  const switches = [
    axisSwitch("log-switch", "logarithmic tokens", "log"), axisSwitch("log-loss-switch", "logarithmic loss", "logLoss"),
  ];
  return element("div", { class: "controls" }, ...switches, whole, envelope, help);
}

function nodesSwitch(facts) {
  const all = element("button", { type: "button", id: "nodes-shown" }, "show all");
  const none = element("button", { type: "button", id: "nodes-hidden" }, "hide all");
  all.addEventListener("click", () => changeView(() => view.hidden.clear()));
  none.addEventListener("click", () => changeView(() => { view.hidden = new Set(facts.nodes.map(({ id }) => id)); }));
  return element("div", { class: "controls" }, all, none);
}

function kindSwitch(kind, ...title) {
  const box = element("input", { type: "checkbox", id: `kind-${kind}`, "data-kind": kind, checked: !view.without.has(kind) });
  box.addEventListener("change", () => changeView(() => toggle(view.without, kind)));
  return element("label", {}, box, " ", ...title);
}

function lossLegend(facts, kinds) {
  const rows = facts.nodes
    .map((node, index) => legendRow(node, index, kinds))
    .filter((row) => row != null);
  const at = element("caption", { "aria-live": "off" });
  const heading = (...content) => element("th", { scope: "col", class: "number" }, ...content);
  const boxes = kinds.map((kind) => heading(kindSwitch(kind, strokeSample(kind, kinds), kind)));
  const head = element("tr", {}, element("th", { scope: "col" }, "node"), ...boxes, heading("LR"));
  const body = element("tbody", {}, ...rows.map((row) => row.element));
  const made = element("table", { class: "legend" }, at, element("thead", {}, head), body);
  const bestText = (tokens) => {
    const best = facts.envelope[boughtWith(facts, tokens)]?.readout;
    return best ? `; the best for that budget: ${readoutName(best)}, ${lossText(best.loss)}` : "";
  };
  const read = (tokens) => {
    at.textContent =
      tokens == null ? "Last values; move over a chart to read others" : `At ${tokensText(tokens)} tokens${bestText(tokens)}`;
    for (const row of rows) row.read(tokens);
  };
  read(null);
  const properties = { class: "scroll", id: "legend", tabindex: 0, role: "region", "aria-label": "Values and curves shown" };
  return { element: element("div", properties, made), read };
}

function legendRow(node, index, kinds) {
  const keys = [...kinds.map((kind) => `loss/${kind}`), "lr"];
  if (!keys.some((key) => node.curves[key]?.tokens.length)) return null;
  const box = element("input", { type: "checkbox", id: `show-${node.id}`, "data-node": node.id });
  box.addEventListener("change", () => changeView(() => toggle(view.hidden, node.id)));
  const cells = keys.map(() => element("td", { class: "number" }));
  const name = element("td", { class: "name" }, element("label", {}, box, " ", swatch(index), node.id));
  const row = element("tr", {}, name, ...cells);
  const show = () => {
    box.checked = !view.hidden.has(node.id);
    row.classList.toggle("hidden-node", view.hidden.has(node.id));
    row.classList.toggle("selected", view.selected === node.id);
  };
  watch(show);
  show();
  const read = (tokens) => {
    keys.forEach((key, place) => {
      const value = valueAt(node.curves[key], tokens);
      cells[place].textContent = key === "lr" ? rateText(value) : lossText(value);
    });
  };
  return { element: row, read };
}
