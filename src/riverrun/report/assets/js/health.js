// How training went: updates left out, interruptions, gradient norm, throughput, events, versions.

function healthSection(facts) {
  const norms = curvesOf(facts, "gradient_norm", { width: 1 });
  const speeds = facts.nodes.flatMap(({ id, health }, index) => {
    if (!health?.throughput.tokens.length) return [];
    return [{ node: id, kind: "throughput", colour: colourName(index), width: 1, ...health.throughput }];
  });
  const trained = facts.nodes.filter(({ health }) => health);
  if (!trained.length && !norms.length) return null;
  const counts = trained.map(({ id, health }) => [id, ...[health.skipped, health.starts, health.interruptions].map(countText)]);
  return section(
    "health",
    "Health",
    counts.length
      ? table("", [["node", "name"], ["updates left out", "number"], ["starts", "number"], ["interruptions", "number"]], counts)
      : null,
    element(
      "div",
      { class: "pairs" },
      norms.length
        ? element("div", {}, element("h3", {}, "Gradient norm"), chart({
            id: "norm-chart", label: "Norm of the gradient over tokens", curves: norms, text: rateText, height: 180,
            logValues: () => true,
          }))
        : null,
      speeds.length
        ? element("div", {}, element("h3", {}, "Tokens per second"), chart({
            id: "speed-chart", label: "Tokens per second over tokens", curves: speeds, text: tokensText, height: 180, zero: true,
          }))
        : null,
    ),
    eventsList(trained),
    versionsList(facts),
  );
}

function eventsList(nodes) {
  const rows = nodes.flatMap(({ id, health }) =>
    health.events.map(({ time, event, step, text }) => [time.slice(0, 19).replace("T", " "), id, event, countText(step), text]),
  );
  if (!rows.length) return null;
  const columns = [["time", ""], ["node", "name"], ["event", ""], ["step", "number"], ["what", "name"]];
  rows.sort(([one], [other]) => one.localeCompare(other));
  return folded("events", `${rows.length} events`, () => table("Events", columns, rows));
}

function versionsList(facts) {
  const sets = new Map();
  for (const { id, versions } of facts.nodes) {
    const text = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
    if (text) sets.set(text, [...(sets.get(text) ?? []), id]);
  }
  if (!sets.size) return null;
  const lines = [...sets].map(([text, names]) => (sets.size === 1 ? text : `${names.join(", ")}: ${text}`));
  return element("div", {}, element("h3", {}, "Versions"), ...lines.map((line) => element("p", {}, line)));
}
