// The curves of the facts, as charts take them, and what lies at a position of them.

const lossKinds = (facts) => {
  const found = new Set(facts.nodes.flatMap((node) => Object.keys(node.curves)).filter((key) => key.startsWith("loss/")));
  const kinds = [...found].map((key) => key.slice(5));
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
      ...(kind === "train" ? { width: 1, alpha: 0.35, beside: true } : { spans: true }),
    }),
  );
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
  return { node: null, kind: "envelope", title: "best at each budget", colour: "--ink", width: 3, tokens, values };
}
