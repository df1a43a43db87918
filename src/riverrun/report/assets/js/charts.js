// Curves over tokens. Each has its own x values (uPlot's mode 2), so that nodes of any steps share one chart.

const charts = new Set();
const AXIS = 58;                       // one width for all, so that charts above each other are aligned

const isShown = (curve) => !view.hidden.has(curve.node) && !view.without.has(curve.kind);
const isFaded = (curve) => view.selected != null && curve.node != null && curve.node !== view.selected;

function tokensRange(curves) {
  let first = Infinity;
  let last = 0;
  for (const { tokens } of curves) {
    if (tokens.length) {
      first = Math.min(first, tokens[0]);
      last = Math.max(last, tokens[tokens.length - 1]);
    }
  }
  if (!(last > 0)) return [1, 10];
  if (view.log) return [Math.max(first, last / 1e3, leadingStart(curves) / 4, 1) * 0.97, last * 1.02];
  return [0, last * 1.01];
}

// A zoom that began at no tokens, on a linear axis, has no beginning on a logarithmic one.
function zoomRange() {
  const [first, last] = view.zoom;
  return view.log ? [Math.max(first, last / 1e3), last] : view.zoom;
}

// Where what the values' axis is made for begins; what lies far before it would leave a logarithmic axis empty.
function leadingStart(curves) {
  const starts = curves.filter(({ dots, tokens }) => dots && tokens.length).map(({ tokens }) => tokens[0]);
  return starts.length ? Math.min(...starts) : 0;
}

// From the least to the greatest value that is drawn; curves that are only `beside` others do not widen it.
function valuesRange(curves, [first, last], log) {
  let low = Infinity;
  let high = -Infinity;
  const drawnCurves = curves.filter(isShown);
  const leading = drawnCurves.filter((curve) => !curve.beside);
  for (const { tokens, values } of leading.length ? leading : drawnCurves) {
    for (let index = 0; index < tokens.length; index++) {
      const value = values[index];
      if (value == null || tokens[index] < first || tokens[index] > last || (log && value <= 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (!(high >= low)) return log ? [0.1, 1] : [0, 1];
  if (log) {
    const factor = high > low ? (high / low) ** 0.06 : 1.15;
    return [low / factor, high * factor];
  }
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - room, high + room];
}

// `options`: id, label, curves, text (of a value), height, and where wanted logValues (says whether their axis is
// logarithmic), zero (y begins at 0), paint (draws under the curves), moved (told the tokens under the cursor, or null),
// extent (curves whose tokens the axis spans), fixed (does not follow the zoom of the others).
function chart(options) {
  const { id, label, curves, text, height = 240, logValues = () => false } = options;
  const frame = element("div", { class: "chart", role: "img", "aria-label": label });
  frame.style.minHeight = `${height}px`;   // so that nothing moves when it is drawn
  const asTable = folded(`${id}-table`, "as a table", () => curvesTable(label, curves, text));
  const figure = element("figure", { id }, frame, asTable);
  let plot = null;
  let width = 0;

  const dotted = () => curves.filter((curve) => curve.dots && isShown(curve));

  function scales() {
    const [min, max] = options.fixed || !view.zoom ? tokensRange(options.extent ?? curves) : zoomRange();
    const [low, high] = valuesRange(curves, [min, max], logValues());
    plot.setScale("x", { min, max });
    plot.setScale("y", { min: options.zero ? 0 : low, max: high });
  }

  function restyle() {
    if (!plot) return;
    plot.batch(() => {
      curves.forEach((curve, index) => {
        const series = plot.series[index + 1];
        if (series.show !== isShown(curve)) plot.setSeries(index + 1, { show: isShown(curve) });
        series.width = lineWidth(curve);
        series.alpha = lineAlpha(curve);
      });
      scales();
    });
    plot.redraw();
  }

  function build() {
    if (!width) return;
    plot?.destroy();
    const ink = resolved("--quiet");
    const rule = resolved("--rule");
    const font = '12px system-ui, -apple-system, "Segoe UI", sans-serif';
    const axis = {
      stroke: ink, font, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1, size: 4 },
      filter: (made, splits) => splits,
    };
    const named = (show) => (made, splits) => splits.map((value) => (value == null ? "" : show(value)));
    const placed = (log, side, space) => (made, _, first, last) =>
      ticksBetween(first, last, log, made.bbox[side] / devicePixelRatio / space);
    plot = new uPlot(
      {
        mode: 2,
        width,
        height,
        legend: { show: false },
        padding: [8, 12, 0, 0],
        scales: {
          x: { time: false, auto: false, distr: view.log ? 3 : 1, log: 10 },
          y: { auto: false, distr: logValues() ? 3 : 1, log: 10 },
        },
        axes: [
          { ...axis, scale: "x", size: 30, splits: placed(view.log, "width", 64), values: named(tokensText) },
          { ...axis, scale: "y", size: AXIS, splits: placed(logValues(), "height", 28), values: named(options.tick ?? text) },
        ],
        series: [null, ...curves.map((curve) => seriesOf(curve))],
        cursor: {
          points: { show: false },
          y: false,
          dataIdx: () => null,
          drag: { x: !options.fixed, y: false, setScale: false },
          sync: { key: "tokens", scales: ["x", null] },
          bind: { dblclick: () => () => changeView(() => { view.zoom = null; }) },
        },
        hooks: {
          drawClear: options.paint ? [(made) => clipped(made, options.paint)] : [],
          draw: [(made) => clipped(made, (_, pen) => dotted().forEach((curve) => dots(made, pen, curve)))],
          setSelect: [zoomed],
          setCursor: options.moved ? [(made) => options.moved(tokensUnder(made))] : [],
        },
      },
      [null, ...curves.map((curve) => [curve.tokens, curve.values])],
      frame,
    );
    frame.plot = plot;
    restyle();
  }

  const resized = new ResizeObserver(() => {
    const now = Math.floor(frame.clientWidth);
    if (!now || now === width) return;
    width = now;
    if (plot) plot.setSize({ width, height });
    else build();
  });
  resized.observe(frame);
  watch(restyle);
  charts.add({ build, remove: () => { resized.disconnect(); plot?.destroy(); } });
  return figure;
}

const tokensUnder = ({ cursor, posToVal }) => (cursor.left < 0 ? null : posToVal(cursor.left, "x"));
const lineWidth = (curve) => (curve.width ?? 1.6) * (view.selected != null && curve.node === view.selected ? 1.6 : 1);
const lineAlpha = (curve) => (curve.alpha ?? 1) * (isFaded(curve) ? 0.2 : 1);

function seriesOf(curve) {
  const colour = resolved(curve.colour);
  return {
    label: curve.kind,
    show: isShown(curve),
    facets: [{ scale: "x", auto: false, sorted: 1 }, { scale: "y", auto: false }],
    paths: uPlot.paths.linear(),
    points: { show: false },
    stroke: colour,
    width: lineWidth(curve),
    alpha: lineAlpha(curve),
    dash: curve.dash ?? [],
    spanGaps: curve.spans ?? false,
  };
}

// A readout is a dot: one alone has no line, and between two nothing was read.
function dots(plot, pen, curve) {
  pen.fillStyle = resolved(curve.colour);
  pen.globalAlpha = lineAlpha(curve);
  for (let index = curve.drawnOnly ?? 0; index < curve.tokens.length; index++) {
    if (curve.values[index] == null) continue;
    const [x, y] = [plot.valToPos(curve.tokens[index], "x", true), plot.valToPos(curve.values[index], "y", true)];
    pen.beginPath();
    pen.arc(x, y, 2.2 * devicePixelRatio, 0, 2 * Math.PI);
    pen.fill();
  }
}

function clipped(plot, paint) {
  const { left, top, width, height } = plot.bbox;
  plot.ctx.save();
  plot.ctx.beginPath();
  plot.ctx.rect(left, top, width, height);
  plot.ctx.clip();
  paint(plot, plot.ctx);
  plot.ctx.restore();
}

function zoomed(plot) {
  const { left, width } = plot.select;
  if (width < 4) return;
  const first = plot.posToVal(left, "x");
  const last = plot.posToVal(left + width, "x");
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  changeView(() => { view.zoom = [first, last]; });
}

function redrawCharts() {
  for (const one of charts) one.build();
}

// Paper is light, whatever the screen is.
for (const media of [dark, matchMedia("print")]) media.addEventListener("change", redrawCharts);
