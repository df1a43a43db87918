// The answer: the best model now.

function readoutName(readout) {
  return readout.node === "trunk" ? readout.name : `${readout.name} of ${readout.node}`;
}

function readoutSentence(readout) {
  const loss = `${lossText(readout.loss)} nats per token (${bitsText(readout.bits_per_byte)} bits per byte)`;
  return `${readoutName(readout)} at ${tokensText(readout.tokens)} tokens: ${loss}`;
}

function budgetText(facts, tokens) {
  const times = facts.tokens_per_x > 0 ? `, ${Number((tokens / facts.tokens_per_x).toPrecision(3))}x` : "";
  return `${tokensText(tokens)} tokens${times}`;
}

function commands(title, lines) {
  if (!lines?.length) return null;
  return element("div", {}, element("p", { class: "quiet" }, title), command(lines.join("\n")));
}

function treeText(nodes) {
  const kinds = new Map();
  for (const { kind } of nodes) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const plural = { trunk: "trunks", branch: "branches", merge: "merges" };
  return [...kinds].map(([kind, count]) => `${count} ${count === 1 ? kind : plural[kind]}`).join(", ");
}

function answerSection(facts) {
  const written = `${facts.run} · riverrun ${facts.riverrun} · ${facts.written.slice(0, 16).replace("T", " ")} UTC`;
  const state = element("p", { id: "state" }, written, facts.live ? " · live" : "");
  const notes = facts.notes.map((note) => element("p", { class: "quiet" }, note));
  if (!facts.answer) {
    return element("header", { id: "answer" }, state, element("h1", {}, `${facts.run}: no readout yet`), ...notes);
  }
  const { readout, where, export: exporting, reproduce } = facts.answer;
  return element(
    "header",
    { id: "answer" },
    state,
    element("h1", {}, readoutSentence(readout)),
    factList([
      ["tree", treeText(facts.nodes)],
      ["found at", `step ${countText(readout.step)} of ${readout.node}`],
      ["cost", budgetText(facts, readout.cost)],
      ["chosen by", readout.chosen_by === "select" ? "windows kept for choosing, not those that the loss is of" : null],
      ["lies in", where],
    ]),
    commands("To export it:", exporting ? [exporting] : null),
    reproduce?.length ? folded("answer-again", "to make it again", () => command(reproduce.join("\n"))) : null,
    ...notes,
  );
}
