// The plots of the page. Each is drawn when it comes into sight, and has its numbers as a table.

let waiting = [];
let watcher = null;

/** A figure with its plot, a legend whose entries switch lines on and off, and the same numbers as a table. */
function plot({ id, title, label, height, build, head, rows, note, rate = "" }) {
  const area = h("div", { class: "plot", id: `plot-${id}`, role: "img", tabindex: "0", "aria-label": label || title });
  area.style.height = `${height || 240}px`;
  const readout = h("span", { class: "readout soft" });
  const names = h("ul", { class: "legend" });
  const one = { area, build, readout, names, values: [], hidden: new Map(), chart: null };
  const tabular = h("details", { class: "numbers", ontoggle: (event) => {
    if (event.target.open && event.target.children.length === 1) event.target.append(table(head, rows(), title));
  } }, h("summary", null, "as a table"));
  const button = (text, name, act) => h("button", { type: "button", class: "quiet", "aria-label": `${name}: ${title}`, title: name,
    onclick: () => { if (one.chart) act(one.chart); } }, text);
  area.addEventListener("keydown", (event) => { if (one.chart) onChartKey(event, one.chart); });
  waiting.push(one);
  return h("figure", { class: "chart" },
    h("figcaption", null, h("b", null, title), note ? h("span", { class: "soft" }, ` ${note}`) : null, rate ? h("p", { class: "rate" }, `╌╌ ${rate}`) : null),
    area, h("div", { class: "below" }, readout, h("span", { class: "zoom" }, button("+", "Zoom in", (chart) => zoom(chart, ZOOM_STEP)),
      button("−", "Zoom out", (chart) => zoom(chart, 1 / ZOOM_STEP)), button("all", "Show all", unzoom))),
    names, rows ? tabular : null);
}

function forgetPlots() {
  if (watcher) watcher.disconnect();
  for (const one of waiting) if (one.chart) forgetChart(one.chart);
  waiting = [];
}

function startPlots() {
  watcher = new IntersectionObserver((seen) => {
    for (const one of seen) {
      if (one.isIntersecting) drawPlot(waiting.find((other) => other.area === one.target));
    }
  }, { rootMargin: "300px" });
  for (const one of waiting) watcher.observe(one.area);
}

function drawPlot(one) {
  if (!one || one.chart || !one.area.clientWidth) return;
  const spec = one.build();
  for (const line of spec.lines || []) line.hidden = one.hidden.get(line.name) ?? line.hidden;
  one.values = (spec.lines || []).map(() => h("b", { class: "value" }));
  one.chart = drawChart(one.area, spec, one.readout, one.values);
  one.names.replaceChildren(...legend(one, spec));
  // For tests: what was drawn.
  one.area.chart = one.chart;
  one.area.spec = spec;
  one.area.dataset.drawn = "yes";
}

function legend(one, spec) {
  const sign = (text, shade) => {
    const mark = h("span", { class: "sign", "aria-hidden": "true" }, text);
    mark.style.color = `var(--${shade})`;
    return mark;
  };
  if (spec.lives) {
    const looks = [...new Set(spec.lives.map((life) => life.look))];
    return looks.map((look) => h("li", null, sign(look.sign, look.colour), look.title));
  }
  return spec.lines.map((line, at) => {
    const button = h("button", { type: "button", class: "line", "aria-pressed": String(!line.hidden), onclick: () => {
      const shown = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(shown));
      one.hidden.set(line.name, !shown);
      one.chart.setSeries(at + 1, { show: shown });
    } }, sign(line.mark || (line.kind ? "▬" : SIGNS[at % SIGNS.length]), line.colour || SERIES[at % SERIES.length]), line.name, one.values[at]);
    return h("li", null, button);
  });
}

function redrawPlots() {
  for (const one of waiting) {
    if (!one.chart) continue;
    forgetChart(one.chart);
    one.chart = null;
    delete one.area.dataset.drawn;
    drawPlot(one);
  }
}

function drawAllPlots() {
  for (const one of waiting) drawPlot(one);
}

/** Two readings after the same number of requests would be one: the later is moved a hair to the right. */
function apart(x) {
  const moved = [];
  for (const value of x) moved.push(moved.length && value <= moved[moved.length - 1] ? moved[moved.length - 1] + 1e-4 : value);
  return moved;
}

/** Counts begin at 0; memory does not, or nothing would be seen of its growth. */
function heightOf(chart) {
  if (["bytes", "blocks"].includes(chart.y)) return { label: chart.y };
  return { label: chart.y, whole: true, range: (_, __, most) => (most < 5 ? [-0.25, 5] : [0, most * 1.08]) };
}

function resourcePlot(chart) {
  const fitted = chart.fits.map((fit) => ({ name: "fitted rate", x: fit.requests, y: fit.line, colour: "fail-strong", dash: [8, 5], width: 2.5, mark: "╌", plain: true }));
  const shown = chart.lines.filter((line) => !line.hidden);
  const build = () => ({
    x: { label: chart.x },
    y: heightOf(chart),
    lines: [...shown, ...chart.lines.filter((line) => line.hidden).slice(0, 4)].map((line) => ({ ...line, x: apart(line.x) })).concat(fitted),
    bands: chart.bands,
    fits: chart.fits,
  });
  const notes = chart.left_out ? `; ${plural(chart.left_out, "process", "processes")} more ${chart.left_out > 1 ? "are" : "is"} left out` : "";
  return plot({
    id: chart.name,
    title: chart.title,
    note: `by ${chart.x}${notes}`,
    label: `${chart.title} by ${chart.x}. ${chart.rate}`,
    rate: chart.rate,
    build,
    head: ["series", chart.x, chart.y],
    rows: () => chart.lines.flatMap((line) => line.x.map((at, place) => [line.name, at, line.y[place]])),
  });
}

function latencyOverTime(load) {
  const names = [["p50", "half within"], ["p99", "99 % within"], ["longest", "slowest"]];
  return plot({
    id: "latency",
    title: "Latency over time",
    note: `of the requests that ended in each ${load.width === 1 ? "second" : plural(load.width, "second")}; the warm-up holds its requests inside on purpose`,
    build: () => ({
      x: { label: "seconds" },
      y: { label: "milliseconds", log: true },
      lines: names.map(([key, title]) => ({ name: title, x: load.x, y: load[key] })),
      bands: load.bands,
    }),
    head: ["second", "half within (ms)", "99 % within (ms)", "slowest (ms)"],
    rows: () => load.x.map((at, place) => [at, ...names.map(([key]) => load[key][place] ?? "")]),
  });
}

function throughputOverTime(load) {
  const failed = load.failed.some(Boolean);
  // The bar of all requests stands behind that of those that failed, and shows the rest.
  const answered = { name: failed ? "answered" : "requests/s", kind: "bars", x: load.x, y: load.requests, fill: "series1", shown: (all, at) => all - load.failed[at] };
  return plot({
    id: "throughput",
    title: "Requests over time",
    build: () => ({
      x: { label: "seconds" },
      y: { label: "requests/s", range: (_, __, most) => [0, (most || 1) * 1.08] },
      lines: [answered, ...(failed ? [{ name: "failed", kind: "bars", x: load.x, y: load.failed, colour: "fail-strong", fill: "fail-strong", striped: true }] : [])],
      bands: load.bands,
      bars: true,
      width: load.width,
    }),
    head: ["second", "requests/s", "failed/s"],
    rows: () => load.x.map((at, place) => [at, load.requests[place], load.failed[place]]),
  });
}

function latencyHistogram(histograms) {
  return plot({
    id: "histogram",
    title: "Latency by interpreter",
    note: "requests by how long they took, without those of the warm-up",
    build: () => ({
      x: { label: "milliseconds", log: true },
      y: { label: "requests", range: (_, __, most) => [0, (most || 1) * 1.08] },
      lines: histograms.map((one, at) => ({ name: one.name, kind: "steps", x: one.x, y: one.y, fill: `fill${(at % 2) + 1}` })),
    }),
    head: ["interpreter", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "slowest ms"],
    rows: () => histograms.map((one) => [one.name, one.count, ...Object.values(one.percentiles), one.longest]),
  });
}

const LOOKS = {
  crash: { sign: "✖", colour: "fail-strong", title: "crashed" },
  replaced: { sign: "◆", colour: "series2", title: "replaced, or ended before the stop" },
  ended: { sign: "●", colour: "series3", title: "ended" },
  "": { sign: "○", colour: "soft", title: "not seen to end" },
};

function lifelines(timeline) {
  const end = Math.max(0.1, ...timeline.bands.map((band) => band.end), ...timeline.lives.map((life) => life.died || 0));
  const name = (life) => `${life.role} ${life.pid}`;
  const lived = (life) => {
    const look = LOOKS[life.outcome] || LOOKS[""];
    return { start: life.born || 0, end: life.died ?? end, look, text: `${name(life)}: ${life.how ? `${life.how} in phase ${life.phase}` : look.title}` };
  };
  return plot({
    id: "timeline",
    title: "Processes",
    note: "from birth to death",
    height: Math.min(1400, 90 + 22 * timeline.lives.length),
    build: () => ({
      x: { label: "seconds" },
      y: { names: timeline.lives.map(name) },
      range: [0, end],
      lives: timeline.lives.map(lived),
      bands: timeline.bands,
    }),
    head: ["process", "born (s)", "ended (s)", "how", "in phase"],
    rows: () => timeline.lives.map((life) => [name(life), life.born ?? "", life.died ?? "", life.how || "not seen to end", life.phase]),
  });
}
