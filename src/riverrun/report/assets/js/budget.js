// What a budget buys: a slider over the envelope.

function budgetSection(facts) {
  const points = facts.envelope;
  if (!points.length) return null;
  const slider = element("input", {
    type: "range", id: "budget", min: 0, max: points.length - 1, step: 1, "aria-label": "Budget in tokens",
  });
  const winner = element("div", { id: "winner", "aria-live": "polite" });
  let told = null;
  const show = () => {
    const place = view.budget == null ? points.length - 1 : Math.max(boughtWith(facts, view.budget), 0);
    if (place === told) return;
    told = place;
    const { readout, reproduce } = points[place];
    const node = facts.nodes.find(({ id }) => id === readout.node);
    const next = points[place + 1]?.readout;
    slider.value = place;
    const span = `From ${tokensText(readout.cost)} ${next ? `to ${tokensText(next.cost)} tokens` : "tokens on"}`;
    slider.setAttribute("aria-valuetext", `${span}: ${readoutName(readout)}, ${lossText(readout.loss)}`);
    winner.replaceChildren(
      element(
        "p", {},
        `${span}, the best is `, element("strong", {}, readoutName(readout)), `, ${lossText(readout.loss)} nats per token.`,
      ),
      factList([
        ["found at", `step ${countText(readout.step)} of ${readout.node}`],
        ["bits per byte", bitsText(readout.bits_per_byte)],
        ["cost", budgetText(facts, readout.cost)],
        ["schedule", node?.schedule],
        ["peak learning rate", node?.recipe.find(([setting]) => setting === "optimizer.peak_lr")?.[1]],
      ]),
      ...(node ? [showNode(node.id)] : []),
      ...(reproduce?.length ? [commands("To make it again:", reproduce)] : []),
    );
  };
  slider.addEventListener("input", () => {
    const place = Number(slider.value);
    changeView(() => { view.budget = place === points.length - 1 ? null : points[place].readout.cost; });
  });
  watch(show);
  show();
  return section("budgets", "The best for a budget", slider, winner, bestOfNodes(facts));
}

function showNode(name) {
  const button = element("button", { type: "button", id: "winner-in-tree" }, `show ${name} in the tree`);
  button.addEventListener("click", () => {
    changeView(() => { view.selected = name; });
    document.getElementById("nodes").scrollIntoView();
  });
  return element("div", { class: "controls" }, button);
}

function bestOfNodes(facts) {
  const rows = facts.nodes.flatMap((node, index) => {
    if (!node.best) return [];
    const known = facts.envelope[boughtWith(facts, node.best.cost)]?.readout.loss;
    return [[
      element("span", {}, swatch(index), node.id), node.best.name, tokensText(node.best.cost), lossText(node.best.loss),
      known == null ? "–" : gainText(node.best.loss - known),
    ]];
  });
  if (rows.length < 2) return null;
  const columns = [["node", "name"], ["its best", ""], ["cost", "number"], ["loss", "number"], ["above the best", "number"]];
  const caption = "How far above the best that its cost could have bought";
  return folded("best-of-nodes", "the best of each node", () => table(caption, columns, rows));
}
