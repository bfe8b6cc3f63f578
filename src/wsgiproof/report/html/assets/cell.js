// The page of one cell: what is wrong with it and what to do first, then all that was measured.

async function drawCell() {
  const cell = cellById.get(state.cell);
  if (!cell) {
    return [h("h1", { tabindex: "-1" }, "No such cell"), h("p", { class: "empty" }, "This run has no cell ", h("code", null, state.cell), "."),
      h("p", null, h("a", { href: addressOf({ view: "matrix" }) }, "Back to the matrix"))];
  }
  drawMatrix.last = String(cell.at);
  const detail = await detailOf(cell);
  return [cellHead(detail), causeCards(detail), contents(detail), howToRerun(detail), checkList(detail), figureList(detail),
    detail.notes && detail.notes.length ? notes(detail.notes) : null, ...measured(detail), ...evidence(detail), madeOf(detail)];
}

/** The cell before, or after, among those that are shown. */
function neighbour(step) {
  const cells = shownCells();
  const place = cells.findIndex((cell) => cell.id === state.cell);
  return place < 0 ? cells[0] : cells[place + step];
}

function cellHead(detail) {
  const link = (step, text) => {
    const next = neighbour(step);
    return next ? h("a", { href: addressOf({ cell: next.id }), title: next.id }, text) : null;
  };
  const varying = detail.axes.filter((axis) => axis.varies);
  return h("header", { class: "cellhead" },
    h("p", { class: "crumbs" }, h("a", { href: addressOf({ view: "matrix" }) }, "← Matrix"), link(-1, "previous"), link(1, "next")),
    h("h1", { tabindex: "-1" }, detail.id),
    varying.length ? h("dl", { class: "axes" }, varying.map((axis) => h("div", null, h("dt", null, axis.title), h("dd", null, axis.value)))) : null,
    h("p", { class: "outcome" }, badge(detail.verdict), h("span", null, outcomeOf(detail))),
    detail.verdict === "error" || (detail.verdict === "fail" && !detail.findings) ? h("pre", { class: "evidence" }, detail.reason) : null,
    detail.tries.length ? folded(`${plural(detail.tries.length, "earlier try", "earlier tries")} ended in an error`,
      h("ol", null, detail.tries.map((text) => h("li", null, h("pre", null, text))))) : null);
}

function outcomeOf(detail) {
  if (detail.findings) {
    const several = detail.causes.length < detail.findings ? `, ${plural(detail.causes.length, "cause")}` : "";
    return `${plural(detail.findings, "finding")}${several}`;
  }
  return detail.verdict === "error" ? "could not be run" : detail.reason;
}

function howToRerun(detail) {
  return h("div", { class: "rerun" }, h("span", { class: "label" }, "Run this cell alone"), copyable(detail.rerun));
}

function contents(detail) {
  const parts = [["findings", "Findings", detail.causes.length], ["checks", "Checks", detail.checks.length], ["plots", "Resources", detail.charts && detail.charts.length],
    ["load", "Requests", detail.load || (detail.histograms && detail.histograms.length)], ["processes", "Processes", detail.timeline], ["stacks", "Stacks", detail.stacks && detail.stacks.length],
    ["log", "Error log", detail.log.length], ["config", "Configuration", detail.texts.length]];
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

function causeCards(detail) {
  if (!detail.causes.length) return null;
  return section("findings", "Findings", detail.causes.map(causeCard));
}

/** One cause: what broke, why, what to do; what followed from it and the evidence are folded. */
function causeCard(cause) {
  return h("article", { class: cause.accepted.length ? "finding accepted" : "finding" },
    h("h3", null, h("span", { class: "name" }, cause.check), cause.seen.map((text, at) => h("span", { class: "seen" }, at ? `; ${text}` : text))),
    h("dl", null,
      cause.accepted.length ? [h("dt", null, "Accepted"), h("dd", null, cause.accepted.map(withLink))] : null,
      h("dt", null, "Why"), h("dd", null, cause.meaning),
      h("dt", null, "What to do"), h("dd", null, cause.action),
      cause.known ? [h("dt", null, "Known"), h("dd", null, entryLine(cause.known))] : null,
      cause.more.map(([name, text]) => [h("dt", null, name), h("dd", null, h("pre", null, text))])),
    cause.consequences.length ? [h("p", { class: "label" }, "Likely consequences"), cause.consequences.map(consequence)] : null,
    cause.traces.length ? h("details", { class: "print" }, h("summary", null, `${plural(cause.traces.length, "known trace")} of it in the evidence`),
      h("dl", null, cause.traces.map((one) => [h("dt", null, h("code", null, one.id)), h("dd", null, `${one.meaning}. `, h("span", { class: "soft" }, whereSeen(one)))]))) : null,
    foldedEvidence(cause.evidence, true));
}

function entryLine(known) {
  return [h("code", null, known.id), known.whose ? `, a bug of ${known.whose} ` : null, h("span", { class: "soft" }, ` ${known.versions} · `), sourceOf(known.source),
    h("span", { class: "soft" }, " · ", h("code", null, `wsgiproof explain ${known.id}`))];
}

/** A text that may end in an address. */
function withLink(text) {
  const at = text.lastIndexOf(" ") + 1;
  return h("div", null, text.slice(0, at), sourceOf(text.slice(at)));
}

/** An address becomes a link only if nothing in it can act. */
function sourceOf(source) {
  return /^https:\/\/[A-Za-z0-9./#_-]{1,300}$/.test(source) ? h("a", { href: source, rel: "noopener noreferrer" }, source.replace("https://", "")) : source;
}

function whereSeen(one) {
  return `${one.where}, ${plural(one.count, "time")}: ${one.text}`;
}

function consequence(one) {
  return h("details", { class: "consequence print" },
    h("summary", null, h("b", null, one.check), ` ${one.seen}`),
    h("dl", null, h("dt", null, "Why"), h("dd", null, one.meaning), h("dt", null, "What to do"), h("dd", null, one.action),
      one.more.map(([name, text]) => [h("dt", null, name), h("dd", null, h("pre", null, text))])),
    foldedEvidence(one.evidence, false));
}

function foldedEvidence(texts, unfold) {
  if (!texts.length) return null;
  const short = texts.join("\n").split("\n").length <= 12;
  return h("details", { class: "print", open: (unfold && short) || null },
    h("summary", null, "Evidence"), blocks(texts).map((text) => h("pre", { class: "evidence" }, text)));
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

function checkList(detail) {
  if (!detail.checks.length) return null;
  const order = ["fail", "inconclusive", "known", "skipped", "pass"];
  const sorted = [...detail.checks].sort((one, other) => order.indexOf(one[1]) - order.indexOf(other[1]));
  return section("checks", "Checks", table(["check", "verdict", "why"],
    sorted.map(([check, verdict, reason]) => [check, badge(verdict), reason]), "Checks"));
}

function figureList(detail) {
  if (!detail.figures.length) return null;
  return h("section", { class: "figures", "aria-label": "Key figures" }, detail.figures.map((one) => h("div", { title: one.meaning },
    h("b", null, one.text), h("span", null, one.title))));
}

function notes(lines) {
  return h("div", { class: "notice" }, lines.map((line) => h("p", null, line)));
}

function measured(detail) {
  if (!detail.charts) return [h("p", { class: "empty" }, "Nothing was measured in this cell.")];
  return [
    detail.charts.length ? section("plots", "Resources", h("p", { class: "soft" }, "Read while the server was idle. The shades are the phases",
      detail.charts.some((chart) => chart.fits.length) ? "; a dashed line is the rate of a leak, with its 95 % interval." : "."),
    h("div", { class: "charts" }, detail.charts.map(resourcePlot))) : null,
    detail.load || detail.histograms.length || detail.answers.processes.length ? section("load", "Requests",
      h("div", { class: "charts" }, detail.load ? [latencyOverTime(detail.load), throughputOverTime(detail.load)] : null,
        detail.histograms.length ? latencyHistogram(detail.histograms) : null), percentiles(detail.histograms), whoAnswered(detail.answers),
      detail.tables.map(recordTable)) : null,
    section("processes", "Processes", detail.timeline.lives.length ? lifelines(detail.timeline) : h("p", { class: "empty" }, "No process was watched."),
      detail.timeline.left_out ? h("p", { class: "soft" }, `${plural(detail.timeline.left_out, "process", "processes")} more.`) : null,
      h("p", { class: "soft" }, [detail.timeline.others, detail.timeline.stop].filter(Boolean).join(". ")), recordTable(detail.interpreters)),
  ];
}

function percentiles(histograms) {
  if (!histograms.length) return null;
  const digits = (value) => Math.round(value * 10) / 10;
  return table(["interpreter", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "slowest ms"], histograms.map((one) =>
    [one.name, one.count, ...Object.values(one.percentiles).map(digits), digits(one.longest)]), "Latency by interpreter");
}

/** Requests that each interpreter of each process answered, shaded by their number. */
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
