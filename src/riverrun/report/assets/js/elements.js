// Elements made without markup, so that text stays text whatever a name holds.

const SVG = "http://www.w3.org/2000/svg";

function fill(made, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

function element(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

function drawn(name, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

function section(id, title, ...children) {
  const heading = element("h2", { id: `${id}-title` }, title);
  return element("section", { id, "aria-labelledby": heading.id }, heading, ...children);
}

// What lies folded until asked for; `make` gives its content on the first opening, so that a folded table costs nothing.
function folded(key, summary, make) {
  const body = element("details", { open: view.open.has(key) }, element("summary", { id: `${key}-summary` }, summary));
  const show = () => {
    if (body.open && body.childElementCount === 1) body.append(make());
  };
  body.addEventListener("toggle", () => {
    if (body.open) view.open.add(key);
    else view.open.delete(key);
    show();
  });
  show();
  return body;
}

function command(text) {
  const box = element("div", { class: "command" }, element("pre", {}, text));
  if (navigator.clipboard) {
    const button = element("button", { type: "button", "aria-label": `copy: ${text}` }, "copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "copied";
      } catch {
        button.textContent = "not allowed";
      }
    });
    box.classList.add("copied");
    box.append(button);
  }
  return box;
}

// [term, what it is] in a list; pairs without content are left out.
function factList(pairs) {
  const there = pairs.filter(([, what]) => what != null && what !== "");
  const items = there.flatMap(([term, what]) => [element("dt", {}, term), element("dd", {}, what)]);
  return element("dl", { class: "facts" }, ...items);
}
