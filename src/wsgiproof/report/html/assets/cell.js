// The page of one cell: what is wrong with it first, then all that it was seen to do.

async function drawCell() {
  const cell = cellById.get(state.cell);
  if (!cell) {
    return [h("h1", { tabindex: "-1" }, "No such cell"), h("p", { class: "empty" }, "This run has no cell ", h("code", null, state.cell), "."),
      h("p", null, h("a", { href: addressOf({ view: "matrix" }) }, "Back to the matrix"))];
  }
  drawMatrix.last = String(cell.at);
  const told = await detailOf(cell);
  return [cellHead(told), contents(told), findings(told), checkList(told), figureList(told), told.notes && told.notes.length ? notes(told.notes) : null,
    ...measured(told), ...evidence(told), madeOf(told)];
}

/** The cell before, or after, among those that are shown. */
function neighbour(step) {
  const cells = shownCells();
  const place = cells.findIndex((cell) => cell.id === state.cell);
  return place < 0 ? cells[0] : cells[place + step];
}

function cellHead(told) {
  const link = (step, text) => {
    const next = neighbour(step);
    return next ? h("a", { href: addressOf({ cell: next.id }), title: next.id }, text) : h("span", { class: "soft" }, text);
  };
  return h("header", { class: "cellhead" },
    h("p", { class: "crumbs" }, h("a", { href: addressOf({ view: "matrix" }) }, "← Matrix"), link(-1, "previous"), link(1, "next")),
    h("h1", { tabindex: "-1" }, told.id),
    h("p", { class: "outcome" }, badge(told.verdict), h("span", null, told.verdict === "pass" ? told.reason : told.findings.length
      ? plural(told.findings.length, "finding") : told.verdict === "error" ? "could not be run" : told.reason)),
    told.verdict === "error" || (told.verdict === "fail" && !told.findings.length) ? h("pre", { class: "evidence" }, told.reason) : null,
    told.tries.length ? folded(`${plural(told.tries.length, "earlier try", "earlier tries")} ended in an error`,
      h("ol", null, told.tries.map((text) => h("li", null, h("pre", null, text))))) : null,
    h("div", { class: "rerun" }, h("span", { class: "label" }, "Run this cell alone"), copyable(told.rerun)),
    h("dl", { class: "axes" }, told.axes.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))));
}

function contents(told) {
  const parts = [["findings", "Findings", told.findings.length], ["checks", "Checks", told.checks.length], ["plots", "Plots", told.charts && told.charts.length],
    ["load", "Requests", told.pace || (told.histograms && told.histograms.length)], ["processes", "Processes", told.timeline], ["stacks", "Stacks", told.stacks && told.stacks.length],
    ["log", "Log", told.log.length], ["config", "Configuration", told.texts.length]];
  const jump = (id) => (event) => {
    event.preventDefault();
    byId(id).scrollIntoView();
    byId(id).querySelector("h2").focus({ preventScroll: true });
  };
  return h("nav", { class: "contents", "aria-label": "On this page" }, parts.filter(([, , there]) => there)
    .map(([id, title]) => h("a", { href: location.hash, onclick: jump(id) }, title)));
}

function section(id, title, ...content) {
  return h("section", { id }, h("h2", { tabindex: "-1" }, title), content);
}

function findings(told) {
  if (!told.findings.length) return null;
  return section("findings", "Findings", told.findings.map((one) => h("article", { class: "finding" },
    h("h3", null, h("span", { class: "name" }, one.check), h("span", { class: "seen" }, one.seen)),
    h("dl", null,
      h("dt", null, "It means"), h("dd", null, one.meaning),
      h("dt", null, "What to do"), h("dd", null, one.action),
      one.more.map(([name, text]) => [h("dt", null, name), h("dd", null, h("pre", null, text))])),
    one.evidence.length ? h("details", { class: "print", open: one.evidence.join("\n").split("\n").length <= 12 || null },
      h("summary", null, "Evidence"), blocks(one.evidence).map((text) => h("pre", { class: "evidence" }, text))) : null)));
}

/** Lines that follow one another are one block; a text of several lines is one by itself. */
function blocks(texts) {
  const found = [];
  let open = false;
  for (const text of texts) {
    const line = !text.includes("\n");
    if (line && open) found[found.length - 1] += `\n${text}`;
    else found.push(text);
    open = line;
  }
  return found;
}

function checkList(told) {
  if (!told.checks.length) return null;
  const order = ["fail", "inconclusive", "skipped", "pass"];
  const sorted = [...told.checks].sort((one, other) => order.indexOf(one[1]) - order.indexOf(other[1]));
  return section("checks", "Checks", table(["check", "verdict", "why"],
    sorted.map(([check, verdict, reason]) => [check, badge(verdict), reason]), "Checks"));
}

function figureList(told) {
  if (!told.figures.length) return null;
  return h("section", { class: "figures", "aria-label": "Key figures" }, told.figures.map((one) => h("div", { title: one.meaning },
    h("b", null, one.told), h("span", null, one.title))));
}

function notes(lines) {
  return h("div", { class: "notice" }, lines.map((line) => h("p", null, line)));
}

function measured(told) {
  if (!told.charts) return [h("p", { class: "empty" }, "Nothing was measured in this cell.")];
  return [
    told.charts.length ? section("plots", "Resources", h("p", { class: "soft" }, "Read while the server was quiet. The shades are the phases",
      told.charts.some((chart) => chart.fits.length) ? "; a dashed line is the rate of a leak, with its interval of 95 %." : "."),
    h("div", { class: "charts" }, told.charts.map(readings))) : null,
    told.pace || told.histograms.length || told.answers.processes.length ? section("load", "Requests",
      h("div", { class: "charts" }, told.pace ? [latencyOverTime(told.pace), throughputOverTime(told.pace)] : null,
        told.histograms.length ? latencyHistogram(told.histograms) : null), percentiles(told.histograms), whoAnswered(told.answers),
      told.tables.map(recordTable)) : null,
    section("processes", "Processes", told.timeline.lives.length ? lifelines(told.timeline) : h("p", { class: "empty" }, "No process was watched."),
      told.timeline.left_out ? h("p", { class: "soft" }, `${plural(told.timeline.left_out, "process", "processes")} more.`) : null,
      h("p", { class: "soft" }, [told.timeline.beside, told.timeline.stop].filter(Boolean).join(". ")), recordTable(told.interpreters)),
  ];
}

function percentiles(histograms) {
  if (!histograms.length) return null;
  const digits = (value) => Math.round(value * 10) / 10;
  return table(["interpreter", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "slowest ms"], histograms.map((one) =>
    [one.name, one.count, ...Object.values(one.percentiles).map(digits), digits(one.longest)]), "Latency by interpreter");
}

/** Requests of each process by each interpreter, shaded by their number. */
function whoAnswered(answers) {
  if (!answers.processes.length) return null;
  const most = Math.max(1, ...answers.processes.flatMap((row) => row.answers));
  const share = (count) => {
    const place = h("td", { class: "number heat" }, number(count));
    place.style.setProperty("--heat", `${Math.round((count / most) * 60)}%`);
    return place;
  };
  return h("div", { class: "scroll answers", id: "answers" }, h("table", { class: "plain" },
    h("caption", null, h("b", null, "Requests answered, by process and interpreter")),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "process"), answers.interpreters.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, answers.processes.map((row) => h("tr", null, h("th", { scope: "row" }, String(row.pid)), row.answers.map(share))))),
  answers.left_out ? h("p", { class: "soft" }, `${plural(answers.left_out, "process", "processes")} more.`) : null);
}

function recordTable(one) {
  if (!one.rows.length) return null;
  // Pids are names, not amounts.
  const pids = new Set(one.head.flatMap((name, at) => (["pid", "process"].includes(name) ? [at] : [])));
  const rows = one.rows.map((row) => row.map((value, at) => (pids.has(at) ? String(value) : longText(value))));
  return folded(`${one.title} (${number(one.rows.length + one.left_out)})`, [table(one.head, rows, one.title),
    one.left_out ? h("p", { class: "soft" }, `${number(one.left_out)} more in cell.json.`) : null], one.rows.length <= 8);
}

function longText(value) {
  if (typeof value !== "string" || (value.length < 120 && !value.includes("\n"))) return value;
  return h("details", null, h("summary", null, `${value.split("\n")[0].slice(0, 80)} …`), h("pre", null, value));
}
