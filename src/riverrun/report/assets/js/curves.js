// The curves of the facts, as charts take them, and what lies at a position of them.

const lossKinds = (facts) => {
  const keys = new Set(facts.nodes.flatMap((node) => Object.keys(node.curves)));
  const kinds = [...keys].filter((key) => key.startsWith("loss/")).map((key) => key.slice(5));
  const order = (kind) => (kind === "train" ? 0 : kind === "raw" ? 1 : 2);
  return kinds.sort((one, other) => order(one) - order(other));
};

function curvesOf(facts, key, style) {
  return facts.nodes.flatMap((node, index) => {
    const curve = node.curves[key];
    if (!curve?.tokens.length) return [];
    return [{ node: node.id, kind: key, colour: colourName(index), tokens: curve.tokens, values: curve.values, ...style }];
  });
}

function lossCurves(facts) {
  const kinds = lossKinds(facts);
  return kinds.flatMap((kind) =>
    curvesOf(facts, `loss/${kind}`, {
      kind,
      dash: dashOf(kind, kinds),
      ...(kind === "train" ? { width: 1, alpha: 0.22, beside: true } : { spans: true, dots: true }),
    }),
  );
}

// A decay is seldom read out before its end, so its raw line begins where it left its parent's.
function fromForks(facts, curves) {
  return curves.map((curve) => {
    const { fork } = facts.nodes.find((node) => node.id === curve.node);
    const loss = curve.kind === "raw" && fork ? lossBetween(facts, fork) : null;
    if (loss == null || fork.tokens >= curve.tokens[0]) return curve;
    return { ...curve, tokens: [fork.tokens, ...curve.tokens], values: [loss, ...curve.values], drawnOnly: 1 };
  });
}

// The raw loss of a place, on the line between the readouts around it; null where there are none.
function lossBetween(facts, { node, tokens }) {
  const raw = facts.nodes.find(({ id }) => id === node)?.curves["loss/raw"];
  const after = raw?.tokens.findIndex((at) => at >= tokens) ?? -1;
  if (after < 0) return null;
  const [start, end] = [raw.values[Math.max(after - 1, 0)], raw.values[after]];
  if (raw.tokens[after] === tokens) return end;
  if (after === 0 || start == null || end == null) return null;
  const share = Math.log(tokens / raw.tokens[after - 1]) / Math.log(raw.tokens[after] / raw.tokens[after - 1]);
  return start + (end - start) * share;
}

// The value that was recorded nearest to `tokens`, null outside of the curve.
function valueAt(curve, tokens) {
  const xs = curve?.tokens;
  if (!xs?.length) return null;
  if (tokens == null) return curve.values[xs.length - 1];
  let low = 0;
  let high = xs.length - 1;
  if (tokens < xs[0] || tokens > xs[high]) return null;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= tokens) low = middle;
    else high = middle;
  }
  return curve.values[tokens - xs[low] <= xs[high] - tokens ? low : high];
}

// The index in the envelope of what a budget buys; -1 where that is nothing.
const boughtWith = (facts, tokens) => facts.envelope.findLastIndex(({ readout }) => readout.cost <= tokens);

// The best readouts as a line that falls where a larger budget buys a better one.
function envelopeCurve(facts) {
  const tokens = [];
  const values = [];
  for (const { readout } of facts.envelope) {
    if (values.length) {
      tokens.push(readout.cost);
      values.push(values[values.length - 1]);
    }
    tokens.push(readout.cost);
    values.push(readout.loss);
  }
  const end = Math.max(...facts.nodes.map((node) => node.tokens));
  if (tokens.length && end > tokens[tokens.length - 1]) {
    tokens.push(end);
    values.push(values[values.length - 1]);
  }
  return { node: null, kind: "envelope", title: "best at each budget", colour: "--ink", width: 2.4, tokens, values };
}
