// A node in words: what it changed, what it read, what it left.

const placeText = ({ node, step }) => `${node} at step ${countText(step)}`;

function nodeSentence(node) {
  const best = node.best ? `; best ${node.best.name}, ${lossText(node.best.loss)}` : "";
  if (node.kind === "merge") return `${node.id}: a merge of ${node.parents.map(({ node: name }) => name).join(", ")}${best}`;
  const from = node.fork ? `, from ${placeText(node.fork)}` : "";
  return `${node.id}: ${node.kind}${from}, ${tokensText(node.tokens)} tokens${best}`;
}

function nodeDetails(facts, node) {
  const index = facts.nodes.indexOf(node);
  const places = node.parents.map(placeText).join(", ");
  const horizon = node.horizon_free ? "horizon-free" : "knows its end";
  return element(
    "div",
    { class: "details" },
    element("h3", {}, swatch(index), node.id),
    factList([
      ["kind", node.kind],
      ["merged from", places],
      ["forked from", node.fork ? `${placeText(node.fork)}, ${tokensText(node.fork.tokens)} tokens` : null],
      ["reached", `step ${countText(node.step)}, ${budgetText(facts, node.tokens)}; ${tokensText(node.own_tokens)} of its own`],
      ["schedule", node.schedule ? `${node.schedule} (${horizon})` : null],
      ["best", node.best ? readoutSentence(node.best) : null],
      ["data", node.data ? element("span", { class: "hash" }, node.data) : null],
    ]),
    node.difference.length
      ? table("Difference to its parent", [["setting", ""], ["parent", "name"], ["here", "name"]], node.difference)
      : node.parent ? element("p", { class: "quiet" }, "No setting differs from its parent's.") : null,
    node.segments.length
      ? table(
          "Data", [["from", "number"], ["sources", "name"]],
          node.segments.map(({ tokens, sources }) => [tokensText(tokens), sources]),
        )
      : null,
    node.checkpoints.length
      ? table(
          "Checkpoints", [["step", "number"], ["tokens", "number"], ["size", "number"], ["hash of its manifest", "hash"]],
          node.checkpoints.map((saved) => [countText(saved.step), tokensText(saved.tokens), bytesText(saved.bytes), saved.hash]),
        )
      : null,
    node.recipe.length
      ? folded(`node-${node.id}-recipe`, "recipe", () => table("", [["setting", ""], ["value", "name"]], node.recipe))
      : null,
  );
}
