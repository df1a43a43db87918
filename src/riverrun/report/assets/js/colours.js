// A node has one colour everywhere; an average is told from raw weights by its dashes.

const COLOURS = 8;
const DASHES = [[7, 4], [2, 3], [10, 3, 2, 3], [4, 2]];
const dark = matchMedia("(prefers-color-scheme: dark)");

const colourName = (index) => `--line-${index % COLOURS}`;
const resolved = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function swatch(index) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.background = `var(${colourName(index)})`;
  return made;
}

function dashOf(kind, kinds) {
  const averages = kinds.filter((name) => name !== "train" && name !== "raw");
  const place = averages.indexOf(kind);
  return place < 0 ? [] : DASHES[place % DASHES.length];
}

function strokeSample(kind, kinds) {
  const thin = kind === "train";
  const line = drawn("line", {
    x1: 0, y1: 5, x2: 26, y2: 5, stroke: "currentColor", "stroke-width": thin ? 1 : 1.8,
    "stroke-opacity": thin ? 0.5 : 1, "stroke-dasharray": dashOf(kind, kinds).join(" ") || "none",
  });
  return drawn("svg", { class: "stroke", viewBox: "0 0 26 10", "aria-hidden": "true" }, line);
}
