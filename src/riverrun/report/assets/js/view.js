// What the reader chose. It outlives new facts; all that shows it watches it.

const view = {
  hidden: new Set(),        // nodes not drawn
  without: new Set(),       // kinds of curve not drawn: "train", "raw", "ema-25", ...
  selected: null,           // a node's name
  log: true,                // tokens on a logarithmic axis
  logLoss: false,           // losses on one
  zoom: null,               // [first, last] tokens
  budget: null,             // tokens; null is the largest
  open: new Set(),          // what is unfolded
};

let watchers = [];

function watch(react) {
  watchers.push(react);
}

function changeView(change) {
  change();
  for (const react of watchers) react();
}

function select(node) {
  changeView(() => { view.selected = view.selected === node ? null : node; });
}

function toggle(set, item) {
  if (!set.delete(item)) set.add(item);
}
