// The same cells over several runs: their verdicts in a table, and a plot of a key figure.

const MOST_LINES = 12;

function drawTrends() {
  const over = run.trends;
  if (!over) return [h("h1", { tabindex: "-1" }, "No trends"), h("p", { class: "empty" }, "Give several runs: ", h("code", null, "wsgiproof report DIR DIR DIR"))];
  const names = Object.keys(over.figures);
  const figure = names.includes(state.figure) ? state.figure : names[0];
  const rows = over.rows.filter((row) => !state.text || row.name.toLowerCase().includes(state.text.toLowerCase()));
  const changed = rows.filter((row) => new Set(row.points.map((point) => point.verdict)).size > 1).length;
  announce(`${plural(rows.length, "cell")} in ${plural(over.columns.length, "column")}`);
  return [
    h("h1", { tabindex: "-1" }, over.by === "date" ? `${plural(over.columns.length, "run")}` : `By ${axisTitle(over.by)}`),
    h("p", { class: "soft facts" }, h("span", null, plural(rows.length, "cell")), h("span", null, `${number(changed)} of them with different verdicts`)),
    over.moved ? h("p", null, over.moved) : null,
    h("div", { class: "controls flat" },
      names.length ? choice("figure", "Figure", names.map((name) => [name, over.figures[name]]), figure, (value) => adjust({ figure: value })) : null,
      h("div", { class: "field" }, h("label", { for: "text" }, "Cell's id contains"), h("input", { id: "text", type: "search", value: state.text,
        oninput: (event) => adjust({ text: event.target.value }) }))),
    rows.length ? [figure ? trendPlot(over, rows, figure) : null, trendTable(over, rows, figure)] : h("p", { class: "empty" }, "No cell matches."),
  ];
}

function columnName(over, column) {
  return over.by === "date" ? when(column) : column;
}

/** The day alone, where no two runs have the same one. */
function shortName(over, column) {
  const days = over.columns.map((one) => one.slice(0, 10));
  return over.by === "date" && new Set(days).size === days.length ? column.slice(0, 10) : columnName(over, column);
}

function trendTable(over, rows, figure) {
  return h("div", { class: "scroll" }, h("table", { class: "plain trends" },
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "cell"), over.columns.map((column) => h("th", { scope: "col" }, columnName(over, column))))),
    h("tbody", null, rows.map((row) => h("tr", null, h("th", { scope: "row" }, row.name), over.columns.map((_, at) => trendPlace(row.points.find((point) => point.column === at), figure)))))));
}

function trendPlace(point, figure) {
  if (!point) return h("td", { class: "soft" }, "–");
  const one = point.figures.find((other) => other.name === figure);
  const here = cellById.has(point.cell);
  return h("td", { title: point.verdict === "pass" ? null : point.reason.slice(0, 300) },
    here ? h("a", { href: addressOf({ view: "cell", cell: point.cell }) }, badge(point.verdict)) : badge(point.verdict),
    one ? h("div", { class: "soft small" }, one.text) : null);
}

function trendPlot(over, rows, figure) {
  const shown = rows.slice(0, MOST_LINES);
  const columns = over.columns.map((column) => shortName(over, column));
  const valueOf = (row, at) => {
    const point = row.points.find((one) => one.column === at);
    const one = point && point.figures.find((other) => other.name === figure);
    return one ? one.value : null;
  };
  return plot({
    id: "trend",
    title: over.figures[figure],
    note: rows.length > shown.length ? `of the first ${shown.length} cells below; filter for others` : "",
    height: 320,
    build: () => ({
      x: { label: over.by === "date" ? "run" : axisTitle(over.by), names: columns },
      y: { label: figure.startsWith("latency") ? "seconds" : over.figures[figure], range: (_, least, most) => [Math.min(0, least || 0), (most || 1) * 1.08] },
      lines: shown.map((row) => ({ name: row.name, ...pointsOf(columns.map((_, column) => valueOf(row, column))) })),
    }),
    head: ["cell", ...columns],
    rows: () => rows.map((row) => [row.name, ...columns.map((_, at) => valueOf(row, at) ?? "")]),
  });
}

/** The columns that have a value, and these values: a line goes on over a gap. */
function pointsOf(values) {
  const there = values.flatMap((value, at) => (value === null ? [] : [at]));
  return { x: there, y: there.map((at) => values[at]) };
}
