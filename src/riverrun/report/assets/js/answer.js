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

// The best readout where a node was last read out: its name, step, tokens and loss.
function latestReadout(node) {
  const ends = Object.entries(node.curves).flatMap(([key, { tokens, steps, values }]) => {
    const last = values.findLastIndex((value) => value != null);
    if (last < 0 || !key.startsWith("loss/") || key === "loss/train") return [];
    return [{ name: key.slice(5), step: steps[last], tokens: tokens[last], loss: values[last] }];
  });
  return ends.sort((one, other) => other.tokens - one.tokens || one.loss - other.loss)[0];
}

// How far the trunk is now from the best known for as many tokens; nothing where it is the answer itself.
function trunkSentence(facts) {
  const trunk = facts.nodes.find(({ kind }) => kind === "trunk");
  const latest = trunk && latestReadout(trunk);
  const best = latest && facts.envelope[boughtWith(facts, latest.tokens)]?.readout;
  const same = (readout) => readout.node === trunk.id && readout.name === latest.name && readout.step === latest.step;
  if (!best || same(facts.answer.readout)) return null;
  const now = `${trunk.id}, latest: ${latest.name} ${lossText(latest.loss)}`;
  const budget = `${tokensText(latest.tokens)} tokens`;
  if (same(best)) return `${now}, the best known for ${budget}`;
  const apart = latest.loss - best.loss;
  const side = apart < 0 ? "below" : "above";
  const known = `${readoutName(best)} at ${tokensText(best.tokens)} tokens, ${lossText(best.loss)}`;
  return `${now}, ${lossText(Math.abs(apart))} ${side} the best known for ${budget} (${known})`;
}

function answerSection(facts) {
  const written = `${facts.run} · riverrun ${facts.riverrun} · ${facts.written.slice(0, 16).replace("T", " ")} UTC`;
  const state = element("p", { id: "state" }, written, facts.live ? " · live" : "");
  const notes = facts.notes.map((note) => element("p", { class: "quiet" }, note));
  if (!facts.answer) {
    return element("header", { id: "answer" }, state, element("h1", {}, `${facts.run}: no readout yet`), ...notes);
  }
  const { readout, where, export: exporting, reproduce } = facts.answer;
  const trunk = trunkSentence(facts);
  return element(
    "header",
    { id: "answer" },
    state,
    element("h1", {}, readoutSentence(readout)),
    trunk ? element("p", { id: "trunk-now" }, trunk) : null,
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
