// The same cells over several runs: verdicts in a row, and a plot of a key figure.

const MOST_LINES = 12;

function drawTrends() {
  const told = run.trends;
  if (!told) return [h("h1", { tabindex: "-1" }, "No trends"), h("p", { class: "empty" }, "Give several runs: ", h("code", null, "wsgiproof report DIR DIR DIR"))];
  const names = Object.keys(told.figures);
  const figure = names.includes(state.figure) ? state.figure : names[0];
  const rows = told.rows.filter((row) => !state.text || row.name.toLowerCase().includes(state.text.toLowerCase()));
  const changed = rows.filter((row) => new Set(row.points.map((point) => point.verdict)).size > 1).length;
  announce(`${plural(rows.length, "cell")} in ${plural(told.columns.length, "column")}`);
  return [
    h("h1", { tabindex: "-1" }, told.by === "date" ? `${plural(told.columns.length, "run")}` : `By ${axisTitle(told.by)}`),
    h("p", { class: "soft facts" }, h("span", null, plural(rows.length, "cell")), h("span", null, `${number(changed)} of them came to different verdicts`)),
    h("div", { class: "controls flat" },
      names.length ? choice("figure", "Figure", names.map((name) => [name, told.figures[name]]), figure, (value) => adjust({ figure: value })) : null,
      h("div", { class: "field" }, h("label", { for: "text" }, "Cell's name has"), h("input", { id: "text", type: "search", value: state.text,
        oninput: (event) => adjust({ text: event.target.value }) }))),
    rows.length ? [figure ? trendPlot(told, rows, figure) : null, trendTable(told, rows, figure)] : h("p", { class: "empty" }, "No cell fits."),
  ];
}

function columnName(told, column) {
  return told.by === "date" ? when(column) : column;
}

/** The day alone, where no two runs are of the same one. */
function shortName(told, column) {
  const days = told.columns.map((one) => one.slice(0, 10));
  return told.by === "date" && new Set(days).size === days.length ? column.slice(0, 10) : columnName(told, column);
}

/** Below a plot, since the names of cells are too long for a legend inside. */
function legend(names) {
  return h("ul", { class: "legend" }, names.map((name, at) => {
    const sign = h("span", { class: "sign", "aria-hidden": "true" }, ["●", "■", "◆", "▲", "✕", "★"][at % SIGNS.length]);
    sign.style.color = `var(--${SERIES[at % SERIES.length]})`;
    return h("li", null, sign, name, at >= SERIES.length ? h("span", { class: "soft" }, " (dashed)") : null);
  }));
}

function trendTable(told, rows, figure) {
  return h("div", { class: "scroll" }, h("table", { class: "plain trends" },
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "cell"), told.columns.map((column) => h("th", { scope: "col" }, columnName(told, column))))),
    h("tbody", null, rows.map((row) => h("tr", null, h("th", { scope: "row" }, row.name), told.columns.map((_, at) => trendPlace(row.points.find((point) => point.column === at), figure)))))));
}

function trendPlace(point, figure) {
  if (!point) return h("td", { class: "soft" }, "–");
  const told = point.figures.find((one) => one.name === figure);
  const here = cellById.has(point.cell);
  return h("td", { title: point.verdict === "pass" ? null : point.reason.slice(0, 300) },
    here ? h("a", { href: addressOf({ view: "cell", cell: point.cell }) }, badge(point.verdict)) : badge(point.verdict),
    told ? h("div", { class: "soft small" }, told.told) : null);
}

function trendPlot(told, rows, figure) {
  const shown = rows.slice(0, MOST_LINES);
  const columns = told.columns.map((column) => plain(shortName(told, column)));
  const valueOf = (row, at) => {
    const point = row.points.find((one) => one.column === at);
    const one = point && point.figures.find((other) => other.name === figure);
    return one ? one.value : null;
  };
  return plot({
    id: "trend",
    title: told.figures[figure],
    note: rows.length > shown.length ? `of the first ${shown.length} cells below; filter for others` : "",
    height: 320,
    below: legend(shown.map((row) => row.name)),
    build: () => ({
      traces: shown.map((row, at) => lineOf(columns, columns.map((_, column) => valueOf(row, column)), row.name, at, { connectgaps: true })),
      layout: { x: told.by === "date" ? "run" : axisTitle(told.by), y: figure.startsWith("latency") ? "seconds" : told.figures[figure],
        xaxis: { type: "category" }, yaxis: { rangemode: "tozero" }, showlegend: false },
    }),
    head: ["cell", ...columns],
    rows: () => rows.map((row) => [row.name, ...columns.map((_, at) => valueOf(row, at) ?? "")]),
  });
}
