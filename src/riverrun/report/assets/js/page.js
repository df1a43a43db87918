// The page from its facts, and again from new ones while training runs.

const SECTIONS = [
  answerSection, lossSection, budgetSection, treeSection, gapSection, gainsSection, sweepsSection, forecastSection,
  comparisonSection, healthSection,
];
const POLL = 5000;
const MANY = 8;                        // nodes, beyond which the training losses are hidden at first

function render(facts) {
  const place = document.getElementById("page");
  const focused = document.activeElement?.id;
  const scrolled = window.scrollY;
  const { scrollLeft: left, scrollTop: top } = document.getElementById("legend") ?? {};
  if (!facts.nodes.some(({ id }) => id === view.selected)) view.selected = null;
  for (const one of charts) one.remove();
  charts.clear();
  watchers = [];
  place.replaceChildren(...SECTIONS.map((make) => make(facts)).filter((made) => made != null));
  redrawCharts();                      // the tree at once, that its rows can have the focus
  window.scrollTo(0, scrolled);
  document.getElementById("legend")?.scrollTo({ left, top });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function start() {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  if (facts.nodes.length > MANY) view.without.add("train");
  render(facts);
  if (facts.live) follow(facts);
}

// New facts every few seconds; a page that is being used waits, so that nothing moves under a pointer.
function follow(first) {
  let shown = JSON.stringify({ ...first, written: "" });
  let held = false;
  addEventListener("pointerdown", () => { held = true; });
  for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, () => { held = false; });
  setInterval(async () => {
    if (held || document.hidden) return;
    try {
      const answer = await fetch("facts.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(`${answer.status}`);
      const facts = await answer.json();
      const now = JSON.stringify({ ...facts, written: "" });
      if (now === shown || held) return;
      render(facts);
      shown = now;
    } catch {
      document.getElementById("state").textContent = "The server does not answer; what is shown is the last it said.";
      shown = "";
    }
  }, POLL);
}

start();
