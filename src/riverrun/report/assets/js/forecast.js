// What a law says of the trunk's future: expected losses with their interval.

const fanKind = (readout) => `forecast ${readout}`;

function fanLine({ readout, colour, tokens }, part, values, style) {
  return { node: null, kind: fanKind(readout), title: `${readout}, ${part}`, colour, tokens, values, ...style };
}

function forecastSection(facts) {
  const { forecast } = facts;
  if (!forecast?.fans.length) return null;
  const kinds = forecast.fans.map(({ readout }) => readout);
  const fans = forecast.fans.map((fan, index) => ({ ...fan, colour: colourName(index) }));
  const trunk = facts.nodes.find(({ kind }) => kind === "trunk");
  const seen = fans.flatMap(({ readout, colour }) => {
    const curve = trunk?.curves[`loss/${readout}`];
    if (!curve?.tokens.length) return [];
    return [fanLine({ readout, colour, tokens: curve.tokens }, "seen", curve.values, { spans: true })];
  });
  const lines = fans.flatMap((fan) => [
    fanLine(fan, "expected", fan.expected, { dash: [4, 3] }),
    fanLine(fan, "low", fan.low, { width: 0.6 }),
    fanLine(fan, "high", fan.high, { width: 0.6 }),
  ]);
  const shown = () => fans.filter(({ readout }) => !view.without.has(fanKind(readout)));
  const share = `${Math.round(100 * forecast.level)}%`;
  return section(
    "forecast",
    "Forecast",
    element(
      "p", { class: "quiet" },
      `The law ${forecast.law}: seen losses solid, expected ones dashed, ${share} of outcomes in the band.`,
    ),
    element("div", { class: "controls" }, ...kinds.map((readout, index) => kindSwitch(fanKind(readout), swatch(index), readout))),
    chart({
      id: "forecast-chart", label: `Forecast of ${kinds.join(", ")} by the law ${forecast.law}, with its ${share} interval`,
      curves: [...seen, ...lines], text: lossText, tick: lossTick, height: 260, fixed: true,
      paint: (plot, pen) => shown().forEach((fan) => band(plot, pen, fan)),
    }),
    ...forecast.notes.map((note) => element("p", { class: "quiet" }, note)),
  );
}

function band(plot, pen, { tokens, low, high, colour }) {
  const at = (index, values) => [plot.valToPos(tokens[index], "x", true), plot.valToPos(values[index], "y", true)];
  pen.beginPath();
  tokens.forEach((_, index) => pen.lineTo(...at(index, high)));
  for (let index = tokens.length - 1; index >= 0; index--) pen.lineTo(...at(index, low));
  pen.closePath();
  pen.globalAlpha = 0.18;
  pen.fillStyle = resolved(colour);
  pen.fill();
}
