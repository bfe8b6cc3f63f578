// Plots. The library is unpacked when the first one comes into sight, and each is drawn then.

const SERIES = ["series1", "series2", "series3", "series4", "series5", "series6"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SIGNS = ["circle", "square", "diamond", "triangle-up", "x", "star"];
let library = null;
let waiting = [];
let watcher = null;

/** A figure with its plot, and the same numbers as a table. */
function plot({ id, title, label, height, build, head, rows, note, rates = [], below = null }) {
  const area = h("div", { class: "plot", id: `plot-${id}`, role: "img", "aria-label": label || title });
  area.style.height = `${height || 260}px`;
  const tabular = h("details", { class: "numbers", ontoggle: (event) => {
    if (event.target.open && event.target.children.length === 1) event.target.append(table(head, rows(), title));
  } }, h("summary", null, "as a table"));
  waiting.push({ area, build, drawn: false });
  return h("figure", { class: "chart" }, h("figcaption", null, h("b", null, title), note ? h("span", { class: "soft" }, ` ${note}`) : null,
  rates.map((rate) => h("p", { class: "rate" }, `╌╌ ${rate}`))), area, below, rows ? tabular : null);
}

function forgetPlots() {
  if (watcher) watcher.disconnect();
  for (const one of waiting) if (one.drawn) globalThis.Plotly.purge(one.area);
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

async function loadLibrary() {
  const script = h("script", null, await unpacked("library"));
  // As it loads it adds a style sheet for maps, which nothing here shows and the policy would refuse.
  const { head } = document;
  head.appendChild = (element) => (element.tagName === "STYLE" && element.textContent ? element
    : Node.prototype.appendChild.call(head, element));
  head.append(script);
  delete head.appendChild;
  return globalThis.Plotly;
}

async function drawPlot(one) {
  if (!one || one.drawn) return;
  one.drawn = true;
  library = library || loadLibrary();
  const plotly = await library;
  if (!one.area.isConnected) {
    one.drawn = false;
    return;
  }
  const { traces, layout } = one.build();
  await plotly.newPlot(one.area, traces, themed(layout), {
    displaylogo: false,
    responsive: true,
    modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"],
  });
  one.area.dataset.drawn = "yes";
}

function redrawPlots() {
  for (const one of waiting) {
    if (one.drawn && one.area.dataset.drawn) {
      one.drawn = false;
      drawPlot(one);
    }
  }
}

function drawAllPlots() {
  for (const one of waiting) drawPlot(one);
}

function themed(layout) {
  const coarse = matchMedia("(pointer: coarse)").matches;
  const axis = { gridcolor: colour("rule"), linecolor: colour("rule"), zerolinecolor: colour("rule"), automargin: true,
    tickfont: { size: 11 } };
  return {
    margin: { l: 48, r: 12, t: 22, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("rule"), font: { color: colour("ink") } },
    legend: { orientation: "h", x: 0, y: -0.28, yanchor: "top", font: { size: 11 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("ink") },
    dragmode: coarse ? false : "zoom",
    ...layout,
    xaxis: { ...axis, ...layout.xaxis, title: { text: layout.x, font: { size: 11, color: colour("soft") }, standoff: 6 } },
    yaxis: { ...axis, ...layout.yaxis, title: { text: layout.y || "", font: { size: 11, color: colour("soft") }, standoff: 6 } },
  };
}

/** The text of a plot is read for markup by the library, which nothing of others' may be. */
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Each phase as a shade behind the plot, with its name above where there is room. */
function shades(bands) {
  if (!bands.length) return { shapes: [], annotations: [] };
  const whole = Math.max(...bands.map((band) => band.end)) - Math.min(...bands.map((band) => band.start));
  const shapes = bands.map((band, at) => (band.end > band.start
    ? { type: "rect", xref: "x", yref: "paper", x0: band.start, x1: band.end, y0: 0, y1: 1, layer: "below", line: { width: 0 },
      fillcolor: colour(at % 2 ? "shade1" : "shade2") }
    : { type: "line", xref: "x", yref: "paper", x0: band.start, x1: band.end, y0: 0, y1: 1, layer: "below",
      line: { color: colour("soft"), width: 1, dash: "dot" } }));
  const annotations = bands.filter((band) => band.end - band.start > whole * 0.08).map((band) => ({
    text: plain(band.name), x: (band.start + band.end) / 2, y: 1, yref: "paper", yanchor: "bottom", showarrow: false,
    font: { size: 10, color: colour("soft") } }));
  return { shapes, annotations };
}

function lineOf(x, y, name, at, more = {}) {
  const shade = colour(SERIES[at % SERIES.length]);
  return { type: "scatter", mode: "lines+markers", x, y, name: plain(name),
    line: { color: shade, width: 2, dash: DASHES[Math.floor(at / SERIES.length) % DASHES.length] },
    marker: { color: shade, size: 5, symbol: SIGNS[at % SIGNS.length] }, ...more };
}

/** A judged rate: the line, and the band of its interval. */
function fitted(fit, at) {
  const [first, last] = fit.requests;
  return [
    { type: "scatter", mode: "lines", x: [first, last, last, first], y: [fit.least[0], fit.least[1], fit.most[1], fit.most[0]],
      fill: "toself", fillcolor: colour("band"), line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: `fit${at}` },
    { type: "scatter", mode: "lines", x: [first, last], y: fit.line, name: "fitted rate", legendgroup: `fit${at}`,
      line: { color: colour("fail-strong"), width: 2.5, dash: "dash" } },
  ];
}

/** Counts begin at 0; memory does not, or nothing would be seen of its growth. */
function heights(chart, lines) {
  if (["bytes", "blocks"].includes(chart.y)) return { tickformat: "~s" };
  const most = Math.max(...lines.flatMap((line) => line.y));
  return most < 5 ? { range: [-0.25, 5], dtick: 1 } : { rangemode: "tozero", tickformat: "~s" };
}

function readings(chart) {
  const main = chart.lines.filter((line) => !line.beside);
  const beside = chart.lines.filter((line) => line.beside);
  const whole = [...main, ...beside];
  const build = () => ({
    traces: [
      ...main.map((line, at) => lineOf(line.x, line.y, line.name, at)),
      ...beside.map((line, at) => ({ ...lineOf(line.x, line.y, line.name, main.length + at), visible: "legendonly" })).slice(0, 4),
      ...chart.fits.flatMap(fitted),
    ],
    layout: { x: chart.x, y: chart.y, ...shades(chart.bands), showlegend: whole.length + chart.fits.length > 1,
      yaxis: heights(chart, whole) },
  });
  const notes = chart.left_out ? `; ${plural(chart.left_out, "process", "processes")} more ${chart.left_out > 1 ? "are" : "is"} left out` : "";
  return plot({
    id: chart.name,
    title: chart.title,
    note: `against ${chart.x}${notes}`,
    label: `${chart.title} against ${chart.x}. ${chart.fits.map((fit) => `${fit.what}: ${fit.text}`).join(". ")}`,
    rates: chart.fits.map((fit) => `${fit.what}: ${fit.text}`),
    build,
    head: ["series", chart.x, chart.y],
    rows: () => whole.flatMap((line) => line.x.map((at, place) => [line.name, at, line.y[place]])),
  });
}

function latencyOverTime(pace) {
  const names = [["p50", "half within"], ["p99", "99 % within"], ["longest", "slowest"]];
  return plot({
    id: "latency",
    title: "Latency over time",
    note: `of the requests that ended in each ${pace.width === 1 ? "second" : plural(pace.width, "second")}; warm-up requests wait inside, by intent`,
    build: () => ({
      traces: names.map(([key, title], at) => lineOf(pace.x, pace[key], title, at)),
      layout: { x: "seconds", y: "milliseconds", ...shades(pace.bands), yaxis: { type: "log" } },
    }),
    head: ["second", "half within (ms)", "99 % within (ms)", "slowest (ms)"],
    rows: () => pace.x.map((at, place) => [at, ...names.map(([key]) => pace[key][place] ?? "")]),
  });
}

function throughputOverTime(pace) {
  const failed = pace.failed.some(Boolean);
  return plot({
    id: "throughput",
    title: "Requests over time",
    build: () => ({
      traces: [
        { type: "bar", x: pace.x, y: pace.requests.map((one, at) => one - pace.failed[at]), name: "answered", marker: { color: colour("series1") } },
        ...(failed ? [{ type: "bar", x: pace.x, y: pace.failed, name: "failed", marker: { color: colour("fail-strong"), pattern: { shape: "/" } } }] : []),
      ],
      layout: { x: "seconds", y: "requests/s", barmode: "stack", bargap: 0.1, ...shades(pace.bands), showlegend: failed },
    }),
    head: ["second", "requests/s", "failed/s"],
    rows: () => pace.x.map((at, place) => [at, pace.requests[place], pace.failed[place]]),
  });
}

function latencyHistogram(histograms) {
  return plot({
    id: "histogram",
    title: "Latency by interpreter",
    note: "requests without the warm-up, by how long they took",
    build: () => ({
      traces: histograms.map((one, at) => ({ ...lineOf(one.x, one.y, one.name, at), mode: "lines", fill: "tozeroy",
        line: { color: colour(SERIES[at % SERIES.length]), shape: "hvh", width: 2 }, fillcolor: colour(`fill${(at % 2) + 1}`) })),
      layout: { x: "milliseconds", y: "requests", xaxis: { type: "log" } },
    }),
    head: ["interpreter", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "slowest ms"],
    rows: () => histograms.map((one) => [one.name, one.count, ...Object.values(one.percentiles), one.longest]),
  });
}

function lifelines(timeline) {
  const end = Math.max(0.1, ...timeline.bands.map((band) => band.end), ...timeline.lives.map((life) => life.died || 0));
  const name = (life) => plain(`${life.role} ${life.pid}`);
  const looks = { crash: ["x", "fail-strong", "crashed"], replaced: ["diamond", "series2", "replaced, or ended before the stop"],
    ended: ["circle", "series3", "ended"], "": ["circle-open", "soft", "not seen to end"] };
  const build = () => ({
    traces: [
      { type: "bar", orientation: "h", y: timeline.lives.map(name), base: timeline.lives.map((life) => life.born || 0), width: 0.34,
        x: timeline.lives.map((life) => (life.died ?? end) - (life.born || 0)), marker: { color: colour("series1"), opacity: 0.55 },
        hoverinfo: "skip", showlegend: false },
      ...Object.entries(looks).map(([outcome, [symbol, shade, title]]) => {
        const lives = timeline.lives.filter((life) => life.outcome === outcome);
        return { type: "scatter", mode: "markers", name: title, x: lives.map((life) => life.died ?? end), y: lives.map(name),
          text: lives.map((life) => plain(life.how ? `${life.how} in phase ${life.phase}` : title)), hoverinfo: "text", visible: lives.length > 0,
          marker: { symbol, color: colour(shade), size: outcome === "crash" ? 12 : 9 } };
      }),
    ],
    layout: { x: "seconds", ...shades(timeline.bands), yaxis: { type: "category", autorange: "reversed", tickfont: { size: 11 } } },
  });
  return plot({
    id: "timeline",
    title: "Processes",
    note: "from birth to death",
    height: Math.min(1400, 140 + 22 * timeline.lives.length),
    build,
    head: ["process", "born (s)", "ended (s)", "how", "in phase"],
    rows: () => timeline.lives.map((life) => [`${life.role} ${life.pid}`, life.born ?? "", life.died ?? "", life.how || "not seen to end", life.phase]),
  });
}
