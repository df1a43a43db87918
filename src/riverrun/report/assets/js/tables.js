// Tables: those of the page, and the one that each chart has for readers who cannot see it.

const ROWS = 200;

// `columns` are [heading, class]; `rows` hold text or elements.
function table(caption, columns, rows, properties = {}) {
  const head = element("tr", {}, ...columns.map(([title, kind]) => element("th", { scope: "col", class: kind }, title)));
  const cells = (row) => row.map((cell, place) => element("td", { class: columns[place][1] }, cell));
  const body = rows.map((row) => element("tr", {}, ...cells(row)));
  const made = element(
    "table", properties, caption ? element("caption", {}, caption) : null,
    element("thead", {}, head), element("tbody", {}, ...body),
  );
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption || columns[0][0] }, made);
}

// At most `most` of the indices below `length`, evenly, with the last.
function thinned(length, most) {
  if (length <= most) return [...Array(length).keys()];
  return [...Array(most).keys()].map((part) => Math.round((part * (length - 1)) / (most - 1)));
}

function curvesTable(label, curves, text) {
  const most = Math.max(2, Math.floor(ROWS / Math.max(curves.length, 1)));
  const rows = curves.flatMap((curve) => {
    const first = curve.drawnOnly ?? 0;
    return thinned(curve.tokens.length - first, most).map((index) => [
      curve.node ?? "", curve.title ?? curve.kind, countText(curve.tokens[first + index]), text(curve.values[first + index]),
    ]);
  });
  return table(label, [["node", "name"], ["curve", ""], ["tokens", "number"], ["value", "number"]], rows);
}
