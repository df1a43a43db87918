// The table of a comparison, and what it claims.

const MARKS = { holds: "✓", fails: "✗", undecided: "?" };

function comparisonSection(facts) {
  const { comparison } = facts;
  if (!comparison) return null;
  const columns = comparison.columns.map((column) => [column, ""]);
  const claims = comparison.claims.map(({ name, statement, verdict }) =>
    element("li", {}, element("strong", { class: verdict }, `${MARKS[verdict] ?? ""} ${verdict}`), ` ${name}: ${statement}`),
  );
  return section(
    "comparison",
    "Comparison",
    comparison.rows.length ? table("", columns, comparison.rows) : null,
    claims.length ? element("ul", {}, ...claims) : null,
  );
}
