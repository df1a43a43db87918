// What averaging and decaying brought: the gap of each average to raw weights, decays, sweeps.

function gapCurves(facts) {
  return lossCurves(facts).flatMap((curve) => {
    if (curve.kind === "train" || curve.kind === "raw") return [];
    const raw = facts.nodes.find((node) => node.id === curve.node).curves["loss/raw"];
    if (!raw) return [];
    const rawAt = new Map(raw.tokens.map((tokens, index) => [tokens, raw.values[index]]));
    const pairs = curve.tokens
      .map((tokens, index) => [tokens, rawAt.get(tokens), curve.values[index]])
      .filter(([, before, after]) => before != null && after != null);
    if (!pairs.length) return [];
    return [{
      ...curve,
      tokens: pairs.map(([tokens]) => tokens), values: pairs.map(([, before, after]) => before - after),
    }];
  });
}

function gapSection(facts) {
  const curves = gapCurves(facts);
  if (!curves.length) return null;
  return section(
    "gaps",
    "What averaging gains",
    element(
      "p", { class: "quiet" },
      "Loss of the raw weights less that of the average, in nats per token: above zero, the average is better.",
    ),
    chart({
      id: "gap-chart", label: "Loss of raw weights less that of each average, over tokens", curves, text: gainText,
      tick: lossTick, height: 200, paint: zeroLine,
    }),
  );
}

function zeroLine(plot, pen) {
  const y = plot.valToPos(0, "y", true);
  pen.strokeStyle = resolved("--quiet");
  pen.lineWidth = devicePixelRatio;
  pen.beginPath();
  pen.moveTo(plot.bbox.left, y);
  pen.lineTo(plot.bbox.left + plot.bbox.width, y);
  pen.stroke();
}

function gainsSection(facts) {
  if (!facts.gains.length) return null;
  const rows = facts.gains.map((gain) => [
    gain.node, tokensText(gain.at.tokens), tokensText(gain.end.tokens - gain.at.tokens),
    lossText(gain.before), lossText(gain.after), gainText(gain.before - gain.after),
  ]);
  const columns = [["decay", "name"], ...["from", "length", "before", "after", "gain"].map((title) => [title, "number"])];
  const caption = "Raw loss where a decay began and where it ended; from and length in tokens";
  return section("gains", "What decays gain", table(caption, columns, rows));
}

function sweepsSection(facts) {
  if (!facts.sweeps.length) return null;
  return section("sweeps", "Averages compared", ...facts.sweeps.map(sweepTable));
}

function sweepTable({ place, best, rows }) {
  const losses = rows.map(({ loss }) => loss);
  const least = Math.min(...losses);
  const spread = Math.max(...losses) - least || 1;
  const cells = rows.map((row) => {
    const bar = element("span", { class: "bar", role: "presentation" });
    bar.style.width = `${(100 * (row.loss - least)) / spread}%`;
    return [
      row.profile === best ? element("strong", {}, row.profile) : row.profile,
      lossText(row.loss), bitsText(row.bits_per_byte), `${Number((100 * row.bound).toPrecision(2))}%`,
      gainText(row.loss - least), bar,
    ];
  });
  const columns = [
    ["profile", ""],
    ...["loss", "bits per byte", "weight elsewhere, at most", "above the best"].map((title) => [title, "number"]),
    ["", ""],
  ];
  const caption = `${place.node} at step ${countText(place.step)}, ${tokensText(place.tokens)} tokens`;
  return table(caption, columns, cells, { class: "bars" });
}
