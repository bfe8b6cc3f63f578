// One chart: lines, steps or bars by uPlot, with shaded phases, fitted rates and the lives of
// processes drawn around them. It is zoomed and read by mouse, touch and keyboard.

const SERIES = ["series1", "series2", "series3", "series4", "series5", "series6"];
const DASHES = [[], [8, 5], [2, 4], [8, 4, 2, 4], [14, 5], [14, 4, 2, 4]];
const SIGNS = ["●", "■", "◆", "▲", "✕", "★"];
const ZOOM_STEP = 0.5;

/** Draw a chart into its area. `spec` is what a function of plots.js builds. */
function drawChart(area, spec, readout, values) {
  const lines = spec.lines || [];
  const data = lines.length ? uPlot.join(lines.map((line) => [line.x, line.y])) : [spec.range, [null, null]];
  const chart = new uPlot(chartOptions(area, spec, lines, data, readout, values), data, area);
  watchSize(area, chart);
  return chart;
}

function chartOptions(area, spec, lines, data, readout, values) {
  const series = lines.length ? lines.map(seriesOf) : [{ show: true, points: { show: false } }];
  return {
    width: area.clientWidth,
    height: area.clientHeight,
    padding: [spec.bands && spec.bands.length ? 20 : 8, 18, 0, 0],
    legend: { show: false },
    series: [{}, ...series],
    scales: scalesOf(spec),
    axes: [axisOf(spec.x, 0), axisOf(spec.y, 1)],
    cursor: {
      dataIdx: (chart, index, nearest) => (index === 0 ? nearest : nearestReading(data[index], nearest)),
      points: { show: lines.length > 0 && !spec.bars, size: 9 },
      y: false,
      drag: { x: true, y: false, setScale: true },
    },
    hooks: {
      drawClear: [(chart) => inside(chart, (context) => drawBelow(chart, context, spec))],
      drawSeries: [(chart, index) => inside(chart, (context) => drawSigns(chart, context, lines[index - 1], index))],
      draw: [(chart) => {
        if (spec.lives) inside(chart, (context) => drawLives(chart, context, spec));
        drawBandNames(chart, spec.bands || []);
      }],
      setCursor: [(chart) => read(chart, spec, lines, readout, values)],
    },
  };
}

function scalesOf(spec) {
  const of = (axis) => {
    if (axis.names) return { time: false, dir: axis === spec.y ? -1 : 1, range: [-0.5, axis.names.length - 0.5] };
    return { time: false, distr: axis.log ? 3 : 1, ...(axis.range ? { range: axis.range } : {}) };
  };
  const x = spec.x.log || spec.x.names || spec.lives ? spec.x : { ...spec.x, range: (_, least, most) => aside(spec, least, most) };
  return { x: of(x), y: of(spec.y) };
}

/** Room at both ends, so that no sign and no bar is cut off. */
function aside(spec, least, most) {
  const room = spec.bars ? spec.width / 2 : (most - least) * 0.012 || 1;
  return [least - room, most + room];
}

function seriesOf(line, at) {
  const shade = line.colour || SERIES[at % SERIES.length];
  const shapes = { steps: uPlot.paths.stepped({ align: 1 }), bars: uPlot.paths.bars({ size: [0.9, 60], gap: 1 }) };
  return {
    label: line.name,
    show: !line.hidden,
    stroke: () => (line.kind === "bars" ? null : colour(shade)),
    width: line.kind === "bars" ? 0 : line.width || 2,
    dash: line.dash || DASHES[Math.floor(at / SERIES.length) % DASHES.length],
    fill: line.fill ? (chart) => fillOf(chart, line, shade) : null,
    paths: shapes[line.kind],
    points: { show: false },
  };
}

/** A colour, or stripes of it where the colour alone must not tell two bars apart. */
function fillOf(chart, line, shade) {
  if (!line.striped) return colour(line.fill);
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const context = tile.getContext("2d");
  context.strokeStyle = colour(shade);
  context.lineWidth = 4;
  for (const shift of [-8, 0, 8]) {
    context.beginPath();
    context.moveTo(shift, 8);
    context.lineTo(shift + 8, 0);
    context.stroke();
  }
  return chart.ctx.createPattern(tile, "repeat");
}

function axisOf(axis, side) {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  return {
    side: side ? 3 : 2,
    label: axis.label || null,
    labelFont: font,
    labelSize: axis.label ? 18 : 0,
    labelGap: 0,
    font,
    stroke: () => colour("soft"),
    grid: { stroke: () => colour("rule"), width: 1 },
    ticks: { stroke: () => colour("rule"), width: 1, size: 4 },
    gap: 4,
    size: side ? (chart, values) => widthOf(chart, values || [], font) : 26,
    ...(axis.names ? { splits: (chart) => placesOf(chart, axis, side), values: (_, splits) => splits.map((at) => axis.names[at]) }
      : { values: (_, splits) => splits.map(shortNumber) }),
    ...(axis.whole ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 1000000] } : {}),
  };
}

function widthOf(chart, values, font) {
  const { ctx } = chart;
  ctx.save();
  ctx.font = font;
  const widest = Math.max(0, ...values.filter(Boolean).map((text) => ctx.measureText(text).width));
  ctx.restore();
  return Math.ceil(widest) + 12;
}

/** All names of an axis, or as many of those below a chart as there is room for. */
function placesOf(chart, axis, side) {
  const room = side ? Infinity : Math.max(1, chart.width / (7 * Math.max(...axis.names.map((name) => name.length))));
  const step = Math.ceil(axis.names.length / room) || 1;
  return axis.names.map((_, at) => at).filter((at) => at % step === 0);
}

/** `1.2k` and `3M`: at most four characters, and nothing for a split without a label. */
function shortNumber(value) {
  if (value === null || value === undefined) return "";
  const [divisor, unit] = [[1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([least]) => Math.abs(value) >= least) || [1, ""];
  const scaled = value / (unit === "k" ? 1e3 : divisor);
  return `${scaled.toLocaleString("en-US", { maximumSignificantDigits: unit ? 6 : 4 })}${unit}`;
}

function nearestReading(values, from) {
  for (let away = 0; away < values.length; away += 1) {
    if (typeof values[from - away] === "number") return from - away;
    if (typeof values[from + away] === "number") return from + away;
  }
  return from;
}

/** Draw within the plot's own area, whose pixels are those of the screen. */
function inside(chart, draw) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw(ctx);
  ctx.restore();
}

/** Phases as shades, and the interval of each fitted rate as a band. */
function drawBelow(chart, context, spec) {
  const { top, height } = chart.bbox;
  const across = (value) => chart.valToPos(value, "x", true);
  const up = (value) => chart.valToPos(value, "y", true);
  (spec.bands || []).forEach((band, at) => {
    const left = across(band.start);
    context.fillStyle = colour(at % 2 ? "shade1" : "shade2");
    context.fillRect(left, top, Math.max(devicePixelRatio, across(band.end) - left), height);
  });
  for (const fit of spec.fits || []) {
    const [first, last] = fit.requests.map(across);
    context.fillStyle = colour("band");
    context.beginPath();
    context.moveTo(first, up(fit.least[0]));
    context.lineTo(last, up(fit.least[1]));
    context.lineTo(last, up(fit.most[1]));
    context.lineTo(first, up(fit.most[0]));
    context.fill();
  }
}

/** The name of each phase above the plot, where there is room for it. */
function drawBandNames(chart, bands) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.font = `${10 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.fillStyle = colour("soft");
  ctx.textAlign = "center";
  for (const band of bands) {
    const ends = [band.start, band.end].map((value) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, chart.valToPos(value, "x", true))));
    if (ctx.measureText(band.name).width + 6 < ends[1] - ends[0]) ctx.fillText(band.name, (ends[0] + ends[1]) / 2, bbox.top - 5 * devicePixelRatio);
  }
  ctx.restore();
}

/** A sign for each reading, so that lines can be told apart without colours. */
function drawSigns(chart, context, line, index) {
  if (!line || line.kind || line.plain) return;
  context.fillStyle = colour(line.colour || SERIES[(index - 1) % SERIES.length]);
  context.font = `${9 * devicePixelRatio}px sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  chart.data[index].forEach((value, at) => {
    if (typeof value !== "number" || !(value > 0 || chart.scales.y.distr !== 3)) return;
    context.fillText(SIGNS[(index - 1) % SIGNS.length], chart.valToPos(chart.data[0][at], "x", true), chart.valToPos(value, "y", true));
  });
}

/** A bar for each process from birth to death, with a sign for how it ended. */
function drawLives(chart, context, spec) {
  const across = (value) => chart.valToPos(value, "x", true);
  context.font = `${12 * devicePixelRatio}px sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  spec.lives.forEach((life, at) => {
    const middle = chart.valToPos(at, "y", true);
    const thick = 7 * devicePixelRatio;
    const [left, right] = [across(life.start), across(life.end)];
    context.fillStyle = colour("series1");
    context.globalAlpha = 0.55;
    context.fillRect(left, middle - thick / 2, right - left, thick);
    context.globalAlpha = 1;
    context.fillStyle = colour(life.look.colour);
    context.fillText(life.look.sign, Math.min(right, chart.bbox.left + chart.bbox.width - thick), middle);
  });
}

/** Show the values at the cursor: below the chart, and next to each name of the legend. */
function read(chart, spec, lines, readout, values) {
  const { left, top, idxs } = chart.cursor;
  const away = left < 0;
  if (spec.lives) {
    const life = away ? null : spec.lives[Math.round(chart.posToVal(top, "y"))];
    readout.textContent = life ? life.text : "";
    return;
  }
  lines.forEach((line, at) => {
    const value = away ? null : chart.data[at + 1][idxs[at + 1]];
    if (values[at]) values[at].textContent = typeof value === "number" ? ` ${number((line.shown || ((one) => one))(value, idxs[at + 1]))}` : "";
  });
  const x = away ? null : chart.data[0][idxs[0]];
  readout.textContent = x === null || x === undefined ? "" : `${spec.x.label}: ${spec.x.names ? spec.x.names[x] : number(x)}${phaseAt(spec, x)}`;
}

function phaseAt(spec, x) {
  const band = (spec.bands || []).find((one) => one.start <= x && x <= one.end);
  return band ? `, ${band.name}` : "";
}

function watchSize(area, chart) {
  chart.watcher = new ResizeObserver(() => {
    if (area.clientWidth && (area.clientWidth !== chart.width || area.clientHeight !== chart.height)) {
      chart.setSize({ width: area.clientWidth, height: area.clientHeight });
    }
  });
  chart.watcher.observe(area);
}

function forgetChart(chart) {
  chart.watcher.disconnect();
  chart.destroy();
}

/** Zoom around the cursor, or around the middle where there is none. */
function zoom(chart, factor) {
  const { min, max } = chart.scales.x;
  const at = chart.cursor.left >= 0 ? chart.posToVal(chart.cursor.left, "x") : (min + max) / 2;
  chart.setScale("x", { min: at - (at - min) * factor, max: at + (max - at) * factor });
}

function unzoom(chart) {
  chart.setData(chart.data);
}

/** Arrow keys move the cursor from reading to reading; + and - zoom, 0 shows all. */
function onChartKey(event, chart) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const x = chart.data[0];
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) {
    const from = chart.cursor.left < 0 ? (step > 0 ? -1 : x.length) : chart.cursor.idx;
    const to = Math.min(x.length - 1, Math.max(0, from + step));
    chart.setCursor({ left: chart.valToPos(x[to], "x"), top: 1 });
  } else if (event.key === "+" || event.key === "=") zoom(chart, ZOOM_STEP);
  else if (event.key === "-") zoom(chart, 1 / ZOOM_STEP);
  else if (event.key === "0") unzoom(chart);
  else return;
  event.preventDefault();
}
